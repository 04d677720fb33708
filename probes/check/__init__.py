"""``probes check NET``: what can be measured of a network, before any claim."""

"""Commands of ``probes`` that are more than a call."""

"""Weights of CIFAR-10 networks for Probes, which finds them here. There is no code."""

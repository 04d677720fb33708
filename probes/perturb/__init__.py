"""What is done to a subject: noise on its images."""

from probes.perturb.images import Gaussian, gaussian

__all__ = ["Gaussian", "gaussian"]

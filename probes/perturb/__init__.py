"""What is done to a subject: noise on its images, noise on its weights."""

from probes.perturb.images import Gaussian, gaussian
from probes.perturb.weights import WeightNoise, weight_noise

__all__ = ["Gaussian", "WeightNoise", "gaussian", "weight_noise"]

"""What is done to a subject: noise on its images, on its weights, on the outputs of its layers."""

from probes.perturb.augment import augmentation
from probes.perturb.images import Gaussian, gaussian
from probes.perturb.outputs import LayerNoise, inject, layer_noise
from probes.perturb.weights import WeightNoise, weight_noise

__all__ = ["Gaussian", "LayerNoise", "WeightNoise", "augmentation", "gaussian", "inject", "layer_noise", "weight_noise"]

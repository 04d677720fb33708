"""What is done to a subject: noise on its images, on its weights, on the outputs of its layers."""

from probes.batch import Draw
from probes.perturb.augment import augmentation
from probes.perturb.augmenting import augmented
from probes.perturb.images import Gaussian, gaussian
from probes.perturb.injection import inject
from probes.perturb.masking import masked
from probes.perturb.outputs import LayerNoise, layer_noise
from probes.perturb.protocol import Pass, Perturbation
from probes.perturb.weights import WeightNoise, weight_noise

__all__ = [
    "Draw",
    "Gaussian",
    "LayerNoise",
    "Pass",
    "Perturbation",
    "WeightNoise",
    "augmentation",
    "augmented",
    "gaussian",
    "inject",
    "layer_noise",
    "masked",
    "weight_noise",
]

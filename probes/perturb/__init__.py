"""What is done to a subject: noise on its images, on its weights, on the outputs of its layers."""

from probes.batch import Draw
from probes.perturb.attacking import attacked
from probes.perturb.attacks import fgsm, foolbox_attack, pgd, torchattack
from probes.perturb.augment import augmentation
from probes.perturb.augmenting import augmented
from probes.perturb.corrupting import Corruption, corruption, corruptions
from probes.perturb.dropping import Dropout, dropout
from probes.perturb.flipping import bit_flips
from probes.perturb.images import Gaussian, gaussian
from probes.perturb.injection import inject
from probes.perturb.masking import masked
from probes.perturb.onfile import corrupted
from probes.perturb.outputs import LayerNoise, layer_noise
from probes.perturb.precision import pruned, quantised
from probes.perturb.protocol import Pass, Perturbation
from probes.perturb.transforming import transform
from probes.perturb.weights import WeightNoise, weight_noise

__all__ = [
    "Corruption",
    "Draw",
    "Dropout",
    "Gaussian",
    "LayerNoise",
    "Pass",
    "Perturbation",
    "WeightNoise",
    "attacked",
    "augmentation",
    "augmented",
    "bit_flips",
    "corrupted",
    "corruption",
    "corruptions",
    "dropout",
    "fgsm",
    "foolbox_attack",
    "gaussian",
    "inject",
    "layer_noise",
    "masked",
    "pgd",
    "pruned",
    "quantised",
    "torchattack",
    "transform",
    "weight_noise",
]

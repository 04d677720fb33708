"""How networks are trained: recipes by name, and the names of training runs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from probes.errors import BadInput
from probes.registry import Registry, unknown
from probes.subjects.spec import Spec

REGIMES = ("clean", "noisy")
JSON_NAMES = {
    "max_lr": "peak",
    "random_crop_padding": "shift",
    "storage_dtype": "stored",
    "early_stop_accuracy": "stop_at",
}
"""The names of fields in cards and store keys that differ from those in code."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained: cross-entropy, by SGD (Nesterov momentum, one-cycle learning rate)
    or Adam (constant rate).

    ``max_lr`` is the highest learning rate. ``random_crop_padding`` is the largest random shift in
    pixels (0 for none): images are padded with zeros and cropped. ``flip`` mirrors half of the
    images. ``threads`` is fixed, since it changes the last bits of a convolution, as does the
    memory format. ``storage_dtype`` is the precision that the weights are rounded to at the end.
    ``precision`` ``bf16`` runs convolutions and products of the forward and backward pass in 8 bits
    of mantissa (autocast); weights, batch norm, loss and optimiser stay in fp32. Training ends
    after the first epoch with a test accuracy of at least ``early_stop_accuracy`` (for two networks
    of equal accuracy).

    The ``noisy`` regime draws weight noise of strength ``alpha_train`` for every batch
    (:mod:`probes.perturb.weights`): forward and backward pass at W + eps, the optimiser updates the
    clean W. Raises BadInput for a strength in the clean regime, none in the noisy one, or one that
    is no number from 0 up; UnknownName for another regime or optimiser.

    >>> Recipe("mine", epochs=1, regime="noisy", alpha_train=0.2).alpha_train
    0.2
    """

    name: str
    epochs: int
    batch_size: int = 128
    max_lr: float = 0.1
    warmup: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    random_crop_padding: int = 0
    flip: bool = False
    threads: int = 1
    storage_dtype: str = "float16"
    channels_last: bool = False
    optimiser: str = "sgd"
    regime: str = "clean"
    alpha_train: float = 0.0
    precision: str = "fp32"
    early_stop_accuracy: float = 1.0

    def __post_init__(self) -> None:
        if self.regime not in REGIMES:
            raise unknown("regime", self.regime, REGIMES)
        if self.optimiser not in ("sgd", "adam"):
            raise unknown("optimiser", self.optimiser, ("sgd", "adam"))
        if self.precision not in ("fp32", "bf16"):
            raise unknown("precision", self.precision, ("fp32", "bf16"))
        if not (math.isfinite(self.alpha_train) and self.alpha_train >= 0):
            raise BadInput(
                f"alpha_train {self.alpha_train}: the strength of weight noise in training, a"
                " finite number above 0"
            )
        if (self.alpha_train > 0) != (self.regime == "noisy"):
            allowed = (
                "0 (no noise) in the clean regime"
                if self.regime == "clean"
                else "above 0 in the noisy regime"
            )
            raise BadInput(
                f"alpha_train {self.alpha_train:g} in the {self.regime} regime: it is {allowed}"
            )
        if (
            self.epochs < 1
            or self.batch_size < 1
            or not (math.isfinite(self.max_lr) and self.max_lr > 0)
        ):
            raise BadInput(
                f"a recipe with {self.epochs} epochs, batches of {self.batch_size} and a learning"
                f" rate of {self.max_lr}: each is above 0"
            )

    def json(self) -> dict[str, Any]:
        """As JSON values, under the names that stand in cards and store keys.

        Fields that were added later are left out at their defaults. So weights that were trained
        before are found.
        """
        later = ("optimiser", "regime", "alpha_train", "precision", "early_stop_accuracy")
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return {
            JSON_NAMES.get(k, k): v
            for k, v in dataclasses.asdict(self).items()
            if k not in later or v != defaults[k]
        }

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at ``step`` of ``steps``. It rises during ``warmup``, then falls to 0
        as a cosine. It is constant for Adam.
        """
        if self.optimiser == "adam":
            return self.max_lr
        up = max(1.0, self.warmup * steps)
        if step < up:
            return self.max_lr * (step + 1) / up
        return self.max_lr * 0.5 * (1 + math.cos(math.pi * (step - up) / max(1.0, steps - up)))


recipes: Registry[Recipe] = Registry("recipe")
"""Recipes by the name of their dataset. Recipes of a study have names of their own, for
``net:recipe@dataset``.
"""


_DEEP = Recipe(
    "resnet34-cifar10",
    epochs=15,
    max_lr=0.05,
    label_smoothing=0.05,
    random_crop_padding=4,
    flip=True,
    storage_dtype="int8",
)


GENERAL = Recipe("general", epochs=10, batch_size=64, max_lr=0.05, storage_dtype="float32")
"""The recipe of a dataset that has none of its own. With fewer images than a batch the batches are
smaller.
"""


WEIGHT_NOISE = Recipe(
    "clean",
    epochs=10,
    max_lr=1e-3,
    weight_decay=0.0,
    optimiser="adam",
    storage_dtype="float32",
    channels_last=True,
)
"""The recipe of the weight-noise study: Adam at 1e-3, ten epochs in batches of 128, no
augmentation.
"""


recipes.register("mnist5k")(
    Recipe("mnist5k", epochs=10, batch_size=64, max_lr=0.05, random_crop_padding=2)
)
recipes.register("cifar10")(
    Recipe(
        "cifar10",
        epochs=24,
        label_smoothing=0.05,
        random_crop_padding=4,
        flip=True,
        threads=2,
        storage_dtype="int8",
        channels_last=True,
    )
)
recipes.register("resnet34-cifar10")(_DEEP)
recipes.register("vgg19_bn_small-cifar10")(
    dataclasses.replace(
        _DEEP,
        name="vgg19_bn_small-cifar10",
        channels_last=True,
        precision="bf16",
        early_stop_accuracy=0.8,
    )
)
for _twin in ("resnet20-cifar10", "plainnet20-cifar10"):
    recipes.register(_twin)(
        dataclasses.replace(
            _DEEP,
            name=_twin,
            epochs=10,
            max_lr=0.1,
            storage_dtype="float16",
            channels_last=True,
            precision="bf16",
        )
    )
recipes.register("general")(GENERAL)
recipes.register("clean")(WEIGHT_NOISE)
recipes.register("noisy")(
    dataclasses.replace(WEIGHT_NOISE, name="noisy", regime="noisy", alpha_train=0.2)
)

OWN_NAMES = ("clean", "noisy")
"""Recipes with a name of their own: their weights are found as ``net:clean@dataset``, and only so.
"""


def run_name(net: str, dataset: str, seed: int, recipe: str) -> str:
    """The name of a training run as a subject. It contains the recipe only if the weights are found
    by the recipe's name.

    >>> run_name("cnn", "mnist", 0, "noisy"), run_name("resnet20", "mnist5k", 1, "mnist5k")
    ('cnn:noisy@mnist#0', 'resnet20@mnist5k#1')
    """
    return f"{net}{f':{recipe}' if recipe in OWN_NAMES else ''}@{dataset}#{seed}"


def default_recipe(dataset: str, net: str = "") -> Recipe:
    """The recipe of a network on a dataset, else of the dataset (or the one that it is a view of),
    else the general one.

    >>> default_recipe("cifar10@28px").name, default_recipe("cifar10",
    ...     "resnet34").epochs, default_recipe("mine:photos").name
    ('cifar10', 15, 'general')
    """
    base = dataset.partition("@")[0]
    return next(
        (recipes[name] for name in (f"{net}-{base}", base) if name in recipes), recipes["general"]
    )


def by_recipe(spec: Spec) -> bool:
    """Whether a spec names its weights by the recipe that trains them:
    ``mlp_small:noisy@mnist5k``.
    """
    return spec.weights is not None and spec.weights in OWN_NAMES

"""Where the weights that come with Probes are: small ones in this package, those of CIFAR networks
in a distribution of their own.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from probes.subjects.spec import Spec

HERE = Path(__file__).with_name("weights")

APART = {
    (net, "cifar10"): "pip install ./weights" for net in ("resnet18", "resnet34", "vgg19_bn_small")
}
"""The command that brings weights which the distribution ``neural-probes-weights`` holds."""


def folders() -> list[Path]:
    """The folders of weights on this machine: this package's, and the other distribution's where it
    is installed or lies in the checkout.
    """
    found = importlib.util.find_spec("probes_weights")
    checkout = Path(__file__).parents[2] / "weights" / "probes_weights"
    places = [Path(place) for place in (found and found.submodule_search_locations) or []]
    return [HERE, *[place for place in [*places, checkout] if place.is_dir()][:1]]


def command(spec: Spec) -> str | None:
    """The command that installs the weights of a spec. None where no distribution holds them."""
    if spec.weights is not None or spec.seed not in (None, 0, "0", "*"):
        return None
    return APART.get((spec.net, str(spec.dataset)))

"""How a subject is written: ``net[:weights]@dataset[#seed]``, and two of them as a pair. No
torch."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from probes.errors import BadInput
from probes.reading import CONTROL

Seed = int | Literal["*"] | None
FORM = "net[:weights]@dataset[#seed]"
LIBRARIES = ("torchvision", "timm", "hf")
"""Libraries whose networks have names of two parts: ``timm:resnet18``."""
PRETRAINED = "pretrained"
"""The name of the weights that come with a network of a library."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """One subject: the name of a network, its weights, a dataset, and a training run (``"*"``: all
    of them).
    """

    net: str
    weights: str | None = None
    dataset: str | None = None
    seed: Seed = None

    def __str__(self) -> str:
        text = self.net + (f":{self.weights}" if self.weights is not None else "")
        text += f"@{self.dataset}" if self.dataset is not None else ""
        return text + (f"#{self.seed}" if self.seed is not None else "")


def parse(text: str) -> Spec:
    """Read a subject. Raises BadInput if it has another form.

    The text is split at the first ``@``. A trailing ``#digits`` or ``#*`` is the seed. Left of
    ``@`` a dotted name keeps its first colon, since ``package.module:thing`` is a name; so do
    ``timm:``, ``hf:``, ``torchvision:`` and ``__main__:``.

    >>> parse("resnet20@mnist5k#3")
    Spec(net='resnet20', weights=None, dataset='mnist5k', seed=3)
    >>> parse("pkg.mod:thing:file.safetensors@mnist5k").weights
    'file.safetensors'
    """
    if not isinstance(text, str):
        raise BadInput(f"subject {text!r}: a subject is a string of the form {FORM}")
    if found := CONTROL.search(text):
        raise BadInput(f"subject {text!r}: it holds {found[0]!r}, which is no text")
    left, at, dataset = text.strip().partition("@")
    tail = dataset if at else left
    seed: Seed = None
    if found := re.search(r"#(\d+|\*)$", tail):
        seed = "*" if found[1] == "*" else int(found[1])
        tail = tail[: found.start()]
    left, dataset = (left, tail) if at else (tail, "")
    head, colon, weights = left.partition(":")
    if colon and ("." in head or head in (*LIBRARIES, "__main__")):
        attribute, colon, weights = weights.partition(":")
        head = f"{head}:{attribute}"
    if (
        not head
        or head.endswith(":")
        or (at and not dataset)
        or (colon and not weights)
        or "#" in head
    ):
        raise BadInput(
            f"subject {text!r} is not of the form {FORM}, e.g. 'resnet20@mnist5k' or"
            " 'resnet20@mnist5k#*'"
        )
    return Spec(head, weights if colon else None, dataset if at else None, seed)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two subjects that one claim compares, on the same images and draws."""

    first: Spec
    second: Spec

    def __str__(self) -> str:
        return f"{self.first} + {self.second}"


def on(net: str, dataset: str) -> Spec:
    """The subject of a network, ``net[:weights][#seed]``, on a dataset that is given separately.
    Raises BadInput if the text names a dataset itself.

    >>> str(on("resnet20#3", "mnist5k"))
    'resnet20@mnist5k#3'
    """
    if "@" in net:
        raise BadInput(
            f"net {net!r}: the dataset is --dataset {dataset}; write net[:weights][#seed]"
        )
    return dataclasses.replace(parse(net), dataset=dataset)


def pair(first: str, second: str) -> Pair:
    """Two subjects for one claim: ``subjects(pair("a@d#*", "b@d#*"))`` makes one test over both.

    BadInput when they name different datasets, or when both are the same.

    >>> str(pair("resnet20@mnist5k#*", "plainnet20@mnist5k#*"))
    'resnet20@mnist5k#* + plainnet20@mnist5k#*'
    """
    a, b = parse(first), parse(second)
    if a == b:
        raise BadInput(f"pair({first!r}, {second!r}) compares a subject with itself")
    if a.dataset != b.dataset:
        raise BadInput(
            f"pair({first!r}, {second!r}): the two must see the same images, so name the same"
            " dataset"
        )
    return Pair(a, b)

"""How sure a network is of its answers, and whether it keeps them, per image."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor, nn

from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.measure.predictions import OfLogits, OfOutput, answers, logits_of, rows
from probes.measure.protocol import Reading


def sureness(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """``brier``, ``confidence``, ``margin`` and ``entropy`` of each image, from logits (images,
    classes) and labels; in double precision.

    With shares p (softmax): the squared distance of p from the label's corner, in [0, 2] (Brier
    1950); the largest share; the label's share less the largest other one, in [-1, 1], negative
    where the answer is wrong; and -sum p log p, in nats. Raises BadInput for a single class.

    >>> import torch
    >>> found = sureness(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
    >>> {name: round(float(v), 4) for name, v in found.items()}
    {'brier': 0.5, 'confidence': 0.5, 'margin': 0.0, 'entropy': 0.6931}
    """
    if logits.shape[1] < 2:
        raise BadInput("one logit per image: how sure a network is needs two classes or more")
    logs = logits.double().log_softmax(1)
    shares = logs.exp()
    at = labels[:, None]
    own = shares.gather(1, at)[:, 0]
    others = shares.scatter(1, at, -1.0).amax(1)
    return {
        "brier": shares.square().sum(1) - 2 * own + 1,
        "confidence": shares.amax(1),
        "margin": own - others,
        "entropy": -(shares * logs).sum(1),
    }


@dataclasses.dataclass(frozen=True)
class Certainty(OfLogits):
    """Per image ``correct`` and ``loss`` as :class:`probes.measure.predictions.Predictions` gives
    them, and what :func:`sureness` gives. There is one site, ``output``.

    The expected calibration error and the area under the ROC curve belong to many images:
    :func:`probes.judge.calibrating.calibration` makes them of this measure's table.
    """

    floor: float | None = 0.05

    name = "certainty"
    answers = True
    version = 1

    def of(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``correct``, ``loss``, and what :func:`sureness` gives."""
        return answers(logits, labels) | sureness(logits, labels)


class _Compared(Reading):
    def __init__(self, logits: Callable[[Batch], Tensor]) -> None:
        self._logits = logits
        self._clean: Tensor | None = None

    def reference(self) -> None:
        """Take the answers of the last pass as those on the clean images."""
        self._clean = self._logits(Batch.of([])).argmax(1)

    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        """Which answers of the last pass are those on the clean images."""
        if batch.targets is not None:
            raise BadInput(
                "agreement is of classes, and these images have numbers as targets: measure"
                " probes.error"
            )
        if self._clean is None or len(self._clean) != len(batch):
            raise ProbesError("agreement is with a clean pass of the same images: run that first")
        logits = self._logits(batch)
        if logits.shape[1] < 2:
            raise BadInput("one logit per image: whether an answer stays needs two classes or more")
        return rows({"agreement": logits.argmax(1) == self._clean})


@dataclasses.dataclass(frozen=True)
class Agreement(OfOutput):
    """Per image ``agreement``: 1 if the network gives the same class as on the clean image, else 0.
    It needs no labels. There is one site, ``output``; among equal logits the first one counts.
    Reading raises BadInput for a single logit, and for images with targets: both have no classes.
    """

    name = "agreement"
    compares = True
    version = 1

    @contextlib.contextmanager
    def open(self, model: nn.Module) -> Iterator[Reading]:
        """A context in which each pass can be read, after the clean one was."""
        with logits_of(model, keep=True) as logits:
            yield _Compared(logits)


certainty = Certainty()
"""Right or wrong, and how sure: ``lab.sweep(certainty, under=gaussian(0, .1))``."""
agreement = Agreement()
"""Whether the answer stays: ``lab.sweep(agreement, under=gaussian(0, .1))``."""

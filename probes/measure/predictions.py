"""Whether a network is right, and its loss, per image."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_training, refuse_wrapped
from probes.measure.protocol import Measure

Read = Callable[[Batch], dict[str, np.ndarray]]


class OfOutput(Measure):
    """A measure of what a network gives out, with one site, ``output``; its numbers depend on its
    ``name`` and ``version`` only.
    """

    version: int

    def key(self) -> dict[str, Any]:
        """What the numbers depend on, as JSON values."""
        return {"name": self.name, "version": self.version}

    def count(self, model: nn.Module) -> int:
        """The number of sites: one."""
        return 1


class OfLogits(OfOutput):
    """A measure of logits and labels, image by image: :meth:`of` says what."""

    @abc.abstractmethod
    def of(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """A number for each image, by metric, from logits (images, classes) and labels."""

    @contextlib.contextmanager
    def open(self, model: nn.Module) -> Iterator[Read]:
        """A context in which each pass can be read. ``read(batch)`` returns ``site`` and a row per
        metric.

        >>> from probes.batch import Batch
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
        >>> with accuracy.open(model) as read, torch.inference_mode():
        ...     logits = model(torch.zeros(3, 1, 2, 2))
        ...     found = read(Batch.of([7, 8, 9], [0, 1, 0]))
        >>> found["correct"].shape
        (1, 3)
        """
        with logits_of(model) as logits:

            def read(batch: Batch) -> dict[str, np.ndarray]:
                return rows(self.of(*labelled(logits(batch), batch)))

            yield read


@dataclasses.dataclass(frozen=True)
class Predictions(OfLogits):
    """Per image ``correct`` (1 if the largest logit is that of the label, else 0) and ``loss``
    (cross-entropy, in nats).

    There is one site, ``output``. The logits are those that the model returns; among equal logits
    the first one counts. A claim about accuracy stays open if clean accuracy is not above chance
    (the share of the most frequent class) by ``floor``, at 95 %, since then there is nothing to
    lose. ``Predictions(floor=None)`` turns this off. Reading raises ProbesError, naming the image,
    if a logit is NaN or infinite. It raises BadInput if the model has fewer outputs than classes; a
    sweep raises it also if the model has more.
    """

    floor: float | None = 0.05

    name = "predictions"
    answers = True
    version = 1

    def of(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``correct`` and ``loss`` of each image."""
        return answers(logits, labels)


@contextlib.contextmanager
def logits_of(model: nn.Module, keep: bool = False) -> Iterator[Callable[[Batch], Tensor]]:
    """A context in which ``read(batch)`` gives the logits of the last pass: (images, classes),
    float32 on the CPU. A pass can be read once, with ``keep`` again and again.

    Raises BadInput for a network that gives something else, ProbesError, naming the image, for NaN
    or infinity.
    """
    refuse_wrapped(model)
    refuse_training(model)
    seen: list[Any] = []

    def take(_: nn.Module, __: Any, out: Any) -> None:
        # the last pass counts; an attack makes others before, whose gradients are not kept
        seen[:] = [out.detach() if isinstance(out, Tensor) else out]

    with handles() as held:
        held.append(model.register_forward_hook(take))

        def read(batch: Batch) -> Tensor:
            if not seen:
                raise ProbesError("nothing was measured: run a forward pass before read()")
            out = seen[-1] if keep else seen.pop()
            if not isinstance(out, Tensor):
                raise BadInput(
                    f"the network gives a {type(out).__name__}: accuracy needs a tensor with a"
                    " logit per class"
                )
            logits = out.float().cpu()
            if logits.ndim != 2:
                raise BadInput(_no_logits(batch, logits))
            if not logits.isfinite().all():
                where = int((~logits.isfinite().all(1)).nonzero()[0])
                name = batch.ids[where] if len(batch) else f"at place {where} of the batch"
                raise ProbesError(
                    f"the output for image {name} holds"
                    f" {logits[where][~logits[where].isfinite()][0]}"
                )
            return logits

        yield read


def labelled(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and labels, as tensors. Raises BadInput for labels beyond the logits."""
    if logits.shape[1] <= batch.labels.max():
        raise BadInput(_no_logits(batch, logits))
    return logits, torch.from_numpy(np.asarray(batch.labels))


def _no_logits(batch: Batch, logits: Tensor) -> str:
    if batch.targets is not None:
        return (
            f"the network gives {tuple(logits.shape)}, the targets are {batch.targets.shape}: a"
            " network of numbers returns (images, K); of a single number, x[:, None]"
        )
    return (
        f"labels run to {batch.labels.max()}, but the output is {tuple(logits.shape)[1:]} per"
        " image; a network returns a logit per class"
    )


def answers(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Whether the largest logit is that of the label, and the cross-entropy, for each image."""
    return {
        "correct": logits.argmax(1) == labels,
        "loss": F.cross_entropy(logits.double(), labels, reduction="none"),
    }


def rows(found: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Numbers per image as a table's rows at the one site ``output``."""
    return {
        "site": np.array(["output"]),
        **{name: values.numpy()[None].astype(float) for name, values in found.items()},
    }


accuracy = Predictions()
"""Right or wrong, and the loss: ``lab.sweep(accuracy, under=weight_noise(0, .1))``."""

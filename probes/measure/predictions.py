"""Whether a network is right, and its loss, per image."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_training, refuse_wrapped
from probes.measure.protocol import Measure

Read = Callable[[Batch], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Predictions(Measure):
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

    def key(self) -> dict:
        """What the numbers depend on, as JSON values."""
        return {"name": self.name, "version": self.version}

    def count(self, model: nn.Module) -> int:
        """The number of sites: one."""
        return 1

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
        refuse_wrapped(model)
        refuse_training(model)
        seen: list[Tensor] = []
        with handles() as held:
            held.append(model.register_forward_hook(lambda _, __, logits: seen.append(logits)))

            def read(batch: Batch) -> dict[str, np.ndarray]:
                ids, labels = batch.ids, batch.labels
                if not seen:
                    raise ProbesError("nothing was measured: run a forward pass before read()")
                if not isinstance(seen[-1], Tensor):
                    raise BadInput(
                        f"the network gives a {type(seen[-1]).__name__}: accuracy needs a tensor"
                        " with a logit per class"
                    )
                logits = seen.pop().detach().float().cpu()
                seen.clear()
                if logits.ndim != 2 or logits.shape[1] <= labels.max():
                    raise BadInput(
                        f"labels run to {labels.max()}, but the output is {tuple(logits.shape)[1:]}"
                        " per image; a network returns a logit per class"
                    )
                if not logits.isfinite().all():
                    where = int((~logits.isfinite().all(1)).nonzero()[0])
                    raise ProbesError(
                        f"the output for image {ids[where]} holds"
                        f" {logits[where][~logits[where].isfinite()][0]}"
                    )
                wanted = torch.from_numpy(np.asarray(labels))
                loss = F.cross_entropy(logits.double(), wanted, reduction="none")
                hit = logits.argmax(1) == wanted
                return {
                    "site": np.array(["output"]),
                    "correct": hit.numpy()[None].astype(float),
                    "loss": loss.numpy()[None],
                }

            yield read


accuracy = Predictions()
"""Right or wrong, and the loss: ``lab.sweep(accuracy, under=weight_noise(0, .1))``."""

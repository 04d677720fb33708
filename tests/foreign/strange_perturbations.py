"""A perturbation, a measure, as a stranger writes them: nothing but what the documents say."""

import contextlib
import dataclasses

import numpy as np

from probes import Measure, Perturbation


@dataclasses.dataclass(frozen=True)
class Occlusion(Perturbation):
    """A grey square in the middle whose side is ``level`` of the image's."""

    levels: tuple[float, ...]
    varied = "side"
    unit = "of the image's side"

    def key(self, level):
        return {"kind": "occlusion", "version": 1, "level": level}

    @contextlib.contextmanager
    def open(self, at):
        def forward(batch):
            seen, side = batch.images.clone(), batch.images.shape[-1]
            a, b = round(side * (1 - at.level) / 2), round(side * (1 + at.level) / 2)
            seen[..., a:b, a:b] = 0.5
            at.plain(seen)
            return seen

        yield forward


class Confidence(Measure):
    """The largest softmax share of each image."""

    name = "confidence"

    def key(self):
        return {"kind": self.name, "version": 1}

    def count(self, model):
        return 1

    @contextlib.contextmanager
    def open(self, model):
        seen = []
        handle = model.register_forward_hook(lambda _, __, out: seen.append(out))

        def read(batch):
            shares = seen.pop().softmax(1).amax(1)
            return {"site": np.array(["output"]), "confidence": shares.numpy()[None]}

        try:
            yield read
        finally:
            handle.remove()


occlusion = Occlusion((0.0, 0.25, 0.5))

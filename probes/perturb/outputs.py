"""Gaussian noise on the outputs of layers: which layers, drawn by each image for itself, and noise
that has a name.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from probes import seeds
from probes.batch import Batch
from probes.errors import BadInput
from probes.hooks import PREFIX_BYTES, Prefix, begins, read_inside
from probes.naming import modules
from probes.origin import outside
from probes.perturb.injection import Injected, inject
from probes.perturb.layers import (
    AFTER_NORM,
    Which,
    default_layers,
    distinct,
    layers_of,
    several,
    worded,
)
from probes.perturb.protocol import Forward, Pass, Perturbation
from probes.perturb.spread import layer_std
from probes.perturb.strength import is_strength
from probes.registry import unknown

SCALES = ("relative", "absolute")
CHOICES = ("own", "common", "each")


@dataclasses.dataclass(frozen=True)
class LayerNoise(Perturbation):
    """Noise ``level * std * eps`` on the outputs of layers. ``eps`` is drawn by (seed, dataset,
    image id, draw, layer, call).

    ``levels`` are strengths, ascending from 0: relative to the standard deviation ``std`` of the
    layer's clean outputs, or ``scale="absolute"``. ``on`` selects the layers (:func:`layers_of`;
    default: :func:`default_layers`). ``counts`` says how many of them get noise: whole numbers, or
    fractions of all (rounded, at least 1). Each count is an arm, in the key column ``layers``.
    ``choice`` says who draws the layers: ``own``, each image for itself, so that draws are nested
    in images; ``common``, all images the same; ``each``, one layer at a time, every layer an arm,
    in the key column ``layer``. A chosen layer gets noise with ``probability`` (per image). The
    draw is the same at every strength and in every network: layer ``floor(u L)`` of a shared
    uniform u, drawn again if it repeats. So the layers of a smaller count are among those of a
    larger one.
    """

    levels: tuple[float, ...]
    counts: tuple[int | float, ...] = (1,)
    on: tuple[Which, ...] = AFTER_NORM
    probability: float = 1.0
    scale: str = "relative"
    choice: str = "own"

    name = "layer noise"
    varied = "strength"
    version = 1

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The unit of a strength."""
        return (
            "of a layer's clean standard deviation"
            if self.scale == "relative"
            else "in units of the layer's outputs"
        )

    def _words(self) -> tuple[str, str]:
        """The layers, and who draws them."""
        whose = {"own": ", drawn by each image", "common": ", drawn for all images", "each": ""}
        return worded(self.on), whose[self.choice]

    def describe(self) -> str:
        """What is done to the outputs of layers, in words."""
        on, whose = self._words()
        sizes = ", ".join(f"{n:g}" if isinstance(n, int) else f"{n:g} of all" for n in self.counts)
        counts = (
            "one layer at a time"
            if self.choice == "each"
            else f"{sizes} layer{'' if self.counts == (1,) else 's'} at a time"
        )
        return f"{self.scale} Gaussian noise on the outputs of {on}, {counts}{whose}"

    def __post_init__(self) -> None:
        levels = tuple(self.levels)
        bad = [v for v in levels if not is_strength(v)]
        if bad:
            raise BadInput(
                f"layer noise of strength {bad[0]}: a strength is a finite number from 0 up"
            )
        if 0 not in levels or len(set(levels)) != len(levels):
            raise BadInput(
                f"layer noise at {levels}: strengths hold 0, the clean pass, and none of them twice"
            )
        for n in self.counts:
            whole = isinstance(n, int) and not isinstance(n, bool) and n >= 1
            if not (whole or (isinstance(n, float) and 0 < n < 1)):
                raise BadInput(
                    f"layers={n!r}: how many layers, a whole number from 1 up or a fraction between"
                    " 0 and 1"
                )
        if not self.counts or len(set(self.counts)) < len(self.counts):
            raise BadInput(f"layers={self.counts}: one number of layers or several different ones")
        if not 0 <= self.probability <= 1:
            raise BadInput(f"probability {self.probability}: between 0 and 1")
        for name, value, allowed in (
            ("scale of the noise", self.scale, SCALES),
            ("choice of layers", self.choice, CHOICES),
        ):
            if value not in allowed:
                raise unknown(name, value, allowed)
        object.__setattr__(self, "levels", tuple(sorted(float(v) for v in levels)))

    acts_on = "layers"

    @property
    def column(self) -> str:  # type: ignore[override]
        """The key column of its arms: the layer, or the number of layers."""
        return "layer" if self.choice == "each" else "layers"

    @property
    def common(self) -> bool:  # type: ignore[override]
        """Whether all images draw the same layers."""
        return self.choice == "common"

    def arms(self, model: nn.Module) -> Sequence[tuple[str, LayerNoise]]:
        """One arm per layer, or per number of layers."""
        here = self.resolved(model)
        if self.choice == "each":
            return [
                (str(layer), dataclasses.replace(here, on=(layer,), counts=(1,)))
                for layer in here.on
            ]
        return [(f"{count:g}", dataclasses.replace(here, counts=(count,))) for count in here.counts]

    def design(self) -> dict[str, Any]:
        """What an expectation is bound to."""
        if outside(self):
            return super().design()
        on, whose = self._words()
        sizes = " ".join(f"{n:g}" if isinstance(n, int) else f"{n:g} of all" for n in self.counts)
        counts = "one layer at a time" if self.choice == "each" else f"{sizes} layers"
        words = (
            f"{self.scale} noise on the outputs of {on}: {counts}{whose}, p = {self.probability:g}"
        )
        return {"perturbation": words, "space": "layers", "clamp": False}

    def prepares(self, model: nn.Module) -> dict[str, Any] | None:
        """The clean standard deviations of all layers that may get noise: other arms need them."""
        if self.scale == "absolute":
            return None
        kinds = {type(m) for m in layers_of(model, self.on).values()}
        return {"layers": sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)}

    def prepare(self, model: nn.Module, run: Callable[[], object]) -> dict[str, float]:
        """Each layer's clean standard deviation."""
        wanted = layers_of(model, self.on)
        kinds = {type(m) for m in wanted.values()}
        with layer_std(
            model, layers_of(model, list(kinds)), lost=set(modules(model)) - set(wanted)
        ) as read:
            run()
        return read()

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network with noise on its layers. The draw of a batch is kept for its other
        levels.
        """

        def forward(batch: Batch) -> Tensor:
            if not at.level:
                at.plain(batch.images)
                return batch.images
            draw, ids = at.draw, batch.ids.tolist()
            name = ("layers", str(self.key(1.0)), draw, tuple(ids))
            # the last draw for this batch, in whichever network
            box: dict[str, Injected] = at.kept.get(name, dict)
            with (
                self._resumed(at, batch),
                inject(
                    at.model,
                    self.on,
                    self,
                    ids,
                    level=at.level,
                    spread=at.prepared,
                    dataset=draw.dataset,
                    seed=draw.seed,
                    draw=draw.number,
                    again=box.get("drawn"),
                ) as done,
            ):
                at.plain(batch.images)
            at.kept.put(name, {"drawn": done})
            return batch.images

        yield forward

    def _resumed(self, at: Pass, batch: Batch) -> contextlib.AbstractContextManager[None]:
        """A pass that begins at the one layer with noise, unless a measure reads inside."""
        if self.choice != "each" or read_inside(at.model):
            return contextlib.nullcontext()
        images = batch.images

        def make() -> Prefix | None:
            prefix = Prefix(at.model)
            with prefix.record():
                at.plain(images)
            return prefix if prefix.nbytes <= PREFIX_BYTES else None

        name = ("prefix", at.place, at.draw.dataset, tuple(batch.ids.tolist()))
        kept, layer = at.kept.get(name, make), str(self.on[0])
        whole = kept is not None and begins(at.model, at.send(images[:4]), (layer,))
        return kept.replay(layer) if kept is not None and whole else contextlib.nullcontext()

    def key(self, level: float) -> dict:
        """What the noise at a level depends on, as JSON, once ``on`` are names."""
        kind = {"kind": "layer noise", "version": self.version, "level": level}
        return kind | (
            {k: v for k, v in dataclasses.asdict(self).items() if k != "levels"} if level else {}
        )

    def fitted(self, models: Sequence[nn.Module]) -> LayerNoise:
        """The same noise; on the default layers of these networks, where none were named."""
        if self.on != AFTER_NORM:
            return self
        return dataclasses.replace(self, on=default_layers(models))

    def resolved(self, model: nn.Module) -> LayerNoise:
        """The same noise on the named layers; BadInput for more layers than the model has."""
        self = self.fitted([model])
        names = tuple(layers_of(model, self.on))
        if excess := [n for n in self.counts if isinstance(n, int) and n > len(names)]:
            raise BadInput(
                f"noise on {excess[0]} of the {len(names)} layers {', '.join(map(str, self.on))} of"
                f" {type(model).__name__}: it has only {len(names)}"
            )
        return dataclasses.replace(self, on=names)

    def chosen(self, dataset: str, ids: Sequence[int], seed: int, draw: int) -> np.ndarray:
        """Which layers get noise at the first count, a bool array (images, layers), once ``on`` are
        names.

        >>> noise = layer_noise(0, 0.5, layers=2, on=("a", "b", "c"))
        >>> noise.chosen("d", [7, 8], 0, 0).sum(1).tolist()
        [2, 2]
        """
        n_layers = len(self.on)
        count = self.counts[0]
        n = count if isinstance(count, int) else max(1, round(count * n_layers))
        out = np.zeros((len(ids), n_layers), dtype=bool)
        for row, image in enumerate(ids):
            if self.choice == "each":
                places: Sequence[int] = range(n_layers)
            else:
                who = () if self.choice == "common" else (int(image),)
                places = distinct(n, n_layers, "layers", seed, dataset, draw, *who)
            out[row, list(places)] = True
            if self.probability < 1:
                kept = (
                    seeds.uniform(n_layers, "layers hit", seed, dataset, draw, int(image))
                    < self.probability
                )
                out[row] &= kept
        return out


def layer_noise(
    *levels: float,
    layers: int | float | Sequence[int | float] = 1,
    on: Which | Sequence[Which] = AFTER_NORM,
    probability: float = 1.0,
    scale: str = "relative",
    choice: str = "own",
) -> LayerNoise:
    """Noise of these strengths on the outputs of ``layers`` layers: see :class:`LayerNoise`.

    Raises BadInput for a strength that is negative, NaN or infinite, for strengths without 0 or
    with one twice, for a number of layers or a probability out of range; UnknownName for a scale or
    a choice.

    >>> layer_noise(0, 0.5, layers=(1, 2, 3)).counts
    (1, 2, 3)
    """
    if isinstance(layers, str):
        raise BadInput(
            f"layers={layers!r}: how many layers, e.g. 1 or 0.5; on={layers!r} says which"
        )
    counts = (layers,) if isinstance(layers, int | float) else tuple(layers)
    return LayerNoise(tuple(levels), counts, several(on), probability, scale, choice)

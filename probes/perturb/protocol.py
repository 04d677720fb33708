"""What a perturbation says about itself, so that no code asks for its class."""

from __future__ import annotations

import abc
import contextlib
import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.fingerprint import key_of
from probes.origin import outside
from probes.perturb.passing import BATCHES, ORDER, PICTURES, Forward, Pass

P = TypeVar("P", bound="Perturbation")


class Perturbation(abc.ABC):
    """Something that is done to a subject at a level; level 0 is the subject as it is.

    Yours needs ``levels`` (ascending from 0), :meth:`key` and :meth:`open`. Make it a frozen
    dataclass: it is hashed and sent to other processes. All else has an answer already. ``name`` is
    what it is called, ``varied`` and ``unit`` what its level is called in tables and figures;
    ``acts_on`` is one of :data:`ORDER`; ``column`` is the key column that its arms fill; ``common``
    says that all images share a draw; ``training_images`` are needed for a pass; ``pictured`` says
    that its images can be made without the network. An example is in ``docs/your-perturbation.md``.
    """

    levels: tuple[float, ...]
    varied: str = "level"
    unit: str = ""
    acts_on: str = "images"
    column: str | None = None
    common: bool = False
    training_images: int = 0
    pictured: bool = True

    @abc.abstractmethod
    def key(self, level: float) -> dict[str, Any]:
        """What the numbers at a level depend on, as JSON values: ``kind``, ``version``, the level
        and the fields.
        """

    @abc.abstractmethod
    def open(self, at: Pass) -> contextlib.AbstractContextManager[Forward]:
        """A context in which ``forward(batch)`` runs the network at ``at.level``. Afterwards the
        network is as before.
        """

    @property
    def name(self) -> str:
        """Its name: the ``kind`` of its key."""
        return str(self.key(max(self.levels))["kind"])

    def describe(self) -> str:
        """What it does, in words. Default: the first sentence of the class's docstring."""
        said = inspect.cleandoc(vars(type(self)).get("__doc__") or "").partition("\n\n")[0]
        return (
            " ".join(said.split()).partition(". ")[0].removesuffix(".").replace("``", "")
            or self.name
        )

    def drawn(self, draw: Draw) -> dict[str, Any]:
        """The parts of a draw's name that its numbers depend on."""
        return {"draw": draw.number, "seed": draw.seed, "dataset": draw.dataset}

    def arms(self: P, model: nn.Module) -> Sequence[tuple[str, P]]:
        """One perturbation per arm on this model, each with its value of :attr:`column`."""
        return [("", self)]

    def fitted(self: P, models: Sequence[nn.Module]) -> P:
        """The same perturbation, for these networks: where it acts, if nobody said it."""
        return self

    def at(self: P, levels: Sequence[float]) -> P:
        """The same perturbation at other levels."""
        if dataclasses.is_dataclass(self) and not outside(self):
            return dataclasses.replace(self, levels=tuple(levels))  # type: ignore[return-value]
        made = copy.copy(self)  # one of somebody's own may have an initialiser of its own
        object.__setattr__(made, "levels", tuple(sorted(float(v) for v in levels)))
        return made

    def design(self) -> dict[str, Any]:
        """What an expectation is bound to: the ``perturbation`` in words, its ``space`` and
        ``clamp``.
        """
        return {
            "perturbation": f"{self.name}: {self.describe()}",
            "space": {"images": "pixels"}.get(self.acts_on, self.acts_on),
            "clamp": False,
        }

    def images_per_cell(self, batch_size: int, images: int) -> int:
        """The number of images of a cell. The draws of these images are kept for the next level."""
        return BATCHES * batch_size

    def prepares(self, model: nn.Module) -> dict[str, Any] | None:
        """The key of what must be known of the clean network first; None for nothing."""
        return None

    def prepare(self, model: nn.Module, run: Callable[[], object]) -> Any:
        """Find it out, as a JSON value. ``run()`` passes clean images through the network."""
        raise BadInput(
            f"{type(self).__name__} defines prepares(), which says what must be known of the clean"
            " network, but not prepare(model, run), which finds it out"
        )

    def facts(self, models: Mapping[str, nn.Module], seed: int) -> dict[str, Any]:
        """What the evidence says about it beside its design, for networks by name."""
        return {}

    def __and__(self, other: Perturbation) -> Perturbation:
        """Both perturbations together, images first; see :class:`Both`."""
        return Both.of(self, other)


@dataclasses.dataclass(frozen=True)
class Both(Perturbation):
    """``a & b``: one of the two varies, the other one is on at its only strength; at level 0
    neither is.

    The one on images comes first, then units and layers, then weights. Two with one strength each
    are both on at level 1.

    >>> from probes.perturb import gaussian, weight_noise
    >>> both = weight_noise(0, 0.1, 0.2) & gaussian(0, 0.05)
    >>> both.levels, both.name
    ((0.0, 0.1, 0.2), 'Gaussian noise and weight noise')
    """

    outer: Perturbation
    inner: Perturbation
    levels: tuple[float, ...]
    varies: str
    name: str = ""
    varied: str = "both"
    unit: str = ""
    acts_on: str = "images"
    column: str | None = None
    common: bool = False
    training_images: int = 0
    pictured: bool = True

    @classmethod
    def of(cls, first: Perturbation, second: Perturbation) -> Both:
        """Both of them. Raises BadInput if both vary, or if both make arms."""
        pair = [first, second]
        if ORDER.index(first.acts_on) < ORDER.index(second.acts_on):
            pair.reverse()
        outer, inner = pair
        many = [len(p.levels) > 2 for p in pair]
        if all(many):
            raise BadInput(
                f"{first.name} & {second.name}: both have several levels, and a sweep has one axis:"
                f" give one of them a single strength, e.g. levels (0, {max(first.levels):g})"
            )
        if len({(str(p.key(max(p.levels))["kind"]), p.name) for p in pair}) == 1:
            raise BadInput(
                f"{first.name} & {second.name}: two of a kind share their draws, and are no two"
                " perturbations"
            )
        if all(p.acts_on == "weights" for p in pair):
            raise BadInput(
                f"{first.name} & {second.name}: both change weights, and neither would see the"
                " weights of the other one; put one of them into a network of your own"
            )
        if all(p.column for p in pair):
            raise BadInput(
                f"{first.name} & {second.name}: both make arms ({outer.column}, {inner.column});"
                " one may"
            )
        told: dict[str, Any] = {"levels": (0.0, 1.0)}
        if any(many):
            one = inner if many[1] else outer
            told = {"levels": one.levels, "varied": one.varied, "unit": one.unit}
        return cls(
            outer,
            inner,
            varies="inner" if many[1] else "outer" if many[0] else "",
            name=f"{outer.name} and {inner.name}",
            acts_on=outer.acts_on,
            column=outer.column or inner.column,
            common=outer.common or inner.common,
            training_images=max(outer.training_images, inner.training_images),
            pictured=outer.pictured,
            **told,
        )

    def describe(self) -> str:
        """What is done, in words."""
        return (
            f"{self.outer.describe()}; and"
            f" {self.inner.describe()[:1].lower()}{self.inner.describe()[1:]}"
        )

    def split(self, level: float) -> tuple[float, float]:
        """The levels of the outer and of the inner one."""
        if not level:
            return 0.0, 0.0
        outer, inner = max(self.outer.levels), max(self.inner.levels)
        return (
            level if self.varies == "outer" else outer,
            level if self.varies == "inner" else inner,
        )

    def key(self, level: float) -> dict[str, Any]:
        """What both depend on."""
        outer, inner = self.split(level)
        return {
            "kind": "both",
            "level": level,
            "outer": self.outer.key(outer) | key_of(self.outer),
            "inner": self.inner.key(inner) | key_of(self.inner),
        }

    def drawn(self, draw: Draw) -> dict[str, Any]:
        """The parts of a draw's name that either depends on."""
        return self.outer.drawn(draw) | self.inner.drawn(draw)

    def arms(self, model: nn.Module) -> Sequence[tuple[str, Both]]:
        """The arms of the one that has arms."""
        return [
            (a or b, dataclasses.replace(self, outer=outer, inner=inner))
            for a, outer in self.outer.arms(model)
            for b, inner in self.inner.arms(model)
        ]

    def fitted(self, models: Sequence[nn.Module]) -> Both:
        """Both, for these networks."""
        outer, inner = self.outer.fitted(models), self.inner.fitted(models)
        return dataclasses.replace(self, outer=outer, inner=inner)

    def images_per_cell(self, batch_size: int, images: int) -> int:
        """The smaller of the two numbers."""
        return min(p.images_per_cell(batch_size, images) for p in (self.outer, self.inner))

    def prepares(self, model: nn.Module) -> dict[str, Any] | None:
        """What one of them must know first. Raises BadInput if both must know something."""
        found = [k for p in (self.outer, self.inner) if (k := p.prepares(model)) is not None]
        if len(found) > 1:
            raise BadInput(
                f"{self.name}: both are relative to the clean network; make one of them absolute"
            )
        return found[0] if found else None

    def prepare(self, model: nn.Module, run: Callable[[], object]) -> Any:
        """What the one that needs it finds out."""
        one = self.outer if self.outer.prepares(model) is not None else self.inner
        return one.prepare(model, run)

    def facts(self, models: Mapping[str, nn.Module], seed: int) -> dict[str, Any]:
        """What the evidence says about both."""
        return {**self.outer.facts(models, seed), **self.inner.facts(models, seed)}

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """The outer one around the inner one."""
        outer, inner = self.split(at.level)
        if at.place == PICTURES and self.inner.acts_on != "images":
            with self.outer.open(dataclasses.replace(at, level=outer)) as forward:
                yield forward
            return
        current: list[Batch] = []
        with self.inner.open(dataclasses.replace(at, level=inner)) as run:

            def through(images: Tensor) -> Any:
                batch = current[-1]
                return run(dataclasses.replace(batch, images=images))

            with self.outer.open(dataclasses.replace(at, level=outer, run=through)) as forward:

                def both(batch: Batch) -> Tensor:
                    current[:] = [batch]
                    return forward(batch)

                yield both

"""Guided masks as tables for claims: accuracy compared with random and matched masks, and the cost
of a mask with and without its augmentation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from probes import table
from probes.judge.lazytable import LazyTable
from probes.judge.power import Design
from probes.studies.masking.guide import Guiding
from probes.studies.masking.masks import Mask
from probes.studies.masking.work import CLEAN, MaskedPredictions
from probes.studies.sensitivity.plan import Plan
from probes.subjects.subject import Subject

if TYPE_CHECKING:
    from probes.run.bench import Bench


@dataclasses.dataclass(frozen=True)
class Masking:
    """The request of a claim about masks: augmentations, the guiding index, the share and the
    factor of masked units, draws.

    Masks and their controls are tested on at most ``images`` images, and :attr:`Masked.own`, which
    has no draws, on at most ``own_images``. ``rows`` and ``scramblings`` sample the index, on
    training images.
    """

    which: str | tuple[str, ...] = "1"
    measure: str = "total"
    q: float = 0.8
    alpha: float = 0.0
    draws: int = 20
    images: int = 200
    own_images: int = 1000
    rows: int = 128
    scramblings: int = 4
    names: tuple[str, ...] | None = None


class Masked:
    """Guided masks of a lab's subjects and their controls. Each is a table for questions.

    ``random`` and ``matched`` have level 0 for a control mask and level 1 for the guided mask, on
    images under the augmentation in ``site``. Accuracy falls from 0 to 1 if the index points at
    what matters (unit ``"image and draw"``). ``own`` has ``lost``, the cost of the guided mask, on
    clean images (level 0) and on images under its augmentation (level 1).
    """

    def __init__(self, lab: Bench, asked: Masking) -> None:
        self._lab, self._asked = lab, asked
        self._hits: dict[tuple[str, str], pd.DataFrame] = {}

    @cached_property
    def random(self) -> Table:
        """Compared with random masks of the same size."""
        return Table(self, "random")

    @cached_property
    def matched(self) -> Table:
        """Compared with random masks of the same size and magnitudes."""
        return Table(self, "matched")

    @cached_property
    def own(self) -> Table:
        """On clean images compared with images under the augmentation."""
        return Table(self, "own")

    def augmentations(self, subject: Subject) -> tuple[str, ...]:
        """The augmentations of a subject's masks."""
        return self.plan.designs(subject.data.channels)[0][0].names

    @property
    def plan(self) -> Plan:
        """The plan by which the indices are sampled."""
        a = self._asked
        return Plan(a.which, a.rows, a.scramblings, a.names, seed=self._lab.options.seed)

    def images(self, kind: str) -> int:
        """The largest number of images on which masks are tested for a table."""
        return self._asked.own_images if kind == "own" else self._asked.images

    def hits(self, kind: str) -> Iterator[tuple[Subject, pd.DataFrame]]:
        """Each subject with the effect of a table's masks on every image, from the store or
        computed now.
        """
        for name, subject in self._lab.subjects.items():
            if (name, kind) not in self._hits:
                self._hits[name, kind] = self._of(name, kind)
            yield subject, self._hits[name, kind]

    def _wanted(self, names: Sequence[str], kind: str) -> dict[str, list[Mask]]:
        q, alpha = self._asked.q, self._asked.alpha
        guided = {v: Mask("guided", v, q, alpha, measure=self._asked.measure) for v in names}
        if kind == "own":
            return {CLEAN: [Mask(), *guided.values()]} | {v: [Mask(), guided[v]] for v in names}
        draws = range(self._asked.draws)
        if kind == "random":
            return {
                v: [guided[v], *(Mask("random", "", q, alpha, d) for d in draws)] for v in names
            }
        return {
            v: [guided[v], *(dataclasses.replace(guided[v], kind="matched", draw=d) for d in draws)]
            for v in names
        }

    def _of(self, name: str, kind: str) -> pd.DataFrame:
        lab = self._lab
        guiding = Guiding(name, self.plan, (self._asked.measure,), lab.options.where)
        wanted = self._wanted(self.augmentations(lab.subjects[name]), kind)
        return MaskedPredictions(lab, guiding, images=self.images(kind)).hits(wanted)


class Table(LazyTable):
    """One of the tables of :class:`Masked`, computed when it is first looked at; see
    :class:`probes.judge.lazytable.LazyTable`.
    """

    def __init__(self, masks: Masked, kind: str) -> None:
        self._masks, self._kind = masks, kind
        lab, asked = masks._lab, masks._asked
        self.alpha, self.say = lab.options.alpha, lab.say
        subject = next(iter(lab.subjects.values()))
        data = subject.data.sample(min(masks.images(kind), len(subject.data)))
        names = masks.augmentations(subject)
        told = (
            f"masks of the {1 - asked.q:.0%} of the units with the largest {asked.measure} index,"
            f" times {asked.alpha:g}"
        )
        self.design = Design(
            dataset=data.title,
            images=len(data),
            images_sha256=data.sha256,
            draws=1 if kind == "own" else asked.draws,
            seed=lab.options.seed,
            levels=(0.0, 1.0),
            runs=tuple(sorted((s.spec.net, 1) for s in lab.subjects.values())),
            perturbation=told,
            clamp=False,
            space="units",
            precision=lab.options.precision,
            split=lab.options.split,
            sites=len(names),
            varied="augmentation" if kind == "own" else "mask",
            description=f"{told[0].upper()}{told[1:]}",
        )

    def compute(self) -> pd.DataFrame:
        """The table: a row per subject, image, draw of the control mask, level and augmentation."""
        lab = self._masks._lab
        with lab.watched():
            found = table.join(
                [self._of(subject, found) for subject, found in self._masks.hits(self._kind)]
            )
        found.attrs["floor"] = lab.floor(lab.subjects)
        return found

    def _of(self, subject: Subject, found: pd.DataFrame) -> pd.DataFrame:
        names = self._masks.augmentations(subject)
        rows = self._own(found, names) if self._kind == "own" else self._beside(found, names)
        out = rows.assign(
            **subject.labels, site=pd.Categorical(rows["site"], list(names), ordered=True)
        )
        if self._kind != "own":
            out.attrs["draws"] = "common"
        return out

    def _beside(self, found: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        under = found[found["input"].isin(names)].rename(columns={"input": "site"})
        control = under[under["kind"] == self._kind].assign(level=0.0)
        guided = (
            under[under["kind"] == "guided"]
            .drop(columns="draw")
            .merge(control[["image", "site", "draw"]], on=["image", "site"])
        )
        both = pd.concat([control, guided.assign(level=1.0)], ignore_index=True)
        return both[["image", "draw", "level", "site", "correct"]]

    def _own(self, found: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        rows = []
        for level, name_of in ((0.0, lambda v: CLEAN), (1.0, lambda v: v)):
            for v in names:
                mine = found[found["input"] == name_of(v)].set_index("image")
                plain = mine.loc[mine["kind"] == "none", "correct"]
                guided = mine.loc[(mine["kind"] == "guided") & (mine["variable"] == v), "correct"]
                lost = (plain - guided.reindex(plain.index)).astype(float)
                rows.append(
                    pd.DataFrame(
                        {
                            "image": plain.index,
                            "draw": 0,
                            "level": level,
                            "site": v,
                            "mask_lost": lost.to_numpy(),
                        }
                    )
                )
        return pd.concat(rows, ignore_index=True)

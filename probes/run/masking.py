"""Guided masks: accuracy without the units that an index points at, beside random masks and those of the same magnitudes.

The index is measured on training images and the masks are tested on others. Every module is masked at once, the same share of each.
A random mask is one draw for all images, all variables and all indices, so draws are crossed with images: the two-way rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from probes import table
from probes.errors import BadInput
from probes.judge.power import Design
from probes.measure.sensitivity import Replicates
from probes.perturb.augment import augmentations
from probes.perturb.masks import at_random, largest, masked, matched, scaled
from probes.registry import unknown
from probes.run import engine, scramblings, sensitivity
from probes.run.contrasts import Contrasts, factors
from probes.run.lab import Lab, Options, summarise
from probes.run.passes import layout_of, pixels
from probes.run.readers import whole
from probes.run.scramblings import Plan
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject
from probes.subjects.spec import Spec

KINDS = ("none", "guided", "random", "matched", "full", "inverse")
CLEAN = "clean"
GUIDES = ("first", "total", "shapley")
LEARNT = 1000
"""Training images at most that an index is measured on."""


@dataclasses.dataclass(frozen=True)
class Guide:
    """Where masks point: per module an index (variables, *shape), NaN where dead, and the units' magnitude (*shape)."""

    variables: tuple[str, ...]
    index: Mapping[str, np.ndarray]
    magnitude: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Mask:
    """One mask of all modules: ``kind`` of :data:`KINDS`, the ``variable`` whose index guides it, ``q``, ``alpha`` and its draw.

    ``guided`` scales the units beyond the quantile ``q`` of the index by ``alpha``, ``random`` as many at random, ``matched`` as
    many of each magnitude; ``full`` scales every unit by its index, ``inverse`` by one less its index, both cut to 0 and 1.
    """

    kind: str = "none"
    variable: str = ""
    q: float = 0.8
    alpha: float = 0.0
    draw: int = 0

    def scales(self, guide: Guide) -> dict[str, Tensor]:
        """The factors of every module's units. Raises UnknownName for a variable or kind, BadInput for q and alpha."""
        if self.kind not in KINDS:
            raise unknown("kind of mask", self.kind, KINDS)
        if self.kind == "none":
            return {}
        if self.kind != "random" and self.variable not in guide.variables:
            raise unknown("variable of the indices", self.variable, guide.variables)
        return {name: self._of(name, guide) for name in guide.index}

    def _of(self, name: str, guide: Guide) -> Tensor:
        if self.kind == "random":
            return scaled(at_random(guide.magnitude[name].shape, self.q, name, self.draw), self.alpha)
        index = guide.index[name][guide.variables.index(self.variable)]
        if self.kind in ("full", "inverse"):
            share = torch.from_numpy(np.nan_to_num(index).clip(0, 1)).float()
            return share if self.kind == "full" else 1 - share
        chosen = largest(index, self.q, name, self.variable)
        if self.kind == "matched":
            chosen = matched(chosen, guide.magnitude[name], name, self.variable, self.draw)
        return scaled(chosen, self.alpha)


def guide_of(subject: Subject, plan: Plan, measure: str, store: Store, options: Options) -> Guide:
    """The indices of a network's modules with maps, from at most 1,000 of its training images.

    Raises UnknownName for a measure, BadInput where no module has maps.
    """
    if measure not in GUIDES:
        raise unknown("measure", measure, GUIDES)
    data = datasets.load(subject.data.name, "train", store)
    learnt = dataclasses.replace(subject, data=data.sample(min(LEARNT, len(data))))
    shapes = sensitivity.shapes_of(subject, plan.names or sensitivity.default_modules(subject), options.where)
    shapes = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    if not shapes:
        raise BadInput(f"{subject.spec}: none of its modules gives maps; name some with channels, height and width")
    parts = whole(shapes)
    passes, pool = scramblings.passes_of(learnt, plan, parts, options.where), plan.pool(learnt.data, store)
    key = scramblings.key_of(learnt, plan, pool, parts, options)
    found = {name: Replicates() for name in parts}
    for number in range(plan.scramblings or 4):

        def make(number: int = number) -> Any:
            return scramblings.scrambling(passes, plan, number, pool, lambda: None, "guide")

        for name, one in scramblings.made(store, key | {"guide": number}, passes, make)[0].items():
            found[name].add(one)
    index, magnitude = {}, {}
    for name, joined in found.items():
        value = torch.where(joined.dead, torch.nan, joined.estimate(measure).value)
        index[name] = value.numpy().reshape(-1, *shapes[name])
        mean, variance = joined.estimate("mean").value, joined.estimate("variance").value
        magnitude[name] = (mean**2 + variance).sqrt().numpy().reshape(*shapes[name])
    return Guide(next(iter(found.values())).groups, index, magnitude)


def augmented(name: str, images: Tensor, data: Dataset, rows: slice, seed: int, draw: int) -> Tensor:
    """Images as an input: ``clean``, or under one augmentation, its parameters drawn for each image."""
    if name == CLEAN:
        return images
    return augmentations[name].apply(images, factors(name, data, rows, Contrasts(seed=seed), draw))


def hits(
    subject: Subject, guide: Guide, wanted: Mapping[str, Sequence[Mask]], options: Options, draws: int = 1,
    tick: Callable[[int], object] = lambda n: None,
) -> pd.DataFrame:  # fmt: skip
    """Right or wrong of every image, for every input and the masks that are wanted under it.

    Columns ``image, input, kind, variable, q, alpha, draw, correct, top5``; ``correct`` and ``top5`` are means over ``draws`` of an
    augmentation's parameters. ``top5`` is among the five largest logits.
    """
    where, data = options.where, subject.data
    model = subject.model.to(where.device).to(memory_format=(layout := layout_of(subject.model)))
    rows: list[pd.DataFrame] = []
    for start in range(0, len(data), where.batch_size):
        part = slice(start, min(start + where.batch_size, len(data)))
        images = pixels(data, part)
        labels = torch.from_numpy(data.labels[part]).to(where.device)
        for name, masks in wanted.items():
            many = 1 if name == CLEAN or augmentations[name].switch else draws
            found = np.zeros((len(masks), 2, len(images)), np.float32)
            for draw in range(many):
                with engine.exact(where.threads), engine.cast(torch.device(where.device), where.precision):
                    x = augmented(name, images, data, part, options.seed, draw).to(where.device, memory_format=layout)
                    for i, mask in enumerate(masks):
                        with masked(model, mask.scales(guide)):
                            best = model(x).topk(min(5, len(data.classes)), 1).indices == labels[:, None]
                        found[i] += torch.stack([best[:, 0], best.any(1)]).float().cpu().numpy() / many
                        tick(len(images))
            for i, mask in enumerate(masks):
                rows.append(pd.DataFrame({"image": data.ids[part], "input": name, **dataclasses.asdict(mask),
                                          "correct": found[i, 0], "top5": found[i, 1]}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


@dataclasses.dataclass(frozen=True)
class Masking:
    """What a claim about masks asks for: augmentations, the guiding index, the share and the factor of masked units, draws.

    ``images`` are those that masks are tested on, at most; ``rows`` and ``scramblings`` sample the index, on training images.
    """

    which: str | tuple[str, ...] = "1"
    measure: str = "total"
    q: float = 0.8
    alpha: float = 0.0
    draws: int = 20
    images: int = 200
    rows: int = 128
    scramblings: int = 4
    names: tuple[str, ...] | None = None


class Masked:
    """Guided masks of a lab's subjects beside their controls; each is a table that a question may be asked of.

    ``random`` and ``matched`` have level 0 for a control mask and level 1 for the guided one, on images under the augmentation in
    ``site``: accuracy falls from 0 to 1 where the index points at what matters (unit ``"image and draw"``). ``own`` has ``lost``,
    what the guided mask costs, on clean images (level 0) and on those under its augmentation (level 1).
    """

    def __init__(self, lab: Lab, asked: Masking) -> None:
        self._lab, self._asked = lab, asked
        self._hits: dict[Spec, pd.DataFrame] = {}

    @property
    def random(self) -> Table:
        """Beside random masks of the same size."""
        return Table(self, "random")

    @property
    def matched(self) -> Table:
        """Beside random masks of the same size and magnitudes."""
        return Table(self, "matched")

    @property
    def own(self) -> Table:
        """On clean images beside those under the augmentation."""
        return Table(self, "own")

    def augmentations(self, subject: Subject) -> tuple[str, ...]:
        """The augmentations that a subject's masks are about."""
        return self.plan.designs(subject.data.channels)[0][0].names

    @property
    def plan(self) -> Plan:
        """How the indices are sampled."""
        a = self._asked
        return Plan(a.which, a.rows, a.scramblings, a.names, seed=self._lab.options.seed)

    def subjects(self) -> list[Subject]:
        """The lab's subjects with the images that masks are tested on."""
        found = self._lab.subjects.values()
        return [dataclasses.replace(s, data=s.data.sample(min(self._asked.images, len(s.data)))) for s in found]

    def hits(self) -> Iterator[tuple[Subject, pd.DataFrame]]:
        """Each subject with what its masks do to every image, from the store or computed now."""
        for subject in self.subjects():
            yield subject, self._of(subject)

    def _of(self, subject: Subject) -> pd.DataFrame:
        lab, asked = self._lab, self._asked
        key = scramblings.key_of(subject, self.plan, self.plan.pool(subject.data, lab.store), {}, lab.options) | {
            "masking": 1, "asked": dataclasses.asdict(asked), "learnt": LEARNT}  # fmt: skip

        def make(path: Path) -> None:
            guide = guide_of(subject, self.plan, asked.measure, lab.store, lab.options)
            names, none = self.augmentations(subject), Mask()
            wanted: dict[str, list[Mask]] = {CLEAN: [none, *(Mask("guided", v, asked.q, asked.alpha) for v in names)]}
            for v in names:
                controls = [Mask(kind, v if kind == "matched" else "", asked.q, asked.alpha, draw)
                            for kind in ("random", "matched") for draw in range(asked.draws)]  # fmt: skip
                wanted[v] = [none, Mask("guided", v, asked.q, asked.alpha), *controls]
            total = len(subject.data) * sum(map(len, wanted.values()))
            with tqdm(total=total, desc="probes", unit="image", disable=True if lab.quiet else None, leave=False) as bar:
                hits(subject, guide, wanted, lab.options, tick=bar.update).to_parquet(path, index=False)

        if subject.spec not in self._hits:
            self._hits[subject.spec] = pd.read_parquet(lab.store.get_or_make("masking", key, ".parquet", make))
        return self._hits[subject.spec]


class Table:
    """One of the tables of :class:`Masked`, computed when it is first looked at; see :class:`probes.run.lab.Sweep`."""

    under = None

    def __init__(self, masks: Masked, kind: str) -> None:
        self._masks, self._kind = masks, kind
        lab, asked = masks._lab, masks._asked
        self.alpha, self.say = lab.options.alpha, lab.say
        subject = masks.subjects()[0]
        data, names = subject.data, masks.augmentations(subject)
        told = f"masks of the {1 - asked.q:.0%} of the units with the largest {asked.measure} index, times {asked.alpha:g}"
        self.design = Design(
            dataset=data.title, images=len(data), images_sha256=data.sha256, draws=1 if kind == "own" else asked.draws,
            seed=lab.options.seed, levels=(0.0, 1.0), runs=tuple(sorted((s.spec.net, 1) for s in lab.subjects.values())),
            perturbation=told, clamp=False, space="units", precision=lab.options.precision, split=lab.options.split,
            sites=len(names),
        )  # fmt: skip
        lab.sweeps.append(self)

    @property
    def frame(self) -> pd.DataFrame:
        """The table: a row per subject, image, draw of the control mask, level and augmentation."""
        with self._masks._lab.watched():
            return table.join([self._of(subject, found) for subject, found in self._masks.hits()])

    def _of(self, subject: Subject, found: pd.DataFrame) -> pd.DataFrame:
        names = self._masks.augmentations(subject)
        rows = self._own(found, names) if self._kind == "own" else self._beside(found, names)
        spec = subject.spec
        out = rows.assign(net=spec.net, weights=subject.weights, dataset=subject.data.title,
                          train_seed=-1 if spec.seed is None else int(spec.seed),
                          site=pd.Categorical(rows["site"], list(names), ordered=True))  # fmt: skip
        if self._kind != "own":
            out.attrs["draws"] = "common"
        return out

    def _beside(self, found: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        under = found[found["input"].isin(names)].rename(columns={"input": "site"})
        control = under[under["kind"] == self._kind].assign(level=0.0)
        guided = (
            under[under["kind"] == "guided"].drop(columns="draw").merge(control[["image", "site", "draw"]], on=["image", "site"])
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
                    pd.DataFrame({"image": plain.index, "draw": 0, "level": level, "site": v, "mask_lost": lost.to_numpy()})
                )
        return pd.concat(rows, ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """Mean over images with a 90 % interval, per subject, level and augmentation."""
        return summarise(self.frame)

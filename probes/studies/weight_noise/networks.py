"""The networks of a study of weight noise: trained, or from a checkpoint with the study's name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from probes.atomic import replacing, write_text
from probes.errors import BadInput
from probes.measure import accuracy
from probes.perturb import weight_noise
from probes.perturb.plainweights import targets
from probes.reading import loads
from probes.run import engine
from probes.run.bench import Bench
from probes.run.engines.chosen import engine_of
from probes.run.settings import Options
from probes.run.work import Place, TrainingRun
from probes.store import Store
from probes.studies.weight_noise.plan import Say
from probes.subjects import data as datasets
from probes.subjects import pretrained, training
from probes.subjects.dataset import Dataset
from probes.subjects.recipes import Recipe
from probes.subjects.spec import Spec
from probes.subjects.subject import Subject


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run of the study, and the files in which its checkpoint may lie. If there is
    none, it is written to the first.
    """

    net: str
    regime: str
    seed: int
    dataset: str
    recipe: Recipe
    files: tuple[Path, ...] = ()
    judged: bool = True

    @property
    def view(self) -> str:
        """The name of the dataset view that is used."""
        return view_of(self.dataset)

    @property
    def spec(self) -> Spec:
        """The run as a subject."""
        return Spec(self.net, self.regime, self.view, self.seed)

    @property
    def title(self) -> str:
        """The title of the run."""
        return f"{self.net}@{self.dataset} {self.regime} seed {self.seed}"

    @property
    def row(self) -> dict[str, str | int | float]:
        """The columns that identify its rows."""
        return {
            "architecture": self.net,
            "regime": self.regime,
            "seed": self.seed,
            "dataset": self.dataset,
            "alpha_train": self.recipe.alpha_train,
        }

    @property
    def checkpoint(self) -> Path | None:
        """The file with its checkpoint, if there is one."""
        return next((path for path in self.files if path.exists()), None)


def view_of(dataset: str) -> str:
    """The name of the images that are used: CIFAR-10 becomes 28 px, as in the study;
    ``cifar10@32px`` keeps its size.

    >>> view_of("cifar10"), view_of("mnist5k")
    ('cifar10@28px', 'mnist5k')
    """
    return "cifar10@28px" if dataset == "cifar10" else dataset


class Networks:
    """The networks of ``runs`` on a dataset: each from its checkpoint, else trained (and written
    there, with its card). Several are trained and swept at once if the options say so.
    """

    def __init__(
        self, runs: Sequence[Run], store: Store, data: Dataset, options: Options, say: Say
    ) -> None:
        self.runs = runs
        self.store = store
        self.data = data
        self.options = options
        self.say = say

    def check(self) -> None:
        """Raise an error, before the work, for networks that can't be built, run on these images or
        be perturbed, and for unreadable checkpoints.
        """
        for run in {run.net: run for run in reversed(self.runs)}.values():
            model = training.initial(run.net, self.data, run.seed).eval()
            targets(model)
            try:
                with torch.inference_mode():
                    model(torch.zeros(2, *self.data.images.shape[1:]))
            except (RuntimeError, IndexError) as e:
                raise BadInput(
                    f"{run.net} can't run on images of"
                    f" {' x '.join(map(str, self.data.images.shape[1:]))}: {str(e).splitlines()[0]}"
                ) from e
        for run in self.runs:
            if run.judged and (there := run.checkpoint):
                from_checkpoint(there, run, self.data)

    def of(self, net: str, judged: bool) -> list[Run]:
        """The runs of a network: the judged ones, or those that calibrate."""
        return [run for run in self.runs if run.net == net and run.judged == judged]

    def swept(
        self, runs: Sequence[Run], alphas: Sequence[float], draws: int
    ) -> tuple[list[Subject], pd.DataFrame]:
        """The networks of some runs, and their accuracy and loss by image at every alpha and
        draw.
        """
        if self.options.engine != "serial":
            works = [
                TrainingRun(run.net, run.view, run.seed, run.recipe)
                for run in runs
                if run.checkpoint is None
            ]
            engine.fill(
                works, Place(self.store), engine_of(self.options), self.options.quiet, "training"
            )
        subjects = {str(run.spec): self._subject(run) for run in runs}
        specs = [subject.spec for subject in subjects.values()]
        load = partial(_load, str(self.store.folder), self.data.name, self.options, tuple(runs))
        lab = Bench(specs, self.store, self.options, quiet=False, subjects=subjects, load=load)
        found = lab.sweep(accuracy, under=weight_noise(*alphas), draws=draws, per_run=True)
        return [*subjects.values()], found.frame.astype({"correct": float, "loss": float})

    def _subject(self, run: Run) -> Subject:
        if there := run.checkpoint:
            self.say(f"{run.title}: from {there.name}")
            return from_checkpoint(there, run, self.data)
        path, card = training.train(run.net, run.view, run.seed, self.store, run.recipe, self.say)
        if run.files:
            with replacing(run.files[0]) as temporary:
                torch.save(pretrained.read_weights(path), temporary)
            text = json.dumps(card, indent=1, sort_keys=True) + "\n"
            write_text(run.files[0].with_suffix(".json"), text)
        model = training.initial(run.net, self.data, run.seed)
        return pretrained.filled(run.spec, model, self.data, path, run.regime, card)


def _load(folder: str, view: str, options: Options, runs: Sequence[Run], name: str) -> Subject:
    store = Store(folder)
    data = datasets.load(view, options.split, store).sample(options.images)
    (run,) = [run for run in runs if str(run.spec) == name]
    return Networks(runs, store, data, options, lambda _: None)._subject(run)


def from_checkpoint(path: Path, run: Run, data: Dataset) -> Subject:
    """The network of a checkpoint. One of ours has a card beside it; BadInput says where its recipe
    differs.

    A checkpoint without a card is the study's own. Its training is unknown, and its network gets
    values in [0, 1] as they are, as in the study.
    """
    if card := card_of(path):
        if differs := [
            f"{k} {card['recipe'].get(k)}, not {v}"
            for k, v in run.recipe.json().items()
            if card["recipe"].get(k) != v
        ]:
            raise BadInput(
                f"{path} was trained with {'; '.join(differs)}: choose another --checkpoints, or"
                " ask for the same"
            )
        model = training.initial(run.net, data, run.seed)
    else:
        raw = dataclasses.replace(data, mean=(0.0,) * data.channels, std=(1.0,) * data.channels)
        model = training.initial(run.net, raw, run.seed)
    told = {**(card or {}), "origin": path.name}
    return pretrained.filled(run.spec, model, data, path, run.regime, told)


def card_of(checkpoint: Path) -> dict[str, Any] | None:
    """The card beside a checkpoint of ours: how it was trained, None where there is none. BadInput
    for a file that is no card.
    """
    path = checkpoint.with_suffix(".json")
    if not path.exists():
        return None
    try:
        card = loads(path.read_text(encoding="utf-8"))
        if not (isinstance(card, dict) and isinstance(card.get("recipe"), dict)):
            raise ValueError("it names no recipe")
    except (OSError, ValueError) as e:
        raise BadInput(f"{path} is no card of a checkpoint: {e}") from e
    return card

"""The study of weight noise: networks trained with and without it, swept over its strength, judged over training seeds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock

from probes.errors import BadInput
from probes.measure import accuracy
from probes.perturb import weight_noise
from probes.perturb.weights import targets
from probes.run.lab import Lab, Options
from probes.run.noiseclaims import MAIN, lines
from probes.run.rows import csv_text, keep_aside, merge, number, read
from probes.store import Store, replacing
from probes.subjects import data as datasets
from probes.subjects import pretrained, training
from probes.subjects.data import Dataset
from probes.subjects.nets import nets as known_nets
from probes.subjects.pretrained import Subject
from probes.subjects.spec import Spec
from probes.subjects.training import Recipe
from probes.tell import evidence, report

NETS = ("mlp_small", "mlp_medium", "mlp_large", "cnn", "resnet18")
ALPHAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
PRIMARY = (0.1, 0.2, 0.5, 1.0)
LOST = 0.05
"""The primary alpha of a network is the smallest of ``PRIMARY`` at which its clean regime loses so much, on other seeds."""
OTHER_SEEDS = 2
QUICK = {"seeds": tuple(range(8)), "alphas": (0.0, MAIN), "epochs": 1}
RUN: dict[str, Any] = {"architecture": str, "regime": str, "seed": int, "dataset": str, "alpha_train": number}
SUMMARY: dict[str, Any] = RUN | {"acc_0": number, "acc_01": number, "drop_at_01": number}
SWEEP: dict[str, Any] = RUN | {"alpha_test": number, "acc": number, "loss": number}
CALIBRATION: dict[str, Any] = {"architecture": str, "dataset": str, "seeds": str, "alpha": number, "drop": number, "primary": str}
RUNS: dict[str, Any] = RUN | {
    "epochs": int, "lr": number, "batch_size": int, "draws": int, "noise_seed": int, "images": int, "images_sha256": str,
    "precision": str, "weights": str, "weights_sha256": str, "perturbed_tensors": int, "perturbed_parameters": int,
    "parameters": int,
}  # fmt: skip
KEY = ["architecture", "regime", "seed", "alpha_train"]
DESIGN = ("epochs", "lr", "batch_size", "draws", "noise_seed", "images_sha256", "precision")
"""What two runs in one folder must share."""
Say = Callable[[str], None]
Rows = dict[str, pd.DataFrame]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained and swept: see ``probes run weight-noise --help``. Raises BadInput for what can't be."""

    dataset: str = "mnist"
    alphas: tuple[float, ...] = ALPHAS
    draws: int = 5
    alpha_train: float = 0.2
    epochs: int = training.WEIGHT_NOISE.epochs
    lr: float = training.WEIGHT_NOISE.peak
    batch_size: int = training.WEIGHT_NOISE.batch_size
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False

    def __post_init__(self) -> None:
        weight_noise(*self.alphas)  # an error before the work
        if self.draws < 1 or not self.seeds:
            raise BadInput(f"{self.draws} draws, seeds {self.seeds}: one of each at least")
        self.recipe("noisy"), self.recipe("clean")
        object.__setattr__(self, "alphas", tuple(sorted(float(a) for a in self.alphas)))

    def recipe(self, regime: str) -> Recipe:
        """The recipe of a regime: the same but for the noise."""
        return dataclasses.replace(
            training.WEIGHT_NOISE, name=regime, regime=regime, alpha_train=self.alpha_train if regime == "noisy" else 0.0,
            epochs=self.epochs, peak=self.lr, batch_size=self.batch_size,
        )  # fmt: skip

    @property
    def others(self) -> tuple[int, ...]:
        """The seeds that calibrate: others than those that are judged."""
        return tuple(range(max(self.seeds) + 1, max(self.seeds) + 1 + OTHER_SEEDS))

    @property
    def view(self) -> str:
        """The images: CIFAR-10 is made 28 px, as in the study; ``cifar10@32px`` keeps its size."""
        return "cifar10@28px" if self.dataset == "cifar10" else self.dataset


def study(
    nets: Sequence[str],
    plan: Plan,
    store: Store,
    out: Path,
    *,
    options: Options | None = None,
    checkpoints: Path | None = None,
    command: Sequence[str] = ("probes", "run", "weight-noise"),
    say: Say = lambda _: None,
) -> Path:
    """Train what is missing, sweep it, and merge rows, verdicts and a report into ``out``, net by net.

    Rows that are in ``out`` already are not made again; several runs may share the folder. Raises BadInput for a folder whose
    rows have another design, and for a checkpoint that does not fit; and what training and a sweep raise.
    """
    options = options or Options()
    data = datasets.load(plan.view, options.split, store).sample(options.images)
    for name in ("summary.csv", "sweep.csv"):
        if (out / name).exists() and not (out / "runs.csv").exists():
            kept = keep_aside(out / name)
            say(f"{name}: rows of unknown origin; those of runs that are made here are replaced, the file is in aside/{kept.name}")
    for net in nets:
        known_nets[net]
        _open(out, plan, lambda _: None, {}, data, options)
    for net in nets:
        rows = _open(out, plan, say, {}, data, options)
        new = _one(net, plan, store, data, options, checkpoints, rows, say)
        with _locked(out):
            rows = _open(out, plan, say, new, data, options)
            run = evidence.provenance(Path.cwd(), command, {})
            report.assemble(lines(rows, plan, data, options, store), run, out, files=_files(rows) | _kept_aside(out))
    return out


def _locked(out: Path) -> FileLock:
    out.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(out.with_name(f".{out.name}.lock"))


def _kept_aside(out: Path) -> dict[str, bytes]:
    return {f"aside/{path.name}": path.read_bytes() for path in sorted((out / "aside").glob("*"))}


def _open(out: Path, plan: Plan, say: Say, new: Rows, data: Dataset, options: Options) -> Rows:
    """The rows of a folder, and new ones merged in; BadInput where the folder's design is another."""

    def foreign(row: Mapping[str, Any]) -> str:
        if row["dataset"] != plan.dataset:
            return f"is of {row['dataset']}, not of {plan.dataset}"
        if "regime" in row and row["regime"] not in training.REGIMES:
            return f"has the regime {row['regime']}"
        return (
            "" if row["architecture"] in known_nets or ":" in row["architecture"] else f"is of {row['architecture']}, unknown here"
        )

    rows = {
        "summary": read(out / "summary.csv", SUMMARY, foreign, say),
        "sweep": read(out / "sweep.csv", SWEEP, foreign, say),
        "calibration": read(out / "calibration.csv", CALIBRATION, foreign, say),
        "runs": read(out / "runs.csv", RUNS, foreign, say),
    }
    here = _design(plan, data, options)
    for _, run in rows["runs"].iterrows():
        if differs := [f"{name} {run[name]}, not {here[name]}" for name in DESIGN if run[name] != here[name]]:
            raise BadInput(f"{out} holds {run['architecture']} {run['regime']} seed {run['seed']} with {'; '.join(differs)}:"
                           " choose another --out, or ask for the same")  # fmt: skip
    keys = {"summary": KEY, "sweep": [*KEY, "alpha_test"], "calibration": ["architecture", "alpha"], "runs": KEY}
    return {name: merge(old, new[name], keys[name]) if name in new else old for name, old in rows.items()}


def _design(plan: Plan, data: Dataset, options: Options) -> dict[str, Any]:
    return {"epochs": plan.epochs, "lr": plan.lr, "batch_size": plan.batch_size, "draws": plan.draws, "noise_seed": options.seed,
            "images": len(data), "images_sha256": data.sha256, "precision": options.precision}  # fmt: skip


def _files(rows: Rows) -> dict[str, bytes]:
    """The study's three files, the calibration and what each run was, as bytes."""
    out = {f"{name}.csv": csv_text(frame).encode() for name, frame in rows.items()}
    both = {name: json.loads(rows[name].to_json(orient="records", double_precision=9)) for name in ("summary", "sweep")}
    return out | {"results.json": (json.dumps(both, indent=1, sort_keys=True) + "\n").encode()}


def _one(
    net: str, plan: Plan, store: Store, data: Dataset, options: Options, checkpoints: Path | None, rows: Rows, say: Say
) -> Rows:
    """The new rows of one network: its calibration, then both regimes at every seed that the folder lacks."""
    new: Rows = {}
    calibration = rows["calibration"]
    calibration = calibration[calibration["architecture"] == net]
    if not plan.quick and calibration.empty:
        say(f"{net}@{plan.dataset}: its primary alpha, on seeds {plan.others[0]} to {plan.others[-1]}")
        new["calibration"] = calibration = calibrate(net, plan, store, data, options, checkpoints, say)
    alphas = tuple(sorted({*plan.alphas, MAIN, *([] if plan.quick else calibration[calibration["primary"] == "yes"]["alpha"])}))
    known = rows["sweep"].merge(rows["runs"][KEY]).merge(rows["summary"][KEY])  # of known origin, and whole
    done: dict[Any, set] = dict(known.groupby(KEY)["alpha_test"].agg(set)) if len(known) else {}
    todo = []
    for regime in training.REGIMES:
        for seed in plan.seeds:
            key = (net, regime, seed, plan.recipe(regime).alpha_train)
            if key in done and set(alphas) <= done[key]:
                say(f"{net}@{plan.dataset} {regime} seed {seed}: its rows are in the folder")
            else:
                todo.append((regime, seed))
    if not todo:
        return new
    subjects = {f"{net}:{regime}@{plan.view}#{seed}": _subject(net, regime, seed, plan, store, data, checkpoints, say)
                for regime, seed in todo}  # fmt: skip
    say(f"{net}@{plan.dataset}: {len(subjects)} runs at alpha {' '.join(f'{a:g}' for a in alphas)}, {plan.draws} draws")
    found = _sweep(subjects, alphas, plan, store, options).groupby(["weights", "train_seed", "level"], observed=True)
    sweep, summary, runs = [], [], []
    means = found[["correct", "loss"]].mean()
    for subject in subjects.values():
        regime, seed = subject.weights, int(subject.spec.seed or 0)
        run: dict[str, Any] = {"architecture": net, "regime": regime, "seed": seed, "dataset": plan.dataset}
        run |= {"alpha_train": plan.recipe(regime).alpha_train}
        mine = means.xs((regime, seed))
        sweep += [run | {"alpha_test": float(level), "acc": row["correct"], "loss": row["loss"]} for level, row in mine.iterrows()]  # type: ignore[arg-type]
        clean, noisy = (float(mine["correct"][a]) for a in (0.0, MAIN))
        summary.append(run | {"acc_0": clean, "acc_01": noisy, "drop_at_01": clean - noisy})
        weights = targets(subject.model)
        runs.append(run | _design(plan, data, options) | {
            "weights": (subject.card or {}).get("origin", "trained"), "weights_sha256": subject.sha256,
            "perturbed_tensors": len(weights), "perturbed_parameters": sum(w.numel() for w in weights.values()),
            "parameters": sum(p.numel() for p in subject.model.parameters()),
        })  # fmt: skip
    return new | {"sweep": _columns(sweep, SWEEP), "summary": _columns(summary, SUMMARY), "runs": _columns(runs, RUNS)}


def _columns(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Rows as a table, numbers rounded as CSV holds them, so that a table read again is the same."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    floats = frame.select_dtypes("float").columns
    return frame.assign(**{name: frame[name].map(lambda v: float(f"{v:.9g}")) for name in floats})


def calibrate(
    net: str, plan: Plan, store: Store, data: Dataset, options: Options, checkpoints: Path | None = None, say: Say = lambda _: None
) -> pd.DataFrame:
    """The loss of accuracy of the clean regime at each candidate alpha, over seeds that nobody judges; one is primary."""
    subjects = {f"{net}:clean@{plan.view}#{seed}": _subject(net, "clean", seed, plan, store, data, checkpoints, say)
                for seed in plan.others}  # fmt: skip
    means = _sweep(subjects, (0.0, *PRIMARY), plan, store, options).groupby("level")["correct"].mean()
    drops = {alpha: float(means[0.0] - means[alpha]) for alpha in PRIMARY}
    primary = next((alpha for alpha in PRIMARY if round(drops[alpha], 9) >= LOST), None)
    seeds = " ".join(map(str, plan.others))
    return _columns([{"architecture": net, "dataset": plan.dataset, "seeds": seeds, "alpha": alpha, "drop": drop,
                      "primary": "yes" if alpha == primary else "no"} for alpha, drop in drops.items()], CALIBRATION)  # fmt: skip


def _sweep(subjects: dict[str, Subject], alphas: Sequence[float], plan: Plan, store: Store, options: Options) -> pd.DataFrame:
    lab = Lab([s.spec for s in subjects.values()], store, options, quiet=False, subjects=subjects)
    return lab.sweep(accuracy, under=weight_noise(*alphas), draws=plan.draws, per_run=True).frame.astype(
        {"correct": float, "loss": float}
    )


def _subject(
    net: str, regime: str, seed: int, plan: Plan, store: Store, data: Dataset, checkpoints: Path | None, say: Say
) -> Subject:
    """A network of a regime and a seed: from a checkpoint under the study's name, else trained (and put there)."""
    recipe = plan.recipe(regime)
    spec = Spec(net, regime, plan.view, seed)
    model = training.initial(net, data, seed)
    names = [f"{net}_{regime}_seed{seed}_a{alpha}.pt" for alpha in dict.fromkeys((recipe.alpha_train, plan.alpha_train))]
    places = [checkpoints / plan.dataset / name for name in names] if checkpoints else []
    if there := next((path for path in places if path.exists()), None):
        say(f"{net}@{plan.dataset} {regime} seed {seed}: from {there.name}")
        return pretrained.filled(spec, model, data, there, regime, {"origin": there.name})
    path, card = training.train(net, plan.view, seed, store, recipe, say)
    subject = pretrained.filled(spec, model, data, path, regime, card)
    if places:
        with replacing(places[0]) as temporary:
            torch.save(pretrained.read_weights(path), temporary)
    return subject

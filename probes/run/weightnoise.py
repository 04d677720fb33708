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
from probes.hooks import plain
from probes.measure import accuracy
from probes.perturb import weight_noise
from probes.perturb.weights import targets
from probes.run.lab import Lab, Options
from probes.run.noiseclaims import MAIN, lines
from probes.run.rows import csv_text, keep_aside, merge, number, read
from probes.store import Store, replacing, write_text
from probes.subjects import data as datasets
from probes.subjects import pretrained, training
from probes.subjects.data import Dataset
from probes.subjects.nets import nets as known_nets
from probes.subjects.pretrained import Subject
from probes.subjects.spec import Spec
from probes.subjects.training import Recipe
from probes.tell import decay, evidence, report

NETS = ("mlp_small", "mlp_medium", "mlp_large", "cnn", "resnet18")
ALPHAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
PRIMARY = (0.1, 0.2, 0.5, 1.0)
LOST = 0.05
"""The primary alpha of a network is the smallest of ``PRIMARY`` at which its clean regime loses so much, on other seeds."""
OTHER_SEEDS = (1000, 1001)
"""Seeds that calibrate where no others are named: nobody judges them."""
QUICK = {"seeds": tuple(range(8)), "alphas": (0.0, MAIN), "epochs": 1}
RUN: dict[str, Any] = {"architecture": str, "regime": str, "seed": int, "dataset": str, "alpha_train": number}
SUMMARY: dict[str, Any] = RUN | {"acc_0": number, "acc_01": number, "drop_at_01": number}
SWEEP: dict[str, Any] = RUN | {"alpha_test": number, "acc": number, "loss": number}
CALIBRATION: dict[str, Any] = {"architecture": str, "dataset": str, "seeds": str, "alpha": number, "drop": number, "primary": str}
RUNS: dict[str, Any] = RUN | {
    "epochs": int, "lr": number, "batch_size": int, "draws": int, "noise_seed": int, "images": int, "images_sha256": str,
    "precision": str, "weights": str, "weights_sha256": str, "perturbed_tensors": int, "perturbed_parameters": int,
    "parameters": int, "perturbed": str,
}  # fmt: skip
KEY = ["architecture", "regime", "seed", "alpha_train"]
SWEPT = ("draws", "noise_seed", "images_sha256", "precision")
"""What all runs in one folder must share."""
TRAINED = ("epochs", "lr", "batch_size")
"""What the runs of one network must share; 0 epochs stand for a checkpoint of unknown training."""
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
    others: tuple[int, ...] = OTHER_SEEDS
    quick: bool = False

    def __post_init__(self) -> None:
        weight_noise(*self.alphas)  # an error before the work
        if self.draws < 1 or not self.seeds or not self.others:
            raise BadInput(f"{self.draws} draws, seeds {self.seeds}, {self.others} to calibrate: one of each at least")
        if both := sorted({*self.seeds} & {*self.others}):
            raise BadInput(f"seed {both[0]} is to be judged and to calibrate: name others with --calibrate-on")
        self.recipe("noisy"), self.recipe("clean")
        object.__setattr__(self, "alphas", tuple(sorted(_short(a) for a in self.alphas)))
        for name in ("alpha_train", "lr"):
            object.__setattr__(self, name, _short(getattr(self, name)))

    def recipe(self, regime: str) -> Recipe:
        """The recipe of a regime: the same but for the noise."""
        return dataclasses.replace(
            training.WEIGHT_NOISE, name=regime, regime=regime, alpha_train=self.alpha_train if regime == "noisy" else 0.0,
            epochs=self.epochs, peak=self.lr, batch_size=self.batch_size,
        )  # fmt: skip

    @property
    def view(self) -> str:
        """The images: CIFAR-10 is made 28 px, as in the study; ``cifar10@32px`` keeps its size."""
        return "cifar10@28px" if self.dataset == "cifar10" else self.dataset


def _short(value: float) -> float:
    """A number as the CSV files hold it: nine significant digits."""
    return float(f"{value:.9g}")


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
    options, out = options or Options(), out.resolve()
    _check_places(out, checkpoints)
    where = options.where  # an error before the work, where there is no such device
    data = datasets.load(plan.view, options.split, store).sample(options.images)
    say(f"weight noise on {plan.dataset}: {len(data):,} test images, on {where.device}, {where.threads} threads")
    with _locked(out):
        for name in ("summary.csv", "sweep.csv"):
            if (out / name).exists() and not (out / "runs.csv").exists():
                kept = keep_aside(out / name)
                say(f"{name}: rows of unknown origin, which are not judged; those of runs that are made here are replaced, the file"
                    f" as it was is in aside/{kept.name}")  # fmt: skip
        _open(out, nets, plan, lambda _: None, {}, data, options)
    for net in nets:
        _try(net, plan, data, checkpoints)
    for net in nets:
        with _locked(out):
            rows = _open(out, nets, plan, say, {}, data, options)
        new = _one(net, plan, store, data, options, checkpoints, rows, say)
        with _locked(out):
            rows = _open(out, nets, plan, say, new, data, options)
            run = evidence.provenance(Path.cwd(), command, {})
            run["command"] = "\n".join(dict.fromkeys([*_commands(out), run["command"]]))
            found = lines(rows, plan, data, options, store, say)
            report.assemble(found, run, out, files=_files(rows) | _kept_aside(out))
    return out


def _locked(out: Path) -> FileLock:
    out.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(out.with_name(f".{out.name}.lock"))


def _commands(out: Path) -> list[str]:
    """The commands whose rows are in a folder, as its report tells them."""
    try:
        return str(json.loads((out / "run.json").read_text(encoding="utf-8"))["command"]).splitlines()
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _check_places(out: Path, checkpoints: Path | None) -> None:
    """BadInput for places that would cost somebody a file: a report replaces its folder."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file: choose a folder")
    if checkpoints is not None and checkpoints.exists() and not checkpoints.is_dir():
        raise BadInput(f"--checkpoints {checkpoints} is a file: choose a folder")
    if checkpoints is not None and (out == checkpoints.resolve() or out in checkpoints.resolve().parents):
        raise BadInput(f"--checkpoints {checkpoints} lies in --out {out}, which a report replaces: keep the two apart")
    ours = {*decay.FILES, *report.FILES}
    if strange := sorted(p.name for p in out.glob("*") if p.name not in ours):
        raise BadInput(f"--out {out} holds {strange[0]}, which is not ours: choose another folder")


def _try(net: str, plan: Plan, data: Dataset, checkpoints: Path | None) -> None:
    """Whether a network can be built, run on these images and perturbed, and its checkpoints read: an error before the work."""
    model = training.initial(net, data, plan.seeds[0]).eval()
    targets(model)
    try:
        with torch.inference_mode():
            model(torch.zeros(2, *data.images.shape[1:]))
    except (RuntimeError, IndexError) as e:
        raise BadInput(
            f"{net} can't run on images of {' x '.join(map(str, data.images.shape[1:]))}: {str(e).splitlines()[0]}"
        ) from e
    for regime in training.REGIMES:
        for seed in plan.seeds:
            if there := _checkpoint(net, regime, seed, plan, checkpoints):
                _from_checkpoint(there, net, regime, seed, plan, data)


def _kept_aside(out: Path) -> dict[str, bytes]:
    return {f"aside/{path.name}": path.read_bytes() for path in sorted((out / "aside").glob("*"))}


def _open(out: Path, nets: Sequence[str], plan: Plan, say: Say, new: Rows, data: Dataset, options: Options) -> Rows:
    """The rows of a folder, and new ones merged in; BadInput where the folder's design is another."""

    def foreign(row: Mapping[str, Any]) -> str:
        if row["dataset"] != plan.dataset:
            return f"is of {row['dataset']}, not of {plan.dataset}"
        if "regime" in row and row["regime"] not in training.REGIMES:
            return f"has the regime {row['regime']}"
        return (
            "" if row["architecture"] in known_nets or ":" in row["architecture"] else f"is of {row['architecture']}, unknown here"
        )

    keys = {"summary": KEY, "sweep": [*KEY, "alpha_test"], "calibration": ["architecture", "alpha"], "runs": KEY}
    columns = {"summary": SUMMARY, "sweep": SWEEP, "calibration": CALIBRATION, "runs": RUNS}
    rows = {name: read(out / f"{name}.csv", columns[name], foreign, say, keys[name]) for name in keys}
    here = _design(plan, data, options)
    for _, run in rows["runs"].iterrows():
        alike = (*SWEPT, *(TRAINED if run["epochs"] and run["architecture"] in nets else ()))
        if differs := [f"{n} {run[n]}, not {here[n]}" for n in alike if run[n] != here[n]]:
            raise BadInput(f"{out} holds {run['architecture']} {run['regime']} seed {run['seed']} with {'; '.join(differs)}:"
                           " choose another --out, or ask for the same")  # fmt: skip
    calibrated = rows["calibration"]
    if both := sorted({int(s) for text in calibrated["seeds"] for s in text.split()} & {*plan.seeds}):
        raise BadInput(f"{out} was calibrated on seed {both[0]}, which is to be judged: choose other seeds, or another --out")
    if "calibration" in new:  # what is recorded stays
        mine = new["calibration"]
        new = new | {"calibration": mine[~mine["architecture"].isin(calibrated["architecture"])]}
    if "runs" in new:  # a run that was made again with other weights leaves none of its old rows
        both_runs = rows["runs"].merge(new["runs"], on=KEY, suffixes=("", "_new"))
        other = both_runs[both_runs["weights_sha256"] != both_runs["weights_sha256_new"]][KEY]
        unknown_origin = new["runs"][KEY].merge(rows["runs"][KEY], how="left", indicator=True)
        other = pd.concat([other, unknown_origin[unknown_origin["_merge"] == "left_only"][KEY]]).drop_duplicates()
        marked = rows["sweep"].merge(other, on=KEY, how="left", indicator=True)
        rows["sweep"] = rows["sweep"][(marked["_merge"] == "left_only").to_numpy()]
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
        say(f"{net}@{plan.dataset}: its primary alpha, on seeds {' '.join(map(str, plan.others))}")
        new["calibration"] = calibration = calibrate(net, plan, store, data, options, checkpoints, say)
    primary = [] if plan.quick else list(calibration[calibration["primary"] == "yes"]["alpha"]) or [PRIMARY[-1]]
    alphas = tuple(sorted({*plan.alphas, MAIN, *primary}))
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
        weights, card = targets(subject.model), subject.card or {}
        unknown = {} if "recipe" in card else {"epochs": 0, "lr": 0.0, "batch_size": 0}
        runs.append(run | _design(plan, data, options) | unknown | {
            "weights": card.get("origin", "trained"), "perturbed": " ".join(plain(subject.model, n) for n in weights),
            "weights_sha256": subject.sha256,
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


def _checkpoint(net: str, regime: str, seed: int, plan: Plan, checkpoints: Path | None, made: bool = True) -> Path | None:
    """Where the checkpoint of a run lies under the study's name; the name it would get, where ``made`` is false."""
    alphas = dict.fromkeys((plan.recipe(regime).alpha_train, plan.alpha_train))
    places = [checkpoints / plan.dataset / f"{net}_{regime}_seed{seed}_a{alpha}.pt" for alpha in alphas] if checkpoints else []
    return next((path for path in places if path.exists() or not made), None)


def _from_checkpoint(path: Path, net: str, regime: str, seed: int, plan: Plan, data: Dataset) -> Subject:
    """The network of a checkpoint. One of ours has a card beside it, and BadInput says where its recipe is another.

    One without a card is the study's own: its training is unknown, and it gets values in [0, 1] as they are, as there.
    """
    spec, beside = Spec(net, regime, plan.view, seed), path.with_suffix(".json")
    if beside.exists():
        card = json.loads(beside.read_text(encoding="utf-8"))
        if differs := [f"{k} {card['recipe'].get(k)}, not {v}" for k, v in plan.recipe(regime).json().items()
                       if card["recipe"].get(k) != v]:  # fmt: skip
            raise BadInput(f"{path} was trained with {'; '.join(differs)}: choose another --checkpoints, or ask for the same")
        return pretrained.filled(spec, training.initial(net, data, seed), data, path, regime, card | {"origin": path.name})
    raw = dataclasses.replace(data, mean=(0.0,) * data.channels, std=(1.0,) * data.channels)
    return pretrained.filled(spec, training.initial(net, raw, seed), data, path, regime, {"origin": path.name})


def _subject(
    net: str, regime: str, seed: int, plan: Plan, store: Store, data: Dataset, checkpoints: Path | None, say: Say
) -> Subject:
    """A network of a regime and a seed: from a checkpoint under the study's name, else trained (and put there, with its card)."""
    if there := _checkpoint(net, regime, seed, plan, checkpoints):
        say(f"{net}@{plan.dataset} {regime} seed {seed}: from {there.name}")
        return _from_checkpoint(there, net, regime, seed, plan, data)
    path, card = training.train(net, plan.view, seed, store, plan.recipe(regime), say)
    if place := _checkpoint(net, regime, seed, plan, checkpoints, made=False):
        with replacing(place) as temporary:
            torch.save(pretrained.read_weights(path), temporary)
        write_text(place.with_suffix(".json"), json.dumps(card, indent=1, sort_keys=True) + "\n")
    return pretrained.filled(Spec(net, regime, plan.view, seed), training.initial(net, data, seed), data, path, regime, card)

"""Baselines: what a network answered, image by image, in one file. A later network is compared with
it without the old one's weights.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from probes import table
from probes.atomic import replacing
from probes.comparing.arms import Seeds, bench_with, names_of, refuse_copies
from probes.comparing.conditions import COLUMN, Paired, Under, keys_of, rows_of, sweeps_of
from probes.errors import BadInput, ProbesError, Unavailable
from probes.judge.accuracies import accuracy_of
from probes.judge.lazytable import summarise
from probes.judge.wording import counted
from probes.measure.confidence import Certainty
from probes.reading import loads
from probes.run.bench import Bench
from probes.run.console import say as print_line
from probes.run.settings import Options
from probes.store import Store
from probes.tell import origins
from probes.versions import versions

SCHEMA = 1
FOLDER = Path("baselines")
"""Where baselines lie where nothing else is said."""
ENTRY = b"probes baseline"
"""The entry of the file's metadata that says what it is."""
FACTS = {
    *("subject", "made", "commit", "versions", "weights", "dataset", "data", "images", "draws"),
    *("images_sha256", "split", "seed", "precision", "under", "conditions", "where", "verdicts"),
}
TOLD = ("net", "weights", "dataset", "train_seed", "image", "draw", "level", "site", COLUMN)


@dataclasses.dataclass(frozen=True, eq=False)
class Baseline:
    """The answers of a network, image by image: ``frame`` is a row per condition, image, draw and
    training run, ``facts`` what they are of, as JSON values.
    """

    name: str
    frame: pd.DataFrame
    facts: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its subjects, one per training run."""
        return tuple(self.facts["weights"])

    def age(self, root: Path | None = None, now: datetime.datetime | None = None) -> str:
        """How old it is: in days, and in commits of the checkout at ``root``."""
        made = datetime.datetime.fromisoformat(self.facts["made"])
        days = ((now or datetime.datetime.now(datetime.UTC)) - made).days
        return (
            f"{self.facts['subject']}, made {made:%Y-%m-%d} ({counted(days, 'day')} ago),"
            f" {commits_told(self.facts['commit'], root or Path.cwd())}"
        )

    def weights(self) -> dict[str, Any]:
        """What the evidence says of its networks."""
        return {
            f"{name} (baseline {self.name})": {
                "origin": one["origin"],
                "sha256": one["sha256"],
                "history": None,
                "accuracy": one["accuracy"],
                "notes": [f"measured before: {self.age()}"],
            }
            for name, one in self.facts["weights"].items()
        }

    def refuse_other(self, new: Paired) -> None:
        """Raise BadInput for a table that is of other images, another design or another metric."""
        design, facts = new.design, self.facts
        what = f"baseline {self.name}"
        for name in ("dataset", "split", "seed", "precision"):
            if facts[name] != (here := getattr(design, name)):
                raise BadInput(f"{what} is of {name} {facts[name]}, and this is of {name} {here}")
        keys = new.keys()
        for condition, key in keys.items():
            if condition not in facts["conditions"]:
                raise BadInput(
                    f"{what} has no condition {condition!r}; it has"
                    f" {', '.join(facts['conditions'])}: save it again, with --under"
                )
            if facts["conditions"][condition] != key:
                was = facts["conditions"][condition]
                raise BadInput(f"{what}: {condition!r} was {was}, and is {key} here")
        if len(keys) > 1 and design.draws != facts["draws"]:
            raise BadInput(
                f"{what} has {counted(facts['draws'], 'draw')} of noise, this has {design.draws}"
            )

    def refuse_other_images(self, lab: Bench) -> None:
        """Raise BadInput for a bench of other images than those of the baseline."""
        data, facts = next(iter(lab.subjects.values())).data, self.facts
        if data.sha256 != facts["images_sha256"]:
            raise BadInput(
                f"baseline {self.name} is of other images: {facts['images']:,} of"
                f" {facts['dataset']} (SHA-256 {facts['images_sha256'][:12]}), these are"
                f" {len(data):,} of {data.title} ({data.sha256[:12]})"
            )

    def otherwise(self, lab: Bench) -> list[str]:
        """What may change the last digits: other versions and another device, in words."""
        found = [
            f"{name} was {was or 'absent'}, here it is {here or 'absent'}"
            for name, here in versions().items()
            if (was := self.facts["versions"].get(name)) != here
        ]
        there, here = self.facts["where"]["device"], lab.options.where.device
        return found + ([f"it ran on {there}, this on {here}"] if there != here else [])


def commits_told(commit: str | None, root: Path) -> str:
    """How many commits a checkout has since a commit, in words."""
    if not commit:
        return "of no commit"
    since = origins.commits_since(commit, root)
    if since is None:
        return f"at commit {commit[:10]}, which is not in this checkout"
    return f"{counted(since, 'commit')} since {commit[:10]}"


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """The file of a baseline: in a folder by its name, or at the path that is given.

    >>> path_of("main").as_posix(), path_of("kept/old.parquet").as_posix()
    ('baselines/main.parquet', 'kept/old.parquet')
    """
    if name.endswith(".parquet"):
        return Path(name)
    if not re.fullmatch(r"[\w.-]+", name):
        raise BadInput(f"baseline {name!r}: letters, digits, '.', '_' and '-', or a .parquet file")
    return folder / f"{name}.parquet"


def save(
    name: str,
    net: str,
    dataset: str | None = None,
    *,
    under: Under = (),
    draws: int = 1,
    seeds: Seeds = None,
    folder: Path = FOLDER,
    replace: bool = False,
    store: Store | Path | str | None = None,
    options: Options | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = print_line,
    command: Sequence[str] = ("probes", "baseline", "save"),
    **given: Any,
) -> Path:
    """Measure a network under each condition, as :func:`probes.compare` does, and keep its answers
    in one file; its path.

    The file holds accuracy, loss, Brier score, confidence and margin for every image, draw and
    training run, the SHA-256 of weights, code and images, the design, the commit and the versions.
    Raises BadInput for a name that is taken, unless it is to be ``replace``-d, and what a lab
    raises.
    """
    path = path_of(name, folder)
    if path.exists() and not replace:
        raise BadInput(f"{path} is there already: choose another name, or replace it (--replace)")
    if path.exists():
        load(str(path))  # only a baseline is ever replaced
    place = store if isinstance(store, Store) else Store(Path(store)) if store else Store.default()
    options = dataclasses.replace(options or Options(), **given)
    if options.until is not None:
        raise BadInput("a baseline is of all its images: leave --until to the comparison")
    names = names_of(net, dataset, seeds, place)
    lab = bench_with(names, place, options, quiet=quiet, say=say)
    refuse_copies(lab, names)
    sweeps = sweeps_of(lab, names, Certainty(floor=None), under, draws, len(names) > 1)
    frame = rows_of(sweeps)
    run, first = origins.provenance(Path.cwd(), command, {}), sweeps[0].design
    facts = {
        "schema": SCHEMA,
        "name": path.stem,
        "subject": net,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **{name: run[name] for name in ("command", "commit", "dirty")},
        "versions": versions(),
        "weights": {name: _told(lab, name) for name in names},
        "dataset": first.dataset,
        "data": lab.subjects[names[0]].spec.dataset,
        "images": first.images,
        "images_sha256": first.images_sha256,
        **{name: getattr(first, name) for name in ("split", "seed", "precision")},
        "draws": draws,
        "under": _typed(under),
        "conditions": keys_of(sweeps),
        "metrics": [c for c in frame.columns if c not in TOLD],
        "where": lab.options.where.told(),
        "rows_sha256": rows_sha256(frame),
        "verdicts": _means(frame),
    }
    _write(frame, facts, path)
    return path


def _told(lab: Bench, name: str) -> dict[str, Any]:
    subject = lab.subjects[name]
    hits = lab.clean(subject)
    accuracy = hits if isinstance(hits, str) else f"{hits[0] / hits[1]:.1%} of {hits[1]:,}"
    return {
        "sha256": subject.sha256,
        "code": subject.code,
        "origin": subject.weights,
        "accuracy": accuracy,
    }


def _typed(under: Under) -> list[str] | None:
    """The conditions as they were typed; None where they are objects."""
    texts: list[Any] = list(under) if isinstance(under, list | tuple) else [under]
    return texts if all(isinstance(text, str) for text in texts) else None


def _means(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The mean of each metric, its 90 % interval (Wilson's of accuracy), by condition and run."""
    found = [
        summarise(part.drop(columns=COLUMN)).assign(**{COLUMN: name})
        for name, part in frame.groupby(COLUMN, sort=False)
    ]
    every = pd.concat(found, ignore_index=True)
    every = every[[COLUMN, "train_seed", "metric", "n", "mean", "low", "high"]]
    hits = frame.groupby([COLUMN, "train_seed", "image"], observed=True)["correct"].mean()
    for i, row in every[every["metric"] == "correct"].iterrows():
        mine = accuracy_of(hits[row[COLUMN], row["train_seed"]].to_numpy())
        every.loc[i, ["low", "high"]] = [side / 100 for side in mine[1:]]
    return json.loads(every.to_json(orient="records", double_precision=9))


def rows_sha256(frame: pd.DataFrame) -> str:
    """The SHA-256 over the columns of a table: names, values and order of rows."""
    h = hashlib.sha256()
    for name in sorted(frame.columns):
        values = frame[name].to_numpy()
        plain = values if values.dtype.kind in "biuf" else values.astype(str)
        h.update(name.encode())
        h.update(
            np.ascontiguousarray(plain).data
            if plain.dtype.kind in "biuf"
            else "\n".join(map(str, plain)).encode()
        )
    return h.hexdigest()


def _write(frame: pd.DataFrame, facts: Mapping[str, Any], path: Path) -> None:
    out = pa.Table.from_pandas(table.written(frame), preserve_index=False)
    told = {**(out.schema.metadata or {}), ENTRY: json.dumps(facts, allow_nan=False).encode()}
    out = out.replace_schema_metadata(told)
    with replacing(path) as temporary:
        pq.write_table(out, temporary, compression="zstd", compression_level=9)


def load(name: str, folder: Path = FOLDER) -> Baseline:
    """A baseline by its name, or its path. Raises Unavailable, with the command, for one that is
    not there; ProbesError for a file that is none, or that was changed.
    """
    path = path_of(name, folder)
    if not path.is_file():
        here = sorted(p.stem for p in path.parent.glob("*.parquet"))
        raise Unavailable(
            f"baseline {path}: no such file (here: {', '.join(here) or 'none'}); make it with"
            f" `probes baseline save {path.stem} NET --dataset DATASET`"
        )
    try:
        found = pq.read_table(path)
        found.validate(full=True)
        facts = loads((found.schema.metadata or {})[ENTRY])
        frame = found.to_pandas()
    except KeyError:
        raise ProbesError(f"{path} is a table, but no baseline") from None
    except (OSError, ValueError, pa.ArrowException) as e:
        raise ProbesError(f"{path} is no baseline: {e}") from e
    if isinstance(facts, dict) and facts.get("schema", SCHEMA) != SCHEMA:
        raise ProbesError(f"{path}: schema {facts['schema']}, this version reads {SCHEMA}")
    if not isinstance(facts, dict) or not FACTS | {"schema", "rows_sha256"} <= set(facts):
        raise ProbesError(f"{path}: what it says of itself was changed: save it again")
    if rows_sha256(frame) != facts["rows_sha256"]:
        raise ProbesError(f"{path}: its rows were changed (SHA-256 differs): save it again")
    return Baseline(path.stem, frame, facts)

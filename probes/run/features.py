"""The study of feature maps under noise: extract, aggregate, describe, picture, for anybody's network and images."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from torch import Tensor
from tqdm import tqdm

from probes.errors import BadInput
from probes.judge import Verdicts, both, exceeds, falls
from probes.measure import FeatureMetrics, extract, feature_metrics, stages
from probes.measure.features import compare
from probes.measure.mapstats import Alikeness, MapStatistics
from probes.measure.moments import rows
from probes.perturb import Gaussian, gaussian
from probes.registry import unknown
from probes.run import device
from probes.run.forward import network
from probes.run.judging import Claims, judge
from probes.run.lab import Lab, Options
from probes.run.options import ranges
from probes.run.passes import batches
from probes.store import Store, write_text
from probes.subjects import data as datasets
from probes.subjects import pretrained
from probes.subjects.data import Dataset
from probes.subjects.folders import CATEGORIES, IMAGENET, WANTED, endings, images_below, read_image, tell_skipped
from probes.subjects.pretrained import Subject
from probes.subjects.spec import Spec, parse
from probes.tell import evidence, mapfiles, pictures, report

LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The study's noise levels, standard deviations in units of the normalised image."""
TAKEN = ("histograms", "claims")
"""Folders of the run itself, which no image may have."""
VALUES = ("both", "csv", "parquet", "none")
Say = Callable[[str], None]


def depth(lab: Lab) -> Verdicts:
    """DEPTH: from each of the first three stages to the next, the relative distance to the clean maps grows by more than .05."""
    names = ("layer1", "layer2", "layer3")
    sweep = lab.sweep(FeatureMetrics(layers=names), under=gaussian(0, 0.1))
    pairs = itertools.pairwise(names)
    return both(*(exceeds(sweep, "map_distance", between=(b, a), arm="site", sesoi=0.05) for a, b in pairs))


def zeros(lab: Lab) -> Verdicts:
    """ZEROS: the share of zeros falls by more than half a point, in every stage."""
    return falls(lab.sweep(feature_metrics, under=gaussian(0, 0.1, 0.25)), "map_zeros", by="site", sesoi="0.5 points")


CLAIMS: Claims = {
    "DEPTH": ("The deeper the stage, the further noise moves its feature maps from the clean ones, relative to their norm.", depth),
    "ZEROS": ("Noise lowers the share of zeros in the feature maps of every stage.", zeros),
}
"""The sentences and the questions of the two claims, the same as those of the tests; pixel space, clamped."""


def study(
    net: str,
    images: str,
    store: Store,
    out: Path,
    *,
    layers: Sequence[str] | None = None,
    levels: Sequence[float] = LEVELS,
    space: str = "normalised",
    clamp: bool = False,
    scale: str = "shared",
    each: int = 3,
    values: str = "both",
    force: bool = False,
    claims: bool = False,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "features"),
    say: Say = lambda _: None,
) -> Path:
    """Feature maps of ``images`` (a file, a folder, ``DATASET`` or ``DATASET:IDS``) in ``net``, into the folder ``out``.

    For all images together, streaming: statistics by depth and by layer, how far the maps move, predictions. For the first
    ``each`` images a folder with the values (``features_*.csv``, Parquet), their aggregates, and pictures. ``net`` is
    ``net[:weights][@dataset][#seed]``, where the dataset is the one that its weights were trained on. ``claims`` also judges DEPTH
    and ZEROS on the dataset, a report in ``out/claims``. Raises what a sweep
    raises; BadInput for a file that is no image, a folder without any, or an ``out`` that exists (without ``force``).
    """
    options = options or Options()
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not force:
        raise BadInput(f"{out} exists and is kept: choose another --out, or replace it with --force")
    if each < 0:
        raise BadInput(f"each {each}: how many images get a folder, a whole number from 0 up")
    for name, value, allowed in (("scale", scale, ("shared", "per map")), ("values", values, VALUES)):
        if value not in allowed:
            raise unknown(name, value, allowed)
    under = gaussian(0, *(v for v in levels if v != 0), clamp=clamp, space=space)
    subject, names = _chosen(net, images, store, options)
    chosen = list(layers) if layers else stages(subject.model)
    if claims:
        _check_claims(subject, images, parse(net))
    found = _Found(chosen, under.levels)
    with report.replacing_folder(out) as scratch:
        for batch, passes in _passes(subject, chosen, under, options):
            found.add(batch, passes, subject)
            for i, image in enumerate(batch):
                if image < each:
                    say(f"{names[image]}: values and pictures ({image + 1} of {min(each, len(names))})")
                    one = {level: {layer: maps[i] for layer, maps in p.maps.items()} for level, p in passes.items()}
                    shown = {level: p.images[i] for level, p in passes.items()}
                    mapfiles.one_image(
                        scratch / names[image], one, shown, _captions(passes, i, subject), names[image], scale, values
                    )
        tables = found.write(scratch, subject, len(subject.data), by_depth=each < len(subject.data))
        run = evidence.provenance(Path.cwd(), command, {})
        if claims:
            spec = dataclasses.replace(parse(net), dataset=subject.data.name)  # as it was typed: what a test names
            lines = judge(spec, store, options, CLAIMS, "feature maps", say)
            report.assemble(lines, run, scratch / "claims")
            found.judged = [f"{line['id']} {line['overall']} on {line['design']['images']:,} images" for line in lines]
        if subject.data.name == "files":
            run["files"] = {str(i): name for i, name in zip(subject.data.ids, names, strict=True)}
        run |= {"net": str(subject.spec), "weights": subject.weights, "sha256": subject.sha256, "images": len(subject.data),
                "images_sha256": subject.data.sha256, "layers": chosen, "levels": list(under.levels), "space": space,
                "clamp": clamp, "seed": options.seed}  # fmt: skip
        write_text(scratch / "run.json", json.dumps(run, indent=1, sort_keys=True) + "\n")
        page = mapfiles.page(run, found.moved(), tables["statistics_by_layer"], subject.data.title, names, each, found.judged)
        write_text(scratch / "features.md", page)
        report.manifest(scratch)
    return out


def _check_claims(subject: Subject, images: str, spec: Spec) -> None:
    """Before any work: claims are judged on the whole dataset that the network was trained on, by its first three stages."""
    if subject.data.name not in datasets.datasets:
        raise BadInput(f"claims are judged on a dataset, not on files: --images {images}")
    if spec.dataset not in (None, subject.data.name):
        raise BadInput(f"claims are judged on the dataset of the network: {spec} has another than --images {images}")
    if lost := {"layer1", "layer2", "layer3"} - set(stages(subject.model)):
        raise BadInput(f"the claims read layer1, layer2 and layer3; {spec.net} has no {min(lost)}")


# --- which images, which network ----------------------------------------------------------------------------------------


def _chosen(net: str, images: str, store: Store, options: Options) -> tuple[Subject, list[str]]:
    spec = parse(net)
    place = Path(images).expanduser()
    if place.exists() or images.startswith(("/", "./", "../", "~")) or place.suffix.lower() in WANTED:
        known = pretrained.torchvisions(spec) if spec.weights else None
        trained_on = None if known else datasets.load(spec.dataset or "mnist5k", "test", store)
        data, names = _files(place, trained_on)
    else:
        name, ids = (images, "") if images.startswith(datasets.FOLDER) else images.partition(":")[::2]
        data = datasets.load(name, options.split, store)
        data = _by_id(data, ids) if ids else data.sample(options.images)
        names = [f"image_{i}" for i in data.ids]
        trained_on = data
        if spec.dataset not in (None, name):  # the network was trained on another one: its classes and constants
            trained_on = datasets.load(str(spec.dataset), "test", store)
            if trained_on.images.shape[1:] != data.images.shape[1:]:
                raise BadInput(f"{net} takes images of {trained_on.images.shape[1:]}, those of {name} are {data.images.shape[1:]}:"
                               " give files instead, which are resized")  # fmt: skip
            data = dataclasses.replace(data, classes=trained_on.classes, mean=trained_on.mean, std=trained_on.std,
                                       labels=np.zeros(len(data), np.int64))  # fmt: skip
    spec = dataclasses.replace(spec, dataset=spec.dataset or (trained_on.name if trained_on else "imagenet"))
    return pretrained.load(spec, data, store), names


def _files(place: Path, like: Dataset | None) -> tuple[Dataset, list[str]]:
    if not place.exists():
        raise BadInput(f"images {str(place)!r}: no such file or folder; give one, or a dataset, or DATASET:IDS")
    paths, skipped = images_below(place) if place.is_dir() else ([place], [])
    tell_skipped(f"images {str(place)!r}", place, skipped)
    if not paths:
        raise BadInput(f"images {str(place)!r}: no image in this folder ({', '.join(sorted(endings()))})")
    side, channels = (224, 3) if like is None else (like.images.shape[2], like.channels)
    pixels = np.stack([read_image(p, side, channels) for p in paths])
    classes = like.classes if like else CATEGORIES
    constants = IMAGENET if like is None else {"mean": like.mean, "std": like.std}
    stems = [re.sub(r"[^\w.-]+", "_", p.stem) for p in paths]
    names = [f"{i}_{s}" if stems.count(s) > 1 or s in TAKEN else s for i, s in enumerate(stems)]
    if len(set(names)) < len(names):
        names = [f"{i:04}_{s}" for i, s in enumerate(stems)]
    n = len(paths)
    return Dataset("files", place.name, "test", pixels, np.zeros(n, np.int64), np.arange(n), classes, **constants), names


def _by_id(data: Dataset, text: str) -> Dataset:
    """The images with these ids; a range takes those that there are (a split has not every id)."""
    ids = data.ids.astype(int)
    chosen = np.zeros(len(ids), bool)
    wanted = ranges(text)
    if wanted is None:
        raise BadInput(f"image ids {text!r}: numbers and ranges from small to large, e.g. {data.name}:{ids[0]} or {data.name}:0-40")
    for first, last in wanted:
        here = (ids >= first) & (ids <= last)
        if not here.any():
            near = ", ".join(map(str, sorted(ids[np.argsort(np.abs(ids - first), kind="stable")[:3]].tolist())))
            asked = first if first == last else f"{first}-{last}"
            raise BadInput(f"{data.name} ({data.split}) has no image with id {asked}; the nearest are {near}")
        chosen |= here
    return data.take(chosen)


# --- passes --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Pass:
    """One batch at one level: the images as they went in, the maps by layer, the logits."""

    images: np.ndarray
    maps: dict[str, Tensor]
    logits: Tensor


def _passes(
    subject: Subject, layers: Sequence[str], under: Gaussian, options: Options
) -> Iterator[tuple[range, dict[float, _Pass]]]:
    data, where = subject.data, options.where
    net = network(subject, where)
    model = net.model
    size = min(where.batch_size, max(4, 4_000_000 // data.images[0].size))
    with (
        tqdm(total=len(data) * len(under.levels), desc="features", unit="pass", disable=None, leave=False) as bar,
        device.exact(where.threads),
        device.cast(net.device, where.precision),
        extract(model, layers) as seen,
    ):
        for start in range(0, len(data), size):
            stop = min(start + size, len(data))
            found = {}
            for level in under.levels:
                _, images, _ = next(batches(data, start, stop, size, under, level, options.seed, 0))
                logits = model(net.send(images))
                found[level] = _Pass(images.numpy(), dict(seen), logits.float())
                bar.update(stop - start)
            yield range(start, stop), found


def _classes(subject: Subject, outputs: int) -> Sequence[str]:
    known = subject.data.classes
    if len(known) != outputs == 1000:
        known = CATEGORIES
    return known if len(known) == outputs else [str(i) for i in range(outputs)]


def _captions(passes: Mapping[float, _Pass], i: int, subject: Subject) -> dict[float, str]:
    """What is predicted of an image of the batch, at each level."""
    out = {}
    for level, one in passes.items():
        share, label = one.logits[i].softmax(0).max(0)
        out[level] = f"{_classes(subject, one.logits.shape[1])[int(label)]} ({share.item():.0%})"
    return out


class _Found:
    """What is known of all images so far, by layer and level: statistics, distances, CKA, predictions."""

    def __init__(self, layers: Sequence[str], levels: Sequence[float]) -> None:
        self.layers, self.levels = list(layers), list(levels)
        self.statistics: dict[tuple[str, float], MapStatistics] = {}
        self.alike = {(layer, level): Alikeness() for layer in layers for level in levels}
        self.distances: list[pd.DataFrame] = []
        self.predictions: list[pd.DataFrame] = []
        self.judged: list[str] = []

    def add(self, batch: range, passes: Mapping[float, _Pass], subject: Subject) -> None:
        ids = subject.data.ids[batch.start : batch.stop]
        clean = passes[0.0]
        for level, one in passes.items():
            for layer, maps in one.maps.items():
                new = MapStatistics.of(maps)
                key = (layer, level)
                if key in self.statistics:
                    self.statistics[key].update(new)
                else:
                    self.statistics[key] = new
                if not level:
                    continue
                moved = compare(rows(maps), rows(clean.maps[layer]))
                self.distances.append(pd.DataFrame({
                    "image": ids, "layer": layer, "level": level,
                    "distance": moved["map_distance"].cpu().numpy(), "cosine": moved["map_cosine"].cpu().numpy(),
                }))  # fmt: skip
                if len(batch) >= 4:
                    self.alike[key].add(rows(clean.maps[layer]), rows(maps))
            share, label = one.logits.softmax(1).max(1)
            names = _classes(subject, one.logits.shape[1])
            self.predictions.append(pd.DataFrame({
                "image": ids, "level": level, "class": label.cpu().numpy(), "name": [names[int(c)] for c in label],
                "probability": share.cpu().numpy(),
            }))  # fmt: skip

    def moved(self) -> pd.DataFrame:
        """Distance, cosine (mean over images, 90 % interval) and CKA, by layer and level."""
        if not self.distances:
            return pd.DataFrame(columns=["layer", "level", "images", "distance", "cosine", "cka"])
        every = pd.concat(self.distances)
        every["layer"] = pd.Categorical(every["layer"], self._order(), ordered=True)
        groups = every.groupby(["layer", "level"], observed=True)[["distance", "cosine"]]
        n, mean, sd = groups.size(), groups.mean(), groups.std(ddof=1)
        out = pd.DataFrame({"images": n})
        for name in ("distance", "cosine"):
            half: pd.Series = sd[name] * stats.t.isf(0.05, np.maximum(n - 1, 1)) / np.sqrt(n)
            out[name], out[f"{name}_low"], out[f"{name}_high"] = mean[name], mean[name] - half, mean[name] + half
        out["cka"] = [self.alike[layer, level].value() if self.alike[layer, level].images else np.nan for layer, level in out.index]
        return out.reset_index()

    def _order(self) -> list[str]:
        return list(dict.fromkeys(layer for layer, _ in self.statistics))

    def tables(self) -> dict[str, pd.DataFrame]:
        keys = [(layer, level) for layer in self._order() for level in self.levels]
        predictions = pd.concat(self.predictions).astype({"probability": "float32"}).round({"probability": 4})
        found = mapfiles.tables({key: self.statistics[key] for key in keys}) | {
            "moved": self.moved(),
            "predictions": predictions.sort_values(["image", "level"]),
        }
        return {name: table.reset_index(drop=True) for name, table in found.items()}

    def write(self, folder: Path, subject: Subject, n: int, by_depth: bool) -> dict[str, pd.DataFrame]:
        """Tables and figures of all images together."""
        tables = self.tables()
        for name, table in tables.items():
            if len(table) > 5_000:
                small = {c: "category" for c in table.select_dtypes(["object", "string"])}
                table.astype(small).to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
            else:
                table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
        who = f"{subject.spec}, {n:,} image{'s' * (n > 1)}"
        mapfiles.histograms(folder / "histograms", self.statistics, self.levels, who, by_depth)
        if self.distances:
            pictures.save_small(
                pictures.moved(self.moved(), f"How far the maps move from the clean ones: {who}"), folder / "moved.png"
            )
        return tables

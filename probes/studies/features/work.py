"""Feature maps of images at every level of noise, and what is known of them so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from torch import Tensor
from tqdm import tqdm

from probes.batch import Draw
from probes.kept import Kept
from probes.measure import extract
from probes.measure.features import compare
from probes.measure.mapstats import Alikeness, MapStatistics
from probes.moments import rows
from probes.perturb import Gaussian
from probes.run import device
from probes.run.cells import images_under
from probes.run.forward import network, pixels
from probes.run.settings import Options
from probes.studies.features import pages as mapfiles
from probes.studies.features import plots as pictures
from probes.subjects.folders import CATEGORIES
from probes.subjects.subject import Subject
from probes.tell.plots import save_small


@dataclasses.dataclass
class NoisyMaps:
    """One batch at one level: the images as they went in, the maps by layer, the logits."""

    images: np.ndarray
    maps: dict[str, Tensor]
    logits: Tensor


def passes_over(
    subject: Subject, layers: Sequence[str], under: Gaussian, options: Options
) -> Iterator[tuple[range, dict[float, NoisyMaps]]]:
    """Batches of a subject's images, each at every level: the places of the images, and what they
    give.
    """
    data, where = subject.data, options.where
    net = network(subject, where)
    model = net.model
    draw = Draw(options.seed, data.name, 0)
    size = min(where.batch_size, max(4, 4_000_000 // data.images[0].size))
    with (
        tqdm(
            total=len(data) * len(under.levels),
            desc="features",
            unit="pass",
            disable=None,
            leave=False,
        ) as bar,
        device.exact(where.threads),
        device.cast(net.device, where.precision),
        extract(model, layers) as seen,
    ):
        for start in range(0, len(data), size):
            stop = min(start + size, len(data))
            found = {}
            clean, kept = pixels(data, slice(start, stop)), Kept()
            for level in under.levels:
                images = images_under(
                    under, clean, data.ids[start:stop], level, draw, data.mean, data.std, kept
                )
                logits = model(net.send(images))
                found[level] = NoisyMaps(images.numpy(), dict(seen), logits.float())
                bar.update(stop - start)
            yield range(start, stop), found


def class_names(subject: Subject, outputs: int) -> Sequence[str]:
    """The names of a network's outputs: the dataset's classes, ImageNet's categories for 1,000,
    else their numbers.
    """
    known = subject.data.classes
    if len(known) != outputs == 1000:
        known = CATEGORIES
    return known if len(known) == outputs else [str(i) for i in range(outputs)]


def captions(passes: Mapping[float, NoisyMaps], i: int, subject: Subject) -> dict[float, str]:
    """What is predicted of an image of the batch, at each level."""
    out = {}
    for level, one in passes.items():
        share, label = one.logits[i].softmax(0).max(0)
        out[level] = f"{class_names(subject, one.logits.shape[1])[int(label)]} ({share.item():.0%})"
    return out


class Found:
    """What is known of all images so far, by layer and level: statistics, distances, CKA,
    predictions.
    """

    def __init__(self, layers: Sequence[str], levels: Sequence[float]) -> None:
        self.layers, self.levels = list(layers), list(levels)
        self.statistics: dict[tuple[str, float], MapStatistics] = {}
        self.alike = {(layer, level): Alikeness() for layer in layers for level in levels}
        self.distances: list[pd.DataFrame] = []
        self.predictions: list[pd.DataFrame] = []
        self.judged: list[str] = []

    def add(self, batch: range, passes: Mapping[float, NoisyMaps], subject: Subject) -> None:
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
                self.distances.append(
                    pd.DataFrame(
                        {
                            "image": ids,
                            "layer": layer,
                            "level": level,
                            "distance": moved["map_distance"].cpu().numpy(),
                            "cosine": moved["map_cosine"].cpu().numpy(),
                        }
                    )
                )
                if len(batch) >= 4:
                    self.alike[key].add(rows(clean.maps[layer]), rows(maps))
            share, label = one.logits.softmax(1).max(1)
            names = class_names(subject, one.logits.shape[1])
            self.predictions.append(
                pd.DataFrame(
                    {
                        "image": ids,
                        "level": level,
                        "class": label.cpu().numpy(),
                        "name": [names[int(c)] for c in label],
                        "probability": share.cpu().numpy(),
                    }
                )
            )

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
            out[name], out[f"{name}_low"], out[f"{name}_high"] = (
                mean[name],
                mean[name] - half,
                mean[name] + half,
            )
        out["cka"] = [
            self.alike[layer, level].value() if self.alike[layer, level].images else np.nan
            for layer, level in out.index
        ]
        return out.reset_index()

    def _order(self) -> list[str]:
        return list(dict.fromkeys(layer for layer, _ in self.statistics))

    def tables(self) -> dict[str, pd.DataFrame]:
        keys = [(layer, level) for layer in self._order() for level in self.levels]
        predictions = (
            pd.concat(self.predictions).astype({"probability": "float32"}).round({"probability": 4})
        )
        found = mapfiles.tables({key: self.statistics[key] for key in keys}) | {
            "moved": self.moved(),
            "predictions": predictions.sort_values(["image", "level"]),
        }
        return {name: table.reset_index(drop=True) for name, table in found.items()}

    def write(
        self, folder: Path, subject: Subject, n: int, by_depth: bool
    ) -> dict[str, pd.DataFrame]:
        """Tables and figures of all images together."""
        tables = self.tables()
        for name, table in tables.items():
            if len(table) > 5_000:
                small = {c: "category" for c in table.select_dtypes(["object", "string"])}
                table.astype(small).to_parquet(
                    folder / f"{name}.parquet", index=False, compression="zstd"
                )
            else:
                table.to_csv(
                    folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n"
                )
        who = f"{subject.spec}, {n:,} image{'s' * (n > 1)}"
        mapfiles.histograms(folder / "histograms", self.statistics, self.levels, who, by_depth)
        if self.distances:
            save_small(
                pictures.moved(self.moved(), f"How far the maps move from the clean ones: {who}"),
                folder / "moved.png",
            )
        return tables

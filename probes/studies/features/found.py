"""The collected results about the feature maps of all images so far, level by level."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from probes.measure.features import compare
from probes.measure.mapstats import LinearCKA, MapStatistics
from probes.moments import flatten_images
from probes.studies.features import pages as mapfiles
from probes.studies.features import plots as pictures
from probes.studies.features.passes import NoisyMaps, class_names
from probes.subjects.subject import Subject
from probes.tell.plots import save_small

STORED = {"m2": "spread"}
"""The names of fields in the store that differ from those in code."""


class Found:
    """The collected results for all images so far, by layer and level: statistics, distances, CKA,
    predictions.
    """

    def __init__(self, layers: Sequence[str], levels: Sequence[float]) -> None:
        self.layers, self.levels = list(layers), list(levels)
        self.statistics: dict[tuple[str, float], MapStatistics] = {}
        self.cka = {(layer, level): LinearCKA() for layer in layers for level in levels}
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
                moved = compare(flatten_images(maps), flatten_images(clean.maps[layer]))
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
                    self.cka[key].add(flatten_images(clean.maps[layer]), flatten_images(maps))
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

    def update(self, other: Found) -> None:
        """Add the results for other images."""
        for key, new in other.statistics.items():
            if key in self.statistics:
                self.statistics[key].update(new)
            else:
                self.statistics[key] = new
            self.cka[key].sums += other.cka[key].sums
            self.cka[key].images += other.cka[key].images
        self.distances += other.distances
        self.predictions += other.predictions

    def save(self, path: Path) -> None:
        """Write the results: only the counts of bins that are not empty, tables as Parquet."""
        arrays: dict[str, np.ndarray] = {}
        for i, (key, one) in enumerate(self.statistics.items()):
            for field in dataclasses.fields(one):
                if (value := getattr(one, field.name)) is None:
                    continue
                name = f"{i}/{STORED.get(field.name, field.name)}"
                if field.name in ("above", "below"):
                    some = np.flatnonzero(value)
                    arrays[f"{name} at"] = some
                    arrays[f"{name} shape"] = np.array(value.shape)
                    value = value.flat[some]
                arrays[name] = value
            arrays[f"{i}/alike"] = np.array([*self.cka[key].sums, self.cka[key].images])
        for name in ("distances", "predictions"):
            if tables := getattr(self, name):
                packed = pd.concat(tables, ignore_index=True).to_parquet(index=False)
                arrays[name] = np.frombuffer(packed, np.uint8)
        arrays["keys"] = np.array(json.dumps(list(self.statistics)))
        with open(path, "wb") as f:
            np.savez(f, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path, layers: Sequence[str], levels: Sequence[float]) -> Found:
        """Read what :meth:`save` wrote."""
        found = cls(layers, levels)
        with np.load(path, allow_pickle=False) as file:
            for i, (layer, level) in enumerate(json.loads(str(file["keys"]))):
                fields: dict[str, Any] = {}
                for field in dataclasses.fields(MapStatistics):
                    name = f"{i}/{STORED.get(field.name, field.name)}"
                    fields[field.name] = file.get(name)
                    if f"{name} at" in file:
                        value = np.zeros(file[f"{name} shape"], file[name].dtype)
                        value.flat[file[f"{name} at"]] = file[name]
                        fields[field.name] = value
                found.statistics[layer, level] = MapStatistics(**fields)
                *sums, images = file[f"{i}/alike"]
                cka = found.cka[layer, level]
                cka.sums, cka.images = np.array(sums), int(images)
            for name in ("distances", "predictions"):
                if name in file:
                    setattr(found, name, [pd.read_parquet(io.BytesIO(file[name].tobytes()))])
        return found

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
            self.cka[layer, level].value() if self.cka[layer, level].images else np.nan
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

"""The study of feature maps under noise: extract, aggregate, describe and picture them, for any
network and images.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from probes.atomic import write_text
from probes.errors import BadInput
from probes.judge.wording import counted
from probes.measure import stages
from probes.perturb import Gaussian, gaussian
from probes.registry import unknown
from probes.run.engine import fill
from probes.run.engines.chosen import engine_of
from probes.run.judging import judge
from probes.run.settings import Options
from probes.run.work import Place
from probes.store import Store
from probes.studies import sections
from probes.studies.features import pages as mapfiles
from probes.studies.features.claims import CLAIMS, check_claims
from probes.studies.features.found import Found
from probes.studies.features.images import chosen_images
from probes.studies.features.passes import batches, captions, passes_over
from probes.studies.features.work import Maps
from probes.subjects.spec import parse
from probes.subjects.subject import Subject
from probes.tell import origins, report, reportfolder

LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The study's noise levels, standard deviations in units of the normalised image."""
VALUES = ("both", "csv", "parquet", "none")
Say = Callable[[str], None]


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
    """Feature maps of ``images`` (a file, a folder, ``DATASET`` or ``DATASET:IDS``) in ``net``,
    written into the folder ``out``.

    For all images together (streaming) it gives statistics by depth and by layer, how far the maps
    move, and predictions. Each of the first ``each`` images gets a folder with the values
    (``features_*.csv``, Parquet), their aggregates, and pictures. ``net`` is
    ``net[:weights][@dataset][#seed]``, where the dataset is the one that its weights were trained
    on. ``claims`` also judges DEPTH and ZEROS on the dataset, with a report in ``out/claims``.
    Raises what a sweep raises; BadInput for a file that is no image, a folder without images, or an
    ``out`` that exists (without ``force``).
    """
    options = options or Options()
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not force:
        raise BadInput(
            f"{out} exists and is kept: choose another --out, or replace it with --force"
        )
    if each < 0:
        raise BadInput(f"each {each}: how many images get a folder, a whole number from 0 up")
    for name, value, allowed in (
        ("scale", scale, ("shared", "per map")),
        ("values", values, VALUES),
    ):
        if value not in allowed:
            raise unknown(name, value, allowed)
    under = gaussian(0, *(v for v in levels if v != 0), clamp=clamp, space=space)
    subject, names = chosen_images(net, images, store, options)
    chosen = list(layers) if layers else stages(subject.model)
    if claims:
        check_claims(subject, images, parse(net))
    load = partial(_load, net, images, str(store.folder), options)
    place = Place(store, load, {net: subject})
    works = [
        Maps(net, tuple(chosen), under, options.where, options.seed, batch.start, batch.stop)
        for batch in batches(subject, options.where)
    ]
    found = Found(chosen, under.levels)
    for path in fill(works, place, engine_of(options), options.quiet, "features"):
        found.update(Found.read(path, chosen, under.levels))
    with reportfolder.replacing_folder(out) as scratch:
        for i, one, shown, said in _pictured(subject, chosen, under, options, each):
            say(f"{names[i]}: values and pictures ({i + 1} of {min(each, len(names))})")
            mapfiles.one_image(scratch / names[i], one, shown, said, names[i], scale, values)
        tables = found.write(scratch, subject, len(subject.data), by_depth=each < len(subject.data))
        run = origins.provenance(Path.cwd(), command, {})
        if claims:
            spec = dataclasses.replace(
                parse(net),
                dataset=subject.data.name,
                # the name as it was typed, as tests give it
            )
            lines = judge(spec, store, options, CLAIMS, "feature maps", say)
            report.assemble(lines, run, scratch / "claims", sections=sections())
            found.judged = [
                f"{line['id']} {line['overall']} on {counted(line['design']['images'], 'image')}"
                for line in lines
            ]
        if subject.data.name == "files":
            run["files"] = {str(i): name for i, name in zip(subject.data.ids, names, strict=True)}
        run |= {
            "net": str(subject.spec),
            "weights": subject.weights,
            "sha256": subject.sha256,
            "images": len(subject.data),
            "images_sha256": subject.data.sha256,
            "layers": chosen,
            "levels": list(under.levels),
            "space": space,
            "clamp": clamp,
            "seed": options.seed,
        }
        write_text(scratch / "run.json", json.dumps(run, indent=1, sort_keys=True) + "\n")
        page = mapfiles.page(
            run,
            found.moved(),
            tables["statistics_by_layer"],
            subject.data.title,
            names,
            each,
            found.judged,
        )
        write_text(scratch / "features.md", page)
        reportfolder.manifest(scratch)
    return out


def _load(net: str, images: str, folder: str, options: Options, name: str) -> Subject:
    """The network with the requested images, for other processes."""
    return chosen_images(net, images, Store(folder), options)[0]


def _pictured(
    subject: Subject, layers: Sequence[str], under: Gaussian, options: Options, each: int
) -> Iterator[tuple[int, dict[float, dict[str, Tensor]], dict[float, np.ndarray], dict]]:
    """The first images: the place, and at each level the maps, the image and the prediction."""
    for batch in batches(subject, options.where):
        if batch.start >= each:
            return
        passes = passes_over(subject, layers, under, options.where, options.seed, batch)
        for i, image in enumerate(batch):
            if image < each:
                maps = {
                    level: {layer: maps[i] for layer, maps in p.maps.items()}
                    for level, p in passes.items()
                }
                shown = {level: p.images[i] for level, p in passes.items()}
                yield image, maps, shown, captions(passes, i, subject)

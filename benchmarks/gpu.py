"""What a GPU gives and how fast, beside the CPU of the same machine, as a table in Markdown.

    python benchmarks/gpu.py --device cuda --out docs/gpu.md

Values: the largest differences of named noise, block metrics and sensitivity indices; images that
are classified otherwise; whether verdicts of H1 and H0 are the same. Speed: images per second at
several batch sizes, precisions and layouts; a sweep beside plain passes; what the noise costs on
either side. ``--out`` replaces the table of a page between its two marks, or writes a file.
``--device cpu`` runs the code of a device on the CPU: what is equal shows there, what is fast does
not. ``--quick`` is a trial of a few images.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probes import Lab, accuracy, block_metrics, gaussian, philox, seeds
from probes.measure.blocks import METRICS
from probes.perturb import Gaussian
from probes.run.device import cast, exact
from probes.run.forward import LAYOUTS, Checked, Network
from probes.run.settings import Options
from probes.studies.dynamics.claims import h0, h1
from probes.studies.sensitivity import work
from probes.studies.sensitivity.plan import Plan
from probes.subjects import data, sending
from probes.subjects.subject import Subject
from probes.tell.markdown import grid

SUBJECTS = ("resnet20@mnist5k", "resnet18@cifar10")
LEVEL = 0.1


def beside(name: str) -> Any:
    """The module ``name.py`` beside this file."""
    place = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"probes_{name}", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


page, ratios = beside("page"), beside("ratios")


@contextlib.contextmanager
def as_device(device: str) -> Iterator[None]:
    """Inside the block a CPU runs the code of a device, if it stands in for one."""
    before = set(philox.DEVICES), set(sending.HOST)
    if device == "cpu":
        philox.DEVICES.add("cpu")
        sending.HOST.clear()
    try:
        yield
    finally:
        philox.DEVICES.clear(), philox.DEVICES.update(before[0])
        sending.HOST.clear(), sending.HOST.update(before[1])


def waited(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: str, rounds: int) -> float:
    """The median time of a call, after one that is not counted."""
    run()
    times = []
    for _ in range(rounds):
        waited(device)
        start = time.perf_counter()
        run()
        waited(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def lab(subject: str, device: str, folder: str, images: int | None) -> Lab:
    """A laboratory with a store of its own."""
    silent = {"quiet": True, "say": lambda text: None}
    return Lab(subject, store=Path(folder), device=device, images=images, **silent)


def far(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, in units of the largest value."""
    return float(np.nanmax(np.abs(a - b)) / (np.nanmax(np.abs(a)) or 1.0))


def noise_rows(device: str, size: int) -> list[list[str]]:
    """Words and normals of the device beside numpy's."""
    names = [("gpu", i) for i in range(8)]
    drawn = philox.words(size, names, device).cpu().numpy().view("uint64")
    same = all(
        (row == seeds.words(size, *name)).all() for row, name in zip(drawn, names, strict=True)
    )
    normals = philox.normals(size, names, device).cpu().numpy()
    apart = float(np.abs(normals - seeds.normals(size, names)).max())
    kind = torch.device(device).type
    by = "torch's integers" if philox._maker(kind) is philox.by_torch else "a Triton kernel"
    return [
        [f"{8 * size:,} raw words, by {by}", "equal" if same else "**not equal**"],
        [f"{8 * size:,} normals, largest difference", f"{apart:.2g}"],
    ]


def value_rows(subject: str, device: str, images: int | None) -> list[list[str]]:
    """Metrics, predictions and verdicts on the device beside those of the CPU."""
    found = []
    for where, code in (("cpu", contextlib.nullcontext()), (device, as_device(device))):
        with tempfile.TemporaryDirectory() as folder, code:
            one = lab(subject, where, folder, images)
            noisy = gaussian(0, LEVEL)
            blocks = one.sweep(block_metrics, under=noisy)
            answers = one.sweep(accuracy, under=noisy).frame
            verdicts = {name: ask(blocks) for name, ask in (("H1", h1), ("H0", h0))}
            found.append((blocks.frame, answers, verdicts))
    (here, right, verdicts), (there, answers, others) = found
    rows = []
    for site, part in here.groupby("site", observed=True):
        other = there[there["site"] == site]
        apart = (
            f"{name} {far(part[name].to_numpy(), other[name].to_numpy()):.1g}"
            for name in METRICS
            if name in part
        )
        rows.append([f"{subject}, block {site}, largest difference", ", ".join(apart)])
    flips = int((right["correct"].to_numpy() != answers["correct"].to_numpy()).sum())
    rows.append([f"{subject}, right on one and wrong on the other", f"{flips} of {len(right):,}"])
    for name, one in verdicts.items():
        a, b = [[v.outcome for v in x] for x in (one, others[name])]
        others_in = sum(x != y for x, y in zip(a, b, strict=True))
        same = f"**others in {others_in} blocks**" if others_in else "the same"
        rows.append([f"{subject}, verdicts of {name} ({one.overall})", same])
    return rows


def pass_rows(subject: Subject, device: str, sizes: Sequence[int], rounds: int) -> list[list[str]]:
    """Images per second of plain passes."""
    rows = []
    where = torch.device(device)
    for size in sizes:
        images = sending.pixels(subject.data, slice(0, size), where)
        row = [f"{len(images):,}"]
        for precision in ("fp32", "bf16"):
            for layout, form in LAYOUTS.items():
                model = subject.model.to(where).to(memory_format=form)
                sent = Network(model, where, Checked(layout, None))
                with exact(torch.get_num_threads()), cast(where, precision):
                    run = partial(lambda m, n, x: m(n.send(x)), model, sent, images)
                    one = seconds(run, device, rounds)
                row.append(f"{len(images) / one:,.0f}")
        rows.append(row)
    return rows


def sweep_rows(name: str, device: str, images: int | None, rounds: int) -> list[list[str]]:
    """Sweeps at two levels beside plain passes over the same images, in turn."""
    rows = []
    with as_device(device), tempfile.TemporaryDirectory() as folder:
        one = lab(name, device, folder, images)
        (subject,) = one.subjects.values()
        where, number = one.options.where, iter(range(10**6))
        one.sweep(accuracy, under=gaussian(0)).frame  # noqa: B018 - the first pass is not timed
        net = work.Reader(subject, {}, where).net

        def plain() -> None:
            with exact(where.threads):
                for _ in range(2):
                    for start in range(0, len(subject.data), where.batch_size):
                        part = slice(start, start + where.batch_size)
                        x = sending.pixels(subject.data, part, net.device)
                        net.model(net.send(x)).argmax(1).cpu()

        for measure in (accuracy, block_metrics):

            def swept(measure: Any = measure) -> None:
                seed = next(number)  # new noise, which both levels share
                for cell in one._cells({name: subject}, measure, gaussian(0, 0.1, 0.2), 1):
                    if cell.level:
                        made = dataclasses.replace(cell, seed=seed)
                        made.make(one.place, Path(folder) / "cell.parquet")

            times, around = [], [seconds(plain, device, 1)]
            for _ in range(rounds):
                times.append(seconds(swept, device, 1))
                around.append(seconds(plain, device, 1))
            found = ratios.ratio(measure.name, times, around)
            known = np.isfinite(found.low)  # there are rounds enough for an interval
            interval = f" [{found.low:.2f}, {found.high:.2f}]" if known else ""
            rows.append(
                [
                    f"{name}, {measure.name}, {len(subject.data):,} images",
                    f"{found.median:.2f}{interval}",
                    f"{2 * len(subject.data) / statistics.median(times):,.0f}",
                ]
            )
    return rows


def share_rows(subject: Subject, device: str, size: int, rounds: int) -> list[list[str]]:
    """What the noise of a batch costs, made by the CPU and made on the device."""
    under: Gaussian = gaussian(0, LEVEL)
    images = sending.pixels(subject.data, slice(0, size), device)
    ids, shape = range(len(images)), tuple(images.shape[1:])
    model = subject.model.to(device)
    with exact(torch.get_num_threads()):
        passed = seconds(lambda: model(images.clone()), device, rounds)
        rows = []
        here = seconds(lambda: under.noise("d", ids, shape, 0, 0).to(device), device, rounds)
        with as_device(device):
            there = seconds(lambda: under.noise("d", ids, shape, 0, 0, device), device, rounds)
        for name, one in (("by numpy, and sent", here), ("on the device", there)):
            share = one / (one + passed)
            rows.append([f"{subject.spec}, {name}", f"{1000 * one:.2f}", f"{share:.0%}"])
    return rows


def index_rows(subject: Subject, device: str, rows: int) -> list[list[str]]:
    """A scrambling of a sensitivity study on either side."""
    plan = Plan("1", rows=rows)
    parts = {"layer3": slice(0, 256)}
    found, times = [], []
    for where, code in (("cpu", contextlib.nullcontext()), (device, as_device(device))):
        with code:
            passes = work.passes_of(subject, plan, parts, Options(device=where).where)
            pool = plan.pool(subject.data, None)  # type: ignore[arg-type]
            work.scrambled(passes, dataclasses.replace(plan, rows=8), 0, pool, "warm")
            waited(device)
            start = time.perf_counter()
            found.append(work.scrambled(passes, plan, 0, pool, "gpu")[0]["layer3"])
            waited(device)
            times.append(time.perf_counter() - start)
    apart = (
        f"{name} {far(getattr(found[0], name).numpy(), getattr(found[1], name).numpy()):.1g}"
        for name in ("first", "total", "shapley")
    )
    return [
        [f"{subject.spec}, indices of layer3 from {rows} base points", ", ".join(apart)],
        ["seconds on the CPU and on the device", f"{times[0]:.2f}, {times[1]:.2f}"],
    ]


def table(device: str, images: int | None, quick: bool) -> str:
    """All of it, as Markdown."""
    sizes, rounds = ((20, 40), 2) if quick else ((250, 1024, 2048), 9)
    here = [s for s in SUBJECTS[: 1 if quick else 2] if data.here(s.partition("@")[2])]
    text = [f"Measured on: {page.machine(device)}.", "### Values beside those of the CPU"]
    with as_device(device):
        rows = noise_rows(device, 20_001 if quick else 2_000_001)
    for name in here:
        rows += value_rows(name, device, images)
    text.append(grid(["what", "on the device"], rows))
    with tempfile.TemporaryDirectory() as folder:
        subjects = {n: next(iter(lab(n, device, folder, images).subjects.values())) for n in here}
        for name, one in subjects.items():
            heads = [f"{p}, {layout}" for p in ("fp32", "bf16") for layout in LAYOUTS]
            text.append(f"### Images per second, {name}")
            text.append(grid(["batch", *heads], pass_rows(one, device, sizes, rounds)))
        text.append("### A sweep beside plain passes")
        rows = [row for n in here for row in sweep_rows(n, device, images, rounds)]
        text.append(grid(["what", "time of the passes [90 %]", "images per second"], rows))
        text.append("### The noise of a batch")
        rows = [r for s in subjects.values() for r in share_rows(s, device, sizes[-1], rounds)]
        text.append(grid(["what", "milliseconds", "of noise and pass"], rows))
        text.append("### Sensitivity indices")
        rows = index_rows(subjects[here[0]], device, 16 if quick else 256)
        text.append(grid(["what", "on the device"], rows))
    return "\n\n".join(text) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, mps or cpu (default: cuda)")
    parser.add_argument("--images", type=int, help="images of each dataset (default: all)")
    parser.add_argument("--out", type=Path, help="a page with a table, or a file (default: print)")
    parser.add_argument("--quick", action="store_true", help="a trial of a few images")
    given = parser.parse_args()
    number = given.images or (200 if given.quick else None)
    done = table(given.device, number, given.quick)
    page.write(given.out, done) if given.out else print(done)

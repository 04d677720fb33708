"""How far it goes: studies on all of ImageNet on 1 to 512 GPUs, from costs of a piece that are
measured on this machine and a simulation of the driver and its workers.

    python benchmarks/scale.py [--speed resnet50=2500 vit_b_16=1200] [--out FILE]

Measured here: what the driver does for a piece (its key, sending it, adding the result to the
store), reading a result back, the bytes of a result by row, and the pieces that a worker waits for.
Not measured here: the images per second of a GPU. They are assumptions, given by ``--speed`` and
printed; the times that follow scale with them.
"""

import argparse
import dataclasses
import heapq
import pickle
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from probes import gaussian
from probes.cost import duration, size
from probes.measure import block_metrics
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.stacking import stacked
from probes.store import Store
from probes.subjects.spec import parse

SPEED = {"resnet50": 2500.0, "vit_b_16": 1200.0}
"""Assumed images per second of one data-centre GPU in fp32 without TF32."""
BLOCKS = {"resnet50": 16, "vit_b_16": 24}
"""Residual sums of each network: the sites of a block metric."""
SIDE = 224
WIRE = 1.25e9
"""Bytes per second of a node's network, 10 Gbit/s: assumed."""
CELL = 2500
"""Images of a cell: ten batches of 250."""
GPUS = (1, 8, 64, 512)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a piece costs: seconds of the driver to hand it out and to keep its result, seconds to
    read it back and for each of its rows, bytes of a row and of a piece.
    """

    hand: float
    keep: float
    read: float
    read_row: float
    row: float
    piece: float


@dataclasses.dataclass(frozen=True)
class Asked:
    """A study: the images that it passes through a network in all, its pieces, and its rows."""

    name: str
    net: str
    images: int
    passes: int
    pieces: int
    rows: int


def studies():
    """The studies of the table."""
    for net, blocks in BLOCKS.items():
        for name, images in (("validation", 50_000), ("training", 1_281_167)):
            levels, cells = 6, -(-images // CELL)
            yield Asked(
                f"H1 and H0, {name} images", net, images, images * levels, cells * levels,
                images * levels * blocks,
            )  # fmt: skip
        levels = 19 * 5 + 1
        cells = -(-50_000 // CELL) * levels
        yield Asked("19 corruptions x 5", net, 50_000, 50_000 * levels, cells, 50_000 * levels)
        rows, inputs = 2**14, 12
        yield Asked(
            f"Sobol, {inputs} augmentations, {rows:,} rows", net, rows, rows * (inputs + 2),
            20 * (inputs + 2), 20 * inputs * 1000,
        )  # fmt: skip


def measured(folder):
    """The costs of a piece, measured here: medians over 60 cells of two sizes."""
    found = {}
    for images in (50, 250):
        one = Bench(
            [parse("resnet20@mnist5k")],
            Store(folder / str(images)),
            Options(images=images, threads=1),
        )
        cells = one.sweep(block_metrics, under=gaussian(*(i / 300 for i in range(60)))).cells
        paths = one.fill(cells)
        other = Store(folder / f"{images}-other")
        hand, keep, read = [], [], []
        for cell, path in zip(cells, paths, strict=True):
            began = time.perf_counter()
            other.name(cell.key(), cell.suffix), pickle.dumps(cell)
            hand.append(time.perf_counter() - began)
            record, payload = one.store.entry(cell.kind, path.name)
            began = time.perf_counter()
            other.add(record, payload)
            keep.append(time.perf_counter() - began)
        for _ in range(5):
            began = time.perf_counter()
            frame = stacked(paths, [{}] * len(paths), ("net", "weights", "dataset"))
            read.append((time.perf_counter() - began) / len(paths))
        bytes_ = float(np.median([path.stat().st_size for path in paths]))
        rows = len(frame) / len(paths)
        found[rows] = [float(np.median(x)) for x in (hand, keep, read)] + [bytes_]
    (few, a), (many, b) = sorted(found.items())
    per_row = [(y - x) / (many - few) for x, y in zip(a, b, strict=True)]
    return Costs(
        hand=max(a[0], b[0]),
        keep=b[1],
        read=max(0.0, a[2] - few * per_row[2]),
        read_row=max(0.0, per_row[2]),
        row=per_row[3],
        piece=max(0.0, a[3] - few * per_row[3]) + 1200,
    )


def simulated(pieces, gpus, work, costs, ahead=2):
    """The seconds until all pieces are in the store, and the share of them that the driver works.

    Each of ``gpus`` workers has at most ``ahead`` pieces, makes one after the other, and the driver
    does one thing at a time: it hands out a piece, or keeps a result.
    """
    driver = busy = 0.0
    left, events = pieces, []  # (time of a result, worker)
    free = [0.0] * gpus
    for _ in range(ahead):
        for worker in range(gpus):
            if left:
                left -= 1
                driver += costs.hand
                busy += costs.hand
                free[worker] = max(free[worker], driver) + work
                heapq.heappush(events, (free[worker], worker))
    while events:
        came, worker = heapq.heappop(events)
        driver = max(driver, came) + costs.keep
        busy += costs.keep
        if left:
            left -= 1
            driver += costs.hand
            busy += costs.hand
            free[worker] = max(free[worker], driver) + work
            heapq.heappush(events, (free[worker], worker))
    return driver, busy / driver


def table(costs, speed):
    """The rows of the table, as markdown."""
    yield (
        "| study | network | passes | pieces | store | to each node | "
        + " | ".join(f"{g} GPU{'s' * (g > 1)}" for g in GPUS)
        + " | reading the table, rows |"
    )
    yield "|" + " --- |" * (7 + len(GPUS))
    for asked in studies():
        work = asked.passes / asked.pieces / speed[asked.net]
        stored = asked.pieces * costs.piece + asked.rows * costs.row
        wire = asked.images * 3 * SIDE * SIDE
        cells = []
        for gpus in GPUS:
            took, load = simulated(asked.pieces, gpus, work, costs)
            took += wire / WIRE
            cells.append(f"{duration(took)}, driver {load:.1%}")
        read = asked.pieces * costs.read + asked.rows * costs.read_row
        yield (
            f"| {asked.name} | {asked.net} | {asked.passes:,} | {asked.pieces:,} | {size(stored)} |"
            f" {size(wire)} in {duration(wire / WIRE)} | {' | '.join(cells)} |"
            f" {duration(read)}, {asked.rows:,} |"
        )


def saturation(costs, speed):
    """How many GPUs one driver keeps busy, by network."""
    for net, images in speed.items():
        yield (
            f"- {net}: a piece of {CELL:,} images works {CELL / images:.1f} s; one driver hands out"
            f" and keeps {1 / (costs.hand + costs.keep):,.0f} pieces a second, enough for"
            f" {CELL / images / (costs.hand + costs.keep):,.0f} GPUs"
        )


def main():
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", nargs="*", default=[], metavar="NET=IMAGES")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    speed = SPEED | {n: float(v) for n, _, v in (text.partition("=") for text in given.speed)}
    folder = Path(tempfile.mkdtemp())
    try:
        costs = measured(folder)
    finally:
        shutil.rmtree(folder)
    lines = [
        "Measured: "
        f"{1000 * costs.hand:.2f} ms to hand a piece out, {1000 * costs.keep:.2f} ms to keep its"
        f" result, {1000 * costs.read:.2f} ms to read it back and {1e6 * costs.read_row:.2f} µs a"
        f" row; {costs.row:.1f} bytes a row and {costs.piece:,.0f} a piece.",
        "Assumed: "
        + ", ".join(f"{net} {images:,.0f} images a second a GPU" for net, images in speed.items())
        + f"; {WIRE / 1e9:g} GB a second into a node.",
        "",
        *table(costs, speed),
        "",
        *saturation(costs, speed),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""What deciding as soon as it is decided saves: H1 and H0 with looks up to 10,000 images, against
all 10,000, each from an empty store.

    python benchmarks/until.py resnet18@cifar10 --until 10000

prints, as Markdown, images and seconds of both ways, the verdicts, and at how many images each
block was decided. The levels are 0 and .1, so that both ways measure the same cells per image.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from probes import Lab, block_metrics, gaussian
from probes.judge import Verdicts
from probes.studies.dynamics.claims import h0, h1
from probes.tell.markdown import grid


def timed(ask: Callable[[Lab], Verdicts], **how: object) -> tuple[Verdicts, float]:
    """The verdicts of a claim from an empty store, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(given.subject, store=Path(folder), device=given.device, quiet=True, **how)
        lab.subjects  # noqa: B018 - what is loaded once is not timed
        start = time.perf_counter()
        found = lab.decide(ask) if "until" in how else ask(lab)
        for frame in found.inputs:
            len(frame)
        return found, time.perf_counter() - start


parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("subject")
parser.add_argument("--until", type=int, default=10_000)
parser.add_argument("--device")
given = parser.parse_args()
rows, blocks = [], []
for name, question in (("H1", h1), ("H0", h0)):

    def ask(lab: Lab, question: Callable = question) -> Verdicts:
        return question(lab.sweep(block_metrics, under=gaussian(0, 0.1)))

    early, fast = timed(ask, until=given.until)
    whole, slow = timed(ask, images=given.until)
    used = early.path[-1].n
    rows.append(
        [
            *(name, early.overall, whole.overall, f"{used:,}", f"{given.until:,}"),
            *(f"{fast:.1f}", f"{slow:.1f}", f"{fast / slow:.2f}"),
        ]
    )
    for i, v in enumerate(early):
        with contextlib.suppress(StopIteration):
            first = next(look.n for look in early.path if look.outcomes[i] != "inconclusive")
            blocks.append([name, v.label, v.outcome, whole[v.label].outcome, f"{first:,}"])
            continue
        blocks.append([name, v.label, v.outcome, whole[v.label].outcome, "not decided"])
header = ["claim", "with looks", "all images", "images used", "of"]
print(grid([*header, "seconds", "seconds, all", "ratio"], rows))
print()
print(grid(["claim", "block", "with looks", "all images", "decided at"], blocks))

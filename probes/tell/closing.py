"""The end of a page: how to read it, how to make it again, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from probes.judge.wording import cover
from probes.tell import runplots
from probes.tell.markdown import Draw, Line, grid, slug


def words(alphas: Iterable[float] = (0.05,)) -> str:
    """How to read a verdict; ``alphas`` are those of the claims."""
    covers = " or ".join(dict.fromkeys(map(cover, alphas))) or cover(0.05)
    return f"""## How to read a verdict

- **supported**: a one-sided test at alpha excludes every effect up to the SESOI (the smallest effect of interest), in the
  claimed direction. **refuted**: it excludes every effect as large as the SESOI. **inconclusive** (open): neither.
  **mixed**: after Holm's correction at least one block is supported and at least one refuted.
- Test and interval are one procedure: supported means that the {covers} interval lies beyond the SESOI, refuted that it ends
  short of it. Where a rule can't decide (too few images, say) a verdict is open whatever its interval; the last column says why.
- A ratio is judged by the 20 % trimmed mean over images of its logarithm, the typical image; the ratio of the means, which
  a few images can dominate, stands beside it. rho: mean Spearman correlation with σ over images, with the p of
  Page's trend test; neither decides anything.
- A block's verdict is that of all parts of the question together; each part has an outcome of its own beside its numbers.
- n counts images or training runs, never pixels, channels, batches or noise draws."""  # noqa: E501


def made_by(run: Mapping[str, Any], *how: str) -> str:
    """The command that made a page, what else to do with it (``how``), and its provenance."""
    dirty = " (with uncommitted changes)" if run.get("dirty") else ""
    facts = [
        ["commit", f"{run.get('commit') or 'not in a git checkout'}{dirty}"],
        ["probes", run["probes"]],
        ["python", run["python"]],
    ]
    facts += [[name, version] for name, version in run["packages"].items() if version]
    facts += [["machine", f"{run['processor']} ({run['machine']}), {run['cores']} cores"]]
    facts += [
        ["options", "; ".join(f"{k} = {v}" for k, v in sorted(run["options"].items())) or "none"]
    ]
    parts = [
        "## How to reproduce",
        f"```\n{run['command']}\n```",
        *how,
        "## Provenance",
        grid(["what", "value"], facts),
    ]
    return "\n\n".join(parts)


def made(
    folder: Path,
    lines: Sequence[Line],
    run: Mapping[str, Any],
    draw: Draw,
) -> str:
    """How to reproduce, and provenance."""
    how = (
        "`probes report DIR` draws this page again from its files; `probes verify DIR` checks the"
        " manifest, judges every verdict again from the tables, and compares each recorded"
        " expectation with the evidence that it cites."
    )
    text = [made_by(run, how)]
    rows = {}
    for line in lines:
        where = ", ".join(f"{k} {v}" for k, v in line["where"].items())
        for name, weights in line["weights"].items():
            rows[name] = [
                f"`{name}`",
                weights["origin"],
                f"`{weights['sha256']}`",
                weights.get("accuracy") or "",
                where,
            ]
    text.append(
        grid(
            ["subject", "weights", "SHA-256 of the weights", "clean test accuracy", "where it ran"],
            rows.values(),
        )
    )
    for name, history in {
        n: w["history"] for r in lines for n, w in r["weights"].items() if w.get("history")
    }.items():
        path = f"figures/training-{slug(name)}.png"
        draw(partial(runplots.training, pd.DataFrame(history), name), folder / path)
        text.append(f"![how {name} was trained]({path})")
    images = {}
    for r in lines:
        d = r["design"]
        images[d["images_sha256"], d["seed"], d["draws"]] = [
            d["dataset"],
            f"{d['images']:,}",
            f"`{d['images_sha256']}`",
            d["seed"],
            d["draws"],
        ]
    text.append(
        grid(
            ["images", "number", "SHA-256 (images, labels, ids)", "noise seed", "draws"],
            images.values(),
        )
    )
    return "\n\n".join(text)

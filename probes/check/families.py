"""A member of every family of timm, checked: what is read right, what is refused and why."""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import re
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from probes.atomic import write_text
from probes.check.instruments import Tried, examine
from probes.errors import ProbesError
from probes.reading import loads
from probes.run.console import say
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import pretrained
from probes.subjects.dataset import Dataset
from probes.subjects.libraries import timm as builder_of
from probes.subjects.spec import parse
from probes.tell.markdown import grid
from probes.versions import version_of

EVERY = "timm:*"
"""What is typed for a member of every family."""
SIDES = (64, 224)
"""The sides of images that are tried first, for networks that take any; then their own."""
LARGEST, MOST = 256, 30_000_000
"""Above this side, or this number of parameters, two images do in place of eight."""
SMALL = (
    "zepto",
    "atto",
    "femto",
    "pico",
    "nano",
    "xxs",
    "xxt",
    "xs",
    "tiny",
    "mini",
    "small",
    "_t",
)
LARGE = ("giant", "gigantic", "huge", "enormous", "xxl", "xlarge", "_xl", "large", "_l", "base")


def members() -> dict[str, list[str]]:
    """The networks of each family of timm (its modules), those with small names first. Networks
    that timm has for its own tests are left out.
    """
    import timm

    found = {}
    for family in timm.list_modules():
        names = [n for n in timm.list_models(module=family) if not n.startswith("test_")]
        if names:
            found[family] = sorted(names, key=_size)
    return found


def _size(name: str) -> tuple[int, int, int, str]:
    """Small names first: words for sizes, then numbers."""
    small = next((i for i, word in enumerate(SMALL) if word in name), len(SMALL))
    large = any(word in name for word in LARGE)
    numbers = [int(n) for n in re.findall(r"\d+", name)]
    return large, small, max(numbers, default=0), name


def images(side: int, n: int = 8) -> Dataset:
    """A few random images of a side, of ten classes."""
    made = np.random.Generator(np.random.Philox(side)).integers(
        0, 256, (n, 3, side, side), dtype=np.uint8
    )
    return Dataset(
        name=f"random{side}",
        title=f"random images of {side} px",
        split="test",
        images=made,
        labels=np.arange(n),
        ids=np.arange(n),
        classes=tuple(f"class {i}" for i in range(10)),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


def row(family: str, names: Sequence[str], store: Store, options: Options) -> dict[str, Any]:
    """The first member of a family that can be built and run, examined."""
    why = ""
    for name in names[:3]:
        wants = builder_of(name).takes  # type: ignore[attr-defined]
        own = wants.size
        for side in dict.fromkeys((*SIDES, wants.own_size or 224) if own is None else SIDES[:1]):
            start = time.perf_counter()
            try:
                with torch.random.fork_rng([]):
                    torch.manual_seed(0)
                    spec = parse(f"timm:{name}:untrained@random{side}")
                    subject = pretrained.load(spec, images(side), store)
                    parameters = sum(p.numel() for p in subject.model.parameters())
                    if parameters > MOST or (own or 0) > LARGEST:
                        subject = dataclasses.replace(subject, data=images(side, 2))
                    found = examine(subject, options.where)
            except ProbesError as e:
                why = why or f"{name} at {side} px: {e}"
                continue
            except Exception as e:  # noqa: BLE001 - a network that can't run at this size
                said = (str(e).splitlines() or [""])[0]
                why = why or f"{name} at {side} px: {type(e).__name__} {said}".rstrip()
                continue
            finally:
                gc.collect()
            tried = {one.name: one for one in found.tried}
            shortcuts = Counter(s.shortcut for s in found.sums)
            return {
                "family": family,
                "network": name,
                "side": getattr(subject.model, "side", None) or side,
                "parameters": parameters,
                "sums": len(found.sums),
                "projections": shortcuts["projection"],
                "next": ", ".join(sorted({s.next or "nothing" for s in found.sums})),
                "outcome": "wrong" if found.wrong else "right" if found.sums else "no sums",
                "why": "; ".join(found.wrong[:2]),
                **{column: _said(tried[name]) for column, name in COLUMNS.items()},
                "seconds": round(time.perf_counter() - start, 1),
            }
    return {"family": family, "network": names[0], "outcome": "refused", "why": why}


def _said(one: Tried) -> str:
    return one.what if one.works else f"refused: {one.what}"


COLUMNS = {
    "blocks": "block_metrics",
    "features": "feature_metrics",
    "layer noise": "layer_noise(...)",
    "weight noise": "weight_noise(...)",
}


def write(out: Path, store: Store, options: Options, command: Sequence[str]) -> pd.DataFrame:
    """Examine a member of every family, and write ``families.csv`` and a page into a folder. What
    is in the store is not examined again, so that an interrupted run goes on.
    """
    every = members()
    rows = []
    for i, (family, names) in enumerate(every.items()):
        key = {
            "kind": "family",
            "version": 3,
            "family": family,
            "names": names[:3],
            "timm": version_of("timm"),
            "threads": options.where.threads,
        }
        make = functools.partial(_write_row, family, names, store, options)
        say(f"{i + 1} of {len(every)}: {family}")
        path = store.get_or_make("families", key, ".txt", make)
        rows.append(loads(path.read_text(encoding="utf-8")))
        say(f"    {rows[-1]['network']}: {rows[-1]['outcome']} {rows[-1]['why']}".rstrip())
    frame = pd.DataFrame(rows).convert_dtypes()
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "families.csv", frame.drop(columns="seconds").to_csv(index=False))
    write_text(out / "report.md", page(frame, command))
    say(f"report: {out / 'report.md'}")
    return frame


def _write_row(
    family: str, names: Sequence[str], store: Store, options: Options, path: Path
) -> None:
    path.write_text(json.dumps(row(family, names, store, options)), encoding="utf-8")


def page(frame: pd.DataFrame, command: Sequence[str]) -> str:
    """The table of families as a page."""
    counts = Counter(frame["outcome"])
    words = ", ".join(f"{counts[o]} {o}" for o in ("right", "no sums", "refused", "wrong"))
    columns = ["family", "network", "side", "sums", "projections", "next", "outcome"]
    shown = frame.reindex(columns=columns).astype(object).where(frame[columns].notna(), "")
    rows = [[_number(v) for v in r] for r in shown.itertuples(index=False)]
    refused = frame[frame["outcome"].isin(["refused", "wrong"])]
    reasons = "\n".join(f"- `{r.network}` ({r.family}): {r.why}" for r in refused.itertuples())
    lost = [
        f"- `{r['network']}`, {column}: {str(r[column]).removeprefix('refused: ')}"
        for _, r in frame.iterrows()
        for column in COLUMNS
        if str(r.get(column, "")).startswith("refused: ")
        and not (column == "blocks" and r["outcome"] == "no sums")
    ]
    return (
        "# Residual sums in the families of timm\n\n"
        f"A small network of each of the {len(frame)} families of timm {version_of('timm')}, with"
        f" random weights, by `probes {shlex.join(command)}` (torch"
        f" {torch.__version__.split('+')[0]}): {words}.\n\n"
        "*right*: at every sum x + h is the sum (1e-5 of the largest value); an image alone gives"
        " what it gives in a batch of 8 (of 2 above 30 million parameters or 256 px); h is what it"
        " was when it was made; the output is bit for"
        " bit that without taps, and the network is left as it was. *no sums*: nowhere do two"
        " tensors meet of which one has passed through more weights; features, weights and"
        " accuracy are read all the same. *refused*: can't be measured, with the reason below."
        " `next` is what the sums go into.\n\n"
        f"{grid(columns, rows)}\n\n"
        f"## Refused\n\n{reasons or 'None.'}\n\n"
        "## Other instruments that are refused\n\n"
        f"{chr(10).join(lost) or 'None.'}\n"
    )


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value

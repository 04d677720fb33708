"""How what was asked differs from what a recorded line asked: designs, questions, weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probes.judge.questions import normal
from probes.judge.wording import counted
from probes.tell.evidence import members


def designs_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The designs of the tables that an evidence line was asked of; one, where all are of the
    same."""
    return record.get("designs") or [record["design"]]


def all_differences(recorded: Mapping[str, Any], here: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the designs of a question's tables differ from those of a recorded line, in words, each
    once.

    A line of an earlier version holds the design of one table: it is compared with each.
    """
    before, now = designs_of(recorded), list(here)
    if "part" not in before[0]:
        now = [{**d, "part": {}} for d in now]
    before, now = ([d for i, d in enumerate(ds) if d not in ds[:i]] for ds in (before, now))
    if len(before) != len(now) and len(before) > 1:
        return [f"{len(now)} tables instead of {len(before)}"]
    pairs = (
        zip(before, now, strict=True) if len(before) == len(now) else ((before[0], d) for d in now)
    )
    return list(dict.fromkeys(text for was, is_ in pairs for text in differences(was, is_)))


DESIGN = (
    "images",
    "images_sha256",
    "levels",
    "draws",
    "seed",
    "clamp",
    "space",
    "precision",
    "split",
    "runs",
    "perturbation",
    "part",
)


DEFAULTS = {"space": "pixels", "precision": "fp32", "split": "test", "part": {}}


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """How a design differs from the recorded one, in words; an expectation holds only where it does
    not.
    """
    recorded, here = DEFAULTS | dict(recorded), DEFAULTS | dict(here)
    changed = [name for name in DESIGN if recorded.get(name) != here.get(name)]
    if "images" in changed and "images_sha256" in changed:
        changed.remove("images_sha256")
    return [f"{name} {here.get(name)} instead of {recorded.get(name)}" for name in changed]


def unlike(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """How what was asked differs from what a recorded line asked, beside the design: sentence,
    question, alpha, looks, blocks, how many units were judged, and weights.

    Weights that a claim trains are known by their recipe and seed, all others by their SHA-256.
    """
    found = []
    if recorded.get("sentence") != here.get("sentence"):
        found.append("another sentence")
    if normal(recorded["question"]) != normal(here["question"]):
        found.append(_questions(normal(recorded["question"]), normal(here["question"])))
    for name, default in (("alpha", None), ("looks", 1), ("until", None)):
        was, now = recorded.get(name, default), here.get(name, default)
        if name == "until":
            was, now = ((v or {}).get("images") for v in (was, now))
        if was != now:
            found.append(f"{name} {now or 'none'} instead of {was or 'none'}")
    was, now = members(recorded), members(here)
    if [v.label for v in was] != [v.label for v in now]:
        found.append(f"{counted(len(now), 'block')} instead of {len(was)}, or others")
    elif recorded["design"]["images"] == here["design"]["images"] and (
        counts := [
            (a.n, b.n)
            for v, w in zip(was, now, strict=True)
            for a, b in zip(v.leaves, w.leaves, strict=False)
            if a.n != b.n
        ]
    ):
        found.append(f"{counts[0][1]:,} units judged instead of {counts[0][0]:,}")
    made = [
        name
        for name, one in here.get("weights", {}).items()
        if (before := recorded.get("weights", {}).get(name))
        and not one.get("trained_here")
        and before["sha256"] != one["sha256"]
    ]
    return found + ([f"other weights than recorded ({', '.join(made)})"] if made else [])


def _questions(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    pairs = (
        [(was, now)]
        if "parts" not in was or "parts" not in now or len(was["parts"]) != len(now["parts"])
        else list(zip(was["parts"], now["parts"], strict=True))
    )
    words = [
        f"{key} {b.get(key)} instead of {a.get(key)}"
        for a, b in pairs
        for key in dict.fromkeys((*a, *b))
        if a.get(key) != b.get(key) and key != "parts"
    ]
    return "another question: " + ", ".join(dict.fromkeys(words)) if words else "another question"


def matching(
    lines: Iterable[Mapping[str, Any]], designs: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Of several evidence lines of one claim on one subject, the one of these designs; else the
    first; else None.

    A report may judge a claim at the design of the test and at more images: the test cites the
    former.
    """
    lines = list(lines)
    return next((r for r in lines if not all_differences(r, designs)), lines[0] if lines else None)

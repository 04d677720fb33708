"""Claims judged without pytest, for the studies: at the number of images that tests use, and on all
of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probes.errors import Unfinished
from probes.judge import Verdicts
from probes.judge.power import Design
from probes.judge.wording import counted
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.spec import Spec
from probes.tell import evidence

Say = Callable[[str], None]
Claims = Mapping[str, tuple[str, Callable[[Bench], Verdicts]]]
"""Claims by id: a sentence, and the question that is asked of a bench."""


def judge(
    spec: Spec, store: Store, options: Options, claims: Claims, family: str, say: Say
) -> list[dict[str, Any]]:
    """The evidence lines of claims on one subject.

    If a dataset gives claims fewer images than it has, claims are judged twice: on the number of
    images that the tests use, and on all test images (or ``options.images``). With
    ``options.until`` they are judged once, as soon as they are decided.
    """
    assert spec.dataset is not None
    if options.until is not None:
        return _as_soon_as_decided(spec, store, options, claims, family, say)
    data = datasets.load(spec.dataset, options.split, store)
    all_images, claim_images = options.images or len(data), data.claim_images
    lines: list[dict[str, Any]] = []
    left: list[Unfinished] = []
    for images in dict.fromkeys(
        n for n in (claim_images, all_images) if n is not None and n <= all_images
    ):
        say(f"{spec}: {' and '.join(claims)} on {counted(images, 'image')}")
        for ident, (sentence, ask) in claims.items():
            lab = Bench([spec], store, dataclasses.replace(options, images=images), quiet=False)
            try:
                lines.append(told(lab, ask(lab), (ident, sentence, family), str(spec)))
            except Unfinished as e:
                left.append(e)
    refuse_unfinished(left, lines)
    return lines


def _as_soon_as_decided(
    spec: Spec, store: Store, options: Options, claims: Claims, family: str, say: Say
) -> list[dict[str, Any]]:
    assert options.until is not None
    lines: list[dict[str, Any]] = []
    left: list[Unfinished] = []
    for ident, (sentence, ask) in claims.items():
        lab = Bench([spec], store, options, quiet=False, say=say)
        say(f"{spec}: {ident}, on at most {counted(options.until, 'image')}")
        try:
            found = lab.decide(ask)
        except Unfinished as e:
            left.append(e)
            continue
        used = found.path[-1].n if found.path else options.until
        last = lab.at_look(used, options.alpha)
        lines.append(told(last, found, (ident, sentence, family), str(spec)))
    refuse_unfinished(left, lines)
    return lines


def refuse_unfinished(left: Sequence[Unfinished], lines: Sequence[dict[str, Any]]) -> None:
    """Raise one Unfinished for all claims that lack pieces; it carries the lines of the others."""
    if left:
        first = left[0]
        for other in left[1:]:
            first += other
        first.lines = [*lines]
        raise first


def told(lab: Bench, found: Verdicts, claim: tuple[str, str, str], subject: str) -> dict[str, Any]:
    """The evidence line of a claim that was judged on a bench's tables."""
    return record(
        found,
        claim,
        subject,
        [table.design for table in found.asked],
        lab.facts(*found.asked),
        lab.store,
    )


def record(
    found: Verdicts,
    claim: tuple[str, str, str],
    subject: str,
    designs: Sequence[Design],
    extra: Mapping[str, Any],
    store: Store,
) -> dict[str, Any]:
    """The evidence line of a claim (id, sentence, family) that no test declares. It has no
    expectation, and nothing is altered.
    """
    declared: dict[str, Any] = dict(zip(("id", "sentence", "family"), claim, strict=True))
    declared |= {"test": None, "expect": None, "altered": []}
    inputs = [evidence.deposit(frame, store) for frame in found.inputs]
    return evidence.line(
        found,
        claim=declared,
        subject=subject,
        designs=[d.json() for d in designs],
        inputs=inputs,
        extra=extra,
    )

"""Claims judged without pytest, for the studies: at the number of images that tests use, and at all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from probes.judge import Verdicts
from probes.run.lab import Lab, Options
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.spec import Spec
from probes.tell import evidence

Say = Callable[[str], None]
Claims = Mapping[str, tuple[str, Callable[[Lab], Verdicts]]]
"""Claims by id: a sentence, and what is asked of a lab."""


def judge(spec: Spec, store: Store, options: Options, claims: Claims, family: str, say: Say) -> list[dict[str, Any]]:
    """The evidence lines of claims on one subject.

    Where a dataset gives claims fewer images than it has, both are judged: at the number that the tests use, and at all test
    images (or ``options.images``).
    """
    assert spec.dataset is not None
    data = datasets.load(spec.dataset, options.split, store)
    most, few = options.images or len(data), data.claim_images
    lines = []
    for images in dict.fromkeys(n for n in (few, most) if n is not None and n <= most):
        say(f"{spec}: {' and '.join(claims)} on {images:,} images")
        for ident, (sentence, ask) in claims.items():
            lab = Lab([spec], store, dataclasses.replace(options, images=images), quiet=False)
            found = ask(lab)
            claim: dict[str, Any] = {
                "id": ident, "sentence": sentence, "family": family, "test": None, "expect": None, "altered": [],
            }  # fmt: skip
            inputs = [evidence.deposit(frame, store) for frame in found.inputs]
            design = lab.sweeps[-1].design.json()
            lines.append(evidence.line(found, claim=claim, subject=str(spec), design=design, inputs=inputs, extra=lab.facts()))
    return lines

"""The study of guided masks: every mask on every input, the effect of guidance beyond size and
magnitude, and verdicts about it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.judge import falls, power, rises
from probes.judge.power import Design
from probes.judge.wording import counted
from probes.perturb.composed import SETS
from probes.run.bench import Bench
from probes.run.judging import told
from probes.run.settings import Options
from probes.store import Store
from probes.studies import sections
from probes.studies.masking import responses
from probes.studies.masking.claims import Masked, Masking
from probes.studies.masking.guide import Guide, Guiding
from probes.studies.masking.masks import Mask
from probes.studies.masking.plan import IMAGES, MaskPlan
from probes.studies.masking.work import CLEAN, MaskedPredictions, correct
from probes.studies.sensitivity.plan import Plan
from probes.subjects import data as datasets
from probes.subjects.spec import on
from probes.tell import origins, report, reportfolder

DECAY = 20
WITHOUT = "Without the units most sensitive to an augmentation, accuracy under it "
LOWER = "is more than a point lower than without as many random units"
SENTENCES = {
    "MASK-RANDOM": f"{LOWER}, for every augmentation of ",
    "MASK-MATCHED": f"{LOWER} of the same magnitudes, for every augmentation of ",
    "MASK-OWN": "falls by more than a point more than on clean images, for every augmentation of ",
}
Say = Callable[[str], None]


def study(
    net: str,
    dataset: str,
    store: Store,
    out: Path,
    plan: MaskPlan,
    *,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "masking"),
    say: Say = lambda _: None,
) -> Path:
    """Guided masks of a network and their controls, and the claims about them, as a report in
    ``out``.

    The tables are ``responses`` (a row per input and mask), ``classes`` and ``decay`` (the last
    layer) and ``ties`` (the units that the published rule would mask). A killed run loses at most
    20 masks on one input. Raises what a plan, a guide and a lab raise.
    """
    reportfolder.replaceable(out)
    options, spec = options or Options(), on(net, dataset)
    images = options.images or min(IMAGES, len(datasets.load(dataset, options.split, store)))
    options = dataclasses.replace(options, images=images)
    lab = Bench([spec], store, options, quiet=False, say=say)
    ((name_of, subject),) = lab.subjects.items()
    if not plan.factors and plan.draws == 1:  # a design that can't decide is told before the work
        data, runs = subject.data, ((subject.spec.net, 1),)
        for rule, draws in (("two-way", plan.random), ("two-way", plan.matched), ("mean", 1)):
            foreseen = Design(
                data.title, images, data.sha256, draws, options.seed, (0.0, 1.0), runs
            )
            if problem := power.foresee(foreseen, rule, options.alpha):
                say(f"{spec}: the claims {problem}")
    tables: dict[str, list[pd.DataFrame]] = {
        name: [] for name in ("responses", "classes", "decay", "ties")
    }
    lines: list[dict[str, Any]] = []
    for which in plan.sets:
        one = Plan(
            which, plan.rows, plan.scramblings, plan.names, factors=plan.factors, seed=options.seed
        )
        label = (
            f"set {which}"
            if isinstance(which, str) and which in SETS
            else ", ".join([which] if isinstance(which, str) else which)
        )
        predictions = MaskedPredictions(
            lab, Guiding(name_of, one, plan.measures, lab.options.where), plan.draws
        )
        augmented, _ = one.designs(subject.data.channels)[0]
        say(f"{spec}, {label}: indices on training images, masks on {images:,} test images")
        guide = predictions.guide
        wanted = {name: plan.masks(guide, name) for name in (CLEAN, *augmented.names)}
        say(
            f"{', '.join(guide.magnitude)}: {counted(sum(map(len, wanted.values())), 'mask')} on"
            f" {counted(len(wanted), 'input')}"
        )
        for name, topk in predictions.of(wanted).items():
            masks = wanted[name]
            hits = correct(topk, subject.data.labels).mean(2)
            rows = pd.DataFrame([dataclasses.asdict(m) for m in masks]).assign(
                top1=hits[:, 0], top5=hits[:, 1]
            )
            tables["responses"].append(rows.assign(set=label, input=name))
            tables["classes"].append(_classes(guide, name, masks, topk, plan).assign(set=label))
        tables["decay"].append(_decay(guide, subject.data.classes).assign(set=label))
        tables["ties"].append(_ties(guide, plan.qs).assign(set=label))
        lines += _judged(lab, which, label, plan, images, say)
    found = {
        name: pd.concat(parts, ignore_index=True)
        for name, parts in tables.items()
        if any(map(len, parts))
    }
    return report.assemble(
        lines, origins.provenance(Path.cwd(), command, {}), out, found, sections=sections()
    )


def _judged(
    lab: Bench, which: str | tuple[str, ...], label: str, plan: MaskPlan, images: int, say: Say
) -> Iterable[dict[str, Any]]:
    """The evidence lines of a set: compared with random masks, with matched masks, and with clean
    images.
    """
    if plan.factors or plan.draws > 1:
        say(
            "no claim is judged: the claims have one draw of parameters and no factors of the image"
            " beside the image itself"
        )
        return
    q, alpha = plan.primary
    asked: dict[str, Any] = dataclasses.asdict(
        Masking(
            which,
            plan.measures[0],
            q,
            alpha,
            0,
            images,
            images,
            plan.rows,
            plan.scramblings,
            plan.names,
        )
    )
    beside: dict[str, Any] = {"by": "site", "unit": "image and draw", "sesoi": "1 point"}
    for ident, ask in (
        (
            "MASK-RANDOM",
            lambda: falls(
                Masked(lab, Masking(**asked | {"draws": plan.random})).random, "correct", **beside
            ),
        ),
        (
            "MASK-MATCHED",
            lambda: falls(
                Masked(lab, Masking(**asked | {"draws": plan.matched})).matched, "correct", **beside
            ),
        ),
        (
            "MASK-OWN",
            lambda: rises(
                Masked(lab, Masking(**asked)).own, "mask_lost", by="site", sesoi="1 point"
            ),
        ),
    ):
        say(f"{ident}, {label}")
        name = ident if label in ("set 1", "") else f"{ident} {label}"
        claim = (name, f"{WITHOUT}{SENTENCES[ident]}{label}.", "masking")
        yield told(lab, ask(), claim, str(lab.specs[0]))


def _classes(
    guide: Guide, name: str, masks: Sequence[Mask], topk: np.ndarray, plan: MaskPlan
) -> pd.DataFrame:
    """Whether the most sensitive units of the last layer show up in the predictions on an input,
    unmasked and masked by its own index.
    """
    q, alpha = plan.primary
    rows = []
    for measure, index in guide.classes.items():
        for j, variable in enumerate(guide.variables):
            own = Mask("guided", variable, q, alpha, measure=measure)
            shown = {"none": Mask()} | ({"own": own} if variable == name else {})
            for label, mask in shown.items():
                found = responses.top_class_overlap(
                    topk[masks.index(mask), 0], index[j], measure, variable, name, label
                )
                rows.append(
                    {
                        "measure": measure,
                        "input": name,
                        "variable": variable,
                        "mask": label,
                        **found,
                    }
                )
    return pd.DataFrame(rows)


def _decay(guide: Guide, classes: Sequence[str]) -> pd.DataFrame:
    """The largest indices of the last layer's units, sorted, with their classes."""
    rows = []
    for measure, index in guide.classes.items():
        for variable, values in zip(guide.variables, index, strict=True):
            for rank, c in enumerate(np.argsort(-np.nan_to_num(values), kind="stable")[:DECAY], 1):
                rows.append((measure, variable, rank, classes[c], values[c]))
    return pd.DataFrame(rows, columns=["measure", "variable", "rank", "class", "index"])


def _ties(guide: Guide, qs: Sequence[float]) -> pd.DataFrame:
    """The share of units that the published rule would mask, by module."""
    rows = [
        (measure, variable, module, q, responses.ties(values, q))
        for measure, of in guide.index.items()
        for module, index in of.items()
        for variable, values in zip(guide.variables, index, strict=True)
        for q in qs
    ]
    return pd.DataFrame(rows, columns=["measure", "variable", "module", "q", "share"])

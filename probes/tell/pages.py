"""The sections of a report, as Markdown, with the figures that they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probes.judge.unseen import disclosures
from probes.judge.verdict import Verdict
from probes.judge.wording import counted, cover, p_shown, shown
from probes.reading import array
from probes.table import from_csv
from probes.tell import evidence, plots, runplots
from probes.tell.frontpage import anchor, expected
from probes.tell.markdown import Draw, Line, grid, slug

BLOCK = "block"


def section(
    folder: Path,
    line: Line,
    place: Path,
    draw: Draw | None,
    below: Sequence[Callable[[Path, Line], Sequence[str]]] = (),
) -> str:
    """One claim: the question, the answer, the map by depth, the table per block, and what studies
    add ``below``. ``draw`` has its figures, which lie in ``place``; without it there are none.
    """
    members = evidence.members(line)
    many = f" ({line['counts']})" if len(members) > 1 else ""
    title = (
        f"{line['id']} on {line['subject']}: {line['overall']}{many},"
        f" {counted(line['design']['images'], 'image')}"
    )
    text = [f'<a id="{anchor(line)}"></a>\n## {line["id"]} on `{line["subject"]}`']
    text.append(f"**Question.** {line['sentence']}")
    random = " of an **untrained** network" if evidence.untrained(line) else ""
    text.append(
        f"**Answer: {line['overall']}**{many}{random}, {line['scope']}. Expected: {expected(line)}."
    )
    varied = evidence.varied(line)
    asked = list(dict.fromkeys(leaf.asked(varied) for m in members for leaf in m.leaves))
    text.append(f"**Asked:** {'; '.join(asked)}.")
    if done := line["design"].get("description"):
        unit, levels = (
            line["design"].get("unit"),
            " ".join(f"{v:g}" for v in line["design"]["levels"]),
        )
        text.append(f"**Done to it:** {done}{f', {varied} {levels} ({unit})' if unit else ''}.")
    if was := line.get("rejudged"):
        text.append(
            f"**Judged again** from the same tables, by the rules of this version; by earlier rules"
            f" it was {was}."
        )
    if (look := line.get("look", "")) and look != "look 1 of 1 declared":
        text.append(f"**Looks at these data:** {look}.")
    if line.get("altered"):
        text.append(
            f"**Altered design:** {'; '.join(line['altered'])}. No expectation applies to it."
        )
    text += [f"{told[0].upper()}{told[1:]}." for told in evidence.perturbed(line)]
    if classes := line.get("classes"):
        some = ", ".join(f"{name} ({n})" for name, n in list(classes.items())[:12])
        text.append(
            f"{counted(len(classes), 'class')}, with their images: {some}"
            f"{', ...' if len(classes) > 12 else ''}."
        )
    text += [
        f"Note: `{name}` {note}."
        for name, w in line["weights"].items()
        for note in w.get("notes", ())
    ]

    def figure(make: Callable[[], Any], name: str, words: str) -> None:
        if draw:
            draw(make, folder / place / name)
            text.append(f"![{words}]({place.as_posix()}/{name})")

    seeds = any(leaf.unit == "training seed" for m in members for leaf in m.leaves)
    if seeds and (len(members) == 1 or _called(line) == BLOCK):
        for i, leaf in enumerate(members[0].leaves):
            which = f"_{i + 1}" if i else ""
            figure(
                partial(_figure, runplots.runs, leaf, varied=varied),
                f"runs{which}.png",
                "the effect of each training run",
            )
            frame = evidence.load_table(folder, line, i)
            if frame["site"].nunique() > 1 and frame["level"].nunique() > 1:
                figure(
                    partial(
                        _figure, runplots.by_depth, frame, leaf.metric, leaf.kind, varied=varied
                    ),
                    f"by_depth{which}.png",
                    "response by depth, a line per training run",
                )
    else:
        figure(
            partial(
                plots.verdict_map, members, title, varied, evidence.level_of(line), _called(line)
            ),
            "verdicts.png",
            "the verdict of each block, by depth",
        )
    text.append(_blocks(members, evidence.level_of(line)))
    if line.get("until"):
        figure(
            partial(runplots.looks, line, members),
            "looks.png",
            "the interval of each block, look by look",
        )
    text.extend(_remarks(members, varied, line["alpha"]))
    for part in zip(*(m.leaves for m in members), strict=True):
        if len(part[0].curve) > 1:
            figure(
                partial(_figure, plots.heat, part, varied=varied),
                f"heat_{part[0].metric}.png",
                f"{part[0].metric}: effect of each level in each block",
            )
    for told in below:
        text.extend(told(folder, line))
    return "\n\n".join(text)


def _called(line: Line) -> str:
    """What the members of a family are called, by the key column that tells them apart."""
    question = line["question"]
    while question.get("parts"):
        question = question["parts"][0]
    by = question.get("by")
    return BLOCK if by in (None, "site") else str(by)


def _figure(draw: Callable[..., Any], *args: Any, **how: Any) -> Any:
    return draw(*args, **how).figure


def overview(folder: Path, lines: Sequence[Line], draw: Draw) -> str:
    """The verdicts of many claims in one figure, in place of their own."""
    draw(partial(runplots.overview, lines), folder / "figures" / "overview.png")
    return (
        f"## All claims\n\nThe figures of {counted(len(lines), 'claim')} are left out:"
        " `probes report FOLDER --figures` draws them.\n\n"
        "![the verdict of each block of each claim](figures/overview.png)"
    )


def _blocks(members: Sequence[Verdict], alpha: float) -> str:
    rows = []
    for member in members:
        if member.parts:
            rows.append([member.label or "all", f"**{member.outcome}**", "all parts", *[""] * 8])
        for leaf in member.leaves:
            wide = f"[{', '.join(shown(v, leaf.kind).split(' ')[0] for v in leaf.wide)}]"
            notes = leaf.notes
            trend = (
                f"{notes['rho']:+.2f} (p {p_shown(min(notes['page_up'], notes['page_down']))})"
                if "rho" in notes
                else ""
            )
            means = ""
            if "ratio_of_means" in notes:
                means = f"{shown(notes['ratio_of_means'], leaf.kind)}; {notes['share_beyond']:.0%}"
            rows.append(
                [
                    "" if member.parts else member.label or "all",
                    leaf.outcome if member.parts else f"**{leaf.outcome}**",
                    leaf.question,
                    leaf.effect(),
                    wide,
                    counted(leaf.n, leaf.unit),
                    p_shown(leaf.p_supported),
                    p_shown(leaf.p_refuted),
                    trend,
                    means,
                    leaf.obstacle or (leaf.advice() if leaf.outcome == "inconclusive" else ""),
                ]
            )
    header = [
        "block",
        "verdict",
        "question",
        f"effect [{cover(alpha)}]",
        "simultaneous",
        "n",
        "p supported",
        "p refuted",
    ]
    header += ["rho (Page)", "ratio of means; images beyond the SESOI", "to decide"]
    empty = [i for i, _ in enumerate(header) if all(row[i] == "" for row in rows)]
    return grid(
        [h for i, h in enumerate(header) if i not in empty],
        [[c for i, c in enumerate(r) if i not in empty] for r in rows],
    )


def _remarks(members: Sequence[Verdict], varied: str, alpha: float) -> list[str]:
    text = []
    leaves = [(m.label, leaf) for m in members for leaf in m.leaves]
    turned = [f"{label} ({leaf.metric})" for label, leaf in leaves if _turns(leaf)]
    if turned:
        text.append(
            f"Not monotone in {varied}: the effect both rises and falls by more than the SESOI in"
            f" {', '.join(turned)}."
        )
    signs = [f"{label} ({leaf.metric})" for label, leaf in leaves if leaf.notes.get("signs_differ")]
    if signs:
        text.append(
            "**The typical image and the ratio of the means have different signs** in"
            f" {', '.join(signs)}."
        )
    if excluded := sum(leaf.notes.get("excluded", 0) for _, leaf in leaves):
        text.append(f"{excluded} effects of 0/0 were left out.")
    if rules := sorted({leaf.rule for _, leaf in leaves}):
        text.append(
            f"Rule: {', '.join(rules)}; Holm over {len(members)} block{'s' * (len(members) > 1)},"
            " once towards each side."
        )
    text += [f"{told}." for told in disclosures(members, alpha)]
    return text


def _turns(leaf: Verdict) -> bool:
    """Whether the path over levels both rises and falls by more than the SESOI."""
    path = np.array([0.0, *(row[1] for row in leaf.curve)])
    least = abs(leaf.sesoi) if math.isfinite(leaf.sesoi) else 0.0
    rise = (path - np.minimum.accumulate(path)).max()
    fall = (np.maximum.accumulate(path) - path).max()
    return bool(min(rise, fall) > least)


def noise(folder: Path, lines: Sequence[Line], draw: Draw) -> str:
    """What the perturbation really was: realised strength, shift of the mean, pictures."""
    text, done = ["## What the perturbation was"], set()
    for line in sorted(lines, key=lambda r: -len(r["design"]["levels"])):
        summary = from_csv(folder / line["summary"]["file"])
        space = line["design"].get("space", "pixels")
        key = (
            line["design"]["dataset"],
            line["design"]["clamp"],
            space,
            line["design"]["perturbation"],
        )
        if key in done or not (summary["metric"] == "sigma_realised").any():
            continue
        done.add(key)
        one = summary[
            (summary["site"] == summary["site"].iloc[0])
            & (summary["net"] == summary["net"].iloc[0])
        ]
        one = one[one["train_seed"] == one["train_seed"].iloc[0]]
        wide = one.pivot_table(index="level", columns="metric", values="mean")
        rows = [
            [f"{lv:g}", f"{r['sigma_realised']:.4f}", f"{r['mean_shift']:+.4f}"]
            for lv, r in wide.iterrows()
        ]
        clamp = line["design"]["clamp"]
        where = (
            "in pixel space (range 0 to 1)"
            if space == "pixels"
            else "**on the normalised image**, as in scripts that add it late"
        )
        how = "clamped to [0, 1]" if clamp else "not clamped"
        what = line["design"].get("description") or f"Gaussian noise {where}, {how}"
        varied = "nominal σ" if what.startswith("Gaussian noise") else evidence.varied(line)
        text.append(f"{line['design']['dataset']}, {what}; realised in pixels:")
        text.append(grid([varied, "realised σ (mean over images)", "mean shift"], rows))
        shift = abs(wide["mean_shift"]).max()
        if clamp and space == "pixels" and shift > 0.01 and what.startswith("Gaussian noise"):
            text.append(
                "**Clamping is not neutral here.** It cuts the noise on pixels at 0 and 1 and"
                f" moves the mean of an image by up to {shift:.3f} of the pixel range (on black"
                " backgrounds upwards): part of every effect above is a change of mean brightness"
                " and of the background, not of noise alone. `gaussian(..., clamp=False)` leaves"
                " it out."
            )
        if line.get("examples"):
            seen = array(folder / line["examples"]["file"])
            title = f"{line['design']['dataset']}: what the network sees"
            name = f"figures/noisy_{slug(line['design']['dataset'])}_{len(done)}.png"
            level = evidence.varied(line)
            levels = line["design"]["levels"]
            draw(partial(plots.pictures, seen, levels, title, level), folder / name)
            what = "noisy images" if level == "noise σ" else "what the network sees"
            text.append(f"![{what}, a row per level]({name})")
    return "\n\n".join(text) if done else ""

"""The sections of a report, as Markdown, with the figures that they show."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.judge import family
from probes.judge.verdict import Verdict, counted, disclosures, p_shown, shown
from probes.table import label_of
from probes.tell import evidence, plots, terminal

STUDY = {
    "l2_h": "l2_norm_hx_vs_noise.png",
    "var_h": "var_hx_vs_noise.png",
    "mean_sum": "mean_relu_in_vs_noise.png",
    "sparsity": "sparsity_relu_out_vs_noise.png",
}
"""The four figures of the original study, by its own file names."""
Line = Mapping[str, Any]


def slug(text: str) -> str:
    """A text as part of a file name.

    >>> slug("resnet20@mnist5k#* + plainnet20@mnist5k#*")
    'resnet20-mnist5k-all-plainnet20-mnist5k-all'
    """
    return re.sub(r"[^\w.]+", "-", text.replace("#*", "-all")).strip("-")


def grid(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    body = [" | ".join(str(c).replace("|", "\\|") for c in row) for row in [header, ["---"] * len(header), *rows]]
    return "\n".join(f"| {row} |" for row in body)


def expected(line: Line) -> str:
    """The recorded expectation of a line, in words."""
    if line.get("altered"):
        return "none: altered design"
    if line.get("expect"):
        return line["expect"][0]
    return "supported (no expectation recorded)" if line.get("test") else "none recorded"


def _anchor(line: Line) -> str:
    return slug(f"{line['id']} on {line['subject']} {line['design']['images']}").lower()


def _families(lines: Sequence[Line], run: Mapping[str, Any]) -> dict[int, str]:
    # Holm over the claims that share a family, by the p-value of the whole claim (the largest over its blocks); of one
    # claim on one subject at several designs, the one with most images is the member.
    members: dict[str, dict[tuple, int]] = {}
    for i, line in enumerate(lines):
        if line["family"]:
            members.setdefault(line["family"], {}).setdefault((line["id"], line["subject"]), i)
    found = {}
    for name, mine in members.items():
        p = [[max(v[side] for v in lines[i]["verdicts"]) for i in mine.values()] for side in ("p_supported", "p_refuted")]
        collected = run.get("families", {}).get(name)
        ran = f"{len(mine)} of {collected} ran" if collected else f"{len(mine)} ran"
        alpha = lines[next(iter(mine.values()))]["alpha"]
        for i, outcome in zip(mine.values(), family.outcomes(p[0], p[1], alpha), strict=True):
            found[i] = f"{outcome} ({name}, {ran})"
    return found


def front(lines: Sequence[Line], run: Mapping[str, Any]) -> str:
    """The first screen: every claim with its verdict and what was expected."""
    over = _families(lines, run)
    rows = [
        [
            f"[{r['id']}](#{_anchor(r)})",
            f"`{r['subject']}`",
            f"**{r['overall']}**" + (" (untrained)" if evidence.untrained(r) else ""),
            r["counts"] if len(r["verdicts"]) > 1 else "",
            f"{r['design']['images']:,}",
            expected(r),
            over.get(i, ""),
        ]
        for i, r in enumerate(lines)
    ]
    text = grid(["claim", "subject", "verdict", "blocks", "images", "expected", "every block, Holm over the family's claims"], rows)
    partial = "" if run.get("complete", True) else "**Partial: the run was interrupted before its last claim.**\n\n"
    lost = run.get("not_judged", [])
    random = sorted({name for r in lines for name in evidence.untrained(r)})
    warning = f"**Untrained: {', '.join(f'`{name}`' for name in random)} have random weights, as asked for.**\n\n" if random else ""
    total = len(lines) + len(lost)
    words = f"{counted(total, 'claim')} collected. {terminal.count(lines, lost)}."
    return f"# What was claimed, and what was found\n\n{partial}{warning}{words}\n\n{text}{_not_judged(lines, lost)}"


def _not_judged(lines: Sequence[Line], lost: Sequence[Mapping[str, str]]) -> str:
    """The claims that came to no verdict, with the reason: those that can't by design, and those that were not run to one."""
    rows = [[r["id"], f"`{r['subject']}`", "open by design", _obstacles(r)] for r in lines if not r["judged"]]
    rows += [[one["id"], f"`{one['subject']}`", one["outcome"], one["why"]] for one in lost]
    return f"\n\n## Not judged\n\n{grid(['claim', 'subject', 'outcome', 'why'], rows)}" if rows else ""


def _obstacles(line: Line) -> str:
    return "; ".join(dict.fromkeys(leaf.obstacle for m in evidence.members(line) for leaf in m.leaves if leaf.obstacle))


def section(folder: Path, line: Line) -> str:
    """One claim: the question, the answer, the map by depth, the table per block, the levels."""
    members = evidence.members(line)
    place = Path("figures") / slug(f"{line['id']}-{line['subject']}")
    if (folder / place).exists():  # the same claim on the same subject, at another design
        place = Path("figures") / slug(f"{line['id']}-{line['subject']}-{line['design']['images']}")
    title = f"{line['id']} on {line['subject']}: {line['overall']}, {line['design']['images']:,} images"
    text = [f'<a id="{_anchor(line)}"></a>\n## {line["id"]} on `{line["subject"]}`']
    text.append(f"**Question.** {line['sentence']}")
    many = f" ({line['counts']})" if len(members) > 1 else ""
    random = " of an **untrained** network" if evidence.untrained(line) else ""
    text.append(f"**Answer: {line['overall']}**{many}{random}, {line['scope']}. Expected: {expected(line)}.")
    varied = evidence.varied(line)
    asked = list(dict.fromkeys(leaf.asked(varied) for m in members for leaf in m.leaves))
    text.append(f"**Asked:** {'; '.join(asked)}.")
    if done := line["design"].get("description"):
        unit, levels = line["design"].get("unit"), " ".join(f"{v:g}" for v in line["design"]["levels"])
        text.append(f"**Done to it:** {done}{f', {varied} {levels} ({unit})' if unit else ''}.")
    if line.get("altered"):
        text.append(f"**Altered design:** {'; '.join(line['altered'])}. No expectation applies to it.")
    text += [f"{told[0].upper()}{told[1:]}." for told in evidence.perturbed(line)]
    if classes := line.get("classes"):
        some = ", ".join(f"{name} ({n})" for name, n in list(classes.items())[:12])
        text.append(f"{len(classes)} classes, with their images: {some}"
                    f"{', ...' if len(classes) > 12 else ''}.")  # fmt: skip
    text += [f"Note: `{name}` {note}." for name, w in line["weights"].items() for note in w.get("notes", ())]
    if any(leaf.unit == "training seed" for m in members for leaf in m.leaves):
        for i, leaf in enumerate(members[0].leaves):
            which = f"_{i + 1}" if i else ""
            plots.save(plots.runs(leaf, varied=varied).figure, folder / place / f"runs{which}.png")
            text.append(f"![the effect of each training run]({place.as_posix()}/runs{which}.png)")
            frame = evidence.load_table(folder, line, i)
            if frame["site"].nunique() > 1 and frame["level"].nunique() > 1:
                plots.save(
                    plots.by_depth(frame, leaf.metric, leaf.kind, varied=varied).figure, folder / place / f"by_depth{which}.png"
                )
                text.append(f"![response by depth, a line per training run]({place.as_posix()}/by_depth{which}.png)")
    else:
        plots.save(plots.verdict_map(members, title, varied), folder / place / "verdicts.png")
        text.append(f"![the verdict of each block, by depth]({place.as_posix()}/verdicts.png)")
    text.append(_blocks(members))
    text.extend(_remarks(members, varied))
    for part in zip(*(m.leaves for m in members), strict=True):
        if len(part[0].curve) > 1:
            name = f"heat_{part[0].metric}.png"
            plots.save(plots.heat(part, varied=varied).figure, folder / place / name)
            text.append(f"![{part[0].metric}: effect of each level in each block]({place.as_posix()}/{name})")
    text.extend(_study(folder, line))
    return "\n\n".join(text)


def _study(folder: Path, line: Line) -> list[str]:
    summary = pd.read_csv(folder / line["summary"]["file"])
    if len(summary[["net", "train_seed"]].drop_duplicates()) > 1 or summary["level"].nunique() < 3:
        return []
    if not summary["metric"].isin(list(STUDY)).any():
        return []
    place = Path("figures") / slug(line["subject"])
    text = ["### The levels themselves" if not (folder / place).exists() else
            f"The levels themselves: see [{place.as_posix()}/]({place.as_posix()}/), above."]  # fmt: skip
    if (folder / place).exists():
        return text
    unit = line["design"].get("unit") or ("pixel range 0 to 1" if evidence.varied(line) == "noise σ" else "")
    across = f"{evidence.varied(line)}{f' ({unit})' if unit else ''}"
    for metric, name in STUDY.items():
        if (summary["metric"] == metric).any():
            plots.save(plots.stages(summary, metric, f"{label_of(metric)}, {line['subject']}", across), folder / place / name)
            text.append(f"![{label_of(metric)} against {evidence.varied(line)}]({place.as_posix()}/{name})")
    return text


def _blocks(members: Sequence[Verdict]) -> str:
    rows = []
    for member in members:
        if member.parts:
            rows.append([member.label or "all", f"**{member.outcome}**", "all parts", *[""] * 8])
        for leaf in member.leaves:
            wide = f"[{', '.join(shown(v, leaf.kind).split(' ')[0] for v in leaf.wide)}]"
            notes = leaf.notes
            trend = f"{notes['rho']:+.2f} (p {p_shown(min(notes['page_up'], notes['page_down']))})" if "rho" in notes else ""
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
    header = ["block", "verdict", "question", "effect [90 %]", "simultaneous", "n", "p supported", "p refuted"]
    header += ["rho (Page)", "ratio of means; images beyond the SESOI", "to decide"]
    empty = [i for i, _ in enumerate(header) if all(row[i] == "" for row in rows)]
    return grid(
        [h for i, h in enumerate(header) if i not in empty],
        [[c for i, c in enumerate(r) if i not in empty] for r in rows],
    )


def _remarks(members: Sequence[Verdict], varied: str) -> list[str]:
    text = []
    leaves = [(m.label, leaf) for m in members for leaf in m.leaves]
    turned = [f"{label} ({leaf.metric})" for label, leaf in leaves if _turns(leaf)]
    if turned:
        text.append(f"Not monotone in {varied}: the effect both rises and falls by more than the SESOI in {', '.join(turned)}.")
    signs = [f"{label} ({leaf.metric})" for label, leaf in leaves if leaf.notes.get("signs_differ")]
    if signs:
        text.append(f"**The typical image and the ratio of the means have different signs** in {', '.join(signs)}.")
    if excluded := sum(leaf.notes.get("excluded", 0) for _, leaf in leaves):
        text.append(f"{excluded} effects of 0/0 were left out.")
    if rules := sorted({leaf.rule for _, leaf in leaves}):
        text.append(f"Rule: {', '.join(rules)}; Holm over {len(members)} block{'s' * (len(members) > 1)}, once towards each side.")
    text += [f"Error rate: {told}." for told in disclosures(members)]
    return text


def _turns(leaf: Verdict) -> bool:
    """Whether the path over levels both rises and falls by more than the SESOI."""
    path = np.array([0.0, *(row[1] for row in leaf.curve)])
    least = abs(leaf.sesoi) if math.isfinite(leaf.sesoi) else 0.0
    rise = (path - np.minimum.accumulate(path)).max()
    fall = (np.maximum.accumulate(path) - path).max()
    return bool(min(rise, fall) > least)


def noise(folder: Path, lines: Sequence[Line]) -> str:
    """What the perturbation really was: realised strength, shift of the mean, pictures."""
    text, done = ["## What the perturbation was"], set()
    for line in sorted(lines, key=lambda r: -len(r["design"]["levels"])):
        summary = pd.read_csv(folder / line["summary"]["file"])
        space = line["design"].get("space", "pixels")
        key = (line["design"]["dataset"], line["design"]["clamp"], space, line["design"]["perturbation"])
        if key in done or not (summary["metric"] == "sigma_realised").any():
            continue
        done.add(key)
        one = summary[(summary["site"] == summary["site"].iloc[0]) & (summary["net"] == summary["net"].iloc[0])]
        one = one[one["train_seed"] == one["train_seed"].iloc[0]]
        wide = one.pivot_table(index="level", columns="metric", values="mean")
        rows = [[f"{lv:g}", f"{r['sigma_realised']:.4f}", f"{r['mean_shift']:+.4f}"] for lv, r in wide.iterrows()]
        clamp = line["design"]["clamp"]
        where = (
            "in pixel space (range 0 to 1)" if space == "pixels" else "**on the normalised image**, as in scripts that add it late"
        )
        how = "clamped to [0, 1]" if clamp else "not clamped"
        what = line["design"].get("description") or f"Gaussian noise {where}, {how}"
        varied = "nominal σ" if what.startswith("Gaussian noise") else evidence.varied(line)
        text.append(f"{line['design']['dataset']}, {what}; realised in pixels:")
        text.append(grid([varied, "realised σ (mean over images)", "mean shift"], rows))
        shift = abs(wide["mean_shift"]).max()
        if clamp and space == "pixels" and shift > 0.01 and what.startswith("Gaussian noise"):
            text.append(
                f"**Clamping is not neutral here.** It cuts the noise on pixels at 0 and 1 and moves the mean of an image by up"
                f" to {shift:.3f} of the pixel range (on black backgrounds upwards): part of every effect above is a change of"
                " mean brightness and of the background, not of noise alone. `gaussian(..., clamp=False)` leaves it out."
            )
        if line.get("examples"):
            array = np.load(folder / line["examples"]["file"])
            title = f"{line['design']['dataset']}: what the network sees"
            name = f"figures/noisy_{slug(line['design']['dataset'])}_{len(done)}.png"
            plots.save(plots.pictures(array, line["design"]["levels"], title), folder / name)
            text.append(f"![noisy images, a row per level]({name})")
    return "\n\n".join(text) if done else ""


def words() -> str:
    """How to read a verdict."""
    return """## How to read a verdict

- **supported**: a one-sided test at alpha excludes every effect up to the SESOI (the smallest effect of interest), in the
  claimed direction. **refuted**: it excludes every effect as large as the SESOI. **inconclusive** (open): neither.
  **mixed**: after Holm's correction at least one block is supported and at least one refuted.
- Test and interval are one procedure: supported means that the 90 % interval lies beyond the SESOI, refuted that it ends
  short of it. Where a rule can't decide (too few images, say) a verdict is open whatever its interval; the last column says why.
- A ratio is judged by the 20 % trimmed mean over images of its logarithm, the typical image; the ratio of the means, which
  a few images can dominate, stands beside it. rho: mean Spearman correlation with σ over images, with the p of
  Page's trend test; neither decides anything.
- A block's verdict is that of all parts of the question together; each part has an outcome of its own beside its numbers.
- n counts images or training runs, never pixels, channels, batches or noise draws."""


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
    facts += [["options", "; ".join(f"{k} = {v}" for k, v in sorted(run["options"].items())) or "none"]]
    parts = ["## How to reproduce", f"```\n{run['command']}\n```", *how, "## Provenance", grid(["what", "value"], facts)]
    return "\n\n".join(parts)


def made(folder: Path, lines: Sequence[Line], run: Mapping[str, Any]) -> str:
    """How to reproduce, and provenance."""
    how = ("`probes report DIR` draws this page again from its files; `probes verify DIR` checks the manifest, judges every"
           " verdict again from the tables, and compares each recorded expectation with the evidence that it cites.")  # fmt: skip
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
    text.append(grid(["subject", "weights", "SHA-256 of the weights", "clean test accuracy", "where it ran"], rows.values()))
    for name, history in {n: w["history"] for r in lines for n, w in r["weights"].items() if w.get("history")}.items():
        path = f"figures/training-{slug(name)}.png"
        plots.save(plots.training(pd.DataFrame(history), name), folder / path)
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
    text.append(grid(["images", "number", "SHA-256 (images, labels, ids)", "noise seed", "draws"], images.values()))
    return "\n\n".join(text)

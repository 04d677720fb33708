"""What a claim declares, what it may expect, and the evidence that it leaves. No pytest here, and
no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.errors import BadInput, ProbesError
from probes.origin import installed
from probes.run.declaring import Declared

if TYPE_CHECKING:
    from probes.judge import Verdicts
    from probes.run.bench import Bench

NEVER = "claim.holds() is called exactly once per claim: it was never called"


def _recorded(root: Path, claim: Declared, subject: str) -> list[dict[str, Any]]:
    """The evidence lines of a claim on a subject, of the report that its expectation cites."""
    from probes.tell import evidence

    lines = evidence.read(root / claim.expect[subject].cites / "evidence.jsonl")
    return [r for r in lines if (r["id"], r["subject"]) == (claim.id, subject)]


def cited(
    root: Path, claim: Declared, subject: str, designs: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The evidence line that an expectation cites; ProbesError where there is none, or where it
    says otherwise.
    """
    from probes.tell import evidence

    expect = claim.expect[subject]
    line = evidence.matching(_recorded(root, claim, subject), designs)
    if line is None:
        raise ProbesError(
            f"{claim.id} on {subject}: expect cites {expect.cites}, which holds no such line"
        )
    if line["overall"] != expect.verdict:
        raise ProbesError(
            f"{claim.id} on {subject}: expect says {expect.verdict!r}, but {expect.cites} found"
            f" {line['overall']!r}"
        )
    return line


def extension(
    root: Path, claim: Declared, subject: str, designs: Sequence[Mapping[str, Any]]
) -> str:
    """Why this run is one look too many: more images or draws after a verdict on fewer, undeclared;
    empty where it is not.
    """
    from probes.tell import evidence

    recorded = _recorded(root, claim, subject)
    if any(not evidence.all_differences(r, designs) for r in recorded):
        return ""
    mine, design = [r["design"] for r in recorded], designs[0]
    size = ("images", "draws")
    looks = sorted({tuple(int(d[name]) for name in size) for d in mine})
    here = tuple(int(design[name]) for name in size)
    if len(looks) < claim.looks or not any(
        a != here and a[0] <= here[0] and a[1] <= here[1] for a in looks
    ):
        return ""

    def shown(look: tuple[int, ...]) -> str:
        return f"{look[0]:,}" + (
            f" x {look[1]} draws" if max(d for _, d in [*looks, here]) > 1 else ""
        )

    return (
        f"{shown(here)} images after a verdict on {' and on '.join(map(shown, looks))} is an"
        f" undeclared look: declare claim(..., looks={len(looks) + 1}) before it, or judge new"
        " images alone"
    )


@dataclasses.dataclass(frozen=True)
class Finding:
    """A judged claim: its evidence line, whether it came out as it should, and the sentence that
    says so.
    """

    line: dict[str, Any]
    passed: bool
    message: str


def judge(
    claim: Declared, subject: str, test: str, found: Verdicts, lab: Bench, root: Path, policy: str
) -> Finding:
    """The evidence line of a claim, and whether its verdict is the expected one.

    With an expectation at the recorded design the verdict must be that one; without one, at an
    altered design, or with the policy ``"supported"``, only ``supported`` passes; an undeclared
    extension never does.
    """
    from probes.tell import evidence

    if not found.asked or any(table is None for table in found.asked):
        raise BadInput(
            f"{claim.id}: a table was judged that has lost what it was asked under (design, alpha,"
            " looks); hand the table of lab.sweep() itself to the question, or narrow it with"
            " table.where(layers='3')"
        )
    if found.alpha != lab.options.alpha:
        raise BadInput(
            f"{claim.id}: judged at alpha {found.alpha:g}, the claim's is {lab.options.alpha:g}"
        )
    designs = [table.design.json() for table in found.asked]
    expect = claim.expect.get(subject)
    altered, extended = (
        list(dict.fromkeys(text for table in found.asked for text in table.altered)),
        "",
    )
    if expect is not None and (
        policy == "recorded" or (root / expect.cites / "evidence.jsonl").is_file()
    ):
        extended = extension(root, claim, subject, designs)
        altered += [
            d
            for d in evidence.all_differences(cited(root, claim, subject, designs), designs)
            if d not in altered
        ]
        altered += [extended] if extended else []
    line = evidence.line(
        found,
        claim={
            "id": claim.id,
            "sentence": claim.sentence,
            "family": claim.family,
            "test": test,
            "expect": dataclasses.astuple(expect) if expect else None,
            "altered": altered,
            "looks": claim.looks,
        },
        subject=subject,
        designs=designs,
        inputs=[evidence.deposit(frame, lab.store) for frame in found.inputs],
        extra=lab.facts(*found.asked),
    )
    wanted = expect.verdict if expect and not altered and policy == "recorded" else "supported"
    why = f"expected {wanted}" + (
        f" since {expect.date} ({expect.cites})" if expect and wanted == expect.verdict else ""
    )
    if altered:
        why += f"; the design is altered ({'; '.join(altered)}), so no expectation applies"
    message = f"{claim.id} on {subject}: {why}, found {found.overall}\n{claim.sentence}\n{found}"
    return Finding(line, found.overall == wanted and not extended, message)


def labelled(ident: str, item: Any) -> str:
    """The id of a claim with the parameters of its test beside the subject, as pytest names them:
    ``P[sigma=0.1]``.
    """
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return ident
    subject = str(callspec.params.get("_probes_subject", ""))
    values = {name: value for name, value in callspec.params.items() if name != "_probes_subject"}
    found = []
    for text in (part for part in callspec._idlist if part != subject):
        owners = [name for name, value in values.items() if str(value) == text]
        found.append(f"{owners[0]}={text}" if len(owners) == 1 else text)
    return f"{ident}[{', '.join(found)}]" if found else ident


def refuse_repeats(item: Any) -> None:
    """Raise BadInput for a claim that would be run several times: by reruns, retries or repeats of
    other plugins.
    """
    repeated = "__pytest_repeat_step_number" in getattr(
        getattr(item, "callspec", None), "params", {}
    )
    asked = repeated or any(_anybodys(item.config, name) for name in ("reruns", "retries"))
    if asked or item.get_closest_marker("flaky"):
        raise BadInput(
            "reruns and repeats are extra looks at the data, and a claim has one: run claims"
            " without them"
        )


def _anybodys(config: Any, name: str) -> bool:
    """Whether an option of another plugin is set, on the command line or in the ini file."""
    try:
        written = config.getini(name)
    except (KeyError, ValueError):
        written = None
    return bool(getattr(config.option, name, None)) or str(written or 0) != "0"


def trouble(item: Any, excinfo: Any) -> str:
    """An exception with the frames of the user's own files: his test, his network, his measure."""
    own = [
        entry
        for entry in excinfo.traceback
        if not installed(str(entry.frame.f_globals.get("__name__", "__main__")))
    ]
    text = f"{type(excinfo.value).__name__}: {excinfo.value}"
    for entry in own or excinfo.traceback[-1:]:
        path = Path(str(entry.path))
        place = (
            path.relative_to(item.config.rootpath)
            if path.is_relative_to(item.config.rootpath)
            else path
        )
        text += (
            f"\n  {place}:{entry.lineno + 1}: in {entry.name}\n      {str(entry.statement).strip()}"
        )
    return text

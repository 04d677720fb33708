"""What a claim declares, what it may expect, and the evidence that it leaves. No pytest and no
torch here.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.claims import ledger
from probes.claims.declaring import Declared
from probes.errors import BadInput, ProbesError
from probes.explaining import page_of
from probes.origin import installed

if TYPE_CHECKING:
    from probes.judge import Verdicts
    from probes.run.bench import Bench

NOT_COUNTED = "not counted: the ledger of looks is off"
NEVER = "claim.holds() is called exactly once per claim: it was never called"


def _recorded(root: Path, claim: Declared, subject: str) -> list[dict[str, Any]]:
    """The evidence lines of a claim on a subject in the report that its expectation cites."""
    from probes.tell import evidence

    lines = evidence.read(root / claim.expect[subject].cites / "evidence.jsonl")
    return [r for r in lines if (r["id"], r["subject"]) == (claim.id, subject)]


def cited(
    root: Path, claim: Declared, subject: str, designs: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The evidence line that an expectation cites. Raises ProbesError if there is none, or if its
    verdict differs.
    """
    from probes.tell import asked

    expect = claim.expect[subject]
    line = asked.matching(_recorded(root, claim, subject), designs)
    if line is None:
        raise ProbesError(
            f"{claim.id} on {subject}: expect cites {expect.cites}, which holds no such line"
        )
    if line.get("exploratory"):
        raise ProbesError(
            f"{claim.id} on {subject}: expect cites an exploratory verdict, which nothing rests on"
        )
    if line["overall"] != expect.verdict:
        raise ProbesError(
            f"{claim.id} on {subject}: expect says {expect.verdict!r}, but {expect.cites} found"
            f" {line['overall']!r}"
        )
    return line


@dataclasses.dataclass(frozen=True)
class Finding:
    """A judged claim: its evidence line, whether it came out as expected, and a sentence about
    that.
    """

    line: dict[str, Any]
    passed: bool
    message: str


def judge(
    claim: Declared,
    subject: str,
    test: str,
    found: Verdicts,
    lab: Bench,
    root: Path,
    policy: str,
    book: Path | None = None,
) -> Finding:
    """The evidence line of a claim, and whether its verdict is the expected one.

    With an expectation, at what it was recorded for, the verdict must be that one; asked otherwise
    it passes only where the policy is ``"supported"`` and so is the verdict. Without one only
    ``supported`` passes. A look that the ledger (``book``) shows to be one too many never does.
    """
    from probes.tell import asked, evidence

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
    line = evidence.line(
        found,
        claim={
            "id": claim.id,
            "sentence": claim.sentence,
            "family": claim.family,
            "test": test,
            "expect": dataclasses.astuple(expect) if expect else None,
            "altered": [],
            "looks": claim.looks,
        },
        subject=subject,
        designs=designs,
        inputs=[evidence.deposit(frame, lab.store) for frame in found.inputs],
        extra=lab.facts(*found.asked),
    )
    altered = list(dict.fromkeys(text for table in found.asked for text in table.altered))
    if expect is not None and (
        policy == "recorded" or (root / expect.cites / "evidence.jsonl").is_file()
    ):
        before = cited(root, claim, subject, designs)
        changed = [*asked.all_differences(before, designs), *asked.unlike(before, line)]
        altered += [d for d in changed if d not in altered]
    one_too_many = _entered(line, claim, lab, book)
    line["altered"] = altered + ([one_too_many] if one_too_many else [])
    recorded = expect is not None and not altered and policy == "recorded"
    wanted = expect.verdict if expect and recorded else "supported"
    why = f"expected {wanted}" + (
        f" since {expect.date} ({expect.cites})" if expect and wanted == expect.verdict else ""
    )
    told = "; ".join(line["altered"])
    if expect and altered:
        why += (
            f"; what was asked is altered ({told}), so no expectation applies: only"
            " --probes-expect=supported lets it pass, where it is supported"
        )
    elif told:
        why += f"; {told}"
    message = f"{claim.id} on {subject}: {why}, found {found.overall}\n{claim.sentence}\n{found}"
    free = not (expect and altered) or policy == "supported"
    return Finding(line, found.overall == wanted and free and not one_too_many, message)


def _entered(line: dict[str, Any], claim: Declared, lab: Bench, book: Path | None) -> str:
    """Why a line is one look too many, after it is in the ledger; which look it is stands in the
    line.
    """
    if claim.exploratory:
        line["exploratory"] = True
        return ""
    if book is None:
        line["look"] = NOT_COUNTED
        return ""
    mine, damaged = ledger.enter(book, ledger.entry(line), lab.store.lock("ledger"))
    for text in damaged:
        logging.getLogger("probes").warning("%s", text)
    line["look"] = f"look {len(mine)} of {claim.looks} declared"
    return ledger.overspent(mine, claim.looks, line["alpha"] * claim.looks)


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
    if topic := getattr(excinfo.value, "topic", None):
        text += f"\n  ({page_of(topic)})"
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

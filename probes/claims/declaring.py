"""What a claim declares: its sentence, its subjects, and what is expected of it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probes.errors import BadInput
from probes.reading import CONTROL
from probes.registry import unknown
from probes.subjects.spec import FORM, Pair, Spec, parse

OUTCOMES = ("supported", "refuted", "mixed", "inconclusive")


ARGUMENTS = ("sentence", "id", "family", "expect", "looks", "until", "exploratory")


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What the project currently expects of a claim on one subject: a verdict, its date, and the
    report that it cites.
    """

    verdict: str
    date: str
    cites: str


@dataclasses.dataclass(frozen=True)
class Declared:
    """A claim marker, checked: the sentence, an id, the family, expectations by subject, and the
    number of looks at the data.

    Of ``looks`` declared looks (more images after a verdict on fewer) each is judged at alpha /
    looks. ``until`` is the number of images at which it is decided at the latest. An
    ``exploratory`` claim is no look: its verdict may be cited by nothing.
    """

    sentence: str
    id: str
    family: str
    expect: Mapping[str, Expectation]
    looks: int = 1
    until: int | None = None
    exploratory: bool = False


def declared(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Declared:
    """Read the arguments of ``@pytest.mark.claim``. Raises BadInput that says what is wrong and
    what is allowed.

    >>> declared(["Noise does it."], {"id": "X", "expect": {"a@d": ("mixed", "2026-12-01",
    ...     "reports/x")}}).expect["a@d"].verdict
    'mixed'
    """
    if len(args) > 1:
        raise BadInput(
            "claim(...) takes one sentence; name the rest: claim('...', id='H1', family='dynamics')"
        )
    given = dict(zip(("sentence",), args, strict=False)) | dict(kwargs)
    for name in given:
        if name not in ARGUMENTS:
            raise unknown("argument of claim(...)", name, ARGUMENTS)
    for name in ("sentence", "id"):
        if not isinstance(given.get(name), str) or not given[name].strip():
            raise BadInput(
                f"claim(...) needs {'a sentence' if name == 'sentence' else 'an id'}:"
                " claim('Noise raises Var h.', id='H1')"
            )
        if found := CONTROL.search(given[name]):
            raise BadInput(
                f"claim({name}={given[name]!r}): it holds {found[0]!r}, which is no text"
            )
    expect = given.get("expect") or {}
    if not isinstance(expect, Mapping):
        raise BadInput("expect={subject: (verdict, date, report)}: a dictionary by subject")
    looks = given.get("looks", 1)
    if isinstance(looks, bool) or not isinstance(looks, int) or looks < 1:
        raise BadInput(
            f"claim(looks={looks!r}): how often more data may be judged, a whole number from 1 up,"
            " each look at alpha / looks"
        )
    until, exploratory = given.get("until"), given.get("exploratory", False)
    if until is not None and (isinstance(until, bool) or not isinstance(until, int) or until < 1):
        raise BadInput(
            f"claim(until={until!r}): the most images that are looked at, a whole number from 1 up"
        )
    if until is not None and looks > 1:
        raise BadInput(
            f"claim(looks={looks}, until={until}): a claim that is decided as soon as it can be"
            " plans its looks itself; leave looks out"
        )
    if not isinstance(exploratory, bool):
        raise BadInput(f"claim(exploratory={exploratory!r}): True or False")
    if exploratory and expect:
        raise BadInput("claim(exploratory=True, expect=...): what explores has no expectation")
    return Declared(
        given["sentence"].strip(),
        given["id"],
        str(given.get("family", "")),
        {k: _expectation(k, v) for k, v in expect.items()},
        looks,
        until,
        exploratory,
    )


def _expectation(subject: str, value: Any) -> Expectation:
    try:
        verdict, date, cites = value
        datetime.date.fromisoformat(date)
    except (TypeError, ValueError) as e:
        raise BadInput(
            f"expect[{subject!r}] = {value!r}: write (verdict, 'YYYY-MM-DD', 'reports/...')"
        ) from e
    if verdict not in OUTCOMES:
        raise unknown("verdict", str(verdict), OUTCOMES)
    return Expectation(verdict, date, str(cites))


def subjects(args: Sequence[Any]) -> list[Spec | Pair]:
    """Read the arguments of ``@pytest.mark.subjects``: strings ``net[:weights]@dataset[#seed]`` and
    pairs of them.
    """
    if not args:
        raise BadInput(f"subjects(...) needs at least one subject of the form {FORM}")
    found = [arg if isinstance(arg, Pair) else parse(arg) for arg in args]
    if len({str(f) for f in found}) < len(found):
        raise BadInput(f"subjects({', '.join(map(str, found))}): one of them stands twice")
    return found


def chosen(
    declared: Iterable[Spec | Pair], net: str | None, dataset: str | None
) -> list[Spec | Pair]:
    """The subjects of a test after the options ``--probes-model`` and ``--probes-dataset``.

    An option replaces that part of a subject. Subjects that become equal count once. A pair keeps
    its networks.
    """
    out: dict[str, Spec | Pair] = {}
    for one in declared:
        if isinstance(one, Pair):
            if dataset is not None:
                one = Pair(
                    *(dataclasses.replace(s, dataset=dataset) for s in (one.first, one.second))
                )
        else:
            if net is not None:
                one = dataclasses.replace(parse(net), dataset=one.dataset)
            if dataset is not None:
                one = dataclasses.replace(one, dataset=dataset)
        out.setdefault(str(one), one)
    return list(out.values())


def specs(subject: Spec | Pair) -> list[Spec]:
    """The one or two subjects of a test."""
    return [subject.first, subject.second] if isinstance(subject, Pair) else [subject]

"""The pytest plugin: options, markers, fixtures, outcomes, the claims table and the report.

It imports neither torch nor pandas before a claim runs, so a project without claims pays nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

import pytest

from probes.errors import BadInput, ProbesError, Unavailable
from probes.registry import unknown
from probes.run import claim as claims
from probes.run.claim import Declared
from probes.run.options import OPTIONS, contradiction
from probes.subjects.spec import Pair, Spec, parse
from probes.tell.reporter import Teller

if TYPE_CHECKING:
    from probes.judge import Verdicts
    from probes.lab import Lab
    from probes.run.settings import Options
    from probes.store import Store


MARKERS = {
    "claim": "claim(sentence, *, id, family='', expect={}, looks=1): a claim about a network, judged by claim.holds(verdicts)",
    "subjects": "subjects('net[:weights]@dataset[#seed]', pair(a, b), ...): what a claim is judged on, a test for each",
}
_PROBLEMS = pytest.StashKey[dict[str, str]]()
_COLLECTED = pytest.StashKey[dict[str, dict[str, Any]]]()


class NotHeld(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """What the verdict of a claim fails with: anything else in a claim is an error."""

    __module__ = "builtins"  # pytest prints the name of an exception with its module


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("probes", "claims about neural networks")
    for o in OPTIONS:
        # The default is None everywhere, so that an ini value is told from what was typed.
        how: dict[str, Any] = {"action": "store_true", "default": None} if o.flag else {"type": o.kind, "choices": o.choices}
        text = o.help if o.default is None else f"{o.help} (default: {o.default})"
        group.addoption(f"--probes-{o.name}", dest=_dest(o.name), help=text, **how)
        written: Literal["bool", "string"] = "bool" if o.flag else "string"
        parser.addini(_dest(o.name), o.help, written, None)


def _dest(name: str) -> str:
    return f"probes_{name.replace('-', '_')}"


def option(config: pytest.Config, name: str) -> Any:
    """An option of ours: typed, else from the ini file, else its default; UsageError for an ini value that is none."""
    spec = next(o for o in OPTIONS if o.name == name)
    if (typed := config.getoption(_dest(name))) is not None:
        return typed
    written = config.getini(_dest(name))
    if written in (None, "", False):
        return spec.default
    try:
        value = written if spec.flag else spec.kind(written)
    except ValueError as e:
        raise pytest.UsageError(f"{_dest(name)} = {written} (ini): {e}") from e
    if spec.choices and value not in spec.choices:
        raise pytest.UsageError(f"{_dest(name)} = {written} (ini): allowed are {', '.join(spec.choices)}")
    return value


def _sections() -> Any:
    from probes import studies

    return studies.sections()


def pytest_configure(config: pytest.Config) -> None:
    for text in MARKERS.values():
        config.addinivalue_line("markers", text)
    values = {o.name: option(config, o.name) for o in OPTIONS}
    if problem := contradiction(values | {"store": values["store"] or os.environ.get("PROBES_STORE")}):
        raise pytest.UsageError(problem)
    if data := values["data"]:
        os.environ["PROBES_DATA"] = str(data)
    if not hasattr(config, "workerinput"):
        given = {o.name: v for o in OPTIONS if (v := config.getoption(_dest(o.name))) is not None}
        collected = config.stash.setdefault(_COLLECTED, {})
        folder = config.rootpath / values["report"] if values["report"] else None
        config.pluginmanager.register(Teller(config, folder, given, collected, _sections), "probes-teller")


# --- collection: subjects and markers ------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "_probes_subject" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("subjects")
    if marker is None and not metafunc.definition.get_closest_marker("claim"):
        return
    config = metafunc.config
    try:
        found = _chosen(config, marker.args if marker else None)
    except ProbesError as e:
        # Raised here it would be a collection error of one file; it is the whole run's usage error.
        config.stash.setdefault(_PROBLEMS, {})[metafunc.definition.nodeid] = str(e)
        return
    metafunc.parametrize("_probes_subject", found, ids=[str(f) for f in found], indirect=True, scope="function")


def _chosen(config: pytest.Config, args: tuple | None) -> list[Spec | Pair]:
    net, dataset = option(config, "model"), option(config, "dataset")
    if net is not None and "@" in net:
        raise BadInput(f"--probes-model {net}: the network only, net[:weights][#seed]; the dataset is --probes-dataset")
    if args is None:
        return [dataclasses.replace(parse(net or "resnet20"), dataset=dataset or "mnist5k")]
    return claims.chosen(claims.subjects(args), net, dataset)


@pytest.hookimpl(tryfirst=True)  # before anybody deselects: what was collected is told
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    owners: dict[str, str] = {}
    alike: dict[tuple[str, str], str] = {}
    problems = config.stash.setdefault(_PROBLEMS, {})
    collected = config.stash.setdefault(_COLLECTED, {})
    for item in items:
        name = item.nodeid.partition("[")[0]
        try:
            _check_typos(item)
            if (claim := _declared(item)) is not None:
                if owners.setdefault(claim.id, name) != name:
                    raise BadInput(f"claim id {claim.id!r} is taken by {owners[claim.id]}")
                claims.refuse_repeats(item)
                mine = collected[item.nodeid] = _collected(item, claim)
                if alike.setdefault((mine["id"], mine["subject"]), item.nodeid) != item.nodeid:
                    raise BadInput(f"two cases are called {mine['id']}: give them ids, pytest.param(..., id='...')")
        except ProbesError as e:
            problems.setdefault(name, str(e))
    if problems and not hasattr(config, "workerinput"):  # a worker that stops takes the run with it: see setup
        raise pytest.UsageError("\n".join(f"{name}: {text}" for name, text in problems.items()))


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if claim := item.config.stash.get(_COLLECTED, {}).get(item.nodeid):
            claim["deselected"] = True


def _collected(item: pytest.Item, claim: Declared) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    subject = callspec.params.get("_probes_subject") if callspec else None
    return {
        "id": claims.labelled(claim.id, item),
        "subject": str(subject or _chosen(item.config, None)[0]),
        "family": claim.family,
        "deselected": False,
    }


def _uses(item: Any, *names: str) -> bool:
    """Whether a test uses fixtures of ours: any, or one of those named."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return any(
        found and found[-1].func.__module__ in (__name__, "probes.fixtures")
        for name, found in definitions.items()
        if not names or name in names
    )


def _registered(config: pytest.Config) -> set[str]:
    """The names of the marks that others registered."""
    lines = [line for line in config.getini("markers") if line not in MARKERS.values()]
    return {line.partition(":")[0].partition("(")[0].strip() for line in lines}


def _check_typos(item: pytest.Item) -> None:
    if not _uses(item):
        return
    theirs = _registered(item.config)
    for mark in item.iter_markers():
        if mark.name in theirs:
            continue
        if mark.name not in MARKERS and (near := difflib.get_close_matches(mark.name, MARKERS, n=1, cutoff=0.8)):
            raise BadInput(f"unknown marker {mark.name!r}: did you mean {near[0]}?")
        if mark.name == "subjects" and mark.kwargs:
            raise BadInput(f"subjects(...) takes no argument {min(mark.kwargs)!r}")


def _declared(item: pytest.Item) -> Declared | None:
    """The claim that a test declares; None for a test that is no claim of ours, whatever marks of its own it carries."""
    uses = _uses(item, "claim")
    marks = list(item.iter_markers("claim"))
    signed = any("id" in mark.kwargs and mark.args and isinstance(mark.args[0], str) for mark in marks)
    theirs = "claim" in _registered(item.config) or "claim" in getattr(item, "fixturenames", ())
    if not uses and (theirs or not (signed or _uses(item))):
        return None  # somebody else's mark, or fixture, of this name
    if len(marks) > 1:
        raise BadInput("two claim markers: a test judges one claim")
    if not marks:
        if uses:
            raise BadInput("the claim fixture needs @pytest.mark.claim('sentence', id='...')")
        return None
    if not uses:
        raise BadInput("a test with a claim marker takes the fixture `claim` and ends in claim.holds(verdicts)")
    found = claims.declared(marks[0].args, marks[0].kwargs)
    subjects = item.get_closest_marker("subjects")
    known = [str(s) for s in claims.subjects(subjects.args)] if subjects else []
    for subject in found.expect:
        if subject not in known:
            raise unknown("subject in expect", subject, known, "an expectation names a subject of the test")
    return found


# --- fixtures ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _probes_store(pytestconfig: pytest.Config) -> Store:
    from probes.store import Store

    folder = option(pytestconfig, "store")
    return Store(folder) if folder else Store.default(pytestconfig.rootpath)


@pytest.fixture(scope="session")
def _probes_options(pytestconfig: pytest.Config) -> Options:
    from probes.run.bench import Options

    names = (
        "images",
        "levels",
        "draws",
        "device",
        "precision",
        "batch-size",
        "threads",
        "seed",
        "alpha",
        "download",
        "engine",
        "jobs",
    )
    return Options(**{name.replace("-", "_"): option(pytestconfig, name) for name in names})


@pytest.fixture
def _probes_subject(request: pytest.FixtureRequest) -> Spec | Pair:
    return getattr(request, "param", None) or _chosen(request.config, None)[0]


@pytest.fixture
def _probes_lab(
    request: pytest.FixtureRequest, _probes_store: Store, _probes_options: Options, _probes_subject: Spec | Pair
) -> Lab:
    from probes.lab import Lab

    capture = request.config.pluginmanager.getplugin("capturemanager")
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    quiet = terminal is None or hasattr(request.config, "workerinput") or not sys.__stderr__ or not os.isatty(2)

    def say(text: str) -> None:
        if terminal is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                terminal.write_line(f"{request.node.nodeid}: {text}", yellow=True)

    if (declared := _declared(request.node)) is not None and declared.looks > 1:
        _probes_options = dataclasses.replace(_probes_options, alpha=_probes_options.alpha / declared.looks)
    watched = {} if quiet or capture is None else {"watched": capture.global_and_fixture_disabled}
    return Lab(_probes_subject, store=_probes_store, options=_probes_options, quiet=quiet, say=say, **watched)


@pytest.fixture
def lab(_probes_lab: Lab) -> Lab:
    """The laboratory of a claim: ``lab.sweep(measure, under=perturbation)`` gives its table."""
    return _probes_lab


class Claim:
    """The claim of a test; ``holds(verdicts)``, called exactly once, leaves the evidence and decides the test."""

    def __init__(self, item: pytest.Item, declared: Declared, subject: str, lab: Lab) -> None:
        self._item, self._declared, self._subject, self._lab = item, declared, subject, lab
        self.calls = 0

    def holds(self, verdicts: Verdicts) -> None:
        """Leave the evidence; the test passes when the verdict is the expected one (``supported`` without one)."""
        self.calls += 1
        if self.calls > 1:
            raise NotHeld("claim.holds() is called exactly once per claim: this is the second call", pytrace=False)
        config = self._item.config
        found = claims.judge(
            self._declared,
            self._subject,
            self._item.nodeid,
            verdicts,
            self._lab,
            config.rootpath,
            option(config, "expect"),
        )
        self._item.user_properties.append(("probes", json.dumps(found.line, allow_nan=False)))
        if not found.passed:
            raise NotHeld(found.message, pytrace=False)


@pytest.fixture
def _probes_claim(request: pytest.FixtureRequest, _probes_lab: Lab, _probes_subject: Spec | Pair) -> Claim:
    declared = _declared(request.node)
    assert declared is not None
    declared = dataclasses.replace(declared, id=claims.labelled(declared.id, request.node))
    request.node._probes_claim = found = Claim(request.node, declared, str(_probes_subject), _probes_lab)
    return found


@pytest.fixture
def claim(_probes_claim: Claim) -> Claim:
    """The claim that the test's marker declares: end the test with ``claim.holds(verdicts)``."""
    return _probes_claim


# --- outcomes ------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    if problem := item.config.stash.get(_PROBLEMS, {}).get(item.nodeid.partition("[")[0]):
        raise BadInput(problem)
    yield from _skipping(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    yield from _skipping(item)
    claim = getattr(item, "_probes_claim", None)
    if claim is not None and claim.calls == 0:
        raise NotHeld(claims.NEVER, pytrace=False)


class _Notes(logging.Handler):
    """What the project logs while a test runs (a damaged cell, say) travels with the test, to be told at the end."""

    def __init__(self, item: pytest.Item) -> None:
        super().__init__(logging.WARNING)
        self.item = item

    def emit(self, record: logging.LogRecord) -> None:
        self.item.user_properties.append(("probes-note", record.getMessage()))


def _skipping(item: pytest.Item) -> Generator[None]:
    log, notes = logging.getLogger("probes"), _Notes(item)
    if not _uses(item):
        yield
        return
    log.addHandler(notes)
    try:
        yield
    except Unavailable as e:
        if option(item.config, "strict"):
            raise
        pytest.skip(str(e))
    finally:
        log.removeHandler(notes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    stash = item.config.stash
    mine = item.nodeid in stash.get(_COLLECTED, {}) or item.nodeid.partition("[")[0] in stash.get(_PROBLEMS, {})
    if not (mine and report.failed and call.excinfo is not None) or isinstance(call.excinfo.value, NotHeld):
        return report
    # Whatever goes wrong in a claim is an ERROR, in its body too: only the verdict may FAIL one.
    report.when = "setup" if report.when == "call" else report.when
    report.longrepr = claims.trouble(item, call.excinfo)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # the controller of pytest-xdist collects nothing itself
        session.config.workeroutput["probes"] = json.dumps(session.config.stash.get(_COLLECTED, {}))

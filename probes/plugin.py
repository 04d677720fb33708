"""The pytest plugin: options, markers, fixtures, outcomes, the claims table and the report.

It imports neither torch nor pandas before a claim runs, so a project without claims pays nothing.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import traceback
from collections.abc import Generator
from typing import Any, Literal

import pytest

from probes import holdings
from probes.claimoptions import dest, option
from probes.claimplugin import (  # noqa: F401 - pytest finds the fixtures here
    MARKERS,
    NotHeld,
    _probes_claim,
    _probes_lab,
    _probes_options,
    _probes_store,
    _probes_subject,
    chosen_subjects,
    claim,
    declared_by,
    lab,
    registered_fixtures,
    uses,
)
from probes.claims import finding as claims
from probes.claims.declaring import Declared
from probes.errors import BadInput, ProbesError, Unavailable, Unfinished
from probes.registry import PLACES
from probes.run.options import OPTIONS, contradiction
from probes.tell.reporter import Teller

_PROBLEMS = pytest.StashKey[dict[str, str]]()
_FAILED = pytest.StashKey[BaseException]()
_COLLECTED = pytest.StashKey[dict[str, dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("probes", "claims about neural networks")
    for o in OPTIONS:
        # Defaults are None so that an ini value can be told from one typed on the command line.
        how: dict[str, Any] = (
            {"action": "store_true", "default": None}
            if o.flag
            else {"type": o.kind, "choices": o.choices}
        )
        text = o.help if o.default is None else f"{o.help} (default: {o.default})"
        group.addoption(f"--probes-{o.name}", dest=dest(o.name), help=text, **how)
        written: Literal["bool", "string"] = "bool" if o.flag else "string"
        parser.addini(dest(o.name), o.help, written, None)


def _sections() -> Any:
    from probes import studies

    return studies.sections()


def pytest_configure(config: pytest.Config) -> None:
    for text in MARKERS.values():
        config.addinivalue_line("markers", text)
    values = {o.name: option(config, o.name) for o in OPTIONS}
    if problem := contradiction(
        values | {"store": values["store"] or os.environ.get("PROBES_STORE")}
    ):
        raise pytest.UsageError(problem)
    if data := values["data"]:
        os.environ["PROBES_DATA"] = str(data)
    asked = ["pytest", *map(str, config.invocation_params.args)]
    holdings.command(*getattr(config, "workerinput", {}).get("probes_command", asked))
    if not hasattr(config, "workerinput"):
        given = {o.name: v for o in OPTIONS if (v := config.getoption(dest(o.name))) is not None}
        collected = config.stash.setdefault(_COLLECTED, {})
        folder = config.rootpath / values["report"] if values["report"] else None
        config.pluginmanager.register(
            Teller(config, folder, given, collected, _sections), "probes-teller"
        )


# --- collection: subjects and markers
# ------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "_probes_subject" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("subjects")
    if marker is None and not metafunc.definition.get_closest_marker("claim"):
        return
    config = metafunc.config
    try:
        found = chosen_subjects(config, marker.args if marker else None)
    except ProbesError as e:
        # Raised here it would be a collection error of one file; it is the whole run's usage error.
        config.stash.setdefault(_PROBLEMS, {})[metafunc.definition.nodeid] = str(e)
        return
    metafunc.parametrize(
        "_probes_subject", found, ids=[str(f) for f in found], indirect=True, scope="function"
    )


# before any deselection, so that the report knows what was collected
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    owners: dict[str, str] = {}
    alike: dict[tuple[str, str], str] = {}
    problems = config.stash.setdefault(_PROBLEMS, {})
    collected = config.stash.setdefault(_COLLECTED, {})
    for item in items:
        if (place := str(item.path.parent)) not in PLACES:
            PLACES.append(place)
        name = item.nodeid.partition("[")[0]
        try:
            _check_typos(item)
            if (claim := declared_by(item)) is not None:
                if owners.setdefault(claim.id, name) != name:
                    raise BadInput(f"claim id {claim.id!r} is taken by {owners[claim.id]}")
                claims.refuse_repeats(item)
                mine = collected[item.nodeid] = _collected(item, claim)
                if alike.setdefault((mine["id"], mine["subject"]), item.nodeid) != item.nodeid:
                    raise BadInput(
                        f"two cases are called {mine['id']}: give them ids, pytest.param(...,"
                        " id='...')"
                    )
        except ProbesError as e:
            problems.setdefault(name, str(e))
    if problems and not hasattr(
        config, "workerinput"
    ):  # a worker that stops takes the run with it: see setup
        raise pytest.UsageError("\n".join(f"{name}: {text}" for name, text in problems.items()))


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if one := item.config.stash.get(_COLLECTED, {}).get(item.nodeid):
            one["deselected"] = True


def _collected(item: pytest.Item, declared: Declared) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    subject = callspec.params.get("_probes_subject") if callspec else None
    return {
        "id": claims.labelled(declared.id, item),
        "subject": str(subject or chosen_subjects(item.config, None)[0]),
        "family": declared.family,
        "deselected": False,
    }


def _check_typos(item: pytest.Item) -> None:
    if not uses(item):
        return
    theirs = registered_fixtures(item.config)
    for mark in item.iter_markers():
        if mark.name in theirs:
            continue
        if mark.name not in MARKERS and (
            near := difflib.get_close_matches(mark.name, MARKERS, n=1, cutoff=0.8)
        ):
            raise BadInput(f"unknown marker {mark.name!r}: did you mean {near[0]}?")
        if mark.name == "subjects" and mark.kwargs:
            raise BadInput(f"subjects(...) takes no argument {min(mark.kwargs)!r}")


# --- fixtures
# --------------------------------------------------------------------------------------------------


# --- outcomes
# --------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    if problem := item.config.stash.get(_PROBLEMS, {}).get(item.nodeid.partition("[")[0]):
        raise BadInput(problem)
    yield from _skipping(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    yield from _skipping(item)
    one = getattr(item, "_probes_claim", None)
    if one is not None and one.calls == 0:
        raise NotHeld(claims.NEVER, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A claim that is decided as soon as it can be runs once a look; others as pytest runs them."""
    one = getattr(pyfuncitem, "_probes_claim", None)
    return True if one is not None and one.as_soon_as_decided() else None


class _Notes(logging.Handler):
    """Log messages during a test (such as a damaged cell) travel with the test, and are shown at
    the end.
    """

    def __init__(self, item: pytest.Item) -> None:
        super().__init__(logging.WARNING)
        self.item = item

    def emit(self, record: logging.LogRecord) -> None:
        self.item.user_properties.append(("probes-note", record.getMessage()))


def _skipping(item: pytest.Item) -> Generator[None]:
    log, notes = logging.getLogger("probes"), _Notes(item)
    if not uses(item):
        yield
        return
    log.addHandler(notes)
    try:
        yield
    except Unfinished as e:
        if e.estimate is not None:
            item.user_properties.append(("probes-estimate", json.dumps(e.estimate.json())))
        pytest.skip(str(e).replace("\n", "; "))
    except Unavailable as e:
        if option(item.config, "strict"):
            raise
        pytest.skip(str(e))
    finally:
        log.removeHandler(notes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and uses(item):
        item.stash[_FAILED] = call.excinfo.value
    stash = item.config.stash
    mine = item.nodeid in stash.get(_COLLECTED, {}) or item.nodeid.partition("[")[0] in stash.get(
        _PROBLEMS, {}
    )
    if not (mine and report.failed and call.excinfo is not None) or isinstance(
        call.excinfo.value, NotHeld
    ):
        return report
    # Whatever goes wrong in a claim is an ERROR, in its body too: only the verdict may FAIL one.
    report.when = "setup" if report.when == "call" else report.when
    report.longrepr = claims.trouble(item, call.excinfo)
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """pytest keeps every test, and other plugins what failed: not the tables of a claim."""
    vars(item).pop("_probes_claim", None)
    failed = item.stash.get(_FAILED, None)
    while failed is not None:
        traceback.clear_frames(failed.__traceback__)
        for frame, _ in traceback.walk_tb(failed.__traceback__):
            frame.f_locals.keys()  # Python 3.11 and 3.12 keep what was read once, until read again
        failed = failed.__context__


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(
        session.config,
        "workeroutput",
        # the controller of pytest-xdist itself collects nothing
    ):
        session.config.workeroutput["probes"] = json.dumps(session.config.stash.get(_COLLECTED, {}))

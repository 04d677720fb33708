"""The fixtures of claims: a laboratory for each subject, and what a verdict is handed to."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from probes.errors import BadInput
from probes.registry import unknown
from probes.run import claim as claims
from probes.run import declaring
from probes.run.declaring import Declared
from probes.run.options import OPTIONS
from probes.subjects.spec import Pair, Spec, parse

if TYPE_CHECKING:
    from probes.judge import Verdicts
    from probes.lab import Lab
    from probes.run.settings import Options
    from probes.store import Store


class NotHeld(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """What the verdict of a claim fails with: anything else in a claim is an error."""

    __module__ = "builtins"  # pytest prints the name of an exception with its module


def dest(name: str) -> str:
    """The name of an option in the configuration."""
    return f"probes_{name.replace('-', '_')}"


def option(config: pytest.Config, name: str) -> Any:
    """An option of ours: typed, else from the ini file, else its default; UsageError for an ini
    value that is none.
    """
    spec = next(o for o in OPTIONS if o.name == name)
    if (typed := config.getoption(dest(name))) is not None:
        return typed
    written = config.getini(dest(name))
    if written in (None, "", False):
        return spec.default
    try:
        value = written if spec.flag else spec.kind(written)
    except ValueError as e:
        raise pytest.UsageError(f"{dest(name)} = {written} (ini): {e}") from e
    if spec.choices and value not in spec.choices:
        raise pytest.UsageError(
            f"{dest(name)} = {written} (ini): allowed are {', '.join(spec.choices)}"
        )
    return value


def chosen_subjects(config: pytest.Config, args: tuple | None) -> list[Spec | Pair]:
    """The subjects of a test after the options, those of its marker or the default one."""
    net, dataset = option(config, "model"), option(config, "dataset")
    if net is not None and "@" in net:
        raise BadInput(
            f"--probes-model {net}: the network only, net[:weights][#seed]; the dataset is"
            " --probes-dataset"
        )
    if args is None:
        return [dataclasses.replace(parse(net or "resnet20"), dataset=dataset or "mnist5k")]
    return declaring.chosen(declaring.subjects(args), net, dataset)


def declared_by(item: pytest.Item) -> Declared | None:
    """The claim that a test declares; None for a test that is no claim of ours, whatever marks of
    its own it carries.
    """
    asked = uses(item, "claim")
    marks = list(item.iter_markers("claim"))
    signed = any(
        "id" in mark.kwargs and mark.args and isinstance(mark.args[0], str) for mark in marks
    )
    theirs = "claim" in registered_fixtures(item.config) or "claim" in getattr(
        item, "fixturenames", ()
    )
    if not asked and (theirs or not (signed or uses(item))):
        return None  # somebody else's mark, or fixture, of this name
    if len(marks) > 1:
        raise BadInput("two claim markers: a test judges one claim")
    if not marks:
        if asked:
            raise BadInput("the claim fixture needs @pytest.mark.claim('sentence', id='...')")
        return None
    if not asked:
        raise BadInput(
            "a test with a claim marker takes the fixture `claim` and ends in claim.holds(verdicts)"
        )
    found = declaring.declared(marks[0].args, marks[0].kwargs)
    subjects = item.get_closest_marker("subjects")
    known = [str(s) for s in declaring.subjects(subjects.args)] if subjects else []
    for subject in found.expect:
        if subject not in known:
            raise unknown(
                "subject in expect", subject, known, "an expectation names a subject of the test"
            )
    return found


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
    return getattr(request, "param", None) or chosen_subjects(request.config, None)[0]


@pytest.fixture
def _probes_lab(
    request: pytest.FixtureRequest,
    _probes_store: Store,
    _probes_options: Options,
    _probes_subject: Spec | Pair,
) -> Lab:
    from probes.lab import Lab

    capture = request.config.pluginmanager.getplugin("capturemanager")
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    quiet = (
        terminal is None
        or hasattr(request.config, "workerinput")
        or not sys.__stderr__
        or not os.isatty(2)
    )

    def say(text: str) -> None:
        if terminal is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                terminal.write_line(f"{request.node.nodeid}: {text}", yellow=True)

    if (declared := declared_by(request.node)) is not None and declared.looks > 1:
        _probes_options = dataclasses.replace(
            _probes_options, alpha=_probes_options.alpha / declared.looks
        )
    watched = {} if quiet or capture is None else {"watched": capture.global_and_fixture_disabled}
    return Lab(
        _probes_subject,
        store=_probes_store,
        options=_probes_options,
        quiet=quiet,
        say=say,
        **watched,
    )


@pytest.fixture
def lab(_probes_lab: Lab) -> Lab:
    """The laboratory of a claim: ``lab.sweep(measure, under=perturbation)`` gives its table."""
    return _probes_lab


class Claim:
    """The claim of a test; ``holds(verdicts)``, called exactly once, leaves the evidence and
    decides the test.
    """

    def __init__(self, item: pytest.Item, declared: Declared, subject: str, lab: Lab) -> None:
        self._item, self._declared, self._subject, self._lab = item, declared, subject, lab
        self.calls = 0

    def holds(self, verdicts: Verdicts) -> None:
        """Leave the evidence; the test passes when the verdict is the expected one (``supported``
        without one).
        """
        self.calls += 1
        if self.calls > 1:
            raise NotHeld(
                "claim.holds() is called exactly once per claim: this is the second call",
                pytrace=False,
            )
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
def _probes_claim(
    request: pytest.FixtureRequest, _probes_lab: Lab, _probes_subject: Spec | Pair
) -> Claim:
    declared = declared_by(request.node)
    assert declared is not None
    declared = dataclasses.replace(declared, id=claims.labelled(declared.id, request.node))
    request.node._probes_claim = found = Claim(
        request.node, declared, str(_probes_subject), _probes_lab
    )
    return found


@pytest.fixture
def claim(_probes_claim: Claim) -> Claim:
    """The claim that the test's marker declares: end the test with ``claim.holds(verdicts)``."""
    return _probes_claim


def uses(item: Any, *names: str) -> bool:
    """Whether a test uses fixtures of ours: any, or one of those named."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return any(
        found and found[-1].func.__module__ in (__name__, "probes.fixtures")
        for name, found in definitions.items()
        if not names or name in names
    )


def registered_fixtures(config: pytest.Config) -> set[str]:
    """The names of the marks that others registered."""
    lines = [line for line in config.getini("markers") if line not in MARKERS.values()]
    return {line.partition(":")[0].partition("(")[0].strip() for line in lines}


MARKERS = {
    "claim": (
        "claim(sentence, *, id, family='', expect={}, looks=1): a claim about a network, judged by"
        " claim.holds(verdicts)"
    ),
    "subjects": (
        "subjects('net[:weights]@dataset[#seed]', pair(a, b), ...): what a claim is judged on, a"
        " test for each"
    ),
}

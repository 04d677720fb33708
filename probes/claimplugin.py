"""The fixtures of claims: a laboratory for each subject, and what a verdict is handed to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes.claimoptions import option
from probes.claims import declaring
from probes.claims import finding as claims
from probes.claims.declaring import Declared
from probes.cost import Estimate
from probes.errors import BadInput, Unfinished
from probes.registry import unknown
from probes.subjects.spec import Pair, Spec, parse

if TYPE_CHECKING:
    from probes.judge import Verdicts
    from probes.lab import Lab
    from probes.run.settings import Options
    from probes.store import Store


class NotHeld(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """What the verdict of a claim fails with: anything else in a claim is an error."""

    __module__ = "builtins"  # pytest prints the name of an exception with its module


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
        "ray-address",
        "shard",
        "max-seconds",
        "max-hours",
        "estimate",
        "until",
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
    worker = hasattr(request.config, "workerinput")
    quiet = terminal is None or worker or option(request.config, "quiet")

    def say(text: str) -> None:
        if terminal is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                terminal.write_line(f"{request.node.nodeid}: {text}", yellow=True)

    store = _probes_store
    if (declared := declared_by(request.node)) is not None:
        store = type(store)(store.folder, claims.labelled(declared.id, request.node))
        _probes_options = dataclasses.replace(
            _probes_options,
            alpha=_probes_options.alpha / declared.looks,
            until=_until(_probes_options, declared),
        )
    watched = {} if quiet or capture is None else {"watched": capture.global_and_fixture_disabled}
    return Lab(
        _probes_subject,
        store=store,
        options=_probes_options,
        quiet=quiet,
        say=say,
        **watched,
    )


def _until(options: Options, declared: Declared) -> int | None:
    """At how many images a claim is decided at the latest; an option goes before its marker, and
    looks that a claim declares itself before an option.
    """
    if declared.looks > 1:
        return None
    return options.until or (None if options.images else declared.until)


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
        self._looking = False
        self._seen: Verdicts | None = None

    def holds(self, verdicts: Verdicts) -> None:
        """Leave the evidence; the test passes on the expected verdict, by default supported."""
        self.calls += 1
        if self.calls > 1:
            raise NotHeld(
                "claim.holds() is called exactly once per claim: this is the second call",
                pytrace=False,
            )
        from probes.judge import Verdicts

        if not isinstance(verdicts, Verdicts):
            raise BadInput(f"claim.holds({verdicts!r:.60}): it takes verdicts, as rises(...) gives")
        if self._looking:
            self._seen = verdicts
        else:
            self._decide(verdicts)

    def as_soon_as_decided(self) -> bool:
        """Run the test at one look after the other, where it has a number of images at which it is
        decided at the latest (``until``).
        """
        until = self._lab.options.until
        if until is None:
            return False
        item: Any = self._item
        function, given, names = item.obj, item.funcargs, item._fixtureinfo.argnames
        last = self._lab

        def ask(look: Lab) -> Verdicts:
            nonlocal last
            self.calls, self._looking, last = 0, True, look
            function(**{name: look if name == "lab" else given[name] for name in names})
            self._looking = False
            if self._seen is None:
                raise NotHeld(claims.NEVER, pytrace=False)
            found, self._seen = self._seen, None
            return found

        found = self._lab.decide(ask)
        self._lab = last.at_look(last.options.upto or until, self._lab.options.alpha)
        self._decide(found)
        return True

    def _decide(self, verdicts: Verdicts) -> None:
        config = self._item.config
        if self._lab.options.estimate:
            raise Unfinished("estimate: all of its results are in the store", estimate=Estimate({}))
        found = claims.judge(
            self._declared,
            self._subject,
            self._item.nodeid,
            verdicts,
            self._lab,
            config.rootpath,
            option(config, "expect"),
            ledger_of(config),
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


def ledger_of(config: pytest.Config) -> Path | None:
    """The file of looks of a project; None where it is off."""
    name = option(config, "ledger")
    return None if name in ("", "off") else config.rootpath / name


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
        "claim(sentence, *, id, family='', expect={}, looks=1, until=None, exploratory=False): a"
        " claim about a network, judged by claim.holds(verdicts)"
    ),
    "subjects": (
        "subjects('net[:weights]@dataset[#seed]', pair(a, b), ...): what a claim is judged on, a"
        " test for each"
    ),
}

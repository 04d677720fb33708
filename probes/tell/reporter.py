"""What the plugin tells at the end of a run: the report, the claims table, notes. It is loaded in
every project: no pandas here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from probes.cost import Estimate
from probes.errors import ProbesError
from probes.reading import visible
from probes.stopping import terminable

hookimpl = pluggy.HookimplMarker("pytest")
FAILED = 1  # pytest.ExitCode.TESTS_FAILED


class Teller:
    """On the controller only: gathers the evidence of all workers, writes the report, prints the
    claims table.

    ``folder`` is where the report goes, None for none; ``collected`` are the claims that were
    collected, by test: filled by the plugin, or by what the workers send; ``sections()`` gives what
    studies add to the report.
    """

    def __init__(
        self,
        config: Any,
        folder: Path | None,
        given: Mapping[str, Any],
        collected: dict[str, dict[str, Any]],
        sections: Callable[[], Any],
    ) -> None:
        self.config, self.folder, self.given, self.collected = config, folder, given, collected
        self.sections = sections
        self.lines: dict[str, dict[str, Any]] = {}
        self.reasons: dict[str, tuple[str, str]] = {}  # of claims that came to no verdict, by test
        self.notes: dict[str, None] = {}
        self.estimates: list[dict[str, Any]] = []
        self.named = folder != config.rootpath / "reports" / "latest"
        self.written: Path | None = None
        self.trouble = ""
        self.interrupted = False

    @hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["probes_command"] = ["pytest", *map(str, self.args)]

    @property
    def args(self) -> Sequence[str]:
        """What was typed after ``pytest``."""
        return self.config.invocation_params.args

    @hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for test, claim in json.loads(
            getattr(node, "workeroutput", {}).get("probes", "{}")
        ).items():
            self.collected.setdefault(test, claim)

    @hookimpl(tryfirst=True)  # JUnit and others are told the verdict, not the whole evidence
    def pytest_runtest_logreport(self, report: Any) -> None:
        self.notes |= {
            str(value): None for name, value in report.user_properties if name == "probes-note"
        }
        found = _told(report, "probes")
        if report.skipped:
            self.estimates += _told(report, "probes-estimate")
        if report.when == "call" and found:
            self.lines[report.nodeid] = found[-1] | {"passed": report.passed}
        elif report.skipped and not hasattr(report, "wasxfail"):
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            why = visible(why.removeprefix("Skipped: "))
            self.reasons.setdefault(report.nodeid, ("skipped", why))
        elif report.failed or report.skipped:
            text = str(report.longrepr).strip().splitlines() or ["failed"]
            self.reasons.setdefault(
                report.nodeid, ("failed" if report.when == "call" else "error", visible(text[0]))
            )
        if found:
            told = [
                ("claim", found[-1]["id"]),
                ("subject", found[-1]["subject"]),
                ("verdict", found[-1]["overall"]),
            ]
            kept = [(name, value) for name, value in report.user_properties if name != "probes"]
            report.user_properties = kept + [(f"probes-{name}", value) for name, value in told]

    @hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: Any) -> Generator[None, Any, Any]:
        if not self.collected and not self.config.pluginmanager.hasplugin("dsession"):
            return (yield)
        with terminable():
            return (yield)

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = True

    def not_judged(self) -> list[dict[str, str]]:
        """The claims that came to no verdict, with the reason; of those deselected, members of a
        family that was judged.
        """
        families = {line["family"] for line in self.lines.values() if line["family"]}
        found = []
        for test, claim in self.collected.items():
            if test in self.lines:
                continue
            if claim["deselected"]:
                outcome, why = "deselected", f"a member of the family {claim['family']!r}"
                if claim["family"] not in families:
                    continue
            else:
                outcome, why = self.reasons.get(test, ("not run", "the run ended before it"))
            found.append(
                {"id": claim["id"], "subject": claim["subject"], "outcome": outcome, "why": why}
            )
        return found

    @hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> None:
        if not self.lines or self.folder is None:
            return
        from probes.tell import origins, report

        options = {
            name: value
            for name, value in self.given.items()
            if name not in ("data", "store", "report")
        }
        command = ["pytest", *map(str, self.args)]
        run = origins.provenance(self.config.rootpath, command, options)
        run["complete"] = int(exitstatus) not in (2, 3)
        families: dict[str, int] = {}
        for claim in self.collected.values():
            if claim["family"]:
                families[claim["family"]] = families.get(claim["family"], 0) + 1
        run["families"] = dict(sorted(families.items()))
        run["not_judged"] = self.not_judged()
        try:
            # Of the folder that nobody named nothing is to be committed.
            files = {} if self.named else {".gitignore": b"*\n"}
            self.written = report.assemble(
                self.lines.values(), run, self.folder, files=files, sections=self.sections()
            )
        except ProbesError as e:
            self.trouble = str(e)
            session.exitstatus = exitstatus or FAILED  # verdicts without evidence are none

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        lost = self.not_judged()
        if (not self.lines and not lost) or self.config.option.collectonly:
            return
        from probes.tell import terminal
        from probes.tell.wrapping import wrapped

        terminalreporter.write_sep("=", "claims")
        width = self.config.get_terminal_writer().fullwidth
        every = self.config.get_verbosity() > 0
        for text, colour in terminal.table(list(self.lines.values()), lost, width, every):
            terminalreporter.write_line(text, **colour)

        def say(said: str, **colour: bool) -> None:
            for text, how in wrapped(said, width, "", "  ", **colour):
                terminalreporter.write_line(text, **how)

        for note in self.notes:
            say(f"note: {note}", yellow=True)
        if self.estimates:
            say(f"all claims together: {Estimate.of(self.estimates)}", bold=True)
        if self.written:
            root = self.config.rootpath
            shown = (
                self.written.relative_to(root)
                if self.written.is_relative_to(root)
                else self.written
            )
            say(f"report: {shown / 'report.md'}")
        elif not self.lines:
            say("nothing was judged: no report was written", yellow=True)
        if self.interrupted:
            say(
                "interrupted: what is measured is in the store, and the same command goes on from"
                " here",
                yellow=True,
            )
        if self.trouble:
            say(f"no report: {self.trouble}", red=True)


def _told(report: Any, name: str) -> list[dict[str, Any]]:
    """What a test told the controller by this name."""
    return [json.loads(str(value)) for known, value in report.user_properties if known == name]

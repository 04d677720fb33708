"""What the plugin tells at the end of a run: the report, the claims table, notes. It is loaded in every project: no pandas here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from probes.errors import ProbesError

hookimpl = pluggy.HookimplMarker("pytest")
FAILED = 1  # pytest.ExitCode.TESTS_FAILED


class Teller:
    """On the controller only: gathers the evidence of all workers, writes the report, prints the claims table."""

    def __init__(self, config: Any, folder: Path, given: Mapping[str, Any]) -> None:
        self.config, self.folder, self.given = config, folder, given
        self.lines: list[dict[str, Any]] = []
        self.others: dict[str, str] = {}  # claims that came to no verdict, by test: skipped or error
        self.families: dict[str, set[str]] = {}
        self.notes: dict[str, None] = {}
        self.written: Path | None = None
        self.trouble = ""

    def pytest_itemcollected(self, item: Any) -> None:
        if marker := item.get_closest_marker("claim"):
            self.families.setdefault(str(marker.kwargs.get("family", "")), set()).add(item.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if "claim" in report.keywords and (report.skipped or (report.failed and report.when == "setup")):
            self.others[report.nodeid] = report.outcome
        self.notes |= {str(value): None for name, value in report.user_properties if name == "probes-note"}
        found = [value for name, value in report.user_properties if name == "probes"]
        if report.when == "call" and found:
            self.lines.append(json.loads(str(found[-1])) | {"passed": report.passed})

    @hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> None:
        if not self.lines:
            return
        from probes.tell import evidence, report

        options = {name: value for name, value in self.given.items() if name not in ("data", "store", "report")}
        command = ["pytest", *self.config.invocation_params.args]
        run = evidence.provenance(self.config.rootpath, [str(c) for c in command], options)
        run["complete"] = int(exitstatus) not in (2, 3)
        run["families"] = {name: len(tests) for name, tests in sorted(self.families.items()) if name}
        try:
            self.written = report.assemble(self.lines, run, self.folder)
        except ProbesError as e:
            self.trouble = str(e)
            session.exitstatus = exitstatus or FAILED  # verdicts without evidence are none

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.lines and not self.others:
            return
        from probes.tell import terminal

        terminalreporter.section("claims")
        for text, colour in terminal.table(self.lines, list(self.others.values())):
            terminalreporter.write_line(text, **colour)
        for note in self.notes:
            terminalreporter.write_line(f"note: {note}", yellow=True)
        if self.written:
            root = self.config.rootpath
            shown = self.written.relative_to(root) if self.written.is_relative_to(root) else self.written
            terminalreporter.write_line(f"report: {shown / 'report.md'}")
        if self.trouble:
            terminalreporter.write_line(f"no report: {self.trouble}", red=True)

"""Progress: a bar on a terminal, a line a minute in a log, nothing where nobody looks."""

import pytest

from probes.cost import GO_ON
from probes.run.engines import progress as module
from probes.run.engines.progress import progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    monkeypatch.setattr(module, "_said", [GO_ON])
    return found


def test_a_log_has_a_line_a_minute_with_rate_and_time_left(clock, capsys):
    with progress(100, "cells", quiet=False) as shown:
        for done in range(1, 31):
            clock.now += 10
            shown.reach(done, f"resnet20 level {done}")
    lines = capsys.readouterr().err.splitlines()

    assert lines[0] == (
        "cells: 6.0 of 100 pieces, 6 a minute, about 15.7 min left (resnet20 level 6)"
    )
    assert len(lines) == 5


def test_short_work_and_quiet_work_say_nothing(clock, capsys):
    with progress(3, "cells", quiet=False) as shown:
        shown.reach(1)
    with progress(100, "cells", quiet=True) as shown:
        clock.now += 1000
        shown.reach(50)

    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_with_rate_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with progress(4, "cells", quiet=False) as shown:
        shown.bar.mininterval = 0
        shown.reach(1, "resnet20 level 0.1")
        shown.reach(2.5)
        shown.bar.refresh()
    told = capsys.readouterr().err

    assert "2.5/4" in told
    assert "piece/s" in told or "s/piece" in told
    assert "resnet20 level 0.1" in told


def test_work_that_takes_longer_says_once_how_to_stop_and_go_on(clock, monkeypatch, capsys):
    monkeypatch.setattr(module, "_said", [])
    for _ in range(2):
        with progress(100, "cells", quiet=False) as shown:
            for done in range(1, 8):
                clock.now += 4
                shown.reach(done)
    lines = capsys.readouterr().err.splitlines()

    assert lines == [f"cells: 3.0 of 100 pieces, 15 a minute, about 6.5 min left; {GO_ON}"]


def test_work_that_is_done_says_nothing_of_going_on(clock, monkeypatch, capsys):
    monkeypatch.setattr(module, "_said", [])
    with progress(1, "cells", quiet=False) as shown:
        clock.now += 11
        shown.reach(1)

    assert capsys.readouterr().err == ""


def test_a_terminal_says_it_above_its_bar(clock, monkeypatch, capsys):
    monkeypatch.setattr(module, "_said", [])
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with progress(4, "cells", quiet=False) as shown:
        clock.now += 11
        shown.reach(1)
        shown.reach(2)

    assert capsys.readouterr().err.count(f"cells: {GO_ON}\n") == 1

"""Files are never half-written, and what killed processes leave is swept up."""

import os
import time

import pytest

from probes import atomic

DEAD = 4_000_000  # above the largest process number


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        (
            f".aggregated_0.35.csv.{DEAD}-{atomic._here()}.tmp.csv",
            "at once",
        ),  # what a killed process of this machine left
        (
            f".aggregated_0.35.csv.{DEAD}-00000000.tmp.csv",
            "after a day",
        ),  # of another machine, that may still write it
        (
            f".aggregated_0.35.csv.{os.getppid()}-{atomic._here()}.tmp.csv",
            "never",
        ),  # of a process that lives
        (f".aggregated_0.35.csv.{DEAD}.tmp.csv", "never"),  # no name of ours
        (".aggregated_0.35.csv.tmp.csv", "never"),  # digits in the name are no process: 35 once was
        (f".aggregated_0.35.csv.x.{DEAD}-{atomic._here()}.tmp.csv", "never"),
        (f".other_0.35.csv.{DEAD}-{atomic._here()}.tmp.csv", "never"),
    ],
)
def test_trap_f14_a_temporary_is_told_by_its_end_and_taken_away_when_nobody_can_be_writing_it(
    tmp_path, name, gone
):
    left = tmp_path / name
    left.write_text("half")
    with atomic.replacing(tmp_path / "aggregated_0.35.csv") as temporary:
        temporary.write_text("whole")
    assert left.exists() is (gone != "at once")
    if not left.exists():
        return
    os.utime(left, (time.time() - 2 * atomic.YOUNG,) * 2)
    with atomic.replacing(tmp_path / "aggregated_0.35.csv") as temporary:
        temporary.write_text("whole")

    assert left.exists() is (gone == "never")


def test_trap_f14_the_temporary_of_another_process_that_writes_the_same_file_stays(tmp_path):
    mine = tmp_path / "a_0.35.csv"
    other = tmp_path / f".a_0.35.csv.{os.getppid()}-{atomic._here()}.tmp.csv"
    with atomic.replacing(mine) as temporary:
        other.write_text("of another process")
        temporary.write_text("mine")

    assert other.read_text() == "of another process"
    assert mine.read_text() == "mine"

"""All that is told of a battery of questions is what it was: ``battery.json``, which
``python -m tests.unit.judge.battery`` writes anew.
"""

import json
import math

import pytest

from tests.unit.judge import battery

WAS = json.loads(battery.FILE.read_text(encoding="utf-8"))
QUESTIONS = dict(battery.questions())


def same(now, was, where=""):
    """Numbers agree within 1e-6, all else to the letter."""
    if isinstance(now, dict) and isinstance(was, dict):
        assert list(now) == list(was), where
        for key in now:
            same(now[key], was[key], f"{where} {key}")
    elif isinstance(now, list) and isinstance(was, list):
        assert len(now) == len(was), where
        for i, pair in enumerate(zip(now, was, strict=True)):
            same(*pair, f"{where} {i}")
    elif isinstance(now, float) and isinstance(was, int | float):
        assert math.isclose(now, was, rel_tol=1e-6, abs_tol=1e-9), f"{where}: {was} is {now}"
    else:
        assert now == was, where


def test_the_file_holds_the_battery():
    assert list(WAS) == [*QUESTIONS, *battery.numbers()]


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_told_of_a_question_is_what_it_was(name):
    same(json.loads(json.dumps(battery.told(QUESTIONS[name]))), WAS[name])


def test_numbers_of_tables_are_what_they_were():
    for name, now in battery.numbers().items():
        same(json.loads(json.dumps(now)), WAS[name], name)

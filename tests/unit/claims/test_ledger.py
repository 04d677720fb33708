"""The ledger of looks: what is one, what a repeat is, what is damaged, and who writes at once."""

import contextlib
import json
import multiprocessing

import pytest
from filelock import FileLock

from probes.claims import ledger
from probes.errors import ProbesError


def line(**changes):
    """An evidence line, as far as the ledger reads one."""
    design = {name: 0 for name in (*ledger.DESIGN, *ledger.MORE)} | {
        "dataset": "d",
        "images": 200,
        "runs": {"n": 1},
    }
    design |= {k: v for k, v in changes.items() if k in design}
    question = {"ask": "rises", "metric": "var_h", "sesoi": "1 %", "unit": "image"}
    return {
        "id": "H1",
        "subject": "a@d",
        "sentence": "S.",
        "question": question,
        "design": design,
        "alpha": 0.05,
        "overall": "supported",
    } | {k: v for k, v in changes.items() if k not in design}


def enter(path, **changes):
    return ledger.enter(path, ledger.entry(line(**changes)), contextlib.nullcontext())[0]


def test_a_run_that_repeats_a_line_adds_none(tmp_path):
    book = tmp_path / ledger.NAME
    enter(book)
    before = book.read_bytes()

    assert len(enter(book)) == 1
    assert book.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"images": 400},
        {"draws": 2},
        {"seed": 1},
        {"runs": {"n": 8}},
        {"levels": [0, 0.2]},
        {"alpha": 0.025},
        {"sentence": "Another."},
        {"question": {"ask": "rises", "metric": "var_h", "sesoi": ".1 %", "unit": "image"}},
        {"until": {"images": 1000, "looks": []}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_trap_a17_whatever_is_changed_is_another_look(tmp_path, change):
    book = tmp_path / ledger.NAME
    enter(book)
    mine = enter(book, **change)

    assert len(mine) == 2
    assert "look 2 of 1 declared" in ledger.overspent(mine, 1, 0.05)
    assert ledger.overspent(enter(book), 1, 0.05) == ""  # the first one stays the first


def test_trap_a17_looks_that_were_declared_afterwards_have_spent_too_much(tmp_path):
    """A first look at .05, then looks=2 at .025: 1.23 alpha was accepted."""
    book = tmp_path / ledger.NAME
    enter(book)
    mine = enter(book, images=400, alpha=0.025)

    assert "spend alpha 0.075 of 0.05" in ledger.overspent(mine, 2, 0.05)

    other = tmp_path / "other.jsonl"
    enter(other, alpha=0.025)
    assert ledger.overspent(enter(other, images=400, alpha=0.025), 2, 0.05) == ""
    assert ledger.overspent(enter(other, images=500, alpha=0.025), 2, 0.05) != ""


def test_another_verdict_on_the_same_question_is_the_same_look(tmp_path):
    book = tmp_path / ledger.NAME
    enter(book)

    assert len(enter(book, overall="mixed")) == 1
    assert len(book.read_text().splitlines()) == 2
    assert "supported, mixed; 200 images" in "\n".join(ledger.shown(book))


def test_a_damaged_line_is_kept_and_told(tmp_path):
    book = tmp_path / ledger.NAME
    enter(book)
    book.write_bytes(book.read_bytes() + b'{"claim": "torn')
    mine, damaged = ledger.enter(book, ledger.entry(line(images=300)), contextlib.nullcontext())
    rows = book.read_bytes().splitlines()

    assert len(mine) == 2
    assert rows[1] == b'{"claim": "torn'
    assert json.loads(rows[2])["design"][0]["images"] == 300
    assert damaged[0].startswith(f"{ledger.NAME}, line 2: damaged, kept and not counted")
    assert ledger.shown(book)[-1] == damaged[0]


def test_a_ledger_that_can_not_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ProbesError, match=r"can't be written .* --probes-ledger"):
        enter(tmp_path / "file" / ledger.NAME)


def _write(book, lock, which):
    for i in range(20):
        ledger.enter(book, ledger.entry(line(id=f"C{i % 5}", seed=which)), FileLock(lock))


def test_several_processes_write_one_ledger(tmp_path):
    book = tmp_path / ledger.NAME
    context = multiprocessing.get_context("fork")
    every = [
        context.Process(target=_write, args=(book, tmp_path / "lock", which)) for which in range(4)
    ]
    for one in every:
        one.start()
    for one in every:
        one.join()
    entries, damaged = ledger.read(book)

    assert damaged == []
    assert len(entries) == 5 * 4

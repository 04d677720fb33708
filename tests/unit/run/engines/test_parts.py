"""Shards, limits of time and estimates: a part of the work, and nothing lost of it."""

import dataclasses
import json
import time
from pathlib import Path

import pandas as pd
import pytest

from probes import accuracy, block_metrics, cli, gaussian, holdings
from probes.cost import Cost, Estimate
from probes.errors import BadInput, Unfinished
from probes.run.bench import Bench
from probes.run.engine import Serial, fill
from probes.run.engines import estimate as estimating
from probes.run.engines import parts
from probes.run.engines.estimate import Guarded, estimated
from probes.run.engines.parts import Limited, Shard
from probes.run.options import shard_of
from probes.run.settings import Options
from probes.run.work import Place, Work
from probes.store import Store
from probes.subjects.spec import parse

LEVELS = gaussian(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@dataclasses.dataclass(frozen=True)
class Piece(Work):
    """A piece that writes its number, and takes so long."""

    number: int
    takes: float = 0.0
    kind = "numbers"
    suffix = ".txt"

    def key(self, place):
        return {"number": self.number}

    def make(self, place, path):
        for i in range(10):
            time.sleep(self.takes / 10)
            place.tell((i + 1) / 10)
        path.write_text(str(self.number))


def bench(folder, images=20, **options):
    return Bench(
        [parse("resnet20@mnist5k")],
        Store(folder),
        Options(images=images, threads=1, batch_size=5, **options),
    )


def stems(folder, kind="cells"):
    return {p.stem for p in (Path(folder) / kind).glob("*") if p.suffix != ".json"}


# --- shards


def test_shards_are_disjoint_equal_and_together_all(tmp_path):
    whole = bench(tmp_path / "whole").sweep(accuracy, under=LEVELS).frame
    found = []
    for i in (1, 2, 3):
        sweep = bench(tmp_path / str(i), shard=f"{i}/3").sweep(accuracy, under=LEVELS)
        with pytest.raises(Unfinished, match=rf"shard {i}/3: its [23] pieces of 7 are in"):
            sweep.frame  # noqa: B018
        found.append(stems(tmp_path / str(i)))

    assert sorted(map(len, found)) == [2, 2, 3]
    assert set.union(*found) == stems(tmp_path / "whole")
    one = Store(tmp_path / "one")
    merged = [what for _, what in holdings.merge(one, [Store(tmp_path / i) for i in "123"])]
    assert merged.count("new") >= 7
    again = bench(tmp_path / "one").sweep(accuracy, under=LEVELS)
    assert all(holdings_has(one, cell) for cell in again.cells)
    pd.testing.assert_frame_equal(again.frame, whole)


def holdings_has(store, cell):
    return store.has(cell.kind, cell.key(), cell.suffix)


def test_the_last_of_two_shards_on_one_store_judges(tmp_path):
    with pytest.raises(Unfinished):
        bench(tmp_path, shard="1/2").sweep(accuracy, under=LEVELS).compute()

    assert len(bench(tmp_path, shard="2/2").sweep(accuracy, under=LEVELS).frame) == 7 * 20


def test_every_sweep_that_was_asked_for_is_filled_before_a_shard_stops(tmp_path):
    one = bench(tmp_path, shard="1/2")
    first = one.sweep(accuracy, under=LEVELS)
    one.sweep(block_metrics, under=LEVELS)
    with pytest.raises(Unfinished) as left:
        first.compute()

    assert len(stems(tmp_path)) == 8
    assert str(left.value).count("shard 1/2") == 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_shard_is_a_part_of_all(text):
    with pytest.raises(BadInput, match="the number of a part and of all parts"):
        shard_of(text)
    with pytest.raises(BadInput, match="shard"):
        Options(shard=text)


# --- time


class Clock:
    """A second passes each time that it is looked at."""

    now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def test_what_is_done_when_the_time_is_over_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "time", Clock())
    pieces, place = [Piece(i) for i in range(6)], Place(Store(tmp_path))
    limited = Limited(Serial(), 3.5, 3.5)
    with pytest.raises(Unfinished, match=r"3 of 6 pieces are in the store, 3 are missing") as left:
        fill(pieces, place, limited, quiet=True)

    assert left.value.over
    assert len(stems(tmp_path, "numbers")) == 3
    with pytest.raises(Unfinished, match="3 of 6"):  # the time is over before a first piece
        fill(pieces, place, limited, quiet=True)
    ((_, plan),) = holdings.plans(place.store)
    assert plan.missing({("numbers", f"{s}.txt") for s in stems(tmp_path, "numbers")}) == 3
    paths = fill(pieces, place, Serial(), quiet=True)
    assert [p.read_text() for p in paths] == [str(i) for i in range(6)]


def test_all_that_is_in_the_store_takes_no_time(tmp_path):
    pieces, place = [Piece(i) for i in range(3)], Place(Store(tmp_path))
    fill(pieces, place, Serial(), quiet=True)

    assert len(fill(pieces, place, Limited(Serial(), 0.0, 1.0), quiet=True)) == 3


@pytest.mark.slow
def test_a_study_whose_time_is_over_prints_what_is_judged_and_goes_on(
    tmp_path, capsys, monkeypatch
):
    command = (
        "run dynamics resnet20 --dataset mnist5k --images 40 --threads 1"
        f" --store {tmp_path / 's'} --out {tmp_path / 'o'}"
    )
    assert cli.main([*command.split(), "--max-seconds", "1e-9"]) == 3
    told = capsys.readouterr().out

    assert "6 are missing" in told
    assert "to go on: probes run dynamics" in told
    assert not (tmp_path / "o").exists()
    assert cli.main([*command.split(), "--max-seconds", "1000"]) == 0
    assert (tmp_path / "o" / "report.md").exists()


# --- estimates


def test_an_estimate_counts_the_missing_pieces_and_makes_none(tmp_path):
    bench(tmp_path, 10).sweep(accuracy, under=gaussian(0, 0.1)).compute()
    before = stems(tmp_path)
    one = bench(tmp_path, 10, estimate=True)
    with pytest.raises(Unfinished) as left:
        one.sweep(accuracy, under=LEVELS).compute()
    found = left.value.estimate.total

    assert (found.pieces, found.missing) == (7, 5)
    assert found.images == 5 * 10
    assert 0 < found.seconds < 60
    assert stems(tmp_path) == before
    assert not list(holdings.plans(one.store))
    size = max(path.stat().st_size for path in (tmp_path / "cells").glob("*.parquet"))
    assert found.bytes == pytest.approx(5 * (size + estimating.SIDECAR), rel=1)


def test_pieces_that_tell_their_progress_are_tried_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(estimating, "TRIAL", 0.1)
    began = time.perf_counter()
    found = estimated([Piece(i, 2.0) for i in range(4)], Place(Store(tmp_path)), jobs=2).total

    assert time.perf_counter() - began < 2.0  # less than one of them takes
    assert found.seconds >= 4.0
    assert not stems(tmp_path, "numbers")


def test_what_two_claims_share_is_counted_once():
    one, two = Cost(4, 2, 100, 1e3, 60), Cost(2, 2, 50, 1e3, 30)
    both = Estimate({"a": one}, 5) + Estimate({"a": one, "b": two}, 7)

    assert both.total == Cost(6, 4, 150, 2e3, 90)
    assert Estimate.of([json.loads(json.dumps(both.json())), both.json()]) == both
    assert str(Estimate({"a": Cost(3)})) == "3 pieces of work, all in the store"


def test_more_hours_than_allowed_are_asked_for_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(estimating, "TRIAL", 0.05)
    pieces, place, asked = [Piece(i, 0.5) for i in range(2)], Place(Store(tmp_path)), []

    def answer(yes):
        return lambda text: (asked.append(text), yes)[1]

    with pytest.raises(BadInput, match=r"more than 0\.0001 hours: 2 pieces of work.*--shard 1/8"):
        fill(pieces, place, Guarded(Serial(), 1e-4, 1, answer(False)), quiet=True)
    with pytest.raises(BadInput, match="more than"):  # nobody can answer under pytest
        fill(pieces, place, Guarded(Serial(), 1e-4, 1), quiet=True)
    assert not stems(tmp_path, "numbers")
    fill(pieces, place, Guarded(Serial(), 1e-4, 1, answer(True)), quiet=True)
    assert len(asked) == 2
    assert len(stems(tmp_path, "numbers")) == 2
    fill(pieces, place, Guarded(Serial(), 1e-4, 1), quiet=True)  # all there: nothing to ask


@pytest.mark.parametrize(
    "command",
    [
        "dynamics resnet20 --dataset mnist5k --images 40",
        "features resnet20 --images mnist5k --count 20 --each 0 --levels .2 --layers layer3",
        "weight-noise mlp_small --dataset mnist5k --quick --seeds 0-1 --images 50 --draws 1",
    ],
    ids=lambda text: text.split()[0],
)
def test_the_estimate_of_a_study_writes_no_report(tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr(estimating, "TRIAL", 0.5)
    asked = f"run {command} --threads 1 --store {tmp_path / 's'} --out {tmp_path / 'o'} --estimate"
    assert cli.main(asked.split()) == 0

    assert "images through a network" in capsys.readouterr().out
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_whole_store_is_estimated_as_whole(tmp_path, capsys):
    command = (
        "run dynamics resnet20 --dataset mnist5k --images 40 --threads 1"
        f" --store {tmp_path / 's'} --out {tmp_path / 'o'}"
    ).split()
    assert cli.main(command) == 0
    before = (tmp_path / "o" / "report.md").stat().st_mtime_ns

    assert cli.main([*command, "--estimate"]) == 0
    assert "all results are in the store" in capsys.readouterr().out
    assert (tmp_path / "o" / "report.md").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["max_seconds", "max_hours"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_limits_are_above_nothing(name, value):
    with pytest.raises(BadInput, match=name.replace("_", "-")):
        Options(**{name: value})


def test_a_shard_of_no_pieces_of_its_own_waits_for_the_others(tmp_path):
    place = Place(Store(tmp_path))
    with pytest.raises(Unfinished, match="its 0 pieces of 1"):
        fill([Piece(1)], place, Shard(Serial(), 2, 2), quiet=True)
    fill([Piece(1)], place, Serial(), quiet=True)
    assert len(fill([Piece(1)], place, Shard(Serial(), 2, 2), quiet=True)) == 1

"""What a store holds and lacks; merged, checked and pruned without a loss."""

import json
import os
import time

import pytest

from probes import holdings
from probes.errors import BadInput, Unfinished
from probes.store import INDEX, Store


def fill(folder, numbers, kind="cells", about="net@data", purpose="H1"):
    store = Store(folder, purpose)
    for n in numbers:
        store.get_or_make(kind, {"n": n}, ".txt", lambda p, n=n: p.write_text(str(n)), about)
    return store


def names(store):
    return sorted((e.kind, e.file) for e in holdings.entries(store))


def test_entries_say_what_they_are_about_and_what_for(tmp_path):
    store = fill(tmp_path, range(3))
    found = list(holdings.entries(store))

    assert len(found) == 3
    assert {(e.kind, e.about, e.purpose) for e in found} == {("cells", "net@data", "H1")}
    assert all(e.bytes == e.path(store).stat().st_size for e in found)
    assert all(abs(e.made - time.time()) < 1000 for e in found)
    assert list(holdings.entries(Store(tmp_path / "nowhere"))) == []


@pytest.mark.parametrize("index", [b"", b"not json\n[1,2]\n", None])
def test_an_index_that_lacks_entries_or_is_damaged_is_made_good(tmp_path, index):
    store = fill(tmp_path, range(3))
    before = list(holdings.entries(store))
    (tmp_path / INDEX).unlink() if index is None else (tmp_path / INDEX).write_bytes(index)

    assert list(holdings.entries(store)) == before
    for sidecar in (tmp_path / "cells").glob("*.json"):
        sidecar.write_text("{}")  # from now on the index knows it
    assert next(iter(holdings.entries(store))).about == "net@data"


def test_a_plan_stays_until_its_pieces_are_there(tmp_path):
    store = Store(tmp_path, "H1")
    pieces = [("cells", "a.txt"), ("cells", "b.txt")]
    with pytest.raises(KeyboardInterrupt), holdings.planned(store, pieces, "pytest -k h1"):
        raise KeyboardInterrupt
    ((path, plan),) = holdings.plans(store)

    assert (plan.command, plan.purpose) == ("pytest -k h1", "H1")
    assert plan.missing({("cells", "a.txt")}) == 1
    with holdings.planned(store, pieces, "pytest -k h1"):
        assert path.exists()
    assert not list(holdings.plans(store))
    with pytest.raises(Unfinished), holdings.planned(store, pieces, "pytest -k h1"):
        raise Unfinished("estimate", estimate=1)
    assert not list(holdings.plans(store))
    path.write_text("damaged")
    assert not list(holdings.plans(store))


def test_the_command_is_the_one_that_makes_all(monkeypatch):
    monkeypatch.setattr(holdings, "_command", [])
    monkeypatch.setattr("sys.argv", ["/x/pytest/__main__.py", "-k", "a b", "--probes-shard=1/2"])
    assert holdings.command() == "pytest -k 'a b'"
    monkeypatch.setattr("sys.argv", ["/bin/probes", "run", "dynamics", "--shard", "3/16", "--x"])
    assert holdings.command() == "probes run dynamics --x"
    assert holdings.command("pytest", "-n", "2") == "pytest -n 2" == holdings.command()


def test_merging_copies_what_is_new_and_leaves_what_is_there(tmp_path):
    a, b = fill(tmp_path / "a", [0, 1]), fill(tmp_path / "b", [1, 2, 3])
    entry = next(iter(holdings.entries(b)))
    found = [what for _, what in holdings.merge(a, [b])]

    assert sorted(found) == ["new", "new", "there"]
    assert len(names(a)) == 4
    assert {e.about for e in holdings.entries(a)} == {"net@data"}
    assert [what for _, what in holdings.merge(a, [b])] == ["there"] * 3
    assert list(holdings.damaged(a)) == []
    entry.path(b).write_text("damaged")
    into = Store(tmp_path / "c")
    assert sorted(what for _, what in holdings.merge(into, [b])) == ["damaged", "new", "new"]
    assert entry.file not in {file for _, file in names(into)}


def test_a_result_that_differs_in_both_stores_stays(tmp_path):
    a = fill(tmp_path / "a", [0])
    b = Store(tmp_path / "b")
    b.get_or_make("cells", {"n": 0}, ".txt", lambda p: p.write_text("other"))

    assert [what for _, what in holdings.merge(a, [b])] == ["other bytes"]
    assert next(iter(holdings.entries(a))).path(a).read_text() == "0"


def test_a_store_is_not_merged_into_itself_nor_from_nowhere(tmp_path):
    a = fill(tmp_path / "a", [0])
    with pytest.raises(BadInput, match="into itself"):
        list(holdings.merge(a, [Store(tmp_path / "a")]))
    with pytest.raises(BadInput, match="there is no store"):
        list(holdings.merge(a, [Store(tmp_path / "b")]))


def test_damage_is_named(tmp_path):
    store = fill(tmp_path, range(4))
    one, two, three, four = sorted((tmp_path / "cells").glob("*.txt"))
    one.write_text("other")
    two.with_suffix(".json").unlink()
    three.unlink()
    four.with_suffix(".json").write_text("{")
    evidence = tmp_path / "evidence" / f"{'0' * 64}.npy"
    evidence.parent.mkdir()
    evidence.write_bytes(b"no such hash")

    assert dict(holdings.damaged(store)) == {
        one: "its bytes are not those that were written",
        two: "a result without a sidecar",
        three.with_suffix(".json"): "a sidecar without a result",
        four: "its sidecar is damaged",
        evidence: "its bytes are not those that were written",
    }


def test_old_and_unreachable_results_can_go_and_weights_stay(tmp_path, monkeypatch):
    store = fill(tmp_path, range(3))
    fill(tmp_path, [7], kind="weights")
    old, other, _ = sorted((tmp_path / "cells").glob("*.txt"))
    os.utime(old, (time.time() - 1000,) * 2)
    record = json.loads(other.with_suffix(".json").read_text())
    record["key"]["torch"] = "1.0"
    other.with_suffix(".json").write_text(json.dumps(record))

    def found(**asked):
        return {e.file: why for e, why in holdings.prunable(store, **asked)}

    assert found(older=500) == {old.name: "old"}
    assert found(unreachable=True) == {other.name: "made with torch 1.0"}
    assert found(older=500, unreachable=True).keys() == {old.name, other.name}
    assert len(found(older=-10)) == 3
    assert len(found(older=-10, only=["weights"])) == 1
    for entry, _ in list(holdings.prunable(store, older=500)):
        holdings.remove(store, entry)
    assert not old.exists()
    assert not old.with_suffix(".json").exists()
    assert len(names(store)) == 3
    assert list(holdings.damaged(store)) == []

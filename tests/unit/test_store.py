"""The store: made once, found again, never half-written."""

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from probes import store as stores
from probes.errors import ProbesError
from probes.store import Store
from probes.versions import versions


def put(text):
    return lambda path: path.write_text(text)


def test_an_entry_is_made_once_and_found_again(tmp_path):
    store, made = Store(tmp_path), []

    for _ in range(3):
        path = store.get_or_make(
            "k", {"x": 1}, ".txt", lambda p: (made.append(1), p.write_text("one"))[1]
        )

    assert path.read_text() == "one"
    assert len(made) == 1


def test_another_key_is_another_entry(tmp_path):
    store = Store(tmp_path)

    assert store.get_or_make("k", {"x": 1}, ".txt", put("a")) != store.get_or_make(
        "k", {"x": 2}, ".txt", put("b")
    )


def test_the_sidecar_holds_key_and_hash(tmp_path):
    path = Store(tmp_path).get_or_make("k", {"x": 1}, ".txt", put("one"))
    record = json.loads(path.with_suffix(".json").read_text())

    assert record["key"].pop("x") == 1
    assert set(record["key"]) == {"package", "torch", "torchvision", "scipy", "numpy"}
    assert record["sha256"] == stores.sha256(path)


@pytest.mark.parametrize("damage", ["payload", "sidecar", "no sidecar", "no payload"])
def test_a_damaged_entry_is_made_again(tmp_path, damage, caplog):
    store = Store(tmp_path)
    path = store.get_or_make("k", {"x": 1}, ".txt", put("one"))
    sidecar = path.with_suffix(".json")
    {
        "payload": lambda: path.write_text("two"),
        "sidecar": lambda: sidecar.write_text("{"),
        "no sidecar": sidecar.unlink,
        "no payload": path.unlink,
    }[damage]()

    assert store.find("k", {"x": 1}, ".txt") is None
    assert store.get_or_make("k", {"x": 1}, ".txt", put("one")).read_text() == "one"
    assert ("corrupt" in caplog.text) == (damage in ("payload", "sidecar"))


def test_trap_p03_what_fails_leaves_nothing_behind(tmp_path):
    store = Store(tmp_path)

    def fail(path):
        path.write_text("half")
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError):
        store.get_or_make("k", {"x": 1}, ".txt", fail)

    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    assert store.get_or_make("k", {"x": 1}, ".txt", put("one")).read_text() == "one"


def _slow(folder: str, log: str) -> None:
    def make(path: Path) -> None:
        with open(log, "a") as f:
            f.write("made\n")
        time.sleep(0.3)
        path.write_text("one")

    Store(folder).get_or_make("k", {"x": 1}, ".txt", make)


def test_two_processes_make_an_entry_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_slow, args=(str(tmp_path / "s"), str(tmp_path / "log")))
        for _ in range(3)
    ]
    for w in workers:
        w.start()
    for w in workers:
        w.join()

    assert (tmp_path / "log").read_text() == "made\n"


def test_a_store_that_can_not_be_written_says_so_and_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbesError, match="set PROBES_STORE"):
        Store(tmp_path / "file").get_or_make("k", {}, ".txt", put("x"))


def test_the_environment_names_the_store(monkeypatch, tmp_path):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path))
    assert Store.default("elsewhere").folder == tmp_path
    monkeypatch.delenv("PROBES_STORE")
    assert Store.default("root").folder == Path("root/.probes")


def test_a_digest_does_not_depend_on_the_order_and_refuses_nan():
    assert stores.digest({"a": 1, "b": [1, 2]}) == stores.digest({"b": [1, 2], "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        stores.digest({"a": float("nan")})


@pytest.mark.parametrize("package", ["package", "torch", "torchvision", "scipy", "numpy"])
def test_another_version_of_what_computes_has_other_results(tmp_path, monkeypatch, package):
    store = Store(tmp_path)
    before = store.get_or_make("k", {"x": 1}, ".txt", put("old"))
    monkeypatch.setattr(stores, "versions", lambda: {**versions(), package: "0.0"})

    assert store.find("k", {"x": 1}, ".txt") is None
    assert store.get_or_make("k", {"x": 1}, ".txt", put("new")) != before


def test_a_file_of_the_same_size_and_time_is_hashed_again_after_it_was_replaced(tmp_path):
    store, place = Store(tmp_path / "s"), tmp_path / "a.bin"
    place.write_bytes(b"one")
    times = place.stat()
    first = stores.file_hashes([place], store)
    time.sleep(0.02)
    place.write_bytes(b"two")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert first != stores.file_hashes([place], store) == [stores.sha256(place)]


def test_hashes_of_files_that_rest_are_taken_once(tmp_path, monkeypatch):
    store, place = Store(tmp_path / "s"), tmp_path / "a.bin"
    place.write_bytes(b"one")
    monkeypatch.setattr(stores, "SETTLED", -1.0)
    found = stores.file_hashes([place], store)
    monkeypatch.setattr(stores, "sha256", lambda path: pytest.fail("hashed again"))

    assert stores.file_hashes([place], store) == found


@pytest.mark.parametrize(("age", "hashed"), [(1.9, 2), (2.1, 1)])
def test_a_file_that_changed_less_than_two_seconds_ago_is_hashed_again(
    tmp_path, monkeypatch, age, hashed
):
    store, place, calls = Store(tmp_path / "s"), tmp_path / "a.bin", []
    place.write_bytes(b"one")
    monkeypatch.setattr(stores.time, "time", lambda: place.stat().st_ctime + age)
    monkeypatch.setattr(stores, "sha256", lambda path: calls.append(path) or "x")
    stores.file_hashes([place], store)
    stores.file_hashes([place], store)

    assert len(calls) == hashed


def test_waiting_for_another_process_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(stores, "PATIENCE", 0.05)
    store = Store(tmp_path)
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=_slow, args=(str(tmp_path), str(tmp_path / "log")))
    worker.start()
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    store.get_or_make("k", {"x": 1}, ".txt", put("mine"))
    worker.join()

    assert "waiting for it" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_and_the_work_is_done(
    tmp_path, monkeypatch, caplog, number
):
    def acquire(*_, **__):
        raise OSError(number, "no locks")

    monkeypatch.setattr(stores.FileLock, "acquire", acquire)
    store = Store(tmp_path)
    for name in "ab":
        path = store.get_or_make("k", {"x": name}, ".txt", lambda p: p.write_text("one"))
        assert path.read_text() == "one"
    assert caplog.text.count("has no locks: two runs at once may do the same work") == 1


def test_a_lock_on_a_full_disk_is_an_error_with_the_way_out(tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stores.FileLock, "acquire", acquire)
    with pytest.raises(
        ProbesError, match="No space left on device; make room, or set PROBES_STORE"
    ):
        Store(tmp_path).get_or_make("k", {"x": 1}, ".txt", lambda p: p.write_text("one"))


def test_a_store_in_a_work_tree_is_never_committed_and_one_elsewhere_is_left_alone(tmp_path):
    for name, ignored in ((".probes", True), ("mine", False)):
        store = Store(tmp_path / name)
        store.get_or_make("k", {"x": 1}, ".txt", put("one"))

        assert (tmp_path / name / ".gitignore").exists() == ignored
    kept = tmp_path / ".probes" / ".gitignore"
    assert kept.read_text() == "*\n"
    kept.write_text("mine")
    Store(tmp_path / ".probes").get_or_make("k", {"x": 2}, ".txt", put("two"))
    assert kept.read_text() == "mine"


def test_hashes_are_of_each_file_and_of_none(tmp_path):
    store = Store(tmp_path / "s")
    places = [tmp_path / name for name in "abc"]
    for i, place in enumerate(places):
        place.write_bytes(b"x" * i)

    assert stores.file_hashes([], store) == []
    assert not store.folder.exists()
    assert stores.file_hashes(places, store) == [stores.sha256(place) for place in places]


@pytest.mark.parametrize(
    "kept", ["[", "[1]", '{"a.bin": 3}', '{"a.bin": [1, "x"]}', '{"a.bin": []}']
)
def test_an_index_of_hashes_that_is_damaged_is_made_again(tmp_path, monkeypatch, kept):
    store, place = Store(tmp_path / "s"), tmp_path / "a.bin"
    place.write_bytes(b"one")
    monkeypatch.setattr(stores, "SETTLED", -1.0)
    right = stores.file_hashes([place], store)
    index = next((store.folder / "hashes").iterdir())
    index.write_text(kept)

    assert stores.file_hashes([place], store) == right
    assert json.loads(index.read_text())["a.bin"][1] == right[0]


def test_an_entry_is_sent_whole_or_not_at_all(tmp_path):
    here, there = Store(tmp_path / "a", "a claim"), Store(tmp_path / "b", "another")
    path = here.get_or_make("k", {"x": 1}, ".txt", put("one"), about="it")
    record, payload = here.entry("k", path.name)
    arrived = there.add(record, payload)

    assert arrived.read_text() == "one"
    assert json.loads(arrived.with_suffix(".json").read_text())["for"] == "a claim"
    assert there.find("k", {"x": 1}, ".txt") == arrived
    del record["for"]
    assert (
        json.loads(there.add(record, payload).with_suffix(".json").read_text())["for"] == "another"
    )
    with pytest.raises(ProbesError, match="not those that were sent"):
        there.add(record, b"two")
    assert here.entry("k", "nothing.txt") is None
    path.with_suffix(".json").write_text("[]")
    assert here.entry("k", path.name) is None
    path.with_suffix(".json").write_text("{")
    assert here.entry("k", path.name) is None


def test_the_index_has_a_line_for_each_entry(tmp_path):
    store = Store(tmp_path, "a claim")
    first = store.get_or_make("k", {"x": 1}, ".txt", put("one"), about="it")
    second = store.get_or_make("k", {"x": 2}, ".txt", put("two"))

    assert [json.loads(line) for line in (tmp_path / stores.INDEX).read_text().splitlines()] == [
        ["k", first.name, "it", "a claim"],
        ["k", second.name, "", "a claim"],
    ]

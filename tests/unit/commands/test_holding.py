"""probes status and probes store: what is there, what is missing and the command that brings it."""

import json
import os
import time

import pytest

from probes import cli, holdings
from probes.commands.holding import age
from probes.errors import BadInput
from probes.store import Store


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "s", "dynamics")
    for n in range(20):
        found.get_or_make(
            "cells", {"n": n}, ".txt", lambda p, n=n: p.write_text(str(n)), f"net{n // 2}@data"
        )
    return found


def told(capsys, *command):
    code = cli.main([str(c) for c in command])
    return code, capsys.readouterr().out


def test_status_tells_what_is_there_by_subject_and_what_is_missing(
    store, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    pieces = [(e.kind, e.file) for e in holdings.entries(store)] + [("cells", "other.txt")]
    with pytest.raises(KeyboardInterrupt), holdings.planned(store, pieces, "probes run dynamics"):
        raise KeyboardInterrupt
    code, text = told(capsys, "status", "--store", store.folder)

    assert code == 0
    assert f"store {store.folder}: 20 results" in text
    assert text.split("\n")[2].split()[:4] == ["net0@data", "dynamics", "cells", "2"]
    assert "1 of 21 pieces" in text
    assert "\n    probes run dynamics\n" in text
    (store.folder / "cells" / "other.txt").write_text("x")
    (store.folder / "cells" / "other.json").write_text("{}")
    _, text = told(capsys, "status", "--store", store.folder)
    assert "nothing that was begun is missing" in text
    assert not list(holdings.plans(store))


def test_status_of_many_rows_shows_the_first(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "s")
    for n in range(15):
        store.get_or_make("cells", {"n": n}, ".txt", lambda p: p.write_text("x"), f"net{n}")
    _, text = told(capsys, "status", "--store", store.folder)
    assert "and 3 rows more: probes status --all" in text
    _, text = told(capsys, "status", "--store", store.folder, "--all")
    assert text.count("net") == 15


def test_status_tells_which_claims_are_judged(tmp_path, capsys):
    _, text = told(capsys, "status", "--store", tmp_path, "--reports", "reports", "--all")
    assert "H1 on resnet18@cifar10" in text
    assert "claims judged" in text


def test_check_names_damage_and_merge_leaves_it_out(store, tmp_path, capsys):
    assert told(capsys, "store", "check", "--store", store.folder)[0] == 0
    entry = next(iter(holdings.entries(store)))
    entry.path(store).write_text("other")
    code, text = told(capsys, "store", "check", "--store", store.folder)
    assert code == 1
    assert f"{entry.file}: its bytes are not those" in text
    code, text = told(capsys, "store", "merge", tmp_path / "into", store.folder)
    assert code == 1
    assert "19 results new" in text
    assert f"cells/{entry.file} is damaged and was left out" in text


def test_prune_removes_what_was_asked_for_and_a_dry_run_nothing(store, capsys):
    old = next(iter(holdings.entries(store)))
    os.utime(old.path(store), (time.time() - 40 * 86400,) * 2)
    asked = ["store", "prune", "--store", store.folder, "--older-than", "30d"]
    _, text = told(capsys, *asked, "--dry-run")
    assert "1 result would be removed (--dry-run)" in text
    assert len(list(holdings.entries(store))) == 20
    _, text = told(capsys, *asked)
    assert "1 result removed" in text
    assert len(list(holdings.entries(store))) == 19
    other = next(iter(holdings.entries(store))).path(store).with_suffix(".json")
    record = json.loads(other.read_text())
    other.write_text(json.dumps(record | {"key": record["key"] | {"numpy": "1.0"}}))
    _, text = told(capsys, "store", "prune", "--store", store.folder, "--unreachable")
    assert "made with numpy 1.0" in text
    assert len(list(holdings.entries(store))) == 18


def test_pruning_says_what_can_go(store, capsys):
    assert cli.main(["store", "prune", "--store", str(store.folder)]) == 2
    assert "--older-than 30d, --unreachable" in capsys.readouterr().err
    for text in ("30", "d", "-1d", "1 year"):
        with pytest.raises(BadInput, match="a number and s, m, h, d or w"):
            age(text)

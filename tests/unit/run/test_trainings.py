"""Training runs side by side: the same bytes as one after the other."""

import pytest

from probes import cli
from probes.run.engines.processes import Processes
from probes.run.work import Place, TrainingRun
from probes.store import Store, sha256
from probes.subjects.recipes import Recipe
from probes.subjects.training import train

SHORT = Recipe("short", epochs=1, batch_size=500, max_lr=0.05)


def test_seeds_that_train_at_once_give_the_bytes_of_those_that_train_in_turn(tmp_path):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    told = []
    paths = Processes(2).fill(
        [TrainingRun("mlp_small", "mnist5k", seed, SHORT) for seed in (0, 1)],
        Place(there),
        told.append,
    )

    assert [sha256(path) for path in paths] == [
        sha256(train("mlp_small", "mnist5k", seed, here, SHORT)[0]) for seed in (0, 1)
    ]
    assert {run.seed for run in told} == {0, 1}
    path, card = train("mlp_small", "mnist5k", 0, there, SHORT)  # found, with its card
    assert path == paths[0]
    assert card["recipe"]["name"] == "short"


def test_the_command_trains_seeds_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    store = str(tmp_path)

    assert (
        cli.main(
            [
                "train",
                "mlp_small",
                "mnist5k",
                "--recipe",
                "clean",
                "--seeds",
                "0-1",
                "--jobs",
                "2",
                "--store",
                store,
            ]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "2 runs, 2 at once" in told
    assert "(2 of 2 runs, " in told
    assert len(list((tmp_path / "weights").glob("*.safetensors"))) == 2
    assert not list((tmp_path / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize("jobs", ["0", "-3"])
def test_jobs_are_a_number(jobs, tmp_path, capsys):
    assert (
        cli.main(["train", "mlp_small", "mnist5k", "--jobs", jobs, "--store", str(tmp_path)]) == 2
    )
    assert f"jobs {jobs}: allowed are whole numbers from 1 up" in capsys.readouterr().err

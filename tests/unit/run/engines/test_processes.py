"""The processes engine: the same bytes as the serial one, whoever dies on the way."""

import dataclasses
import os
import subprocess
import sys

import pandas as pd
import pytest

from probes import accuracy, gaussian
from probes.errors import BadInput, ProbesError
from probes.run.bench import Bench
from probes.run.engine import Serial
from probes.run.engines.chosen import engine_of
from probes.run.settings import Options
from probes.store import Store, sha256
from probes.subjects.spec import parse


def bench(folder, **options):
    return Bench(
        [parse("resnet20@mnist5k")],
        Store(folder),
        Options(images=20, threads=1, batch_size=5, **options),
    )


def cells(folder):
    return {p.name: sha256(p) for p in (folder / "cells").glob("*.parquet")}


def test_two_processes_give_the_same_bytes_as_one_and_survive_a_death(tmp_path, deadly):
    alone, together = tmp_path / "one", tmp_path / "two"
    first = bench(alone).sweep(accuracy, under=deadly(0)).frame
    second = bench(together, engine="processes", jobs=2).sweep(accuracy, under=deadly(1)).frame

    pd.testing.assert_frame_equal(first, second)
    assert len(list((tmp_path / "deaths").glob("*"))) == 1
    assert sorted(cells(alone).values()) == sorted(cells(together).values())


def test_a_piece_whose_process_always_dies_is_an_error_and_the_others_stand(tmp_path, deadly):
    sweep = bench(tmp_path / "s", engine="processes", jobs=2).sweep(accuracy, under=deadly(99))
    with pytest.raises(
        ProbesError,
        match=(
            r"a process died 3 times at one piece of work \(cells: resnet20@mnist5k.*exit code -9"
        ),
    ):
        sweep.frame  # noqa: B018

    assert len(list((tmp_path / "deaths").glob("*"))) == 3
    assert len(cells(tmp_path / "s")) == 3  # the other levels


def test_processes_that_can_not_be_started_are_one_sentence(tmp_path, monkeypatch):
    from multiprocessing.context import ForkServerProcess

    def start(self):
        raise EOFError("unexpected EOF")  # what forks them was killed

    monkeypatch.setattr(ForkServerProcess, "start", start)
    sweep = bench(tmp_path, engine="processes", jobs=2).sweep(accuracy, under=gaussian(0, 0.1))
    with pytest.raises(ProbesError, match=r"no process can be started \(unexpected EOF\):.*--jobs"):
        sweep.frame  # noqa: B018


def test_what_a_piece_raises_is_raised_here_and_the_others_stand(tmp_path, deadly):
    sweep = bench(tmp_path / "s", engine="processes", jobs=2).sweep(
        accuracy, under=deadly(0, raises=True)
    )
    with pytest.raises(BadInput, match=r"level 0.2 is not for me") as found:
        sweep.frame  # noqa: B018

    assert any("deadly_module.py" in note for note in found.value.__notes__)
    assert len(cells(tmp_path / "s")) == 3


def test_what_another_process_can_not_import_is_one_sentence(tmp_path, deadly):
    class Local(type(deadly(0))):
        """Only this function knows it."""

    here = Local((0.0, 0.1, 0.3), str(tmp_path), 0)
    sweep = bench(tmp_path / "s", engine="processes", jobs=2).sweep(accuracy, under=here)
    with pytest.raises(BadInput, match="define perturbations and measures in a module"):
        sweep.compute()


def test_weights_or_images_that_changed_meanwhile_are_refused(tmp_path):
    one = bench(tmp_path / "s")
    sweep = one.sweep(accuracy, under=gaussian(0, 0.1))
    (name,) = one.place.subjects
    subject = one.place.subjects[name]
    one.place.subjects[name] = dataclasses.replace(subject, data=subject.data.sample(7))
    sweep.cells  # noqa: B018
    with pytest.raises(ProbesError, match="other weights or images lie here"):
        sweep.compute()


def test_subjects_of_this_process_only_are_measured_here(tmp_path):
    loaded = bench(tmp_path / "s").subjects
    one = Bench(
        [parse("resnet20@mnist5k")],
        Store(tmp_path / "s"),
        Options(images=20, threads=1, engine="processes", jobs=2),
        subjects=loaded,
    )

    assert len(one.sweep(accuracy, under=gaussian(0, 0.1)).frame) == 40


def test_a_worker_of_xdist_is_serial_and_cores_are_shared_out(monkeypatch):
    import torch

    options = Options(engine="processes", jobs=2)
    assert options.workers == 2
    assert options.where.threads == max(1, torch.get_num_threads() // 2)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")

    assert Options(engine="processes", jobs=2).workers == 1
    assert isinstance(engine_of(Options(engine="processes", jobs=2)), Serial)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"engine": "ray!"}, "engine"), ({"jobs": 0}, "jobs 0: allowed are whole numbers")],
)
def test_engines_and_jobs_are_checked(options, sentence):
    with pytest.raises(ProbesError, match=sentence):
        Options(**options)


@pytest.mark.slow
def test_a_script_that_does_not_ask_whether_it_is_main_is_run_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from probes import Lab, accuracy, gaussian\n"
        f"with open({str(tmp_path / 'runs')!r}, 'a') as f: f.write('x')\n"
        "lab = Lab('resnet20@mnist5k', images=20, engine='processes', jobs=2, threads=1,\n"
        f"          store={str(tmp_path / 's')!r}, quiet=True)\n"
        "print(len(lab.sweep(accuracy, under=gaussian(0, .1, .2)).frame))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=300
    )

    assert done.stdout == "60\n", done.stderr
    assert (tmp_path / "runs").read_text() == "x"

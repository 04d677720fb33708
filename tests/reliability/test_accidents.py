"""Accidents of every day: a full disk, folders that can't be written, damaged cells, other
versions, two runs at once.
"""

import errno
import os
import re

import pandas as pd
import pytest
import torch

from probes import cli, table
from probes import store as stores
from probes.errors import ProbesError, Unavailable
from probes.measure import block_metrics
from probes.perturb import gaussian
from probes.run import cells
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import data, epochs, hub, training
from probes.subjects.nets import CifarNet, nets
from probes.subjects.spec import parse
from probes.versions import versions

pytestmark = pytest.mark.slow
CLAIM = """
import pytest
from probes.judge import falls
from probes.measure import block_metrics
from probes.perturb import gaussian

@pytest.mark.subjects("resnet20@mnist5k", "plainnet20@mnist5k")
@pytest.mark.claim("Noise lowers the norm of h.", id="NORM", family="f")
def test_norm(lab, claim):
    claim.holds(falls(lab.sweep(block_metrics, under=gaussian(0, .1)), "l2_h", by="site", sesoi="1 %"))
"""  # noqa: E501
OPTIONS = (
    "--probes-images=120",
    "--probes-batch-size=20",
    "--probes-threads=1",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:benchmark",
)


def sweep(store, **options):
    lab = Bench(
        [parse("resnet20@mnist5k")], store, Options(images=60, threads=1, batch_size=10, **options)
    )
    return lab.sweep(block_metrics, under=gaussian(0, 0.1)).frame


def files(folder):
    return sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".lock"
    )


def test_a_full_disk_is_said_leaves_nothing_half_written_and_the_same_sweep_goes_on(
    tmp_path, monkeypatch
):
    store = Store(tmp_path / "s")
    write, written = table.write, []

    def full(frame, path):
        if len(written) == 1:
            path.write_bytes(b"half of a cell")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write(frame, path)

    monkeypatch.setattr(table, "write", full)
    with pytest.raises(
        ProbesError, match="No space left on device; make room or choose another folder"
    ):
        sweep(store)
    monkeypatch.undo()

    cells_left = [name for name in files(store.folder) if name.startswith("cells/")]
    assert len(cells_left) == 2  # one cell and its sidecar
    pd.testing.assert_frame_equal(sweep(store), sweep(Store(tmp_path / "other")))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs RLIMIT_FSIZE")
def test_a_disk_that_takes_no_more_bytes_ends_a_study_in_one_line(tmp_path, child):
    """The operating system itself refuses: no file may grow beyond 20 kB, as with a quota."""
    code = (
        "import resource, sys; from probes import cli; resource.setrlimit(resource.RLIMIT_FSIZE,"
        " (20_000, 20_000)); sys.exit(cli.main(['run', 'dynamics', '--images', '100', '--levels',"
        " '0,.1', '--out', sys.argv[1]]))"
    )
    env = os.environ | {"PROBES_STORE": str(tmp_path / "s")}
    code, _, said = child(["-c", code, tmp_path / "out"], env=env).told()

    assert code == 2
    assert re.search(
        r"^probes: could not write .*(File too large|requested and \d+ written); make room or"
        r" choose another folder$",
        said,
        re.M,
    )
    assert not (tmp_path / "out").exists()
    assert not [name for name in files(tmp_path / "s") if ".tmp" in name]


def test_a_store_that_is_read_only_is_an_error_with_the_way_out(tmp_path, capsys):
    (tmp_path / "s").write_text("a file where a folder should be")
    code = cli.main(
        [
            "run",
            "dynamics",
            "--images",
            "100",
            "--store",
            str(tmp_path / "s"),
            "--out",
            str(tmp_path / "out"),
        ]
    )

    assert code == 2
    assert "set PROBES_STORE to a folder that can" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_report_that_can_not_be_written_fails_the_run_after_the_verdicts_were_told(
    pytester, tmp_path, monkeypatch, run_pytest
):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "s"))
    pytester.makepyfile(test_it=CLAIM.replace('sesoi="1 %"', 'sesoi="-90 %"'))
    (pytester.path / "reports").write_text("a file where a folder should be")
    result = run_pytest(*OPTIONS, "-k", "resnet20")

    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "NORM  resnet20@mnist5k",
            (
                "*no report: the report latest could not be written: *; make room or choose another"
                " folder"
            ),
        ]
    )


def test_a_damaged_cell_is_made_again_and_said(pytester, tmp_path, monkeypatch, run_pytest):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "s"))
    pytester.makepyfile(test_it=CLAIM)
    run_pytest(*OPTIONS, "-k", "resnet20", "--probes-report=reports/a")
    hurt = sorted((tmp_path / "s" / "cells").glob("*.parquet"))[0]
    whole = hurt.read_bytes()
    hurt.write_bytes(whole[: len(whole) // 2])
    result = run_pytest(*OPTIONS, "-k", "resnet20", "--probes-report=reports/b")

    result.stdout.fnmatch_lines([f"note: {hurt} is corrupt: it is made again"])
    assert hurt.read_bytes() == whole
    a, b = ((pytester.path / "reports" / name / "verdicts.csv").read_text() for name in "ab")
    assert a == b


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [(stores, "versions", lambda: {**versions(), "package": "0.0.9"}), (cells, "ENGINE", 1)],
)
def test_cells_of_an_older_version_are_left_alone_and_not_used(
    tmp_path, monkeypatch, where, name, value
):
    store = Store(tmp_path / "s")
    with monkeypatch.context() as older:
        older.setattr(where, name, value)
        sweep(store)
    before = {
        name: (store.folder / name).read_bytes()
        for name in files(store.folder)
        if name.startswith("cells/")
    }
    sweep(store)

    assert all((store.folder / name).read_bytes() == content for name, content in before.items())
    assert len([name for name in files(store.folder) if name.startswith("cells/")]) == 2 * len(
        before
    )


def test_a_sidecar_that_nobody_can_read_is_an_entry_that_does_not_exist(tmp_path, caplog):
    store = Store(tmp_path / "s")
    expected = sweep(store)
    for sidecar in (store.folder / "cells").glob("*.json"):
        sidecar.write_text('{"layout": "of another version"}')

    pd.testing.assert_frame_equal(sweep(store), expected)
    assert "is corrupt: it is made again" in caplog.text


def test_two_runs_on_one_store_lose_and_double_nothing(pytester, tmp_path, child):
    pytester.makepyfile(test_it=CLAIM)
    command = ["-m", "pytest", *OPTIONS, "--continue-on-collection-errors"]

    def run(store, report):
        env = os.environ | {"PROBES_STORE": str(tmp_path / store)}
        where = {"cwd": pytester.path, "env": env, "blank": True}
        return child([*command, f"--probes-report=reports/{report}"], **where)

    both = [run("one", "a"), run("one", "b")]
    told = [p.told()[1] for p in both]
    told.append(run("other", "c").told()[1])

    assert all("2 claims judged" in text for text in told)
    assert len({(pytester.path / "reports" / r / "verdicts.csv").read_text() for r in "abc"}) == 1
    assert files(tmp_path / "one" / "cells") == files(tmp_path / "other" / "cells")
    for name in files(tmp_path / "one" / "cells"):
        assert (tmp_path / "one" / "cells" / name).read_bytes() == (
            tmp_path / "other" / "cells" / name
        ).read_bytes()


def test_a_damaged_checkpoint_is_said_and_training_begins_anew(tmp_path, monkeypatch):
    store, said = Store(tmp_path / "s"), []
    for module in (training, epochs):
        monkeypatch.setattr(
            module, "checkpoint_of", lambda store, key: store.folder / "checkpoints" / "c.pt"
        )
    if "tiny_accident" not in nets:
        nets.register("tiny_accident")(
            lambda channels, classes: CifarNet(channels, classes, blocks=1, width=4)
        )
    recipe = training.dataclasses.replace(training.recipes["mnist5k"], epochs=1, batch_size=500)
    clean = training.train("tiny_accident", "mnist5k@14px", 3, Store(tmp_path / "clean"), recipe)[
        1
    ]["sha256"]
    (store.folder / "checkpoints").mkdir(parents=True)
    (store.folder / "checkpoints" / "c.pt").write_bytes(b"half a checkpoint")
    card = training.train("tiny_accident", "mnist5k@14px", 3, store, recipe, said.append)[1]

    assert "its checkpoint can't be read" in said[0]
    assert card["sha256"] == clean


class Brought:
    """A stub of a download: what is asked for is there from then on."""

    def __init__(self, monkeypatch, module, tell):
        self.asked = []
        monkeypatch.setattr(
            module, "fetch", lambda what, **_: (self.asked.append(str(what)), tell())
        )


def test_what_is_not_here_is_fetched_only_when_asked(tmp_path, monkeypatch):
    here = []
    real = data.load

    def load(name, split, store):
        if not here:
            raise Unavailable(f"{name} is not here; `probes fetch {name}` brings it")
        return real("mnist5k", split, store)

    monkeypatch.setattr(data, "load", load)
    brought = Brought(monkeypatch, data, lambda: here.append(True))
    with pytest.raises(Unavailable, match="probes fetch mnist"):
        Bench([parse("resnet20@mnist")], Store(tmp_path), Options(images=10)).data("mnist")
    assert brought.asked == []

    lab = Bench([parse("resnet20@mnist")], Store(tmp_path), Options(images=10, download=True))
    assert len(lab.data("mnist")) == 10
    assert brought.asked == ["mnist"]


def test_torchvisions_weights_are_fetched_when_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    entry = hub.torchvisions(parse("alexnet:imagenet1k_v1@mnist5k"))
    wanted = hub.checkpoint(entry)

    def bring():
        import hashlib

        from torchvision.models import alexnet

        torch.manual_seed(0)
        wanted.parent.mkdir(parents=True)
        state = {k: v.half() for k, v in alexnet().state_dict().items()}
        torch.save(state, wanted)
        short = hashlib.sha256(wanted.read_bytes()).hexdigest()[:8]
        named = wanted.with_name(f"alexnet-{short}.pth")
        wanted.rename(named)
        monkeypatch.setattr(hub, "checkpoint", lambda _: named)

    colour = data.datasets["mnist5k"]("test", Store(tmp_path))
    colour = training.dataclasses.replace(
        colour,
        images=colour.images[:8].repeat(3, axis=1),
        labels=colour.labels[:8],
        ids=colour.ids[:8],
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    lab = Bench(
        [parse("alexnet:imagenet1k_v1@mnist5k")], Store(tmp_path), Options(images=8, download=True)
    )
    lab._data["mnist5k"] = colour
    brought = Brought(monkeypatch, hub, bring)

    assert next(iter(lab.subjects.values())).weights == "torchvision IMAGENET1K_V1"
    assert brought.asked == ["alexnet:imagenet1k_v1@mnist5k"]


def test_a_dataset_that_nobody_brings_stays_unavailable(tmp_path, monkeypatch):
    monkeypatch.delenv("PROBES_DATA", raising=False)
    lab = Bench(
        [parse("resnet18@cifar10-jpeg")], Store(tmp_path), Options(images=10, download=True)
    )
    with pytest.raises(Unavailable, match="set PROBES_DATA"):
        lab.data("cifar10-jpeg")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal in which no line of the claims table is broken in two."""
    monkeypatch.setenv("COLUMNS", "500")

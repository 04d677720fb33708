"""Every study gives its work to an engine: two processes leave the bytes of one, and what was
finished before an interruption is not made again.
"""

import pytest

from probes import cli
from probes.run import engine
from probes.store import sha256

pytestmark = pytest.mark.slow

COMMANDS = {
    "indices": "sensitivity resnet20 --rows 8 --scramblings 2 --modules layer3,fc --images 30",
    "contrasts": "sensitivity resnet20 --measures contrast --contrast-images 8 --contrast-draws 1"
    " --set hflip,erasing --modules layer3 --images 30",
    "answers": "masking resnet20 --rows 8 --scramblings 2 --random 2 --matched 2 --images 20"
    " --q .8 --alpha 0 --measures total --set hflip,erasing",
    "maps": "features resnet20 --images mnist5k --count 260 --each 0 --levels .2 --layers layer3",
    "weights": "weight-noise mlp_small --dataset mnist5k --quick --seeds 0-1 --images 50 --draws 1",
}


@pytest.fixture(autouse=True)
def no_xdist_worker(monkeypatch):
    """A worker of pytest-xdist is always serial."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)


def run(kind, folder, *more):
    command = (
        f"run {COMMANDS[kind]} --threads 1 --store {folder} --out {folder}-out {' '.join(more)}"
    )
    return cli.main(command.split())


def kept(folder):
    """What the store keeps of work, by name."""
    return {
        f"{path.parent.name}/{path.name}": sha256(path)
        for path in folder.glob("*/*")
        if path.suffix in (".npz", ".npy", ".safetensors", ".parquet")
    }


@pytest.mark.parametrize("kind", COMMANDS)
def test_two_processes_leave_the_bytes_of_one(tmp_path, kind):
    assert run(kind, tmp_path / "one") == run(kind, tmp_path / "two", "--jobs", "2") == 0

    assert any(name.startswith(kind) for name in kept(tmp_path / "one"))
    assert kept(tmp_path / "one") == kept(tmp_path / "two")


@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if kind != "weights"])
def test_what_was_finished_before_an_interruption_is_not_made_again(tmp_path, kind, monkeypatch):
    made, real = [], engine.done

    def stopping(work, place):
        if work.kind == kind and sum(k == kind for k in made) == 1:
            raise KeyboardInterrupt
        made.append(work.kind)
        return real(work, place)

    monkeypatch.setattr(engine, "done", stopping)
    run(kind, tmp_path / "one")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "one" / kind).glob("*")}
    monkeypatch.setattr(engine, "done", real)

    assert made.count(kind) == 1
    assert before
    assert run(kind, tmp_path / "one") == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before

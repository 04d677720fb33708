"""The Ray engine: the same bytes as the serial one, whichever worker, node or driver dies on the
way.
"""

import json
import os
import pickle
import tempfile
import threading
import time

import pandas as pd
import pytest

from probes import accuracy, cli, gaussian, layer_noise
from probes.errors import BadInput, ProbesError, Unavailable
from probes.run.bench import Bench
from probes.run.engines import cluster
from probes.run.engines.remote import Borrowing, Maker, Order, Setup, scratch_folder
from probes.run.engines.team import Team, team_of
from probes.run.settings import Options
from probes.run.work import Place, TrainingRun, provide
from probes.store import Store, sha256
from probes.subjects.recipes import Recipe
from probes.subjects.spec import parse

SHORT = Recipe("short", epochs=1, batch_size=500, max_lr=0.05)


def bench(folder, **options):
    return Bench(
        [parse("resnet20@mnist5k")],
        Store(folder),
        Options(images=20, threads=1, batch_size=5, **options),
    )


def kept(folder, kind="cells"):
    return {p.name: sha256(p) for p in (folder / kind).glob("*") if p.suffix != ".json"}


@pytest.fixture(scope="module")
def ray():
    found = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    yield found
    found.shutdown()
    team_of.cache_clear()


def test_two_workers_give_the_same_bytes_as_one_process_and_survive_a_death(ray, tmp_path, deadly):
    alone, together = tmp_path / "one", tmp_path / "two"
    first = bench(alone).sweep(accuracy, under=deadly(0)).frame
    second = bench(together, engine="ray", jobs=2).sweep(accuracy, under=deadly(1)).frame

    pd.testing.assert_frame_equal(first, second)
    assert len(list((tmp_path / "deaths").glob("*"))) == 1
    assert sorted(kept(alone).values()) == sorted(kept(together).values())


def test_a_piece_whose_worker_always_dies_is_an_error_and_the_others_stand(ray, tmp_path, deadly):
    sweep = bench(tmp_path / "s", engine="ray", jobs=2).sweep(accuracy, under=deadly(99))
    with pytest.raises(ProbesError, match=r"died 3 times at one piece of work \(cells: resnet20"):
        sweep.frame  # noqa: B018

    assert len(list((tmp_path / "deaths").glob("*"))) == 3
    assert len(kept(tmp_path / "s")) == 3


def test_what_a_piece_raises_is_raised_here_and_the_others_stand(ray, tmp_path, deadly):
    sweep = bench(tmp_path / "s", engine="ray", jobs=2).sweep(
        accuracy, under=deadly(0, raises=True)
    )
    with pytest.raises(BadInput, match=r"level 0.2 is not for me") as found:
        sweep.frame  # noqa: B018

    assert any("deadly_module.py" in note for note in found.value.__notes__)
    assert len(kept(tmp_path / "s")) == 3


def test_what_another_process_can_not_import_is_one_sentence(ray, tmp_path, deadly):
    class Local(type(deadly(0))):
        """Only this function knows it."""

    here = Local((0.0, 0.1, 0.3), str(tmp_path), 0)
    sweep = bench(tmp_path / "s", engine="ray", jobs=2).sweep(accuracy, under=here)
    with pytest.raises(BadInput, match="define perturbations and measures in a module"):
        sweep.compute()


@pytest.mark.parametrize(
    "command",
    [
        "sensitivity resnet20 --rows 8 --scramblings 2 --modules layer3,fc --images 30",
        "masking resnet20 --rows 8 --scramblings 2 --random 2 --matched 2 --images 20"
        " --q .8 --alpha 0 --measures total --set hflip,erasing",
        "features resnet20 --images mnist5k --count 260 --each 0 --levels .2 --layers layer3",
        "weight-noise mlp_small --dataset mnist5k --quick --seeds 0-1 --images 50 --draws 1",
    ],
    ids=lambda text: text.split()[0],
)
def test_every_study_leaves_the_bytes_that_it_leaves_alone(ray, tmp_path, command):
    for name, more in (("one", ""), ("two", "--engine ray --jobs 2")):
        store = tmp_path / name
        asked = f"run {command} --threads 1 --store {store} --out {store}-out {more}"
        assert cli.main(asked.split()) == 0

    found = {p.relative_to(tmp_path / "one"): sha256(p) for p in (tmp_path / "one").glob("*/*.np*")}
    for kind in ("cells", "weights", "answers", "maps", "indices", "contrasts"):
        assert kept(tmp_path / "one", kind) == kept(tmp_path / "two", kind)
    assert found or kept(tmp_path / "one")


def test_what_must_be_known_of_the_clean_network_is_the_same_there(ray, tmp_path):
    alone = bench(tmp_path / "one").sweep(accuracy, under=layer_noise(0, 0.5)).frame
    there = bench(tmp_path / "two", engine="ray", jobs=2)

    pd.testing.assert_frame_equal(alone, there.sweep(accuracy, under=layer_noise(0, 0.5)).frame)


def test_trainings_need_no_dataset_on_the_node(ray, tmp_path, monkeypatch):
    runs = [TrainingRun("mlp_small", "mnist5k", seed, SHORT) for seed in (0, 1)]
    there = cluster.Ray(jobs=2).fill(runs, Place(Store(tmp_path / "there")), lambda run: None)
    here = [
        Store(tmp_path / "here").get_or_make(
            run.kind,
            run.key(place := Place(Store(tmp_path / "here"))),
            run.suffix,
            lambda path, run=run, place=place: run.make(place, path),
        )
        for run in runs
    ]

    assert [sha256(p) for p in here] == [sha256(p) for p in there]
    card = json.loads(there[0].with_suffix(".json").read_text())["note"]
    assert card["recipe"]["name"] == "short"


def test_a_node_that_dies_is_survived(ray, tmp_path, monkeypatch, written):
    """Two nodes of one core; the second one is killed while both are at work."""
    from ray.cluster_utils import Cluster

    real, lost = cluster._Spread._lost, []
    monkeypatch.setattr(cluster._Spread, "_lost", lambda *a: (lost.append(len(a[1].has)), real(*a)))
    ray.shutdown()
    team_of.cache_clear()
    (place := tmp_path / "place").mkdir()
    under = written.Holding(tuple(i / 10 for i in range(10)), str(place))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = nodes.add_node(num_cpus=1)
        one = bench(tmp_path / "s", engine="ray", jobs=2, ray_address=nodes.address)
        end = time.monotonic() + 120

        def kill():
            while len(list(place.glob("begun-*"))) < 2 and time.monotonic() < end:
                time.sleep(0.01)
            nodes.remove_node(second, allow_graceful=False)
            (place / f"go-{nodes.head_node.node_id}").touch()  # nobody goes on at the other one

        killer = threading.Thread(target=kill)
        killer.start()
        found = one.sweep(accuracy, under=under).frame
        killer.join()
    finally:
        ray.shutdown()
        nodes.shutdown()
        team_of.cache_clear()

    assert any(lost)  # a worker was lost with pieces in its hands
    pd.testing.assert_frame_equal(
        found, bench(tmp_path / "alone").sweep(accuracy, under=under).frame
    )


def test_a_driver_that_dies_loses_the_pieces_in_flight_only(ray, tmp_path, child):
    code = (
        "from probes import Lab, accuracy, gaussian\n"
        "lab = Lab('resnet20@mnist5k', images=200, engine='ray', jobs=2, threads=1, quiet=True,\n"
        f"          batch_size=20, store={str(tmp_path / 's')!r})\n"
        "lab.sweep(accuracy, under=gaussian(*(i / 100 for i in range(40)))).frame\n"
    )
    driver = child(["-c", code])
    cells = tmp_path / "s" / "cells"
    while len(list(cells.glob("*.json"))) < 3:
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    time.sleep(0.2)
    there = kept(tmp_path / "s")
    whole = Bench(
        [parse("resnet20@mnist5k")],
        Store(tmp_path / "s"),
        Options(images=200, threads=1, batch_size=20),
    ).sweep(accuracy, under=gaussian(*(i / 100 for i in range(40))))
    made = {p: p.stat().st_mtime_ns for p in cells.glob("*.json")}
    assert len(whole.frame) == 40 * 200

    assert 3 <= len(there) < 40
    assert {p: p.stat().st_mtime_ns for p in made} == made


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"address": "ray://head:10001"}, BadInput, "start it there"),
        ({"address": "127.0.0.1:1"}, ProbesError, "no Ray cluster answers at '127.0.0.1:1'"),
        ({"device": "cuda"}, Unavailable, "no node of the Ray cluster has a GPU"),
    ],
)
def test_a_cluster_that_can_not_be_used_is_named(ray, tmp_path, options, error, sentence):
    ray.shutdown()
    team_of.cache_clear()
    run = TrainingRun("mlp_small", "mnist5k", 0, SHORT)
    with pytest.raises(error, match=sentence):
        cluster.Ray(jobs=1, **options).fill([run], Place(Store(tmp_path)), lambda run: None)


@pytest.mark.parametrize(("jobs", "share"), [(None, 1.0), (8, 0.25), (1, 1.0)])
def test_workers_share_the_gpus_that_there_are(ray, jobs, share):
    """Two GPUs that Ray is told of: nothing runs on them here."""
    ray.shutdown()
    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = Team(jobs, None, 1, "cuda")
        assert found.size == (jobs or 2)
        assert found.needs == {"num_cpus": 1, "num_gpus": share}
    finally:
        ray.shutdown()
        team_of.cache_clear()


def test_a_cluster_of_somebody_else_is_joined_only_where_it_is_asked_for(
    ray, tmp_path, monkeypatch
):
    ray.shutdown()
    team_of.cache_clear()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    sweep = bench(tmp_path, engine="ray", jobs=1).sweep(accuracy, under=gaussian(0, 0.1))

    assert len(sweep.frame) == 40


def test_without_ray_the_way_to_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    sweep = bench(tmp_path, engine="ray").sweep(accuracy, under=gaussian(0, 0.1))
    with pytest.raises(Unavailable, match=r"pip install 'neural-probes\[ray\]'"):
        sweep.compute()


# --- the far side, without Ray


def maker(folder, ask):
    return Maker((), lambda reference: reference, ask)


def order(work, place):
    key = work.key(place)
    return Order(pickle.dumps(work), key, place.store.name(key, work.suffix))


def setup(place):
    return Setup({}, {}, pickle.dumps(place.load), (), ())


def test_a_worker_asks_the_drivers_store_for_what_it_lacks_and_leaves_nothing(tmp_path):
    one = bench(tmp_path / "s")
    (work,) = [c for c in one.sweep(accuracy, under=layer_noise(0, 0.5)).cells if c.level][:1]
    asked = []

    def ask(kind, name):
        asked.append(kind)
        return one.store.entry(kind, name)

    there = maker(tmp_path, ask)
    provide(work, one.place)
    problem, (record, payload) = there.make(setup(one.place), order(work, one.place))

    assert problem is None
    assert "spreads" in asked
    assert "cells" not in asked
    assert not list((there._store.folder / "cells").glob("*"))
    path = one.store.add(record, payload)
    assert one.store.find(work.kind, work.key(one.place), work.suffix) == path


def test_a_worker_with_other_versions_is_refused(tmp_path, monkeypatch):
    one = bench(tmp_path / "s")
    work = one.sweep(accuracy, under=gaussian(0, 0.5)).cells[0]
    asked = order(work, one.place)
    other = Order(asked.work, asked.key, "f" * 64 + ".parquet")
    problem, entry = maker(tmp_path, lambda kind, name: None).make(setup(one.place), other)

    assert entry is None
    assert "install the same ones on every node" in str(problem)


def test_bytes_that_changed_on_the_way_are_refused(tmp_path):
    store = Store(tmp_path / "a")
    path = store.get_or_make("k", {"x": 1}, ".txt", lambda p: p.write_text("one"))
    record, payload = store.entry("k", path.name)

    assert Store(tmp_path / "b").add(record, payload).read_text() == "one"
    with pytest.raises(ProbesError, match="not those that were sent"):
        Store(tmp_path / "c").add(record, payload + b"!")
    assert store.entry("k", "nothing.txt") is None


def test_a_store_that_borrows_asks_once(tmp_path):
    asked = []
    there = Borrowing(tmp_path, lambda kind, name: asked.append(name))

    assert there.find("k", {"x": 1}, ".txt") is None
    assert there.find("k", {"x": 1}, ".txt") is None
    assert len(asked) == 1


def test_the_folders_of_dead_workers_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = scratch_folder()
    dead = tmp_path / mine.name.replace(str(os.getpid()), "4000000")
    (dead / "cells").mkdir(parents=True)

    assert scratch_folder() == mine
    assert mine.exists()
    assert not dead.exists()

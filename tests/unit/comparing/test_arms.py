"""The two networks of a comparison, as they are typed."""

import pytest
import torch

from probes import Lab, pair, quantised
from probes.batch import Draw
from probes.comparing.arms import NEW, OLD, arms_of, bench_of, loaded, names_of, split
from probes.errors import BadInput, Unavailable
from probes.run.settings import Options
from probes.store import Store


def test_a_version_stands_behind_a_plus_whatever_a_file_is_called():
    assert split("net:a+b.pt@d#1+pruned:.5") == ("net:a+b.pt@d#1", "pruned:.5")
    assert split("net:a+b.pt@d") == ("net:a+b.pt@d", "")


def test_an_arm_gets_the_dataset_and_its_training_seeds(tmp_path):
    store = Store(tmp_path)

    assert names_of("resnet20#3", None, None, store) == ("resnet20@mnist5k#3",)
    assert names_of("resnet20+quantised:8", "mnist5k", [0, 2], store) == (
        "resnet20@mnist5k#0+quantised:8",
        "resnet20@mnist5k#2+quantised:8",
    )
    assert names_of("net.mod:f:run-{seed}.pt", "mnist5k", [4], store) == (
        "net.mod:f:run-4.pt@mnist5k#4",
    )
    assert len(names_of("resnet20", None, "*", store)) == 8


@pytest.mark.parametrize(
    ("text", "dataset", "seeds", "says"),
    [
        ("resnet20@mnist5k", "cifar10", None, "both are measured on one dataset"),
        ("resnet20#1", None, [0, 1], "names a training seed, and --seeds names others"),
        (
            "resnet20+quantised:8,4",
            None,
            None,
            "is one change of one strength",
        ),
        ("resnet20+quantised:8,pruned:.5", None, None, "is one change of one strength"),
        ("resnet20+quantised", None, None, "is one change of one strength"),
        ("@", None, None, "is not of the form"),
    ],
)
def test_what_is_no_arm_is_refused_with_what_was_typed(tmp_path, text, dataset, seeds, says):
    with pytest.raises(BadInput, match=says):
        names_of(text, dataset, seeds, Store(tmp_path))


def test_a_version_has_weights_and_a_hash_of_its_own_and_leaves_its_subject_alone(tmp_path):
    store, options = Store(tmp_path), Options(images=20)
    plain = loaded(str(tmp_path), options, "resnet20@mnist5k#0")
    before = {name: tensor.clone() for name, tensor in plain.model.state_dict().items()}
    rounded = loaded(str(tmp_path), options, "resnet20@mnist5k#0+quantised:4")
    wanted = quantised(4).mapping(plain.model, 28.0, Draw(0, "", 0))
    state = dict(rounded.model.named_parameters())

    assert all(torch.equal(state[name], tensor) for name, tensor in wanted.items())
    assert all(torch.equal(before[k], t) for k, t in plain.model.state_dict().items())
    assert rounded.sha256 != plain.sha256
    assert (rounded.weights, rounded.spec) == ("shipped+quantised:4", plain.spec)
    assert "4 bits" in rounded.notes[-1]
    assert store.folder == tmp_path


def test_a_network_is_not_compared_with_itself(tmp_path):
    with pytest.raises(BadInput, match="that is one network"):
        bench_of("resnet20", "resnet20@mnist5k", None, None, Store(tmp_path), Options())


def test_a_subject_that_is_not_here_says_how_to_bring_it(tmp_path):
    with pytest.raises(Unavailable, match="probes train resnet20 mnist5k --seeds 99"):
        bench_of("resnet20", "resnet20#99", "mnist5k", None, Store(tmp_path), Options(images=20))


def test_copies_of_a_network_are_no_training_runs(tmp_path):
    state = loaded(str(tmp_path), Options(images=20), "resnet20@mnist5k#0").model.net.state_dict()
    for name in ("one.pt", "run-0.pt", "run-1.pt"):
        torch.save(state, tmp_path / name)
    store, options = Store(tmp_path), Options(images=20)

    for file in ("one", "run-{seed}"):
        with pytest.raises(BadInput, match="copies of a network are no training runs"):
            bench_of(
                *("plainnet20", f"resnet20:{tmp_path}/{file}.pt"), None, [0, 1], store, options
            )


def test_networks_in_memory_are_two(tmp_path, fitted, damaged):
    lab, arms = bench_of(fitted, damaged(0.5), "mnist5k", None, Store(tmp_path), Options(images=20))

    assert (arms.old, arms.new, arms.unit, arms.runs) == (*lab.subjects, "image", 1)
    with pytest.raises(BadInput, match="two networks in memory"):
        bench_of(fitted, "resnet20", "mnist5k", None, Store(tmp_path), Options(images=20))


def test_the_arms_of_a_pair_are_its_subjects_or_their_runs(tmp_path):
    one = Lab(pair("resnet20@mnist5k#0", "resnet20@mnist5k#1"), images=20, store=tmp_path)
    many = Lab(pair("resnet20@mnist5k#*", "plainnet20@mnist5k#*"), images=20, store=tmp_path)

    assert arms_of(one).names == {OLD: ("resnet20@mnist5k#0",), NEW: ("resnet20@mnist5k#1",)}
    assert (arms_of(many).old, arms_of(many).new) == ("resnet20@mnist5k", "plainnet20@mnist5k")
    assert (arms_of(many).unit, arms_of(many).runs) == ("train_seed", 8)
    with pytest.raises(BadInput, match="two networks are compared"):
        arms_of(Lab("resnet20@mnist5k", images=20, store=tmp_path))

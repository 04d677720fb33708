"""Where two networks part: nowhere for copies, else at the layer that was changed."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from probes.comparing.arms import bench_of
from probes.comparing.insides import insides, layers_of
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.nets import nets


def untrained(name, seed=0):
    torch.manual_seed(seed)
    return nets[name](1, 10).eval()


@pytest.fixture
def profile(tmp_path):
    def make(old, new, **options):
        store = Store(tmp_path / "store")
        given = Options(**{"images": 20, **options})
        said = []
        lab, arms = bench_of(old, new, "mnist5k", None, store, given, say=said.append)
        return insides(lab, arms), said

    return make


def test_a_copy_parts_nowhere(profile):
    net = untrained("resnet20")
    found, _ = profile(net, copy.deepcopy(net))

    assert list(found["layer"])[:2] == ["layer1.0", "layer1.1"]
    assert len(found) == 9
    np.testing.assert_array_equal(found["distance"], 0)
    np.testing.assert_allclose(found["cka"], 1, atol=1e-6)
    np.testing.assert_allclose(found["norm"], 1)
    assert set(found["images"]) == {20}


def test_networks_part_at_the_layer_that_was_changed(profile):
    old = untrained("resnet20")
    new = copy.deepcopy(old)
    with torch.no_grad():
        new.layer2[1].bn2.weight.mul_(2)
    found, _ = profile(old, new)
    before = found["layer"].isin(["layer1.0", "layer1.1", "layer1.2", "layer2.0"])

    np.testing.assert_array_equal(found.loc[before, "distance"], 0)
    assert (found.loc[~before, "distance"] > 0.01).all()
    changed = found.set_index("layer").loc["layer2.1"]
    assert changed["norm"] == pytest.approx(2, rel=1e-5)


def test_a_network_without_residual_sums_is_looked_into_at_its_layers_with_weights(profile, fitted):
    wide = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    found, _ = profile(fitted, wide)

    assert list(found["layer"]) == ["1"]
    assert found["norm"].isna().all()
    assert (found["distance"] > 0).all()


def test_a_layer_that_runs_twice_in_a_pass_is_left_out():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Linear(784, 784), nn.Linear(784, 784)

        def forward(self, images):
            return self.again(self.again(self.first(images.flatten(1))))

    assert layers_of(Twice().eval(), torch.zeros(2, 1, 28, 28)) == ["first"]


def test_layers_of_other_shapes_have_cka_and_no_distance(profile):
    def net(width):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10)
        ).eval()

    found, _ = profile(net(16), net(32))

    assert list(found["layer"]) == ["1", "3"]
    assert found["distance"].isna().tolist() == [True, False]
    assert found["cka"].notna().all()


def test_networks_without_a_layer_in_common_have_no_profile(profile, fitted):
    found, _ = profile(untrained("resnet20"), fitted)

    assert found.empty


def test_the_networks_are_left_as_they_were(profile):
    old, new = untrained("resnet20"), untrained("resnet20", 1)
    before = [{k: t.clone() for k, t in net.state_dict().items()} for net in (old, new)]
    profile(old, new)

    for net, state in zip((old, new), before, strict=True):
        assert all(torch.equal(state[k], t) for k, t in net.state_dict().items())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())

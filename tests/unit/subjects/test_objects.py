"""Networks and images that are in memory already."""

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from probes import Lab, accuracy, block_metrics, gaussian, rises
from probes.errors import BadInput, ProbesError
from probes.measure import Predictions
from probes.subjects.data import load
from probes.subjects.nets import nets
from probes.subjects.objects import dataset_of


def quiet(tmp_path, *asked, **options):
    return Lab(*asked, store=tmp_path, quiet=True, say=lambda _: None, threads=1, **options)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


IMAGES = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 7


def test_a_network_and_images_in_memory_are_measured(tmp_path):
    table = quiet(tmp_path, net(), (IMAGES, LABELS)).sweep(
        Predictions(floor=None), under=gaussian(0, 0.1)
    )
    clean = table.frame[table.frame["level"] == 0]
    rounded = (IMAGES * 255).round() / 255
    wanted = nn.functional.cross_entropy(net()(rounded), LABELS, reduction="none")

    assert np.allclose(clean["loss"], wanted.detach(), atol=1e-5)
    assert set(clean["net"]) == {"Sequential"}
    assert set(clean["weights"]) == {"in memory"}


def test_a_verdict_is_that_of_the_same_network_by_name(tmp_path):
    lab = quiet(tmp_path, "resnet20@mnist5k", images=200)
    model = next(iter(lab.subjects.values())).model
    found = [
        rises(one.sweep(block_metrics, under=gaussian(0, 0.2)), "var_h", by="site", sesoi="1 %")
        for one in (lab, quiet(tmp_path, {"mine": model}, load("mnist5k"), images=200))
    ]
    assert [v.outcome for v in found[0]] == [v.outcome for v in found[1]]
    assert found[0]["layer2.0"].effect() == found[1]["layer2.0"].effect()


def test_what_was_handed_over_is_left_as_it_is(tmp_path):
    model = net().train()
    before = [p.clone() for p in model.parameters()]
    lab = quiet(tmp_path, model, (IMAGES, LABELS))
    assert len(lab.sweep(Predictions(floor=None), under=gaussian(0, 0.1)).frame)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_networks_by_name_on_a_dataset_by_name(tmp_path):
    lab = quiet(tmp_path, {"a": net(0), "b": net(1)}, "mnist5k", images=30)
    table = lab.sweep(Predictions(floor=None), under=gaussian(0, 0.1))
    assert set(table.frame["net"]) == {"a", "b"}


def test_an_edited_network_is_another_one(tmp_path):
    seen = []
    for seed in (0, 1):
        lab = quiet(tmp_path, net(seed), (IMAGES, LABELS))
        seen.append(lab.sweep(Predictions(floor=None), under=gaussian(0, 0.1)).frame["loss"])
    assert not np.allclose(*seen)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (IMAGES * 2 - 1, r"values from -1 to 1.*\[0, 1\]"),
        (IMAGES[0], r"shape \(1, 28, 28\)"),
        ((IMAGES, LABELS[:3]), r"labels of shape \(3,\)"),
        ((IMAGES, LABELS.bool()), "bool"),
        (3, "int"),
        (IMAGES * float("nan"), "nan"),
    ],
)
def test_what_are_no_images_and_labels_is_refused(data, why):
    with pytest.raises(BadInput, match=why):
        dataset_of(data)


def test_without_labels_there_is_no_accuracy(tmp_path):
    with pytest.raises(BadInput, match="images of one class only"):
        quiet(tmp_path, net(), IMAGES).sweep(accuracy, under=gaussian(0, 0.1)).frame  # noqa: B018


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = net()
    with torch.no_grad():
        model[1].bias[3] = float("nan")
    with pytest.raises(ProbesError, match=r"weight '1\.bias' holds NaN"):
        quiet(tmp_path, model, (IMAGES, LABELS))


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"torch\.nn\.Module"):
        quiet(tmp_path, {"a": 3}, IMAGES)
    with pytest.raises(BadInput, match="3 more were given"):
        Lab("resnet20@mnist5k", tmp_path, None, 3)


def written(monkeypatch, code):
    """A notebook: its cells run in ``__main__``."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(code, main.__dict__)
    return main


CELL = """
from torch import nn
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
    def forward(self, x):
        return self.fc(x.flatten(1)) * {scale}
def net(channels, classes):
    return Scaled()
"""


def test_a_builder_of_a_notebook_is_found_and_its_edited_source_is_noticed(tmp_path, monkeypatch):
    means = []
    for scale in (1, 3):
        written(monkeypatch, CELL.format(scale=scale))
        lab = quiet(tmp_path, "__main__:net:untrained@mnist5k", images=40, engine="processes")
        table = lab.sweep(Predictions(floor=None), under=gaussian(0, 0.1))
        means.append(table.frame["loss"].mean())
    assert means[1] > means[0] * 1.1


def test_a_module_beside_the_tests_is_found(monkeypatch, tmp_path):
    from probes import registry

    (tmp_path / "nets_beside_tests.py").write_text("def small(channels, classes):\n    return 3\n")
    monkeypatch.setattr(registry, "PLACES", [str(tmp_path)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert nets["nets_beside_tests:small"](1, 2) == 3

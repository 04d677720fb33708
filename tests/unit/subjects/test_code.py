"""An edited network has another code: its structure, plain attributes, adapters and source files
count.
"""

import importlib
import sys
import types

import pytest
import torch
from torch import nn

from probes.errors import BadInput
from probes.measure import BlockAdapter, register_block
from probes.subjects.code import code_sha256, source_sha256
from probes.subjects.nets import Normalised


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x * self.scale


def test_plain_attributes_count():
    assert code_sha256(Scaled(1)) == code_sha256(Scaled(1))
    assert code_sha256(Scaled(1)) != code_sha256(Scaled(5))


def test_weights_and_modes_do_not_count():
    torch.manual_seed(0)

    assert code_sha256(nn.Linear(2, 2)) == code_sha256(nn.Linear(2, 2).eval())


def test_the_constants_of_normalisation_count():
    a, b = (code_sha256(Normalised(nn.ReLU(), [mean], [1.0])) for mean in (0.1, 0.2))

    assert a != b


def test_adapters_count_for_results_and_not_for_the_network_itself():
    class Block(nn.Module): ...

    before, source = code_sha256(nn.Sequential(Block())), source_sha256(nn.Sequential(Block()))
    register_block(Block, BlockAdapter(branch="f", relu="act"))

    assert code_sha256(nn.Sequential(Block())) != before
    assert source_sha256(nn.Sequential(Block())) == source


SOURCE = """
{comment}
import torch.nn.functional as F
from torch import nn
SLOPE = {slope}
def helper(x): return x * {factor}
class Net(nn.Module):
    "{doc}"
    def forward(self, x): return F.leaky_relu(helper(x), SLOPE)
def build(c, k): return Net()
def test_claim(): "{sentence}"
"""
WORDS = {"comment": "# one", "slope": 0.1, "factor": 2, "doc": "Doc.", "sentence": "Noise does it."}


def hashed(folder, **changes):
    (folder / "builds_it.py").write_text(SOURCE.format(**WORDS | changes))
    sys.modules.pop("builds_it", None)
    importlib.invalidate_caches()
    module = importlib.import_module("builds_it")
    return source_sha256(module.build(1, 2), module.build)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.mark.parametrize("change", [{"slope": 0.2}, {"factor": 3}])
def test_what_a_network_computes_with_counts_wherever_it_stands(place, change):
    assert hashed(place) != hashed(place, **change)


@pytest.mark.parametrize(
    "change", [{"comment": "# two"}, {"doc": "Other."}, {"sentence": "Noise does something else."}]
)
def test_a_comment_a_docstring_or_the_sentence_of_a_claim_in_the_same_file_is_no_part_of_a_network(
    place, change
):
    assert hashed(place) == hashed(place, **change)


@pytest.mark.parametrize(
    "keep",
    [
        lambda m, v: setattr(m, "config", {"gain": v}),
        lambda m, v: setattr(m, "gains", [v]),
        lambda m, v: setattr(m, "gain", torch.tensor(float(v))),
        lambda m, v: setattr(m, "space", types.SimpleNamespace(gain=v)),
        lambda m, v: m.register_buffer("gain", torch.tensor(float(v)), persistent=False),
        lambda m, v: setattr(m, "gain", float(v)),
    ],
    ids=["dict", "list", "tensor", "namespace", "hidden buffer", "number"],
)
def test_a_setting_of_a_network_counts_wherever_it_keeps_it(keep):
    found = []
    for value in (1, 1, 30):
        module = nn.ReLU()
        keep(module, value)
        found.append(source_sha256(nn.Sequential(module)))

    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    "wrap", [torch.compile, lambda net: torch.jit.trace(net, torch.ones(1, 2)), nn.DataParallel]
)
def test_what_can_not_be_hooked_is_refused_before_it_is_trained_or_measured(wrap):
    with pytest.raises(BadInput, match=r"pass the (original|module|network)"):
        source_sha256(wrap(nn.Sequential(nn.Linear(2, 2))))

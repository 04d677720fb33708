"""An edited network has another code: its structure, plain attributes, adapters and source files count."""

import importlib
import sys

import torch
from torch import nn

from probes.measure import BlockAdapter, register_block
from probes.subjects.code import code_sha256
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


def test_adapters_count():
    class Block(nn.Module): ...

    before = code_sha256(nn.Sequential(Block()))
    register_block(Block, BlockAdapter(branch="f", relu="act"))

    assert code_sha256(nn.Sequential(Block())) != before


def test_the_source_of_class_and_builder_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = set()
    for version in (1, 2):
        (tmp_path / "builds_it.py").write_text(f"from torch import nn\ndef build(c, k): return nn.ReLU()  # {version}\n")
        sys.modules.pop("builds_it", None)
        importlib.invalidate_caches()
        digests.add(code_sha256(nn.ReLU(), importlib.import_module("builds_it").build))

    assert len(digests) == 2

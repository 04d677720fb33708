"""``probes check``: what can be measured of a network, tried and not guessed."""

import contextlib

import pandas as pd
import pytest
import torch
from torch import nn

from probes import cli
from probes.check import families, instruments
from probes.check.instruments import examine, misread
from probes.measure import tap
from probes.run.forward import network
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import pretrained
from probes.subjects.data import load
from probes.subjects.nets import nets
from probes.subjects.objects import subjects_of
from probes.subjects.sending import pixels
from probes.subjects.spec import parse

WHERE = Options(threads=1).where


def examined(text, tmp_path):
    data = load("mnist5k").sample(16)
    return examine(pretrained.load(parse(text), data, Store(tmp_path)), WHERE)


def works(found):
    return {one.name: one.works for one in found.tried}


def test_a_residual_network_is_read_by_every_instrument(tmp_path):
    found = examined("resnet20@mnist5k", tmp_path)

    assert [s.name for s in found.sums] == [f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2)]
    assert {s.next for s in found.sums} == {"ReLU"}
    assert not found.wrong
    assert [name for name, yes in works(found).items() if not yes] == ["dropout(...)"]
    assert 'falls(table, "sparsity", by="site"' in found.claim
    assert dict(found.facts)["norms"] == "19 BatchNorm2d"


def test_a_transformer_has_no_sparsity_and_a_claim_of_its_own(tmp_path):
    found = examined("timm:test_vit:untrained@mnist5k", tmp_path)
    blocks = next(one for one in found.tried if one.name == "block_metrics")

    assert [s.name for s in found.sums[:2]] == ["blocks.0.attn", "blocks.0.mlp"]
    assert blocks.what == "12 sites: l2_h, var_h, mean_sum, mean_abs_sum, ratio_hx"
    assert 'rises(table, "var_h"' in found.claim
    assert dict(found.facts)["ends of stages"] == ", ".join(f"blocks.{i}" for i in range(6))


def test_a_network_without_sums_has_a_claim_about_accuracy(tmp_path):
    found = examined("mlp_small:untrained@mnist5k", tmp_path)

    assert found.sums == ()
    assert not works(found)["block_metrics"]
    assert 'falls(table, "correct"' in found.claim


def test_first_claims_run_as_they_stand(tmp_path, child):
    for i, name in enumerate(("resnet20@mnist5k", "timm:test_vit:untrained@mnist5k")):
        claim = examined(name, tmp_path).claim.replace("FIRST", f"FIRST{i}")
        (tmp_path / f"test_{i}.py").write_text(claim)
    options = [
        "--probes-images=60",
        "--probes-report=",
        "--probes-ledger=off",
        "-pno:cacheprovider",
    ]
    _, out, _ = child(["-m", "pytest", *options, tmp_path], cwd=tmp_path).told()
    assert "2 claims judged" in out, out


class Lying(nn.Module):
    """What the branch gave is overwritten after it was added."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(1, 1, 3, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 3, 1, 1))
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        h = self.f(x)
        out = x + h
        h.mul_(3)
        return self.fc(out.flatten(1))


def test_h_is_what_it_was_when_it_was_made():
    subject = next(iter(subjects_of(Lying(), "mnist5k", {"images": 8}).values()))
    net = network(subject, WHERE)
    with torch.no_grad():
        assert misread(net, pixels(subject.data)) == []


class Off:
    """Streams of a tap that reads another h."""

    def __init__(self, seen):
        self.seen = seen

    def items(self):
        return [(site, s | {"h": s["h"] + 1}) for site, s in self.seen.items()]


def test_what_does_not_add_up_is_told(monkeypatch):
    @contextlib.contextmanager
    def wrong(*asked, **how):
        with tap(*asked, **how) as seen:
            yield Off(seen) if "reduce" not in how else seen

    subject = next(iter(subjects_of(Lying(), "mnist5k", {"images": 8}).values()))
    monkeypatch.setattr(instruments, "tap", wrong)
    with torch.no_grad():
        found = misread(network(subject, WHERE), pixels(subject.data))
    assert any("x + h is not the sum" in one for one in found)
    assert any("h is changed by what comes later" in one for one in found)


def test_the_command_tells_what_it_found(capsys, tmp_path):
    assert cli.main(["check", "resnet20", "--store", str(tmp_path), "--threads", "1"]) == 0
    out = capsys.readouterr().out
    for words in ("residual sums: 9", "layer1.0", "yes  block_metrics", "a first claim:"):
        assert words in out


def test_a_network_without_weights_here_is_checked_with_random_ones_and_it_is_said(
    capsys, tmp_path
):
    command = ["check", "timm:test_resnet", "--store", str(tmp_path), "--threads", "1"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "no weights here (probes train timm:test_resnet mnist5k --seeds 0" in out
    assert "residual sums: " in out


def test_a_network_that_fails_is_said_with_its_own_words(capsys, tmp_path, monkeypatch):
    small = nn.Sequential(nn.MaxPool2d(32), nn.Flatten(), nn.Linear(1, 10))
    monkeypatch.setitem(nets._things, "too_deep", lambda channels, classes: small)
    command = ["check", "too_deep:untrained", "--store", str(tmp_path), "--threads", "1"]
    assert cli.main(command) == 2
    assert "it fails on images of 1 x 28 x 28: RuntimeError" in capsys.readouterr().out


def test_families_are_sorted_by_size_and_a_row_tells_what_was_found(tmp_path):
    pytest.importorskip("timm")
    every = families.members()
    assert len(every) > 80
    assert every["convnext"][0] == "convnext_zepto_rms"
    row = families.row("resnet", ["resnet18"], Store(tmp_path), Options(threads=1))
    assert (row["outcome"], row["sums"], row["projections"], row["next"]) == ("right", 8, 3, "ReLU")
    page = families.page(pd.DataFrame([row]), ["check", "timm:*"])
    assert "1 right, 0 no sums, 0 refused, 0 wrong" in page
    assert "| resnet | resnet18 | 64 | 8 | 3 | ReLU | right |" in page

"""What the pages on robustness and on measures show, works."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from probes import Lab, gaussian
from probes.lab import Lab as Laboratory
from probes.tell.verify import verify

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)


@pytest.mark.slow
def test_every_example_of_the_page_runs_and_says_what_the_page_says(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "probes_robustness_page", None)
    space = {"__name__": "robustness_page"}
    for block in blocks("robustness.md"):
        exec(compile(block, "robustness.md", "exec"), space)
    said = capsys.readouterr().out

    assert len(blocks("robustness.md")) == 7
    assert len(re.findall("^supported", said, re.M)) == 6
    assert "n = 20 image groups" in said


def test_a_claim_on_a_composition_and_an_attack_is_reported_and_verified(monkeypatch, tmp_path):
    """Of an attack there are no pictures, and of a composition those of its images."""
    from probes import accuracy, attacked, certainty, corruption, falls, fgsm, quantised

    lab = Laboratory("resnet20@mnist5k", images=60, store=tmp_path / "store", quiet=True)
    both = quantised(bits=(8, 2)) & corruption("contrast", severity=5)
    lab.claim("Both cost.", falls(lab.sweep(accuracy, under=both), "correct", sesoi="1 point"))
    under = attacked(fgsm(), (0, 0.2))
    lab.claim("It costs.", falls(lab.sweep(certainty, under=under), "confidence", sesoi="1 point"))
    page = lab.report(tmp_path / "out").read_text()

    assert "bits taken away" in page
    assert "budget" in page
    assert verify(tmp_path / "out") == []


class Segmenting(nn.Module):
    """Bright and dark, as a dictionary, as torchvision's segmentation networks give it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[1] = 1
            self.conv.bias.copy_(torch.tensor([4.5, 0.0]))

    def forward(self, images):
        return {"out": self.conv(images)}


@pytest.fixture
def overlap(monkeypatch, tmp_path):
    block = next(b for b in blocks("your-measure.md") if "# overlap.py" in b)
    (tmp_path / "overlap_of_the_page.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    import overlap_of_the_page

    yield overlap_of_the_page
    del sys.modules["overlap_of_the_page"]


def test_the_measure_of_masks_reads_a_segmentation_network(overlap, tmp_path):
    images = np.random.default_rng(0).uniform(size=(30, 1, 12, 12)).astype(np.float32)
    lab = Lab(Segmenting().eval(), torch.from_numpy(images), store=tmp_path / "store", quiet=True)
    frame = lab.sweep(overlap.Overlap(), under=gaussian(0, 0.05, 0.5)).frame
    shares = frame.groupby("level")["overlap"].mean()

    assert shares[0.0] == 1.0
    assert 1 > shares[0.05] > shares[0.5] > 0

"""A comparison from beginning to end."""

import json
import re
import shutil

import pandas as pd
import pytest
import torch
from torch import nn

import probes
from probes.comparing import pages
from probes.comparing.running import CODES
from probes.errors import BadInput, ProbesError
from probes.tell import report
from probes.tell.verify import verify

compare = probes.compare


@pytest.fixture
def how(tmp_path):
    return {"dataset": "mnist5k", "store": tmp_path / "store", "images": 300}


def test_a_broken_network_is_worse_and_one_that_says_nothing_is_not_open(how, fitted, damaged):
    """At chance on clean images it is worse: a floor would call it open."""
    found = compare(fitted, damaged(1.0), margin="1 point", under="noise:.2", **how)

    assert (found.answer, found.code) == ("worse", 1)
    assert [row.answer for row in found.rows] == ["worse", "worse"]
    assert found.rows[0].new < 0.2 < 0.6 < found.rows[0].old


def test_a_slight_version_is_not_worse(how, fitted):
    found = compare(fitted, fitted, margin="2 points", under="quantised:8", **how)

    assert (found.answer, found.code) == ("not worse", 0)
    assert found.rows[0].difference == 0
    with pytest.raises(TypeError, match="no boolean"):
        bool(found)


def test_what_prints_is_the_answer_and_a_row_for_each_condition(how, fitted, damaged):
    found = compare(fitted, damaged(0.5), margin="1 point", under=["noise:.2"], **how)
    lines = str(found).splitlines()

    assert lines[0].startswith("worse: new@mnist5k against old@mnist5k, over 300 images")
    assert lines[1] == "margin correct 1 point; intervals of 95 %"
    assert [line.split("  ")[1] for line in lines[2:4]] == ["clean", "Gaussian noise, noise σ 0.2"]
    assert lines[-1].startswith("worse under 2 of 2 conditions")


def test_as_few_images_are_looked_at_as_tell_whether_it_is_worse(how, fitted, damaged):
    given = how | {"images": None, "until": 1000}
    found = compare(fitted, damaged(0.8), margin="1 point", **given)
    row = found.rows[0]

    assert (found.answer, row.n) == ("worse", 500)
    assert found.table.design.images == 500
    assert found.flips["images"].sum() == 500


def test_metrics_have_margins_of_their_own(how, fitted, damaged):
    given = how | {"images": 400}
    found = compare(
        *(fitted, damaged(0.5)),
        metrics=["correct", "brier", "ece"],
        margin={"correct": "1 point", "brier": 0.01},
        **given,
    )

    assert [(row.metric, row.unit) for row in found.rows] == [
        ("correct", "image"),
        ("brier", "image"),
        ("ece", "image group"),
    ]
    assert {q.held.level for q in found.questions} == {0.05 / 6}
    with pytest.raises(BadInput, match="margin of 'loss', which is not asked for"):
        compare(fitted, fitted, margin={"loss": 1}, **how)


def test_training_runs_are_compared_by_seed(how):
    said = []
    found = compare(
        *("resnet20", "plainnet20"), seeds=[0, 1], say=said.append, **how | {"images": 10}
    )

    assert (found.answer, found.rows[0].unit, found.rows[0].n) == ("open", "training seed", 2)
    assert "can not decide" in said[0]
    assert "2 training runs" in said[0]
    assert found.pictures is None


def test_two_seeds_of_a_network_are_not_called_worse(how):
    found = compare("resnet20#0", "resnet20#1", margin="5 points", **how | {"images": 100})

    assert found.answer in ("not worse", "open")


def test_the_networks_are_left_as_they_were_bit_for_bit(how, fitted, damaged):
    nets = fitted, damaged(0.3)
    before = [{k: t.clone() for k, t in net.state_dict().items()} for net in nets]
    compare(*nets, under="noise:.2 quantised:4 weight_noise:.1 fgsm:.1", **how | {"images": 40})

    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(state[k], t) for k, t in net.state_dict().items())


def test_one_network_under_two_names_is_told(tmp_path):
    given = {"images": 40, "store": tmp_path}
    one = probes.compare("resnet20", "resnet20#0", **given)
    other = probes.compare("resnet20", "resnet20#1", **given)

    assert one.notes == ("old and new have the same weights",)
    assert other.notes == ()


def test_the_same_twice_is_the_same(how, fitted, damaged, tmp_path):
    given = how | {"images": 100}
    one = compare(fitted, damaged(0.3), under="noise:.2 weight_noise:.5", **given)
    other = compare(
        *(fitted, damaged(0.3)),
        under="noise:.2 weight_noise:.5",
        **given | {"store": tmp_path / "other", "batch_size": 33},
    )

    pd.testing.assert_frame_equal(one.frame, other.frame)


def test_a_network_that_fails_is_no_answer(how, fitted):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(784, 10)

        def forward(self, images):
            return self.net(images.flatten(1)) * float("nan")

    with pytest.raises(ProbesError, match="nan"):
        compare(fitted, Broken().eval(), **how | {"images": 40})


@pytest.fixture(scope="module")
def written(tmp_path_factory, fitted, damaged):
    folder = tmp_path_factory.mktemp("compared")
    found = compare(
        *(fitted, damaged(0.3)),
        "mnist5k",
        margin="1 point",
        under="noise:.2 quantised:2",
        images=200,
        store=folder / "store",
        out=folder / "out",
        command=["probes", "compare", "old", "new"],
    )
    return found, folder / "out"


def test_the_report_is_verified_and_drawn_again_to_the_same_bytes(written):
    found, out = written
    page = (out / "report.md").read_text(encoding="utf-8")
    manifest = json.loads((out / "manifest.json").read_text())

    assert verify(out) == []
    report.draw(out, again=True, sections=pages.sections())
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert f"## Is the new one worse? **{found.answer.capitalize()}**" in page
    assert "figures/flipped.png" in page
    assert "figures/insides.png" in page
    assert "probes compare old new" in page


def test_a_verdict_that_was_changed_by_hand_is_found(written, tmp_path):
    shutil.copytree(written[1], tmp_path / "out")
    path = tmp_path / "out" / "evidence.jsonl"
    lines = [json.loads(line) | {"overall": "supported"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert any("the evidence says supported" in problem for problem in verify(tmp_path / "out"))


def test_the_page_tells_every_row(written):
    found, out = written
    page = (out / "report.md").read_text(encoding="utf-8")

    for row in found.rows:
        assert f"| {row.condition} | **{row.answer}** |" in page
    lost = found.flips.query("condition == 'clean'")["lost"].sum()
    assert re.search(rf"^\| clean \| {lost} \| \d+ \| ", page, re.M)
    assert sorted(CODES) == ["better", "not worse", "open", "worse"]

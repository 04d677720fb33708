"""Segments: what they are cut from and fed with, a whole small run, and what is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes.cli import main
from probes.errors import BadInput, UnknownName
from probes.measure.modules import outputs
from probes.run.settings import Options
from probes.store import Store
from probes.studies.segments import run as segments
from probes.studies.segments.cut import Segment, cut, default_segments
from probes.studies.segments.hsv import hsv
from probes.studies.sensitivity import work as scramblings
from probes.studies.sensitivity.plan import Plan
from probes.subjects.dataset import Dataset, datasets
from probes.subjects.nets import nets
from probes.subjects.spec import parse
from probes.subjects.subject import Subject
from probes.tell.verify import verify


def made(split="test", n=24):
    drawn = np.random.Generator(np.random.Philox(8 if split == "test" else 9))
    images = drawn.integers(0, 256, (n, 3, 12, 12), dtype=np.uint8)
    return Dataset(
        "segments_made",
        "made",
        split,
        images,
        np.arange(n) % 2,
        np.arange(n),
        ("a", "b"),
        (0.5,) * 3,
        (0.5,) * 3,
    )


datasets.register("segments_made")(lambda split, store: made(split))


@nets.register("segments_net")
def segments_net(channels, classes):
    """Three convolutions in a row and a linear layer, for these tests."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
    ]
    return nn.Sequential(
        nn.Sequential(*layers),
        nn.Conv2d(8, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(4 * 36, classes),
    ).eval()


@pytest.fixture
def subject():
    return Subject(
        parse("segments_net@segments_made"), segments_net(3, 2), made(), "weights", "random"
    )


def test_a_segment_gives_what_its_part_gives_for_the_resized_channel(subject):
    (one,) = cut(subject, ["0.2..3"])
    images = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    saturation = hsv(images)[:, 1:2].expand(-1, 6, -1, -1)

    assert (one.shape, one.last) == ((6, 12, 12), "0.3")
    with torch.no_grad():
        found = one.on(subject, "S").model(images)
        torch.testing.assert_close(found, subject.model[0][3](subject.model[0][2](saturation)))
    (deeper,) = cut(subject, ["1"])
    assert one.on(subject, "V").code != one.on(subject, "H").code != deeper.on(subject, "H").code
    assert deeper.on(subject, "V").model(images).shape == (5, 4, 6, 6)


def test_without_names_the_parts_with_weights_that_are_fed_maps_and_give_maps_are_cut():
    subject = Subject(
        parse("resnet20@segments_made"), nets["resnet20"](3, 2).eval(), made(), "weights", "random"
    )

    assert [one.name for one in cut(subject, None)] == ["layer1", "layer2", "layer3"]
    alexnet = Subject(
        parse("alexnet@segments_made"), nets["alexnet"](3, 2).eval(), made(), "weights", "random"
    )
    assert default_segments(alexnet)[1] == "features.3..5"


def test_members_of_the_network_itself_and_of_a_kind_of_sequential_are_cut(subject):
    (whole,) = cut(subject, ["0..1"])
    mobile = Subject(
        parse("mobilenet_v2@segments_made"),
        nets["mobilenet_v2"](3, 2).eval(),
        made(),
        "weights",
        "random",
    )

    assert (whole.last, len(whole.part), whole.shape) == ("1", 2, (3, 12, 12))
    assert len(cut(mobile, ["features.0.0..2"])[0].part) == 3


def test_a_unit_is_read_before_what_comes_next_works_on_it_in_place():
    """Trap R1: inside AlexNet the ReLU after a convolution works in place; cut out, nothing
    does."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)).eval()
    with torch.no_grad(), outputs(model, ["0"]) as seen:
        model(torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1)) - 0.5)
        assert seen["0"].min() < 0


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("layer9", UnknownName, "unknown module of a segment 'layer9'"),
        ("0.0..9", BadInput, "segment '0.0..9': FIRST..LAST are members of one nn.Sequential"),
        ("1..layer2", BadInput, "segment '1..layer2'"),
        ("0.3..1", BadInput, "members of one nn.Sequential by number, in its order"),
        ("3", BadInput, "is fed 144 and gives 2"),
        ("2", BadInput, "gives 144: maps in and out"),
    ],
)
def test_a_segment_that_can_not_be_cut_is_refused(subject, name, error, says):
    with pytest.raises(error, match=says):
        cut(subject, [name])


def test_a_segment_twice_and_no_memory_are_refused(tmp_path, subject, capsys):
    with pytest.raises(BadInput, match="1, 1: each once"):
        cut(subject, ["1", "1"])
    assert main(["run", "segments", "--memory", "0", "--out", str(tmp_path / "out")]) == 2
    assert "memory 0 GB" in capsys.readouterr().err


def test_an_unknown_channel_is_refused():
    with pytest.raises(UnknownName, match="unknown channel 'L'"):
        Segment(nn.Identity(), "L", (1, 2, 2))


def test_channels_are_chosen_on_training_images_and_shown_on_others(
    tmp_path, subject, monkeypatch, bench_of
):
    lab, _ = bench_of(subject, Store(tmp_path / "store"))
    monkeypatch.setattr(segments.sensitivity, "lab_of", lambda *_: lab)
    seen = []
    real = scramblings.Passes.add
    monkeypatch.setattr(
        scramblings.Passes,
        "add",
        lambda s, *a: (seen.append((s.subject.data.split, tuple(s.parts))), real(s, *a))[1],
    )
    plan = Plan(("erasing", "brightness"), 8, 2)
    folder = segments.study(
        "segments_net",
        "segments_made",
        Store(tmp_path / "store"),
        tmp_path / "out",
        plan,
        names=["0.2..3", "1"],
        options=Options(threads=1),
    )
    units, like = (pd.read_csv(folder / f"{name}.csv") for name in ("units", "likeness"))

    assert verify(folder) == []
    assert dict.fromkeys(seen) == dict.fromkeys(
        [("train", ("0.3", "1")), ("test", ("0.3", "1")), ("test", ("part",))]
    )
    assert list(dict.fromkeys(units["fed"])) == ["whole network", "H", "S", "V"]
    assert len(like) == 3 * (8 + 4)
    assert like[["rho", "difference"]].abs().to_numpy().max() <= 2
    assert (like["p"] > 0).all()
    text = (folder / "segments.md").read_text(encoding="utf-8")
    assert all(f"channels/{name.name}" in text for name in (folder / "channels").iterdir())
    assert "Which findings survive the controls?" in text
    seen.clear()
    segments.study(
        "segments_net",
        "segments_made",
        Store(tmp_path / "store"),
        tmp_path / "again",
        plan,
        names=["0.2..3", "1"],
        options=Options(threads=1),
    )
    assert seen == []  # all of it was kept
    assert (tmp_path / "again" / "units.csv").read_bytes() == (folder / "units.csv").read_bytes()


def test_a_segment_leaves_the_network_as_it_is(subject):
    before = {name: t.clone() for name, t in subject.model.state_dict().items()}
    (one,) = cut(subject, ["0.0..3"])
    one.on(subject, "V").model(torch.rand(2, 3, 12, 12))

    assert all(torch.equal(before[name], t) for name, t in subject.model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in subject.model.modules())
    assert dataclasses.replace(subject).code == subject.code


def test_the_command_on_grey_images(tmp_path, capsys):
    words = "--rows 8 --scramblings 2 --images 12 --segments layer3 --set erasing,rolling"
    asked = [
        "run",
        "segments",
        *words.split(),
        "--store",
        str(tmp_path / "store"),
        "--out",
        str(tmp_path / "out"),
    ]

    assert main(asked) == 0
    assert "fed with the value only" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "out" / "means.csv")["fed"]) == {"whole network", "V"}
    assert main([*asked[:-2], "--segments", "layr3"]) == 2
    assert "did you mean layer3" in capsys.readouterr().err

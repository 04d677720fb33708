"""The study of feature maps: its files hold what an independent forward gives, and what is typed
wrong is one line.
"""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision.models import resnet18

from probes import cli
from probes.errors import BadInput, UnknownName
from probes.run.settings import Options
from probes.store import Store
from probes.studies.features import claims, work
from probes.studies.features import pages as mapfiles
from probes.studies.features import plots as pictures
from probes.studies.features import run as features
from probes.studies.features.images import by_id, files
from probes.subjects import data as datasets
from probes.subjects import hub, pretrained
from probes.subjects.spec import parse
from probes.tell import plots as figures
from probes.tell.verify import verify

pytestmark = pytest.mark.slow

LEVELS = (0.2, 0.6)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A state dict of a random torchvision ResNet-18 for ImageNet, saved as anybody would."""
    torch.manual_seed(0)
    net = resnet18()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.2)
            m.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture of 300 x 260 pixels, not square, in colour."""
    y, x = np.mgrid[:260, :300]
    pixels = np.stack([x % 256, y % 256, (x * y // 97) % 256], -1).astype(np.uint8)
    path = tmp_path_factory.mktemp("photos") / "photo one.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, store, weights, photo):
    """One image file through torchvision's ResNet-18 with weights of ImageNet's names: the study's
    own setting. The pictures of the layers after the first, 64 depths each, are single pixels.
    """
    monkeypatch, draw = pytest.MonkeyPatch(), figures.write_png

    def save(figure, path, *rest):
        if not re.match(r"layer[2-4]_", path.name):
            return draw(figure, path, *rest)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(path)

    monkeypatch.setattr(figures, "write_png", save)
    entry = hub.torchvisions(parse("resnet18:imagenet1k_v1"))
    digest = pretrained.sha256(weights)[:8]
    named = weights.with_name(f"resnet18-{digest}.pth")
    named.write_bytes(weights.read_bytes())
    monkeypatch.setattr(hub, "checkpoint", lambda e: named if e is entry else None)
    out = tmp_path_factory.mktemp("runs") / "out"
    features.study(
        "resnet18:imagenet1k_v1", str(photo), store, out, levels=LEVELS, options=Options(threads=1)
    )
    monkeypatch.undo()
    return out


def independent(weights, photo, run):
    """Torchvision's own transforms, its network, hooks of the test; noise from the run's own
    pictures is not needed: level 0.
    """
    from torchvision.models import ResNet18_Weights

    net = resnet18()
    net.load_state_dict(torch.load(weights, weights_only=True))
    net.eval()
    kept = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        getattr(net, name).register_forward_hook(
            lambda _, __, out, name=name: kept.__setitem__(name, out.clone())
        )
    image = ResNet18_Weights.IMAGENET1K_V1.transforms(antialias=True)(
        Image.open(photo).convert("RGB")
    )
    with torch.no_grad():
        logits = net(image[None])
    return kept, logits


def test_files_columns_and_values_are_those_of_an_independent_forward(run, weights, photo):
    kept, logits = independent(weights, photo, run)
    folder = run / "photo_one"
    found = pd.read_csv(folder / "features_original.csv")

    assert found.shape == (56 * 56, 64 + 128 + 256 + 512)
    assert list(found.columns) == [
        f"{name}_{d}" for name, maps in kept.items() for d in range(maps.shape[1])
    ]
    for name, maps in kept.items():
        flat = maps[0].flatten(1).numpy()
        for depth in (0, 7, maps.shape[1] - 1):
            column = found[f"{name}_{depth}"]
            np.testing.assert_allclose(column.dropna(), flat[depth], rtol=1e-3, atol=1e-4)
            assert column.isna().sum() == 56 * 56 - flat.shape[1]
    clean = pd.read_csv(run / "predictions.csv").query("level == 0").iloc[0]
    assert clean["class"] == int(logits.argmax())
    assert clean["probability"] == pytest.approx(logits.softmax(1).max().item(), abs=1e-3)


def test_noisy_files_are_those_of_the_noise_that_is_named(run, weights, photo):
    from probes import seeds
    from probes.subjects.imagefiles import read_image

    image = torch.from_numpy(read_image(photo).copy()).float() / 255
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    eps = torch.from_numpy(seeds.normals(image.numel(), [("pixels", 0, "files", 0, 0)])).reshape(
        image.shape
    )
    net = resnet18()
    net.load_state_dict(torch.load(weights, weights_only=True))
    kept = {}
    net.layer3.register_forward_hook(lambda _, __, out: kept.__setitem__("layer3", out.clone()))
    with torch.no_grad():
        net.eval()(((image - mean) / std + 0.6 * eps)[None])
    found = pd.read_csv(
        run / "photo_one" / "features_noised_0.6.csv", usecols=["layer3_11"]
    ).dropna()

    np.testing.assert_allclose(
        found["layer3_11"], kept["layer3"][0, 11].flatten(), rtol=1e-3, atol=1e-4
    )


def test_parquet_holds_the_same_values_without_padding(run):
    wide = pd.read_csv(run / "photo_one" / "features_noised_0.2.csv")
    long = pd.read_parquet(run / "photo_one" / "features.parquet")
    row = long.query("level == 0.2 and layer == 'layer4' and depth == 5").iloc[0]

    assert len(long) == 3 * (64 + 128 + 256 + 512)
    assert (row["height"], row["width"], len(row["values"])) == (7, 7, 49)
    np.testing.assert_allclose(row["values"], wide["layer4_5"].dropna(), rtol=1e-6)


def test_aggregates_and_statistics_are_those_of_the_values(run):
    wide = pd.read_csv(run / "photo_one" / "features_noised_0.6.csv")
    layer2 = wide[[c for c in wide if c.startswith("layer2_")]].dropna()
    summed = pd.read_csv(run / "photo_one" / "aggregated" / "layer2.csv")
    by_depth = pd.read_csv(run / "statistics_by_depth.csv").query(
        "layer == 'layer2' and level == 0.6"
    )
    by_layer = (
        pd.read_csv(run / "statistics_by_layer.csv")
        .query("layer == 'layer2' and level == 0.6")
        .iloc[0]
    )

    assert list(summed.columns) == ["original", "noised_0.2", "noised_0.6"]
    np.testing.assert_allclose(summed["noised_0.6"], layer2.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(by_depth["mean"], layer2.mean(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_depth["std"], layer2.std(ddof=0), rtol=1e-3)
    np.testing.assert_allclose(by_depth["max"], layer2.max(), rtol=1e-4)
    np.testing.assert_allclose(by_depth["zeros"], (layer2 == 0).mean(), atol=1e-4)
    assert by_layer["mean"] == pytest.approx(layer2.to_numpy().mean(), rel=1e-3)
    assert by_layer["q95"] == pytest.approx(np.quantile(layer2.to_numpy(), 0.95), rel=0.02)


def test_an_image_has_its_folder_of_pictures_and_the_run_a_page(run):
    folder = run / "photo_one"

    assert (
        len(list((folder / "maps").glob("layer4_*_original.png"))) == 8
    )  # 512 depths, 64 to a picture
    assert len(list((folder / "difference").glob("*.png"))) == 2 * (1 + 2 + 4 + 8)
    for name in (
        "contact_sheet.png",
        "image_noised_0.6.png",
        "histograms/by_layer.png",
        "histograms/layer1_by_depth_000-063.png",
    ):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200
    page = (run / "features.md").read_text()
    for link in re.findall(r"\]\((.+?)\)", page):
        assert (run / link).exists()
    assert json.loads((run / "run.json").read_text())["levels"] == [0.0, 0.2, 0.6]


def test_the_manifest_lists_every_file(run):
    listed = json.loads((run / "manifest.json").read_text())

    assert set(listed) == {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()} - {
        "manifest.json"
    }


def test_many_images_stream_to_the_same_statistics_whatever_the_batch(tmp_path, store):
    for name, size in (("a", 50), ("b", 7)):
        options = Options(images=20, threads=1, batch_size=size)
        features.study(
            "resnet20", "mnist5k", store, tmp_path / name, levels=(0.5,), each=0, options=options
        )
    a, b = (pd.read_csv(tmp_path / name / "statistics_by_depth.csv") for name in "ab")

    np.testing.assert_allclose(
        a.drop(columns="layer"), b.drop(columns="layer"), rtol=2e-3, atol=2e-3
    )
    moved = pd.read_csv(tmp_path / "a" / "moved.csv")
    assert moved["images"].tolist() == [20, 20, 20]
    assert moved["distance"].between(0.01, 3).all()
    assert moved["cka"].between(-0.2, 1).all()


def test_chosen_ids_layers_space_and_values(tmp_path, store):
    features.study(
        "resnet20",
        "mnist5k:12,490-520",
        store,
        tmp_path / "o",
        layers=["layer1.0", "layer2"],
        levels=(0, 0.25),
        space="pixels",
        clamp=True,
        each=1,
        values="none",
        scale="per map",
        options=Options(threads=1),
    )
    predictions = pd.read_csv(tmp_path / "o" / "predictions.csv")

    assert predictions["image"].min() == 12
    assert predictions["image"].iloc[2:].between(490, 520).all()
    assert set(pd.read_csv(tmp_path / "o" / "moved.csv")["layer"]) == {"layer1.0", "layer2"}
    assert not list((tmp_path / "o").rglob("features_*.csv"))
    assert (tmp_path / "o" / "image_12" / "maps" / "layer1.0_000-015_noised_0.25.png").exists()


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "CMYK", "exif", "one pixel"])
def test_every_kind_of_image_works(tmp_path, store, mode):
    pixels = (np.arange(40 * 30) % 256).astype(np.uint8).reshape(30, 40)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png" if mode != "exif" else "x.jpg")
    if mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
    elif mode == "one pixel":
        Image.new("RGB", (1, 1), (9, 200, 30)).save(path)
    elif mode == "exif":
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(pixels).save(path, exif=exif)
    else:
        Image.fromarray(pixels).convert(mode).save(path)
    features.study(
        "resnet20",
        str(path),
        store,
        tmp_path / "o",
        levels=(0.5,),
        each=0,
        options=Options(threads=1),
    )

    assert len(pd.read_csv(tmp_path / "o" / "predictions.csv")) == 2


def test_a_folder_of_images_has_a_folder_for_each(tmp_path, store):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for place in ("in/a.png", "in/b.png", "in/deep/a.png"):
        Image.new("L", (30, 30), 99).save(tmp_path / place)
    features.study(
        "resnet20",
        str(tmp_path / "in"),
        store,
        tmp_path / "o",
        levels=(0.5,),
        each=9,
        values="none",
        options=Options(threads=1),
    )

    assert sorted(p.parent.name for p in (tmp_path / "o").glob("*/contact_sheet.png")) == [
        "0_a",
        "2_a",
        "b",
    ]


@pytest.fixture
def bad(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    Image.new("L", (64, 64), 9).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("keep me")
    return tmp_path


@pytest.mark.parametrize(
    ("images", "options", "kind", "sentence"),
    [
        ("text.png", {}, BadInput, r"text.png is no image that can be read"),
        ("half.png", {}, BadInput, r"half.png is no image that can be read"),
        (
            "gone.png",
            {},
            BadInput,
            r"gone.png': no such file or folder; give one, or a dataset, or DATASET:IDS",
        ),
        ("empty", {}, BadInput, r"empty': no image in this folder \(.*.bmp, .*.jpeg"),
        (
            "whole.png",
            {"layers": ["layer9"]},
            UnknownName,
            r"unknown layer 'layer9': did you mean layer",
        ),
        (
            "whole.png",
            {"levels": (-1,)},
            BadInput,
            r"each is a standard deviation, a finite number from 0 up",
        ),
        ("whole.png", {"scale": "log"}, UnknownName, r"unknown scale 'log'"),
        (
            "whole.png",
            {"values": "xls"},
            UnknownName,
            r"unknown values 'xls': known: both, csv, none, parquet",
        ),
        ("whole.png", {"claims": True}, BadInput, r"claims are judged on a dataset, not on files"),
        ("whole.png", {"each": -1}, BadInput, r"each -1: how many images get a folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(bad, store, images, options, kind, sentence):
    with pytest.raises(kind, match=sentence) as caught:
        features.study(
            "resnet20",
            str(bad / images),
            store,
            bad / "out",
            **({"levels": (0.5,), "each": 0} | options),
        )

    assert "\n" not in str(caught.value)
    assert not (bad / "out").exists()
    assert not [p for p in bad.iterdir() if p.name.startswith(".out")]


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ("7-3", "image ids '7-3': numbers and ranges from small to large"),
        ("x", "image ids 'x'"),
        ("0", "mnist5k (test) has no image with id 0; the nearest are 12, 13, 25"),
    ],
)
def test_ids_that_are_none(tmp_path, store, ids, sentence):
    with pytest.raises(BadInput, match=re.escape(sentence)):
        features.study("resnet20", f"mnist5k:{ids}", store, tmp_path / "o")


def test_trap_f17_a_folder_that_exists_is_kept_and_what_is_not_ours_in_it_always(
    bad, store, capsys
):
    argv = [
        "run",
        "features",
        "--images",
        str(bad / "whole.png"),
        "--levels",
        ".5",
        "--each",
        "0",
        "--store",
        str(store.folder),
    ]

    assert cli.main([*argv, "--out", str(bad / "there")]) == 2
    assert (
        "exists and is kept: choose another --out, or replace it with --force"
        in capsys.readouterr().err
    )
    assert (bad / "there" / "mine.txt").read_text() == "keep me"
    assert cli.main([*argv, "--out", str(bad / "there"), "--force"]) == 2
    assert "holds files and no manifest.json" in capsys.readouterr().err
    assert (bad / "there" / "mine.txt").read_text() == "keep me"
    assert cli.main([*argv, "--out", str(bad / "ours")]) == 0
    (bad / "ours" / "mine.txt").write_text("keep me")
    assert (
        cli.main([*argv[:-2], "--store", str(store.folder), "--out", str(bad / "ours"), "--force"])
        == 0
    )
    assert (bad / "ours" / "mine.txt").read_text() == "keep me"
    assert (bad / "ours" / "features.md").exists()


@pytest.mark.drawn
def test_the_same_command_writes_the_same_bytes(tmp_path, store):
    for name in "ab":
        features.study(
            "resnet20",
            "mnist5k:12",
            store,
            tmp_path / name,
            layers=["layer1"],
            levels=(0.5,),
            each=1,
            options=Options(threads=1),
        )
    a, b = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in "ab")

    assert a == b


def test_claims_are_judged_beside_and_verify(tmp_path, store):
    features.study(
        "resnet20",
        "mnist5k:12",
        store,
        tmp_path / "o",
        levels=(0.5,),
        each=0,
        claims=True,
        options=Options(images=250, threads=1),
    )

    assert verify(tmp_path / "o" / "claims") == []
    lines = [
        json.loads(t)
        for t in (tmp_path / "o" / "claims" / "evidence.jsonl").read_text().splitlines()
    ]
    assert {line["id"] for line in lines} == {"DEPTH", "ZEROS"}


@pytest.mark.parametrize(
    ("net", "images", "sentence"),
    [
        ("resnet20@mnist5k", "twins", "resnet20@mnist5k has another than --images twins"),
    ],
)
def test_claims_that_can_not_be_judged_are_refused_before_any_work(
    tmp_path, store, monkeypatch, twins, net, images, sentence
):
    monkeypatch.setattr(work, "passes_over", lambda *_: pytest.fail("worked first"))
    with pytest.raises(BadInput, match=sentence):
        features.study(net, images, store, tmp_path / "o", claims=True)


@pytest.fixture
def twins():
    """The digits under another name and with other classes."""
    import dataclasses

    def build(split, store):
        digits = datasets.load("mnist5k", split, store)
        return dataclasses.replace(
            digits, name="twins", classes=tuple("abcdefghij"), mean=(0.9,), std=(0.1,)
        )

    if "twins" not in datasets.datasets:
        datasets.datasets.register("twins")(build)


def test_classes_and_constants_are_those_of_the_dataset_that_the_network_was_trained_on(
    tmp_path, store, twins
):
    for images, name in (("mnist5k:12", "a"), ("twins:12", "b")):
        features.study(
            "resnet20@mnist5k",
            images,
            store,
            tmp_path / name,
            levels=(0,),
            each=0,
            options=Options(threads=1),
        )
    a, b = (pd.read_csv(tmp_path / name / "predictions.csv") for name in "ab")

    assert a["name"].tolist() == b["name"].tolist()
    assert a["probability"].tolist() == b["probability"].tolist()


def test_names_of_image_folders_never_meet(tmp_path):
    for place in ("1_x.png", "a/x.png", "b/x.png", "histograms.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / place)
    _, names = files(tmp_path, None)

    assert len(set(names)) == 4
    assert "histograms" not in names


def test_files_through_torchvisions_weights_are_named_by_its_categories(run):
    names = pd.read_csv(run / "predictions.csv")["name"]

    assert not names.astype(str).str.fullmatch(r"\d+").any()


def test_its_claims_are_those_of_the_tests():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[3] / "claims" / "test_features.py"
    spec = importlib.util.spec_from_file_location("claims_of_features", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    told = {}
    for thing in (
        module.test_feature_distance_rises_with_depth,
        module.test_feature_zeros_fall_with_noise,
    ):
        mark = next(m for m in thing.pytestmark if m.name == "claim")
        told[mark.kwargs["id"]] = mark.args[0]

    assert told == {ident: sentence for ident, (sentence, _) in claims.CLAIMS.items()}


def test_maps_of_a_picture_are_at_their_own_resolution_with_gaps():
    maps = np.arange(5 * 4 * 3, dtype=float).reshape(5, 4, 3)
    found = pictures.tiled(maps)

    assert found.shape == (2 * 5 - 1, 3 * 4 - 1)
    assert (found[:4, :3] == maps[0]).all()
    assert (found[5:9, 4:7] == maps[4]).all()
    assert np.isnan(found[4]).all()


def test_64_depths_to_a_picture():
    assert [len(g) for g in pictures.groups(512)] == [64] * 8
    assert [next(iter(g)) for g in pictures.groups(130)] == [0, 64, 128]


def test_a_picture_says_its_scale():
    maps = np.random.Generator(np.random.Philox(0)).standard_normal((9, 5, 5))
    shared, each = pictures.grid(maps, "x"), pictures.grid(maps, "x", scale="per map")

    assert "one scale for all maps" in shared.axes[1].get_ylabel()
    assert "each map from its own smallest" in each.axes[0].get_xlabel()


def test_a_wide_file_pads_the_shorter_layers_with_empty_cells(tmp_path):
    mapfiles.write_wide(
        {"a": np.ones((1, 2, 2), np.float32), "b": np.full((2, 1, 1), 3, np.float32)},
        tmp_path / "w.csv",
    )

    assert (tmp_path / "w.csv").read_text().splitlines() == [
        '"a_0","b_0","b_1"',
        "1,3,3",
        "1,,",
        "1,,",
        "1,,",
    ]


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="0123456789-, x", max_size=12))
def test_any_text_is_image_ids_or_an_error_of_ours(store, text):
    data = datasets.load("mnist5k", "test", store)
    try:
        found = by_id(data, text)
    except BadInput as error:
        told = str(error)
    else:
        told = ""
        assert 0 < len(found) <= 1000

    assert "\n" not in told


def test_what_is_added_up_runs_on_the_threads_that_were_asked_for(tmp_path, monkeypatch):
    """Sums and CKA ran on torch's own number of threads: other bytes than in a worker of one."""
    from probes.studies.features.found import Found

    add, threads = Found.add, []
    monkeypatch.setattr(
        Found, "add", lambda *given: (threads.append(torch.get_num_threads()), add(*given))
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        asked = "run features resnet20 --images mnist5k:12,13 --each 0 --levels .4 --layers layer3"
        more = f" --threads 1 --store {tmp_path / 's'} --out {tmp_path / 'out'}"
        assert cli.main((asked + more).split()) == 0
    finally:
        torch.set_num_threads(before)

    assert set(threads) == {1}

"""The study of sensitivity: planted units, the image as a factor, resumption, and what it
refuses."""

import importlib
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import cli
from probes.errors import BadInput, ProbesError, UnknownName
from probes.perturb.augment import augmentations
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity import reader as readers
from probes.studies.sensitivity import run as sensitivity
from probes.studies.sensitivity import work as scramblings
from probes.studies.sensitivity.contrasts import Contrasts
from probes.studies.sensitivity.plan import Plan, Pool
from probes.studies.sensitivity.work import ENOUGH
from probes.subjects.dataset import Dataset
from probes.subjects.spec import parse
from probes.subjects.subject import Subject

pytestmark = pytest.mark.slow


class Planted(nn.Module):
    """Units that are what they are by construction: the mean of the image, its left half, a
    constant, NaN on dark images.
    """

    def __init__(self, nan=False):
        super().__init__()
        self.probe, self.nan = nn.Identity(), nan

    def forward(self, x):
        half = x.shape[3] // 2
        one = torch.ones(len(x), device=x.device)
        units = [x.mean((1, 2, 3)), x[..., :half].mean((1, 2, 3)), one]
        out = torch.stack(units, 1)
        return self.probe(torch.where(out[:, :1] < 0.1, torch.nan, out) if self.nan else out)


def made(n=40, side=16):
    images = np.random.Generator(np.random.Philox(1)).integers(
        0, 256, (n, 3, side, side), dtype=np.uint8
    )
    return Dataset(
        "made",
        "made",
        "test",
        images,
        np.arange(n) % 10,
        np.arange(n),
        tuple("0123456789"),
        (0.5,) * 3,
        (0.5,) * 3,
    )


def found_of(which, rows=256, nan=False, data=None, **plan):
    """The indices of the planted units, the place of each group, and what was left out."""
    data = data or made()
    subject = Subject(parse("planted@made"), Planted(nan).eval(), data, "weights", "random")
    plan = Plan(which, rows=rows, **plan)
    passes = scramblings.passes_of(subject, plan, {"probe": slice(0, 3)}, Options(threads=1).where)
    found, lost = scramblings.scrambled(passes, plan, 0, Pool([data], plan.factors), "test")
    one = found["probe"]
    return dict(zip(one.groups, range(9), strict=False)), one, lost


def test_a_planted_unit_is_moved_by_what_moves_it():
    """Brightness moves a mean; a flip moves the mean of the left half only; rolling by whole pixels
    moves no mean at all.
    """
    group, one, _ = found_of(("brightness", "hflip", "rolling"))

    assert one.total[group["brightness"], 0] > 0.9
    assert one.total[group["hflip"], 0] == pytest.approx(0, abs=1e-6)
    assert one.total[group["rolling"], 0] == pytest.approx(0, abs=1e-6)
    assert one.total[group["hflip"], 1] > 1e-4
    assert one.dead.tolist() == [False, False, True]


def test_trap_s09_inert_factors_have_nothing_although_images_change():
    """Images differ wildly; what does nothing gets exactly 0 of the total index, and the image gets
    its own share.
    """
    group, one, _ = found_of(("hflip", "rolling"), data=bright())

    assert one.total[group["hflip"], 0] == pytest.approx(0, abs=1e-9)
    assert one.shapley[group["rolling"], 0] == pytest.approx(0, abs=1e-9)
    assert one.first[group["image"], 0] == pytest.approx(1, abs=0.1)
    assert one.total[group["order"], 0] == pytest.approx(0, abs=1e-9)


def test_nan_activations_are_counted_and_their_base_points_left_out():
    group, one, lost = found_of(("brightness", "hflip"), nan=True)

    assert 0 < lost["probe"] == 256 - one.base
    assert one.first[group["brightness"], 0].isfinite()


def bright():
    """Images that differ wildly in brightness, and in nothing else; the label is a tenth of the
    range.
    """
    data = made()
    images = np.repeat(np.linspace(20, 230, 40).astype(np.uint8), 3 * 16 * 16).reshape(
        40, 3, 16, 16
    )
    return Dataset(**{**vars(data), "images": images, "labels": np.arange(40) // 4})


def test_trap_s09_a_fresh_image_at_every_row_charges_inert_factors():
    held, one, _ = found_of(("hflip", "rolling"), data=bright())
    group, fresh, _ = found_of(("hflip", "rolling"), data=bright(), image="fresh")

    assert one.total[held["hflip"], 0] == pytest.approx(0, abs=1e-9)
    assert fresh.total[group["hflip"], 0] == pytest.approx(1, abs=0.2)
    assert "image" not in group


def test_held_fixed_the_image_has_no_share_and_the_rest_share_what_is_left():
    """With the image fixed, all that moves the mean is brightness, however wildly images differ."""
    group, one, _ = found_of(("brightness", "hflip"), data=bright(), image="fixed", rows=512)

    assert set(group) == {"brightness", "hflip", "order"}
    assert one.total[group["brightness"], 0] == pytest.approx(1, abs=0.02)
    assert one.shapley[group["brightness"], 0] == pytest.approx(1, abs=0.02)
    assert one.first[group["brightness"], 0] == pytest.approx(1, abs=0.1)


def test_the_class_is_a_factor_of_its_own():
    """Brightness rises with the class: the class has nearly all, the image within its class next to
    nothing.
    """
    group, one, _ = found_of(("hflip", "rolling"), data=bright(), factors=("class",))

    assert one.total[group["class"], 0] > 0.95
    assert one.total[group["image"], 0] < 0.05


def test_the_partition_chooses_between_the_training_and_the_test_images():
    dark, light = made(), made()
    dark = Dataset(**{**vars(dark), "images": dark.images // 4})
    light = Dataset(**{**vars(light), "images": 255 - light.images // 4})
    pool = Pool([dark, light], ("class", "partition"))
    u = np.array([[0.95, 0.1, 0.1], [0.95, 0.9, 0.99]])  # class 9 of either
    chosen = pool(u)

    assert float(chosen[0].max()) < 0.3 < 0.7 < float(chosen[1].min())
    np.testing.assert_array_equal((chosen[0] * 255).numpy(), dark.images[9])
    np.testing.assert_array_equal((chosen[1] * 255).numpy(), light.images[39])


def test_constant_factors_are_refused():
    data = made(10)
    alone = Dataset(**{**vars(data), "labels": np.zeros(10, int)})

    with pytest.raises(BadInput, match="have one class: it would be a constant factor"):
        Pool([alone], ("class",))
    with pytest.raises(BadInput, match="one image of made: the image would be a constant factor"):
        Plan("1").pool(made(1), None)
    with pytest.raises(BadInput, match="no image of some class"):
        Pool([data, alone], ("class", "partition"))


def test_one_augmentation_has_no_order_as_a_factor():
    group, _, _ = found_of(("brightness",))

    assert set(group) == {"brightness", "image"}
    with pytest.raises(BadInput, match="two groups or more"):
        Plan(("brightness",), image="fixed").designs(3)


def test_under_the_studys_second_law_every_augmentation_may_be_off():
    """Off half of the time, brightness explains less of what it explains when always on; total
    indices keep the first law.
    """
    data = bright()
    group, one, _ = found_of(("brightness", "hflip"), data=data, rows=1024)
    _, study, _ = found_of(("brightness", "hflip"), data=data, rows=1024, law="study")
    (_, first), (switched, second) = Plan(("brightness", "hflip"), law="study").designs(3)

    np.testing.assert_allclose(study.total, one.total, equal_nan=True)
    assert study.shapley[group["brightness"], 0] < one.shapley[group["brightness"], 0] - 0.02
    assert study.shapley[:, 0].sum() == pytest.approx(1, abs=0.1)
    assert switched.columns == ("brightness.on", "brightness.factor", "hflip.on", "order")
    assert (first.shapley, second.shapley) == (False, True)


@pytest.mark.parametrize("which", ["1", "2"])
@pytest.mark.parametrize("law", ["one", "study"])
def test_with_enough_base_points_no_switch_is_tied(which, law):
    for factors in ((), ("class",), ("class", "partition")):
        for _, design in Plan(which, factors=factors, law=law).designs(3):
            points = design.points(ENOUGH, "tied")
            apart = ((points[:, 0] < 0.5) != (points[:, 1] < 0.5)).mean(0)
            assert ((apart > 0.2) & (apart < 0.8)).all()


def test_min_max_takes_a_darker_image_back():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(readers.minmax(x * 0.3), readers.minmax(x))
    assert readers.minmax(torch.full((1, 3, 4, 4), 0.5)).abs().max() == 0
    group, one, _ = found_of(("brightness", "hflip"), minmax=True)
    assert (
        one.total[group["brightness"], 0]
        < found_of(("brightness", "hflip"))[1].total[group["brightness"], 0]
    )


def test_units_in_portions_are_the_same(store, tmp_path):
    """All modules at once, and in portions so small that modules are cut."""
    said = []
    plan = Plan(("rolling", "hflip"), rows=8, scramblings=2, names=("layer3", "fc"))
    options = Options(images=20, threads=1)
    whole, cut = (
        sensitivity.study(
            "resnet20",
            "mnist5k",
            store,
            tmp_path / name,
            plan,
            options=options,
            memory=memory,
            say=said.append,
        )
        for name, memory in (("whole", 4), ("cut", 1e-3))
    )

    assert any("do not fit" in text for text in said)
    assert json.loads((cut / "run.json").read_text())["design"]["portions"] > 2
    for name in ("layer3", "fc"):
        with (
            np.load(whole / "indices" / f"{name}.npz") as a,
            np.load(cut / "indices" / f"{name}.npz") as b,
        ):
            assert set(a) == set(b)
            for field in a:
                (
                    np.testing.assert_allclose(a[field], b[field], atol=1e-5)
                    if a[field].dtype.kind == "f"
                    else None
                )
    assert "did not fit in memory together" in (cut / "sensitivity.md").read_text()


def test_pooled_units_are_means_of_channels(store, tmp_path):
    plan = Plan(("rolling", "hflip"), rows=8, scramblings=2, names=("layer3", "fc"), pooled=True)
    out = sensitivity.study(
        "resnet20",
        "mnist5k",
        store,
        tmp_path / "out",
        plan,
        measures=("sobol", "contrast"),
        contrasted=Contrasts(8, 1),
        options=Options(images=20, threads=1),
    )

    with np.load(out / "indices" / "layer3.npz") as file:
        assert file["total"].shape == (4, 64)
    with np.load(out / "contrasts" / "layer3.npz") as file:
        assert file["p"].shape == (2, 64)
    assert "A unit is the mean of a channel." in (out / "sensitivity.md").read_text()
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(readers.pooled(x), x.mean((2, 3)))


class Halves(Planted):
    """Beside the planted module one that is always NaN."""

    def __init__(self):
        super().__init__()
        self.bad = nn.Identity()

    def forward(self, x):
        self.bad(torch.full((len(x), 3), torch.nan, device=x.device))
        return super().forward(x)


def test_a_module_that_is_always_nan_is_left_out_and_the_others_stay():
    data = made()
    subject = Subject(parse("halves@made"), Halves().eval(), data, "weights", "random")
    plan = Plan(("brightness", "hflip"), rows=16)
    passes = scramblings.passes_of(
        subject, plan, {"bad": slice(0, 3), "probe": slice(0, 3)}, Options(threads=1).where
    )

    found, lost = scramblings.scrambled(passes, plan, 0, Pool([data]), "test")
    assert list(found) == ["probe"]
    assert lost == {"bad": 16}


def own_augmentation(folder, name, text):
    (folder / f"{name}.py").write_text(
        "from probes.perturb.augment import augmentation\n"
        f"@augmentation({name!r}, 'amount')\ndef thing(images, u):\n    return {text}\n"
    )


def test_an_edited_augmentation_of_ones_own_is_measured_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    own_augmentation(tmp_path, "sensitivity_own", "images * u.view(-1, 1, 1, 1)")
    name = "sensitivity_own:thing"
    assert Plan((name, "hflip")).designs(1)[0][0].columns == (f"{name}.amount", "hflip.on", "order")
    first = scramblings.own_code((name, "hflip"))
    own_augmentation(tmp_path, "sensitivity_own", "images * 0")
    sys.modules.pop("sensitivity_own")
    monkeypatch.delitem(augmentations._things, "sensitivity_own")
    importlib.invalidate_caches()

    assert list(first) == [name]
    assert scramblings.own_code((name,)) != first


def test_what_is_no_augmentation_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sensitivity_plain.py").write_text("def thing(images, u):\n    return images\n")
    with pytest.raises(BadInput, match="sensitivity_plain:thing is no augmentation: decorate it"):
        Plan(("sensitivity_plain:thing",)).designs(3)


def test_a_module_of_constants_has_no_index_and_no_figure(store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sensitivity_constant.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n  "
        "      super().__init__()\n        self.same = nn.Identity()\n\n    def forward(self, x):\n"
        "        return self.same(torch.zeros(len(x), 10, device=x.device))\n\n\n"
        "def net(channels, classes):\n    return Net()\n"
    )
    torch.save({}, tmp_path / "nothing.pt")
    out = sensitivity.study(
        f"sensitivity_constant:net:{tmp_path / 'nothing.pt'}",
        "mnist5k",
        store,
        tmp_path / "out",
        Plan(("rolling", "hflip"), 8, 2, ("same",)),
        options=Options(images=10, threads=1),
    )

    assert "sensitivity_constant" in (out / "sensitivity.md").read_text()


def test_a_network_that_is_always_nan_is_named():
    dark = made()
    dark = Dataset(**{**vars(dark), "images": dark.images // 50})
    with pytest.raises(
        ProbesError, match="probe of planted@made gave NaN or infinity in every base point"
    ):
        found_of(("hflip", "rolling"), nan=True, rows=16, data=dark)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "sensitivity"
    code = cli.main(
        [
            "run",
            "sensitivity",
            "resnet20",
            "--rows",
            "8",
            "--scramblings",
            "2",
            "--second",
            "--images",
            "30",
            "--modules",
            "layer2,fc",
            "--out",
            str(out),
            "--store",
            str(store.folder),
        ]
    )
    assert code == 0
    return out


def test_the_command_writes_indices_of_every_unit(folder):
    with np.load(folder / "indices" / "layer2.npz") as file:
        assert list(file["groups"]) == [
            "erasing",
            "sharpness",
            "rolling",
            "gaussian_blur",
            "order",
            "image",
        ]
        assert file["total"].shape == file["shapley_half"].shape == (6, 32, 14, 14)
        assert file["second"].shape == (15, 32, 14, 14)
        assert file["variance"].shape == file["dead"].shape == (32, 14, 14)
    table = pd.read_csv(folder / "summary.csv")

    assert len(table) == 2 * 3 * 6
    shares = table[table["measure"] == "shapley"].groupby("module")["mean"].sum()
    assert (shares > 0.3).all()
    design = json.loads((folder / "run.json").read_text())["design"]
    assert design["left_out"] == ["grayscaling"]
    text = (folder / "sensitivity.md").read_text()
    assert "Left out, since the images are grey: grayscaling." in text
    for name in ("shares", "maps/layer2", "maps/fc", "histograms/fc", "second/layer2"):
        assert (folder / f"{name}.png").stat().st_size > 2000
        assert f"({name}.png)" in text


def test_a_run_goes_on_from_the_scramblings_that_are_there(
    store, folder, tmp_path, capsys, monkeypatch
):
    before = {p.name: p.read_bytes() for p in (folder / "indices").glob("*.npz")}
    made_again = []
    real = scramblings.scrambled
    monkeypatch.setattr(
        scramblings, "scrambled", lambda *a, **k: made_again.append(a[2]) or real(*a, **k)
    )
    sensitivity.study(
        "resnet20",
        "mnist5k",
        store,
        folder,
        Plan(rows=8, scramblings=3, names=("layer2", "fc"), second=True),
        options=Options(images=30),
    )

    assert made_again == [2]
    assert {p.name for p in (folder / "indices").glob("*.npz")} == set(before)


@pytest.mark.parametrize(
    ("plan", "error", "says"),
    [
        ({"names": ("layer7",)}, UnknownName, "did you mean layer"),
        ({"which": ("flip",)}, UnknownName, "unknown augmentation 'flip'"),
        ({"rows": 1}, BadInput, "two of each at least"),
        ({"scramblings": 1}, BadInput, "two of each at least"),
        ({"law": "two"}, UnknownName, "unknown law 'two'"),
        ({"image": "still"}, UnknownName, "unknown way of the image 'still'"),
        ({"factors": ("classes",)}, UnknownName, "did you mean class"),
        ({"factors": ("class", "class")}, BadInput, "factors class, class: each once"),
        ({"which": ("hue",)}, BadInput, "change nothing on grey images"),
    ],
)
def test_what_can_not_be_is_refused_before_the_work(store, tmp_path, plan, error, says):
    with pytest.raises(error, match=says):
        sensitivity.study(
            "resnet20",
            "mnist5k",
            store,
            tmp_path / "out",
            Plan(**({"rows": 8} | plan)),
            options=Options(images=10),
        )


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"measures": ("sobal",)}, "did you mean sobol"),
        ({"measures": ()}, "one measure at least"),
        ({"memory": 0}, "some memory"),
        ({"channels": {"layer9": [1]}}, "unknown module of a channel 'layer9'"),
        ({"channels": {"fc": [1]}}, r"channels fc:1: fc gives 10"),
        ({"channels": {"fc": [1]}, "measures": ("contrast",)}, "ask for sobol or shapley"),
    ],
)
def test_what_is_asked_for_is_looked_at_first(store, tmp_path, asked, says):
    with pytest.raises((BadInput, UnknownName), match=says):
        sensitivity.study(
            "resnet20",
            "mnist5k",
            store,
            tmp_path / "out",
            Plan(rows=8, scramblings=2, names=("fc",)),
            options=Options(images=10, threads=1),
            **asked,
        )


def test_rows_that_are_no_power_of_two_are_allowed_and_told(store, tmp_path):
    said = []
    with pytest.warns(UserWarning, match="power of 2"):
        sensitivity.study(
            "resnet20",
            "mnist5k",
            store,
            tmp_path / "out",
            Plan(("rolling", "hflip"), 6, 2, ("fc",)),
            options=Options(images=10, threads=1),
            say=said.append,
        )

    assert any("no power of two" in text for text in said)


def test_the_studys_networks_are_read_at_its_checkpoints():
    data = made(side=32)
    for net, names in readers.CHECKPOINTS.items():
        with torch.device("meta"):
            from probes.subjects.nets import nets

            model = nets[net](3, 10)
        assert (
            readers.default_modules(Subject(parse(f"{net}@made"), model, data, "w", "r")) == names
        )
        known = dict(model.named_modules())
        assert set(names) <= set(known)


def test_a_study_takes_all_images_of_a_dataset_where_a_claim_takes_some(store):
    from probes.subjects.dataset import datasets

    many = made(40)
    datasets.register("sensitivity_some")(
        lambda split, store: Dataset(
            **{**vars(many), "name": "sensitivity_some", "claim_images": 5}
        )
    )
    torch.save({}, store.folder / "no.pt")

    def images(**options):
        found = sensitivity.lab_of(
            f"{__name__}:planted:{store.folder / 'no.pt'}",
            "sensitivity_some",
            store,
            Options(**options),
            print,
        )
        return len(next(iter(found.subjects.values())).data)

    assert (images(), images(images=7)) == (40, 7)


def planted(channels, classes):
    return Planted()

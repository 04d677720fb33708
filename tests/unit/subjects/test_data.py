"""Datasets: images, labels, ids, and what is said where they are not here."""

import io
import tarfile

import numpy as np
import pytest
import torchvision
from PIL import Image
from torchvision.transforms import Resize

from probes import seeds
from probes.errors import BadInput, Unavailable, UnknownName
from probes.store import Store
from probes.subjects import builtin, data
from probes.subjects.builtin import CIFAR_CLASSES
from probes.subjects.data import load
from probes.subjects.dataset import Dataset


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def test_the_embedded_digits_are_split_for_good(store):
    train, test = load("mnist5k", "train", store), load("mnist5k", "test", store)

    assert (train.images.shape, test.images.shape) == ((4000, 1, 28, 28), (1000, 1, 28, 28))
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert not set(train.ids) & set(test.ids)
    assert test.sha256 == "addfdac9792844ea4f0dbeb0fce4ddd076b96adec5bb3665ccc8c96f2130f993"


def test_decoding_happens_once(store):
    before = {p: p.stat().st_mtime_ns for p in store.folder.rglob("*.npy")}
    load("mnist5k", "test", store)

    assert {p: p.stat().st_mtime_ns for p in store.folder.rglob("*.npy")} == before


def test_a_sample_of_fewer_is_a_part_of_more(store):
    test = load("mnist5k", "test", store)
    few, more = test.sample(100), test.sample(300)

    assert set(few.ids) < set(more.ids) < set(test.ids)
    assert few.sha256 != more.sha256
    assert test.sample(None) is test


@pytest.mark.parametrize("n", [0, -1, 1001])
def test_a_sample_that_can_not_be(store, n):
    with pytest.raises(BadInput, match="there are 1000"):
        load("mnist5k", "test", store).sample(n)


def made(**changes):
    given = {
        "name": "d",
        "title": "D",
        "split": "test",
        "images": np.zeros((2, 1, 4, 4), np.uint8),
        "labels": np.array([0, 1]),
        "ids": np.array([5, 6]),
        "classes": ("a", "b"),
        "mean": (0.0,),
        "std": (1.0,),
    }
    return Dataset(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": np.zeros((2, 1, 4, 4), np.float32)}, "uint8"),
        (
            {
                "images": np.zeros((0, 1, 4, 4), np.uint8),
                "labels": np.array([]),
                "ids": np.array([]),
            },
            "no images",
        ),
        ({"ids": np.array([5, 5])}, "different ids"),
        ({"labels": np.array([0, 2])}, "there are 2 classes"),
        ({"images": [[0]]}, "got a list"),
        ({"labels": [0, 1]}, "labels are int64 .*, got a list"),
        ({"labels": np.eye(2)}, r"labels are int64 .*, got float64 \(2, 2\)"),
        ({"labels": np.array(["0", "1"])}, "labels are int64 .*, got <U1"),
        ({"mean": (123.7,)}, r"mean \(123.7,\): a number in \[0, 1\] for each of 1 channels"),
        ({"mean": (0.5, 0.5, 0.5)}, "for each of 1 channels"),
        ({"std": (0.0,)}, "not 0"),
    ],
)
def test_a_dataset_that_is_none(changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        made(**changes)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda split: made(), "called as build\\(split, store\\).*too many"),
        (lambda split, store: (1, 2), "returns.*not a tuple"),
    ],
)
def test_a_function_that_gives_no_dataset_is_said(monkeypatch, store, build, sentence):
    monkeypatch.setattr(data, "datasets", {"mine": build})
    with pytest.raises(BadInput, match=sentence):
        load("mine", "test", store)


def test_the_hash_is_of_images_labels_and_ids():
    assert made().sha256 == made().sha256
    assert (
        len(
            {made().sha256, made(ids=np.array([5, 7])).sha256, made(labels=np.array([1, 1])).sha256}
        )
        == 3
    )


def test_an_unknown_dataset_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean mnist5k"):
        load("mnist5")


def test_an_unknown_split_is_an_error():
    with pytest.raises(BadInput, match="'train' and 'test'"):
        load("mnist5k", "val")


def test_without_a_folder_of_data_the_way_out_is_said(monkeypatch, store):
    monkeypatch.delenv("PROBES_DATA", raising=False)
    with pytest.raises(Unavailable, match="set PROBES_DATA"):
        load("cifar10", "test", store)


def test_a_folder_that_is_none_is_said(monkeypatch, store, tmp_path):
    monkeypatch.setenv("PROBES_DATA", str(tmp_path / "no"))
    with pytest.raises(Unavailable, match="is no folder"):
        load("cifar10", "test", store)


def jpegs():
    for split in ("train", "test"):
        for c, name in enumerate(CIFAR_CLASSES[:3]):
            for i in range(2):
                pixels = (
                    (seeds.uniform(32 * 32 * 3, split, c, i) * 255)
                    .astype(np.uint8)
                    .reshape(32, 32, 3)
                )
                out = io.BytesIO()
                Image.fromarray(pixels).save(out, "JPEG", quality=90)
                yield f"cifar10-jpeg/{split}/{name}/{i:04d}.jpg", out.getvalue()


@pytest.mark.parametrize("form", ["tar", "folder"])
def test_the_jpeg_copy_is_read_from_tar_or_folder_and_named_in_the_title(
    monkeypatch, tmp_path, form
):
    files = dict(jpegs())
    if form == "tar":
        with tarfile.open(tmp_path / "cifar10-jpeg.tar.xz", "w:xz") as tar:
            for name, content in reversed(files.items()):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    else:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("PROBES_DATA", str(tmp_path))
    found = load("cifar10", "test", Store(tmp_path / "store"))

    assert found.title == "CIFAR-10 (JPEG)"
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    first = np.asarray(Image.open(io.BytesIO(files["cifar10-jpeg/test/airplane/0000.jpg"])))
    assert (found.images[0] == np.moveaxis(first, 2, 0)).all()


def test_mnist_is_read_from_its_idx_files(monkeypatch, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = (seeds.uniform(5 * 28 * 28, "idx") * 255).astype(np.uint8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            bytes.fromhex("00000803")
            + b"".join(n.to_bytes(4, "big") for n in (5, 28, 28))
            + pixels.tobytes()
        )
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            bytes.fromhex("00000801") + (5).to_bytes(4, "big") + bytes([1, 2, 3, 4, 5])
        )
    monkeypatch.setenv("PROBES_DATA", str(tmp_path))
    found = load("mnist", "test", Store(tmp_path / "store"))

    assert found.labels.tolist() == [1, 2, 3, 4, 5]
    assert (found.images.ravel() == pixels).all()


def test_mnist_that_is_not_here_comes_with_its_command(monkeypatch, tmp_path, store):
    monkeypatch.setenv("PROBES_DATA", str(tmp_path))
    with pytest.raises(Unavailable, match="probes fetch mnist"):
        load("mnist", "test", store)


def test_a_download_that_fails_is_said_with_the_way_round(monkeypatch, tmp_path):
    def unreachable(root, download):
        raise OSError("Name or service not known")

    monkeypatch.setenv("PROBES_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", unreachable)
    with pytest.raises(Unavailable, match="by other means"):
        data.fetch("cifar10")
    with pytest.raises(UnknownName, match="did you mean mnist"):
        data.fetch("mnis")


def test_cifar10_gives_a_claim_300_images_of_10000():
    assert (
        builtin._cifar(
            "cifar10", "C", "test", np.zeros((400, 3, 32, 32), np.uint8), np.zeros(400, int)
        ).claim_images
        == 300
    )


@pytest.mark.parametrize("damage", ["truncated tar", "damaged image", "other class"])
def test_damaged_data_are_an_error_of_ours_that_names_them(monkeypatch, tmp_path, damage):
    files = dict(jpegs())
    first = "cifar10-jpeg/test/airplane/0000.jpg"
    if damage == "damaged image":
        files[first] = b"no image"
    if damage == "other class":
        files["cifar10-jpeg/test/dragon/0000.jpg"] = files[first]
    with tarfile.open(tmp_path / "cifar10-jpeg.tar.xz", "w:xz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    if damage == "truncated tar":
        content = (tmp_path / "cifar10-jpeg.tar.xz").read_bytes()
        (tmp_path / "cifar10-jpeg.tar.xz").write_bytes(content[: len(content) // 2])
    monkeypatch.setenv("PROBES_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=r"cifar10-jpeg\.tar\.xz is damaged"):
        load("cifar10", "test", Store(tmp_path / "store"))


def test_a_view_is_torchvisions_antialiased_resize(monkeypatch, tmp_path):
    """Trap of resizing: within a level of PIL's, which the study uses; labels, ids and title are
    those of the dataset.
    """
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    made = Dataset(
        "viewed",
        "viewed",
        "test",
        images,
        np.arange(3),
        np.arange(3) + 7,
        tuple("0123456789"),
        (0.5,) * 3,
        (0.5,) * 3,
    )
    if "viewed" not in data.datasets:
        data.datasets.register("viewed")(lambda split, store: made)
    small = load("viewed@28px", "test", Store(tmp_path))
    known = [Resize(28)(Image.fromarray(np.moveaxis(image, 0, 2))) for image in images]

    assert (small.name, small.title, small.images.shape) == (
        "viewed@28px",
        "viewed at 28 px",
        (3, 3, 28, 28),
    )
    assert (
        np.abs(
            small.images.astype(int) - np.moveaxis(np.stack([np.asarray(k) for k in known]), 3, 1)
        ).max()
        <= 1
    )
    assert small.ids.tolist() == [7, 8, 9]
    assert small.sha256 != made.sha256
    assert load("viewed@32px", "test", Store(tmp_path)).images is images


@pytest.mark.parametrize("name", ["mnist5k@0px", "mnist5k@28", "mnist5k@px"])
def test_a_view_that_can_not_be(store, name):
    with pytest.raises((BadInput, UnknownName)):
        load(name, "test", store)

"""Image folders as people have them: the labels are the right ones in every split, and what is left
out is named.
"""

import logging
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from probes.errors import BadInput, Unavailable
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import folders, pretrained
from probes.subjects.data import load
from probes.subjects.nets import nets, takes
from probes.subjects.spec import parse


def put(path, shade, size=(30, 30), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path, **how)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def read(folder, store, split="test"):
    return load(f"imagefolder:{folder}", split, store)


# --- F2: the key of decoded images is their bytes
# -------------------------------------------------------------------------


def test_trap_f02_a_picture_that_was_replaced_by_one_of_the_same_size_and_time_is_decoded_again(
    tmp_path, store
):
    place = tmp_path / "photos" / "cat" / "a.bmp"
    put(place, 10)
    put(tmp_path / "photos" / "cat" / "b.bmp", 90)
    before, times = read(tmp_path / "photos", store), place.stat()
    put(place, 200)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = read(tmp_path / "photos", store)

    assert place.stat().st_size == times.st_size
    assert [int(image.max()) for image in before.images] == [10, 90]
    assert [int(image.max()) for image in after.images] == [200, 90]
    assert before.sha256 != after.sha256


def test_trap_f02_the_tree_of_cifar_is_keyed_by_its_bytes_too(tmp_path, store, monkeypatch):
    monkeypatch.setenv("PROBES_DATA", str(tmp_path))
    place = tmp_path / "cifar10-jpeg" / "test" / "cat" / "0001.jpg"
    found = []
    for shade in (10, 200):
        put(place, shade, (32, 32), quality=75)
        found.append(int(load("cifar10-jpeg", "test", store).images.max()))

    assert found == [10, 200]


# --- F3: labels
# --------------------------------------------------------------------------------------------------


def test_trap_f03_a_class_without_test_images_keeps_its_place(tmp_path, store):
    shades = {"ant": 10, "bee": 60, "cow": 110, "dog": 160}
    for name, shade in shades.items():
        put(tmp_path / "f" / "train" / name / "1.png", shade)
        if name != "bee":
            put(tmp_path / "f" / "val" / name / "1.png", shade)
    train, test = read(tmp_path / "f", store, "train"), read(tmp_path / "f", store)

    assert train.classes == test.classes == tuple(shades)
    for data in (train, test):
        assert [shades[data.classes[label]] for label in data.labels] == [
            int(image.max()) for image in data.images
        ]


def test_trap_f03_hidden_and_empty_folders_are_no_classes(tmp_path, store):
    for name in ("ant", "bee"):
        put(tmp_path / "f" / name / "1.png", 10 if name == "ant" else 60)
    put(tmp_path / "f" / ".thumbs" / "1.png", 200)
    put(tmp_path / "f" / "ant" / ".ipynb_checkpoints" / "1-checkpoint.png", 201)
    (tmp_path / "f" / "aardvark").mkdir()
    (tmp_path / "f" / "ant" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "f" / "ant" / "._1.png").write_bytes(b"x")
    data = read(tmp_path / "f", store)

    assert data.classes == ("ant", "bee")
    assert [int(image.max()) for image in data.images] == [10, 60]


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 30), min_size=1, max_size=5))
def test_trap_f03_folders_that_are_named_by_numbers_are_the_labels_themselves(
    tmp_path_factory, numbers
):
    """Sorted as text "10" comes before "2", and a class that is not there would move all that
    follow.
    """
    folder = tmp_path_factory.mktemp("numbers")
    for number in numbers:
        put(folder / str(number) / "1.png", 8 * number)
    data = read(folder, Store(folder.with_name(f"{folder.name}-store")))

    assert [8 * label for label in data.labels.tolist()] == [
        int(image.max()) for image in data.images
    ]
    assert data.classes == tuple(str(i) for i in range(max(numbers) + 1))


@takes(raw=True)
def thousand(channels, classes):
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, classes)
    )


def test_trap_f03_some_wordnet_folders_are_imagenets_labels_for_a_head_of_a_thousand_and_classes_of_their_own_else(  # noqa: E501
    tmp_path, store
):
    if "thousand_of_a_stranger" not in nets:
        nets.register("thousand_of_a_stranger")(thousand)
    names = ("n02099601", "n15075141", "n01440764")
    for i, name in enumerate(names):
        put(tmp_path / "f" / name / "1.png", 10 + 50 * i)
    for outputs in (3, 1000):
        torch.save(thousand(3, outputs).state_dict(), tmp_path / f"{outputs}.pt")
    data = read(tmp_path / "f", store)
    own, whole = (
        pretrained.load(
            parse(f"thousand_of_a_stranger:{tmp_path / f'{n}.pt'}@imagefolder:{tmp_path / 'f'}"),
            data,
            store,
        )
        for n in (3, 1000)
    )

    assert own.data.classes == tuple(sorted(names))
    assert own.data.labels.tolist() == [0, 1, 2]
    assert whole.data.labels.tolist() == [0, 207, 999]
    assert [whole.data.classes[i] for i in whole.data.labels] == [
        "tench",
        "golden retriever",
        "toilet tissue",
    ]


def test_a_folder_with_a_training_split_only_has_no_test_images(tmp_path, store):
    """Its classes were once ``train``, and nothing else."""
    put(tmp_path / "f" / "train" / "ant" / "1.png", 10)
    with pytest.raises(Unavailable, match=r"there is train/, and no val/ or valid/"):
        read(tmp_path / "f", store)


def test_a_class_may_be_called_train_or_test(tmp_path, store):
    for i, name in enumerate(("bus", "test", "train")):
        put(tmp_path / "f" / name / "1.png", 10 + 50 * i)

    assert read(tmp_path / "f", store).classes == ("bus", "test", "train")


def test_images_below_a_class_in_folders_of_their_own_are_read(tmp_path, store):
    put(tmp_path / "f" / "ant" / "day" / "1.png", 10)
    put(tmp_path / "f" / "ant" / "night" / "1.png", 60)
    put(tmp_path / "f" / "bee" / "1.png", 110)

    assert read(tmp_path / "f", store).files == ("ant/day/1.png", "ant/night/1.png", "bee/1.png")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            ["train/ant/1", "train/bee/1", "train/sample", "val/ant/2"],
            r"train/ holds images \(sample\.png\) beside folders",
        ),
        (
            ["seg_train/ant/1", "seg_train/bee/1", "seg_test/ant/2"],
            "seg_test/ and seg_train/ hold folders of the same name",
        ),
        (
            ["data/train/ant/1", "data/val/ant/2"],
            r"it holds one folder, data/, of folders: is imagefolder:.*data meant",
        ),
        (["0/1", "1/1", "2/1", "10/1", "background/1"], "sorted as text 10 comes before 2"),
    ],
)
def test_folders_whose_labels_would_be_a_guess_are_refused(tmp_path, store, files, says):
    for i, name in enumerate(files):
        put(tmp_path / "f" / f"{name}.png", 10 + 20 * i)
    with pytest.raises(BadInput, match=says):
        read(tmp_path / "f", store)


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Val"), ("TRAINING", "Testing"), ("train", "Test"), ("train", "validation")],
)
def test_splits_are_found_whatever_their_case(tmp_path, store, train, test):
    for i, name in enumerate(("ant", "bee")):
        put(tmp_path / "f" / train / name / "1.png", 10 + 50 * i)
        put(tmp_path / "f" / test / name / "1.png", 20 + 50 * i)

    assert [int(image.max()) for image in read(tmp_path / "f", store, "train").images] == [10, 60]
    assert [int(image.max()) for image in read(tmp_path / "f", store).images] == [20, 70]


def test_what_systems_leave_is_no_class_and_a_link_to_nothing_is_named(tmp_path, store, caplog):
    put(tmp_path / "f" / "ant" / "1.png", 10)
    put(tmp_path / "f" / "bee" / "1.png", 60)
    for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", ".git"):
        put(tmp_path / "f" / name / "1.png", 200)
    (tmp_path / "f" / "ant" / "2.png").symlink_to(tmp_path / "nowhere.png")
    with caplog.at_level(logging.WARNING, "probes"):
        data = read(tmp_path / "f", store)

    assert data.classes == ("ant", "bee")
    assert "1 file left out: ant/2.png (is a link to nothing)" in caplog.text


# --- what is read and what is not
# -----------------------------------------------------------------------------------------


FORMATS = {
    "bmp": "BMP",
    "tif": "TIFF",
    "tiff": "TIFF",
    "webp": "WEBP",
    "jfif": "JPEG",
    "JPG": "JPEG",
    "png": "PNG",
    "gif": "GIF",
}
if features.check("avif"):
    FORMATS["avif"] = "AVIF"


@pytest.mark.parametrize("ending", FORMATS)
def test_a_format_that_pillow_reads_is_read(tmp_path, store, ending):
    put(tmp_path / "f" / "ant" / f"1.{ending}", 128, format=FORMATS[ending])

    assert abs(int(read(tmp_path / "f", store).images.mean()) - 128) <= 2


def test_what_is_left_out_is_named_with_the_reason_and_the_number(tmp_path, store, caplog):
    put(tmp_path / "f" / "ant" / "1.png", 10)
    put(tmp_path / "f" / "lost.png", 20)
    for i in range(5):
        (tmp_path / "f" / "ant" / f"{i}.heic").write_bytes(b"x")
    (tmp_path / "f" / "ant" / "labels.csv").write_text("a,b")
    with caplog.at_level(logging.WARNING, "probes"):
        read(tmp_path / "f", store)
    told = "\n".join(caplog.messages)

    assert (
        "5 files left out: ant/0.heic, ant/1.heic, ant/2.heic, ... (is read with `pip install"
        " pillow-heif`)" in told
    )
    assert "1 file left out: ant/labels.csv (is no image)" in told
    assert "1 file left out: lost.png (lies in no folder of a class)" in told


# --- duplicates
# --------------------------------------------------------------------------------------------------


def test_exact_duplicates_among_a_users_images_are_refused_by_name_in_a_lab(tmp_path, store):
    for i, name in enumerate(("ant/1", "ant/2", "bee/3")):
        put(tmp_path / "f" / f"{name}.png", 10 + 50 * i)
    put(tmp_path / "f" / "bee" / "copy.bmp", 60)
    lab = Bench(
        [parse(f"resnet18:untrained@imagefolder:{tmp_path / 'f'}")], store, Options(threads=1)
    )
    with pytest.raises(BadInput, match=r"ant/2\.png and bee/copy\.bmp are the same picture"):
        lab.data(f"imagefolder:{tmp_path / 'f'}")


def test_the_files_of_a_sample_are_those_of_its_images(tmp_path, store):
    for i in range(12):
        put(tmp_path / "f" / "ant" / f"{i:02}.png", 20 * i)
    data = read(tmp_path / "f", store).sample(5)

    assert [20 * int(name[4:6]) for name in data.files] == [
        int(image.max()) for image in data.images
    ]


# --- weights that do not fit the classes of a folder
# ----------------------------------------------------------------------


def test_weights_that_do_not_fit_the_classes_name_the_classes_with_their_images(tmp_path, store):
    for i, name in enumerate(("ant", "bee", "cow")):
        put(tmp_path / "f" / name / "1.png", 10 + 50 * i)
    torch.save(nets["resnet18"](3, 4).state_dict(), tmp_path / "w.pt")
    data = read(tmp_path / "f", store)
    with pytest.raises(BadInput, match=r"3 classes: ant \(1\), bee \(1\), cow \(1\)"):
        pretrained.load(parse(f"resnet18:{tmp_path / 'w.pt'}@imagefolder:f"), data, store)


def test_the_wordnet_names_are_a_thousand_in_the_order_of_torchvisions_categories():
    names = folders.wnids()

    assert len(names) == len(set(names)) == len(folders.categories()) == 1000
    assert list(names) == sorted(names)
    assert folders.categories()[names.index("n02099601")] == "golden retriever"
    assert np.all([name[0] == "n" and name[1:].isdigit() for name in names])

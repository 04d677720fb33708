"""Image folders: any mode, size and rotation; what can't be read is named."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from probes.errors import BadInput, Unavailable
from probes.store import Store
from probes.subjects import folders
from probes.subjects.data import load
from probes.subjects.imagefiles import read_image
from probes.subjects.spec import parse


def save(path, mode="RGB", size=(40, 30), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    wide, high = size
    ramp = np.linspace(0, 255, wide * high).reshape(high, wide)
    image = (
        Image.fromarray(ramp.astype(np.uint8))
        if mode != "I;16"
        else Image.fromarray((ramp * 257).astype(np.uint16))
    )
    (image if mode in ("L", "I;16") else image.convert(mode)).save(path, **how)
    return path


@pytest.mark.parametrize("split", ["", "val/", "test/"])
def test_a_folder_per_class_is_a_dataset(tmp_path, split):
    for name in ("cat", "ant"):
        save(tmp_path / "mine" / f"{split}{name}" / "1.png")
    found = load(f"imagefolder:{tmp_path / 'mine'}", "test", Store(tmp_path / "store"))

    assert found.images.shape == (2, 3, 224, 224)
    assert (found.classes, found.labels.tolist()) == (("ant", "cat"), [0, 1])
    assert found.name == "imagefolder:mine"


def test_a_path_may_hold_an_at_sign():
    assert parse("resnet18@imagefolder:a@b").dataset == "imagefolder:a@b"


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("L", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("I;16", "png"), ("1", "png"), ("P", "png")],
)
def test_every_mode_of_image_works(tmp_path, mode, ending):
    found = read_image(save(tmp_path / f"x.{ending}", mode))

    assert (found.shape, found.dtype) == ((3, 224, 224), np.uint8)
    assert found.max() > found.min()


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    deep, plain = (
        read_image(save(tmp_path / "a.png", "I;16")),
        read_image(save(tmp_path / "b.png", "L")),
    )

    assert abs(deep.astype(int) - plain.astype(int)).max() <= 2


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_32_bits_have_no_known_range_and_are_refused(tmp_path, kind):
    """Pillow would cut them at 255: a picture in [0, 1] became black."""
    Image.fromarray((np.arange(900).reshape(30, 30) % 7).astype(kind)).save(tmp_path / "x.tiff")
    with pytest.raises(BadInput, match=r"x\.tiff is no image that can be read: 32 bits a pixel"):
        read_image(tmp_path / "x.tiff")


def test_an_image_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned, plain = (
        read_image(save(tmp_path / "a.jpg", exif=exif)),
        read_image(save(tmp_path / "b.jpg")),
    )

    assert abs(turned[:, ::-1, ::-1].astype(int) - plain.astype(int)).mean() < 2


def test_one_pixel_is_an_image(tmp_path):
    assert read_image(save(tmp_path / "x.png", size=(1, 1))).shape == (3, 224, 224)


def test_the_middle_is_kept_as_torchvision_does(tmp_path):
    from torchvision.transforms.functional import center_crop, resize

    path = save(tmp_path / "x.png", size=(600, 300))
    with Image.open(path) as image:
        theirs = np.moveaxis(np.asarray(center_crop(resize(image.convert("RGB"), 256), 224)), 2, 0)

    assert abs(read_image(path).astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("damage", ["no image", "truncated"])
def test_a_file_that_can_not_be_read_is_named(tmp_path, damage):
    path = save(tmp_path / "m" / "cat" / "x.jpg", size=(300, 300))
    path.write_bytes(b"text" if damage == "no image" else path.read_bytes()[:200])
    with pytest.raises(BadInput, match=r"x\.jpg is no image that can be read"):
        load(f"imagefolder:{tmp_path / 'm'}", "test", Store(tmp_path / "store"))


def test_a_folder_without_images_or_without_train_or_not_there_is_said(tmp_path):
    store = Store(tmp_path / "store")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no CLASS"):
        load(f"imagefolder:{tmp_path / 'empty'}", "test", store)
    with pytest.raises(Unavailable, match="no train/"):
        load(f"imagefolder:{tmp_path / 'empty'}", "train", store)
    with pytest.raises(Unavailable, match="no such folder"):
        load(f"imagefolder:{tmp_path / 'none'}", "test", store)


def test_the_thousand_wnids_are_torchvisions_categories(tmp_path):
    for name in folders.wnids():
        save(tmp_path / "imagenet" / name / "1.png", size=(8, 8))
    found = load(f"imagefolder:{tmp_path / 'imagenet'}", "test", Store(tmp_path / "store"))

    assert found.classes[:2] == ("tench", "goldfish")
    assert found.claim_images == 300


def _png():
    kept = io.BytesIO()
    Image.fromarray((np.arange(20 * 30) % 256).astype(np.uint8).reshape(20, 30)).save(kept, "PNG")
    return kept.getvalue()


def _jpeg():
    kept = io.BytesIO()
    Image.fromarray((np.arange(20 * 30 * 3) % 256).astype(np.uint8).reshape(20, 30, 3)).save(
        kept, "JPEG"
    )
    return kept.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"", _png(), _jpeg()]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(0, 2000),
)
def test_any_bytes_are_an_image_or_an_error_of_ours_that_names_the_file(
    tmp_path_factory, whole, changes, length
):
    data = bytearray(whole)
    for place, new in changes:
        data[place : place + len(new)] = new
    path = tmp_path_factory.mktemp("bytes") / "x.png"
    path.write_bytes(bytes(data[:length]))
    try:
        found = read_image(path, 28, 1)
    except BadInput as error:
        told = str(error)
    else:
        told = "x.png"
        assert (found.shape, found.dtype) == ((1, 28, 28), np.uint8)

    assert "x.png" in told

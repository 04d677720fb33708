import hashlib
import json
from pathlib import Path

import pytest

from probes import cli
from probes.errors import BadInput
from probes.subjects import builtin, hub, pins


@pytest.fixture
def came(tmp_path, monkeypatch):
    """A file that was downloaded, in a working folder of its own; and its SHA-256."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    path.write_bytes(b"weights")
    return path, hashlib.sha256(b"weights").hexdigest()


def test_the_first_download_is_pinned_and_later_ones_must_be_the_same(came):
    path, digest = came

    assert pins.accept("net", path) == (
        f"SHA-256 {digest}, written to probes-downloads.json: later downloads must have it"
    )
    assert json.loads(Path(pins.FILE).read_text()) == {"net": digest}
    assert pins.accept("net", path) == f"SHA-256 {digest}, as probes-downloads.json holds"

    path.write_bytes(b"other weights")
    with pytest.raises(BadInput, match=r"the one that probes-downloads\.json holds; it is moved"):
        pins.accept("net", path)
    assert not path.exists()
    assert path.with_name("net.pth.refused").read_bytes() == b"other weights"


def test_what_is_typed_comes_before_what_is_pinned(came):
    path, digest = came

    assert pins.accept("net", path, digest.upper()) == f"SHA-256 {digest}, as was asked for"
    assert not Path(pins.FILE).exists()
    with pytest.raises(BadInput, match=f"{'0' * 64} is the one that was asked for"):
        pins.accept("net", path, "0" * 64)


def test_eight_right_digits_are_not_enough(came):
    path, digest = came
    Path(pins.FILE).write_text(json.dumps({"net": digest[:8] + "0" * 56}))

    with pytest.raises(BadInput, match="holds"):
        pins.accept("net", path)


@pytest.mark.parametrize("same", [True, False])
def test_a_file_of_a_hub_is_what_the_hub_calls_it(came, tmp_path, same):
    _, digest = came
    blob = tmp_path / (digest if same else "a" * 64)
    blob.write_bytes(b"weights")
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    if same:
        assert pins.accept("net", link) == f"SHA-256 {digest}, as the hub names"
    else:
        with pytest.raises(BadInput, match="the one that the hub names"):
            pins.accept("net", link)
        assert not link.exists()


def test_the_archives_of_mnist_and_cifar_10_are_known(came, tmp_path, monkeypatch):
    import torchvision.datasets

    class Mnist:
        def __init__(self, root, download):
            (Path(root) / "MNIST" / "raw").mkdir(parents=True)
            (Path(root) / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"others")

    monkeypatch.setattr(torchvision.datasets, "MNIST", Mnist)
    monkeypatch.setenv("PROBES_DATA", str(tmp_path / "data"))

    assert len(pins.KNOWN) == 5
    assert {len(value) for value in pins.KNOWN.values()} == {64}
    with pytest.raises(BadInput, match=r"t10k-labels-idx1-ubyte\.gz: .* is the one that is known"):
        builtin.fetch("mnist")


@pytest.mark.parametrize("text", ["{", "[]", '{"a": "short"}', '{"a": 1}'])
def test_pins_that_can_not_be_read_are_an_error(came, text):
    Path(pins.FILE).write_text(text)

    with pytest.raises(BadInput, match="can't be read"):
        pins.accept("net", came[0])


def test_the_command_takes_the_sha256(came, capsys, monkeypatch):
    path, digest = came
    monkeypatch.setattr(hub, "_fetched", lambda spec: path)

    assert cli.main(["fetch", "resnet18:imagenet1k_v1", "--sha256", digest]) == 0
    assert f"SHA-256 {digest}, as was asked for" in capsys.readouterr().out
    assert cli.main(["fetch", "resnet18:imagenet1k_v1", "--sha256", digest[:8]]) == 2
    assert "it is no SHA-256: 64 hexadecimal digits" in capsys.readouterr().err
    assert cli.main(["fetch", "mnist", "--sha256", digest]) == 2

"""Where a network runs, and what is said of one that runs on two devices at once."""

import dataclasses
import inspect
from types import SimpleNamespace

import pytest
import torch

from probes.errors import BadInput
from probes.run.device import on_one_device
from probes.run.forward import Where


def test_a_forward_that_makes_tensors_elsewhere_is_named_with_a_way_out():
    """Torch's own words, from a machine with a GPU."""
    words = "Expected all tensors to be on the same device, but found at least two devices, cuda:0"
    subject = SimpleNamespace(spec="mine:net@mnist5k")

    with pytest.raises(BadInput, match=r"mine:net@mnist5k makes tensors.*--probes-device cpu"):  # noqa: SIM117
        with on_one_device(subject):
            raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="shape"), on_one_device(subject):
        raise RuntimeError("a shape is wrong")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_torch_still_says_so_in_these_words():
    subject = SimpleNamespace(spec="mine:net@mnist5k")
    with pytest.raises(BadInput, match="makes tensors on another device"), on_one_device(subject):
        torch.ones(2, device="cuda") + torch.ones(2)


def tf32():
    """What torch says of TF32, where it says anything."""
    b, said = torch.backends, []
    for place, name in ((b.cuda.matmul, "allow_tf32"), (b.cudnn, "allow_tf32")):
        try:
            said.append(getattr(place, name))
        except RuntimeError:
            said.append("not told")
    places = (b.cuda.matmul, b.cudnn.conv, b.cudnn.rnn) if hasattr(b.cudnn, "conv") else ()
    return [*said, *(place.fp32_precision for place in places)]


SET = {
    "as torch comes": "pass",
    "the older way": "b.cuda.matmul.allow_tf32 = b.cudnn.allow_tf32 = True",
    "in words": "torch.set_float32_matmul_precision('high')",
    "the newer way": "b.cuda.matmul.fp32_precision = b.cudnn.conv.fp32_precision = 'tf32'",
    "everywhere": "b.fp32_precision = 'tf32'",
}
TRY = """
import warnings, torch
from probes.run.device import exact
warnings.simplefilter("error")
{source}
b = torch.backends
{set}
before = tf32()
try:
    with exact(1):
        assert set(tf32()) <= {{False, "ieee"}}, tf32()
        raise KeyError
except KeyError:
    pass
assert tf32() == before, (before, tf32())
print("off")
"""


@pytest.mark.parametrize("way", SET)
def test_tf32_is_off_however_somebody_turned_it_on_and_then_as_before(way, child):
    if way in ("the newer way", "everywhere") and not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch has the older way only")
    code = TRY.format(source=inspect.getsource(tf32), set=SET[way])

    assert child(("-c", code)).told() == (0, "off\n", "")


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_evidence_of_cuda_names_the_card_and_says_that_tf32_is_off(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda asked: f"the card of {asked}")

    assert Where(name, "bf16", 2, 100).told() == {
        "device": name,
        "precision": "bf16",
        "threads": 2,
        "batch_size": 100,
        "card": f"the card of {name}",
        "TF32": "off",
    }


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_evidence_of_other_devices_is_as_it_was(name):
    where = {"device": name, "precision": "fp32", "threads": 1, "batch_size": 250}

    assert Where(**where).told() == where


def test_results_with_noise_of_the_device_have_a_key_of_their_own():
    assert Where("cuda").key() == dataclasses.asdict(Where("cuda")) | {"noise": "made there"}
    for name in ("cpu", "mps"):
        assert Where(name).key() == dataclasses.asdict(Where(name))

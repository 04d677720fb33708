"""What a test leaves open, decided."""

import argparse

import pytest
import torch
from torch import nn

from probes import accuracy, gaussian
from probes.errors import BadInput, Unavailable, UnknownName
from probes.lab import Lab
from probes.run import settings
from probes.run.console import Asked, common
from probes.run.settings import Options
from probes.studies.weight_noise import command


def test_threads_are_shared_out_among_workers(monkeypatch):
    monkeypatch.setattr(settings.torch, "get_num_threads", lambda: 8)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")

    assert settings.default_threads() == 2
    assert Options(device="cpu").where.threads == 2
    assert Options(device="cpu", threads=5).where.threads == 5


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"images": 0}, BadInput, "images 0: allowed are whole numbers from 1 up"),
        ({"batch_size": 0}, BadInput, "batch-size 0: .* from 1 up, or auto"),
        ({"batch_size": "big"}, BadInput, "batch-size big: .* from 1 up, or auto"),
        ({"alpha": 0.5}, BadInput, "alpha 0.5"),
        ({"precision": "fp16"}, UnknownName, "unknown precision 'fp16'"),
        ({"split": "tests"}, UnknownName, "did you mean test"),
    ],
)
def test_options_that_can_not_be_are_refused(asked, error, says):
    with pytest.raises(error, match=says):
        Options(**asked)


class Large(nn.Module):
    """A network for which memory is lacking above some number of images."""

    def __init__(self, most, error=None):
        super().__init__()
        self.most, self.error = most, error or torch.OutOfMemoryError("CUDA out of memory.")
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        return self.head(x.flatten(1))


def lab_of(model, store, said=None, images=200, **options):
    """A laboratory on random images, with a batch size that is found by trying."""
    said = [] if said is None else said
    x = torch.rand(images, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(images) % 10
    given = {"batch_size": "auto", "threads": 1, "device": "cpu"} | options
    return Lab(model, (x, y), store=store, quiet=True, say=said.append, **given)


@pytest.mark.parametrize(
    ("most", "images", "found"), [(1000, 300, 250), (1000, 200, 200), (100, 200, 100), (3, 200, 3)]
)
def test_a_batch_size_is_found_by_halving(most, images, found, tmp_path):
    lab = lab_of(Large(most), tmp_path, images=images)

    assert lab.subjects
    assert lab.options.batch_size == lab.options.where.batch_size == found


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_memory_is_lacking_in_several_words(error, tmp_path):
    lab = lab_of(Large(60, error), tmp_path)

    assert lab.subjects
    assert lab.options.batch_size == 50


def test_another_error_is_no_lack_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        lab_of(Large(60, RuntimeError("a shape is wrong")), tmp_path).subjects  # noqa: B018


def test_a_network_that_does_not_fit_is_told():
    tried = []

    def run(n):
        tried.append(n)
        raise MemoryError

    with pytest.raises(Unavailable, match="does not fit: a pass over a single image"):
        settings.device.largest_that_fits(run, 250)
    assert tried == [250, 125, 62, 31, 15, 7, 3, 1]


def test_the_number_is_told_and_kept_and_stands_in_every_key(tmp_path, monkeypatch):
    said = []
    model = Large(100)
    sweep = lab_of(model, tmp_path, said).sweep(accuracy, under=gaussian(0, 0.1))
    first = sweep.frame
    tried = []
    largest = settings.device.largest_that_fits
    monkeypatch.setattr(
        settings.device, "largest_that_fits", lambda *a: tried.append(a) or largest(*a)
    )
    lab = lab_of(model, tmp_path, said)
    again = lab.sweep(accuracy, under=gaussian(0, 0.1))
    there = [lab.place.store.find(c.kind, c.key(lab.place), c.suffix) for c in again.cells]

    assert {c.key()["where"]["batch_size"] for c in sweep.cells} == {100}
    assert all(there)
    assert tried == []
    assert said[0] == said[-1]
    assert said[0].startswith("batch size 100: found by trying")
    assert said[0].endswith("on cpu, after 200 had not enough memory")
    assert lab.facts(again)["where"]["batch_size"] == 100
    assert again.frame.equals(first)


def test_the_largest_of_several_networks_is_tried(tmp_path):
    class Small(Large):
        def __init__(self):
            super().__init__(1000)
            self.head = nn.Sequential(nn.AvgPool1d(2), nn.Linear(32, 10))

    lab = lab_of({"small": Small(), "large": Large(25)}, tmp_path)

    assert lab.subjects
    assert lab.options.batch_size == 25


def test_on_an_accelerator_the_first_try_is_larger():
    assert settings.START == {"cpu": 250}
    assert settings.MOST == 2048


def test_a_number_is_left_as_it_is(tmp_path):
    said = []
    lab = lab_of(Large(1000), tmp_path, said, batch_size=30)

    assert lab.subjects
    assert (lab.options.batch_size, said) == (30, [])


@pytest.mark.parametrize(("typed", "found"), [([], 250), (["40"], 40), (["auto"], "auto")])
def test_a_study_takes_a_batch_size(typed, found):
    parser = argparse.ArgumentParser()
    common(parser)
    given = parser.parse_args([*(["--batch-size", *typed] if typed else []), "--device", "cpu"])

    assert Asked(given, [], print).options.batch_size == found


def test_the_batch_size_of_training_is_another_one():
    parser = argparse.ArgumentParser()
    command.options(parser)
    given = parser.parse_args(["mlp_small", "mnist5k", "--batch-size", "64", "--device", "cpu"])

    assert given.batch_size == 64
    assert Asked(given, [], print).passes == {}


def test_looks_share_the_number_that_was_found(tmp_path):
    said = []
    lab = Lab(
        "resnet20@mnist5k",
        store=tmp_path,
        until=500,
        batch_size="auto",
        threads=1,
        device="cpu",
        quiet=True,
        say=said.append,
    )
    sizes = [lab.at_look(n, 0.05).options.batch_size for n in (300, 500)]

    assert sizes == [250, 250]
    assert [line for line in said if "batch size" in line] == [
        "batch size 250: found by trying resnet20@mnist5k#0 on cpu"
    ]

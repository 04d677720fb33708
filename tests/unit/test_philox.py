"""Draws on a device are those of numpy: words bit for bit, normals within 1e-6."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probes import philox, seeds

NAMES = [("pixels", 0, "mnist5k", 17, 0), ("weights", 1, "layer1.0", 2), ("é", 2**70)]
names = st.lists(
    st.one_of(st.integers(-(2**70), 2**70), st.text(max_size=12)), min_size=1, max_size=4
).map(tuple)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Draw on the CPU as on an accelerator."""
    monkeypatch.setattr(philox, "DEVICES", {"cpu"})


def numpys(n, many):
    return np.stack([seeds.words(n, *name) for name in many])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 1001, 70_001])
def test_words_are_those_of_numpy_bit_for_bit(n):
    found = philox.words(n, NAMES)

    assert found.dtype == torch.int64
    assert (found.numpy().view("uint64") == numpys(n, NAMES)).all()


@given(st.lists(names, min_size=1, max_size=5), st.integers(1, 70))
def test_words_of_any_names_are_those_of_numpy(many, n):
    found = philox.words(n, many).numpy().view("uint64")

    assert (found == numpys(n, many)).all()


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 999, 140_001])
def test_normals_are_those_of_numpy_within_a_millionth(size):
    found = philox.normals(size, NAMES)

    assert (found.dtype, found.shape) == (torch.float32, (3, size))
    assert np.abs(found.numpy() - seeds.normals(size, NAMES)).max() <= 1e-6


@given(st.lists(names, min_size=1, max_size=5), st.integers(1, 70))
def test_normals_of_any_names_are_those_of_numpy_within_a_millionth(many, size):
    found = philox.normals(size, many).numpy()

    assert np.abs(found - seeds.normals(size, many)).max() <= 1e-6


@given(st.integers(1, 60), st.integers(1, 9))
def test_steps_change_nothing(n, most):
    """Rows and counters in steps of a few counters give the words and normals of one step."""
    words, normals = philox.words(n, NAMES), philox.normals(n, NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(philox, "TOGETHER", {"cpu": most})

        assert torch.equal(philox.words(n, NAMES), words)
        assert torch.equal(philox.normals(n, NAMES), normals)


def test_a_step_takes_no_more_counters_than_it_may(monkeypatch):
    taken = []
    draw = philox.by_torch

    def counted(keys, n, first):
        taken.append(len(keys) * -(-n // 4))
        return draw(keys, n, first)

    monkeypatch.setattr(philox, "_maker", lambda kind: counted)
    monkeypatch.setattr(philox, "TOGETHER", {"cpu": 10})
    philox.words(33, NAMES)
    philox.words(90, NAMES)

    assert len(taken) == 3 + 3 * 3
    assert max(taken) == 10


def test_no_names_give_no_rows():
    assert philox.words(3, []).shape == (0, 3)
    assert philox.normals(3, []).shape == (0, 3)


def test_a_device_that_does_not_draw_is_sent_the_numbers_of_numpy(monkeypatch):
    monkeypatch.setattr(philox, "DEVICES", {"cuda"})

    assert (philox.normals(9, NAMES).numpy() == seeds.normals(9, NAMES)).all()
    assert (philox.words(9, NAMES).numpy().view("uint64") == numpys(9, NAMES)).all()
    assert philox.words(3, []).shape == (0, 3)


def test_no_kernel_is_asked_for_on_a_cpu():
    assert philox._maker("cpu") is philox.by_torch


def test_a_kernel_that_can_not_be_had_gives_way_to_the_operations_of_torch(monkeypatch):
    def broken(device):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(philox, "kernel", broken)

    assert philox._maker.__wrapped__("cuda") is philox.by_torch


def test_a_kernel_with_other_words_is_refused(monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    from probes import philoxkernel

    monkeypatch.setattr(philoxkernel, "words", lambda *_: torch.zeros(2, 4099, dtype=torch.int64))

    with pytest.raises(ValueError, match="other words"):
        philox.kernel(torch.device("cpu"))


KERNEL = """
import torch
from probes import philox, philoxkernel
found = philox.kernel(torch.device("cpu"))
assert found is philoxkernel.words
keys = philox.keys([("pixels", 0, "d", i, 0) for i in range(3)], torch.device("cpu"))
for n, first in ((1, 1), (6, 1), (2049, 1), (4096, 7)):
    assert torch.equal(found(keys, n, first), philox.by_torch(keys, n, first)), n
print("equal")
"""


def test_the_kernel_gives_the_same_words_in_the_interpreter():
    """Triton's interpreter runs the kernel on the CPU; it is chosen when Triton is imported."""
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )

    assert (done.stdout.strip(), done.returncode) == ("equal", 0), done.stderr


@pytest.mark.parametrize("constants", [{}, {"first": 1, "n": 1, "counters": 1}])
def test_the_kernel_compiles_for_a_card(constants, tmp_path, monkeypatch):
    """Also where Triton takes numbers that are 1 for constants, as it does when it is called."""
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from probes.philoxkernel import BLOCK, _kernel

    types = {"keys": "*i64", "out": "*i64", "first": "i32", "counters": "i32", "n": "i32"}
    given = constants | {"size": BLOCK}
    names = (*types, "size")
    source = ASTSource(
        fn=_kernel,
        signature={name: "constexpr" if name in given else types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in given.items()},
    )

    assert "mul.hi.u64" in compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]

"""What comes from outside the package is told apart by what it computes, and by nothing else."""

import collections
import dataclasses
import enum
import functools
import random
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from probes.errors import BadInput
from probes.fingerprint import fingerprint, key_of
from probes.measure import accuracy, block_metrics
from probes.origin import installed, outside
from probes.perturb import gaussian


def entropy(times, words="Doc.", name="entropy"):
    @dataclasses.dataclass(frozen=True)
    class Entropy:
        __doc__ = words
        floor: float = 1e-12

        def key(self):
            return {"kind": name}

        def read(self, p):
            """A docstring of its own."""
            return times * -(p * np.log(p + self.floor)).sum()

    return Entropy()


def test_a_measure_that_was_edited_has_another_key_and_one_with_another_docstring_has_the_same():
    assert key_of(entropy(1)) == key_of(entropy(1, words="Other.")) != key_of(entropy(3))
    assert key_of(entropy(1)) != key_of(dataclasses.replace(entropy(1), floor=1e-6))


def test_what_the_package_brings_itself_has_no_hash_since_its_version_is_known():
    assert key_of(block_metrics) == key_of(accuracy) == key_of(gaussian(0, 0.1)) == {}


def test_a_subclass_of_ours_that_somebody_wrote_is_outside():
    class Blur(type(gaussian(0))):
        pass

    assert outside(Blur((0.0, 1.0)))
    assert "source" in key_of(Blur((0.0, 1.0)))


def test_helpers_constants_and_closures_count():
    def with_helper(slope):
        def helper(x):
            return x * slope

        return lambda x: helper(x) + 1

    assert fingerprint(with_helper(1)) == fingerprint(with_helper(1)) != fingerprint(with_helper(2))
    assert fingerprint(functools.partial(max, 1)) != fingerprint(functools.partial(max, 2))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values, values)
def test_equal_values_have_equal_hashes_and_different_ones_different(a, b):
    assert fingerprint(a) == fingerprint(a)
    assert (fingerprint(a) == fingerprint(b)) == (in_order(a) == in_order(b))


def in_order(value):
    """A value in words, with the items of dictionaries in order."""
    if isinstance(value, dict):
        return str(sorted((key, in_order(one)) for key, one in value.items()))
    return (
        f"{type(value).__name__}{[in_order(one) for one in value]}"
        if isinstance(value, list | tuple)
        else repr(value)
    )


def test_arrays_and_tensors_count_by_their_bytes():
    for make in (np.array, torch.tensor):
        assert (
            fingerprint(make([1.0, 2.0]))
            == fingerprint(make([1.0, 2.0]))
            != fingerprint(make([1.0, 3.0]))
        )


def test_a_thing_whose_content_can_not_be_told_is_refused():
    class Holds:
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.raises(BadInput, match="what it holds can't be told"):
        fingerprint(Holds())


def test_a_hash_is_the_same_in_another_process():
    code = "from probes.fingerprint import fingerprint; import json\nclass A:\n    x = {'a', 'b', 'c'}\n    def f(self): return json.dumps(1)\nprint(fingerprint(A, A()))"  # noqa: E501
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }

    assert len(found) == 1


def test_things_that_hold_themselves_are_told_too():
    a, b = [1], [1]
    a.append(a)
    b.append(b)

    assert fingerprint(a) == fingerprint(b)


def test_what_is_installed_is_its_version():
    assert installed("torch.nn")
    assert not installed(__name__)
    assert fingerprint(nn.Linear) == fingerprint(nn.Linear) != fingerprint(nn.Conv2d)


HELPER = "def scale(x):\n    return {k} * x\n"
USERS = {
    "a package": (
        "import own_pkg.helpers\ndef f(x): return own_pkg.helpers.scale(x)\n",
        "own_pkg/helpers.py",
    ),
    "a from": (
        "from own_pkg.helpers import scale\ndef f(x): return scale(x)\n",
        "own_pkg/helpers.py",
    ),
    "an import inside": (
        "def f(x):\n    from own_mod import scale\n    return scale(x)\n",
        "own_mod.py",
    ),
    "an import inside, dotted": (
        "def f(x):\n    import own_pkg.helpers as h\n    return h.scale(x)\n",
        "own_pkg/helpers.py",
    ),
    "a vectorised one": (
        "import numpy as np\nfrom own_mod import scale\nf = np.vectorize(scale)\n",
        "own_mod.py",
    ),
}


@pytest.mark.parametrize("how", USERS)
def test_a_helper_counts_however_it_is_reached(tmp_path, how):
    text, place = USERS[how]
    (tmp_path / "own_pkg").mkdir()
    (tmp_path / "own_pkg" / "__init__.py").write_text("")
    (tmp_path / "own_user.py").write_text(text)
    found = []
    for k in (1, 1, 100):
        (tmp_path / place).write_text(HELPER.format(k=k))
        code = (
            "from probes.fingerprint import fingerprint; import own_user;"
            " print(fingerprint(own_user.f))"
        )
        done = subprocess.run(
            [sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)

    assert found[0] == found[1] != found[2]


def modes(value):
    class Mode(enum.Enum):
        FAST = value

    return Mode.FAST


class Listed(list):
    def __getitem__(self, i):
        return super().__getitem__(i)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (modes(1), modes(2)),
        (random.Random(1), random.Random(2)),
        (collections.defaultdict(lambda: 1), collections.defaultdict(lambda: 2)),
        (Listed([1]), [1]),
        (np.random.default_rng(1), np.random.default_rng(2)),
        (collections.deque([1]), collections.deque([2])),
        (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_an_object_holds_counts_wherever_it_keeps_it(one, other):
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


def test_what_can_not_be_told_is_named_with_its_place():
    class Holds:
        def __init__(self):
            self.settings = {"guard": threading.Lock()}

    with pytest.raises(
        BadInput,
        match=r"a _thread\.lock \(in settings > item 'guard'\): what it holds can't be told",
    ):
        fingerprint(Holds())

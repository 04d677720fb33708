"""Named draws: the same name gives the same numbers, and nothing else decides them."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probes import seeds

names = st.lists(
    st.one_of(st.integers(-(2**70), 2**70), st.text(max_size=12)), min_size=1, max_size=4
).map(tuple)


def test_trap_n03_the_raw_words_are_golden():
    words = seeds.words(1000, "pixels", 0, "mnist5k", 17, 0)

    assert (
        hashlib.sha256(words.astype("<u8").tobytes()).hexdigest()
        == "92e627ebc4a3b1c3b6a663a09fc31592627e1ccca2025bf284e46005f1b77221"
    )
    assert [int(w) for w in words[:2]] == [17369109852600401626, 17160420738180391727]


@given(names, st.integers(1, 300), st.integers(1, 300))
def test_fewer_words_are_the_start_of_more(name, a, b):
    a, b = min(a, b), max(a, b)

    assert (seeds.words(a, *name) == seeds.words(b, *name)[:a]).all()


@given(st.lists(names, min_size=1, max_size=6), st.integers(1, 40))
def test_trap_n03_a_row_does_not_depend_on_the_rows_around_it(many, size):
    together = seeds.normals(size, many)
    apart = np.concatenate([seeds.normals(size, [name]) for name in many])

    assert (together == apart).all()


def test_trap_n03_torch_generators_confuse_seeds_that_differ_by_two_to_the_32_and_ours_do_not():
    a, b = (torch.randn(4, generator=torch.Generator().manual_seed(s)) for s in (1, 1 + 2**32))

    assert not np.array_equal(seeds.words(4, 1), seeds.words(4, 1 + 2**32))
    assert torch.equal(a, b)


def test_names_are_told_apart_by_type_and_by_their_parts():
    drawn = {
        seeds.words(1, *name)[0]
        for name in [(1,), ("1",), (1, 1), (11,), ("1", "1"), ("11",), ("1,1",)]
    }

    assert len(drawn) == 7


def test_seed_zero_is_a_seed():
    assert (seeds.words(5, "x", 0) == seeds.words(5, "x", 0)).all()
    assert (seeds.words(5, "x", 0) != seeds.words(5, "x", 1)).any()


def test_numpy_integers_are_integers():
    assert (seeds.words(3, np.int64(7)) == seeds.words(3, 7)).all()


@pytest.mark.parametrize("bad", [1.5, None, (1,)])
def test_other_parts_of_a_name_are_errors(bad):
    with pytest.raises(TypeError):
        seeds.words(1, bad)


def test_a_draw_needs_a_name():
    with pytest.raises(ValueError, match="needs a name"):
        seeds.words(1)


def test_no_global_generator_is_touched():
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    seeds.normals(100, [("x", 1)])
    seeds.permutation(10, "x")

    assert (np.random.get_state()[1] == numpy_before).all()
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_normals_are_normal():
    z = seeds.normals(200_000, [("law", 0)])[0].astype(float)

    assert stats.kstest(z, "norm").pvalue > 0.001
    assert np.isfinite(z).all()
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.01


def test_normals_of_different_names_are_independent():
    z = seeds.normals(50_000, [("law", i) for i in range(4)]).astype(float)

    assert (abs(np.corrcoef(z) - np.eye(4)) < 0.02).all()


def test_uniforms_are_uniform():
    assert stats.kstest(seeds.uniform(100_000, "law"), "uniform").pvalue > 0.001


def test_a_permutation_is_one():
    assert sorted(seeds.permutation(1000, "order").tolist()) == list(range(1000))


def test_uniforms_permutations_and_normals_are_what_the_words_give():
    """In the definition: the upper 53 bits; a stable order; Box and Muller of the two halves."""
    words = seeds.words(9, "law", 3)
    low, high = words.astype("<u8").view("<u4").reshape(9, 2).astype(float).T
    r = np.sqrt(-2 * np.log((low + 0.5) / 2**32))
    z = np.concatenate([r * np.cos(2 * np.pi * high / 2**32), r * np.sin(2 * np.pi * high / 2**32)])

    assert seeds.uniform(9, "law", 3).tolist() == [int(w >> 11) / 2**53 for w in words.tolist()]
    assert seeds.permutation(9, "law", 3).tolist() == sorted(range(9), key=lambda i: words[i])
    np.testing.assert_allclose(seeds.normals(18, [("law", 3)])[0], z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seeds.normals(17, [("law", 3)])[0], z[:17], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("many", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 2, 70_000])
def test_rows_that_fill_a_block_or_more_are_those_of_their_names(many, size, monkeypatch):
    monkeypatch.setattr(seeds, "_BLOCK", 2 * max(1, (size + 1) // 2))  # two rows a block
    names = [("block", i) for i in range(many)]
    found = seeds.normals(size, names)
    monkeypatch.undo()

    assert found.shape == (many, size)
    assert found.dtype == np.float32
    for row, name in zip(found, names, strict=True):
        assert (row == seeds.normals(size, [name])[0]).all()


def test_no_names_make_no_rows_and_a_key_is_two_words():
    assert seeds.normals(4, []).shape == (0, 4)
    digest = hashlib.sha256(b'["a",1]').digest()
    assert seeds.key(("a", 1)).tolist() == [
        int.from_bytes(digest[:8], "little"),
        int.from_bytes(digest[8:16], "little"),
    ]

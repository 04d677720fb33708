"""Sobol indices and Shapley effects: closed forms, SALib, a recomputation from stored values,
shards, dead units.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from SALib.analyze import sobol

from probes import seeds
from probes.errors import BadInput
from probes.measure.indices import Replicates
from probes.measure.sensitivity import SobolDesign, SobolSums

THREE = SobolDesign({name: slice(i, i + 1) for i, name in enumerate("abc")}, second=True)


def ishigami(u):
    x = np.pi * (2 * u - 1)
    return np.sin(x[..., 0]) + 7 * np.sin(x[..., 1]) ** 2 + 0.1 * x[..., 2] ** 4 * np.sin(x[..., 0])


def blocks(design, n, name, size=8):
    points = design.points(n, *name)
    for start in range(0, n, size):
        order = design.order(start // size, *name)
        yield design.block(points[start : start + size], order), order


def sums_of(design, function, n, name, size=8):
    sums = SobolSums(design)
    for rows, order in blocks(design, n, name, size):
        values = torch.from_numpy(function(rows))
        sums.add(values if values.ndim == 3 else values[..., None], order)
    return sums


def replicates(design, function, n, scramblings, name):
    both = Replicates()
    for r in range(scramblings):
        both.add(sums_of(design, function, n, (name, r)).indices())
    return both


@pytest.fixture(scope="module")
def ishigamis():
    return replicates(THREE, ishigami, 4096, 8, "ishigami")


@pytest.mark.parametrize(
    ("measure", "truth"),
    [
        ("first", [0.3139, 0.4424, 0]),
        ("total", [0.5576, 0.4424, 0.2437]),
        ("shapley", [0.4357, 0.4424, 0.1218]),
        ("second", [0, 0.2437, 0]),
    ],
)
def test_ishigami(ishigamis, measure, truth):
    found = ishigamis.estimate(measure)

    assert (2 * found.half).max() <= 0.02
    np.testing.assert_allclose(found.value[:, 0], truth, atol=0.005)
    assert (np.abs(found.value[:, 0].numpy() - truth) <= 2 * found.half[:, 0].numpy() + 2e-4).all()


def test_the_mean_and_the_variance_of_ishigami(ishigamis):
    variance = 0.5 + 7**2 / 8 + 0.1 * np.pi**4 / 5 + 0.1**2 * np.pi**8 / 18

    assert float(ishigamis.estimate("mean").value) == pytest.approx(3.5, abs=0.01)
    assert float(ishigamis.estimate("variance").value) == pytest.approx(variance, rel=0.005)


def test_sobols_g_function():
    a = np.array([0, 1, 4.5, 9])
    design = SobolDesign({str(i): slice(i, i + 1) for i in range(4)})
    found = replicates(
        design, lambda u: np.prod((np.abs(4 * u - 2) + a) / (1 + a), -1), 2048, 8, "g"
    )
    partial = 1 / (3 * (1 + a) ** 2)
    every = np.prod(1 + partial) - 1
    total = [partial[i] * np.prod(np.delete(1 + partial, i)) / every for i in range(4)]

    np.testing.assert_allclose(found.estimate("first").value[:, 0], partial / every, atol=0.01)
    np.testing.assert_allclose(found.estimate("total").value[:, 0], total, atol=0.01)


def test_a_linear_function_has_the_same_share_by_every_index():
    """Columns in groups: a group's share is the sum of squares of its coefficients (independent
    inputs of equal variance).
    """
    weights = np.array([1.0, 2.0, 3.0, 0.0])
    design = SobolDesign({"one": slice(0, 1), "two": slice(1, 3), "inert": slice(3, 4)})
    found = replicates(design, lambda u: u @ weights, 1024, 8, "linear")
    truth = [1 / 14, 13 / 14, 0]

    for measure in ("first", "total", "shapley"):
        one = found.estimate(measure)
        np.testing.assert_allclose(one.value[:, 0], truth, atol=0.01)
    assert found.estimate("total").value[2, 0] == 0  # what does nothing has exactly nothing
    assert found.estimate("shapley").value[2, 0] == 0


def test_shapley_effects_share_out_half_the_mean_square_between_a_and_b():
    design = SobolDesign({name: slice(i, i + 1) for i, name in enumerate("abcd")})
    sums = sums_of(design, lambda u: np.prod(u + 0.3, -1), 64, ("efficient",))
    parts = [ishi for ishi, _ in blocks(design, 64, ("efficient",))]
    apart = np.concatenate([np.prod(p[0] + 0.3, -1) - np.prod(p[5] + 0.3, -1) for p in parts])
    found = sums.indices()

    assert float((found.shapley * found.variance).sum()) == pytest.approx(
        (apart**2).mean() / 2, rel=1e-12
    )


def stored(design, values, orders):
    """The same indices from all values at once, textbook-wise; values (blocks, rows, n, units)."""
    many = len(design.groups)
    y = np.concatenate([v.reshape(design.evaluations, -1, v.shape[-1]) for v in values], 1)
    a, mixed, b = y[0], y[1 : many + 1], y[many + 1]
    first_rows = y[: many + 2].reshape(-1, y.shape[-1])
    c, v = first_rows.mean(0), first_rows.var(0)
    first = np.stack([((b - c) * (m - a)).mean(0) / v for m in mixed])
    total = np.stack([((a - m) ** 2).mean(0) / 2 / v for m in mixed])
    shapley = np.zeros_like(first)
    for block, order in zip(values, orders, strict=True):
        steps = [block[0], block[1 + order[0]], *block[many + 2 : 2 * many], block[many + 1]]
        for j, before, here in zip(order, steps, steps[1:], strict=False):
            ends = [(end - here) ** 2 - (end - before) ** 2 for end in (block[0], block[many + 1])]
            shapley[j] += ((ends[0] - ends[1]) / 4).sum(
                0
            )  # Goda's contribution, seen from A and from B
    return first, total, shapley / y.shape[1] / v


@given(st.integers(2, 4), st.integers(1, 5), st.integers(0, 10**6), st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_streaming_is_a_recomputation_from_stored_values(groups, units, seed, offset):
    design = SobolDesign({str(i): slice(i, i + 1) for i in range(groups)})
    weights = (
        seeds.normals(groups * units, [("stored", seed)])[0].astype(float).reshape(groups, units)
    )

    def function(u):
        return np.tanh(u @ weights) + (u**2) @ weights + offset

    sums, values, orders = SobolSums(design), [], []
    for rows, order in blocks(design, 32, ("stored", seed)):
        values.append(function(rows))
        orders.append(order)
        sums.add(torch.from_numpy(values[-1]), order)
    found, expected = sums.indices(), stored(design, values, orders)

    for name, truth in zip(("first", "total", "shapley"), expected, strict=True):
        np.testing.assert_allclose(getattr(found, name), truth, rtol=1e-9, atol=1e-9)


@given(st.permutations(list(range(8))), st.booleans())
@settings(max_examples=30, deadline=None)
def test_shards_merge_in_any_order(order, second):
    design = SobolDesign({name: slice(i, i + 1) for i, name in enumerate("abc")}, second=second)
    work = list(blocks(design, 64, ("shards",)))
    whole, shards = SobolSums(design), [SobolSums(design) for _ in work]
    for shard, (rows, path) in zip(shards, work, strict=True):
        values = torch.from_numpy(np.stack([ishigami(rows), rows.sum(-1) + 1000], -1))
        whole.add(values, path)
        shard.add(values, path)
    merged = SobolSums(design)
    for i in order:
        merged.merge(shards[i])
    merged.merge(SobolSums(design))  # an empty one
    one, other = whole.indices(), merged.indices()

    for name in ("mean", "variance", "first", "total", "shapley", *(["second"] if second else [])):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9, atol=1e-9)


def test_single_precision_activations_lose_nothing_that_matters():
    work = list(blocks(THREE, 256, ("single",)))
    found = []
    for dtype in (torch.float64, torch.float32):
        sums = SobolSums(THREE)
        for rows, order in work:
            sums.add(torch.from_numpy(ishigami(rows) + 1000)[..., None].to(dtype), order)
        found.append(sums.indices())

    for name in ("first", "total", "shapley"):
        np.testing.assert_allclose(getattr(found[1], name), getattr(found[0], name), atol=1e-4)


def test_salib_agrees():
    """An oracle: the same rows in SALib's order, its estimators; second order too."""
    n, many = 512, 3
    (rows, order), *_ = blocks(THREE, n, ("salib",), size=n)
    sums = SobolSums(THREE)
    values = ishigami(rows)
    sums.add(torch.from_numpy(values)[..., None], order)
    ab, ba = values[1 : many + 1], values[-many:]
    ys = np.concatenate(
        [values[:1], ab, ba, values[many + 1 : many + 2]]
    ).T.ravel()  # A, AB_j, BA_j, B, point by point
    problem = {"num_vars": many, "names": list("abc"), "bounds": [[0, 1]] * many}
    theirs = sobol.analyze(problem, ys, calc_second_order=True, num_resamples=2, seed=0)
    found = sums.indices(variance="ends", centre=torch.tensor([ys.mean()]))

    np.testing.assert_allclose(found.first[:, 0], theirs["S1"], atol=1e-5)
    np.testing.assert_allclose(found.total[:, 0], theirs["ST"], atol=1e-5)
    pairs = list(itertools.combinations(range(many), 2))
    np.testing.assert_allclose(
        found.second[:, 0], [theirs["S2"][j, k] for j, k in pairs], atol=1e-5
    )


def test_trap_s08_seed_nought_is_a_seed_and_names_are_draws():
    one, again, other = (THREE.points(16, "seed", seed) for seed in (0, 0, 1))

    assert (one == again).all()
    assert (one != other).any()
    assert one.shape == (16, 2, 3)


def test_every_group_has_every_place_of_the_path_as_often():
    orders = [THREE.order(i, "paths") for i in range(6)]
    four = SobolDesign({name: slice(i, i + 1) for i, name in enumerate("abcd")})

    assert sorted(map(tuple, orders)) == sorted(itertools.permutations(range(3)))
    for place in range(4):
        assert sorted(four.order(i, "paths")[place] for i in range(8)) == sorted([0, 1, 2, 3] * 2)


def test_trap_s13_a_dead_unit_is_masked_and_a_rare_one_stays_bounded():
    design = SobolDesign({name: slice(i, i + 1) for i, name in enumerate("abc")})

    def function(u):
        rare = ((u[..., 0] > 0.995) & (u[..., 1] > 0.5)).astype(float)
        return np.stack([u[..., 0], np.full(u.shape[:-1], 3.0), rare], -1)

    found = sums_of(design, function, 256, ("dead",)).indices()

    assert found.dead.tolist() == [False, True, False]
    assert found.first[:, 1].isnan().all()
    assert found.total[:, 1].isnan().all()
    assert found.total[:, 2].min() >= 0
    assert found.total[:, 2].max() < 4


def test_a_unit_that_is_dead_once_is_dead():
    design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)})
    both = Replicates()
    for r in range(2):
        both.add(
            sums_of(
                design, lambda u, r=r: np.stack([u[..., 0], u[..., 1] * r], -1), 32, ("once", r)
            ).indices()
        )

    assert both.dead.tolist() == [False, True]
    assert both.estimate("first").replicates == 2


def test_rows_are_made_of_a_and_b():
    design = SobolDesign({"a": slice(0, 2), "b": slice(2, 3), "c": slice(3, 4)}, second=True)
    points = design.points(4, "rows")
    a, b = points[:, 0], points[:, 1]
    rows = design.block(points, [2, 0, 1])

    assert len(rows) == design.evaluations == 3 + 2 + 1 + 3
    assert (rows[0] == a).all()
    assert (rows[4] == b).all()
    assert (rows[1] == np.c_[b[:, :2], a[:, 2:]]).all()  # AB_a
    assert (rows[5] == np.c_[b[:, :2], a[:, 2:3], b[:, 3:]]).all()  # the path after c and a
    assert (rows[7] == np.c_[b[:, :2], a[:, 2:3], b[:, 3:]]).all()  # BA_b


def test_a_number_of_points_that_is_no_power_of_two_is_allowed():
    with pytest.warns(UserWarning, match="power of 2"):
        points = THREE.points(100, "odd")

    assert points.shape == (100, 2, 3)
    assert math.isclose(points.mean(), 0.5, abs_tol=0.03)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SobolDesign({"a": slice(0, 1)}), "two groups or more"),
        (lambda: SobolDesign({}), "groups none"),
        (lambda: SobolDesign({"a": slice(0, 2), "b": slice(1, 3)}), "exactly one group"),
        (lambda: SobolDesign({"a": slice(0, 1), "b": slice(2, 3)}), "exactly one group"),
        (lambda: SobolSums(THREE).add(torch.zeros(3, 2, 1), [0, 1, 2]), "with 9 rows"),
        (lambda: SobolSums(THREE).indices(), "no rows were added"),
        (lambda: Replicates().estimate("first"), "nothing was added"),
    ],
)
def test_what_can_not_be_is_refused(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_merging_leaves_the_shards_as_they_are():
    design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)})
    shards = [sums_of(design, lambda u: u.prod(-1), 64, ("aliases", i)) for i in range(2)]
    before = shards[0].indices()
    whole = SobolSums(design)
    for shard in shards:
        whole.merge(shard)

    for field in ("mean", "variance", "first", "total", "shapley"):
        assert torch.equal(getattr(shards[0].indices(), field), getattr(before, field))


def test_a_unit_that_overflows_is_dead_alone():
    design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)})
    rows = design.block(design.points(64, "overflow"), [0, 1])
    values = torch.from_numpy(np.stack([rows[..., 0], rows[..., 1] * 1e30], -1)).float()
    sums = SobolSums(design)
    sums.add(values, [0, 1])

    assert sums.indices().dead.tolist() == [False, True]


def test_fixed_columns_are_the_same_in_a_and_b_and_their_variance_is_left_out():
    """y = 10 h + a + 2 b: with h fixed, a and b share what they make, 1 : 4, and V is theirs
    alone."""
    design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)}, second=True, fixed=1)
    points = design.points(256, "held")
    assert (points[:, 0, 2] == points[:, 1, 2]).all()

    both = Replicates()
    for r in range(8):
        both.add(
            sums_of(
                design, lambda u: 10 * u[..., 2] + u[..., 0] + 2 * u[..., 1], 512, ("held", r)
            ).indices("within")
        )
    for measure in ("first", "total", "shapley"):
        np.testing.assert_allclose(both.estimate(measure).value[:, 0], [0.2, 0.8], atol=0.02)
    np.testing.assert_allclose(both.estimate("variance").value, 5 / 12, rtol=0.02)


def test_replicates_of_units_in_parts_are_those_of_all():
    design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)})
    whole, parts = Replicates(), [Replicates(), Replicates()]
    for r in range(3):
        rows = design.block(design.points(64, "parts", r), [0, 1])
        values = torch.from_numpy(np.stack([rows[..., 0], rows[..., 1], rows.prod(-1)], -1))
        values[..., 2] *= 1e-6  # alive beside no other unit, dead beside these
        for one, units in ((whole, slice(0, 3)), (parts[0], slice(0, 2)), (parts[1], slice(2, 3))):
            sums = SobolSums(design)
            sums.add(values[..., units], [0, 1])
            one.add(sums.indices())
    joined = Replicates.joined(parts)
    assert whole.dead.tolist() == joined.dead.tolist() == [False, False, True]

    for name in whole.measured:
        for field in ("value", "half"):
            a, b = (getattr(r.estimate(name), field)[..., :2] for r in (joined, whole))
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_trap_s13_the_published_floor_calls_a_unit_that_hardly_varies_most_sensitive():
    """Active in one row of 1,024 that is neither A nor B: without the variance of all rows its
    total index is beyond 1.
    """
    design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)})
    rows = design.block(design.points(256, "sparse"), [0, 1])
    values = torch.from_numpy(np.stack([np.zeros(rows.shape[:2]), rows[..., 0]], -1))
    values[1, 7, 0] = 1.0
    sums = SobolSums(design)
    sums.add(values, [0, 1])

    assert sums.indices("ends", absolute=True).total[0, 0] > 1000
    assert sums.indices().total[0, 0] < 4
    assert sums.indices("ends", absolute=True).total[0, 1] == pytest.approx(
        float(sums.indices("ends").total[0, 1]), abs=1e-4
    )

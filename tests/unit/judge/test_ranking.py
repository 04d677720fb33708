"""The rules by signed ranks, against scipy, and stacked."""

import numpy as np
import pytest
from scipy import stats

from probes import seeds
from probes.judge import ranking


@pytest.mark.parametrize("n", [5, 8, 15])
def test_signed_rank_is_that_of_scipy_without_ties(n):
    x = seeds.normals(n, [("scipy", 3, n)])[0].astype(float) + 0.3
    found = ranking.signed_rank(x, 0.1)

    assert found.p_up == pytest.approx(
        stats.wilcoxon(x - 0.1, alternative="greater", method="exact").pvalue
    )
    assert found.p_down == pytest.approx(
        stats.wilcoxon(x - 0.1, alternative="less", method="exact").pvalue
    )


def test_signed_rank_with_ties_is_the_permutation_test_of_scipy():
    x = np.array([1.0, 1.0, 2.0, 2.0, -1.0, 3.0, 3.0, 0.5])
    exact = stats.wilcoxon(
        x - 0.2,
        alternative="greater",
        zero_method="zsplit",
        method=stats.PermutationMethod(n_resamples=2**9),
    )

    assert ranking.signed_rank(x, 0.2).p_up >= exact.pvalue - 1e-12
    assert ranking.signed_rank(x, 0.2).p_up == pytest.approx(exact.pvalue, abs=0.02)


@pytest.mark.parametrize(("n", "best"), [(3, 0.125), (4, 0.0625), (5, 0.03125)])
def test_few_runs_reach_only_so_small_a_p(n, best):
    assert ranking.signed_rank(np.arange(1.0, n + 1), 0).p_up == best
    assert bool(ranking.signed_rank(np.arange(1.0, n + 1), 0).obstacle) == (n < 5)


def test_identical_nonzero_runs_are_judged_by_the_signed_rank():
    assert ranking.signed_rank(np.full(8, 0.3), 0.1).p_up == pytest.approx(0.5**8)


def test_the_typical_group_is_judged_by_signed_ranks_from_twenty_groups():
    x = seeds.normals(20, [("groups", 1)])[0].astype(float)
    found = ranking.typical_group(x, 0.1)
    theirs = stats.wilcoxon(x - 0.1, alternative="greater", method="exact")

    assert found.p_up == pytest.approx(theirs.pvalue)
    assert found.obstacle == ""
    assert "from 20 groups, there are 19" in ranking.typical_group(x[:19], 0.1).obstacle


def test_many_samples_are_judged_at_once_as_each_is_alone():
    x = np.stack([seeds.normals(8, [("many", i)])[0].astype(float) for i in range(4)])
    every = ranking.signed_rank(x, 0.1)

    assert [ranking.signed_rank(one, 0.1).p_up for one in x] == every.p_up.tolist()
    assert [ranking.signed_rank(one, 0.1).high for one in x] == every.high.tolist()


@pytest.mark.parametrize(("alpha", "least"), [(0.05, 5), (0.025, 6), (0.01, 7)])
def test_the_runs_that_are_needed_are_those_that_reach_alpha(alpha, least):
    few, enough = (ranking.signed_rank(np.arange(1.0, n + 1), 0, alpha) for n in (least - 1, least))

    assert f"{least} are needed" in few.obstacle
    assert few.p_up > alpha
    assert not enough.obstacle
    assert enough.p_up <= alpha or least == 5

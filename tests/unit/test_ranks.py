import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probes.ranks import ranked

NUMBERS = st.lists(st.integers(-3, 3), min_size=3, max_size=12)


@given(
    NUMBERS.flatmap(
        lambda a: st.tuples(
            st.just(a), st.lists(st.integers(-3, 3), min_size=len(a), max_size=len(a))
        )
    )
)
def test_a_dot_product_of_ranks_is_scipys_spearman(pair):
    a, b = (np.array(one, float) for one in pair)
    found = float(ranked(a) @ ranked(b))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert found == 0
    else:
        np.testing.assert_allclose(found, stats.spearmanr(a, b).statistic, atol=1e-12)


@given(NUMBERS.flatmap(lambda a: st.tuples(st.just(a), st.lists(st.booleans(), min_size=len(a)))))
def test_values_that_are_not_known_change_no_rank_of_the_others(pair):
    values, known = np.array(pair[0], float), np.array(pair[1][: len(pair[0])])
    found = ranked(np.where(known, values, np.nan)[:, None], 0, known[:, None])[:, 0]

    assert (found[~known] == 0).all()
    np.testing.assert_allclose(found[known], ranked(values[known]) if known.any() else [], atol=0)

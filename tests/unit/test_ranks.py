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

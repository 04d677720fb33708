"""From a table to one effect per unit."""

import numpy as np
import pandas as pd
import pytest

from probes import table
from probes.errors import BadInput
from probes.judge import effects


def frame(values, draw=0, level=0.0):
    return pd.DataFrame(
        {
            "net": "n",
            "weights": "w",
            "dataset": "d",
            "train_seed": 0,
            "image": np.arange(len(values)),
            "draw": draw,
            "level": level,
            "site": "s",
            "m": values,
        }
    )


def test_an_image_that_was_not_measured_at_every_level_is_an_error():
    t = table.join([frame([1.0, 2.0, 3.0]), frame([1.0, 2.0], level=0.1)])
    with pytest.raises(BadInput, match="not every image was measured at every level"):
        effects.averaged(t, "m", "image", "site", None)


def test_clean_images_stand_for_every_draw():
    t = table.join(
        [frame([1.0, 2.0]), frame([2.0, 4.0], level=0.1), frame([4.0, 8.0], draw=1, level=0.1)]
    )
    wide = effects.averaged(t, "m", "image", "site", None)

    assert wide.to_numpy().tolist() == [[1.0, 3.0], [2.0, 6.0]]


def test_draws_of_level_0_of_their_own_are_paired_with_those_of_the_other_levels():
    t = table.join(
        [
            frame([1.0, 2.0]),
            frame([10.0, 20.0], draw=1),
            frame([2.0, 4.0], level=1),
            frame([40.0, 80.0], 1, 1.0),
        ]
    )
    t.attrs["draws"] = "common"
    wide = effects.averaged(t, "m", effects.BOTH, "site", None)

    assert wide[0.0].tolist() == [1, 10, 2, 20]


def test_a_draw_that_level_0_lacks_is_an_error_where_others_are_there():
    t = table.join(
        [
            frame([1.0, 2.0]),
            frame([3.0, 4.0], draw=1),
            *(frame([5.0, 6.0], d, 1.0) for d in range(3)),
        ]
    )
    t.attrs["draws"] = "common"
    with pytest.raises(BadInput, match="not every image was measured at every level"):
        effects.averaged(t, "m", effects.BOTH, "site", None)


def test_a_clean_pass_without_draws_of_its_own_stands_for_each():
    t = table.join(
        [frame([1.0, 2.0]), frame([2.0, 4.0], level=1), frame([4.0, 8.0], draw=1, level=1)]
    )
    t.attrs["draws"] = "common"

    assert effects.averaged(t, "m", effects.BOTH, "site", None)[0.0].tolist() == [1, 1, 2, 2]


def test_an_unknown_key_column_names_the_nearest():
    with pytest.raises(Exception, match="did you mean site"):
        effects.averaged(frame([1.0]), "m", "image", "sites", None)


def test_a_trend_that_does_not_move_has_rho_zero():
    assert effects.trend(pd.DataFrame(np.ones((5, 3))))["rho"] == 0.0

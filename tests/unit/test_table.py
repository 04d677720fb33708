"""The tidy table: its check, and its way through files."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import table
from probes.errors import BadInput, ProbesError, UnknownName


def made(n=3, site="a", **more):
    return pd.DataFrame(
        {
            "net": "n",
            "weights": "w",
            "dataset": "d",
            "train_seed": -1,
            "image": range(n),
            "draw": 0,
            "level": 0.0,
            "site": site,
            "m": np.arange(n, dtype=np.float32),
            **more,
        }
    )


def test_a_table_is_checked():
    assert table.check(made()) is not None


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (made().drop(columns="draw"), "missing: draw"),
        (made().iloc[:0], "no rows"),
        (pd.concat([made(), made()]), "twice"),
        (made(m=["x", "y", "z"]), "not numbers"),
        (made(m=[0.0, np.nan, 1.0]), "is NaN at"),
    ],
)
def test_what_is_wrong_is_named(broken, sentence):
    with pytest.raises(ProbesError, match=sentence):
        table.check(broken)


def test_joining_keeps_the_order_of_sites_and_the_common_metrics():
    t = table.join([made(site="layer2", extra=1.0), made(site="layer1")])

    assert list(t["site"].cat.categories) == ["layer2", "layer1"]
    assert table.metrics_of(t) == ["m"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_survives_its_file(tmp_path, suffix):
    t = table.join([made(site="layer2"), made(site="layer1")])
    table.write(t, tmp_path / f"t{suffix}")
    back = table.read(tmp_path / f"t{suffix}")

    assert list(back["site"].cat.categories) == ["layer2", "layer1"]
    pd.testing.assert_frame_equal(back.astype(object), t.astype(object), check_dtype=False)


@pytest.mark.parametrize("name", ["1", "1.0", "nan", "true"])
def test_names_that_look_like_something_else_stay_names(tmp_path, name):
    path = tmp_path / "t.csv"
    table.write(made(site=name, net=name), path)

    assert set(table.read(path)["site"]) == set(table.from_csv(path)["net"]) == {name}


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([".csv", ".parquet"]))
def test_outside_bytes_are_a_table_or_an_error_of_ours(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("t") / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(ProbesError):
        table.read(path)


def test_declaring_a_metric_otherwise_is_an_error():
    table.declare_metric("declared_once", "ratio", "x")
    table.declare_metric("declared_once", "ratio", "x")
    with pytest.raises(BadInput, match="already declared"):
        table.declare_metric("declared_once", "share", "x")


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean m"):
        table.metric("mn", made())

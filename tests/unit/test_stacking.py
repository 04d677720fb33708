"""Many small tables in one go: the table that pandas makes of them one by one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import table
from probes.errors import ProbesError
from probes.stacking import stacked


def one(rng, sites, images, extra=()):
    n = len(sites) * len(images)
    names = np.repeat(np.arange(len(sites)), len(images))
    return pd.DataFrame(
        {
            "net": "",
            "weights": "",
            "dataset": "",
            "train_seed": -1,
            "image": np.tile(images, len(sites)),
            "draw": 0,
            "level": float(rng.integers(3)),
            "site": pd.Categorical.from_codes(names, pd.Index(sites), ordered=True),
            "loss": rng.random(n, dtype=np.float32),
            **{name: rng.random(n, dtype=np.float32) for name in extra},
        }
    )


def by_pandas(paths, labels, categories):
    """Each file by itself, then one table."""
    frames = [pd.read_parquet(p).assign(**given) for p, given in zip(paths, labels, strict=True)]
    common = [c for c in frames[0].columns if all(c in f.columns for f in frames)]
    sites = list(dict.fromkeys(str(s) for f in frames for s in f["site"]))
    kind = pd.CategoricalDtype(sites, ordered=True)
    out = pd.concat(
        [f[common].assign(site=f["site"].astype(str).astype(kind)) for f in frames],
        ignore_index=True,
    )
    return out.astype(dict.fromkeys(categories, "category"))


@given(
    seed=st.integers(0, 2**32 - 1),
    sites=st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=4, unique=True),
    files=st.integers(1, 4),
)
def test_it_is_the_table_that_pandas_makes(tmp_path_factory, seed, sites, files):
    folder, rng = tmp_path_factory.mktemp("stack"), np.random.default_rng(seed)
    paths, labels = [], []
    for i in range(files):
        mine = list(rng.permutation(sites))
        frame = one(rng, mine, rng.permutation(50)[: rng.integers(1, 5)], ["kept", "own"][: 2 - i])
        paths.append(folder / f"{i}.parquet")
        table.write(frame, paths[-1])
        arm = str(rng.choice(["x", "y"]))
        labels.append(
            {"net": f"net{i % 2}", "weights": "w", "dataset": "d", "train_seed": i, "draw": i}
            | {"arm": arm, "shift": np.float32(i)}
        )
    categories = ("net", "weights", "dataset", "arm")

    found = stacked(paths, labels, categories)

    pd.testing.assert_frame_equal(found, by_pandas(paths, labels, categories))


def test_a_function_of_the_images_is_a_column(tmp_path):
    rng = np.random.default_rng(0)
    table.write(one(rng, ["a", "b"], np.array([7, 8])), tmp_path / "t.parquet")
    found = stacked([tmp_path / "t.parquet"], [{"of": lambda ids: ids % 2}], ("of",))

    assert found["of"].tolist() == [1, 0, 1, 0]
    assert isinstance(found["of"].dtype, pd.CategoricalDtype)


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no table")
    with pytest.raises(ProbesError, match=r"t\.parquet is no table"):
        stacked([tmp_path / "t.parquet"], [{}], ())

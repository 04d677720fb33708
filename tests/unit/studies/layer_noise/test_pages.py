"""The section on noise on layers: its table, beside what was published where that is known, and
several runs.
"""

import itertools

import pandas as pd
import pytest

from probes.studies.layer_noise import pages as layers


def folder_of(tmp_path, nets, runs=1):
    tables = tmp_path / "tables"
    tables.mkdir()
    each = list(itertools.product(nets, range(runs)))
    clean = [
        (split, net, run, 100, 90.0 + run, 88.0, 92.0)
        for split in ("train", "test")
        for net, run in each
    ]
    pd.DataFrame(
        clean, columns=["split", "net", "train_seed", "images", "accuracy", "low", "high"]
    ).to_csv(tables / "clean.csv")
    cases = [
        ("layers", "1"),
        ("layers", "2"),
        ("layers", "3"),
        ("fractions", "0.25"),
        ("pixels", ""),
    ]
    drops = [
        (kind, net, run, n, level, 100, 80.0, 78.0, 82.0, 10.0 + run, 8.0, 12.0)
        for (kind, n), (net, run), level in itertools.product(cases, each, (0.25, 0.5))
    ]
    columns = (
        "kind net train_seed layers level images accuracy accuracy_low accuracy_high drop low high"
    )
    pd.DataFrame(drops, columns=columns.split()).to_csv(tables / "drops.csv", index=False)
    depth = [(net, run, place, f"l{place}", 3.0 * place) for net, run in each for place in range(3)]
    pd.DataFrame(depth, columns=["net", "train_seed", "place", "layer", "drop"]).to_csv(
        tables / "depth.csv", index=False
    )
    moved = [
        (net, run, place, f"s{place}", n, 100, 0.1, 0.05, 0.2)
        for net, run in each
        for place in range(2)
        for n in "123"
    ]
    columns = ["net", "train_seed", "place", "stage", "layers", "images", "distance", "low", "high"]
    pd.DataFrame(moved, columns=columns).to_csv(tables / "activations.csv", index=False)
    return tmp_path


def test_without_its_tables_there_is_no_section(tmp_path):
    assert layers.section(tmp_path) == ""


def test_the_studys_networks_stand_beside_what_it_published(tmp_path):
    text = layers.section(folder_of(tmp_path, ["resnet34", "vgg19_bn_small"]))

    assert (
        "| noise on 3 layers | 80.00 [78.00, 82.00] | 80.00 [78.00, 82.00] | 82.85 | 71.47 |"
        in text
    )
    assert "| clean | 90.00 [88.00, 92.00] | 90.00 [88.00, 92.00] | 85.13 | 84.48 |" in text
    assert "| layers with noise | 1 | 0.25 | 10.00 [8.00, 12.00] |" in text
    assert "maps.png" not in text


def test_several_runs_are_told_by_their_mean_and_range(tmp_path):
    text = layers.section(folder_of(tmp_path, ["one"], runs=3))

    assert "mean of 3 training runs and their range" in text
    assert "| clean | 91.00 (90.00 to 92.00) |" in text
    assert "| noise σ on the image |  | 0.5 | 11.00 (10.00 to 12.00) |" in text
    assert "published" not in text


@pytest.mark.drawn
@pytest.mark.parametrize("name", ["drops", "strengths", "depth", "activations"])
def test_every_figure_is_written(tmp_path, name):
    layers.section(folder_of(tmp_path, ["one", "two"], runs=2))

    assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000

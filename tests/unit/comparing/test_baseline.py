"""Baselines: the same answer without the old network, and nothing but the same design."""

import datetime
import json
import subprocess

import pandas as pd
import pyarrow.parquet as pq
import pytest

import probes
from probes import gaussian
from probes.cli import main
from probes.comparing import baseline
from probes.errors import BadInput, ProbesError, Unavailable
from probes.subjects import pretrained
from probes.tell.verify import verify

UNDER = "noise:.2 quantised:3"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A baseline of ResNet-20 on 60 digits, and its store."""
    folder = tmp_path_factory.mktemp("baselines")
    path = baseline.save(
        "main", "resnet20#0", under=UNDER, images=60, folder=folder, store=folder / "store"
    )
    return path, folder / "store"


def test_an_interval_of_accuracy_ends_at_all_right(saved):
    rows = pd.DataFrame(baseline.load(str(saved[0])).facts["verdicts"])
    found = rows[rows["metric"] == "correct"]

    assert found["mean"].max() > 0.95
    assert found["high"].max() <= 1
    assert (found["low"] < found["mean"]).all()
    assert (found["mean"] < found["high"]).all()


def test_a_comparison_with_a_baseline_is_that_with_the_network(saved, tmp_path):
    path, store = saved
    found = probes.compare(
        *(baseline.load(str(path)), "resnet20#1"),
        margin={"correct": "5 points"},
        metrics=["correct", "brier"],
        store=tmp_path / "new",  # which the old network was never measured in
        out=tmp_path / "out",
    )
    direct = probes.compare(
        *("resnet20#0", "resnet20#1"),
        margin={"correct": "5 points"},
        metrics=["correct", "brier"],
        under=UNDER,
        images=60,
        store=store,
    )

    pd.testing.assert_frame_equal(found.frame, direct.frame)
    pd.testing.assert_frame_equal(found.flips, direct.flips)
    assert found.answer == direct.answer
    assert found.notes[0].startswith("baseline main: resnet20#0, made ")
    assert found.insides.empty
    assert verify(tmp_path / "out") == []
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Baseline main: resnet20#0, made" in page
    assert baseline.load(str(path)).facts["weights"]["resnet20@mnist5k#0"]["sha256"] in page


def test_the_weights_of_the_old_network_are_not_needed(saved, monkeypatch, tmp_path):
    load = pretrained.load

    def only_new(spec, data, store):
        assert spec.seed == 1, "the old network was loaded"
        return load(spec, data, store)

    monkeypatch.setattr(pretrained, "load", only_new)
    found = probes.compare(baseline.load(str(saved[0])), "resnet20#1", store=tmp_path)

    assert found.answer in ("open", "better", "worse")


def test_the_file_says_what_it_is_of(saved):
    path, _ = saved
    facts = json.loads(pq.read_schema(path).metadata[baseline.ENTRY])

    assert (facts["images"], facts["data"], facts["subject"]) == (60, "mnist5k", "resnet20#0")
    assert list(facts["conditions"]) == [
        "clean",
        "Gaussian noise, noise σ 0.2",
        "quantisation, 3 bits",
    ]
    assert facts["metrics"] == ["correct", "loss", "brier", "confidence", "margin", "entropy"]
    assert len(facts["images_sha256"]) == len(facts["rows_sha256"]) == 64
    assert {row["condition"] for row in facts["verdicts"]} == set(facts["conditions"])
    assert path.stat().st_size < 60_000


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"images": 50}, "is of 60 images: 50 are asked for"),
        ({"images": None, "until": 100}, "is of 60 images: 100 are asked for"),
        ({"dataset": "cifar10"}, "is of mnist5k, and this is of cifar10"),
        ({"under": "noise:.3"}, "has no condition 'Gaussian noise, noise σ 0.3'"),
        ({"draws": 2}, "has 1 draw of noise, this has 2"),
        ({"seed": 1}, "is of seed 0, and this is of seed 1"),
        ({"precision": "bf16"}, "is of precision fp32, and this is of precision bf16"),
        ({"under": gaussian(0, 0.2, clamp=False)}, "was .* and is .* here"),
        ({"metrics": "entropy"}, "metric with a better side"),
    ],
)
def test_another_design_is_refused_with_what_differs(saved, tmp_path, given, says):
    with pytest.raises(ProbesError, match=says):
        probes.compare(
            baseline.load(str(saved[0])), "resnet20#1", **{"store": tmp_path, "images": 60, **given}
        )


def test_images_that_were_changed_since_are_refused(saved, tmp_path):
    found = baseline.load(str(saved[0]))
    found.facts["images_sha256"] = "0" * 64

    with pytest.raises(BadInput, match="is of other images: 60 of"):
        probes.compare(found, "resnet20#1", store=tmp_path)


def test_a_part_of_its_conditions_and_fewer_images_will_do(saved, tmp_path):
    found = probes.compare(
        baseline.load(str(saved[0])), "resnet20#1", under="noise:.2", until=40, store=tmp_path
    )

    assert [row.condition for row in found.rows] == ["clean", "Gaussian noise, noise σ 0.2"]
    assert {row.n for row in found.rows} == {40}


def test_a_file_that_is_none_or_was_changed_is_refused(saved, tmp_path):
    path, _ = saved
    table = pq.read_table(path)
    rows = table.to_pandas()
    rows.loc[0, "correct"] = 1 - rows.loc[0, "correct"]
    changed = type(table).from_pandas(rows, preserve_index=False)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), tmp_path / "a.parquet")
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"no table")
    facts = json.loads(table.schema.metadata[baseline.ENTRY])
    less = {name: value for name, value in facts.items() if name != "made"}
    for name, told in (("d", less), ("e", [1]), ("f", less | {"schema": 9})):
        entry = {baseline.ENTRY: json.dumps(told).encode()}
        pq.write_table(table.replace_schema_metadata(entry), tmp_path / f"{name}.parquet")

    for name, says in (
        ("a", "its rows were changed"),
        ("b", "but no baseline"),
        ("c", "is no"),
        ("d", "what it says of itself was changed"),
        ("e", "what it says of itself was changed"),
        ("f", "schema 9, this version reads 1"),
    ):
        with pytest.raises(ProbesError, match=says):
            baseline.load(str(tmp_path / f"{name}.parquet"))
    with pytest.raises(Unavailable, match="probes baseline save other NET"):
        baseline.load("other", tmp_path)
    with pytest.raises(BadInput, match="letters, digits"):
        baseline.path_of("a/b")


def test_a_name_that_is_taken_is_replaced_only_where_that_is_asked_for(saved, tmp_path):
    path, store = saved
    (tmp_path / "thesis.parquet").write_bytes(b"somebody's")

    with pytest.raises(BadInput, match="is there already"):
        baseline.save("main", "resnet20#0", images=60, folder=path.parent, store=store)
    with pytest.raises(ProbesError, match="is no baseline"):
        baseline.save("thesis", "resnet20#0", folder=tmp_path, store=store, replace=True)
    assert (tmp_path / "thesis.parquet").read_bytes() == b"somebody's"


def test_its_age_and_the_commits_since_are_told(saved, tmp_path):
    def git(*words):
        return subprocess.run(
            ["git", "-C", str(tmp_path), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    git("config", "user.email", "a@b.c"), git("config", "user.name", "a")
    git("commit", "-q", "--allow-empty", "-m", "one")
    found = baseline.load(str(saved[0]))
    found.facts["commit"] = git("rev-parse", "HEAD")
    for _ in range(2):
        git("commit", "-q", "--allow-empty", "-m", "more")
    made = datetime.datetime.fromisoformat(found.facts["made"])
    told = found.age(tmp_path, made + datetime.timedelta(days=3, hours=1))

    assert told.endswith(f"(3 days ago), 2 commits since {found.facts['commit'][:10]}")
    found.facts["commit"] = "0" * 40
    assert "which is not in this checkout" in found.age(tmp_path)


def test_the_commands_save_show_and_compare(monkeypatch, tmp_path, capsys, undrawn):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    few = ("--images", "30", "--quiet")

    assert main(["baseline", "save", "main", "resnet20#0", "--under", "noise:.2", *few]) == 0
    assert main(["baseline", "show", "main"]) == 0
    assert "Gaussian noise, noise σ 0.2  correct" in capsys.readouterr().out
    assert main(["baseline", "save", "main", "resnet20#0", *few]) == 2
    assert main(["compare", "resnet20#1", "--baseline", "main", "--quiet"]) == 2
    assert "baseline main: resnet20#0, made" in capsys.readouterr().out
    assert main(["compare", "resnet20#0", "resnet20#1", "--baseline", "main"]) == 3
    assert main(["compare", "resnet20#1", "--baseline", "other"]) == 3

"""The study of guided masks: a whole small run, what it leaves, going on after a kill, and what is
refused.
"""

import pandas as pd
import pytest

from probes.cli import main
from probes.errors import BadInput, UnknownName
from probes.run.settings import Options
from probes.store import Store
from probes.studies import sections
from probes.studies.masking import work
from probes.studies.masking.guide import Guide
from probes.studies.masking.plan import MaskPlan
from probes.studies.masking.run import study
from probes.tell import report
from probes.tell.verify import verify

pytestmark = pytest.mark.slow

SMALL = MaskPlan(
    (("hflip", "erasing"),),
    ("total",),
    (0.8,),
    (0.0, 0.5),
    random=20,
    matched=2,
    alone=True,
    rows=8,
    scramblings=2,
)


def run(tmp_path, plan=SMALL, out="out"):
    return study(
        "resnet20",
        "mnist5k",
        Store(tmp_path / "store"),
        tmp_path / out,
        plan,
        options=Options(images=20, threads=1),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("masks")
    return tmp_path, run(tmp_path)


def test_a_run_leaves_tables_figures_and_verdicts_that_verify(made):
    _, folder = made
    table = pd.read_csv(folder / "tables" / "responses.csv", keep_default_na=False)
    text = (folder / "report.md").read_text(encoding="utf-8")

    assert verify(folder) == []
    assert set(table["kind"]) == {"none", "guided", "random", "matched", "full", "inverse"}
    assert set(table["module"]) == {"", "layer1", "layer2", "layer3"}
    assert (
        len(table[table["kind"] == "random"]) == 3 * 2 * 20 + 2 * 3 * 20
    )  # of all modules, and of each alone
    assert (table["top5"].astype(float) >= table["top1"].astype(float)).all()
    for name in ("curves", "excesses", "alike", "tree", "alone", "decay", "classes"):
        assert (folder / "figures" / f"{name}-hflip-erasing.png").exists()
        assert f"figures/{name}-hflip-erasing.png" in text
    assert "Which of the study's findings survive the controls?" in text
    assert "MASK-OWN hflip, erasing" in text


@pytest.mark.drawn
def test_a_report_is_drawn_again_from_its_files(made):
    _, folder = made
    before = (folder / "report.md").read_text(encoding="utf-8")
    report.draw(folder, sections=sections())

    assert (folder / "report.md").read_text(encoding="utf-8") == before


def test_the_same_command_goes_on_from_what_is_kept(made, monkeypatch):
    tmp_path, folder = made
    monkeypatch.setattr(work, "top_classes", lambda *_, **__: pytest.fail("computed again"))
    again = run(tmp_path, out="again")

    assert (again / "tables" / "responses.csv").read_bytes() == (
        folder / "tables" / "responses.csv"
    ).read_bytes()


def test_every_random_mask_is_shared_by_variables_and_measures():
    index = {m: {"layer1": 0} for m in ("total", "first")}
    guide = Guide(("a", "b", "image"), index, {"layer1": 0})
    plan = MaskPlan(measures=("total", "first"), random=5, matched=3, alone=True)
    masks = plan.masks(guide, "a")
    many = pd.Series([m.kind for m in masks if not m.module]).value_counts()

    assert many.to_dict() == {
        "none": 1,
        "guided": 2 * 3 * 4,
        "full": 6,
        "inverse": 6,
        "random": 4 * 5,
        "matched": 4 * 3,
    }
    assert {m.variable for m in masks if m.kind == "matched"} == {"a"}
    assert len(set(masks)) == len(masks)
    assert not any(m.kind == "matched" or m.module for m in plan.masks(guide, "clean"))


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"qs": (1.0,)}, BadInput, "q 1: a quantile between 0 and 1"),
        ({"alphas": (-0.5,)}, BadInput, "alpha -0.5"),
        ({"measures": ("sobol",)}, UnknownName, "unknown measure 'sobol'"),
        ({"random": 1}, BadInput, "1 random and 20 matched masks"),
        ({"sets": ()}, BadInput, "a set of augmentations"),
        ({"qs": (0.8, 0.8)}, BadInput, "0.8, 0.8: each once"),
        ({"measures": ("total", "total")}, BadInput, "total, total: each once"),
    ],
)
def test_a_plan_that_can_not_be_is_refused_before_the_work(asked, error, says):
    with pytest.raises(error, match=says):
        MaskPlan(**asked)


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine", encoding="utf-8")
    for command in ("masking", "segments", "sensitivity"):
        assert (
            main(
                [
                    "run",
                    command,
                    "resnet20",
                    "--out",
                    str(tmp_path / "out"),
                    "--store",
                    str(tmp_path / "store"),
                ]
            )
            == 2
        )

    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "store").exists()  # said before the work


def test_with_several_draws_of_parameters_responses_are_told_and_nothing_is_judged(tmp_path):
    plan = MaskPlan(
        (("erasing", "rolling"),),
        ("total",),
        (0.8,),
        (0.0,),
        random=2,
        matched=2,
        draws=2,
        rows=8,
        scramblings=2,
    )
    folder = run(tmp_path, plan)

    assert (folder / "evidence.jsonl").read_text(encoding="utf-8") == ""
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "not told: 4 guided and 2 random masks with 3 responses each" in text
    assert "more than 95 % of random masks do: can't be told, no p is below 0.33" in text
    assert verify(folder) == []


def test_the_command(tmp_path, capsys):
    words = (
        "--set hflip,erasing --measures total --q .8 --alpha 0 --random 20 --matched 2 --rows 8"
        " --scramblings 2 --images 20"
    )
    asked = [*words.split(), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]

    assert main(["run", "masking", "resnet20", *asked]) == 0
    assert "MASK-RANDOM hflip, erasing on resnet20@mnist5k: inconclusive" in capsys.readouterr().out
    assert main(["run", "masking", "resnet20", "--measures", "totl"]) == 2
    assert "did you mean total" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "masking", "resnet20", "--q", "x"])
    assert "numbers between commas" in capsys.readouterr().err

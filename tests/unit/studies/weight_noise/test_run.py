"""The study of weight noise: trained once, merged without loss, the same bytes each time."""

import json
import shutil

import pandas as pd
import pytest
import torch

from probes.cli import main
from probes.errors import BadInput, UnknownName
from probes.store import Store, sha256
from probes.studies.weight_noise import run as weightnoise
from probes.studies.weight_noise.claims import _claims, relative, tidy
from probes.studies.weight_noise.folder import calibrated
from probes.studies.weight_noise.networks import Run, view_of
from probes.studies.weight_noise.plan import Plan
from probes.studies.weight_noise.results_csv import csv_text
from probes.tell import evidence
from probes.tell.verify import verify

pytestmark = pytest.mark.slow

FILES = ("summary.csv", "sweep.csv", "results.json")
QUICK = [
    "run",
    "weight-noise",
    "mlp_small",
    "--dataset",
    "mnist5k",
    "--quick",
    "--images",
    "100",
    "--draws",
    "2",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("quick")
    assert main([*QUICK, "--out", str(place / "out"), "--store", str(place / "store")]) == 0
    return place


def test_it_writes_the_studys_files_and_a_report_that_verifies(folder, capsys):
    out = folder / "out"
    summary, sweep = (pd.read_csv(out / f"{name}.csv") for name in ("summary", "sweep"))
    results = json.loads((out / "results.json").read_text())

    assert list(summary.columns) == [
        "architecture",
        "regime",
        "seed",
        "dataset",
        "alpha_train",
        "acc_0",
        "acc_01",
        "drop_at_01",
    ]
    assert list(sweep.columns) == [
        "architecture",
        "regime",
        "seed",
        "dataset",
        "alpha_train",
        "alpha_test",
        "acc",
        "loss",
    ]
    assert (len(summary), len(sweep)) == (16, 32)
    assert results["summary"] == summary.to_dict("records")
    assert len(results["sweep"]) == 32
    assert (out / "figures" / "decay.png").stat().st_size > 5000
    assert verify(out) == []


@pytest.mark.drawn
def test_two_empty_stores_give_equal_bytes(folder, tmp_path):
    assert main([*QUICK, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 0
    pictures = [p.relative_to(folder / "out") for p in (folder / "out").rglob("*.png")]

    assert len(pictures) >= 3
    assert [sha256(tmp_path / "out" / p) for p in (*FILES, *pictures)] == [
        sha256(folder / "out" / p) for p in (*FILES, *pictures)
    ]


def test_rows_that_are_there_are_not_made_again_and_not_doubled(folder, capsys):
    before = sha256(folder / "out" / "sweep.csv")
    assert main([*QUICK, "--out", str(folder / "out"), "--store", str(folder / "nothing")]) == 0

    assert "already in the folder" in capsys.readouterr().out
    assert sha256(folder / "out" / "sweep.csv") == before
    assert not list((folder / "nothing").rglob("*.safetensors"))


def test_another_design_in_the_same_folder_is_refused(folder, capsys):
    assert (
        main(
            [
                *QUICK,
                "--epochs",
                "2",
                "--out",
                str(folder / "out"),
                "--store",
                str(folder / "store"),
            ]
        )
        == 2
    )

    assert "epochs 1, not 2: choose another --out" in capsys.readouterr().err


def test_another_network_may_be_trained_for_longer_in_the_same_folder(folder, tmp_path):
    command = [
        *QUICK,
        "--seeds",
        "0",
        "--store",
        str(folder / "store"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 0
    assert main([*command[:2], "mlp_medium", *command[3:], "--epochs", "2"]) == 0
    epochs = pd.read_csv(tmp_path / "out" / "runs.csv").groupby("architecture")["epochs"].first()

    assert epochs.to_dict() == {"mlp_medium": 2, "mlp_small": 1}
    assert (tmp_path / "out" / "report.md").read_text().count("probes run weight-noise mlp_") == 2


def test_two_runs_at_once_into_one_folder_lose_nothing(folder, tmp_path, child):
    def start(seeds):
        command = [
            *QUICK,
            "--seeds",
            seeds,
            "--out",
            str(tmp_path / "out"),
            "--store",
            str(folder / "store"),
        ]
        code = "import sys; from probes import cli; sys.exit(cli.main(sys.argv[1:]))"
        return child(["-c", code, *command], blank=True)

    both = [start("0-3"), start("4-7")]

    assert [process.wait() for process in both] == [0, 0]
    assert [sha256(tmp_path / "out" / name) for name in FILES] == [
        sha256(folder / "out" / name) for name in FILES
    ]


def test_damaged_rows_are_kept_aside_and_made_again(folder, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    *whole, last = (out / "sweep.csv").read_text().splitlines(keepends=True)
    (out / "sweep.csv").write_text(
        "".join(whole) + "stranger,clean,0,mnist5k,0.0,0.1,0.5,0.5\n" + last[:20]
    )
    assert main([*QUICK, "--out", str(out), "--store", str(folder / "store")]) == 0
    said = capsys.readouterr().out

    assert "line 33 is of stranger, unknown here; line 34 is half-written" in said
    assert list((out / "aside").iterdir())
    assert (out / "sweep.csv").read_text() == "".join(whole) + last
    assert verify(out) == []


def test_rows_of_unknown_origin_are_made_again_and_kept_aside(folder, tmp_path, capsys):
    """As the study's own program leaves them: no word of how many epochs or draws."""
    (tmp_path / "out").mkdir()
    ours = (folder / "out" / "sweep.csv").read_text()
    text = ours + ours.partition("\n")[2].replace("mlp_small", "cnn")
    (tmp_path / "out" / "sweep.csv").write_text(text)
    assert (
        main(
            [
                *QUICK,
                "--seeds",
                "0-1",
                "--out",
                str(tmp_path / "out"),
                "--store",
                str(folder / "store"),
            ]
        )
        == 0
    )

    assert "rows of unknown origin" in capsys.readouterr().out
    assert [p.read_text() for p in (tmp_path / "out" / "aside").iterdir()] == [text]
    assert set(pd.read_csv(tmp_path / "out" / "sweep.csv")["architecture"]) == {"cnn", "mlp_small"}


def test_rows_of_another_dataset_are_kept_aside(folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.csv").write_text(
        (folder / "out" / "summary.csv").read_text().replace("mnist5k", "mnist")
    )
    assert main([*QUICK, "--out", str(tmp_path / "out"), "--store", str(folder / "store")]) == 0

    assert "is of mnist, not of mnist5k" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "out" / "summary.csv")) == 16


def test_checkpoints_have_the_studys_names_and_are_read_again(folder, tmp_path, capsys):
    one = [*QUICK, "--seeds", "0", "--checkpoints", str(tmp_path / "checkpoints")]
    assert main([*one, "--out", str(tmp_path / "out"), "--store", str(folder / "store")]) == 0
    names = sorted(p.name for p in (tmp_path / "checkpoints" / "mnist5k").iterdir())
    assert main([*one, "--out", str(tmp_path / "again"), "--store", str(tmp_path / "empty")]) == 0

    assert names == [
        f"mlp_small_{run}.{end}"
        for run in ("clean_seed0_a0.0", "noisy_seed0_a0.2")
        for end in ("json", "pt")
    ]
    assert "from mlp_small_noisy_seed0_a0.2.pt" in capsys.readouterr().out
    assert [sha256(tmp_path / "again" / n) for n in FILES] == [
        sha256(tmp_path / "out" / n) for n in FILES
    ]


def test_a_checkpoint_of_another_recipe_is_refused_and_the_studys_own_is_of_unknown_training(
    folder, tmp_path, capsys
):
    one = [
        *QUICK,
        "--seeds",
        "0",
        "--checkpoints",
        str(tmp_path / "checkpoints"),
        "--store",
        str(folder / "store"),
    ]
    assert main([*one, "--out", str(tmp_path / "out")]) == 0
    assert main([*one, "--epochs", "3", "--out", str(tmp_path / "more")]) == 2
    assert "trained with epochs 1, not 3" in capsys.readouterr().err
    for card in (tmp_path / "checkpoints").rglob("*.json"):
        card.write_text('{"recipe": []}')
    assert main([*one, "--out", str(tmp_path / "more")]) == 2
    assert f"{card} is no card of a checkpoint: it names no recipe" in capsys.readouterr().err
    for card in (tmp_path / "checkpoints").rglob("*.json"):
        card.unlink()
    assert main([*one, "--epochs", "3", "--out", str(tmp_path / "more")]) == 0

    assert set(pd.read_csv(tmp_path / "more" / "runs.csv")["epochs"]) == {0}
    assert "unknown" in (tmp_path / "more" / "report.md").read_text()


def test_two_strengths_in_training_are_judged_each_by_itself(folder, tmp_path):
    command = [
        *QUICK,
        "--seeds",
        "0-1",
        "--store",
        str(folder / "store"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 0
    assert main([*command, "--alpha-train", ".4"]) == 0
    assert main(command) == 0
    lines = {line["subject"]: line for line in evidence.read(tmp_path / "out" / "evidence.jsonl")}
    runs = pd.read_csv(tmp_path / "out" / "runs.csv").set_index(["regime", "seed", "alpha_train"])[
        "weights_sha256"
    ]

    assert sorted(lines) == [f"mlp_small@mnist5k (alpha {a} in training)" for a in ("0.2", "0.4")]
    for strength in (0.2, 0.4):
        cited = lines[f"mlp_small@mnist5k (alpha {strength} in training)"]["weights"][
            "mlp_small:noisy@mnist5k#0"
        ]["sha256"]
        assert cited == runs["noisy", 0, strength]


def test_places_that_would_cost_somebody_a_file_are_refused(folder, tmp_path, capsys):
    (tmp_path / "afile").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for more, sentence in (
        (["--out", str(tmp_path / "afile")], "is a file"),
        (["--out", str(tmp_path / "full")], "holds mine.txt"),
        (
            ["--out", str(tmp_path / "x"), "--checkpoints", str(tmp_path / "x" / "c")],
            "keep the two apart",
        ),
        (["--out", str(tmp_path / "x"), "--checkpoints", str(tmp_path / "afile")], "is a file"),
    ):
        assert main([*QUICK, *more, "--store", str(tmp_path / "store")]) == 2
        assert sentence in capsys.readouterr().err

    assert (
        (tmp_path / "afile").read_text() == (tmp_path / "full" / "mine.txt").read_text() == "mine"
    )
    assert not list((tmp_path / "store").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("net", "dataset", "sentence"),
    [
        ("torch.nn:Flatten", "mnist5k", "no convolution, linear"),
        ("cnn", "mnist5k@4px", "can't"),
        ("json:dumps", "mnist5k", "can't be built as"),
    ],
)
def test_networks_that_can_not_be_used_are_said_before_any_work(
    tmp_path, capsys, net, dataset, sentence
):
    command = [
        "run",
        "weight-noise",
        net,
        "--dataset",
        dataset,
        "--quick",
        "--out",
        str(tmp_path / "out"),
    ]

    assert main([*command, "--store", str(tmp_path / "store")]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_run_made_again_with_other_weights_leaves_none_of_its_old_rows(folder, tmp_path):
    command = [
        *QUICK,
        "--seeds",
        "0",
        "--store",
        str(folder / "store"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--alphas", "0,.1,.3"]) == 0
    runs = pd.read_csv(tmp_path / "out" / "runs.csv").assign(weights_sha256="0" * 64)
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").iloc[:1]
    for name, frame in (("runs", runs), ("summary", summary)):
        (tmp_path / "out" / f"{name}.csv").write_text(csv_text(frame))
    assert main(command) == 0
    sweep = pd.read_csv(tmp_path / "out" / "sweep.csv").groupby("regime")["alpha_test"].agg(list)

    assert sweep["clean"] == [0.0, 0.1, 0.3]  # its summary was there: not made again
    assert sweep["noisy"] == [0.0, 0.1]


@pytest.mark.parametrize("shape", [(256, 784), (10, 5)])
def test_a_checkpoint_of_another_network_or_head_is_refused(tmp_path, capsys, shape):
    place = tmp_path / "checkpoints" / "mnist5k"
    place.mkdir(parents=True)
    torch.save({"1.weight": torch.zeros(shape)}, place / "mlp_small_clean_seed0_a0.0.pt")
    command = [
        *QUICK,
        "--seeds",
        "0",
        "--checkpoints",
        str(place.parent),
        "--out",
        str(tmp_path / "out"),
    ]

    assert main([*command, "--store", str(tmp_path / "store")]) == 2
    assert "mlp_small_clean_seed0_a0.0.pt does not fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alphas": (0.0, -0.1)}, "alpha -0.1"),
        ({"alphas": (0.1,)}, "lack 0"),
        ({"alpha_train": float("nan")}, "alpha_train nan"),
        ({"alpha_train": 0.0}, "0 in the noisy regime"),
        ({"draws": 0}, "0 draws"),
        ({"seeds": ()}, "one of each"),
        ({"epochs": 0}, "0 epochs"),
    ],
)
def test_plans_that_can_not_be(changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        Plan(**changes)


def test_an_unknown_network_is_named_before_any_work(tmp_path):
    with pytest.raises(UnknownName, match="mlp_small"):
        weightnoise.study(["mlp_smal"], "mnist5k", Store(tmp_path), tmp_path / "out", Plan())
    assert not (tmp_path / "out").exists()


def test_seeds_that_calibrate_are_others_and_cifar10_is_28_px():
    assert Plan(seeds=(0, 1, 2)).others == (1000, 1001)
    with pytest.raises(BadInput, match="seed 4 is to be judged and to calibrate"):
        Plan(seeds=(3, 4), others=(4, 5))
    assert (view_of("cifar10"), view_of("cifar10@32px")) == ("cifar10@28px", "cifar10@32px")


def sweep_rows(nets):
    return pd.DataFrame(
        [
            {
                "architecture": net,
                "regime": regime,
                "seed": seed,
                "dataset": "d",
                "alpha_train": 0.2 * (regime == "noisy"),
                "alpha_test": alpha,
                "acc": 0.9 - lost * alpha * (0.5 if regime == "noisy" else 1),
                "loss": alpha,
            }
            for net, lost in nets.items()
            for regime in ("clean", "noisy")
            for seed in range(3)
            for alpha in (0.0, 0.1, 0.5, 1.0)
        ]
    )


def test_accuracy_is_set_in_relation_to_each_networks_own_calibrated_drop():
    """Half of the drop saved is .5 in every network, however much it loses and at whichever
    alpha."""
    frame = tidy(sweep_rows({"a": 0.8, "b": 0.1}), images=100, draws=5)
    scaled = relative(frame, {"a": (0.1, 0.08), "b": (1.0, 0.1)})
    drops = scaled.pivot_table(
        index=["net", "weights"], columns="level", values="relative_accuracy", observed=True
    )
    saved = (drops[0.0] - drops[1.0]).unstack("weights")

    assert (saved["clean"] - saved["noisy"]).to_numpy() == pytest.approx([0.5, 0.5])
    assert sorted(set(scaled["level"])) == [0.0, 1.0]


def test_a_network_without_a_primary_alpha_stays_open():
    frame = tidy(sweep_rows({"a": 0.8, "b": 0.01}), images=100, draws=5)
    asked = {ident: (ask(part), part) for ident, _, ask, part in _claims(frame, {"a": (0.1, 0.08)})}
    found, _ = asked["WN-NET"]

    assert [v.outcome for v in found] == ["inconclusive", "inconclusive"]
    assert found["b"].estimate == 0
    assert "WN" not in asked  # nothing to pool


def test_seeds_that_were_swept_at_other_alphas_are_judged_where_they_can_be():
    rows = sweep_rows({"a": 0.8})
    rows = rows[(rows["seed"] > 0) | (rows["alpha_test"] != 0.1)]
    asked = {
        ident: ask(part) for ident, _, ask, part in _claims(tidy(rows, 100, 5), {"a": (0.1, 0.08)})
    }

    assert (asked["WN"]["a"].n, asked["WN-COST"]["a"].n) == (2, 3)
    assert {ident: v["a"].n for ident, v in asked.items() if "RISE" in ident} == {
        "WN-RISE-clean": 3,
        "WN-RISE-noisy": 3,
    }


def test_calibration_takes_the_smallest_alpha_that_costs_5_points():
    frame = pd.DataFrame(
        {"level": [0.0, 0.1, 0.2, 0.5, 1.0], "correct": [0.95, 0.94, 0.9, 0.7, 0.2]}
    )
    plan = Plan()
    runs = [Run("a", "clean", seed, "d", plan.recipes["clean"]) for seed in plan.others]
    found = calibrated(runs, frame)

    assert found[found["primary"] == "yes"]["alpha"].tolist() == [0.2]
    assert found["drop"].tolist() == pytest.approx([0.01, 0.05, 0.25, 0.75])
    assert set(found["seeds"]) == {"1000 1001"}


def test_numbers_are_those_that_the_files_hold():
    plan = Plan(lr=0.0003333333333333, alpha_train=1 / 3, alphas=(0.0, 2 / 3))

    assert (plan.lr, plan.alpha_train, plan.alphas) == (
        0.000333333333,
        0.333333333,
        (0.0, 0.666666667),
    )

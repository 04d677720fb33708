"""Every expectation that a claim records is what the evidence that it cites has found, at the
design that the test uses.
"""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from probes.claims import declaring
from probes.subjects.dataset import datasets
from probes.subjects.spec import Pair
from probes.tell import evidence

ROOT = Path(__file__).parents[2]
FEW = {
    "cifar10": 300,
    "cifar10-jpeg": 300,
    "mnist": 300,
}  # images of a claim, where nothing else is asked for


def expectations():
    for path in sorted((ROOT / "tests" / "claims").glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"claims_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for thing in vars(module).values():
            marks = {m.name: m for m in getattr(thing, "pytestmark", [])} if callable(thing) else {}
            if "claim" in marks:
                declared = declaring.declared(marks["claim"].args, marks["claim"].kwargs)
                by_name = {str(s): s for s in declaring.subjects(marks["subjects"].args)}
                for subject in declared.expect:
                    yield pytest.param(declared, by_name[subject], id=f"{declared.id} on {subject}")


@pytest.mark.parametrize(("declared", "subject"), list(expectations()))
def test_an_expectation_is_what_its_evidence_found(declared, subject):
    expect = declared.expect[str(subject)]
    lines = evidence.read(ROOT / expect.cites / "evidence.jsonl")
    dataset = (subject.first if isinstance(subject, Pair) else subject).dataset
    mine = [r for r in lines if (r["id"], r["subject"]) == (declared.id, str(subject))]
    at_design = [r for r in mine if dataset not in FEW or r["design"]["images"] <= FEW[dataset]]

    assert dataset in datasets
    assert [r["overall"] for r in at_design] == [expect.verdict]
    assert all(r["sentence"] == declared.sentence for r in at_design)


def test_the_strength_and_the_loss_of_the_weight_noise_claims_are_the_calibrated_ones():
    path = ROOT / "tests" / "claims" / "test_weight_noise.py"
    spec = importlib.util.spec_from_file_location("claims_weight_noise", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = pd.read_csv(ROOT / "reports" / "weight-noise" / "mnist5k" / "calibration.csv")
    primary = rows[(rows["architecture"] == "mlp_small") & (rows["primary"] == "yes")].iloc[0]

    assert primary["alpha"] == module.PRIMARY
    assert 100 * primary["drop"] == pytest.approx(module.LOST)

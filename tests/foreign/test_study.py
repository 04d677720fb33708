"""A study of somebody else's: a package with an entry point is installed, and its study runs,
reports and verifies like ours.
"""

import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import probes
from probes import cli, studies
from probes.errors import BadInput
from probes.studies.study import Study

FILES = {
    "noisiest/__init__.py": (
        """
from probes.studies.study import Study

STUDY = Study("noisiest", "which block's output varies most", command="noisiest.command",
              sections={"tables/noisiest.csv": "noisiest.pages:section"})
"""
    ),
    "noisiest/command.py": (
        """
from pathlib import Path

from probes.run.console import common, print_verdicts


def options(parser):
    parser.add_argument("net")
    parser.add_argument("--images", type=int)
    parser.add_argument("--out", type=Path)
    common(parser)


def run(asked):
    from probes import studies
    from probes.judge import rises
    from probes.measure import block_metrics
    from probes.perturb import gaussian
    from probes.run.bench import Bench
    from probes.run.judging import told
    from probes.subjects.spec import parse
    from probes.tell import origins, report

    lab = Bench([parse(asked.given.net)], asked.store, asked.options)
    table = lab.sweep(block_metrics, under=gaussian(0, 0.1))
    asked.say(f"{len(table.frame)} rows")
    found = rises(table, "var_h", by="site", sesoi="1 %")
    line = told(lab, found, ("NOISIEST", "Noise raises Var h(x).", ""), asked.given.net)
    spread = table.frame.groupby("site", observed=True)["var_h"].mean().reset_index()
    run = origins.provenance(Path.cwd(), asked.command, {})
    report.assemble([line], run, asked.given.out, {"noisiest": spread}, sections=studies.sections())
    print_verdicts(asked.given.out)
"""
    ),
    "noisiest/pages.py": (
        """
import pandas as pd


def section(folder):
    table = pd.read_csv(folder / "tables" / "noisiest.csv")
    return f"## Which block varies most\\n\\nIt is {table.loc[table['var_h'].idxmax(), 'site']}."
"""
    ),
    "noisiest-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: noisiest\nVersion: 1.0\n",
    "noisiest-1.0.dist-info/WHEEL": (
        "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ),
    "noisiest-1.0.dist-info/entry_points.txt": "[probes.studies]\nnoisiest = noisiest:STUDY\n",
}


@pytest.fixture
def shell(tmp_path, child):
    """A package installed by pip into a folder of its own, and a shell that finds it."""
    wheel, place = tmp_path / "noisiest-1.0-py3-none-any.whl", tmp_path / "site"
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in FILES.items():
            file.writestr(name, text)
        file.writestr("noisiest-1.0.dist-info/RECORD", "".join(f"{name},,\n" for name in FILES))
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(place),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)

    code = (
        f"import sys; sys.path.insert(0, {str(place)!r}); from probes import cli;"
        " sys.exit(cli.main(sys.argv[1:]))"
    )
    env = os.environ | {"PROBES_STORE": str(tmp_path / "store")}

    def run(*argv):
        told = child(["-c", code, *argv], env=env, cwd=tmp_path).told()
        return subprocess.CompletedProcess(argv, *told)

    return run


def test_a_study_of_an_installed_package_is_run_reported_and_verified(shell, tmp_path):
    done = shell(
        "run", "noisiest", "resnet20@mnist5k", "--images", "100", "--threads", "1", "--out", "out"
    )

    assert done.returncode == 0, done.stderr
    assert "900 rows" not in done.stderr
    assert "NOISIEST on resnet20@mnist5k" in done.stdout
    assert "## Which block varies most" in (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.md").read_bytes()
    assert shell("report", "out").returncode == 0  # its section is drawn again, too
    assert (tmp_path / "out" / "report.md").read_bytes() == page
    assert "verified" in shell("verify", "out").stdout
    assert "which block's output varies most" in shell("run", "--help").stdout


class Point:
    def __init__(self, name, value, loaded):
        self.name, self.value, self._loaded, self.dist = name, value, loaded, None

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


@pytest.mark.parametrize(
    ("loaded", "sentence"),
    [
        (
            ImportError("no module flips"),
            "the study 'flips' of flips:STUDY can't be imported: ImportError: no module flips",
        ),
        (
            42,
            "the study 'flips' of flips:STUDY is a int: flips:STUDY names no probes.studies.Study",
        ),
        (
            Study("masking", "mine", "flips.command"),
            "called 'masking', as another study is: give it a name of its own",
        ),
    ],
)
def test_an_entry_point_that_is_no_study_is_one_sentence(monkeypatch, loaded, sentence):
    monkeypatch.setattr(
        studies.metadata, "entry_points", lambda group: [Point("flips", "flips:STUDY", loaded)]
    )
    studies.studies.cache_clear()
    try:
        with pytest.raises(BadInput, match=sentence):
            studies.studies()
    finally:
        monkeypatch.undo()
        studies.studies.cache_clear()


@pytest.fixture
def points(monkeypatch):
    """Two installed studies: one is right, one can't be imported; which of them were loaded."""
    seen = []

    class Seen(Point):
        def load(self):
            seen.append(self.name)
            return super().load()

    right = Study("flips", "mine", "probes.studies.dynamics.command")
    both = [Seen("flips", "flips:STUDY", right), Seen("bad", "bad:STUDY", ImportError("gone"))]
    monkeypatch.setattr(studies.metadata, "entry_points", lambda group: both)
    studies.studies.cache_clear()
    yield seen
    monkeypatch.undo()
    studies.studies.cache_clear()


def test_only_the_study_that_is_asked_for_is_imported(points, capsys, tmp_path):
    assert cli.main(["verify", str(tmp_path)]) == 1
    assert cli.main(["run", "dynamics", "nosuchnet", "--store", str(tmp_path)]) == 2
    assert points == []
    assert cli.main(["run", "flips", "nosuchnet", "--store", str(tmp_path)]) == 2
    assert points == ["flips"]
    assert "unknown network 'nosuchnet'" in capsys.readouterr().err

    assert cli.main(["run", "bad"]) == 2
    assert capsys.readouterr().err.startswith(
        "probes: the study 'bad' of bad:STUDY can't be imported: ImportError: gone"
    )


def test_a_study_that_can_not_be_imported_takes_no_report_with_it(points, caplog):
    found = studies.sections()

    assert len(found.below) == 1
    assert (
        "can't be imported: ImportError: gone; its sections of reports are left out" in caplog.text
    )


DOCS = Path(__file__).parents[2] / "docs" / "your-study.md"


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_work_of_ones_own_in_the_docs_is_done_once_by_any_engine(tmp_path, monkeypatch, jobs):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    (tmp_path / "confident.py").write_text(next(b for b in blocks if "class Confidence" in b))
    monkeypatch.syspath_prepend(tmp_path)
    confident = importlib.import_module("confident")
    lab = probes.Lab(
        "resnet20@mnist5k",
        tmp_path / "store",
        quiet=True,
        images=100,
        threads=1,
        engine="processes",
        jobs=jobs,
    )
    found = confident.confidence(lab)
    monkeypatch.setattr(confident.Confidence, "make", lambda *_: pytest.fail("made again"))

    assert confident.confidence(lab) == found
    assert len(found) == 2
    assert all(0.8 < value < 1 for value in found)
    sys.modules.pop("confident")

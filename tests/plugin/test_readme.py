"""What the README shows, works."""

import re
from pathlib import Path

from probes.commands import welcome
from probes.run.options import OPTIONS
from probes.store import Store
from probes.subjects.data import load

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_network_in_ten_lines_is_judged(pytester, monkeypatch, tmp_path, run_pytest):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path))
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", README, re.S)
        if "# test_mine.py" in block
    ).replace("test_mine:mine@", "test_mine:mine:untrained@")  # trained in tests/docs
    (pytester.path / "test_mine.py").write_text(code)
    result = run_pytest("--probes-images=200", "-p", "no:cacheprovider")

    result.stdout.fnmatch_lines(["*test_mine:mine:untrained@mnist5k*", "1 claim judged*"])


def test_the_claim_that_is_explained_is_the_one_that_runs():
    shown = next(
        block
        for block in re.findall(r"```python\n(.*?)```", README, re.S)
        if "def test_hypothesis_h1" in block
    )
    real = (Path(__file__).parents[1] / "claims" / "test_dynamics.py").read_text(encoding="utf-8")
    start = real.index('@pytest.mark.subjects("resnet20@mnist5k"')

    def bare(text):
        return re.sub(
            r",(?=[)\]}])", "", re.sub(r"\s+", "", re.sub(r"# \d+$", "", text, flags=re.M))
        )

    assert bare(shown) in bare(real[start:])


def test_the_dataset_of_ones_own_is_one(monkeypatch, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "your-images.md").read_text(encoding="utf-8")
    (tmp_path / "mydata_of_the_page.py").write_text(
        re.findall(r"```python\n(.*?)```", page, re.S)[0]
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = load("mydata_of_the_page:stripes", "test", Store(tmp_path / "store"))

    assert (len(data), data.classes) == (400, ("lying", "standing"))


def test_every_option_is_named():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "options.md").read_text()
    for option in OPTIONS:
        assert f"`{option.name}`" in page


def test_the_claim_that_probes_alone_shows_is_judged(pytester, elsewhere, run_pytest):
    (how,) = [how for _, *how in welcome.steps(pytester.path) if how[0] == "import pytest"]
    pytester.makepyfile(test_noise="\n".join(how))
    result = run_pytest("--probes-images=300", "-p", "no:cacheprovider")

    result.stdout.fnmatch_lines(["1 claim judged, 1 decided (1 supported)"])

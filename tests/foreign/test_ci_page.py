"""The shell of every step of the page on CI and of the composite action, in a scratch project."""

import os
import re
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from probes.comparing import baseline

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
GITHUB, GITLAB = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S))
PLAIN = re.findall(r"```sh\n(export .*?)```", PAGE, re.S)[0]
ACTION = yaml.safe_load((ROOT / ".github" / "actions" / "probes" / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
CLAIM = """
import pytest
from probes import accuracy, equivalent, gaussian

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise of .01 costs nothing.", id="LITTLE")
def test_little(lab, claim):
    table = lab.sweep(accuracy, under=gaussian(0, 0.01))
    claim.holds(equivalent(table, "correct", sesoi="20 points"))
"""
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a claim, a baseline, and a pip that writes down what it is asked for."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "claims").mkdir()
    (folder / "claims" / "test_little.py").write_text(CLAIM)
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = -q -p no:cacheprovider -p no:randomly\nprobes_images = 60\n"
    )
    baseline.save(
        "main",
        "resnet20#0",
        images=200,
        folder=folder / "baselines",
        store=folder / ".probes",
    )
    tools = folder / "bin"
    tools.mkdir()
    for name in ("probes", "pytest", "pip"):
        (tools / name).write_text(ASKING.format(folder=folder, name=name))
        (tools / name).chmod(0o755)
    return folder


ASKING = """#!/bin/sh
cd {folder}
env -0 > asked-env
printf '%s\\0' {name} "$@" > asked.new && mv asked.new asked
while [ ! -f answer ]; do sleep 0.02; done
code=$(cat answer) && rm answer
cat answer-out
exit $code
"""
"""A tool of a step that hands what it is asked for, with its environment, to the test."""


@pytest.fixture
def shell(project, child):
    """Run a step as a runner does: ``shell(text, NAME=value)``. What it asks of ``probes`` and
    ``pytest`` is done in a process that has torch loaded already, and once: what ended well lies
    there.
    """

    def answer():
        name, *words = (project / "asked").read_text().split("\0")[:-1]
        (project / "asked").unlink()
        env = dict(v.split("=", 1) for v in (project / "asked-env").read_text().split("\0") if v)
        code, said = 0, ""
        if name == "pip":
            PIP.append(words)
        elif (name, *words) not in DONE:
            cli = f"import sys; from probes.cli import main; sys.exit(main({words!r}))"
            asked = ("-c", cli) if name == "probes" else ("-m", "pytest", *words)
            code, said, err = child(asked, env=env, cwd=project).told()
            said += err
            if code == 0:
                DONE.append((name, *words))
        (project / "answer-out").write_text(said)
        (project / "answer.new").write_text(str(code))
        (project / "answer.new").rename(project / "answer")

    def run(text, **env):
        assert "${{" not in text, "what a user types is no shell: it comes by the environment"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PROBES_", "GITHUB_"))}
        given = {"PATH": f"{project / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        with (project / "out").open("w+") as out:
            step = subprocess.Popen(
                [*SHELL, text], cwd=project, env=kept | given | env, stdout=out, stderr=out
            )
            while step.poll() is None:
                if (project / "asked").exists():
                    answer()
                time.sleep(0.01)
        return step.returncode, (project / "out").read_text()

    return run


DONE: list[tuple[str, ...]] = []
PIP: list[list[str]] = []


def action(shell, project, given):
    """Run the steps of the action with these inputs; the code of its last step, and what is on the
    page of the run.
    """
    inputs = {name: one.get("default") for name, one in ACTION["inputs"].items()} | given
    for name in ("output", "page"):
        (project / name).write_text("")
    github = {
        "GITHUB_OUTPUT": str(project / "output"),
        "GITHUB_STEP_SUMMARY": str(project / "page"),
    }
    last = None
    for step in ACTION["runs"]["steps"]:
        if "run" not in step:
            continue
        outputs = dict(line.split("=") for line in (project / "output").read_text().splitlines())
        env = {}
        for name, value in step.get("env", {}).items():
            found = re.fullmatch(r"\$\{\{ (inputs|steps\.run\.outputs)\.([\w-]+) \}\}", value)
            env[name] = value if not found else (inputs | outputs)[found[2]]
        last = shell(step["run"], **env, **github)
    return last, (project / "page").read_text()


@pytest.mark.slow
def test_the_workflow_of_github_runs_its_claims_and_its_comparison(project, shell):
    steps = {s.get("name", s.get("uses")): s for s in GITHUB["jobs"]["probes"]["steps"]}
    shell(steps["Install"]["run"])
    assert PIP == [["install", "neural-probes", "-e", "."]]

    (code, said), page = action(shell, project, steps["Claims"]["with"])
    assert (code, page.splitlines()[:1]) == (0, ["### ✓ Probes: as expected"]), said
    assert "| LITTLE | `resnet20@mnist5k` | **supported** | supported |" in page

    (code, said), page = action(shell, project, steps["Is the new one worse?"]["with"])
    assert code == 0, said
    assert "Old: `baseline main`" in page
    junit = project / "results" / "compare-summary" / "junit.xml"
    assert ET.fromstring(junit.read_text()).tag == "testsuites"


@pytest.mark.parametrize(
    ("run", "more", "code", "says"),
    [
        ("exit 1 # probes compare", {}, 1, ""),
        ("exit 2 # probes compare", {}, 0, "::warning::not decided"),
        ("exit 2 # probes compare", {"fail-on-open": "true"}, 2, ""),
        ("exit 2 # pytest", {}, 2, ""),
        ("exit 3 # probes compare", {}, 3, ""),
        ('echo "a\'b" > said; exit 0', {}, 0, ""),
    ],
)
def test_the_action_passes_the_exit_code_on_and_takes_2_of_a_comparison_for_open(
    project, shell, run, more, code, says
):
    (found, said), page = action(shell, project, {"run": run, "report": "nothing", **more})

    assert (found, says in said) == (code, True)
    assert page == "No report in nothing: nothing came to a verdict.\n"


def test_each_step_of_gitlab_runs(project, shell):
    """The same commands as those of GitHub, whose results lie there where they were run."""
    for name in ("claims", "compare"):
        job = GITLAB[name]
        lines = [*GITLAB["default"]["before_script"], *job["script"]]
        code, said = shell("\n".join(lines), **GITLAB["variables"])
        assert code in [0, *job.get("allow_failure", {}).get("exit_codes", [])], said
        assert shell("\n".join(job["after_script"]))[0] == 0
        for path in [*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]]:
            assert (project / path).exists()


def test_the_plain_script_runs_and_passes_the_code_on(project, shell):
    code, said = shell(PLAIN)
    assert code == 0, said
    assert "### ✓ Probes: as expected" in said

    assert shell(PLAIN.replace("pytest claims", "sh -c 'exit 1'"))[0] == 1


def test_what_the_workflow_uses_is_there_or_has_a_version():
    used = [s["uses"] for s in [*GITHUB["jobs"]["probes"]["steps"], *STEPS.values()] if "uses" in s]
    given = [s["with"] for s in GITHUB["jobs"]["probes"]["steps"] if s.get("uses", "")[:2] == "./"]

    assert all((ROOT / name[2:]).is_dir() for name in used if name.startswith("./"))
    assert all(re.search(r"@v\d+$", name) for name in used if not name.startswith("./"))
    assert all(set(one) <= set(ACTION["inputs"]) for one in given)

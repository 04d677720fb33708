"""The house: imports point down, the judge needs no torch, and a project without claims pays for
neither torch nor pandas.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = [
    {
        "alike",
        "atomic",
        "reading",
        "axes",
        "batch",
        "cost",
        "errors",
        "explaining",
        "fingerprint",
        "freed",
        "holdings",
        "hooks",
        "kept",
        "moments",
        "origin",
        "philox",
        "philoxkernel",
        "ranks",
        "refusing",
        "registry",
    }
    | {"naming", "seeds", "stacking", "stopping", "store", "table", "tf32", "versions", "walking"},
    {"perturb", "measure", "judge"},
    {"subjects", "tell"},
    {"run"},
    {"claims"},
    {"studies"},
    {"lab", "check", "comparing"},
    {"commands"},
    {"claimoptions"},
    {"claimplugin", "cli", "fixtures"},
    {"plugin"},
]
# Light rooms on a high floor that lower doors may enter: the spelling of a subject needs no torch.
GROUND = {"probes.subjects.spec", "probes"}


def floor(module):
    room = module.split(".")[1] if "." in module else ""
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), None)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("probes"):
            yield from (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "probes"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("probes"))


MODULES = sorted((ROOT / "probes").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    here = floor(own)
    if here is None or own in GROUND:
        return
    for target in imports(path):
        if target in GROUND or target == "probes.__version__":
            continue
        there = floor(target)
        assert there is not None, f"{own} imports {target}, which is in no room"
        assert there <= here, f"{own} imports {target}"
        same_room = target.split(".")[1] == own.split(".")[1]
        assert there < here or same_room or here in (0, 2), f"{own} imports {target}, its neighbour"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_only_the_plugin_imports_pytest_and_only_plots_imports_matplotlib(path):
    roots = {
        (
            (node.module or "").split(".")[0]
            if isinstance(node, ast.ImportFrom)
            else a.name.split(".")[0]
        )
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for a in node.names
    }

    assert "pytest" not in roots or path.name in (
        "plugin.py",
        "claimplugin.py",
        "claimoptions.py",
        "fixtures.py",
    )
    assert "matplotlib" not in roots or path.name in ("style.py", "plots.py", "runplots.py")


def edges():
    """Which file imports which, by all their imports, those inside functions and for type checkers
    too.
    """
    known = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in MODULES
    }
    found = {}
    for name, path in known.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: a relative import, which no arrow shows"
                inner = {f"{node.module}.{a.name}" for a in node.names}
                targets |= {t if t in known else node.module for t in inner}
        found[name] = {
            t for t in targets if t in known and t not in (name, "probes")
        }  # the package's face knows all of it
    return found


def circle(graph):
    """The first circle of imports, as the names along it; None if there is none."""
    done, open_ = set(), []

    def visit(name):
        if name in open_:
            return [*open_[open_.index(name) :], name]
        if name in done:
            return None
        open_.append(name)
        for target in sorted(graph[name]):
            if found := visit(target):
                return found
        done.add(open_.pop())
        return None

    return next((found for name in graph if (found := visit(name))), None)


def test_no_file_is_in_a_circle():
    assert circle(edges()) is None


def test_a_circle_within_a_room_is_found():
    """Two files of one room that import each other, one of them inside a function."""
    graph = edges()
    assert "probes.run.cells" in graph["probes.run.engine"]
    graph["probes.run.cells"].add("probes.run.engine")

    assert set(circle(graph)) == {"probes.run.cells", "probes.run.engine"}


def study_of(name):
    parts = name.split(".")
    return (
        parts[2] if parts[1:2] == ["studies"] and len(parts) > 2 and parts[2] != "study" else None
    )


def test_studies_import_the_core_and_never_each_other():
    for name, targets in edges().items():
        own = study_of(name)
        for other in (study_of(t) for t in targets):
            if own and other and other != own:
                allowed = other == "sensitivity" and own in ("masking", "segments")
                assert allowed, f"{name} imports {other}"


def test_nothing_outside_the_studies_names_one_but_the_laboratory():
    for name, targets in edges().items():
        if not name.startswith("probes.studies") and name != "probes.lab":
            assert not any(study_of(t) for t in targets), f"{name} names a study"


def test_run_has_few_rooms():
    assert len(list((ROOT / "probes" / "run").glob("[!_]*.py"))) <= 14


def test_nobody_asks_a_perturbation_or_a_measure_for_its_class():
    kinds = {
        "Perturbation",
        "Gaussian",
        "WeightNoise",
        "LayerNoise",
        "Augmenting",
        "Masks",
        "Both",
        "Measure",
        "Predictions",
    }
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                named = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
                assert not named & kinds, f"{path}:{node.lineno}"


def loaded(code, *names):
    probe = f"import sys; {code}; print(*(m for m in {names!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.split()


def test_the_judge_loads_no_torch():
    assert loaded("import probes.judge", "torch", "probes.judge") == ["probes.judge"]


def test_verifying_loads_no_torch():
    assert loaded("import probes.tell.verify", "torch") == []


def test_the_plugin_loads_neither_torch_nor_pandas():
    assert loaded("import probes.plugin", "torch", "pandas", "numpy", "matplotlib") == []


def test_the_laboratory_loads_nothing_that_it_does_not_use_yet():
    heavy = ("torchvision", "matplotlib", "sklearn")
    assert loaded("import probes.lab", *heavy) == []


def test_measure_and_perturb_never_import_each_other():
    for one, other in (("measure", "perturb"), ("perturb", "measure")):
        for path in (ROOT / "probes" / one).rglob("*.py"):
            assert not any(t.startswith(f"probes.{other}") for t in imports(path))


def test_no_public_object_has_the_name_of_a_module():
    import importlib

    for path in MODULES:
        if path.name != "__init__.py" or path.parent.name == "probes":
            continue
        package = importlib.import_module(".".join(path.parent.relative_to(ROOT).parts))
        rooms = {p.stem for p in path.parent.glob("*.py")}

        assert not rooms & set(getattr(package, "__all__", ()))


def test_rooms_stay_under_300_lines():
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path


def test_only_one_claim_answers_to_its_name():
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and "hypothesis_h1" in node.name:
                assert node.name == "test_hypothesis_h1"
                assert "claims" in path.parts

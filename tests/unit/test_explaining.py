"""Each error of the package has a page that says its cause and the way out."""

import importlib
import importlib.util
import pickle
import sys
from pathlib import Path

import pytest

from probes import Lab, cli
from probes.errors import BadInput, ProbesError
from probes.explaining import topic_of, topics

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
generate = importlib.import_module("generate")
sys.path.pop(0)


def made():
    """Where the package makes an error: module and function."""
    return {(module, function) for module, function, _ in generate.made()}


def test_each_place_that_makes_an_error_has_a_page():
    places = made()

    assert len(places) > 200
    assert {place for place in places if topic_of(*place) is None} == set()


def test_each_page_is_of_a_place_that_makes_errors():
    assert {topic_of(*place) for place in made()} == set(topics())


def test_each_page_names_modules_that_are_there():
    for topic in topics().values():
        for where in topic.where:
            module = f"probes.{where.partition(':')[0]}"
            assert importlib.util.find_spec(module), (topic.name, where)


def test_an_error_names_its_page_and_keeps_it_on_the_way_to_another_process():
    with pytest.raises(BadInput) as found:
        Lab([])

    for error in (found.value, pickle.loads(pickle.dumps(found.value))):
        assert error.topic == "lab"
        assert error.__notes__ == ["explained in docs/errors/lab.md, or by `probes explain lab`"]


def test_an_error_of_other_code_has_none():
    error = ProbesError("mine")

    assert error.topic is None
    assert not hasattr(error, "__notes__")


def test_a_more_specific_place_wins():
    assert topic_of("probes.claims.finding", "cited") == "expectations"
    assert topic_of("probes.claims.finding", "judge") == "claims"
    assert topic_of("probes.subjects.epochs", "initial") == "networks"
    assert topic_of("probes.subjectsomething", "f") is None
    assert topic_of("numpy", "f") is None


def test_a_command_that_fails_names_the_page_and_the_command_that_shows_it(capsys):
    assert cli.main(["run", "dynamics", "resnet21"]) == 2
    assert "\nmore: probes explain names\n" in capsys.readouterr().err
    assert cli.main(["explain", "names"]) == 0
    assert "Way out: " in capsys.readouterr().out
    assert cli.main(["explain", "nmes"]) == 2
    assert "did you mean names" in capsys.readouterr().err
    assert cli.main(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(topics())

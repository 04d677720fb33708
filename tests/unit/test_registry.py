"""Registries refuse taken names and answer unknown ones with the nearest."""

import pytest

from probes.errors import BadInput, UnknownName
from probes.registry import Registry


def test_a_thing_is_found_under_its_name():
    registry = Registry("network")
    registry.register("tiny")(1)

    assert registry["tiny"] == 1
    assert "tiny" in registry
    assert list(registry) == ["tiny"]


def test_a_taken_name_is_an_error():
    registry = Registry("network")
    registry.register("tiny")("one")
    with pytest.raises(BadInput, match="'tiny' is taken by 'one'"):
        registry.register("tiny")("two")


def test_the_same_thing_may_be_filed_again():
    registry = Registry("network")
    registry.register("tiny")("one")
    registry.register("tiny")("one")

    assert registry["tiny"] == "one"


def test_an_unknown_name_offers_the_nearest():
    registry = Registry("network")
    registry.register("resnet20")(1)
    with pytest.raises(UnknownName, match="unknown network 'resnet02': did you mean resnet20"):
        registry["resnet02"]


def test_an_unknown_name_that_is_near_to_none_lists_them_all():
    registry = Registry("network")
    registry.register("resnet20")(1)
    with pytest.raises(UnknownName, match="known: resnet20"):
        registry["zzz"]


def test_a_dotted_name_is_imported():
    assert Registry("thing")["os.path:join"] is __import__("os").path.join


@pytest.mark.parametrize("name", ["no_such_module:thing", "os.path:no_such_thing"])
def test_a_dotted_name_that_can_not_be_imported_says_why(name):
    with pytest.raises(UnknownName, match="no_such"):
        Registry("thing")[name]


@pytest.mark.parametrize("name", ["", "a:b", "a@b", "a#1"])
def test_a_name_that_a_subject_could_not_hold_is_refused(name):
    with pytest.raises(BadInput):
        Registry("thing").register(name)

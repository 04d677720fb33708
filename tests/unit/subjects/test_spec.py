"""How a subject is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import BadInput
from probes.subjects.spec import Spec, pair, parse


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("resnet20@mnist5k", Spec("resnet20", None, "mnist5k", None)),
        ("resnet20@mnist5k#3", Spec("resnet20", None, "mnist5k", 3)),
        ("resnet20@mnist5k#*", Spec("resnet20", None, "mnist5k", "*")),
        ("resnet18:imagenet1k_v1@cifar10", Spec("resnet18", "imagenet1k_v1", "cifar10", None)),
        ("pkg.mod:thing@mnist5k", Spec("pkg.mod:thing", None, "mnist5k", None)),
        ("pkg.mod:thing:file.pt@mnist5k#0", Spec("pkg.mod:thing", "file.pt", "mnist5k", 0)),
        ("net@imagefolder:a/b@c#d", Spec("net", None, "imagefolder:a/b@c#d", None)),
        ("mlp@cifar10@28px#1", Spec("mlp", None, "cifar10@28px", 1)),
        ("resnet20#2", Spec("resnet20", None, None, 2)),
    ],
)
def test_a_subject_is_split_where_the_readme_says(text, spec):
    assert parse(text) == spec
    assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    ["", "@mnist5k", "net@", "net:@d", "net:w:@d".replace(":w", ""), "a.b:@d", "ne#t@d", None, 3],
)
def test_what_is_no_subject_is_an_error_with_the_form(text):
    with pytest.raises(BadInput, match="net\\[:weights\\]@dataset"):
        parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_subject_or_an_error_of_ours(text):
    try:
        spec = parse(text)
    except BadInput:
        return

    assert parse(str(spec)) == spec


def test_a_pair_prints_as_its_key():
    assert str(pair("a@d#*", "b@d#*")) == "a@d#* + b@d#*"


@pytest.mark.parametrize(("a", "b"), [("a@d", "a@d"), ("a@d", "a@e")])
def test_a_pair_compares_two_on_the_same_images(a, b):
    with pytest.raises(BadInput, match="pair"):
        pair(a, b)

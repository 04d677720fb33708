"""Guided masks: which units they choose, one module or all of them, and what is refused."""

import numpy as np
import pytest
import torch

from probes.errors import BadInput, UnknownName
from probes.run.settings import Options
from probes.run.work import Place
from probes.store import Store
from probes.studies.masking.guide import Guide, Guiding
from probes.studies.masking.masks import Mask
from probes.studies.masking.work import CLEAN, top_classes

OTHER = Guide(("a",), {"total": {"probe": np.ones((1, 3, 2, 1))}}, {"probe": np.ones((3, 2, 1))})
"""Indices of a network with other units."""
DEAD = Guide(
    ("a",), {"total": {"probe": np.full((1, 3, 2, 1), np.nan)}}, {"probe": np.zeros((3, 2, 1))}
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def guide(store, planted, bench_of):
    lab, name = bench_of(planted.subject, store)
    return Guiding(name, planted.plan, ("total",), lab.options.where).guide(lab.place)


def test_full_masks_scale_by_the_index_and_inverse_ones_by_the_rest(guide):
    index = guide.index["total"]["probe"][guide.variables.index("brightness")]
    full, inverse = (
        Mask(kind, "brightness").scales(guide)["probe"] for kind in ("full", "inverse")
    )

    np.testing.assert_allclose(full, np.nan_to_num(index).clip(0, 1), rtol=1e-6)
    torch.testing.assert_close(full + inverse, torch.ones_like(full))


def test_random_masks_are_common_to_variables_and_a_draw_is_its_name(guide):
    first, again, other = (
        Mask("random", v, 0.9, 0.5, d).scales(guide)["probe"]
        for v, d in (("", 0), ("hflip", 0), ("", 1))
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.5, 1.0}


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda g, _: Mask("guided", "hue").scales(g),
            UnknownName,
            "unknown variable of the indices 'hue'",
        ),
        (lambda g, _: Mask("guidde", "hflip").scales(g), UnknownName, "did you mean guided"),
        (
            lambda g, _: Mask("guided", "hflip", q=0.9999).scales(g),
            BadInput,
            "index of hflip: q 0.9999 of 64 units",
        ),
        (
            lambda g, _: Mask("guided", "a").scales(DEAD),
            BadInput,
            "module 'probe', total index of a: every",
        ),
        (lambda g, _: Mask("guided", "hflip", q=1.2).scales(g), BadInput, "q 1.2"),
        (
            lambda g, _: Mask("guided", "hflip", module="layer9").scales(g),
            UnknownName,
            "unknown module of a mask 'layer9'",
        ),
        (
            lambda g, _: Mask("guided", "hflip", measure="first").scales(g),
            UnknownName,
            "unknown measure 'first'",
        ),
        (lambda g, _: Mask("guided", "hflip", alpha=-1).scales(g), BadInput, "alpha -1"),
        (
            lambda _, planted: top_classes(
                planted.subject, OTHER, CLEAN, [Mask("guided", "a", 0.5)], Options(threads=1).where
            ),
            BadInput,
            "is it another network's",
        ),
        (
            lambda _, planted: Guiding(
                "planted", planted.plan, ("contrast",), Options(threads=1).where
            ).works(Place(Store.default(), None, {"planted": planted.subject})),
            UnknownName,
            "unknown measure",
        ),
    ],
)
def test_what_can_not_be_is_refused(guide, planted, call, error, says):
    with pytest.raises(error, match=says):
        call(guide, planted)

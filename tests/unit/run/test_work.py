"""A piece of work and what it needs: made where it is missing, and looked at once."""

import dataclasses

import numpy as np
from torch import nn

from probes.run.work import Place, Work, done
from probes.store import Store
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.source import Source, group_of
from probes.subjects.data import load
from probes.subjects.dataset import Dataset
from probes.subjects.spec import parse
from probes.subjects.subject import Subject


@dataclasses.dataclass(frozen=True)
class Flour(Work):
    """Needs nothing, and does not say so."""

    kind = "flour"
    suffix = ".txt"

    def key(self, place):
        return {"flour": 1}

    def make(self, place, path):
        path.write_text("flour")


@dataclasses.dataclass(frozen=True)
class Bread(Work):
    """Needs flour."""

    number: int
    kind = "bread"
    suffix = ".txt"

    def key(self, place):
        return {"bread": self.number}

    def needs(self, place):
        return [Flour()]

    def make(self, place, path):
        assert place.store.find("flour", Flour().key(place), ".txt")
        path.write_text("bread")


class Seen(Store):
    """A store that notes what is looked up."""

    def __init__(self, folder):
        super().__init__(folder)
        self.asked = []

    def get_or_make(self, kind, key, suffix, make, about=""):
        self.asked.append(kind)
        return super().get_or_make(kind, key, suffix, make, about)


def test_what_several_pieces_need_is_looked_at_once_and_not_at_all_where_they_are_there(tmp_path):
    cold, warm = Seen(tmp_path), Seen(tmp_path)
    first = [done(Bread(number), place) for place in [Place(cold)] for number in range(3)]
    again = [done(Bread(number), place) for place in [Place(warm)] for number in range(3)]

    assert first == again
    assert sorted(cold.asked) == ["bread", "bread", "bread", "flour"]
    assert warm.asked == ["bread", "bread", "bread"]


def test_training_images_are_those_of_the_dataset_as_it_is_typed(tmp_path):
    """A dataset of one's own may be called otherwise, or as one of ours, inside."""
    data = load("mnist5k", "test")
    spec, inside = parse("resnet20@mnist5k"), dataclasses.replace(data, name="mydata")
    subject = Subject(spec, nn.Identity(), inside, "", "", "")
    place = Place(Store(tmp_path), subjects={"one": subject})

    assert len(place.subject("one", training=30).training) == 30
    assert len(Source("one", learnt=True).of(place).data) == 1000
    plan = Plan("1", factors=("partition",))
    assert plan.pool(inside, place.store, subject.dataset).parts[1].name == "mnist5k"


def test_a_group_of_images_keeps_all_that_is_known_of_them():
    n = 6
    shape = ("d", "d", "test", np.zeros((n, 1, 2, 2), np.uint8), np.zeros(n, int), np.arange(n))
    known = {"clusters": {"patient": np.arange(n)}, "targets": np.arange(n, dtype=float)[:, None]}
    found = group_of(Dataset(*shape, ("a",), (0.0,), (1.0,), **known), 1, 3)

    assert found.targets.ravel().tolist() == found.clusters["patient"].tolist() == list(found.ids)

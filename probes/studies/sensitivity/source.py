"""The network and the images on which units are measured: by name, so that any process finds the
same.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from probes import seeds
from probes.errors import BadInput
from probes.run.work import Place
from probes.subjects import data as datasets
from probes.subjects.dataset import Dataset
from probes.subjects.subject import Subject

LEARNT = 1000
"""An index is measured on at most this many training images."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A subject of a place by its name: on a sample of its ``images``, on at most 1,000 training
    images (``learnt``), or on a ``group`` (its number, the number of disjoint groups).
    """

    subject: str
    images: int | None = None
    learnt: bool = False
    group: tuple[int, int] | None = None

    def of(self, place: Place) -> Subject:
        """The subject with these images, made once in each place."""
        return place.kept.get(self, lambda: self.made(place))

    def made(self, place: Place) -> Subject:
        """The subject with these images."""
        subject = place.subject(self.subject)
        data = subject.data
        if self.learnt:
            data = datasets.load(subject.dataset, "train", place.store)
            data = data.sample(min(LEARNT, len(data)))
        if self.images is not None:
            data = data.sample(min(self.images, len(data)))
        if self.group is not None:
            data = group_of(data, *self.group)
        return subject if data is subject.data else dataclasses.replace(subject, data=data)


def group_of(data: Dataset, number: int, groups: int) -> Dataset:
    """One of ``groups`` disjoint random groups of equal size, in a fixed random order. Left-over
    images are in none. Raises BadInput for too few images.

    >>> images = np.zeros((7, 1, 2, 2), np.uint8)
    >>> data = Dataset("d", "d", "test", images, np.zeros(7, int), np.arange(7), ("a",), (0.0,),
    ...     (1.0,))
    >>> [len(group_of(data, number, 3)) for number in range(3)]
    [2, 2, 2]
    """
    size = len(data) // groups
    if size < 2:
        raise BadInput(
            f"{groups} groups of the {len(data)} images of {data.name}: each needs two images at"
            " least"
        )
    order = seeds.permutation(len(data), "groups of images", data.name, data.split)
    rows = np.sort(order[number * size : (number + 1) * size])
    return data.take(rows)

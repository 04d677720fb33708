"""Fills a store with pieces that do nothing, and prints by how many bytes the process has grown.

python benchmarks/filling.py STORE PIECES
"""

import dataclasses
import resource
import sys

from probes.run.engine import Serial, fill
from probes.run.work import Place, Work
from probes.store import Store


@dataclasses.dataclass(frozen=True)
class Nothing(Work):
    """A piece that does nothing."""

    number: int
    kind = "nothing"
    suffix = ".txt"

    def key(self, place):
        return {"number": self.number}

    def make(self, place, path):
        path.write_text("nothing")


def peak():
    """The largest memory that this process has taken, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(folder, pieces):
    """Fill a store, after a first piece."""
    place = Place(Store(folder))
    fill([Nothing(-1)], place, Serial(), quiet=True)
    before = peak()
    fill([Nothing(i) for i in range(pieces)], place, Serial(), quiet=True)
    print(peak() - before)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

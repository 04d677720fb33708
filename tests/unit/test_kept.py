"""What is kept in memory is bounded, and looked at once."""

from hypothesis import given
from hypothesis import strategies as st

from probes import kept as room
from probes.kept import Kept


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=40))
def test_what_is_kept_stays_below_the_limit_and_the_last_is_there(puts):
    kept = Kept(limit=10)
    here = {}
    for name, size in puts:
        kept.put(name, bytes(size))
        here[name] = size
        assert next(reversed(list(kept))) == name
        assert sum(here[n] for n in kept) <= max(10, size)


def test_the_size_of_a_thing_is_asked_once(monkeypatch):
    asked, real = [], room.nbytes
    monkeypatch.setattr(room, "nbytes", lambda thing: asked.append(1) or real(thing))
    kept = Kept()
    for i in range(100):
        kept.put(i, b"x")

    assert len(asked) == 100

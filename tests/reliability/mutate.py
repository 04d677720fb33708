"""Inputs that nobody meant: valid ones, changed at random; each is told by a number, so that it can
be made again.
"""

import json
import re

import numpy as np

NUMBERS = (
    b"-1", b"0", b"1e400", b"-0.0", b"NaN", b"Infinity", b"18446744073709551616", b"1099511627776",
    b"-9223372036854775809", b"1e-400", b"00", b"0x10", b"1_000",
)  # fmt: skip
WORDS = (
    b"../../x", b"/etc/passwd", b"", b"\x00", b"\xff\xfe", b"null", b"true", b"[]", b"{}", b'"',
    b"\\ud800", b"<script>", b"\x1b[31m", b"%s%n", b"$(id)", b"__import__", b",", b":", b"@", b"#*",
    b"\n", b"\r\n", "σ".encode(), "é".encode(),
)  # fmt: skip
DEEP = 100_000


def deep(n=DEEP):
    """A JSON text so deep that a reader that calls itself falls."""
    return b"[" * n + b"]" * n


class Mutator:
    """Changes of seeds. ``number`` names an input, whatever came before it."""

    def __init__(self, seeds, tokens=(), seed=0):
        self.seeds, self.seed = [bytes(s) for s in seeds], seed
        self.tokens = (*WORDS, *NUMBERS, *(t.encode() if isinstance(t, str) else t for t in tokens))

    def __call__(self, number):
        if number == 0:
            return deep()
        rng = np.random.default_rng([self.seed, number])
        data = self.seeds[rng.integers(len(self.seeds))]
        if data[:1] in b"[{" and rng.random() < 0.5:
            data = self._of_json(data, rng)
        for _ in range(int(rng.geometric(0.4)) if rng.random() < 0.9 else 0):
            data = self._changed(data, rng)
        return data

    def _changed(self, data, rng):
        at = int(rng.integers(len(data) + 1))
        size = int(min(len(data) - at, rng.geometric(0.1)))
        word = self.tokens[rng.integers(len(self.tokens))]
        match rng.integers(9):
            case 0:
                flipped = bytearray(data)
                for i in rng.integers(max(len(data), 1), size=min(3, len(data))):
                    flipped[i] ^= 1 << int(rng.integers(8))
                return bytes(flipped)
            case 1:
                return data[:at]
            case 2:
                return data[:at] + word + data[at:]
            case 3:
                return data[:at] + word + data[at + size :]
            case 4:
                return data[:at] + data[at + size :]
            case 5:
                return data[: at + size] + data[at : at + size] + data[at + size :]
            case 6:
                other = self.seeds[rng.integers(len(self.seeds))]
                return data[:at] + other[int(rng.integers(len(other) + 1)) :]
            case 7:
                found = [m.span() for m in re.finditer(rb"-?\d+\.?\d*", data[:4096])]
                if not found:
                    return data + word
                begin, end = found[rng.integers(len(found))]
                return data[:begin] + NUMBERS[rng.integers(len(NUMBERS))] + data[end:]
            case _:
                fresh = rng.integers(0, 256, size=size + 1, dtype=np.uint8).tobytes()
                return data[:at] + fresh + data[at + size :]

    def _of_json(self, data, rng):
        """One value of a JSON text in place of another, gone, or twice."""
        lines = data.split(b"\n")
        i = int(rng.integers(len(lines)))
        try:
            value = json.loads(lines[i])
        except (ValueError, RecursionError):
            return data
        places = list(spots(value))
        if not places:
            return data
        holder, key = places[rng.integers(len(places))]
        strange = (
            None, True, -1, 0, 2**64, 1e308, float("nan"), float("inf"), "", "../../x", "/",
            "x" * 99, [], {}, [[]], [1, "a"], {"a": {}}, "\x00", "\ud800", "NaN", holder[key],
        )  # fmt: skip
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = strange[rng.integers(len(strange))]
        lines[i] = json.dumps(value).encode()
        return b"\n".join(lines)


def spots(value):
    """Each place in a JSON value that can be changed: its holder and its key."""
    known = {dict: dict.items, list: enumerate}.get(type(value))
    for key, inner in known(value) if known else ():
        yield value, key
        yield from spots(inner)

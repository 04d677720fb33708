"""Changes of a report that nobody tells: each is caught by ``probes verify``, or touches nothing
that a verdict tells.

    python tests/reliability/changes.py --changes 10000 --out reports/reliability

Each change is one: a byte, a digit, a value, a line, two lines that change places, a value or a row
of a table, a file that goes, comes or is renamed. It is made on a copy of a committed report and
verified as it stands. Then the report is forged: the manifest is made anew over the change, of a
table its SHA-256 in the evidence, too, and the report is verified again. ``--number N`` tries one.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
import pandas as pd
from mutate import spots
from written import write

from probes.judge.verdict import plain
from probes.store import sha256
from probes.tell import evidence, reportfolder
from probes.tell.markdown import grid
from probes.tell.verify import _manifest, differences, verify

REPORTS = Path(__file__).parents[2] / "reports"
COMMITTED = {
    "dynamics": 1,
    "weight-noise/claims": 2,
    "feature-maps/resnet20/claims": 7,
}
"""Of ten changes, so many: a report with its page as a file, one on training runs, a small one."""
KINDS = {
    "byte": "a bit of a file",
    "digit": "a digit of a text",
    "value": "a value of JSON or CSV",
    "line": "a line goes",
    "order": "two lines change places",
    "cell": "a value of a table",
    "row": "a row of a table goes",
    "gone": "a file goes",
    "new": "a file comes",
    "renamed": "a file is renamed",
}
TEXT = {".jsonl", ".json", ".md", ".csv", ".html"}


def _picked(folder, rng, suffixes=None):
    every = sorted(p for p in folder.rglob("*") if p.is_file())
    every = [p for p in every if suffixes is None or p.suffix in suffixes]
    return every[rng.integers(len(every))]


def changed(folder, number):
    """Make the change of a number; its kind, the file's name, and whether anything is changed."""
    rng = np.random.default_rng([34, number])
    kind = list(KINDS)[rng.integers(len(KINDS))]
    suffixes = {"cell": {".parquet"}, "row": {".parquet"}, "value": {".jsonl", ".json", ".csv"}}
    path = _picked(folder, rng, suffixes.get(kind, TEXT if kind in CHANGES else None))
    if kind == "byte":
        path = _picked(folder, rng)
    name, data = path.relative_to(folder).as_posix(), path.read_bytes()
    if kind == "gone":
        path.unlink()
    elif kind == "new":
        path.with_name(f"new-{number}{path.suffix}").write_bytes(data)
    elif kind == "renamed":
        path.rename(path.with_name(f"renamed-{path.name}"))
    elif kind in ("cell", "row"):
        _table(path, kind, rng)
    else:
        path.write_bytes(CHANGES[kind](data, rng))
    same = path.exists() and kind != "new" and _same(path, data)
    return kind, name, not same


def _same(path, data):
    """Whether a file holds what it held; of JSON, whatever the order of its names."""
    now = path.read_bytes()
    try:
        return now == data or (path.suffix == ".json" and json.loads(now) == json.loads(data))
    except ValueError:
        return False


def _table(path, kind, rng):
    frame = pd.read_parquet(path)
    i, j = int(rng.integers(len(frame))), int(rng.integers(len(frame.columns)))
    if kind == "row":
        frame = frame.drop(index=i)
    else:
        values = frame.iloc[:, j].to_numpy(copy=True)
        other = values[rng.integers(len(values))]
        values[i] = values[i] * 1.01 + 0.01 if values.dtype.kind == "f" else other
        frame[frame.columns[j]] = pd.Series(values, dtype=frame.dtypes.iloc[j])
    frame.to_parquet(path, index=False, compression="zstd")


def _byte(data, rng):
    out = bytearray(data)
    if out:
        out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _digit(data, rng):
    found = [m.start() for m in re.finditer(rb"\d", data)]
    if not found:
        return data
    at = found[rng.integers(len(found))]
    other = b"%d" % ((int(data[at : at + 1]) + rng.integers(1, 10)) % 10)
    return data[:at] + other + data[at + 1 :]


def _value(data, rng):
    """A value of a line of JSON, or a field of CSV: another number, another word."""
    lines = data.split(b"\n")
    i = int(rng.integers(len(lines)))
    text = data if data[:2] == b"{\n" else lines[i]
    try:
        value = json.loads(text)
    except ValueError:
        fields = lines[i].split(b",")
        k = int(rng.integers(len(fields)))
        fields[k] = b"%d" % rng.integers(100)
        lines[i] = b",".join(fields)
        return b"\n".join(lines)
    places = list(spots(value))
    if not places:
        return data
    holder, key = places[rng.integers(len(places))]
    was = holder[key]
    if isinstance(was, bool) or was is None:
        holder[key] = not was
    elif isinstance(was, int | float):
        holder[key] = was * 2 + 1
    else:
        words = ["supported", "refuted", "inconclusive", "another", ""]
        holder[key] = words[rng.integers(len(words))]
    made = json.dumps(value, sort_keys=True, indent=1 if text is data else None).encode()
    return made if text is data else b"\n".join([*lines[:i], made, *lines[i + 1 :]])


def _line(data, rng):
    lines = data.splitlines(keepends=True)
    if lines:
        del lines[rng.integers(len(lines))]
    return b"".join(lines)


def _order(data, rng):
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        i = int(rng.integers(len(lines) - 1))
        lines[i], lines[i + 1] = lines[i + 1], lines[i]
    return b"".join(lines)


CHANGES = {"byte": _byte, "digit": _digit, "value": _value, "line": _line, "order": _order}


def forge(folder, name):
    """Make the manifest anew, and of a table its SHA-256 in the evidence."""
    path = folder / name
    lines = folder / "evidence.jsonl"
    if path.suffix == ".parquet" and path.exists() and lines.exists():
        made = [json.loads(line) for line in lines.read_text().splitlines()]
        for line in made:
            for entry in line["inputs"]:
                if entry["file"] == name:
                    entry["sha256"] = sha256(path)
        lines.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in made))
    reportfolder.manifest(folder)
    page = folder / reportfolder.PAGE
    if page.exists():  # and its head names the new one
        text = page.read_bytes()
        new = sha256(folder / reportfolder.MANIFEST).encode()
        page.write_bytes(
            re.sub(rb'(probes-manifest" content=")\w*', rb"\g<1>" + new, text, count=1)
        )


def told(folder):
    """What the verdicts of a report tell, and its table of them."""
    found = []
    for line in evidence.read(folder / "evidence.jsonl"):
        head = [line[name] for name in ("id", "subject", "sentence", "overall", "counts", "scope")]
        found.append([head, [_shown(plain(m.json())) for m in evidence.members(line)]])
    return found, (folder / "verdicts.csv").read_text()


def _shown(member):
    """A verdict of several parts is told by its parts: its own question stands nowhere."""
    return {k: v for k, v in member.items() if k != "question" or not member["parts"]}


def tried(number, before):
    """The kind of a change and what came of it."""
    which = [name for name, many in COMMITTED.items() for _ in range(many)][number % 10]
    committed = REPORTS / which
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        folder = Path(scratch) / "report"
        left_out = (reportfolder.PAGE,) if which != "dynamics" else ()
        shutil.copytree(committed, folder, ignore=shutil.ignore_patterns(*left_out))
        kind, name, other = changed(folder, number)
        row = {"number": number, "report": which}
        row |= {"kind": kind, "file": re.sub(r"[0-9a-f]{16}|new-\d+", "*", name)}
        if not other:
            return row | {"as it stands": "no change", "forged": "no change", "told": ""}
        problems = list(_manifest(folder)) or verify(folder, REPORTS.parent)
        first = "caught" if problems else "missed"
        if first == "missed" and _unread(name, kind):
            first = "tells nothing"
        forge(folder, name)
        again = verify(folder, REPORTS.parent)
        second = "caught" if again else "missed"
        if not again and not list(differences(list(told(folder)), list(before[which]))):
            second = "tells the same"
        row |= {"as it stands": first, "forged": second}
        return row | {"told": (again or problems or [""])[0][:90]}


def _unread(name, kind):
    """Whether nothing is told from a file: a copy whose name is none of a report's, or a page that
    is not there any more.
    """
    if name == reportfolder.PAGE:
        return kind in ("gone", "renamed", "new")
    return kind == "new" and name.partition("/")[0] not in ("figures", "tables", "aside")


def page(table, command):
    rows = []
    made = table[table["forged"] != "no change"]
    for kind, words in KINDS.items():
        part = made[made["kind"] == kind]
        first, second = Counter(part["as it stands"]), Counter(part["forged"])
        counts = [first[name] for name in ("caught", "tells nothing", "missed")]
        counts += [second[name] for name in ("caught", "tells the same", "missed")]
        rows.append([words, len(part), *counts])
    head = ["change", "made", "caught", "tells nothing", "missed"]
    head += ["forged: caught", "tells the same", "missed"]
    same = made[made["forged"] == "tells the same"]
    places = same["file"].str.split("/").str[0]
    lost = int((made[["as it stands", "forged"]] == "missed").any(axis=1).sum())
    names = ", ".join(f"`reports/{name}`" for name in sorted(set(made["report"])))
    return "\n\n".join(
        [
            "# Changes of a report",
            f"`{command}`",
            f"Single changes of {names}, verified as they stand, and again after the manifest was"
            " made anew over them (*forged*; of a table its SHA-256 in the evidence, too). *Tells"
            " nothing*: a copy whose name is none of a report's, or `report.html` that is gone."
            " *Tells the same*: every sentence, outcome and number of every verdict, in the"
            " evidence, in the table and on the page, is what it was.",
            grid(head, rows),
            "Forged changes that tell the same, by where they are: "
            + ", ".join(f"{name} {n}" for name, n in places.value_counts().items())
            + ".",
            f"**{lost} of {len(made):,} changes were missed.**",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--number", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    before = {name: told(REPORTS / name) for name in COMMITTED}
    if given.number is not None:
        print(tried(given.number, before))
        return
    with ProcessPoolExecutor(given.jobs) as pool:
        rows = list(pool.map(tried, range(given.changes), [before] * given.changes, chunksize=20))
    table = pd.DataFrame(rows)
    missed = table[(table[["as it stands", "forged"]] == "missed").any(axis=1)]
    print(missed.head(30).to_string() if len(missed) else f"{len(table):,} changes, none missed")
    if given.out:
        command = f"python tests/reliability/changes.py --changes {given.changes} --out {given.out}"
        counts = table.groupby(["report", "kind", "as it stands", "forged"]).size()
        write(given.out, "changes", counts.rename("changes").reset_index(), page(table, command))
    sys.exit(bool(len(missed)))


if __name__ == "__main__":
    main()

"""Where a campaign leaves what it found: a table and a page of one name."""

import pandas as pd

from probes.atomic import write_text


def write(out, name, table, text, **how):
    """Write ``NAME.csv`` and ``NAME.md`` into a folder; ``how`` is how numbers are written."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{name}.csv", index=False, lineterminator="\n", **how)
    write_text(out / f"{name}.md", text + "\n")


def rows_by(key, out, name):
    """The rows of a table by the values of a column; none where there is no table."""
    path = out and out / f"{name}.csv"
    if not path or not path.exists():
        return {}
    return {row[key]: row for row in pd.read_csv(path).to_dict("records")}

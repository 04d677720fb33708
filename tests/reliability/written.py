"""Where a campaign leaves what it found: a table and a page of one name."""

from probes.atomic import write_text


def write(out, name, table, text, **how):
    """Write ``NAME.csv`` and ``NAME.md`` into a folder; ``how`` is how numbers are written."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{name}.csv", index=False, lineterminator="\n", **how)
    write_text(out / f"{name}.md", text + "\n")

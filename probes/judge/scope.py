"""What a verdict is about: a part of a table, units, networks and draws."""

from __future__ import annotations

import pandas as pd

from probes import table as tables
from probes.judge import effects


def part_of(frame: pd.DataFrame) -> str:
    """Which part of a sweep a table is, where a perturbation's own key column was narrowed to one
    of its values.
    """
    own = {
        key: frame[key]
        for key in frame.attrs.get("keys", ())
        if isinstance(frame[key].dtype, pd.CategoricalDtype)
    }
    found = {
        key: str(c.iloc[0]) for key, c in own.items() if c.nunique() == 1 < len(c.cat.categories)
    }
    found |= {
        key: ", ".join(values)
        for key, values in frame.attrs.get("part", {}).items()
        if key not in ("level", "net")
    }
    return ", ".join(f"{key} = {value}" for key, value in found.items())


def scope_of(
    frame: pd.DataFrame,
    unit: str,
    n: int,
    pool: str | None = None,
    cluster: str | None = None,
    typical: str | None = None,
) -> str:
    """What a verdict rests on: over which units, taken as independent, of which classes, for which
    networks, from which initial weights, with which draws.
    """
    images, draws = (
        frame.attrs.get(f"mean over {name}s", frame[name].nunique()) for name in ("image", "draw")
    )
    data = ", ".join(map(str, frame["dataset"].unique()))
    if classes := frame.attrs.get("classes"):
        data += f" of these {classes} classes" if classes > 1 else ""
    common = tables.common_draws(frame)
    plural = "s" if draws > 1 else ""
    noise = (
        f"th{'ese' if draws > 1 else 'is'} {draws} draw{plural}, common to all images"
        if common
        else (f"{draws} noise draw{plural} per image")
    )
    if frame.attrs.get("draws") == "some common":
        noise += " (common to all images where weights change)"
    checkpoints = "these checkpoints" if frame["net"].nunique() > 1 else "this checkpoint"
    if unit == effects.GROUP:
        return (
            f"over {n} disjoint groups of images of {data}, taken as independent, for the typical"
            f" group, for {checkpoints}"
        )
    if unit == effects.BOTH:
        kind = "the typical draw" if typical == "draw" else "draws"
        return (
            f"over {n:,} images of {data}, taken as independent, and over {kind} ({draws} of them,"
            f" common to all images), for {checkpoints}"
        )
    if unit == "image":
        what = f"{n:,} images of {data}"
        if cluster:
            what = f"{n:,} values of {cluster!r} ({images:,} images of {data})"
        return f"over {what}, taken as independent, for {checkpoints} and {noise}"
    if common:
        noise = f"{draws} draw{plural} per training seed, common to all images"
    units = (
        f"{n} training runs of {frame[pool].nunique()} networks"
        if pool == "net"
        else f"{n} training seeds"
    )
    shared = frame.attrs.get("initial", 0)
    units += {0: "", 1: " from this initialisation"}.get(shared, f" from {shared} initialisations")
    return f"over {units}, on these {images:,} images of {data} and {noise}"

"""Questions of every kind asked of drawn tables, and all that is told of their verdicts.

    python -m tests.unit.judge.battery

writes ``battery.json`` anew: what ``test_battery`` compares with. A difference that is meant is
told in the changelog.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

import probes.measure  # noqa: F401 - declares metrics
from probes import seeds, table
from probes.errors import ProbesError
from probes.judge import (
    accuracies,
    below,
    both,
    decreases,
    equivalent,
    exceeds,
    falls,
    increases,
    rich,
    rises,
    unseen,
)
from probes.judge.lazytable import summarise
from probes.judge.verdict import plain

FILE = Path(__file__).with_name("battery.json")
table.declare_metric("battery_norm", "ratio", "a norm")
table.declare_metric("battery_share", "share", "a share")
table.declare_metric("battery_hit", "hit", "a hit")
table.declare_metric("battery_low", "plain", "a lower bound", bound="lower")
table.declare_metric("battery_high", "plain", "an upper bound", bound="upper")


def drawn(images=300, runs=1, draws=1, nets=("a",), sites=("s1", "s2"), levels=(0.0, 0.1, 0.2)):
    """A table in which effects differ by net, site and run, and some images are 0."""
    rows = []
    cells = itertools.product(range(len(nets)), range(runs), range(len(sites)), range(draws))
    for net, run, site, draw in cells:
        z = seeds.normals(images, [("battery", i, net, run, site, draw) for i in range(3)])
        z = z.astype(float)
        u = seeds.uniform(images, "battery", net, run, site, draw)
        shift = 0.06 * (1 - 2 * (site % 2)) + 0.01 * net + 0.004 * run + 0.003 * (draw % 7)
        for level in levels:
            if level == 0 and draw:
                continue
            gain = level / 0.2 * (shift + 0.05 * z[1])
            norm = np.exp(seeds.normals(images, [("base", site)])[0].astype(float) / 3 + gain)
            norm[seeds.permutation(images, "dead", site)[: images // 60]] *= level == 0
            rows.append(
                pd.DataFrame(
                    {
                        "net": nets[net],
                        "weights": "w",
                        "dataset": "d",
                        "train_seed": run,
                        "image": np.arange(images),
                        "draw": draw,
                        "level": level,
                        "site": sites[site],
                        "battery_norm": norm,
                        "battery_share": np.clip(0.4 + gain / 3, 0, 1),
                        "battery_hit": (u > 0.1 + 0.9 * level * (1 + site)).astype(float),
                        "battery_low": 0.3 + gain,
                        "battery_high": 0.3 - gain,
                        "thing": z[2] + 4 * gain,
                    }
                )
            )
    frame = pd.concat(rows, ignore_index=True)
    for name in ("net", "weights", "dataset"):
        frame[name] = frame[name].astype("category")
    order = pd.CategoricalDtype([*sites, "unused"], ordered=True)  # as after a selection
    frame["site"] = frame["site"].astype(order)
    return frame


def common(frame):
    """The table, as of a perturbation whose draws all images share."""
    return _with(frame, draws="common")


def _with(frame, **attrs):
    out = frame.copy()
    out.attrs = {**frame.attrs, **attrs}
    return out


def questions():
    """Names and what each asks."""
    image, few = drawn(), drawn(images=60, nets=("a", "b"))
    two = drawn(nets=("a", "b"))
    runs, pairs = drawn(images=40, runs=8), drawn(images=40, runs=8, nets=("a", "b", "c"))
    shared = common(drawn(images=220, draws=22))
    patients = _with(image, clusters=["patient"]).assign(patient=image["image"] // 2)
    groups = _with(drawn(images=24), groups=True)
    flat = image.assign(battery_hit=1.0, battery_norm=0.0)
    top = image[image["level"] == 0.2]
    floor = {"chance": 0.1, "margin": 0.05, "clean": [["a", "w", 0, 30, 300]]}
    kinds = (("battery_norm", "2 %"), ("battery_share", "0.5 points"), ("thing", 0.1))
    kinds += (("battery_hit", "5 points"),)

    for metric, sesoi in kinds:
        for by in (None, "site"):
            for ask in (rises, falls, exceeds, below, equivalent):
                yield (
                    f"{ask.__name__} {metric} {by}",
                    lambda a=ask, m=metric, s=sesoi, b=by: a(image, m, sesoi=s, by=b),
                )
                yield (
                    f"{ask.__name__} {metric} {by} runs",
                    lambda a=ask, m=metric, s=sesoi, b=by: a(
                        runs, m, sesoi=s, by=b, unit="train_seed"
                    ),
                )
            for ask in (exceeds, below, equivalent):
                words = {"between": ("b", "a"), "by": by}
                yield (
                    f"{ask.__name__} {metric} {by} arms",
                    lambda a=ask, m=metric, s=sesoi, w=words: a(two, m, sesoi=s, **w),
                )
                yield (
                    f"{ask.__name__} {metric} {by} arms runs",
                    lambda a=ask, m=metric, s=sesoi, w=words: a(
                        pairs[pairs["net"] != "c"], m, sesoi=s, unit="train_seed", **w
                    ),
                )
            for ask in (increases, decreases):
                yield (
                    f"{ask.__name__} {metric} {by}",
                    lambda a=ask, m=metric, b=by: a(image, m, by=b),
                )
                yield (
                    f"{ask.__name__} {metric} {by} runs",
                    lambda a=ask, m=metric, b=by: a(runs, m, by=b, unit="train_seed", rho=0.4),
                )
        yield f"values of {metric}", lambda m=metric, s=sesoi: exceeds(top, m, sesoi=s)
        yield (
            f"few {metric}",
            lambda m=metric, s=sesoi: falls(few[few["net"] == "a"], m, sesoi=s, by="site"),
        )
        yield (
            f"patients {metric}",
            lambda m=metric, s=sesoi: rises(patients, m, sesoi=s, cluster="patient"),
        )
        yield (
            f"groups {metric}",
            lambda m=metric, s=sesoi: rises(groups, m, sesoi=s, unit="image group"),
        )
        yield (
            f"pooled {metric}",
            lambda m=metric, s=sesoi: exceeds(
                pairs, m, sesoi=s, unit="train_seed", pool="net", by="site"
            ),
        )
        yield (
            f"sites {metric}",
            lambda m=metric, s=sesoi: exceeds(image, m, sesoi=s, between=("s1", "s2"), arm="site"),
        )
    for metric, sesoi in kinds[1:]:
        for typical in (None, "draw"):
            yield (
                f"draws {metric} {typical}",
                lambda m=metric, s=sesoi, t=typical: rises(
                    shared, m, sesoi=s, unit="image and draw", typical=t, by="site"
                ),
            )
        yield f"these draws {metric}", lambda m=metric, s=sesoi: rises(shared, m, sesoi=s)
    for metric in ("battery_low", "battery_high"):
        for ask in (rises, falls, equivalent):
            yield f"{ask.__name__} {metric}", lambda a=ask, m=metric: a(image, m, sesoi=0.02)
            yield (
                f"{ask.__name__} {metric} of level .2",
                lambda a=ask, m=metric: (
                    exceeds if a is rises else below if a is falls else equivalent
                )(top, m, sesoi=0.02),
            )
    yield "nothing changes", lambda: equivalent(flat, "battery_hit", sesoi="1 point")
    yield "nothing but 0", lambda: rises(flat, "battery_norm", sesoi="1 %")
    yield (
        "at chance",
        lambda: falls(
            _with(image, floor=floor).rename(columns={"battery_hit": "correct"}),
            "correct",
            sesoi="1 point",
        ),
    )
    yield "a factor", lambda: falls(image, "battery_norm", sesoi="/1.1005", by="site")
    yield "a negative one", lambda: exceeds(image, "battery_norm", sesoi="-3 %", by="site")
    yield (
        "both",
        lambda: both(
            rises(image, "battery_norm", sesoi="2 %", by="site"),
            rises(image, "battery_share", sesoi="0.5 points", by="site"),
        ),
    )
    yield (
        "both open",
        lambda: both(
            rises(few[few["net"] == "a"], "battery_norm", sesoi="2 %"),
            falls(few[few["net"] == "a"], "thing", sesoi=0.1),
        ),
    )
    yield "a part", lambda: rises(_with(image, part={"site": ["s1"]}), "thing", sesoi=0.1)
    yield "an unknown arm", lambda: exceeds(two, "thing", sesoi=0.1, between=("b", "x"))
    yield "one arm twice", lambda: exceeds(two, "thing", sesoi=0.1, between=("b", "b"))
    yield (
        "unpaired",
        lambda: exceeds(
            two[(two["net"] == "a") | (two["image"] > 7)], "thing", sesoi=0.1, between=("b", "a")
        ),
    )
    yield "two nets", lambda: rises(two, "thing", sesoi=0.1)
    yield "two runs", lambda: rises(runs, "thing", sesoi=0.1)
    yield "no level 0", lambda: rises(image[image["level"] > 0], "thing", sesoi=0.1)
    yield "one level", lambda: rises(top, "thing", sesoi=0.1)
    yield "pooled over images", lambda: exceeds(two, "thing", sesoi=0.1, pool="net")
    yield "an image is missing", lambda: rises(image[3:], "thing", sesoi=0.1)
    yield (
        "a negative norm",
        lambda: rises(
            image.assign(battery_norm=image["battery_norm"] - 1), "battery_norm", sesoi="1 %"
        ),
    )
    yield "sesoi 0", lambda: equivalent(image, "thing", sesoi=0)
    yield "of a ratio in points", lambda: rises(image, "battery_norm", sesoi="1 point")
    yield "a fall of 20 %", lambda: falls(image, "battery_norm", sesoi="20 %")
    yield "a factor of one", lambda: falls(image, "battery_norm", sesoi="/1")
    yield "a rho of one", lambda: increases(image, "thing", rho=1)
    yield "all of the images", lambda: increases(image, "thing", least="100 points")
    yield "two levels", lambda: increases(image[image["level"] < 0.2], "thing")
    yield "another cluster", lambda: rises(patients, "thing", sesoi=0.1, cluster="patients")
    yield "both of one", lambda: both(rises(image, "thing", sesoi=0.1))


def told(ask):
    """All that is told of the verdicts of a question, or of why there are none."""
    try:
        found = ask()
    except ProbesError as e:
        return {"error": str(e)}
    members = [plain(v.json()) for v in found]
    return {
        "members": members,
        "text": str(found),
        "scope": found.scope,
        "asked": [v.asked() for v in found],
        "measured": [v.measured for v in found],
        "judged": found.judged,
        "spec": plain(dict(found.spec)),
        "html": rich.verdicts(found) if len(found) == 1 or members[0]["parts"] else "",
        "beside": unseen.disclosures(found),
    }


def numbers():
    """Numbers of tables, by name."""
    found = {}
    means = summarise(drawn(images=50, draws=2))
    for name in ("net", "weights", "dataset", "site"):
        means[name] = means[name].astype(str)
    found["means"] = plain(means.to_dict("list"))
    hits = (seeds.uniform(80, "hits") > 0.3).astype(float)
    after = (seeds.uniform(80, "after") > 0.5).astype(float)
    found["accuracy"] = plain(accuracies.accuracy_of(hits))
    found["lost"] = plain(accuracies.points_lost(hits, after))
    found["lost of means"] = plain(accuracies.points_lost(hits / 2, after / 3))
    found["told of rules"] = [
        unseen.disclosed(rule, n) for rule in (*unseen.DISCLOSED, "score") for n in (300, 999, 1000)
    ]
    return found


def battery():
    """Each question's name with what is told of it, and numbers of tables."""
    return {name: told(ask) for name, ask in questions()} | numbers()


if __name__ == "__main__":
    FILE.write_text(json.dumps(battery(), ensure_ascii=False) + "\n", encoding="utf-8")

"""Judges the judge: error rates of every rule with the effect exactly at the SESOI, and its power,
by simulation.

    python tests/calibration/simulate.py --out reports/calibration

writes ``calibration.csv``, ``calibration.md`` and ``calibration.png``. A *false supported* is
``p_up <= alpha`` where the effect equals the SESOI, a *false refuted* is ``p_down <= alpha`` there;
the cover of the shown interval is one less both, since test and interval are one procedure. Power
is the chance to decide an effect of twice the SESOI (supported) or of 0 (refuted), where the SESOI
is the distance that a z test with the law's own spread decides with power .8.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from probes import seeds
from probes.judge import crossed, ranking, rules
from probes.store import write_text

ALPHA = 0.05
TAIL = 8  # the smallest level that Holm over 8 blocks uses is alpha / 8
Draw = Callable[[np.random.Generator, int], np.ndarray]
ROOT = Path(__file__).parents[2]


def continuous() -> dict[str, Draw]:
    """Synthetic laws of continuous effects: symmetric, heavy-tailed, skewed, contaminated."""
    return {
        "normal": lambda g, n: g.standard_normal(n),
        "t3": lambda g, n: g.standard_t(3, n),
        "lognormal .5": lambda g, n: g.lognormal(0, 0.5, n),
        "lognormal 1": lambda g, n: g.lognormal(0, 1, n),
        "lognormal 1, mirrored": lambda g, n: -g.lognormal(0, 1, n),
        "10 % at N(3, 1)": lambda g, n: np.where(
            g.uniform(size=n) < 0.1, 3 + g.standard_normal(n), 0.1 * g.standard_normal(n)
        ),
    }


def measured(kind: str) -> dict[str, Draw]:
    """Effects of the committed evidence on digits, one per block, resampled as a population.

    ``ratio``: log-ratios of norm and variance; ``share``: differences of the share of zeros.
    """
    found: dict[str, Draw] = {}
    for path in sorted((ROOT / "reports" / "dynamics" / "tables").glob("*.parquet")):
        table = pd.read_parquet(path)
        metric = table.columns[-1]
        if (kind == "ratio") != (metric in ("l2_h", "var_h")) or table["net"].nunique() > 1:
            continue
        for site, part in table.groupby("site", observed=True):
            wide = part.pivot(index="image", columns="level", values=metric).astype(float)
            x = (
                np.log(wide.iloc[:, -1] / wide.iloc[:, 0])
                if kind == "ratio"
                else wide.iloc[:, -1] - wide.iloc[:, 0]
            ).to_numpy()
            found[f"{metric} {site}"] = lambda g, n, x=x: g.choice(x, n)
    return found


def truth(rule: str, draw: Draw, n: int) -> tuple[float, float]:
    """The estimand of a law (trimmed mean, mean or pseudo-median) and the spread of its units, from
    many draws.
    """
    if isinstance(draw, Crossed):
        return 0.0, draw.spread(n)
    x = draw(np.random.Generator(np.random.Philox(1)), 2_000_000)
    if rule == "trimmed mean":
        found = rules.trimmed_mean(x, 0)
        return found.estimate, found.spread
    if rule == "signed rank":
        pairs = (x[: len(x) // 2] + x[len(x) // 2 :]) / 2
        return float(np.median(pairs)), float(x.std())
    return float(x.mean()), float(x.std())


@lru_cache(maxsize=200_000)
def _score(b: int, c: int, n: int, delta: float) -> tuple[float, float]:
    x = np.zeros(n)
    x[:b], x[b : b + c] = 1, -1
    found = rules.score(x, delta)
    return found.p_up, found.p_down


RULES: dict[str, Callable] = {
    "trimmed mean": rules.trimmed_mean,
    "mean": rules.mean,
    "signed rank": ranking.signed_rank,
    "two-way": crossed.two_way,
    "typical group": ranking.typical_group,
}


@dataclasses.dataclass(frozen=True)
class Crossed:
    """Effects of images x draws, the draws common to all images: a sum of Gaussian parts with these
    standard deviations.

    A share ``bad`` of the draws is catastrophic: ten of their standard deviations down. The mean is
    0.
    """

    draws: int
    image: float
    draw: float
    left: float
    bad: float = 0.0

    def __call__(self, g: np.random.Generator, n: int) -> np.ndarray:
        draw = self.draw * (
            g.standard_normal(self.draws)
            - 10 * (g.uniform(size=self.draws) < self.bad)
            + 10 * self.bad
        )
        return (
            self.image * g.standard_normal((n, 1))
            + draw
            + self.left * g.standard_normal((n, self.draws))
        )

    def spread(self, n: int) -> float:
        draw = self.draw * math.sqrt(1 + 100 * self.bad * (1 - self.bad))
        return math.sqrt(self.image**2 + n * draw**2 / self.draws + self.left**2 / self.draws)


def rates(rule: str, draw: Draw, n: int, delta: float, repetitions: int, seed: int) -> np.ndarray:
    """(p_up, p_down) of each repetition; a sample whose conditions are not met gives (1, 1), as the
    judge does.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    out = np.ones((repetitions, 2))
    for i in range(repetitions):
        x = draw(generator, n)
        if rule == "score":
            out[i] = _score(int((x == 1).sum()), int((x == -1).sum()), n, delta)
        else:
            found = RULES[rule](x, delta)
            if not found.obstacle:
                out[i] = found.p_up, found.p_down
    return out


def cell(
    rule: str,
    law: str,
    draw: Draw,
    n: int,
    repetitions: int,
    status: str,
    sesoi: float | None = None,
) -> dict:
    """One row of the table: level at alpha and alpha/8 in both directions, cover, power, Monte
    Carlo error.
    """
    seed = int(seeds.words(1, "calibration", rule, law, n)[0] >> np.uint64(33))
    centre, spread = truth(rule, draw, n)
    at = rates(rule, draw, n, centre if sesoi is None else sesoi, repetitions, seed)
    row = {"rule": rule, "law": law, "n": n, "status": status, "repetitions": repetitions}
    for name, level in (("", ALPHA), (" / 8", ALPHA / TAIL)):
        row[f"false supported at alpha{name}"] = float((at[:, 0] <= level).mean())
        row[f"false refuted at alpha{name}"] = float((at[:, 1] <= level).mean())
    row["cover of the 90 % interval"] = (
        1 - row["false supported at alpha"] - row["false refuted at alpha"]
    )
    row["undecidable"] = float((at == 1).all(axis=1).mean())
    if sesoi is None:
        reach = 2.486 * spread / math.sqrt(n)
        few = max(200, repetitions // 4)
        for name, shift, side in (
            ("power at twice the SESOI", -reach, 0),
            ("power at 0", reach, 1),
        ):
            row[name] = float(
                (rates(rule, draw, n, centre + shift, few, seed + 1)[:, side] <= ALPHA).mean()
            )
    elif isinstance(draw, Ternary) and draw.q >= 2 * sesoi:
        few = max(200, repetitions // 4)
        for name, mean, side in (
            ("power at twice the SESOI", 2 * sesoi, 0),
            ("power at 0", 0.0, 1),
        ):
            other = dataclasses.replace(draw, mean=mean)
            row[name] = float(
                (rates(rule, other, n, sesoi, few, seed + 1)[:, side] <= ALPHA).mean()
            )
    row["standard error at alpha"] = math.sqrt(ALPHA * (1 - ALPHA) / repetitions)
    return row


@dataclasses.dataclass(frozen=True)
class Ternary:
    """Effects -1, 0, 1 with P(nonzero) q and the given mean."""

    q: float
    mean: float

    def __call__(self, g: np.random.Generator, n: int) -> np.ndarray:
        up, down = (self.q + self.mean) / 2, (self.q - self.mean) / 2
        return g.choice([1.0, -1.0, 0.0], n, p=[up, down, 1 - up - down])


def cells(repetitions: int, quick: bool) -> Iterator[dict]:
    """Every rule on its laws and sizes; what is *held* first, then what is *disclosed*."""
    some = slice(0, 3) if quick else slice(None)
    for law, draw in list(measured("ratio").items())[some]:
        yield cell("trimmed mean", law, draw, 1000, repetitions, "held")
    for law, draw in list(measured("share").items())[some]:
        yield cell("mean", law, draw, 1000, repetitions, "held")
    for sesoi in (0.01,) if quick else (0.005, 0.01, 0.02, 0.05):
        for q in (0.0101, 0.1) if quick else (0.0101, 0.02, 0.05, 0.1, 0.3):
            if q < sesoi:
                continue
            for n in (100, 1000) if quick else (20, 100, 300, 1000):
                yield cell(
                    "score",
                    f"ternary, q {q:g}, SESOI {sesoi:g}",
                    Ternary(q, sesoi),
                    n,
                    repetitions,
                    "held",
                    sesoi,
                )
    dominant = {"images dominate": (0.2, 0.005, 0.28), "draws dominate": (0.05, 0.04, 0.1)}
    for law, parts in dominant.items():
        for draws in (20,) if quick else (20, 60):
            yield cell(
                "two-way", f"{law}, {draws} draws", Crossed(draws, *parts), 300, repetitions, "held"
            )
    symmetric = {k: v for k, v in continuous().items() if k in ("normal", "t3")}
    for law, draw in symmetric.items():
        for n in (5, 8) if quick else (5, 6, 8, 10, 15):
            yield cell("signed rank", law, draw, n, repetitions, "held")
        yield cell("typical group", law, draw, 20, repetitions, "held")
    if quick:
        return
    for law, draw in (measured("ratio") | continuous()).items():
        for n in (100, 300) if law not in continuous() else (100, 300, 1000):
            yield cell("trimmed mean", law, draw, n, repetitions, "disclosed")
    for law, draw in (measured("share") | continuous()).items():
        for n in (200, 500) if law not in continuous() else (200, 1000):
            yield cell("mean", law, draw, n, repetitions, "disclosed")
    for draws in (20, 60):
        law = f"a draw in ten catastrophic, {draws} draws"
        yield cell(
            "two-way", law, Crossed(draws, 0.05, 0.04, 0.1, bad=0.1), 300, repetitions, "disclosed"
        )
    for law in [law for law in continuous() if law not in symmetric]:
        yield cell("typical group", law, continuous()[law], 20, repetitions, "disclosed")
    for law in ("lognormal .5", "lognormal 1"):
        for n in (5, 8, 10):
            yield cell("signed rank", law, continuous()[law], n, repetitions, "disclosed")


def within(row: pd.Series | dict) -> bool:
    """Whether a *held* row holds: 1.2 alpha at alpha and 1.7 at alpha / 8, each plus two standard
    errors, cover .88.
    """
    for name, level, factor in (("", ALPHA, 1.2), (" / 8", ALPHA / TAIL, 1.7)):
        limit = factor * level + 2 * math.sqrt(level * (1 - level) / row["repetitions"])
        if (
            max(row[f"false supported at alpha{name}"], row[f"false refuted at alpha{name}"])
            > limit
        ):
            return False
    return row["cover of the 90 % interval"] >= 0.88 - 2 * math.sqrt(0.1 * 0.9 / row["repetitions"])


def families(repetitions: int, k: int = 8) -> pd.DataFrame:
    """P(any false supported), P(any false refuted) and P(mixed) of both Holms, from z statistics of
    k blocks.
    """
    from probes.judge import family

    generator = np.random.Generator(np.random.Philox(99))
    rows = []
    worlds = {
        "all exactly at the SESOI": np.zeros(k),
        "half just above, half just below": np.repeat([0.5, -0.5], k // 2),
        "two far above, two far below, four at": np.array([4, 4, -4, -4, 0, 0, 0, 0.0]),
        "all far above": np.full(k, 4.0),
    }
    for rho in (0.0, 0.7):
        for world, shift in worlds.items():
            common = generator.standard_normal((repetitions, 1))
            z = (
                shift
                + math.sqrt(rho) * common
                + math.sqrt(1 - rho) * generator.standard_normal((repetitions, k))
            )
            up, down = stats.norm.sf(z), stats.norm.cdf(z)
            found = [family.outcomes(a, b, ALPHA) for a, b in zip(up, down, strict=True)]
            whole = [family.overall(a, b, ALPHA) for a, b in zip(up, down, strict=True)]
            null_up, null_down = shift <= 0, shift >= 0
            rows.append(
                {
                    "blocks": world,
                    "correlation": rho,
                    "repetitions": repetitions,
                    "any false supported": np.mean([_any(f, "supported", null_up) for f in found]),
                    "any false refuted": np.mean([_any(f, "refuted", null_down) for f in found]),
                    "overall supported": np.mean([w == "supported" for w in whole]),
                    "overall refuted": np.mean([w == "refuted" for w in whole]),
                    "overall mixed": np.mean([w == "mixed" for w in whole]),
                }
            )
    return pd.DataFrame(rows)


def _any(found: list, outcome: str, null: np.ndarray) -> bool:
    return any(o == outcome for o, true in zip(found, null, strict=True) if true)


def joint(repetitions: int, k: int = 8) -> pd.DataFrame:
    """Claims of two parts ("A and B"), alone and over k blocks, and the intersection-union verdict
    over blocks.
    """
    from probes.judge import family

    generator = np.random.Generator(np.random.Philox(98))
    rows = []
    worlds = {
        "both parts at the SESOI": (0.0, 0.0),
        "one part at the SESOI, the other far above": (0.0, 4.0),
        "both parts far above": (4.0, 4.0),
        "one part far below, the other far above": (-4.0, 4.0),
    }
    for blocks in (1, k):
        for world, shift in worlds.items():
            z = np.array(shift) + generator.standard_normal((repetitions, blocks, 2))
            up, down = stats.norm.sf(z), stats.norm.cdf(z)
            p = [
                [family.conjunction(u, d) for u, d in zip(us, ds, strict=True)]
                for us, ds in zip(up, down, strict=True)
            ]
            each = [family.outcomes(*zip(*one, strict=True), ALPHA) for one in p]
            whole = [family.overall(*zip(*one, strict=True), ALPHA) for one in p]
            rows.append(
                {
                    "parts": world,
                    "blocks": blocks,
                    "repetitions": repetitions,
                    "any block supported": np.mean(["supported" in e for e in each]),
                    "any block refuted": np.mean(["refuted" in e for e in each]),
                    "overall supported": np.mean([w == "supported" for w in whole]),
                    "overall refuted": np.mean([w == "refuted" for w in whole]),
                }
            )
    # Over blocks: one at the SESOI, the others far above. Overall supported is then the false
    # verdict.
    z = np.array([0.0] + [4.0] * (k - 1)) + generator.standard_normal((repetitions, k))
    whole = [
        family.overall(a, b, ALPHA)
        for a, b in zip(stats.norm.sf(z), stats.norm.cdf(z), strict=True)
    ]
    rows.append(
        {
            "parts": "one question; one block at the SESOI, the others far above",
            "blocks": k,
            "repetitions": repetitions,
            "any block supported": math.nan,
            "any block refuted": math.nan,
            "overall supported": np.mean([w == "supported" for w in whole]),
            "overall refuted": np.mean([w == "refuted" for w in whole]),
        }
    )
    return pd.DataFrame(rows)


def looks(repetitions: int, n: int = 1000) -> pd.DataFrame:
    """L declared looks at growing data, each at alpha / L, and undeclared ones at alpha each: error
    rates and images used.
    """
    generator = np.random.Generator(np.random.Philox(97))
    delta = 2.486 / math.sqrt(n)
    rows = []
    for declared, count in ((True, 1), (True, 2), (True, 3), (False, 2), (False, 3), (False, 10)):
        level = ALPHA / count if declared else ALPHA
        sizes = [n * (i + 1) // count for i in range(count)]
        row = {
            "looks": count,
            "each at": "alpha / L" if declared else "alpha (undeclared)",
            "repetitions": repetitions,
        }
        for name, centre in (
            ("at the SESOI", delta),
            ("at twice the SESOI", 2 * delta),
            ("at 0", 0.0),
        ):
            supported = refuted = used = 0
            for _ in range(repetitions):
                x = centre + generator.standard_normal(n)
                for size in sizes:
                    found = rules.mean(x[:size], delta, level) if size >= 200 else None
                    if found is not None and min(found.p_up, found.p_down) <= level:
                        supported, refuted = (
                            supported + (found.p_up <= level),
                            refuted + (found.p_down <= level),
                        )
                        break
                used += size
            if name == "at the SESOI":
                row |= {
                    "false supported": supported / repetitions,
                    "false refuted": refuted / repetitions,
                }
            else:
                power = (supported if centre else refuted) / repetitions
                row |= {f"power {name}": power, f"images used {name}": used / repetitions}
        rows.append(row)
    return pd.DataFrame(rows)


def promised(repetitions: int) -> pd.DataFrame:
    """How often the number of units that an open verdict asks for decides, at effects of 0 and of
    twice the SESOI.
    """
    from probes.judge import power

    generator = np.random.Generator(np.random.Philox(7))
    rows = []
    for sesoi in (0.1, 0.2):
        for truth_ in (0.0, 2 * sesoi):
            n = power.needed(1.0, sesoi, 1000, ALPHA)
            assert n is not None
            found = [
                rules.trimmed_mean(truth_ + generator.standard_normal(n), sesoi)
                for _ in range(repetitions)
            ]
            decided = np.mean([(r.p_up if truth_ else r.p_down) <= ALPHA for r in found])
            rows.append(
                {
                    "SESOI / sd": sesoi,
                    "effect / sd": truth_,
                    "units promised": n,
                    "decided": decided,
                }
            )
    return pd.DataFrame(rows)


def page(
    table: pd.DataFrame,
    families: pd.DataFrame,
    joint: pd.DataFrame,
    looks: pd.DataFrame,
    units: pd.DataFrame,
    command: str,
) -> str:
    """The calibration page: the held rows with what broke them, the disclosed rows by their worst,
    families, numbers.
    """
    level = [
        "false supported at alpha",
        "false refuted at alpha",
        "false supported at alpha / 8",
        "false refuted at alpha / 8",
    ]
    worst = table.assign(
        **{
            "worst at alpha": table[level[:2]].max(axis=1) / ALPHA,
            "worst at alpha / 8": table[level[2:]].max(axis=1) / (ALPHA / TAIL),
        }
    )
    by = worst.groupby(["status", "rule", "n"], sort=False)
    summary = by.agg(
        laws=("law", "nunique"),
        at_alpha=("worst at alpha", "max"),
        at_tail=("worst at alpha / 8", "max"),
        cover=("cover of the 90 % interval", "min"),
        power_up=("power at twice the SESOI", "median"),
        power_0=("power at 0", "median"),
        undecidable=("undecidable", "max"),
        repetitions=("repetitions", "first"),
    ).reset_index()
    held = table[table["status"] == "held"]
    broken = held[~held.apply(within, axis=1)]
    names = [
        "status",
        "rule",
        "n",
        "laws",
        "worst level / alpha",
        "worst at alpha/8",
        "least cover of .90",
        "power at 2 SESOI",
        "power at 0",
        "undecidable, at most",
        "repetitions",
    ]
    text = [
        "# The judge judged",
        f"`{command}`",
        (
            "Error rates with the effect exactly at the SESOI, in units of alpha (.05) and of alpha"
            " / 8, the worse direction and the worst law of each row; the least cover of the shown"
            " 90 % interval; the median power over laws. *Held* means at most 1.2 alpha, 1.7 at"
            " alpha / 8 and a cover of .88, within two Monte Carlo standard errors; *disclosed* is"
            " measured and known to be worse. Laws named after a metric and a block are effects per"
            " image of `reports/dynamics`, resampled as a population. A sample whose conditions are"
            " not met (skewness, nonzero effects) is inconclusive and counts as undecidable."
        ),
        _markdown(summary.round(3), names),
        f"**{len(held) - len(broken)} of {len(held)} held rows hold.**"
        + (
            ""
            if broken.empty
            else " Beyond their limits: "
            + "; ".join(f"{r.rule}, {r.law}, n = {r.n}" for r in broken.itertuples())
        ),
        "![level by rule](calibration.png)",
        "## Families of eight blocks",
        (
            "Two Holms, one towards each side, on z statistics; a false verdict of a family is one"
            " of any of its blocks."
        ),
        _markdown(families.round(3), list(families.columns)),
        "## Claims of two parts, and intersection-union",
        (
            "Two independent parts on z statistics. Supported needs every part (the largest p),"
            " refuted one of them (Holm over parts), then Holm over blocks; the claim as a whole"
            " needs every block, each at alpha. At the SESOI in both parts a verdict of either kind"
            " is false; with one part at the SESOI, supported is."
        ),
        _markdown(joint.round(3), list(joint.columns)),
        "## Looking more than once",
        (
            "The same images and more of them, in equal steps up to 1,000, stopping at the first"
            " verdict. Declared looks are judged at alpha / L each; undeclared ones show why a"
            " second look has to be declared."
        ),
        _markdown(looks.round(3), list(looks.columns)),
        "## The number of units that an open verdict asks for",
        "Power .8 was promised, at an effect of 0 and of twice the SESOI.",
        _markdown(units.round(3), list(units.columns)),
    ]
    return "\n\n".join(text) + "\n"


def _markdown(table: pd.DataFrame, names: list[str]) -> str:
    from probes.tell.markdown import grid

    return grid(
        names, [["" if pd.isna(v) else v for v in row] for row in table.itertuples(index=False)]
    )


def picture(table: pd.DataFrame, path: Path) -> None:
    """Every row's level in both directions, by rule, against the limits of what is held."""
    from matplotlib.figure import Figure

    figure = Figure((10, 4), layout="constrained")
    for ax, (name, level, factor) in zip(
        figure.subplots(1, 2), (("", ALPHA, 1.2), (" / 8", ALPHA / TAIL, 1.7)), strict=True
    ):
        groups = list(table.groupby(["rule", "status"], sort=False))
        for i, ((_, status), part) in enumerate(groups):
            for side, marker, shift in (("supported", "^", -0.15), ("refuted", "v", 0.15)):
                y = part[f"false {side} at alpha{name}"] / level
                x = i + shift + np.linspace(-0.1, 0.1, len(y))
                colour = "#0072B2" if status == "held" else "#D55E00"
                ax.plot(x, y, marker, ms=4, color=colour, alpha=0.7)
        ax.axhline(1, color="black", lw=0.8)
        ax.axhline(factor, color="#0072B2", lw=1, ls="--")
        ax.set_xticks(
            range(len(groups)),
            [f"{rule}\n{status}" for (rule, status), _ in groups],
            fontsize=7,
            rotation=30,
        )
        ax.set_ylabel(f"level, in units of alpha{name}")
        ax.grid(alpha=0.3, axis="y")
    figure.suptitle(
        "false supported (up) and false refuted (down) at the SESOI, a mark per law and size;"
        " dashed: limit of what is held"
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Run the whole table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=4000)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in cells(given.repetitions, quick=False):
        rows.append(row)
        levels = f"{row['false supported at alpha']:.3f} {row['false refuted at alpha']:.3f}"
        print(f"{row['rule']}, {row['law']}, n = {row['n']}: {levels}", flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(
        given.out / "calibration.csv", index=False, float_format="%.5g", lineterminator="\n"
    )
    command = (
        f"python tests/calibration/simulate.py --out {given.out} --repetitions {given.repetitions}"
    )
    few = given.repetitions
    text = page(table, families(few), joint(few), looks(few), promised(few), command)
    write_text(given.out / "calibration.md", text)
    picture(table, given.out / "calibration.png")


if __name__ == "__main__":
    main()

"""H1 and H0: their sentences, and the questions that are asked of a sweep."""

from __future__ import annotations

from collections.abc import Callable

from probes.judge import Verdicts, both, falls, rises
from probes.measure import block_metrics
from probes.perturb import Perturbation
from probes.run.bench import Bench
from probes.run.judging import Claims
from probes.run.sweeping import Sweep


def h1(sweep: Sweep) -> Verdicts:
    """H1: the variance of h rises by more than 1 %, and the sparsity falls by more than half a
    point.

    Where a GELU or a SiLU follows each sum, the linearity rises by more than half a point in place
    of the sparsity. Where nothing of the kind follows, as in transformers, the variance is asked
    alone.
    """
    spread = rises(sweep, "var_h", by="site", sesoi="1 %")
    metric = responds(sweep)
    if metric is None:
        return spread
    ask = falls if metric == "sparsity" else rises
    return both(spread, ask(sweep, metric, by="site", sesoi="0.5 points"))


def responds(sweep: Sweep) -> str | None:
    """The metric that tells what the activation after each sum does, if there is one."""
    return next((name for name in ("sparsity", "linearity") if name in sweep.frame), None)


def h0(sweep: Sweep) -> Verdicts:
    """H0: the L2 norm of h falls by more than 1 %."""
    return falls(sweep, "l2_h", by="site", sesoi="1 %")


NOISE = "noise σ"
"""The label for the level of noise on images."""
CLAIMS = {
    "H1": (
        "Noise raises Var h(x) and lowers the sparsity after the last ReLU, in every block.",
        h1,
    ),
    "H0": ("Noise lowers the L2 norm of h(x), in every block.", h0),
}
"""The sentences and the questions of the two claims, the same as those of the tests."""


def claims_at(under: Perturbation) -> Claims:
    """The two claims under a perturbation, asked of a bench. If the perturbation is not noise, the
    sentence has its name.
    """

    def asked(ask: Callable[[Sweep], Verdicts]) -> Callable[[Bench], Verdicts]:
        return lambda lab: ask(lab.sweep(block_metrics, under=under))

    what = "Noise" if under.varied == NOISE else f"{under.name[0].upper()}{under.name[1:]}"
    return {
        ident: (sentence.replace("Noise", what, 1), asked(ask))
        for ident, (sentence, ask) in CLAIMS.items()
    }

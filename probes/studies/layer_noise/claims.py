"""The claims about two networks under noise on layers, and the questions that are asked of their
tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from probes.judge import Verdicts, both, decreases, exceeds
from probes.judge.lazytable import LazyTable
from probes.studies.layer_noise.tables import PRIMARY
from probes.subjects.spec import Spec

JUDGED_PIXELS = 0.1


SENTENCES = {
    "RES": (
        "{first} loses less accuracy than {second} when the outputs of random layers are perturbed:"
        " more than a point less at three layers, and not a point more at one or two."
    ),
    "RES-PIXELS": (
        "{first} loses at least a point less accuracy than {second} under noise on its images."
    ),
    "RES-DEPTH": "The deeper the perturbed layer, the more accuracy is lost.",
}


Ask = Callable[[LazyTable], Verdicts]


def three(sweep: LazyTable, **arms: Any) -> Verdicts:
    """The first arm loses more than a point less at three perturbed layers, and not a point more at
    one and at two.

    ``arms`` are the arguments ``between`` and ``unit`` of :func:`probes.judge.exceeds`. Of several
    strengths .5 is judged.
    """
    found = [
        exceeds(
            sweep.where(layers=str(n), level=(0.0, PRIMARY)),
            "correct",
            **arms,
            sesoi="1 point" if n == 3 else "-1 point",
        )
        for n in (3, 2, 1)
    ]
    return both(*found)


def claims_of(specs: Sequence[Spec]) -> list[tuple[str, str, str, str, Ask]]:
    """The id, sentence, subject, sweep and question of each claim: the first network against the
    second, and the profile of each by depth.
    """
    unit = "train_seed" if all(spec.seed == "*" for spec in specs) else "image"
    found: list[tuple[str, str, str, str, Ask]] = []
    if len(specs) == 2:
        first, second = (spec.net for spec in specs)
        arms: dict[str, Any] = {"between": (first, second), "unit": unit}
        words = {name: text.format(first=first, second=second) for name, text in SENTENCES.items()}
        pair = " + ".join(map(str, specs))

        def pixels(sweep: LazyTable) -> Verdicts:
            levels = [level for level in PIXELS if level <= JUDGED_PIXELS]
            return exceeds(sweep.where(level=levels), "correct", **arms, sesoi="1 point")

        found += [
            ("RES", words["RES"], pair, "layers", lambda sweep: three(sweep, **arms)),
            ("RES-PIXELS", words["RES-PIXELS"], pair, "pixels", pixels),
        ]
    for spec in specs:

        def deeper(sweep: LazyTable, net: str = spec.net) -> Verdicts:
            return decreases(sweep.where(net=net).along("layer"), "correct", unit=unit)

        found.append(("RES-DEPTH", SENTENCES["RES-DEPTH"], str(spec), "depth", deeper))
    return found


PIXELS = (0.0, 0.05, 0.1, 0.2)

"""What the networks of the study are put under: perturbations, from the text of an option."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from probes.errors import BadInput, Unavailable
from probes.perturb.asked import asked
from probes.perturb.attacking import attacked
from probes.perturb.attacks import Attack, fgsm, pgd
from probes.perturb.corrupting import CORRUPTIONS as NAMES
from probes.perturb.corrupting import FIFTEEN, SEVERITIES, Corruption
from probes.perturb.protocol import Perturbation
from probes.perturb.weather import photographs

CORRUPTIONS = "corruptions"
DEFAULT = {
    1: "corruptions,noise:0,.05,.1,.2,pgd:0,.05,.1,quantised",
    3: "corruptions,noise:0,.05,.1,.2,pgd,quantised",
}
"""What is done where nothing is named, by the number of channels: digits bear a larger budget."""
STEPS = 5
ATTACKS: dict[str, Callable[[], Attack]] = {"fgsm": fgsm, "pgd": lambda: pgd(steps=STEPS)}


def frost_is_here() -> bool:
    """Whether the photographs are here of which the corruption ``frost`` is made."""
    try:
        photographs()
    except Unavailable:
        return False
    return True


def perturbations(
    text: str | None,
    severities: Sequence[int] | None,
    channels: int,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Perturbation]:
    """The perturbations that a text names, by kind (:func:`probes.perturb.asked.asked`): all
    corruptions are one kind, an arm each, and attacks have an arm of noise of their size.

    Without a text there are all corruptions, noise, an attack of 5 steps, and weights of few bits.
    ``severities`` are those of corruptions. ``frost`` is left out of all corruptions, with a word,
    where its photographs are not here. Raises what ``asked`` raises, and BadInput for corruptions
    of different severities, or one that stands twice.

    >>> list(perturbations("fog,contrast,noise:0,.1", [1, 3], channels=1))
    ['corruptions', 'noise']
    """
    usual = DEFAULT.get(channels, DEFAULT[3])
    named = asked(usual if text is None else text, severities or SEVERITIES)
    names: list[str] = []
    levels: set[tuple[float, ...]] = set()
    found: dict[str, Perturbation] = {}
    for name, one in named.items():
        if name in (CORRUPTIONS, *NAMES):
            names += FIFTEEN if name == CORRUPTIONS else [name]
            levels.add(one.levels)
        else:
            make = ATTACKS.get(name)
            found[name] = attacked(make(), one.levels, noise=True) if make else one
    if severities is not None and levels != {(0.0, *map(float, sorted(severities)))}:
        asked_for = ",".join(map(str, severities))
        has = "no corruption" if not names else "a corruption with severities of its own"
        raise BadInput(f"severity {asked_for}, but {text!r} names {has}: leave out one of the two")
    if not names:
        return found
    if len(levels) > 1:
        raise BadInput(
            f"under {text!r}: corruptions are judged together, at the same severities; say them"
            " once: --severity 1,3,5"
        )
    if twice := [name for name in named if name in FIFTEEN and CORRUPTIONS in named]:
        raise BadInput(
            f"under {text!r}: {twice[0]} is one of the fifteen corruptions; name {CORRUPTIONS}, or"
            " those that you want"
        )
    if CORRUPTIONS in named and not frost_is_here():
        say("frost is left out: its photographs come with pip install 'neural-probes[corruptions]'")
        names.remove("frost")
    return {CORRUPTIONS: Corruption(tuple(names), levels.pop(), each=True), **found}

"""The study of noise on the outputs of layers: how much accuracy is lost, by how many layers, by which, and in which network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probes.errors import BadInput
from probes.judge import Verdicts, both, decreases, exceeds, power
from probes.measure import accuracy
from probes.perturb import gaussian, layer_noise
from probes.perturb.outputs import layers_of
from probes.run import layertables as tables
from probes.run.judging import told
from probes.run.lab import Lab, Options, Sweep
from probes.run.layertables import COUNTS, PRIMARY, Layers
from probes.run.lazytable import LazyTable
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.pretrained import Subject
from probes.subjects.spec import Spec
from probes.subjects.spec import on as named
from probes.tell import evidence, report

STRENGTHS = (0.0, 0.25, PRIMARY, 1.0)
FRACTIONS = (1 / 16, 1 / 8, 1 / 4)
PIXELS = (0.0, 0.05, 0.1, 0.2)
JUDGED_PIXELS = 0.1
TRAINING = 10_000
"""Training images on which clean accuracy is measured at most."""
SENTENCES = {
    "RES": "{first} loses less accuracy than {second} when the outputs of random layers are perturbed: more than a point less at"
    " three layers, and not a point more at one or two.",
    "RES-PIXELS": "{first} loses at least a point less accuracy than {second} under noise on its images.",
    "RES-DEPTH": "The deeper the perturbed layer, the more accuracy is lost.",
}
WHERE = {
    "layers": "1, 2 and 3 layers",
    "fractions": "a share of the layers",
    "depth": "one layer at a time",
    "pixels": "the images",
}
Say = Callable[[str], None]
Ask = Callable[[LazyTable], Verdicts]


def three(sweep: LazyTable, **arms: Any) -> Verdicts:
    """The first arm loses more than a point less at three perturbed layers, and not a point more at one and at two.

    ``arms`` are ``between`` and ``unit`` of :func:`probes.judge.exceeds`; of several strengths .5 is judged.
    """
    found = [exceeds(sweep.where(layers=str(n), level=(0.0, PRIMARY)), "correct", **arms, sesoi="1 point" if n == 3 else "-1 point")
             for n in (3, 2, 1)]  # fmt: skip
    return both(*found)


def study(
    nets: Sequence[str],
    dataset: str,
    store: Store,
    out: Path,
    *,
    strengths: Sequence[float] = STRENGTHS,
    on: Layers = "BatchNorm2d",
    draws: int = 1,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "layer-noise"),
    say: Say = lambda _: None,
) -> Path:
    """Noise on the outputs of layers of networks, and the claims about them, as a report in ``out``.

    A network is ``net[:weights][#seed]``; where all have ``#*`` the claims are about training seeds, else about these checkpoints,
    over images. Two networks are compared, the first with the second. Tables ``clean``, ``drops`` (by number and fraction of
    layers, and under noise on the images), ``depth`` (one layer at a time), ``activations`` and, of images that may stand in a
    report, ``maps``. Raises what a sweep raises, and BadInput for a network with a dataset of its own or twice, and for strengths
    without .5.
    """
    if PRIMARY not in strengths:
        raise BadInput(f"strengths {' '.join(f'{s:g}' for s in strengths)}: {PRIMARY:g} is the one that is judged; keep it")
    options, specs = options or Options(), _specs(nets, dataset)
    images = options.images or len(datasets.load(dataset, options.split, store))
    options = dataclasses.replace(options, images=images)
    lab = Lab(specs, store, options, quiet=False, say=say)
    for one in lab.subjects.values():  # an error before the work
        layer_noise(0, PRIMARY, layers=COUNTS, on=on).resolved(one.model)
    names = " and ".join(map(str, specs))
    sweeps: dict[str, Sweep] = {}
    for name, under in (
        ("layers", layer_noise(*strengths, layers=COUNTS, on=on)),
        ("fractions", layer_noise(*strengths, layers=FRACTIONS, on=on)),
        ("depth", layer_noise(0, PRIMARY, on=on, choice="each")),
        ("pixels", gaussian(*PIXELS)),
    ):
        sweeps[name] = lab.sweep(accuracy, under=under, draws=1 if name == "depth" else draws)
    rule = "signed rank" if all(spec.seed == "*" for spec in specs) else "score"
    if problem := power.foresee(sweeps["layers"].design, rule, options.alpha):
        say(f"{names}: {problem}")
    for name, sweep in sweeps.items():
        say(f"{names}, {images:,} images: noise on {WHERE[name]}")
        sweep.frame  # noqa: B018 - computed here, one after the other
    lines = []
    for ident, sentence, subject, name, ask in _claims(specs):
        lines.append(told(lab, ask(sweeps[name]), (ident, sentence, "residual"), subject))
    say(f"{names}: activations, clean and perturbed")
    learnt = min(images, len(datasets.load(dataset, "train", store)), TRAINING)
    training = Lab(specs, store, dataclasses.replace(options, split="train", images=learnt), quiet=False)
    found_tables = {
        "clean": pd.concat([tables.clean(lab, "test"), tables.clean(training, "train")], ignore_index=True),
        "drops": pd.concat([tables.drops(sweeps[n].frame, n) for n in ("layers", "fractions", "pixels")], ignore_index=True),
        "depth": tables.depth(sweeps["depth"].frame),
        "activations": pd.concat([tables.activations(s, store, options, on) for s in lab.subjects.values()], ignore_index=True),
        "layers": pd.DataFrame([(s.spec.net, layer) for s in _firsts(lab) for layer in layers_of(s.model, on)],
                               columns=["net", "layer"]),
    }  # fmt: skip
    if all(s.data.embeddable for s in lab.subjects.values()):
        found_tables["maps"] = pd.concat([tables.maps(s, on, options.seed) for s in _firsts(lab)], ignore_index=True)
    return report.assemble(lines, evidence.provenance(Path.cwd(), command, {}), out, found_tables)


def _firsts(lab: Lab) -> list[Subject]:
    """The first training run of each network."""
    return list({s.spec.net: s for s in reversed(lab.subjects.values())}.values())[::-1]


def _specs(nets: Sequence[str], dataset: str) -> list[Spec]:
    specs = [named(net, dataset) for net in nets]
    if twice := [s.net for i, s in enumerate(specs) if s.net in [other.net for other in specs[:i]]]:
        raise BadInput(f"{' '.join(nets)}: networks are told apart by their names, and {twice[0]} stands twice")
    return specs


def _claims(specs: Sequence[Spec]) -> list[tuple[str, str, str, str, Ask]]:
    """Id, sentence, subject, sweep and question: the first network against the second, and each one's profile by depth."""
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

        found += [("RES", words["RES"], pair, "layers", lambda sweep: three(sweep, **arms)),
                  ("RES-PIXELS", words["RES-PIXELS"], pair, "pixels", pixels)]  # fmt: skip
    for spec in specs:

        def deeper(sweep: LazyTable, net: str = spec.net) -> Verdicts:
            return decreases(sweep.where(net=net).along("layer"), "correct", unit=unit)

        found.append(("RES-DEPTH", SENTENCES["RES-DEPTH"], str(spec), "depth", deeper))
    return found

"""The study of noise on the outputs of layers: the loss of accuracy by the number of layers, by
layer, and by network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from probes.errors import BadInput
from probes.judge import power
from probes.judge.wording import counted
from probes.measure import accuracy
from probes.perturb import gaussian, layer_noise
from probes.perturb.layers import default_layers, layers_of
from probes.run.bench import Bench
from probes.run.judging import told
from probes.run.settings import Options
from probes.run.sweeping import Sweep
from probes.store import Store
from probes.studies import sections
from probes.studies.layer_noise import tables
from probes.studies.layer_noise.claims import PIXELS, claims_of
from probes.studies.layer_noise.tables import COUNTS, PRIMARY, Layers
from probes.subjects import data as datasets
from probes.subjects.spec import Spec
from probes.subjects.spec import on as named
from probes.subjects.subject import Subject
from probes.tell import origins, report

STRENGTHS = (0.0, 0.25, PRIMARY, 1.0)
FRACTIONS = (1 / 16, 1 / 8, 1 / 4)
TRAINING = 10_000
"""Clean accuracy is measured on at most this many training images."""
WHERE = {
    "layers": "1, 2 and 3 layers",
    "fractions": "a share of the layers",
    "depth": "one layer at a time",
    "pixels": "the images",
}
Say = Callable[[str], None]


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
    """Noise on the outputs of layers of networks, and the claims about them, as a report in
    ``out``.

    A network is ``net[:weights][#seed]``. If all have ``#*`` the claims are about training seeds,
    else about these checkpoints, over images. Two networks are compared, the first with the second.
    The tables are ``clean``, ``drops`` (by number and fraction of layers, and under noise on the
    images), ``depth`` (one layer at a time), ``activations`` and, for images that may stand in a
    report, ``maps``. Raises what a sweep raises, and BadInput for a network that names a dataset
    itself or stands twice, and for strengths without .5.
    """
    if PRIMARY not in strengths:
        raise BadInput(
            f"strengths {' '.join(f'{s:g}' for s in strengths)}: {PRIMARY:g} is the one that is"
            " judged; keep it"
        )
    options, specs = options or Options(), _specs(nets, dataset)
    images = options.images or len(datasets.load(dataset, options.split, store))
    options = dataclasses.replace(options, images=images)
    lab = Bench(specs, store, options, quiet=False, say=say)
    if on in ("BatchNorm2d", ["BatchNorm2d"]):
        on = default_layers([one.model for one in lab.subjects.values()])
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
        say(f"{names}, {counted(images, 'image')}: noise on {WHERE[name]}")
        sweep.frame  # noqa: B018
    lines = []
    for ident, sentence, subject, name, ask in claims_of(specs):
        lines.append(told(lab, ask(sweeps[name]), (ident, sentence, "residual"), subject))
    say(f"{names}: activations, clean and perturbed")
    learnt = min(images, len(datasets.load(dataset, "train", store)), TRAINING)
    training = Bench(
        specs, store, dataclasses.replace(options, split="train", images=learnt), quiet=False
    )
    found_tables = {
        "clean": pd.concat(
            [tables.clean(lab, "test"), tables.clean(training, "train")], ignore_index=True
        ),
        "drops": pd.concat(
            [tables.drops(sweeps[n].frame, n) for n in ("layers", "fractions", "pixels")],
            ignore_index=True,
        ),
        "depth": tables.depth(sweeps["depth"].frame),
        "activations": pd.concat(
            [tables.activations(s, store, options, on) for s in lab.subjects.values()],
            ignore_index=True,
        ),
        "layers": pd.DataFrame(
            [(s.spec.net, layer) for s in _firsts(lab) for layer in layers_of(s.model, on)],
            columns=["net", "layer"],
        ),
    }
    if all(s.data.embeddable for s in lab.subjects.values()):
        found_tables["maps"] = pd.concat(
            [tables.maps(s, store, options, on) for s in _firsts(lab)], ignore_index=True
        )
    return report.assemble(
        lines, origins.provenance(Path.cwd(), command, {}), out, found_tables, sections=sections()
    )


def _firsts(lab: Bench) -> list[Subject]:
    """The first training run of each network."""
    return list({s.spec.net: s for s in reversed(lab.subjects.values())}.values())[::-1]


def _specs(nets: Sequence[str], dataset: str) -> list[Spec]:
    specs = [named(net, dataset) for net in nets]
    if twice := [s.net for i, s in enumerate(specs) if s.net in [other.net for other in specs[:i]]]:
        raise BadInput(
            f"{' '.join(nets)}: networks are told apart by their names, and {twice[0]} stands twice"
        )
    return specs

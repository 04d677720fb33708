"""What each instrument can do with a network: tried on a few images, not guessed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from probes.alike import distance, state_of, tensors_in
from probes.batch import Batch
from probes.errors import ProbesError
from probes.judge.wording import counted
from probes.measure import accuracy, block_metrics, tap
from probes.measure.adapters import block_sites
from probes.measure.features import feature_metrics, stages_of
from probes.measure.meeting import found_in
from probes.measure.modules import outputs
from probes.measure.sums import Residual, residuals
from probes.naming import modules
from probes.perturb import dropout, layer_noise
from probes.perturb.layers import norms
from probes.perturb.plainweights import targets
from probes.run import device
from probes.run.forward import Network, Where, network
from probes.store import Store
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject

FEW = 8
"""The number of images that instruments are tried on."""
ALIKE = 1e-5
"""How far x + h may be from the sum, and an image's numbers at batch 1 from those in a batch, in
units of the largest value of the stream.
"""


@dataclasses.dataclass(frozen=True)
class Tried:
    """One instrument: whether it reads this network, and what it reads or why it does not."""

    name: str
    works: bool
    what: str


@dataclasses.dataclass(frozen=True)
class Examined:
    """What was found out about a network: see :func:`examine`.

    ``facts`` are pairs of a word and what holds, ``sums`` the residual sums, ``wrong`` sentences on
    what does not add up there (empty: they are read right), ``tried`` the instruments, and
    ``claim`` the body of a first claim.
    """

    facts: tuple[tuple[str, str], ...]
    sums: tuple[Residual, ...]
    wrong: tuple[str, ...]
    tried: tuple[Tried, ...]
    claim: str


def examine(subject: Subject, where: Where, store: Store | None = None) -> Examined:
    """Run a network on a few images, and try each instrument on it.

    Raises ProbesError for a network that can't be measured at all: one that fails, draws at random
    in eval mode, writes to itself, or lets images depend on each other.
    """
    net = network(subject, where, store)
    x = pixels(subject.data, slice(0, FEW))
    labels = subject.data.labels[: len(x)]
    batch = Batch(x, subject.data.ids[: len(x)], labels)

    with device.exact(where.threads), device.cast(net.device, where.precision), torch.no_grad():
        sums = residuals(net.model, net.send(x))
        has_streams = bool(sums or block_sites(net.model))
        wrong = tuple(misread(net, x)) if has_streams else ()

        def measure(one: object) -> dict:
            with one.open(net.model) as read:  # type: ignore[attr-defined]
                net.model(net.send(x))
                if one.compares:  # type: ignore[attr-defined]
                    read.reference()
                    net.model(net.send(x * 0.9))
                return read(batch)

        tried = tuple(
            _try(name, how)
            for name, how in (
                ("block_metrics", lambda: _blocks(measure(block_metrics), wrong)),
                ("feature_metrics", lambda: _features(measure(feature_metrics))),
                ("accuracy", lambda: _answers(measure(accuracy), subject, net)),
                ("gaussian(...)", lambda: "noise on images"),
                ("weight_noise(...)", lambda: _weights(net.model)),
                ("layer_noise(...)", lambda: _layers(net.model)),
                ("dropout(...)", lambda: _dropped(net.model)),
                ("units of modules", lambda: _units(net, x)),
            )
        )
    return Examined(_facts(subject, net, x), sums, wrong, tried, _claim(subject, tried, net.model))


def _try(name: str, how: Callable[[], str]) -> Tried:
    try:
        return Tried(name, True, how())
    except ProbesError as e:
        return Tried(name, False, str(e))


def misread(net: Network, x: Tensor) -> list[str]:
    """What is wrong with what taps read at residual sums; empty if all is right.

    At every site x + h must be the sum; an image alone must give what it gives in a batch; h must
    be what it was when it was made, whatever came later; and the network must give the same with
    taps as without, and be left as it was, bit for bit.
    """
    model, found = net.model, []
    before, hooks = state_of(model), _hooks(model)
    plain = tensors_in(model(net.send(x)))
    with tap(model) as seen:
        tapped = tensors_in(model(net.send(x)))
        every = {site: dict(streams) for site, streams in seen.items()}
        model(net.send(x[:1]))
        alone = {site: dict(streams) for site, streams in seen.items()}
    with tap(model, reduce=lambda _, t: torch.linalg.vector_norm(t.flatten(1), dim=1)) as norm:
        model(net.send(x))
        norms_then = {site: dict(streams) for site, streams in norm.items()}
    fused = any(isinstance(m, nn.TransformerEncoderLayer) for m in model.modules())
    if distance(plain, tapped) > (ALIKE if fused else 0):
        found.append("the network gives something else while it is read")
    if state_of(model) != before or _hooks(model) != hooks:
        found.append("the network is not left as it was")
    for site, s in every.items():
        if "x" in s and distance([s["x"] + s["h"]], [s["sum"]]) > ALIKE:
            found.append(f"{site}: x + h is not the sum")
        now = torch.linalg.vector_norm(s["h"].flatten(1), dim=1)
        if distance([now], [norms_then[site]["h"]]) > ALIKE:
            found.append(f"{site}: h is changed by what comes later")
        first = s["h"][: max(1, len(s["h"]) // len(x))]  # patches may stand in for images
        if distance([first], [alone[site]["h"]]) > 10 * ALIKE:
            found.append(f"{site}: h of an image depends on the batch")
    return found


def _hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def _blocks(read: dict, wrong: Sequence[str]) -> str:
    if wrong:
        raise ProbesError("; ".join(wrong))
    metrics = [name for name in read if name != "site"]
    return f"{counted(len(read['site']), 'site')}: {', '.join(metrics)}"


def _features(read: dict) -> str:
    return f"{counted(len(read['site']), 'layer')}: {', '.join(map(str, read['site']))}"


def _answers(read: dict, subject: Subject, net: Network) -> str:
    outputs, classes = net.checked.outputs, len(subject.data.classes)
    if net.checked.probabilities:
        raise ProbesError("it gives probabilities instead of logits")
    if outputs != classes:
        raise ProbesError(f"{outputs} outputs for {classes} classes")
    return f"{classes} classes"


def _weights(model: nn.Module) -> str:
    found = targets(model)
    every = sum(p.numel() for p in model.parameters())
    share = sum(w.numel() for w in found.values()) / max(1, every)
    return f"{len(found)} weights, {share:.1%} of the parameters"


def _layers(model: nn.Module) -> str:
    names = layer_noise(0, 0.1).resolved(model).on
    kinds = Counter(type(modules(model)[str(name)]).__name__ for name in names)
    return f"{counted(len(names), 'layer')}: {_counted(kinds)}"


def _dropped(model: nn.Module) -> str:
    return f"{len(dropout(0, 0.1).resolved(model).on)} dropout layers"


def _units(net: Network, x: Tensor) -> str:
    model = net.model
    linear = [name for name, m in modules(model).items() if isinstance(m, nn.Linear)][-1:]
    names = list(dict.fromkeys([*stages_of(model, x), *linear]))
    with outputs(model, names) as seen:
        model(net.send(x))
        return ", ".join(f"{n} {' x '.join(map(str, t.shape[1:]))}" for n, t in seen.items())


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())


def _facts(subject: Subject, net: Network, x: Tensor) -> tuple[tuple[str, str], ...]:
    model, checked = net.model, net.checked
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()})
    kinds = Counter(type(m).__name__ for name, m in modules(model).items() if norms(name, m))
    side = " x ".join(map(str, x.shape[1:]))
    facts = [
        ("weights", f"{subject.weights}, SHA-256 {subject.sha256[:12]}"),
        (
            "images",
            f"{side} of {subject.data.title}, {counted(len(subject.data.classes), 'class')}",
        ),
        ("parameters", f"{sum(p.numel() for p in model.parameters()):,} ({', '.join(dtypes)})"),
        ("two passes", "give the same, change nothing, and images do not depend on each other"),
        ("memory layout", checked.layout),
        ("gives", checked.gives or f"{checked.outputs} outputs"),
        ("norms", _counted(kinds) or "none"),
        ("ends of stages", ", ".join(stages_of(model, x)) or "none"),
    ]
    notes = [*subject.notes, *([checked.note] if checked.note else [])]
    return tuple(facts + [("note", note) for note in notes])


def _claim(subject: Subject, tried: Sequence[Tried], model: nn.Module) -> str:
    """The body of a first claim that this network can answer."""
    works = {one.name: one.works for one in tried}
    sparse = all(s.next == "ReLU" for s in found_in(model)) or bool(block_sites(model))
    if works["block_metrics"]:
        if sparse:
            ask = 'falls(table, "sparsity", by="site", sesoi="0.5 points")'
            words = "Noise on images lowers the sparsity of every block."
        else:
            ask = 'rises(table, "var_h", by="site", sesoi="1 %")'
            words = "Noise on images raises the variance of every branch."
        measure = "block_metrics"
    elif works["accuracy"]:
        ask, measure = 'falls(table, "correct", sesoi="1 point")', "accuracy"
        words = "Noise on images costs accuracy."
    else:
        ask, measure = 'rises(table, "map_distance", by="site", sesoi=0.05)', "feature_metrics"
        words = "Noise on images moves the feature maps of every stage."
    verb = ask.partition("(")[0]
    return (
        "import pytest\n"
        f"from probes import {measure}, {verb}, gaussian\n\n\n"
        f'@pytest.mark.subjects("{subject.spec}")\n'
        f'@pytest.mark.claim("{words}", id="FIRST")\n'
        "def test_first(lab, claim):\n"
        f"    table = lab.sweep({measure}, under=gaussian(0, 0.1, 0.2))\n"
        f"    claim.holds({ask})\n"
    )

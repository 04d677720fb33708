"""A network on its device, checked once, and how images reach it: always as a copy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probes import philox
from probes.alike import distance, head, state_of, tensors_in
from probes.errors import ProbesError
from probes.hooks import handles
from probes.moments import to_float64
from probes.naming import modules
from probes.reading import loads
from probes.run.device import card, cast, exact, on_one_device
from probes.store import Store
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject
from probes.subjects.wrapped import described, half_precision, logits_of

CHECKED = 64
"""At most this many images of a subject's first batch are run twice before a measurement."""
ALIKE = {"fp32": 1e-5, "bf16": 1e-2}
"""The largest difference between two passes over the same images, in units of the largest
output.
"""
LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclasses.dataclass(frozen=True)
class Where:
    """The settings that work runs under. They change the last bits of a result, so they are part of
    every key.
    """

    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    batch_size: int = 250

    def key(self) -> dict[str, Any]:
        """What results depend on: the settings, and whether noise is made on the device."""
        there = torch.device(self.device).type in philox.DEVICES
        return dataclasses.asdict(self) | ({"noise": "made there"} if there else {})

    def told(self) -> dict[str, Any]:
        """What the evidence says of it: the settings, and of CUDA the card, and that TF32 is off.

        >>> Where().told() == dataclasses.asdict(Where())
        True
        """
        cuda = self.device.startswith("cuda")
        return dataclasses.asdict(self) | (
            {"card": card(self.device), "TF32": "off"} if cuda else {}
        )


@dataclasses.dataclass(frozen=True)
class Checked:
    """What was found out about a network before it is measured: its memory layout, its outputs, a
    note for readers, and what its forward gives, in words.
    """

    layout: str
    outputs: int | None
    note: str = ""
    probabilities: bool = False
    gives: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A subject's model on its device, in the memory layout that it takes."""

    model: nn.Module
    device: torch.device
    checked: Checked

    @property
    def layout(self) -> torch.memory_format:
        """The memory format of its weights and images."""
        return LAYOUTS[self.checked.layout]

    def send(self, images: Tensor) -> Tensor:
        """Images for one pass, copied on the device or to it: a network may work in place on
        them.
        """
        return images.to(self.device, memory_format=self.layout, copy=True)


_checked: dict[tuple, Checked] = {}


def network(subject: Subject, where: Where, store: Store | None = None) -> Network:
    """The model of a subject on its device. Before it is measured for the first time, its first
    images run twice.

    A network that fails in the faster layout (channels last, if it has maps) runs in the other one,
    and a note says so. Raises ProbesError, naming the first module that differs, for a network that
    draws at random in eval mode. The result is kept in the store, if there is one.
    """
    checked = check(subject, where, store)
    device = torch.device(where.device)
    model = subject.model.to(device).to(memory_format=LAYOUTS[checked.layout])
    return Network(model, device, checked)


def check(subject: Subject, where: Where, store: Store | None = None) -> Checked:
    """What :func:`network` finds out before the first measurement, stored or now."""
    n = min(CHECKED, where.batch_size, len(subject.data))
    key = {
        "kind": "checked",
        "version": 3,
        "weights": subject.sha256,
        "code": subject.code,
        "images": subject.data.sha256,
        "few": n,
        "where": {name: getattr(where, name) for name in ("device", "precision", "threads")},
    }
    name = tuple(sorted((k, str(v)) for k, v in key.items()))
    if name not in _checked:
        if store is None:
            _checked[name] = _check(subject, where, n)
        else:

            def make(path: Path) -> None:
                path.write_text(
                    json.dumps(dataclasses.asdict(_check(subject, where, n))), encoding="utf-8"
                )

            made = store.get_or_make("checked", key, ".txt", make)
            _checked[name] = Checked(**loads(made.read_text(encoding="utf-8")))
    return _checked[name]


def common_key(subject: Subject, where: Where, store: Store | None = None) -> dict[str, Any]:
    """What every result of a subject depends on: weights, code, images, and where it ran. The store
    adds versions.
    """
    return {
        "weights": subject.sha256,
        "code": subject.code,
        "images": subject.data.sha256,
        "where": where.key(),
        "layout": check(subject, where, store).layout,
    }


def _check(subject: Subject, where: Where, n: int) -> Checked:
    device = torch.device(where.device)
    x, model = pixels(subject.data, slice(0, n), device), subject.model.to(device)

    def run(layout: str, images: Tensor = x) -> Any:
        model.to(memory_format=LAYOUTS[layout])
        with on_one_device(subject), exact(where.threads), cast(device, where.precision):
            return model(Network(model, device, Checked(layout, None)).send(images))

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        return _compared(subject, where, x, run)


def _compared(subject: Subject, where: Where, x: Tensor, run: Callable[..., Any]) -> Checked:
    model, layout = subject.model, "contiguous"
    near = ALIKE["bf16" if half_precision(model) else where.precision]
    far = min(100 * near, 0.1)
    kept = state_of(model)
    raw: list[Any] = []
    with handles() as held:
        inside = getattr(model, "net", model)
        held.append(inside.register_forward_hook(lambda _, __, out: raw.append(out)))
        whole = run("contiguous")
    gives, note = _gives(subject, raw[-1] if raw else whole)
    out = tensors_in(whole)
    if any(isinstance(m, nn.Conv2d) for m in model.modules()):
        try:
            other = tensors_in(run("channels last"))
        except Exception as e:  # noqa: BLE001
            why = (str(e).splitlines() or [type(e).__name__])[0]
            note += f"; runs on contiguous images, since its code refuses channels last ({why})"
        else:
            if distance(out, other) <= far:
                layout, out = "channels last", other
            elif distance(out, tensors_in(run("contiguous"))) <= near:
                note += (
                    "; runs on contiguous images, since it computes something else on channels last"
                )
    note = note.removeprefix("; ")
    seen = state_of(model)
    run(
        layout, x.flip(0) * 0.5
    )  # another batch in between: what a pass leaves behind shows in the next one
    if (apart := distance(out, tensors_in(run(layout)))) > near:
        raise ProbesError(
            f"{subject.spec} draws at random in eval mode: two passes over the same images differ"
            f" by {apart:.2g} of its largest output, {_first(subject, model, where, x, x, layout)}."
            " A verdict would be of one draw; make it draw nothing when self.training is False,"
            " and keep nothing from one pass to the next"
        )
    for before, after in (
        (kept[0], seen[0]),
        (seen[0] | seen[1], (now := state_of(model))[0] | now[1]),
    ):
        if changed := [name for name in after if name not in before or before[name] != after[name]]:
            raise ProbesError(
                f"{subject.spec} changes itself: a pass in eval mode writes to {changed[0]!r}, so"
                " what it gives depends on what ran before; initialise it when it is built, or"
                " write to it in training mode only"
            )
    half = x[: max(1, len(x) // 2)]
    if len(half) < len(x):
        listed = isinstance(whole, list | tuple) and len(whole) == len(x)  # an entry for each image
        mine = tensors_in(whole[: len(half)]) if listed else head(out, len(half), len(x))
        if (apart := distance(mine, tensors_in(run(layout, half)))) > far:
            who = _first(subject, model, where, x, half, layout)
            raise ProbesError(
                f"{subject.spec}: what it gives for an image depends on the other images of the"
                f" batch (by {apart:.2g} of its largest output, {who}), and images are judged as"
                " independent; normalise with statistics that it keeps"
            )
    if not (isinstance(whole, Tensor) and whole.ndim == 2 and len(whole) == len(x)):
        return Checked(layout, None, note, gives=gives)
    classes = whole.shape[1]
    shares = classes > 1 and bool(
        (whole.min() >= 0) & ((to_float64(whole).sum(1) - 1).abs().max() < 1e-3).to(whole.device)
    )
    return Checked(layout, classes, note, shares, gives)


def _gives(subject: Subject, raw: Any) -> tuple[str, str]:
    """What the forward of a network gives, in words, and a note on how it is read."""
    _, found = logits_of(raw, len(subject.data.classes))
    said = [f"its logits are {found}"] if found else []
    if getattr(subject.model, "one_by_one", False):
        said.append(
            "images pass one by one, since its layers quantise by the range of a whole batch"
        )
    if dtype := half_precision(subject.model):
        said.append(f"computes in {dtype}, the precision of its weights")
    return described(raw), "; ".join(said)


def _first(
    subject: Subject, model: nn.Module, where: Where, x: Tensor, other: Tensor, layout: str
) -> str:
    """Where two passes diverge: the first module whose output differs, and whether its input
    differs already.
    """
    device, n_images = torch.device(where.device), len(other)
    net = Network(model, device, Checked(layout, None))

    def mine(values: Any) -> list[Tensor]:
        return head(tensors_in(values), n_images, len(x))

    def trace(images: Tensor) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
        found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
        given: dict[str, list[Tensor]] = {}
        with handles() as held, exact(where.threads), cast(device, where.precision):
            for name, module in modules(model).items():
                held.append(
                    module.register_forward_pre_hook(
                        lambda _, x, name=name: given.update({name: mine(x)})
                    )
                )
                held.append(
                    module.register_forward_hook(
                        lambda _, __, out, name=name: (
                            found.setdefault(name, (given[name], mine(out))) and None
                        )
                    )
                )
            model(net.send(images))
        return found

    near = ALIKE["bf16" if half_precision(subject.model) else where.precision]
    near = near if other is x else min(100 * near, 0.1)
    one, two, known = trace(x), trace(other), modules(model)
    for name, (given, out) in one.items():
        if name in two and distance(out, two[name][1]) > near:
            kind = type(known[name]).__name__
            if distance(given, two[name][0]) > near:
                above = known.get(name.rpartition(".")[0], getattr(model, "net", model))
                return (
                    f"first in what module {name!r} ({kind}) is given, by the forward of"
                    f" {type(above).__name__}"
                )
            return f"first in module {name!r} ({kind})"
    return f"in the forward of {type(getattr(model, 'net', model)).__name__}"

"""Where two networks part: how far their features are from each other, layer by layer, on the same
clean images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from probes.batch import Batch
from probes.comparing.arms import NEW, OLD, Arms
from probes.errors import ProbesError, Unfinished
from probes.hooks import handles
from probes.measure import BlockMetrics, extract, residuals
from probes.measure.features import compare
from probes.measure.mapstats import LinearCKA
from probes.moments import flatten_images
from probes.naming import modules
from probes.run.bench import Bench
from probes.run.device import cast, exact
from probes.run.forward import Network, Where, network
from probes.run.work import Place, Work
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject

IMAGES = 1000
"""The insides are compared on at most this many images, the first ones."""
QUARTILES = (0.5, 0.25, 0.75)


def layers_of(model: nn.Module, images: Tensor) -> list[str]:
    """The layers at which a network is looked into: its residual sums by the module that adds, else
    its layers with weights; those that run once in a pass and give a tensor of an image each.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> layers_of(net.eval(), torch.zeros(2, 1, 2, 2))
    ['1', '3']
    """
    known = modules(model)
    wanted = [one.name for one in residuals(model, images) if one.name in known] or [
        name for name, m in known.items() if any(p.ndim > 1 for p in m.parameters(recurse=False))
    ]
    ran: dict[str, int] = {}
    good: set[str] = set()

    def see(name: str, out: Any) -> None:
        ran[name] = ran.get(name, 0) + 1
        if isinstance(out, Tensor) and 2 <= out.ndim <= 4 and len(out) == len(images):
            good.add(name)

    with handles() as held, torch.inference_mode():
        for name in wanted:
            held.append(
                known[name].register_forward_hook(lambda _, __, out, name=name: see(name, out))
            )
        model(images)
    return [name for name in wanted if ran.get(name) == 1 and name in good]


@dataclasses.dataclass(frozen=True)
class Insides(Work):
    """The profile of two subjects on their first images: a row per layer that both have, in the
    order in which the new one runs them.

    ``distance`` is ||f_new - f_old|| / ||f_old|| of an image's features, NaN where their shapes
    differ; ``norm`` the ratio of the norms of h, new to old, NaN where a layer is no residual sum;
    both as median and quartiles over images. ``cka`` is unbiased linear CKA.
    """

    old: str
    new: str
    images: int
    where: Where

    kind = "insides"
    suffix = ".parquet"
    version = 1

    @property
    def subject(self) -> str:
        """What it is about, for the store."""
        return self.new

    def key(self, place: Place) -> dict[str, Any]:
        """Both networks, the images, and where they run."""
        old, new = place.subject(self.old), place.subject(self.new)
        return {
            "version": self.version,
            OLD: [old.sha256, old.code],
            NEW: [new.sha256, new.code],
            "images": new.data.sha256,
            "number": self.images,
            "where": self.where.key(),
        }

    def make(self, place: Place, path: Path) -> None:
        """One pass of either network over the images."""
        both = [place.subject(name) for name in (self.old, self.new)]
        nets = [network(s, self.where, place.store) for s in both]
        with exact(self.where.threads), cast(nets[0].device, self.where.precision):
            found = _profile(nets, both[1], self.images, self.where.batch_size)
        written = io.BytesIO()
        found.to_parquet(written, index=False)
        path.write_bytes(written.getvalue())


def _profile(nets: list[Network], subject: Subject, images: int, size: int) -> pd.DataFrame:
    data = subject.data
    first = [net.send(pixels(data, slice(0, 2), net.device)) for net in nets]
    theirs, mine = (layers_of(net.model, x) for net, x in zip(nets, first, strict=True))
    layers = [name for name in mine if name in theirs]
    cka = {name: LinearCKA() for name in layers}
    apart: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    norms: dict[str, list[np.ndarray]] = {}
    with contextlib.ExitStack() as stack, torch.inference_mode():
        seen = [stack.enter_context(extract(net.model, layers)) for net in nets]
        reads = [
            stack.enter_context(_norms(net.model, x)) for net, x in zip(nets, first, strict=True)
        ]
        for start in range(0, images, size):
            part = slice(start, min(start + size, images))
            batch = Batch.of(data.ids[part])
            for net in nets:
                net.model(net.send(pixels(data, part, net.device)))
            for name in layers:
                old, new = (flatten_images(maps[name]) for maps in seen)
                if old.shape == new.shape:
                    apart[name].append(compare(new, old)["map_distance"].cpu().numpy())
                if len(old) >= 4:
                    cka[name].add(old, new)
            was, now = (read(batch) for read in reads)
            for name in was.keys() & now.keys():
                with np.errstate(divide="ignore", invalid="ignore"):
                    norms.setdefault(name, []).append(now[name] / was[name])
    rows = [
        {
            "layer": name,
            **_quartiles("distance", apart[name]),
            "cka": cka[name].value() if cka[name].images else np.nan,
            **_quartiles("norm", norms.get(name, [])),
        }
        for name in layers
    ]
    return pd.DataFrame(rows)


@contextlib.contextmanager
def _norms(model: nn.Module, images: Tensor) -> Iterator[Callable[[Batch], dict[str, np.ndarray]]]:
    """``read(batch)`` after a pass: the norm of h at each residual sum; nothing where there are
    none, or where they can't be read.
    """
    with contextlib.ExitStack() as stack:
        read = None
        if residuals(model, images):
            with contextlib.suppress(ProbesError):
                read = stack.enter_context(BlockMetrics(metrics=("l2_h",)).open(model))

        def norms(batch: Batch) -> dict[str, np.ndarray]:
            if read is None:
                return {}
            found = read(batch)
            return dict(zip(map(str, found["site"]), found["l2_h"], strict=True))

        yield norms


def _quartiles(name: str, parts: list[np.ndarray]) -> dict[str, float]:
    found = [np.nan] * 3 if not parts else np.nanquantile(np.concatenate(parts), QUARTILES)
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(float, found), strict=True))


def insides(lab: Bench, arms: Arms) -> pd.DataFrame:
    """The profile of the two networks of a bench (:class:`Insides`), with the number of ``images``;
    of several training runs the mean over pairs. Empty where the two have no layer in common, or
    where a network can't be looked into, which is said.
    """
    data = next(iter(lab.subjects.values())).data
    number = min(IMAGES, lab.looked_at(data))
    works = [
        Insides(old, new, number, lab.options.where)
        for old, new in zip(arms.names[OLD], arms.names[NEW], strict=False)
    ]
    try:
        found = [pd.read_parquet(path) for path in lab.fill(works, "insides")]
    except Unfinished:
        raise
    except ProbesError as e:  # the answer does not hang on it
        lab.say(f"the insides are not compared: {e}")
        return pd.DataFrame()
    every = pd.concat(found, ignore_index=True)
    if not len(every):
        return every
    order = list(dict.fromkeys(every["layer"]))
    return every.groupby("layer").mean().loc[order].reset_index().assign(images=number)

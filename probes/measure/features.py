"""Feature maps: the outputs of any modules, taken as they are made, and how far noise moves
them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.axes import as_maps
from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.hooks import handles, reading
from probes.measure.protocol import Measure, Reading
from probes.moments import flatten_images, mean_and_variance, to_float64
from probes.naming import modules


def stages(model: nn.Module) -> list[str]:
    """The stages of a network: ``layer1``, ``layer2``, ...; else the members of its outermost
    container (``nn.Sequential``, ``nn.ModuleList``; of several, the largest) that hold layers
    themselves, such as the blocks of a transformer; else modules with numbered names (``s1``,
    ``s2``, ...). BadInput for a network without them.

    >>> from probes.subjects.nets import nets
    >>> stages(nets["resnet20"](1, 10))
    ['layer1', 'layer2', 'layer3']
    """
    known = modules(model)
    if found := [name for name in known if re.fullmatch(r"(.+\.)?layer\d+", name)]:
        shallow = min(name.count(".") for name in found)
        return [name for name in found if name.count(".") == shallow]
    inside = getattr(model, getattr(type(model), "WRAPPED", ""), model)
    found, best = [], (0, 0)
    for name, m in {"": inside, **known}.items():
        if isinstance(m, nn.Sequential | nn.ModuleList):
            members = [
                f"{name}.{n}".lstrip(".") for n, c in m.named_children() if list(c.children())
            ]
            depth = len(name.split(".")) if name else 0
            size = sum(p.numel() for p in m.parameters())
            if len(members) > 1 and (not found or (-depth, size) > best):
                found, best = members, (-depth, size)
    if found:
        return found
    numbered: dict[str, list[str]] = {}
    for name, m in known.items():
        if "." not in name and list(m.children()) and (stem := re.fullmatch(r"(.*\D)\d+", name)):
            numbered.setdefault(stem[1], []).append(name)
    most = max(numbered.values(), key=len, default=[])
    if len(most) > 1:
        return most
    some = [name for name, m in known.items() if not list(m.children())][:8]
    raise BadInput(
        "the network has no stages layer1, layer2, ... and no container of blocks: name the layers"
        f" to read, e.g. {', '.join(some)}"
    )


def where(model: nn.Module) -> torch.device:
    """The device of a network's numbers; cpu for one that has none.

    >>> where(nn.Conv2d(1, 1, 1))
    device(type='cpu')
    """
    numbers = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in numbers), torch.device("cpu"))


def stages_of(model: nn.Module, images: Tensor) -> list[str]:
    """The last module at each size of the feature maps, without pooling. These are the ends of a
    network's stages, whatever their names. In a network of tokens they are its :func:`stages`.
    The images are sent to where the network is.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2,
    ...     2, 1))
    >>> stages_of(net.eval(), torch.zeros(2, 1, 4, 4))
    ['1', '3']
    """
    last: dict[tuple[int, ...], str] = {}
    calls: dict[str, int] = {}
    tokens: list[str] = []
    pools = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)

    def see(name: str, module: nn.Module, out: object) -> None:
        calls[name] = calls.get(name, 0) + 1
        if isinstance(out, Tensor) and out.ndim == 3 and out.shape[1] > 1:
            tokens.append(name)
        if isinstance(out, Tensor) and out.ndim == 4 and not isinstance(module, pools):
            last[tuple(as_maps(module, out).shape[2:])] = name

    with handles() as held, torch.inference_mode():
        for name, module in modules(model).items():
            held.append(
                module.register_forward_hook(lambda m, _, out, name=name: see(name, m, out))
            )
        model(images.to(where(model)))
    found = [name for name in last.values() if calls[name] == 1]
    if len(found) < 2 or tokens:
        with contextlib.suppress(BadInput):
            return [name for name in stages(model) if calls.get(name) == 1] or found
    return found


@contextlib.contextmanager
def extract(
    model: nn.Module,
    layers: Sequence[str] | None = None,
    reduce: Callable[[str, Tensor], Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Read the outputs of modules, by name, at every forward pass inside the block.

    Yields a dictionary that each pass fills anew, in the order in which the layers run: layer ->
    ``reduce(layer, maps)``, where maps are (N, C, H, W): tokens (N, T, C) are folded where they
    form a square, else they are (N, C, T, 1), and features (N, C) are (N, C, 1, 1). Without
    ``reduce`` it holds a copy, since an in-place operation may come right after. ``layers``
    defaults to the stages. The hooks are removed when the block ends, however it ends.

    Raises UnknownName for a layer; BadInput for an output that is none of these, for a
    layer that runs more than once in a pass, and for a model that is compiled, in DataParallel or
    in training mode; ProbesError for a layer that does not run.

    >>> from probes.subjects.nets import nets
    >>> net = nets["resnet20"](1, 10).eval()
    >>> with torch.no_grad(), extract(net, ["layer1", "layer2"]) as maps:
    ...     _ = net(torch.rand(2, 1, 8, 8))
    >>> [tuple(m.shape) for m in maps.values()]
    [(2, 16, 8, 8), (2, 32, 4, 4)]
    """

    known = modules(model)

    def take(layer: str, out: Any) -> Any:
        if not isinstance(out, Tensor) or not 2 <= out.ndim <= 4 or not out.is_floating_point():
            shape = (
                f"{tuple(out.shape)} of {out.dtype}"
                if isinstance(out, Tensor)
                else type(out).__name__
            )
            raise BadInput(
                f"layer {layer!r} gives {shape}, no feature maps (images, depths, height, width),"
                " no tokens (images, tokens, depths) and no features (images, depths)"
            )
        maps = out[:, :, None, None] if out.ndim == 2 else as_maps(known[layer], out)
        return maps.clone() if reduce is None else reduce(layer, maps)

    with reading(
        model, list(layers) if layers is not None else stages(model), take, "layer"
    ) as seen:
        yield seen


# --- numbers per image, for claims
# ------------------------------------------------------------------------------------

METRICS = ("map_distance", "map_cosine", "map_zeros", "map_mean", "map_std")
"""The metrics by name; :mod:`probes.table` declares what each of them is."""


class Reader(Reading):
    """``read(batch)`` after a pass. ``read.reference()`` after the pass of the clean images, with
    which it is compared.
    """

    def __init__(self, seen: Mapping[str, Tensor]) -> None:
        self.seen = seen
        self.clean: dict[str, Tensor] = {}

    def reference(self) -> None:
        """Take the maps of the last pass as those of the clean images."""
        self.clean = dict(self.seen)

    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        """The layers under ``"site"``, and an array (layers, images) per metric."""
        found = [
            compare(flatten_images(maps), flatten_images(self.clean[layer]))
            for layer, maps in self.seen.items()
        ]
        out: dict[str, np.ndarray] = {"site": np.array(list(self.seen))}
        for name in METRICS:
            out[name] = np.stack([f[name].cpu().numpy() for f in found])
            if (bad := ~np.isfinite(out[name])).any():
                site, image = np.argwhere(bad)[0]
                raise ProbesError(
                    f"{name} is {out[name][site, image]} in layer {str(out['site'][site])!r} for"
                    f" image {batch.ids[image]}"
                )
        return out


def compare(maps: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """The metrics of each image in float64. The maps of the image and of its clean image are rows
    (images, elements).

    >>> compare(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]]))["map_cosine"].item()
    0.6
    """
    mean, variance = mean_and_variance(maps)
    norm, first, apart = (
        to_float64(torch.linalg.vector_norm(t, dim=1)) for t in (maps, clean, maps - clean)
    )
    product = to_float64(torch.linalg.vecdot(maps, clean))
    same = apart == 0
    return {
        "map_distance": torch.where(same, 0, apart / first),
        "map_cosine": torch.where(same, 1, (product / (norm * first)).clamp(-1, 1)),
        "map_zeros": to_float64((maps == 0).float().mean(1)),
        "map_mean": mean,
        "map_std": variance.sqrt(),
    }


@dataclasses.dataclass(frozen=True)
class FeatureMetrics(Measure):
    """Five metrics of the feature maps of a layer, per image, over all depths and positions.

    ``map_distance`` is ||f - f0|| / ||f0||, where f0 are the maps of the clean image.
    ``map_cosine`` is the cosine of f and f0. ``map_zeros`` is the share of exact zeros.
    ``map_mean`` and ``map_std`` (ddof 0) are moments. ``layers`` defaults to the stages. The clean
    images pass before the noisy ones (``reference``), so a level costs two passes.

    >>> from probes.batch import Batch
    >>> from probes.subjects.nets import nets
    >>> net = nets["resnet20"](1, 10).eval()
    >>> with torch.no_grad(), FeatureMetrics().open(net) as read:
    ...     _ = net(torch.full((2, 1, 8, 8), 0.5))
    ...     read.reference()
    ...     _ = net(torch.rand(2, 1, 8, 8))
    ...     found = read(Batch.of([0, 1]))
    >>> found["map_distance"].shape
    (3, 2)
    """

    layers: tuple[str, ...] | None = None

    name = "feature_metrics"
    compares = True
    version = 1

    def key(self) -> dict:
        """What the numbers depend on, as JSON."""
        return {
            "kind": self.name,
            "version": self.version,
            "layers": self.layers and list(self.layers),
        }

    def count(self, model: nn.Module) -> int:
        """The number of layers that it reads of a model."""
        return len(self.layers or stages(model))

    @contextlib.contextmanager
    def open(self, model: nn.Module) -> Iterator[Reader]:
        """Measure the passes inside the block; raises what :func:`extract` raises."""
        with extract(model, self.layers) as seen:
            yield Reader(seen)


feature_metrics = FeatureMetrics()
"""The stages of a network: ``lab.sweep(feature_metrics, under=gaussian(0, .1))``."""


def has_places(shape: Sequence[int]) -> bool:
    """Whether a module gives maps with more than one place, so that a channel can be shown as a
    picture.
    """
    return len(shape) == 3 and shape[1] * shape[2] > 1

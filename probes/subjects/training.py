"""A frozen recipe, a network and a seed make weights: the same bytes each time on one machine, also after a kill.

Nothing random comes from a global generator: initial weights are drawn inside ``torch.random.fork_rng``, the order of
the images and their shifts are named draws of (seed, epoch). So a checkpoint is weights, momenta and an epoch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from probes import __version__, seeds
from probes.errors import BadInput, ProbesError
from probes.perturb.plainweights import targets
from probes.perturb.weights import perturbed
from probes.store import Store, digest, replacing, sha256
from probes.subjects.code import source_sha256
from probes.subjects.data import load
from probes.subjects.dataset import Dataset
from probes.subjects.nets import Normalised, Takes, nets
from probes.subjects.recipes import Recipe, default_recipe, recipes, run_name
from probes.subjects.stored import pack, unpack

__all__ = ["initial", "recipes", "reproducible", "train"]
Say = Callable[[str], None]


@contextlib.contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Deterministic algorithms and a fixed number of threads inside the block; as before after it."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def initial(net: str, data: Dataset, seed: int, classes: int | None = None) -> Normalised:
    """The untrained network of a seed, in its wrapper; the global generator is as it was before.

    Its head has as many outputs as the dataset has classes, or ``classes``. What the builder declares (:func:`takes`) is
    respected: grey images are repeated to its channels, it gets their side, its values stay in [0, 1].
    """
    build = nets[net]
    wants: Takes = getattr(build, "takes", Takes())
    channels = wants.channels if wants.channels and data.channels == 1 else data.channels
    mean, std = ((0.0,), (1.0,)) if wants.raw else (data.mean, data.std)
    high, wide = data.images.shape[2:]
    if wants.side and high != wide:
        raise BadInput(
            f"{net} takes square images, those of {data.name} are {high} x {wide}; a view such as {data.name}@28px is square"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_word("initial weights", seed))
        try:
            model = build(channels, classes or len(data.classes), *([wide] if wants.side else []))
            if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):  # lazy modules take shape now
                with torch.no_grad():
                    model.eval()(torch.zeros(2, channels, high, wide))
                model.train()
        except ProbesError:
            raise
        except Exception as e:
            takes = "channels, classes, side" if wants.side else "channels, classes"
            raise BadInput(f"{net} can't be built as ({takes}): {(str(e).splitlines() or [type(e).__name__])[0]}; a builder takes"
                           " these numbers and returns a module") from e  # fmt: skip
    return Normalised(model, mean * (channels // len(mean)), std * (channels // len(std)))


def _word(*name: str | int) -> int:
    """A seed for torch's generator, from a name."""
    return int(seeds.words(1, *name)[0] >> np.uint64(1))


def batches(data: Dataset, recipe: Recipe, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch: float images in [0, 1], shifted and flipped by named draws, and labels."""
    n, size = len(data), recipe.batch_size
    order = seeds.permutation(n, "order", seed, epoch)
    side = 2 * recipe.shift + 1
    shifts = (seeds.uniform(2 * n, "shift", seed, epoch) * side).astype(int).reshape(n, 2)
    flips = seeds.uniform(n, "flip", seed, epoch) < 0.5
    for start in range(0, n - size + 1, size):
        rows = order[start : start + size]
        x = torch.from_numpy(data.images[rows]).float() / 255
        if recipe.shift:
            high, wide = x.shape[2:]
            padded = F.pad(x, (recipe.shift,) * 4)
            x = torch.stack([p[:, i : i + high, j : j + wide] for p, (i, j) in zip(padded, shifts[rows], strict=True)])
        if recipe.flip:
            x = torch.where(torch.from_numpy(flips[rows]).view(-1, 1, 1, 1), x.flip(3), x)
        yield x, torch.from_numpy(data.labels[rows])


def accuracy(model: nn.Module, data: Dataset, batch_size: int = 500) -> float:
    """The share of images that the model (in eval mode) labels correctly."""
    model.eval()
    hits = 0
    with torch.inference_mode():
        for i in range(0, len(data), batch_size):
            x = torch.from_numpy(np.array(data.images[i : i + batch_size])).float() / 255
            hits += int((model(x).argmax(1).numpy() == data.labels[i : i + batch_size]).sum())
    return hits / len(data)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A training run before it runs: what it is trained on and how, and the ``key`` of its result."""

    net: str
    seed: int
    data: Dataset
    test: Dataset
    recipe: Recipe
    store: Store
    key: dict[str, Any]

    def make(self, path: Path, say: Say) -> dict[str, Any]:
        """Train and write the weights to a path; gives their card. It goes on from the last finished epoch."""
        recipe, data, test = self.recipe, self.data, self.test
        with reproducible(recipe.threads):
            model, history = _fit(self.net, data, test, self.seed, recipe, self.store, self.key, say)
            state = pack(model.net.state_dict(), recipe.stored)
            model.net.load_state_dict(unpack(state), strict=False)
            save_file(state, path)
            return {
                "net": self.net,
                "dataset": self.key["dataset"],
                "title": data.title,
                "seed": self.seed,
                "recipe": recipe.json(),
                "train_images": len(data),
                "train_images_sha256": data.sha256,
                "test_accuracy": round(accuracy(model, test), 6),
                "test_images": len(test),
                "test_images_sha256": test.sha256,
                "history": history,
                "sha256": sha256(path),
                "source": self.key["source"],
                "package": __version__,
                "torch": torch.__version__.split("+")[0],
            }


def run_of(net: str, dataset: str, seed: int, store: Store, recipe: Recipe | None = None) -> Run:
    """A training run by its names; raises what :func:`train` raises, before any work."""
    recipe = recipe or default_recipe(dataset, net)
    data, test = load(dataset, "train", store), load(dataset, "test", store)
    if recipe == recipes["general"]:
        recipe = dataclasses.replace(recipe, batch_size=max(2, min(recipe.batch_size, len(data) // 4)))
    if len(data) < recipe.batch_size:
        raise BadInput(f"{dataset} has {len(data)} images to train on, fewer than a batch of {recipe.batch_size}")
    key = {
        "net": net,
        "dataset": dataset,
        "images": data.sha256,
        "seed": seed,
        "recipe": recipe.json(),
        "source": source_sha256(initial(net, data, seed), nets[net]),
    }
    return Run(net, seed, data, test, recipe, store, key)


def train(
    net: str, dataset: str, seed: int, store: Store, recipe: Recipe | None = None, say: Say = lambda _: None
) -> tuple[Path, dict[str, Any]]:
    """Weights of ``net`` trained on ``dataset`` with a seed, and their card; made once, then found in the store.

    Returns the path of a safetensors file and the card. Interrupted at any moment, the same call goes on from the last
    finished epoch and ends with the same bytes. ``say`` gets a line per epoch. Raises UnknownName for a net or dataset
    that nobody knows, BadInput when the dataset has fewer images than a batch.
    """
    run = run_of(net, dataset, seed, store, recipe)
    path = store.get_or_make("weights", run.key, ".safetensors", lambda path: run.make(path, say))
    _checkpoint(store, run.key).unlink(missing_ok=True)
    return path, json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["note"]


def _checkpoint(store: Store, key: dict[str, Any]) -> Path:
    return store.folder / "checkpoints" / f"{digest(store.key(key))}.pt"


def _epoch(
    name: str, model: nn.Module, optimiser: torch.optim.Optimizer, data: Dataset, recipe: Recipe, seed: int, epoch: int
) -> tuple[float, int]:
    """One epoch of training: the sum of the losses and the number of hits."""
    model.train()
    per_epoch = len(data) // recipe.batch_size
    total, hits = 0.0, 0
    jitter = torch.Generator().manual_seed(_word("weight noise in training", seed, epoch))
    memory = torch.channels_last if recipe.channels_last else torch.contiguous_format
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_word("training", seed, epoch))  # for dropout
        for i, (x, y) in enumerate(batches(data, recipe, seed, epoch)):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(epoch * per_epoch + i, recipe.epochs * per_epoch)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = _forward(model, x.contiguous(memory_format=memory), recipe.alpha_train, jitter).float()
            if logits.ndim != 2 or logits.shape[1] != len(data.classes):
                raise BadInput(f"{name}: there are {len(data.classes)} classes, but its output is {tuple(logits.shape)[1:]}"
                               f" per image; a network gets (channels, classes) and returns a logit per class")  # fmt: skip
            loss = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
            if not torch.isfinite(loss):
                raise BadInput(f"{name}: the loss is {loss.item()} in epoch {epoch + 1}, step {i + 1}")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
            hits += int((logits.argmax(1) == y).sum())
    return total, hits


def _forward(model: nn.Module, x: Tensor, alpha: float, jitter: torch.Generator) -> Tensor:
    """The logits, at weights with fresh noise where alpha is above 0; gradients reach the clean weights."""
    if alpha == 0:
        return model(x)
    return functional_call(model, perturbed(targets(model), alpha, partial(torch.randn, generator=jitter)), (x,))


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), recipe.peak, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(model.parameters(), recipe.peak, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True)


def _fit(
    net: str, data: Dataset, test: Dataset, seed: int, recipe: Recipe, store: Store, key: dict[str, Any], say: Say
) -> tuple[Normalised, list[dict[str, float]]]:
    name = run_name(net, data.name, seed, recipe.name)
    model = initial(net, data, seed)
    model = model.to(memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format)
    optimiser = _optimiser(model, recipe)
    history: list[dict[str, float]] = []
    checkpoint = _checkpoint(store, key)
    if checkpoint.exists():
        try:
            saved = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(saved["model"])
            optimiser.load_state_dict(saved["optimiser"])
            history = saved["history"]
            say(f"{name}: goes on after epoch {len(history)}")
        except Exception as e:  # noqa: BLE001 - whatever unpickling damaged bytes raises
            why = (str(e).splitlines() or [type(e).__name__])[0]
            say(f"{name}: its checkpoint can't be read ({why}); begins anew")
            checkpoint.unlink()
            return _fit(net, data, test, seed, recipe, store, key, say)
    per_epoch = len(data) // recipe.batch_size
    began, first = time.monotonic(), len(history)
    targets(model) if recipe.alpha_train else None  # an error before the work, where there is nothing to perturb
    for epoch in range(first, recipe.epochs):
        if history and history[-1]["test_accuracy"] >= recipe.stop_at:
            say(f"{name}: stops after epoch {epoch}, at the accuracy of {recipe.stop_at} that its recipe asks for")
            break
        total, hits = _epoch(name, model, optimiser, data, recipe, seed, epoch)
        history.append({
            "epoch": epoch + 1,
            "train_loss": round(total / per_epoch, 6),
            "train_accuracy": round(hits / (per_epoch * recipe.batch_size), 6),
            "test_accuracy": round(accuracy(model, test), 6),
        })  # fmt: skip
        with replacing(checkpoint) as temporary:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "history": history}, temporary)
        done = epoch + 1 - first
        eta = (time.monotonic() - began) / done * (recipe.epochs - epoch - 1)
        say(
            f"{name}: epoch {epoch + 1}/{recipe.epochs}, loss {history[-1]['train_loss']:.3f}, "
            f"test accuracy {history[-1]['test_accuracy']:.3f}, {eta:.0f} s to go"
        )
    return model, history

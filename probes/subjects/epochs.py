"""The epochs of a training run. Training can stop after each of them and resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from probes import seeds
from probes.atomic import replacing
from probes.cost import GO_ON, LONG, duration
from probes.errors import BadInput, ProbesError
from probes.perturb.plainweights import targets
from probes.perturb.weights import perturbed
from probes.store import Store, digest
from probes.subjects.dataset import Dataset
from probes.subjects.nets import Normalised, Takes, nets
from probes.subjects.recipes import Recipe, run_name


def _word(*name: str | int) -> int:
    """A seed for torch's generator, from a name."""
    return int(seeds.words(1, *name)[0] >> np.uint64(1))


def batches(
    data: Dataset, recipe: Recipe, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch: float images in [0, 1], shifted and flipped by named draws, and
    labels.
    """
    n, size = len(data), recipe.batch_size
    order = seeds.permutation(n, "order", seed, epoch)
    side = 2 * recipe.random_crop_padding + 1
    shifts = (seeds.uniform(2 * n, "shift", seed, epoch) * side).astype(int).reshape(n, 2)
    flips = seeds.uniform(n, "flip", seed, epoch) < 0.5
    for start in range(0, n - size + 1, size):
        rows = order[start : start + size]
        x = torch.from_numpy(data.images[rows]).float() / 255
        if recipe.random_crop_padding:
            high, wide = x.shape[2:]
            padded = F.pad(x, (recipe.random_crop_padding,) * 4)
            x = torch.stack(
                [
                    p[:, i : i + high, j : j + wide]
                    for p, (i, j) in zip(padded, shifts[rows], strict=True)
                ]
            )
        if recipe.flip:
            x = torch.where(torch.from_numpy(flips[rows]).view(-1, 1, 1, 1), x.flip(3), x)
        yield x, torch.from_numpy(data.labels[rows])


def checkpoint_of(store: Store, key: dict[str, Any]) -> Path:
    """The path of the state after the last finished epoch of a run."""
    return store.folder / "checkpoints" / f"{digest(store.key(key))}.pt"


def _epoch(
    name: str,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    epoch: int,
    device: torch.device,
) -> tuple[float, int]:
    """One epoch of training: the sum of the losses and the number of correct images."""
    model.train()
    per_epoch = len(data) // recipe.batch_size
    total, hits = 0.0, 0
    jitter = torch.Generator().manual_seed(_word("weight noise in training", seed, epoch))
    memory = torch.channels_last if recipe.channels_last else torch.contiguous_format
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_word("training", seed, epoch))  # for dropout
        for i, (x, y) in enumerate(batches(data, recipe, seed, epoch)):
            x, y = x.to(device), y.to(device)
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(epoch * per_epoch + i, recipe.epochs * per_epoch)
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = _forward(
                    model, x.contiguous(memory_format=memory), recipe.alpha_train, jitter
                ).float()
            if logits.ndim != 2 or logits.shape[1] != len(data.classes):
                raise BadInput(
                    f"{name}: there are {len(data.classes)} classes, but its output is"
                    f" {tuple(logits.shape)[1:]} per image; a network gets (channels, classes) and"
                    " returns a logit per class"
                )
            loss = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
            if not torch.isfinite(loss):
                raise BadInput(
                    f"{name}: the loss is {loss.item()} in epoch {epoch + 1}, step {i + 1}"
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
            hits += int((logits.argmax(1) == y).sum())
    return total, hits


def _forward(model: nn.Module, x: Tensor, alpha: float, jitter: torch.Generator) -> Tensor:
    """The logits, at weights with fresh noise if alpha is above 0. Gradients reach the clean
    weights.
    """
    if alpha == 0:
        return model(x)

    def draw(shape: torch.Size) -> Tensor:  # on the CPU: the same noise on every device
        return torch.randn(shape, generator=jitter).to(x.device)

    return functional_call(model, perturbed(targets(model), alpha, draw), (x,))


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adam":
        return torch.optim.Adam(
            model.parameters(), recipe.max_lr, weight_decay=recipe.weight_decay, fused=True
        )
    return torch.optim.SGD(
        model.parameters(),
        recipe.max_lr,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )


def fit(
    net: str,
    data: Dataset,
    test: Dataset,
    seed: int,
    recipe: Recipe,
    store: Store,
    key: dict[str, Any],
    say: Say,
    device: torch.device | str = "cpu",
) -> tuple[Normalised, list[dict[str, float]]]:
    """Train on a device, resuming after the last finished epoch. Returns the network and the
    history of the epochs.
    """
    device = torch.device(device)
    name = run_name(net, data.name, seed, recipe.name)
    model = initial(net, data, seed)
    model = model.to(device).to(
        memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format
    )
    optimiser = _optimiser(model, recipe)
    history: list[dict[str, float]] = []
    checkpoint = checkpoint_of(store, key)
    if checkpoint.exists():
        try:
            saved = torch.load(checkpoint, weights_only=True, map_location=device)
            model.load_state_dict(saved["model"])
            optimiser.load_state_dict(saved["optimiser"])
            history = saved["history"]
            say(f"{name}: resuming after epoch {len(history)}")
        except Exception as e:  # noqa: BLE001
            why = (str(e).splitlines() or [type(e).__name__])[0]
            say(f"{name}: its checkpoint can't be read ({why}); starting again")
            checkpoint.unlink()
            return fit(net, data, test, seed, recipe, store, key, say, device)
    per_epoch = len(data) // recipe.batch_size
    began, first = time.monotonic(), len(history)
    if recipe.alpha_train:
        targets(model)  # an error before the work, if there is nothing to perturb
    for epoch in range(first, recipe.epochs):
        if history and history[-1]["test_accuracy"] >= recipe.early_stop_accuracy:
            say(
                f"{name}: stops after epoch {epoch}, at the accuracy of"
                f" {recipe.early_stop_accuracy} that its recipe asks for"
            )
            break
        total, hits = _epoch(name, model, optimiser, data, recipe, seed, epoch, device)
        history.append(
            {
                "epoch": epoch + 1,
                "train_loss": round(total / per_epoch, 6),
                "train_accuracy": round(hits / (per_epoch * recipe.batch_size), 6),
                "test_accuracy": round(accuracy(model, test), 6),
            }
        )
        with replacing(checkpoint) as temporary:
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "history": history,
                },
                temporary,
            )
        done = epoch + 1 - first
        eta = (time.monotonic() - began) / done * (recipe.epochs - epoch - 1)
        how = f"; {GO_ON}" if done == 1 and eta > LONG else ""
        say(
            f"{name}: epoch {epoch + 1}/{recipe.epochs}, loss {history[-1]['train_loss']:.3f}, "
            f"test accuracy {history[-1]['test_accuracy']:.3f}, {duration(eta)} to go{how}"
        )
    return model, history


Say = Callable[[str], None]


def initial(
    net: str, data: Dataset, seed: int, classes: int | None = None, own: bool = False
) -> Normalised:
    """The untrained network of a seed, in its wrapper. The global generator is left as it was.

    Its head has as many outputs as the dataset has classes, or ``classes``. The declarations of the
    builder (:func:`takes`) are followed: grey images are repeated to its channels, it gets the side
    of the images, its values stay in [0, 1]. ``own`` takes the normalisation and the size of
    images that the network's own weights were trained with.
    """
    build = nets[net]
    wants: Takes = getattr(build, "takes", Takes())
    channels = wants.channels if wants.channels and data.channels == 1 else data.channels
    mean, std = ((0.0,), (1.0,)) if wants.raw else (data.mean, data.std)
    size = wants.size
    if own:
        mean, std = wants.mean or (0.0,) * channels, wants.std or (1.0,) * channels
        size = wants.own_size or size
    high, wide = data.images.shape[2:]
    if wants.side and high != wide:
        raise BadInput(
            f"{net} takes square images, those of {data.name} are {high} x {wide}; a view such as"
            f" {data.name}@28px is square"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_word("initial weights", seed))
        try:
            model = build(channels, classes or len(data.classes), *([wide] if wants.side else []))
            if any(
                isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()
            ):  # lazy modules take shape now
                with torch.no_grad():
                    model.eval()(torch.zeros(2, channels, size or high, size or wide))
                model.train()
        except ProbesError:
            raise
        except Exception as e:
            takes = "channels, classes, side" if wants.side else "channels, classes"
            raise BadInput(
                f"{net} can't be built as ({takes}):"
                f" {(str(e).splitlines() or [type(e).__name__])[0]}; a builder takes these numbers"
                " and returns a module"
            ) from e
    classes = classes or len(data.classes)
    times = channels // len(mean)
    return Normalised(model, mean * times, std * times, classes, size)


def accuracy(model: nn.Module, data: Dataset, batch_size: int = 500) -> float:
    """The share of images that the model (in eval mode) labels correctly."""
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    hits = 0
    with torch.inference_mode():
        for i in range(0, len(data), batch_size):
            x = torch.from_numpy(np.array(data.images[i : i + batch_size])).float() / 255
            found = model(x.to(device)).argmax(1).cpu().numpy()
            hits += int((found == data.labels[i : i + batch_size]).sum())
    return hits / len(data)

"""A fixed recipe, a network and a seed give weights: the same bytes each time on one machine, also
after a kill.

Nothing random comes from a global generator. Initial weights are drawn inside
``torch.random.fork_rng``; the order of the images and their shifts are named draws of (seed,
epoch). So a checkpoint is weights, momenta and an epoch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from probes import __version__, freed
from probes.errors import BadInput
from probes.reading import loads
from probes.store import Store, sha256
from probes.subjects.code import source_sha256
from probes.subjects.data import load
from probes.subjects.dataset import Dataset
from probes.subjects.epochs import Say, accuracy, checkpoint_of, fit, initial
from probes.subjects.nets import nets
from probes.subjects.recipes import Recipe, default_recipe, recipes
from probes.subjects.statedict import state_sha256
from probes.subjects.stored import pack, unpack
from probes.tf32 import without_tf32

__all__ = ["initial", "recipes", "reproducible", "train"]


@contextlib.contextmanager
def reproducible(threads: int, device: str = "cpu") -> Iterator[None]:
    """Deterministic algorithms, a fixed number of threads and no TF32 inside the block. The
    settings are restored afterwards. On another device than the CPU an operation that has no
    deterministic algorithm is warned of, by torch.
    """
    freed.keep()
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    if device != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
    try:
        with without_tf32():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=warned)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A training run before it runs: its data, its recipe, its device, and the ``key`` of its
    result.
    """

    net: str
    seed: int
    data: Dataset
    test: Dataset
    recipe: Recipe
    store: Store
    key: dict[str, Any]
    device: str = "cpu"

    def make(self, path: Path, say: Say) -> dict[str, Any]:
        """Train and write the weights to a path, resuming after the last finished epoch. Returns
        their card.
        """
        recipe, data, test = self.recipe, self.data, self.test
        with reproducible(recipe.threads, self.device):
            model, history = fit(
                self.net, data, test, self.seed, recipe, self.store, self.key, say, self.device
            )
            here = {name: tensor.cpu() for name, tensor in model.net.state_dict().items()}
            state = pack(here, recipe.storage_dtype)
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
                "initial_sha256": state_sha256(initial(self.net, data, self.seed)),
                "source": self.key["source"],
                "package": __version__,
                "torch": torch.__version__.split("+")[0],
                **({"device": self.key["device"]} if "device" in self.key else {}),
            }


def run_of(
    net: str,
    dataset: str,
    seed: int,
    store: Store,
    recipe: Recipe | None = None,
    device: str = "cpu",
) -> Run:
    """A training run by its names. Raises what :func:`train` raises, before any work."""
    recipe = recipe or default_recipe(dataset, net)
    data, test = load(dataset, "train", store), load(dataset, "test", store)
    if data.targets is not None or len(data.classes) < 2:
        what = "numbers as targets" if data.targets is not None else "a single class"
        raise BadInput(
            f"{net} on {dataset}: recipes train classifiers, and these images have {what}; train it"
            " yourself and name its file, net:weights.safetensors@dataset"
        )
    if recipe == recipes["general"]:
        recipe = dataclasses.replace(
            recipe, batch_size=max(2, min(recipe.batch_size, len(data) // 4))
        )
    if len(data) < recipe.batch_size:
        raise BadInput(
            f"{dataset} has {len(data)} images to train on, fewer than a batch of"
            f" {recipe.batch_size}"
        )
    key = {
        "net": net,
        "dataset": dataset,
        "images": data.sha256,
        "seed": seed,
        "recipe": recipe.json(),
        "source": source_sha256(initial(net, data, seed), nets[net]),
    }
    kind = torch.device(device).type
    if kind != "cpu":  # weights that were trained on a CPU keep their key
        key["device"] = kind
    return Run(net, seed, data, test, recipe, store, key, device)


def train(
    net: str,
    dataset: str,
    seed: int,
    store: Store,
    recipe: Recipe | None = None,
    say: Say = lambda _: None,
    device: str = "cpu",
) -> tuple[Path, dict[str, Any]]:
    """Weights of ``net`` trained on ``dataset`` with a seed, and their card. They are made once,
    then found in the store.

    Returns the path of a safetensors file and the card. After an interruption at any moment, the
    same call resumes after the last finished epoch and ends with the same bytes: on a CPU always,
    on another ``device`` where torch has deterministic algorithms. ``say`` gets a line per
    epoch. Raises UnknownName for an unknown net or dataset, BadInput if the dataset has
    fewer images than a batch, or no classes to tell apart.
    """
    run = run_of(net, dataset, seed, store, recipe, device)
    path = store.get_or_make("weights", run.key, ".safetensors", lambda path: run.make(path, say))
    checkpoint_of(store, run.key).unlink(missing_ok=True)
    return path, loads(path.with_suffix(".json").read_text(encoding="utf-8"))["note"]

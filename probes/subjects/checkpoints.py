"""Checkpoints as frameworks write them: wrappers are opened, prefixes taken off, shards joined."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from probes.errors import BadInput
from probes.reading import loads
from probes.registry import unknown
from probes.store import sha256
from probes.subjects.stored import unpack

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into names, at any place."""
IN_FOLDERS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""The files of weights that a folder in Hugging Face's form holds: the first that is there."""
WHOLE = "."
"""The choice of the names without a prefix, where others stand beside them."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """The weights for a network out of a file: names to tensors, the SHA-256 of the file (or of
    its shards), and a sentence where something was opened or taken off.
    """

    state: dict[str, Tensor]
    sha256: str
    note: str = ""


def split(text: str) -> tuple[Path, str]:
    """A file and the choice that stands behind it in brackets; no choice where a file has that
    name.

    >>> split("last.pt[ema]")
    (PosixPath('last.pt'), 'ema')
    """
    found = re.fullmatch(r"(.+)\[([^\[\]]*)\]", text)
    if found is None or Path(text).exists():
        return Path(text), ""
    return Path(found[1]), found[2]


def opened_file(text: str, net: nn.Module) -> Opened:
    """The weights for a network in a file, which may be a training checkpoint.

    ``text`` is a .safetensors, .pt, .pth, .ckpt or .bin file, an index of shards, or a folder with
    one of these. The state dict may lie in an entry (``state_dict``, ``model``, ...), and its names
    may begin with a prefix (``module.``, ``net.``, ...). ``file[choice]`` names the entry or the
    prefix where several fit. Raises BadInput for a file that can't be read without running code,
    and where several entries fit; UnknownName for a choice that is not there.
    """
    path, choice = split(text)
    content, digest = read(path)
    wanted = net.state_dict()
    every = list(_candidates(content, wanted))
    if content == {}:  # a network without weights has such a file
        return Opened({}, digest)
    if not every:
        raise BadInput(f"weights {str(path)!r} hold no state dict (names to tensors)")
    if choice:
        named = [one for one in every if choice == one.name]
        named = named or [one for one in every if choice == one.entry]
        if not named:
            raise unknown("weights in " + path.name, choice, {one.name for one in every})
        every = named
    fitting = [one for one in every if one.fits(wanted, shapes=True)]
    fitting = fitting or [one for one in every if one.fits(wanted)]
    if len(fitting) > 1:
        some = ", ".join(repr(one.name) for one in fitting)
        raise BadInput(
            f"{path.name} holds several weights that fit: {some}; choose one, e.g."
            f" {path.name}[{fitting[-1].name}]"
        )
    one = max(fitting or every, key=lambda one: len(one.state.keys() & wanted.keys()))
    if choice:
        digest = hashlib.sha256(f"{digest}[{one.name}]".encode()).hexdigest()
    return Opened(one.state, digest, one.note(path.name, content))


def read(path: Path) -> tuple[Any, str]:
    """What a file of weights holds, read without running code, and its SHA-256. The shards of an
    index are joined.

    Raises BadInput for a file that is missing, truncated, or a pickle that would run code.
    """
    if path.is_dir():
        inside = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not inside:
            raise BadInput(f"folder {str(path)!r} holds none of {', '.join(IN_FOLDERS)}")
        path = inside[0]
    if not path.is_file():
        raise BadInput(
            f"weights {str(path)!r}: no such file; give a .safetensors, .pt, .pth, .ckpt or .bin"
            " file, or leave weights out"
        )
    try:
        if path.name.endswith(".index.json"):
            return _joined(path)
        if path.suffix == ".safetensors":
            return load_file(path), sha256(path)
        return torch.load(path, "cpu", weights_only=True), sha256(path)
    except BadInput:
        raise
    except Exception as e:
        raise BadInput(f"weights {str(path)!r} can't be read: {_why(e)}") from e


def _why(error: Exception) -> str:
    """What torch says in many lines, in one."""
    text = str(error)
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"beside tensors it holds a {found[1]}, and unpickling such an object could run code;"
            " save the weights alone, torch.save(net.state_dict(), 'weights.pt')"
        )
    first = (text.splitlines() or [type(error).__name__])[0]
    if isinstance(error, LookupError | EOFError | pickle.UnpicklingError):
        return f"it is no whole file of weights ({first})"
    return first


def _joined(index: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of the shards that an index names."""
    names = loads(index.read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise BadInput(f"{index.name} is no index of shards: it has no weight_map")
    state: dict[str, Tensor] = {}
    hashes = []
    for shard in sorted(set(names.values())):
        if Path(shard).name != shard:
            raise BadInput(f"{index.name} names the shard {shard!r}, which is no file beside it")
        content, digest = read(index.with_name(shard))
        state |= content
        hashes.append(digest)
    if lost := set(names) - set(state):
        raise BadInput(f"{index.name} names {min(lost)!r}, which its shards do not hold")
    return state, hashlib.sha256("".join(hashes).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A state dict in a file: the entry that it lies in, and the prefix taken off its names."""

    entry: str
    prefix: str
    state: dict[str, Tensor]
    left: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.entry, self.prefix.rstrip(".")))) or WHOLE

    def fits(self, wanted: Mapping[str, Any], shapes: bool = False) -> bool:
        return all(
            name in self.state
            and not (
                shapes
                and isinstance(t, Tensor)
                and getattr(self.state[name], "shape", 0) != t.shape
            )
            for name, t in wanted.items()
            if not name.endswith("num_batches_tracked")
        )

    def note(self, file: str, content: Any) -> str:
        said = []
        if self.entry:
            said.append(f"they are its entry {self.entry!r}")
        if self.prefix:
            said.append(f"the prefix {self.prefix!r} was taken off their names")
        if self.left:
            rest = f" and {len(self.left) - 1} more" if len(self.left) > 1 else ""
            said.append(f"{self.left[0]!r}{rest} beside them left aside")
        return f"weights of {file}: {', '.join(said)}" if said else ""


def _candidates(content: Any, wanted: Mapping[str, Any]) -> Iterable[_Candidate]:
    """Every state dict in the content of a file, and each of its prefixes under which the names of
    the network stand; the whole one where there is no such prefix.
    """
    for entry, state in _states(content):
        plain = {_unwrapped(name): tensor for name, tensor in unpack(state).items()}
        if len(plain) < len(state) and not any(name.endswith(".scale") for name in state):
            plain = unpack(state)
        found = [_under(prefix, plain, entry) for prefix in _prefixes(plain, wanted)]
        fitting = [one for one in found if one.fits(wanted)]
        others = tuple(one.prefix for one in fitting if one.prefix)
        for one in fitting or [_Candidate(entry, "", plain)]:
            beside = tuple(n for n in one.state if others and n.startswith(others))
            if one.prefix or not beside:
                yield one
            else:
                own = {n: t for n, t in one.state.items() if n not in beside}
                yield _Candidate(entry, "", own, beside)


def _under(prefix: str, state: Mapping[str, Tensor], entry: str) -> _Candidate:
    inside = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    return _Candidate(entry, prefix, inside, tuple(n for n in state if not n.startswith(prefix)))


def _states(content: Any, entry: str = "", depth: int = 2) -> Iterable[tuple[str, dict]]:
    """The dictionaries of names to tensors in the content of a file, with the entry of each."""
    if not isinstance(content, dict):
        return
    inside = [
        found
        for key, value in content.items()
        if isinstance(key, str) and depth
        for found in _states(value, f"{entry}.{key}".lstrip("."), depth - 1)
    ]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor) and isinstance(k, str)}
    if tensors and (not entry or len(tensors) == len(content)):
        yield entry, tensors
    yield from inside


def _prefixes(names: Iterable[str], wanted: Mapping[str, Any]) -> list[str]:
    """What stands before the first name of the network, wherever it ends a name of the file."""
    first = next((n for n in wanted if not n.endswith("num_batches_tracked")), "")
    ends = [n.removesuffix(first) for n in names if first and n.endswith(first)]
    return [prefix for prefix in dict.fromkeys(ends) if not prefix or prefix.endswith(".")]


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name

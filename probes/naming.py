"""The names of the modules of a network, and which modules have several names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def prefix_of(model: nn.Module) -> str:
    """The prefix of the names of a model's modules: ``net.`` for the package's own wrapper, which
    says so; else empty.
    """
    inside = getattr(type(model), "WRAPPED", "")
    return f"{inside}." if inside else ""


def plain(model: nn.Module, name: str) -> str:
    """The name of a module or parameter without the prefix of the package's own wrapper. A user's
    own ``self.net`` keeps its name.

    >>> plain(nn.Sequential(nn.ReLU()), "net.conv")
    'net.conv'
    """
    return name.removeprefix(prefix_of(model))


def modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by name, in its order, without the prefix of the package's own
    wrapper.

    A module that stands in two places has both names.
    """
    own = ("", prefix_of(model).removesuffix("."))
    return {
        plain(model, name): m
        for name, m in model.named_modules(remove_duplicate=False)
        if name not in own
    }


def twins(known: Mapping[str, nn.Module], name: str) -> list[str]:
    """The other names of a module that stands in several places.

    >>> relu = nn.ReLU()
    >>> twins(modules(nn.Sequential(relu, nn.Flatten(), relu)), "2")
    ['0']
    """
    return [other for other, module in known.items() if module is known[name] and other != name]

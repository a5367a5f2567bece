"""Packages whose names are imported on their first use, so that what needs few of them starts fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A package's `__getattr__`.

    Args:
        package: Its name.
        homes: Names that it has, by the modules in it that they come from.

    Returns:
        What gives the value of a name, and raises AttributeError where the package has none of that name.
    """
    def get(name: str) -> Any:
        for home, names in homes.items():
            if name in names:
                return getattr(import_module(f"{package}.{home}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get

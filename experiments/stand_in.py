"""Stands in for packages that a peer imports and does not need for what is measured of it, where they are missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def stand_in(*packages: str) -> None:
    """Let each package that is not installed, and all below it, be imported with nothing behind its names."""
    sys.meta_path.append(Finder([package for package in packages if find_spec(package) is None]))


class Finder(MetaPathFinder, Loader):
    """Finds modules of missing packages."""

    def __init__(self, missing: Sequence[str]) -> None:
        self._missing = missing

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self._missing else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Missing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class Missing(ModuleType):
    """A module whose every name is a class that does nothing; as a decorator it leaves what it decorates."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Nothing,), {})


class Nothing:
    """Takes anything, and returns what it is called with."""

    def __init__(self, *ignored: object, **options: object) -> None:
        pass

    def __call__(self, given: Any = None) -> Any:
        return given

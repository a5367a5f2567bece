"""Importing a peer that is measured beside this project, with nothing missing silently."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import typer


@contextmanager
def importing(peer: str, *unneeded: str) -> Iterator[None]:
    """Around the import of a peer: end the program with code 1 and one line on stderr if it fails.

    Args:
        peer: The peer's name, for the line.
        unneeded: Packages that the peer imports and does not need for what is measured of it. One that is not
            installed is replaced by an empty stand-in.
    """
    sys.meta_path.append(StandIns([package for package in unneeded if find_spec(package) is None]))
    try:
        yield
    except Exception as error:  # a dependency of another version may raise anything
        typer.echo(f"{peer} cannot run: {type(error).__name__}: {error}; `make bench` installs the peers", err=True)
        raise typer.Exit(1) from error


class StandIns(MetaPathFinder, Loader):
    """Finds empty modules in place of the missing packages and all below them."""

    def __init__(self, missing: Sequence[str]) -> None:
        self._missing = missing

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self._missing else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class StandIn(ModuleType):
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

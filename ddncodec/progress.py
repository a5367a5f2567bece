"""How long work reports what it does: phases, each with a name, a length where it is known, and how much is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Advance(Protocol):
    """Reports that `done` more units of a phase are done; `note` is what else is to be shown of it."""

    def __call__(self, done: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Shows the phases of long work. A phase may lie within another one."""

    def phase(self, name: str, total: int | None = None, done: int = 0) -> AbstractContextManager[Advance]:
        """A phase, which lasts as long as its context.

        Args:
            name: What is done in it, a few words.
            total: Its length in steps, images or the like; None where it is not known.
            done: How much of it was done before.
        """
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def phase(self, name: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        yield lambda done=1, note="": None


SILENT = Silent()


def each(items: Sequence[T], phase: str, progress: Progress) -> Iterator[T]:
    """The items one by one; working through them is a phase."""
    with progress.phase(phase, len(items)) as advance:
        for item in items:
            yield item
            advance()

"""What a long command is doing, on stderr: bars on a terminal, elsewhere a line a minute."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

import typer

from ddncodec.progress import SILENT, Advance, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

INTERVAL = 60.0  # seconds from one line to the next


@contextmanager
def shown(wanted: bool) -> Iterator[Progress]:
    """Progress that is shown on stderr; nothing of it if that is not wanted."""
    if not wanted:
        yield SILENT
    elif not sys.stderr.isatty():
        yield Lines()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TextColumn("{task.fields[note]}"), TimeRemainingColumn())
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            yield Bars(bars)


@contextmanager
def of_files(wanted: bool, doing: str, total: int) -> Iterator[Callable[[int, int, int], None]]:
    """A bar on a terminal, nothing elsewhere; without a thread, so that the process can fork.

    Yields:
        What shows how many files are done, and how many bytes were read and written.
    """
    if not (wanted and sys.stderr.isatty()):
        yield lambda done, read, written: None
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    began = monotonic()
    with RichProgress(*columns, console=Console(stderr=True), auto_refresh=False,
                      redirect_stdout=sys.stdout.isatty()) as bars:  # else it would print on the terminal
        task = bars.add_task(doing, total=total, note="")

        def show(done: int, read: int, written: int) -> None:
            rate = done / max(monotonic() - began, 1e-9)
            bars.update(task, completed=done, refresh=True,
                        note=f"{rate:,.0f} a second, {decimal(read)} to {decimal(written)}")

        yield show


class Bars:
    """A bar for each phase under way."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    @contextmanager
    def phase(self, name: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        task = self._bars.add_task(name, total=total, completed=done, note="")

        def advance(done: int = 1, note: str = "") -> None:
            self._bars.update(task, advance=done, note=note)

        try:
            yield advance
        finally:
            self._bars.remove_task(task)


class Lines:
    """At most one line in `INTERVAL` seconds, of the phase that advances then."""

    def __init__(self) -> None:
        self._written = monotonic()

    @contextmanager
    def phase(self, name: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        began, before, now = monotonic(), done, done

        def advance(done: int = 1, note: str = "") -> None:
            nonlocal now
            now += done
            if monotonic() - self._written >= INTERVAL:
                self._written = monotonic()
                seconds = (self._written - began) / max(now - before, 1)  # for each unit
                _write(name, now, total, note, seconds)

        yield advance


def _write(phase: str, done: int, total: int | None, note: str, seconds: float) -> None:
    """A line of a phase in which a unit takes so many seconds."""
    parts = [f"{phase}: {done:,}" if total is None else f"{phase}: {done:,} of {total:,}", note]
    if total is not None:
        parts.append(f"{timedelta(seconds=round(seconds * max(total - done, 0)))} left")
    typer.echo(", ".join(filter(None, parts)), err=True)

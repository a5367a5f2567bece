"""What `encode` and `decode` share: which file goes where, and going on past a bad one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from os.path import isdir, isfile  # unlike a Path's methods, false for a name that is too long
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

import typer

from ddncodec.errors import DdnError, InputMissing, OutputExists, OutputFailed
from ddncodec.files import atomic_write, open_input

if TYPE_CHECKING:
    from ddncodec.codec import Codec
    from ddncodec.images import Pixels
    from ddncodec.weights import WeightsInfo

T = TypeVar("T")
STANDARD = Path("-")  # standard input or output
BATCH = 64  # files, or images to draw, in memory at once


class Job(NamedTuple):
    """One input and the output it is to become; either may be `STANDARD`."""

    source: Path
    target: Path


class Failures:
    """Refusals of single files: each told on stderr, and the first one's exit code kept."""

    def __init__(self) -> None:
        self.exit_code = 0

    @contextmanager
    def guard(self, source: Path) -> Iterator[None]:
        """Within the block a DdnError is reported as being of that input, and swallowed."""
        try:
            yield
        except DdnError as error:
            complain(f"{'stdin' if source == STANDARD else source}: {error}")
            self.exit_code = self.exit_code or error.exit_code


def complain(message: str) -> None:
    """One line on stderr, in the program's name; names of files may hold anything, so control characters go."""
    typer.echo("ddncodec: " + printable(message), err=True)


def printable(text: str) -> str:
    """The text on one line, with what a terminal would obey or cannot show escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plan(
    inputs: Sequence[Path], output: Path | None, output_dir: Path | None, recursive: bool,
    suffix: str, takes: Callable[[Path], bool], failures: Failures,
) -> list[Job]:
    """The jobs that the arguments ask for.

    takes: which files of a directory are inputs. suffix: the output's. A directory without `recursive`, and two
    inputs that would become one file, are failures of theirs alone.
    """
    if output is not None and (output_dir is not None or len(inputs) != 1 or isdir(inputs[0])):
        raise typer.BadParameter("-o names the output of a single file; for several use --output-dir")
    jobs: list[Job] = []
    sources: dict[Path, Path] = {}
    for source, relative in _expand(inputs, recursive, takes, failures):
        with failures.guard(source):
            if output is not None:
                target = output
            elif source == STANDARD:
                target = STANDARD
            else:
                target = (output_dir / relative if output_dir else source).with_suffix(suffix)
            if target != STANDARD and sources.setdefault(target, source) != source:
                raise OutputExists(f"{sources[target]} would become {target} too")
            jobs.append(Job(source, target))
    return jobs


def _expand(
    inputs: Iterable[Path], recursive: bool, takes: Callable[[Path], bool], failures: Failures
) -> Iterator[tuple[Path, Path]]:
    """Each input file, and its path below the output directory."""
    for path in inputs:
        if path == STANDARD or not isdir(path):
            yield path, Path(path.name)
            continue
        with failures.guard(path):
            if not recursive:
                raise InputMissing("it is a directory; -r takes the files below it")
            found = sorted(p for p in path.rglob("*") if takes(p) and p.is_file())
            if not found:
                raise InputMissing("there is no file to take below it")
            yield from ((p, p.relative_to(path)) for p in found)


def read(source: Path) -> BinaryIO:
    """Open an input; standard input is read whole, since images are sought in."""
    if source != STANDARD:
        return open_input(source)
    try:
        return BytesIO(sys.stdin.buffer.read())
    except (OSError, AttributeError):  # sys.stdin is None where it is closed
        raise InputMissing("standard input cannot be read") from None


def read_pixels(source: Path) -> Pixels:
    """What an input shows: H×W×3 uint8. Raises InputMissing, and what `read_picture` raises."""
    from ddncodec.images import read_picture

    with read(source) as file:
        return read_picture(file).pixels


def write(target: Path, data: bytes, force: bool) -> None:
    """Write an output whole or not at all; the folders above it are made."""
    if target == STANDARD:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(f"cannot write to standard output: {error.strerror}") from None
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"cannot make {target.parent}: {error.strerror}") from None
    try:
        with atomic_write(target, overwrite=force) as file:
            file.write(data)
    except OutputExists as error:
        raise OutputExists(f"{error}; -f overwrites it") from None


def require_free(target: Path, force: bool) -> None:
    """Refuse early, before any work, to overwrite what `write` would refuse to."""
    if target != STANDARD and not force and isfile(target):
        raise OutputExists(f"{target} exists already; -f overwrites it")


def in_batches(jobs: Sequence[T], work: Callable[[Sequence[T]], None]) -> None:
    """Work through the jobs a batch at a time, with a progress bar where a person watches a long one."""
    parts = [jobs[i : i + BATCH] for i in range(0, len(jobs), BATCH)]
    if len(parts) < 2 or not sys.stderr.isatty():
        for part in parts:
            work(part)
        return
    with typer.progressbar(parts, file=sys.stderr) as bar:
        for part in bar:
            work(part)


def lazy_codec(find: Callable[[], WeightsInfo], device: str) -> Callable[[], Codec]:
    """The codec of the weights found, loaded on the first call: a bad input is told before torch is imported."""

    @cache
    def codec() -> Codec:
        info = find()
        from ddncodec.codec import load_weights

        try:
            return load_weights(info, device)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return codec

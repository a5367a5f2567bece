"""What the commands share: which file goes where, reading and writing, and going on past a bad file."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from io import BytesIO
from os.path import isdir, isfile  # unlike a Path's methods, false for a name that is too long
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self, TypeVar

import typer

from ddncodec.batches import BATCH
from ddncodec.errors import (
    DdnError,
    InputMissing,
    OutputExists,
    OutputFailed,
    UnreadableImage,
    memory_errors,
)
from ddncodec.files import atomic_write, is_special, open_input
from ddncodec.listing import list_files

if TYPE_CHECKING:
    from ddncodec.codec import Codec
    from ddncodec.decoding import StreamDecoder
    from ddncodec.images import Picture
    from ddncodec.weights import WeightsInfo

T = TypeVar("T")
Identity = tuple[int, int]
STANDARD = Path("-")  # standard input or output
MAX_PIPE = 2**28  # bytes of a picture
WRITERS = 8


class Job(NamedTuple):
    """One input and the output it is to become; either may be `STANDARD`."""

    source: Path
    target: Path


class Failures:
    """Refusals of single files: each told on stderr, and the first one's exit code kept.

    sources: the inputs of those that were guarded.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self.sources: set[Path] = set()

    @contextmanager
    def guard(self, source: Path) -> Iterator[None]:
        """Within the block a DdnError, or running out of memory, is told as being of that input, and swallowed."""
        try:
            with named(source):
                yield
        except DdnError as error:
            self.sources.add(source)
            self.tell(error)

    def tell(self, error: DdnError) -> None:
        """Say it on stderr, and keep its exit code if it is the first."""
        complain(str(error))
        self.exit_code = self.exit_code or error.exit_code


@contextmanager
def named(source: Path) -> Iterator[None]:
    """Within the block a DdnError, or running out of memory, becomes an error about that input."""
    try:
        with memory_errors():
            yield
    except DdnError as error:
        raise error.of(shown(source)) from None


def shown(source: Path) -> str:
    """What an input is called in messages."""
    return "stdin" if source == STANDARD else str(source)


def complain(message: str) -> None:
    """One line on stderr, in the program's name; names of files may hold anything, so control characters go."""
    typer.echo("ddncodec: " + printable(message), err=True)


def tell_skipped(name: object, skipped: Counter[str]) -> None:
    """Say on stderr how many files of a folder or archive were left out, and why; nothing if there were none."""
    if skipped:
        complain(f"{name}: skipped: {counted(skipped)}")


def counted(skipped: Counter[str]) -> str:
    """How many files were left out, and why."""
    return ", ".join(f"{count:,} {why}" for why, count in sorted(skipped.items()))


def printable(text: str) -> str:
    """The text on one line, with what a terminal would obey or cannot show escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stream_suffix(bare: bool) -> str:
    """Of a file's name, or of a bare stream's."""
    return ".ddnb" if bare else ".ddn"


def path_of(text: str) -> Path:
    """The file of a name; a file `-`, given as `./-`, by its whole path, since `-` is a standard stream."""
    return Path(text).absolute() if text != str(STANDARD) and Path(text) == STANDARD else Path(text)


def destination(output: str | None, output_dir: Path | None) -> tuple[Path | None, Path | None]:
    """The file and the directory that `-o` and `--output-dir` name; a `/` at the end of the first makes it the second.

    Raises BadParameter where both are given.
    """
    if output is not None and output_dir is not None:
        raise typer.BadParameter("-o and --output-dir both name an output")
    if output is not None and output.endswith(os.sep):
        return None, Path(output)
    return None if output is None else path_of(output), output_dir


def plan(
    inputs: Sequence[Path], output: Path | None, output_dir: Path | None, recursive: bool,
    suffix: str, takes: Callable[[str], bool], failures: Failures, printed: bool = False,
) -> list[Job]:
    """The jobs that the arguments ask for.

    takes: whether a file of this name is an input of the usual kind, so that a directory's is taken and `suffix`
    replaces its own. A directory without `recursive`, two inputs that would become one file, and one that would
    overwrite an input, are failures of theirs alone. printed: an output without a name goes to standard output.
    """
    if output is not None and (len(inputs) != 1 or isdir(inputs[0])):
        raise typer.BadParameter("-o names the output of a single file; for several use --output-dir")
    listed = list(_expand(inputs, recursive, takes, failures))
    read = identities(source for source, _ in listed)
    jobs: list[Job] = []
    sources: dict[Path, Path] = {}
    for source, relative in listed:
        with failures.guard(source):
            if output is not None:
                target = output
            elif source == STANDARD or (printed and output_dir is None):
                target = STANDARD
            else:
                beside = output_dir / relative if output_dir else source
                target = beside.with_suffix(suffix) if takes(beside.name) else beside.with_name(beside.name + suffix)
            require_other(target, read)
            if target != STANDARD and sources.setdefault(target, source) != source:
                raise OutputExists(f"{sources[target]} would become {target} too")
            jobs.append(Job(source, target))
    return jobs


def _expand(
    inputs: Iterable[Path], recursive: bool, takes: Callable[[str], bool], failures: Failures
) -> Iterator[tuple[Path, Path]]:
    """Each input file, and its path below the output directory."""
    for path in inputs:
        if path == STANDARD or not isdir(path):
            yield path, Path(path.name)
            continue
        with failures.guard(path):
            if not recursive:
                raise InputMissing("it is a directory; -r takes the files below it")
            found = list_files(path, takes)
            for error in found.unreadable:
                failures.tell(error)
            tell_skipped(path, found.skipped)
            if not found.files:
                raise InputMissing("there is no file to take below it")
            yield from ((file, file.relative_to(path)) for file in found.files)


def identities(inputs: Iterable[Path]) -> set[Identity]:
    """What tells the regular files among inputs from all others, whatever their names."""
    return {identity for path in inputs if (identity := _identity(path, 0))}


def require_other(target: Path, inputs: set[Identity]) -> None:
    """Refuse an output that is an input."""
    if _identity(target, 1) in inputs:
        raise OutputExists(f"{target} is an input, which it would overwrite")


def _identity(path: Path, descriptor: int) -> Identity | None:
    """Device and inode of a regular file; None where there is none.

    descriptor: the open file that `STANDARD` means here.
    """
    try:
        state = os.stat(descriptor if path == STANDARD else path)
    except (OSError, ValueError):  # ValueError: a name with a null character
        return None
    return (state.st_dev, state.st_ino) if stat.S_ISREG(state.st_mode) else None


def read_bytes(source: Path, most: int) -> bytes:
    """An input, or its first `most` + 1 bytes, from which whoever parses them sees that it is longer.

    Raises InputMissing.
    """
    with _opened(source) as file:
        return file.read(most + 1)


def read_picture(source: Path, *, keep_icc: bool = False, resolution: int | None = None) -> Picture:
    """The picture in an input, as `images.read_picture` has it. Raises InputMissing, and what that raises."""
    from ddncodec import images

    with _opened(source) as file:
        if source != STANDARD and file.seekable():
            return images.read_picture(file, keep_icc=keep_icc, resolution=resolution)
        data = file.read(MAX_PIPE + 1)
        if len(data) > MAX_PIPE:
            raise UnreadableImage(f"a pipe that gives more than {MAX_PIPE:,} bytes")
        return images.read_picture(BytesIO(data), keep_icc=keep_icc, resolution=resolution)


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    """An input, open for reading within the block, where a DdnError becomes one about it."""
    with named(source):
        try:
            if source == STANDARD:
                yield sys.stdin.buffer
            else:
                with open_input(source) as file:
                    yield file
        except OSError as error:
            raise InputMissing("standard input cannot be read" if source == STANDARD else
                               f"cannot be read: {error.strerror}") from None


class Outputs:
    """Writes outputs whole or not at all, and makes the folders above them.

    To wait for the disk takes longer than all else, and for several outputs hardly longer than for one: they wait
    together, until the block ends. A refusal is raised, or told, within `guard(source)`.
    """

    def __init__(self, force: bool, guard: Callable[[Path], AbstractContextManager[None]]) -> None:
        self._force, self._guard = force, guard
        self._pool = ThreadPoolExecutor(WRITERS)
        self._waiting: list[tuple[Path, Future[None]]] = []

    def write(self, source: Path, target: Path, data: bytes | memoryview) -> None:
        """Write the output of an input; it is there when the block ends."""
        if target == STANDARD:
            _write_standard(data)
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFailed(f"cannot make {target.parent}: {error.strerror}") from None
        with ExitStack() as stack:
            stack.enter_context(atomic_write(target, overwrite=self._force)).write(data)
            self._waiting.append((source, self._pool.submit(stack.pop_all().close)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._pool.shutdown()
        if error is None:
            for source, written in self._waiting:
                with self._guard(source):
                    written.result()


def _write_standard(data: bytes | memoryview) -> None:
    try:
        with open(os.dup(1), "wb") as file:
            file.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"cannot write to standard output: {error.strerror}") from None


def require_free(target: Path, force: bool) -> None:
    """Refuse early, before any work, to overwrite what `Outputs` would refuse to."""
    if target != STANDARD and not force and isfile(target) and not is_special(target):
        raise OutputExists(f"{target} exists already; -f overwrites it")


def image_format(output: Path | None) -> str:
    """The format that an output's suffix asks for; PNG for a default name, a pipe and the like. Raises BadParameter."""
    from ddncodec.images import format_of

    if output is None or output == STANDARD or (not output.suffix and is_special(output)):
        return "PNG"
    try:
        return format_of(output)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


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


def decoder_of(info: WeightsInfo, device: str, many: bool) -> StreamDecoder:
    """What decodes streams of these weights: their exported decoder, which needs no torch, or else their codec.

    many: decode fast, rather than begin fast. Raises BadCheckpoint, BadParameter.
    """
    from ddncodec.exported import exported

    if device in ("auto", "cpu") and (decoder := exported(info, many)):
        return decoder
    return lazy_codec(lambda: info, device)()


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

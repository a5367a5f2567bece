"""What the commands share: which file goes where, reading and writing, and going on past a bad file."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from os.path import isdir, isfile  # unlike a Path's methods, false for a name that is too long
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self, overload

import typer

from ddncodec.errors import (
    DdnError,
    InputMissing,
    OutputExists,
    OutputFailed,
    UnreadableImage,
    memory_errors,
)
from ddncodec.files import Draft, is_special, open_input, publish
from ddncodec.listing import list_files
from ddncodec.looks import FAITHFUL

if TYPE_CHECKING:
    from ddncodec.codec import Codec
    from ddncodec.coding import StreamCoder
    from ddncodec.decoding import StreamDecoder
    from ddncodec.images import Picture
    from ddncodec.weights import WeightsInfo

Identity = int
STANDARD = Path("-")  # standard input or output
MAX_PIPE = 2**28  # bytes of a picture


class Job(NamedTuple):
    """One input and the output it is to become; either may be `STANDARD`.

    target: None where whoever runs the job does something else with its output, or there is none.
    """

    source: Path
    target: Path | None


class Jobs(Sequence[Job]):
    """Any number of jobs, which take little more memory than their names."""

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self._sources: list[str] = []
        self._targets: list[str | None] = []
        for job in jobs:
            self.append(*job)

    def append(self, source: Path | str, target: Path | str | None) -> None:
        """Add a job."""
        self._sources.append(str(source))
        self._targets.append(None if target is None else str(target))

    @property
    def printed(self) -> bool:
        """Whether an output goes to standard output."""
        return str(STANDARD) in self._targets

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        target = self._targets[index]
        return Job(Path(self._sources[index]), None if target is None else Path(target))


class Failures:
    """Refusals of single files: each told on stderr, and the first one's exit code kept.

    quiet: tell nothing else.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.exit_code, self._quiet = 0, quiet

    @contextmanager
    def guard(self, source: Path) -> Iterator[None]:
        """Within the block a DdnError, or running out of memory, is told as being of that input, and swallowed."""
        try:
            with named(source):
                yield
        except DdnError as error:
            self.tell(error)

    def tell(self, error: DdnError) -> None:
        """Say it on stderr, and keep its exit code if it is the first."""
        complain(str(error))
        self.exit_code = self.exit_code or error.exit_code

    def note(self, message: str) -> None:
        """Say on stderr what is no failure, unless only those are to be told."""
        if not self._quiet:
            complain(message)


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


def tell_skipped(name: object, skipped: Counter[str], say: Callable[[str], None] = complain) -> None:
    """Say how many files of a folder or archive were left out, and why; nothing if there were none."""
    if skipped:
        say(f"{name}: skipped: {counted(skipped)}")


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
) -> Jobs:
    """The jobs that the arguments ask for.

    takes: whether a file of this name is an input of the usual kind, so that a directory's is taken and `suffix`
    replaces its own. A directory without `recursive`, two inputs that would become one file, and one that would
    overwrite an input, are failures of theirs alone. printed: an output without a name goes to standard output.
    """
    if output is not None and (len(inputs) != 1 or isdir(inputs[0])):
        raise typer.BadParameter("-o names the output of a single file; for several use --output-dir")
    listed = list(expand(inputs, recursive, takes, failures))
    read = identities(Path(name) for _, names in listed for name in names)
    jobs = Jobs()
    sources: dict[str, str] = {}  # of targets
    for folder, name in ((folder, name) for folder, names in listed for name in names):
        source = Path(name)
        with failures.guard(source):
            if output is not None:
                target = output
            elif source == STANDARD or (printed and output_dir is None):
                target = STANDARD
            else:
                below = source.relative_to(folder) if folder else source.name
                beside = output_dir / below if output_dir else source
                target = beside.with_suffix(suffix) if takes(beside.name) else beside.with_name(beside.name + suffix)
            require_other(target, read)
            if target != STANDARD and sources.setdefault(str(target), name) != name:
                raise OutputExists(f"{sources[str(target)]} would become {target} too")
            jobs.append(name, target)
    return jobs


def expand(
    inputs: Iterable[Path], recursive: bool, takes: Callable[[str], bool], failures: Failures
) -> Iterator[tuple[Path | None, list[str]]]:
    """The input files: each that is named, and all of each folder, with that."""
    for path in inputs:
        if path == STANDARD or not isdir(path):
            yield None, [str(path)]
            continue
        with failures.guard(path):
            if not recursive:
                raise InputMissing("it is a directory; -r takes the files below it")
            found = list_files(path, takes)
            for error in found.unreadable:
                failures.tell(error)
            tell_skipped(path, found.skipped, failures.note)
            if not found.names:
                raise InputMissing("there is no file to take below it")
            yield path, found.names


def identities(inputs: Iterable[Path]) -> set[Identity]:
    """What tells the regular files among inputs from all others, whatever their names."""
    return {identity for path in inputs if (identity := _identity(path, 0))}


def require_other(target: Path, inputs: set[Identity]) -> None:
    """Refuse an output that is an input."""
    if _identity(target, 1) in inputs:
        raise OutputExists(f"{target} is an input, which it would overwrite")


def _identity(path: Path, descriptor: int) -> Identity | None:
    """Device and inode of a regular file, as one number; None where there is none.

    descriptor: the open file that `STANDARD` means here.
    """
    try:
        state = os.stat(descriptor if path == STANDARD else path)
    except (OSError, ValueError):  # ValueError: a name with a null character
        return None
    return state.st_dev << 64 | state.st_ino if stat.S_ISREG(state.st_mode) else None


def read_bytes(source: Path, most: int) -> bytes:
    """An input, or its first `most` + 1 bytes, from which whoever parses them sees that it is longer.

    Raises InputMissing.
    """
    with _opened(source) as file:
        return file.read(most + 1)


def input_size(source: Path) -> int:
    """How many bytes an input has; none where that cannot be known before it is read. Raises InputMissing."""
    try:
        return 0 if source == STANDARD else os.stat(source).st_size
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise InputMissing(f"cannot be read: {getattr(error, 'strerror', error)}") from None


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

    To wait for the disk takes longer than all else, and for many outputs hardly longer than for one: they wait
    together, while the process does something else, and no longer than until the block ends.
    """

    def __init__(self, force: bool) -> None:
        self._force = force
        self._folders: set[Path] = set()  # that are there
        self._drafts: list[Draft] = []
        self._publisher = ThreadPoolExecutor(1)

    def write(self, target: Path, data: bytes | memoryview) -> None:
        """Write an output, which is there once it is published. Raises OutputExists, OutputFailed."""
        if target.parent not in self._folders:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputFailed(f"cannot make {target.parent}: {error.strerror}") from None
            self._folders.add(target.parent)
        draft = Draft(target, overwrite=self._force)
        draft.write(data)
        self._drafts.append(draft)

    def publish(self) -> Future[list[DdnError | None]]:
        """Let what was written since the last time be there, in their order; or why it is not."""
        drafts, self._drafts = self._drafts, []
        return self._publisher.submit(publish, drafts)

    def require_published(self) -> None:
        """Let what was written since the last time be there. Raises why one is not."""
        for failure in self.publish().result():
            if failure:
                raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._publisher.shutdown()
        for draft in self._drafts:
            draft.discard()


def write_standard(data: bytes | memoryview) -> None:
    """Write to standard output. Raises OutputFailed, and BrokenPipeError where nobody reads any more."""
    try:
        with open(os.dup(1), "wb") as file:
            file.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"cannot write to standard output: {error.strerror}") from None


def require_apart(jobs: Jobs, as_json: bool) -> None:
    """Refuse to print JSON where outputs go to standard output too. Raises BadParameter."""
    if as_json and jobs.printed:
        raise typer.BadParameter("JSON and the file would both go to standard output; -o names a file")


def require_free(target: Path, force: bool) -> None:
    """Refuse early, before any work, to overwrite what `Outputs` would refuse to."""
    if not force and is_there(target):
        raise OutputExists(f"{target} exists already; -f overwrites it")


def is_there(target: Path) -> bool:
    """Whether an output is a file that exists; no device, FIFO or open file, which is written to as it is."""
    return target != STANDARD and isfile(target) and not is_special(target)


def image_format(output: Path | None) -> str:
    """The format that an output's suffix asks for; PNG for a default name, a pipe and the like. Raises BadParameter."""
    from ddncodec.images import format_of

    if output is None or output == STANDARD or (not output.suffix and is_special(output)):
        return "PNG"
    try:
        return format_of(output)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def decoder_of(info: WeightsInfo, device: str, many: bool, look: str = FAITHFUL) -> StreamDecoder:
    """What decodes streams of these weights in a look: their exported decoder, without torch, or else their codec.

    many: decode fast, rather than begin fast. Raises BadCheckpoint, UnknownWeights, BadParameter.
    """
    from ddncodec.exported import exported

    if device in ("auto", "cpu") and (decoder := exported(info, many, look)):
        return decoder
    return lazy_codec(lambda: info, device)().with_look(look)


def coder_of(info: WeightsInfo, device: str, many: bool) -> StreamCoder:
    """What encodes pictures by these weights: their exported encoder, which needs no torch, or else their codec.

    many, and what is raised: as for `decoder_of`.
    """
    from ddncodec.exported import exported_coder

    if device in ("auto", "cpu") and (coder := exported_coder(info, many)):
        return coder
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

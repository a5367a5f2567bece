"""The exception family: every way in which data, a file or a checkpoint can be refused.

Each kind has an exit code of its own, stable across releases (docs/format.md lists them). Code 1
is the family's, code 2 the command line's usage error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self


class DdnError(Exception):
    """Anything ddncodec refuses, of a kind of `ddncodec.errors`; its text is one line, meant for people.

    Args:
        reason: What is wrong.
        name: The file that it is about, if it is about one; the text then begins with it.

    Both are attributes.

    Examples:
        >>> import ddncodec
        >>> try:
        ...     ddncodec.decode(b"GIF89a")
        ... except ddncodec.DdnError as error:
        ...     print(type(error).__name__, error)
        BadMagic not a .ddn file: it starts with 47 49, not dd 4e
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, reason: str, name: object = None) -> None:
        super().__init__(reason if name is None else f"{name}: {reason}")
        self.reason, self.name = reason, name

    def of(self, name: object) -> Self:
        """The same error as one about a file, which its text names once."""
        return self if str(self.name) == str(name) else type(self)(str(self), name)

    def __reduce__(self) -> tuple[type[Self], tuple[str, object]]:
        return type(self), (self.reason, self.name)


# The .ddn container (3-19).


class BadMagic(DdnError):
    """The data does not start like a .ddn file."""

    exit_code = 3


class UnknownVersion(DdnError):
    """A .ddn file of a version that this release cannot read."""

    exit_code = 4


class ReservedBits(DdnError):
    """A bit is set that version 1 reserves."""

    exit_code = 5


class BadVarint(DdnError):
    """A number is longer than four bytes, or longer than it need be."""

    exit_code = 6


class AbsurdSize(DdnError):
    """Width, height, levels, K or metadata are beyond the format's limits."""

    exit_code = 7


class Truncated(DdnError):
    """The file ends before its header says that it does."""

    exit_code = 8


class TrailingBytes(DdnError):
    """The file goes on after its header says that it ends."""

    exit_code = 9


class ChecksumMismatch(DdnError):
    """The CRC32 does not match: the file was damaged."""

    exit_code = 10


class BadMetadata(DdnError):
    """The metadata cannot be decompressed or does not parse."""

    exit_code = 11


class PayloadLength(DdnError):
    """A payload is not as long as its levels and K ask for."""

    exit_code = 12


class NonZeroPadding(DdnError):
    """A bit after the payload's last level is set."""

    exit_code = 13


class IndexOutOfRange(DdnError):
    """An index of the latent is not below K."""

    exit_code = 14


class TooFewBytes(DdnError):
    """Not even one level fits into so few bytes."""

    exit_code = 15


# Weights (20-29).


class UnknownWeights(DdnError):
    """The stream was made by weights that are not installed here."""

    exit_code = 20


class BadCheckpoint(DdnError):
    """A checkpoint is malformed: not safetensors, a wrong shape, a NaN."""

    exit_code = 21


# Images (30-39).


class UnreadableImage(DdnError):
    """Not an image, a damaged one, or of a kind that cannot be shown."""

    exit_code = 30


class ImageSize(DdnError):
    """The image is too small or too large."""

    exit_code = 31


# Files (40-49).


class InputMissing(DdnError):
    """The input does not exist, is a directory or may not be read."""

    exit_code = 40


class OutputExists(DdnError):
    """The output is there already and was not to be overwritten."""

    exit_code = 41


class OutputFailed(DdnError):
    """The output cannot be written: read-only, disk full, not allowed."""

    exit_code = 42


class OutOfMemory(DdnError):
    """There is not enough memory, for a file or at all."""

    exit_code = 43


class RecordMissing(DdnError):
    """An archive has no record of that name or number."""

    exit_code = 44


class BadTable(DdnError):
    """A table cannot be read, or does not have the columns asked for."""

    exit_code = 45


class WorkerLost(DdnError):
    """The process that worked on the file was killed, perhaps by a system short of memory."""

    exit_code = 46


def reason(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@contextmanager
def memory_errors() -> Iterator[None]:
    """Within the block, or a function so decorated, a failure of Python or torch to allocate is an OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
            raise OutOfMemory("not enough memory") from None
        raise


# Training (50-59).


class DataMissing(DdnError):
    """There are no images to train or evaluate on."""

    exit_code = 50


class BadRecipe(DdnError):
    """A recipe is not TOML, names what there is not, or asks for what cannot be."""

    exit_code = 51


class NotFinite(DdnError):
    """Training stopped because a loss or a gradient is not a finite number."""

    exit_code = 52


class ProcessLost(DdnError):
    """Training stopped because another process of the job is gone."""

    exit_code = 53


# Evaluation (60-69).


class BadResults(DdnError):
    """A file of results is not one that `ddncodec eval` writes."""

    exit_code = 60


class MissingExtra(DdnError):
    """A command wants packages that are not installed."""

    exit_code = 61


class BadKit(DdnError):
    """A conformance kit is not one, or its streams are not what it says of them."""

    exit_code = 62

"""Opening inputs and writing outputs whole or not at all, with one-line errors."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ddncodec.errors import InputMissing, OutputExists, OutputFailed

# Names of this process's open files; a regular file behind one is not ours to replace.
_OPEN_FILES = ("/dev/std", "/dev/fd/", "/proc/self/fd/")


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading; InputMissing if there is none, or a directory, or no permission."""
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise InputMissing(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None


@contextmanager
def atomic_write(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` when the block ends well, and else leaves nothing.

    Devices, FIFOs and the like are written directly. A symbolic link is followed.
    Raises OutputExists if `path` is there and `overwrite` is false, also when another process was
    faster; OutputFailed for any OSError, those of the block included: only write in it.
    """
    try:
        if _is_special(path):
            with open(path, "wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        if not overwrite and target.exists():
            raise _exists(path)
        # A name of its own, as the target's may be as long as names can be; not the tempfile
        # module, whose files only their owner may read.
        temporary = target.with_name(f".ddn-{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as file:
                yield file
            if not overwrite:
                _reserve(target, path)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputFailed(f"cannot write {path}: {error.strerror or error}") from None


def _is_special(path: Path) -> bool:
    """Whether something is there that is not a regular file (a directory fails when opened)."""
    if str(path).startswith(_OPEN_FILES):
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _reserve(target: Path, path: Path) -> None:
    """Create the target, empty, unless it is there: the one test that no other can slip past."""
    try:
        open(target, "xb").close()
    except FileExistsError:
        raise _exists(path) from None


def _exists(path: Path) -> OutputExists:
    return OutputExists(f"{path} exists already")

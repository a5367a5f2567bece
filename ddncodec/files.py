"""Opening inputs and writing outputs whole or not at all, with one-line errors."""

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ddncodec.errors import InputMissing, OutputExists, OutputFailed

_PERMISSIONS = 0o777
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")

_temporaries: set[Path] = set()  # files of this process that are not yet what they are to become
_sync = True


def set_sync(wanted: bool) -> None:
    """Whether `atomic_write` waits until an output is on the disk, so that it survives a power cut; by default it does.

    Applies to the whole process.
    """
    global _sync
    _sync = wanted


def put_on_disk(file: BinaryIO) -> None:
    """Wait until what was written to an open file is on the disk, unless `set_sync` says no. Raises OutputFailed."""
    try:
        file.flush()
        if _sync:
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputFailed(f"cannot write {file.name}: {error.strerror}") from None


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading; InputMissing if there is none, or a directory, or no permission."""
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise InputMissing(f"cannot be read: {getattr(error, 'strerror', error)}", path) from None


@contextmanager
def atomic_write(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` when the block ends well, and else leaves nothing.

    Devices, FIFOs and the like are written directly. A symbolic link is followed. A file that is overwritten passes
    its permissions on.

    Args:
        path: The output.
        overwrite: Whether to replace a file that is there already.

    Yields:
        The file, open for writing.

    Raises:
        OutputExists: `path` is there and `overwrite` is false, also when another process was faster.
        OutputFailed: For any OSError, those of the block included: only write in it.
    """
    try:
        if is_special(path):
            with _open_special(path) as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        try:
            permissions = target.stat().st_mode & _PERMISSIONS
        except FileNotFoundError:
            permissions = None
        if permissions is not None and not overwrite:
            raise _exists(path)
        temporary = _temporary(target)
        _temporaries.add(temporary)
        try:
            with open(temporary, "xb") as file:
                if permissions is not None:
                    temporary.chmod(permissions)
                yield file
                file.flush()
                if _sync:
                    os.fsync(file.fileno())
            if overwrite:
                os.replace(temporary, target)
            else:
                _publish(temporary, target, path)
            if _sync:
                _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
            _temporaries.discard(temporary)
    except OSError as error:
        raise OutputFailed(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within the block no other process has the folder locked; it is made, and goes again if it stays empty.

    Raises OutputExists where another process has, OutputFailed where there can be no such folder.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputFailed(f"cannot make {folder}: {error.strerror}") from None
    try:
        with suppress(OSError):  # of a file system that knows no locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputExists("another process is at work in it", folder) from None
        yield
    finally:
        os.close(descriptor)
        for path in made:
            with suppress(OSError):
                path.rmdir()


def keep_as(path: Path, name: Path) -> None:
    """Give a file a second name, in the place of whatever has it. Raises OutputFailed."""
    temporary = _temporary(name)
    _temporaries.add(temporary)
    try:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)
        os.replace(temporary, name)
    except OSError as error:
        raise OutputFailed(f"cannot write {name}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
        _temporaries.discard(temporary)


def discard_temporaries() -> None:
    """Remove the files of all writes under way; for a process that ends now."""
    while _temporaries:
        with suppress(OSError):
            _temporaries.pop().unlink()


def is_special(path: Path) -> bool:
    """Whether an output of this name is written directly: a device, a FIFO, an open file such as /dev/stdout.

    A directory counts as special too; it fails when opened.
    """
    if _descriptor(path) is not None:
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _open_special(path: Path) -> BinaryIO:
    """Open for writing; an open file goes on where it is, where opening it by name would empty it."""
    descriptor = _descriptor(path)
    return open(path if descriptor is None else os.dup(descriptor), "wb")


def _descriptor(path: Path) -> int | None:
    """The number of this process's open file that a path names."""
    match = _DESCRIPTOR.fullmatch(str(path))
    return int(match[1]) if match else _STREAMS.get(str(path))


def _temporary(target: Path) -> Path:
    """A name beside the target, of its own, as the target's may be as long as names can be.

    Not by the tempfile module, whose files only their owner may read.
    """
    return target.with_name(f".ddn-{secrets.token_hex(8)}.tmp")


def _publish(temporary: Path, target: Path, path: Path) -> None:
    """Give a finished file its name. Raises OutputExists if there is a file of that name."""
    try:
        os.link(temporary, target)  # unlike a rename, fails where the target exists
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without hard links: two processes at the same moment are not told apart
        if target.exists():
            raise _exists(path) from None
        os.rename(temporary, target)


def _sync_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk, where that can be done: the file is there all the same."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path: Path) -> OutputExists:
    return OutputExists(f"{path} exists already")

"""Opening inputs and writing outputs whole or not at all, with one-line errors."""

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ddncodec.errors import DdnError, InputMissing, OutputExists, OutputFailed

_PERMISSIONS = 0o777
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")

_temporaries: set[Path] = set()  # files of this process that are not yet what they are to become
_sync = True


def set_sync(wanted: bool) -> None:
    """Whether `publish` waits until outputs are on the disk, so that they survive a power cut; by default it does.

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


class Draft:
    """An output in the making: a file beside it, which `publish` gives the output's name, and else leaves nothing.

    Devices, FIFOs and the like are written directly. A symbolic link is followed. A file that is overwritten passes
    its permissions on.

    Args:
        path: The output.
        overwrite: Whether to replace a file that is there already.

    Attributes:
        file: Open for writing.

    Raises:
        OutputExists: `path` is there and `overwrite` is false.
        OutputFailed: It cannot be opened.
    """

    file: BinaryIO

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path, self._overwrite = path, overwrite
        self._temporary: Path | None = None
        with _told_of(path):
            if is_special(path):
                self.file = _open_special(path)
                return
            self._target = Path(os.path.realpath(path)) if path.is_symlink() else path
            try:
                permissions = self._target.stat().st_mode & _PERMISSIONS
            except FileNotFoundError:
                permissions = None
            if permissions is not None and not overwrite:
                raise _exists(path)
            self._temporary = _temporary(self._target)
            _temporaries.add(self._temporary)
            try:
                self.file = open(self._temporary, "xb")  # noqa: SIM115  # `name` or `discard` closes it
                if permissions is not None:
                    self._temporary.chmod(permissions)
            except BaseException:
                self.discard()
                raise

    def write(self, data: bytes | memoryview) -> None:
        """Write to the file, of which nothing is left where that fails. Raises OutputFailed."""
        try:
            with _told_of(self.path):
                self.file.write(data)
        except BaseException:
            self.discard()
            raise

    def send(self) -> None:
        """Let the content be on its way to the disk."""
        self.file.flush()
        if _sync and self._temporary and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def await_disk(self) -> None:
        """Wait until the content is on the disk."""
        if _sync and self._temporary:
            os.fsync(self.file.fileno())

    def name(self) -> None:
        """Give the file the output's name. Raises OutputExists where another process was faster."""
        self.file.close()
        if self._temporary and self._overwrite:
            os.replace(self._temporary, self._target)
        elif self._temporary:
            _publish(self._temporary, self._target, self.path)

    @property
    def folder(self) -> Path | None:
        """The folder that the output's name is in; None if it has one already."""
        return self._target.parent if self._temporary else None

    def discard(self) -> None:
        """Leave nothing but what was named. May be called again."""
        with suppress(OSError, AttributeError):  # what was not written yet; never opened
            self.file.close()
        if self._temporary:
            self._temporary.unlink(missing_ok=True)
            _temporaries.discard(self._temporary)
            self._temporary = None


def publish(drafts: Sequence[Draft]) -> list[DdnError | None]:
    """Let drafts become their outputs, unless `set_sync` says no on the disk, so that they survive a power cut.

    A disk takes for many that are sent to it together hardly longer than for one.

    Returns:
        Of each draft OutputExists or OutputFailed, where one is why it did not become its output.
    """
    failures: dict[Draft, DdnError] = {}
    try:
        for step in (Draft.send, Draft.await_disk, Draft.name):
            for draft in drafts:
                if draft not in failures:
                    try:
                        with _told_of(draft.path):
                            step(draft)
                    except DdnError as error:
                        failures[draft] = error
        if _sync:
            for folder in {draft.folder for draft in drafts if draft.folder and draft not in failures}:
                _sync_folder(folder)
    finally:
        for draft in drafts:
            draft.discard()
    return [failures.get(draft) for draft in drafts]


@contextmanager
def atomic_write(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` when the block ends well, and else leaves nothing; see `Draft`.

    Args:
        path: The output.
        overwrite: Whether to replace a file that is there already.

    Yields:
        The file, open for writing.

    Raises:
        OutputExists: `path` is there and `overwrite` is false, also when another process was faster.
        OutputFailed: For any OSError, those of the block included: only write in it.
    """
    draft = Draft(path, overwrite=overwrite)
    try:
        with _told_of(path):
            yield draft.file
        (failure,) = publish([draft])
    finally:
        draft.discard()
    if failure:
        raise failure


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Within the block an OSError becomes an OutputFailed."""
    try:
        yield
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

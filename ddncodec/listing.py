"""The files of a folder, listed by one rule for all commands. Imports neither torch nor numpy."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ddncodec.errors import InputMissing

OTHER = "of another kind"
APPLE_DOUBLE = "of AppleDouble"  # ._name, which macOS writes beside a file on a foreign file system
REPEATED = "of a folder listed already"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder and all folders below it hold.

    Attributes:
        names: Paths of regular files with wanted names, in the order of their parts.
        unreadable: Links to nothing, folders that cannot be listed, special files with wanted names.
        skipped: How many entries were left out, by why.
    """

    names: list[str] = field(default_factory=list)  # a Path takes five times the memory
    unreadable: list[InputMissing] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> list[Path]:
        """The names as paths."""
        return list(map(Path, self.names))


def list_files(folder: Path, takes: Callable[[str], bool]) -> Listing:
    """List a folder. Links are followed; each folder is listed once, by a name without a link where it has one.

    Args:
        folder: Where to begin.
        takes: Whether a file of this name is wanted.
    """
    found = Listing()
    seen: set[tuple[int, int]] = set()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        here = (folders or links).popleft()
        try:
            state = here.stat()
            if (state.st_dev, state.st_ino) in seen:
                found.skipped[REPEATED] += 1
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(here) as entries:
                for entry in entries:
                    if _is_folder(entry, takes, found):
                        (links if entry.is_symlink() else folders).append(here / entry.name)
        except OSError as error:
            found.unreadable.append(InputMissing(f"cannot be listed: {error.strerror}", here))
    found.names.sort(key=lambda name: name.replace("/", "\0"))  # part by part
    return found


def leave_out(name: str, takes: Callable[[str], bool], skipped: Counter[str]) -> bool:
    """Whether a file or member of an archive is not wanted, for its name; it is counted then."""
    base = name.rsplit("/", 1)[-1]
    why = APPLE_DOUBLE if base.startswith("._") else None if takes(base) else OTHER
    skipped.update([why] if why else [])
    return why is not None


def _is_folder(entry: os.DirEntry[str], takes: Callable[[str], bool], found: Listing) -> bool:
    """Whether an entry is a folder; anything else is added to what was found."""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        found.unreadable.append(InputMissing(f"cannot be read: {error.strerror}", Path(entry.path)))
        return False
    if stat.S_ISDIR(mode):
        return True
    if not leave_out(entry.name, takes, found.skipped):
        if stat.S_ISREG(mode):
            found.names.append(entry.path)
        else:
            found.unreadable.append(InputMissing("is not a regular file", Path(entry.path)))
    return False

"""Tar archives that nobody vouches for."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ddncodec.errors import DdnError, UnreadableImage, memory_errors, reason

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_MEMBER = 2**28  # bytes of one picture in an archive
MAX_DESCRIPTION = 2**20  # bytes of names and records before a member of a tar
MAX_NAME = 4_096  # characters
_DESCRIPTIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


def is_tar(name: str) -> bool:
    """Whether a file of this name should be a tar archive."""
    return name.lower().endswith(TAR_SUFFIXES)


class _Member(tarfile.TarInfo):
    """A header of a `Tar`, which is checked before what it announces is read."""

    def _proc_member(self, archive: Tar) -> tarfile.TarInfo:
        archive.check(self)
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        archive.check(member)  # its size may be in what was read
        return member


class Tar(tarfile.TarFile):
    """A tar archive that is read in bounded memory, and to its end.

    The module reads names and records of any size, and lists of a sparse file's parts of any length; a size below zero
    would lead it back to where it was.
    """

    tarinfo = _Member

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._described = self._shared = 0  # bytes of names and records: of the next member, of all members
        super().__init__(*arguments, **options)

    def check(self, header: tarfile.TarInfo) -> None:
        """Raise UnreadableImage for a header that memory or time would have no bound for."""
        if header.size < 0 or header.type == tarfile.GNUTYPE_SPARSE or len(header.name) > MAX_NAME:
            raise UnreadableImage("the archive is damaged, or holds a sparse file or too long a name")
        if header.type == tarfile.XGLTYPE:
            self._shared += header.size
        elif header.type in _DESCRIPTIONS:
            self._described += header.size
        else:
            self._described = 0
        if self._described + self._shared > MAX_DESCRIPTION:
            raise UnreadableImage(f"the archive describes a file in more than {MAX_DESCRIPTION:,} bytes")


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Tell whatever reading a damaged file raises as an UnreadableImage."""
    try:
        with memory_errors():
            yield
    except DdnError:
        raise
    except Exception as error:  # zipfile, tarfile, gzip and zlib raise nearly anything
        raise UnreadableImage(f"{what} is damaged: {reason(error)}") from None

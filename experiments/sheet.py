"""A picture of pictures, as the experiments show their results."""

from __future__ import annotations

from pathlib import Path

from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels, write_picture


def save_sheet(path: Path, sheet: Pixels) -> None:
    """Write a sheet as PNG, enlarged twice; overwrites."""
    with atomic_write(path, overwrite=True) as file:
        write_picture(Picture(sheet.repeat(2, 0).repeat(2, 1)), file)

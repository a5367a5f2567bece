"""Make the conformance kit: streams of the shipped models and of a small network, and the pictures they decode to.

    python experiments/conformance_kit.py [FOLDER]

Streams that are in the kit stay as they are, and so do their pictures: what is added are those of weights that it does
not have yet. Of weights that others supersede it keeps the first picture's streams, with the deviation that the newer
weights state. docs/conformance.md says what the kit holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from PIL import Image, ImageCms

from ddncodec import bare, container, zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.conformance import MANIFEST, Case, Kit, Weights, read_kit, write_manifest
from ddncodec.container import Stream
from ddncodec.images import grid, read_picture
from ddncodec.latent import Latent
from ddncodec.weights import WeightsInfo, read_info

ROOT = Path(__file__).parents[1]
PICTURES = ("examples/face.png", "examples/real_faces/hopper.png")
SMALL = ROOT / "tests/golden/k6-recurrent.safetensors"  # K is no power of two
SIZES = ((64, 64), (1, 1), (300, 200), (7, 500), (4_032, 3_024), (1_023, 65), (48, 40), (65_535, 3))  # width, height
BROKEN = (5 / 8, 1 / 4)  # of the payload, where files break off
FIRST = "-0.png"  # how the sheet of the first picture ends
CHECKSUM = 4  # bytes
ROUNDING = 1  # the deviation that is allowed for the same weights


class Made(NamedTuple):
    """A stream's file. name: behind the picture's. stream: as it is read."""

    name: str
    form: str
    data: bytes
    stream: Stream


def files_of(whole: Stream, sizes: Sequence[tuple[int, int]]) -> Iterator[Made]:
    """A picture's files, each of another size: whole, broken off, and cut to few levels and to one."""
    data = container.to_bytes(replace(whole, width=sizes[0][0], height=sizes[0][1]))
    payload = len(whole.latent.pack())
    few = max(1, whole.latent.levels // 24 - 1)  # with K = 2 no whole number of bytes
    lengths = {whole.latent.levels, few, 1}
    for number, share in enumerate(BROKEN, 1):
        broken = data[: len(data) - CHECKSUM - payload + max(1, int(share * payload))]
        found = container.partial_from_bytes(broken).stream
        lengths.add(found.latent.levels)
        yield Made(f"broken-{number}", "partial", broken, found)
    for number, (levels, (width, height)) in enumerate(zip(sorted(lengths, reverse=True), sizes, strict=False)):
        stream = replace(whole, latent=whole.latent.prefix(levels), width=width, height=height,
                         comment="conformance" if number == 1 else None, icc=_srgb() if number == 2 else None)
        yield Made(str(levels), "file", container.to_bytes(stream), stream)


def bare_of(file: Made, info: WeightsInfo) -> Iterator[Made]:
    """The same as a bare stream and as its text."""
    data = bare.to_bytes(file.stream)
    yield Made(file.name, "bare", data, info.bare_stream(data))
    yield Made(file.name, "text", bare.to_text(data).encode() + b"\n", info.bare_stream(data))


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def cases_of(codec: Codec, pictures: Sequence[str], folder: Path) -> Iterator[Case]:
    """Write the streams and sheets of some weights, of pictures and of picks by chance, and tell of them."""
    info = codec.info
    latents_of = []
    for path in pictures:
        with open(ROOT / path, "rb") as opened:
            latents_of.append(codec.encode(read_picture(opened).pixels))
    picks = torch.randint(info.config.k, (info.config.levels,), generator=torch.Generator().manual_seed(0))
    latents_of.append(Latent(tuple(picks.tolist()), info.config.k))
    for number, latent in enumerate(latents_of):
        name = f"{info.name}-{info.id.hex()}-{number}"
        whole = Stream(latent, *SIZES[0], info.id)
        made = list(files_of(whole, SIZES[number:] + SIZES[:number]))
        if number == 0:
            made += [form for one in made if one.form == "file" for form in bare_of(one, info)]
        elif number == len(pictures):
            made = [one for one in made if one.stream.latent == latent]  # noise takes many bytes
        latents = list(dict.fromkeys(one.stream.latent for one in made))
        sheet = f"sheets/{name}.png"
        pixels = [codec.decode(latent) for latent in latents]  # one by one: as few decode
        Image.fromarray(grid(pixels, len(pixels))).save(folder / sheet, optimize=True)
        for one in made:
            stream = f"streams/{name}-{one.name}.{ {'bare': 'ddnb', 'text': 'txt'}.get(one.form, 'ddn')}"
            (folder / stream).write_bytes(one.data)
            yield Case(stream, one.form, info.id.hex(), one.stream.latent.levels, one.stream.width, one.stream.height,
                       sheet, latents.index(one.stream.latent))


def main(folder: Annotated[Path, typer.Argument(help="The kit's.")] = ROOT / "conformance") -> None:
    """Make the kit, or add to it; see the module."""
    torch.set_num_threads(1)
    for part in ("streams", "sheets", "weights"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    kept = read_kit(folder) if (folder / MANIFEST).exists() else Kit(folder, {}, [])
    small = Path(shutil.copy(SMALL, folder / "weights"))
    weights: dict[str, Weights] = {}
    cases: list[Case] = []
    for info in (*zoo.unconditional(), read_info(small)):
        file = str(small.relative_to(folder)) if info.path == small else ""
        config, identity = info.config, info.id.hex()
        weights[identity] = Weights(identity, info.name, file, config.k, config.levels, config.resolution, ROUNDING)
        if identity in kept.weights:
            cases += [case for case in kept.cases if case.weights == identity]
        else:
            typer.echo(f"{info.name} {identity}")
            cases += cases_of(load_weights(info, "cpu"), () if file else PICTURES, folder)
        for earlier in info.earlier:
            if old := kept.weights.get(earlier.id.hex()):
                weights[old.id] = replace(old, allowed=ROUNDING + earlier.deviation)
                cases += [case for case in kept.cases if case.weights == old.id and case.sheet.endswith(FIRST)]
    write_manifest(Kit(folder, weights, cases))
    used = {case.stream for case in cases} | {case.sheet for case in cases}
    for path in (*(folder / "streams").iterdir(), *(folder / "sheets").iterdir()):
        if str(path.relative_to(folder)) not in used:
            path.unlink()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    typer.echo(f"{len(cases)} streams of {len(weights)} weights, {size:,} bytes")


if __name__ == "__main__":
    typer.run(main)

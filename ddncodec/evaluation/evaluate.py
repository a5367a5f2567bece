"""One evaluation: a model and its peers on the same images, part by part, each kept on disk once it is done."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from ddncodec import bare, container
from ddncodec.codec import Codec
from ddncodec.effort import GREEDY
from ddncodec.evaluation import provenance
from ddncodec.evaluation.compressai_zoo import ZOO
from ddncodec.evaluation.data import Images
from ddncodec.evaluation.eigenfaces import Eigenfaces
from ddncodec.evaluation.judge import Judge
from ddncodec.evaluation.peers import FILE_CODECS, Advance, Coded, Peer, Tuned, workers
from ddncodec.evaluation.placeholders import PLACEHOLDERS
from ddncodec.evaluation.rate_distortion import curve, delta
from ddncodec.files import atomic_write
from ddncodec.images import Picture, fit
from ddncodec.latent import Latent
from ddncodec.looks import FAITHFUL, look_path
from ddncodec.metrics.distortion import Pixels, bootstrap, psnr, squared_errors

FORMAT = "ddncodec-evaluation-1"
VERSION = 2  # of what computes a part: another one computes it anew
BUDGETS = (80, 120, 160, 240, 320)
BARE_BUDGETS = (16, 24, 32, 48, 96, 144)
PREFIXES = 16
FRAMES = 48  # of the report's slider
PICTURED = 8
BATCH = 64

WHOLE: tuple[Peer, ...] = (*FILE_CODECS, Eigenfaces(False), Eigenfaces(True), *ZOO)  # whose sizes are of whole files
PEERS: tuple[Peer, ...] = (*PLACEHOLDERS, *WHOLE)

Json = dict[str, Any]
Begin = Callable[[str, int], Advance]  # of a part of so many images; returns what is called as they are done


@dataclass(frozen=True, slots=True)
class Settings:
    """budgets: bytes of whole files, or of bare streams. peers: names. curve_images: how many have every level's PSNR.

    every_effort: not the highest alone. inception, lpips, told_apart: of what `Judge` measures beyond the rest.
    """

    budgets: tuple[int, ...] = BUDGETS
    peers: tuple[str, ...] = tuple(peer.name for peer in WHOLE)
    curve_images: int = PICTURED
    inception: Path | None = None
    lpips: Path | None = None
    bare: bool = False
    every_effort: bool = True
    told_apart: bool = False


class Evaluation:
    """Of one model on some images. The run's folder keeps every part, so that the same call goes on with a stopped run.

    All are compared at the resolution of the images. That of the model may be lower: it then encodes them downscaled,
    and what it decodes is enlarged (bicubic). Pictures are in the parts alone; `results` is all else.
    """

    def __init__(self, codec: Codec, images: Images, settings: Settings, folder: Path, begin: Begin) -> None:
        self._codec, self._images, self._settings = codec, images, settings
        self._folder, self._begin = folder, begin
        self._judge = Judge(images.pixels, settings.inception, settings.lpips, settings.told_apart)
        self._sha256 = images.sha256
        self._versions = provenance.versions()
        self._latents: dict[int, tuple[list[Latent], float]] = {}

    @property
    def _name(self) -> str:
        """Of the model, and of its look where it is not the faithful one."""
        return self._codec.info.name + f"-{self._codec.look}" * (self._codec.look != FAITHFUL)

    def run(self) -> tuple[Json, dict[str, Json]]:
        """The results, and the pictures of each codec and of the slider, by their names."""
        codec, images = self._codec, self._images
        model = provenance.checkpoint(codec.info)
        look = {} if codec.look == FAITHFUL else {"look": provenance.sha256(look_path(codec.info, codec.look))}
        parts: list[Json] = []
        highest = codec.network.max_effort
        for effort in range(GREEDY if self._settings.every_effort else highest, highest + 1):
            def ours(advance: Advance, effort: int = effort) -> Json:
                return self._ours(effort, advance)
            of = {"weights": model["sha256"]} | look | ({"bare": True} if self._settings.bare else {})
            parts.append(self._part(f"{self._name}-effort-{effort}", of, ours))
        every_level = self._part(f"{self._name}-curve", {"weights": model["sha256"], **look,
                                                         "images": self._settings.curve_images}, self._curve)
        with workers(len(images.pixels)) as many:
            for peer in PEERS:
                if peer.name not in self._settings.peers:
                    continue
                head: Json = {"name": peer.name, "label": peer.label}
                if why := peer.unavailable(images.resolution):
                    parts.append(head | {"unavailable": why})
                    continue

                def tune(advance: Advance, peer: Peer = peer) -> Json:
                    tuned = peer.tune(images.pixels, self._settings.budgets, many, advance)
                    return {"points": self._points(tuned), "pictures": self._pictures(tuned),
                            "smallest_file": min(tuned.smallest)}

                parts.append(head | {"settings": peer.settings}
                             | self._part(peer.name, {"settings": peer.settings}, tune))
        pictures = {part["name"]: part.pop("pictures") for part in parts if "pictures" in part}
        pictures["originals"] = {"": _strip(list(images.pixels[:PICTURED]))}
        pictures["frames"] = every_level.pop("frames")
        default = next(part for part in parts if part.get("effort") == codec.network.max_effort)
        return {
            "format": FORMAT,
            "data": {"source": images.source, "images": len(images.pixels), "resolution": images.resolution,
                     "sha256": self._sha256,
                     "unreadable": [{"name": name, "reason": error.reason}
                                    for name, error in images.unreadable.items()]},
            "model": model,
            "settings": {"bare": self._settings.bare, "budgets": list(self._settings.budgets),
                         "networks": self._judge.networks, "look": codec.look,
                         "told_apart": self._settings.told_apart},
            "versions": self._versions,
            "machine": provenance.machine(),
            "codecs": parts,
            "every_level": every_level,
            "bjontegaard": {part["name"]: asdict(delta(_curve(default), _curve(part))) for part in parts
                            if "effort" not in part and "points" in part},
        }, pictures

    def _part(self, name: str, of: Json, work: Callable[[Advance], Json]) -> Json:
        """What `work` makes, or made in an earlier run of the same data, settings and versions."""
        key = [VERSION, self._sha256, self._settings.budgets, self._judge.networks, self._settings.told_apart,
               self._versions, name, of]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        path = self._folder / "parts" / f"{name}-{digest}.json"
        if path.is_file():
            try:
                kept: Json = json.loads(path.read_bytes())
                return kept
            except ValueError:
                pass  # damaged: made anew
        made = work(self._begin(name, len(self._images.pixels)))
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, overwrite=True) as file:
            file.write(json.dumps(made, allow_nan=False).encode())
        return made

    def _encoded(self, effort: int, advance: Advance) -> tuple[list[Latent], float]:
        """The latents of all images, and the seconds that each took."""
        if effort not in self._latents:
            began = perf_counter()
            latents = []
            for part in _batches(self._images.pixels):
                latents += self._codec.encode_batch(list(part), effort=effort)
                advance(len(part))
            self._latents[effort] = latents, (perf_counter() - began) / len(latents)
        return self._latents[effort]

    def _decoded(self, latents: Sequence[Latent]) -> Pixels:
        """What latents show, at the resolution of the images."""
        return np.stack([fit(pixels, self._images.resolution) for part in _batches(latents)
                         for pixels in self._codec.decode_batch(part)])

    def _size(self, latent: Latent) -> int:
        """Bytes of the whole file, or of the bare stream, of an image at the model's resolution."""
        if self._settings.bare:
            return bare.size(latent.k, latent.levels)
        picture = Picture(np.zeros((self._codec.resolution, self._codec.resolution, 3), np.uint8))
        return len(container.to_bytes(self._codec.to_stream(picture, latent)))

    def _ours(self, effort: int, advance: Advance) -> Json:
        """The model at every budget, a prefix of the one stream, and at the highest effort at every sixteenth of it."""
        latents, encode_seconds = self._encoded(effort, advance)
        images, whole = self._images.pixels, self._codec.levels
        sizes = {levels: self._size(latents[0].prefix(levels)) for levels in range(1, whole + 1)}
        within = {budget: max((levels for levels, size in sizes.items() if size <= budget), default=0)
                  for budget in self._settings.budgets}
        budgeted = set(within.values()) - {0}
        highest = effort == self._codec.network.max_effort
        wanted = {-(-whole * i // PREFIXES) for i in range(1, PREFIXES + 1)} if highest else budgeted | {whole}
        prefixes: list[Json] = []
        coded: dict[int, list[Coded | None]] = {0: [None] * len(images)}
        decode_seconds = 0.0
        for levels in sorted(wanted | budgeted):
            part = [latent.prefix(levels) for latent in latents]
            began = perf_counter()
            decoded = self._decoded(part)
            decode_seconds = (perf_counter() - began) / len(images)
            if levels in wanted:
                errors = bootstrap(squared_errors(images, decoded), psnr)
                prefixes.append({"levels": levels, "bits": part[0].bits, "bytes": sizes[levels],
                                 "psnr_of_mean_error": {name: value if np.isfinite(value) else None
                                                        for name, value in asdict(errors).items()}})
            if levels in budgeted:
                payload = -(-part[0].bits // 8)
                coded[levels] = [Coded(pixels, sizes[levels], payload, encode_seconds, decode_seconds)
                                 for pixels in decoded]
        tuned = Tuned([coded[levels] for levels in within.values()], [sizes[1]] * len(images))
        return {"name": f"{self._name}-effort-{effort}", "effort": effort,
                "label": f"ddncodec {self._name}, effort {effort}" + ", bare" * self._settings.bare,
                "points": self._points(tuned), "prefixes": prefixes, "pictures": self._pictures(tuned),
                "smallest_file": sizes[1], "largest_file": sizes[whole],
                "encoded_a_second": 1 / encode_seconds, "decoded_a_second": 1 / decode_seconds}

    def _curve(self, advance: Advance) -> Json:
        """PSNR after every level on the first images, and some of the pictures on the way; nothing of no images."""
        images = self._images.pixels[: self._settings.curve_images]
        if not len(images):
            return {"images": 0, "psnr": [], "frames": {}}
        latents = self._codec.encode_batch(list(images))
        whole = self._codec.levels
        shown = {-(-whole * i // FRAMES) for i in range(1, FRAMES + 1)}
        psnrs, frames = [], {}
        for levels in range(1, whole + 1):
            decoded = self._decoded([latent.prefix(levels) for latent in latents])
            error = psnr(float(squared_errors(images, decoded).mean()))
            psnrs.append(round(error, 3) if np.isfinite(error) else None)
            if levels in shown:
                frames[str(levels)] = _strip(list(decoded[:PICTURED]), quality=90)
            advance(round(len(self._images.pixels) * levels / whole) - round(
                len(self._images.pixels) * (levels - 1) / whole))
        return {"images": len(images), "psnr": psnrs, "frames": frames}

    def _points(self, tuned: Tuned) -> list[Json]:
        """Sizes, times and metrics at each budget, of the images that fit."""
        points: list[Json] = []
        before: list[Coded | None] | None = None
        for budget, row in zip(self._settings.budgets, tuned.coded, strict=True):
            if row is before:  # our whole stream, which a larger budget makes no longer
                points.append(points[-1] | {"budget": budget})
                continue
            before = row
            found = {i: coded for i, coded in enumerate(row) if coded is not None}
            point: Json = {"budget": budget, "fitted": len(found), "of": len(row)}
            if found:
                point |= {
                    "bytes": float(np.mean([coded.size for coded in found.values()])),
                    "payload": float(np.mean([coded.payload for coded in found.values()])),
                    "encode_ms": 1e3 * float(np.mean([coded.encode_seconds for coded in found.values()])),
                    "decode_ms": 1e3 * float(np.mean([coded.decode_seconds for coded in found.values()])),
                    "metrics": self._judge.figures(np.stack([coded.pixels for coded in found.values()]), list(found)),
                }
            points.append(point)
        return points

    def _pictures(self, tuned: Tuned) -> Json:
        return {str(budget): _strip([coded and coded.pixels for coded in row[:PICTURED]])
                for budget, row in zip(self._settings.budgets, tuned.coded, strict=True) if any(row[:PICTURED])}


def _curve(part: Json) -> list[tuple[float, float]]:
    """Bytes and PSNR of the curve."""
    return [(point["bytes"], point["psnr_of_mean_error"]["value"]) for point in curve(part)]


def _strip(images: Sequence[Pixels | None], quality: int | None = None) -> str:
    """Images side by side as a data URI, lossless unless a quality is given; grey where there is none."""
    shape = next(image.shape for image in images if image is not None)
    grey = np.full(shape, 128, np.uint8)
    strip = np.concatenate([grey if image is None else image for image in images], axis=1)
    file = BytesIO()
    options = {"lossless": True} if quality is None else {"quality": quality}
    Image.fromarray(strip).save(file, "WEBP", method=4, **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _batches(items: Any) -> Iterator[Any]:
    for first in range(0, len(items), BATCH):
        yield items[first : first + BATCH]

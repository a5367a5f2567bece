"""Placeholders of 16 to 200 bytes: ours beside what people use, on photographs, faces and products.

    python experiments/placeholders.py [--model NAME]… [--images N] [--photographs FOLDER] [--products FILE]

By `ddncodec eval`'s own code. Runs lie in runs/placeholders and are gone on with. In docs/placeholders.md what stands
between `<!-- placeholders: NAME -->` and `<!-- /placeholders -->`, its pictures and its JSON are written by this file.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import files
from io import BytesIO
from itertools import groupby
from pathlib import Path
from statistics import median
from time import process_time
from typing import Annotated, Any

import numpy as np
import torch
import typer
from markers import filled, table
from PIL import Image, ImageDraw, ImageFont

from ddncodec import zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.evaluation import output, placeholders
from ddncodec.evaluation.data import BUILT_IN, Images, load
from ddncodec.evaluation.evaluate import Evaluation, Settings
from ddncodec.evaluation.peers import FileCodec, resized
from ddncodec.evaluation.placeholders import PLACEHOLDERS, TRACED, Placeholder, rendered, traced
from ddncodec.files import atomic_write
from ddncodec.images import Picture as Whole
from ddncodec.images import Pixels, write_picture

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs/placeholders"
DOCS = ROOT / "docs"
PHOTOGRAPHS = ROOT / "runs/photos/held-out"  # where `make photos` puts the crops that no training sees
PRODUCTS = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")  # of Debian's dataset-fashion-mnist
MODULES = {  # on npm, of the formats' authors; `make placeholders` fetches them
    "ThumbHash": ("runs/thumbhash-0.1.1.tgz", "package/thumbhash.js"),
    "BlurHash": ("runs/blurhash-2.0.5.tgz", "package/dist/esm/index.js"),
}

SIDE = 64  # at which all are shown
BUDGETS = (16, 21, 24, 28, 32, 39, 52, 64, 96, 160, 200)
CHARACTERS = {28: 21, 52: 39}  # of a BlurHash, which is text, and the bytes that as many of base64url hold
PEERS = tuple(peer.name for peer in PLACEHOLDERS)
TEXTS = ("blurhash-4x3", "blurhash-6x4")
METRICS = {"psnr_of_mean_error": ("PSNR, dB", 2, 1), "ssim": ("SSIM", 3, 1), "fd64": ("fd64", 1, -1)}  # sign: of better
PICTURED = {  # rows of a sheet: peers, and budget
    "small": (("blurhash-4x3", 28), ("thumbhash", 24), ("bc1", 32), ("jpeg-shared", 24), (None, 24)),
    "large": (("jpeg-shared", 64), ("webp-bare", 64), (None, 64), ("svg", 160), ("jpeg-shared", 160),
              ("webp-bare", 160), (None, 160)),
}
LABEL_WIDTH, SCALE, COLUMNS = 180, 2, 5
PAID = (32, 64, 160)  # budgets at which codecs of any size are replaced
TIMED = 16  # images that are encoded and decoded one at a time

Json = dict[str, Any]


def main(model: Annotated[list[str] | None, typer.Option(help="A model's name, or the path of a weights file; several "
                                                              "times. By default the principal ones of K = 2.")] = None,
         images: Annotated[int, typer.Option(min=2, help="How many of each kind.")] = 64,
         photographs: Annotated[str, typer.Option(help="What `eval` takes, of photographs.")] = str(PHOTOGRAPHS),
         products: Annotated[str, typer.Option(help="What `eval` takes, of products.")] = str(PRODUCTS)) -> None:
    """Measure, and write the page."""
    codecs = [load_weights(zoo.find(name), "cpu") for name in model or _default()]
    data = {"photographs": photographs, "faces": BUILT_IN, "products": products}
    shown = {kind: _shuffled(load(path, SIDE, images if path == BUILT_IN else None), images)
             for kind, path in data.items()}
    settings = Settings(BUDGETS, PEERS, curve_images=0, bare=True, every_effort=False)
    found: dict[str, list[Json]] = {}
    parts: dict[str, str] = {}
    for kind, some in shown.items():
        runs = [Evaluation(codec, some, settings, RUNS, _begin(kind)).run() for codec in codecs]
        found[kind] = _merged([results for results, _ in runs])
        strips = {name: strip for _, pictures in runs for name, strip in pictures.items()}
        for name, rows in PICTURED.items():
            _write_sheet(DOCS / f"pictures/placeholders-{kind}-{name}.png", list(_rows(rows, found[kind], strips)))
        with atomic_write(DOCS / f"pictures/placeholders-{kind}.png", overwrite=True) as file:
            file.write(output.rate_distortion_plot({"settings": {"bare": True}, "codecs": found[kind]}))
        parts[f"{kind}-data"] = f"{len(some.pixels):,} images, sha256 of their pixels `{some.sha256[:16]}…`."
        parts |= {f"{kind}-{metric.split('_')[0]}": _grid(found[kind], metric) for metric in METRICS}
        provenance = runs[0][0]
    times = _times(codecs, list(shown["photographs"].pixels[: TIMED + 1]))
    milliseconds = [[name, *(f"{took:.2f}" for took in both)] for name, both in times.items()]
    parts |= {"natural": _natural(found), "losses": _losses(found), "decoders": _decoders(codecs),
              "times": table(["", "encode, ms", "decode, ms"], milliseconds), "pays": _pays(found, codecs),
              "rows": _rows_told(codecs), "provenance": _provenance(provenance, codecs)}
    page = DOCS / "placeholders.md"
    text = filled(page.read_text(encoding="utf-8"), "placeholders", parts)
    kept = {"images": images, "models": {codec.info.name: codec.info.id.hex() for codec in codecs},
            "versions": provenance["versions"], "machine": provenance["machine"], "milliseconds": times,
            "codecs": {kind: [_kept(codec) for codec in measured] for kind, measured in found.items()}}
    for target, content in ((page, text), (DOCS / "placeholders.json", json.dumps(kept, indent=1) + "\n")):
        with atomic_write(target, overwrite=True) as file:
            file.write(content.encode())
    typer.echo("\n\n".join(f"{name}\n{part}" for name, part in parts.items()))


def _default() -> list[str]:
    """The models of K = 2 that ship; those that are left out are told."""
    taken = [info.name for info in zoo.shipped() if info.config.generator == "principal" and info.config.k == 2]
    left = [info.name for info in zoo.shipped() if info.name not in taken]
    typer.echo(f"models: {', '.join(taken)}; not measured without --model: {', '.join(left)}", err=True)
    return taken


def _begin(kind: str) -> Callable[[str, int], Callable[[int], None]]:
    def begin(name: str, total: int) -> Callable[[int], None]:
        typer.echo(f"  {kind}: {name}", err=True)
        return lambda count: None

    return begin


def _shuffled(images: Images, count: int) -> Images:
    """So many of the images, in a fixed order by chance: crops of one photograph come one after another."""
    order = np.random.default_rng(0).permutation(len(images.pixels))[:count]
    return replace(images, pixels=images.pixels[np.sort(order) if images.source == BUILT_IN else order])


def _merged(runs: Sequence[Json]) -> list[Json]:
    """The codecs of several runs on the same images: of each model its highest effort, then the peers."""
    ours = [max((codec for codec in run["codecs"] if "effort" in codec), key=lambda codec: int(codec["effort"]))
            | {"label": run["model"]["name"], "model": run["model"]["name"]} for run in runs]
    return [*ours, *(codec for codec in runs[0]["codecs"] if "effort" not in codec)]


def _kept(codec: Json) -> Json:
    """What docs/placeholders.json has of a codec."""
    kept = ("budget", "fitted", "of", "bytes")
    points = [{name: point[name] for name in kept if name in point}
              | {metric: {end: round(value, 4) for end, value in figure.items() if value is not None}
                 for metric, figure in point.get("metrics", {}).items()} for point in codec.get("points", ())]
    told = ("name", "label", "settings", "unavailable", "smallest_file")
    return {name: codec[name] for name in told if name in codec} | {"points": points}


def _points(codec: Json) -> dict[int, Json]:
    """Of a codec, at the budgets where all images fit."""
    return {point["budget"]: point for point in codec.get("points", ()) if point["fitted"] == point["of"]}


def _value(point: Json, metric: str) -> float:
    value = point["metrics"][metric]["value"]
    return math.inf if value is None else float(value)


def _label(codec: Json) -> str:
    return f"`{codec['label']}`" if "model" in codec else str(codec["label"])


def _grid(codecs: Sequence[Json], metric: str) -> str:
    """A metric of all codecs at all budgets; the best of a column in bold."""
    _, digits, sign = METRICS[metric]
    there = [codec for codec in codecs if "points" in codec]
    best = {budget: max((sign * _value(_points(codec)[budget], metric) for codec in there if budget in _points(codec)),
                        default=None) for budget in BUDGETS}
    rows = []
    for codec in there:
        cells, before = [], None
        for point in codec["points"]:
            if point["fitted"] < point["of"]:
                cells.append(f"{point['fitted']:,} of {point['of']:,} fit" if point["fitted"] else "")
                continue
            value = _value(point, metric)
            wins = sign * value == best[point["budget"]]
            cells.append(f"**{value:.{digits}f}**" if wins else "=" if value == before else f"{value:.{digits}f}")
            before = value
        rows.append([_label(codec), *cells])
    missing = [f"{codec['label']} ({codec['unavailable']})" for codec in codecs if "unavailable" in codec]
    return table([METRICS[metric][0], *(f"{budget} B" for budget in BUDGETS)], rows) + (
        f"\n\nTook no part: {'; '.join(missing)}." if missing else "")


def _natural(found: dict[str, list[Json]]) -> str:
    """Each placeholder of one size, and ours in as many bytes, or characters where it is text."""
    models = [codec for codec in found["faces"] if "model" in codec]
    rows = []
    for kind, codecs in found.items():
        for peer in codecs:
            sizes = {point["bytes"] for point in _points(peer).values()}
            if "model" in peer or len(sizes) != 1:
                continue
            size = int(sizes.pop())
            theirs = _points(peer)[size]
            text = peer["name"] in TEXTS
            cells = []
            for codec in codecs:
                if "model" in codec:
                    ours = _points(codec).get(CHARACTERS[size] if text else size)
                    cells.append("does not fit" if ours is None else ", ".join(
                        f"{_value(ours, metric) - _value(theirs, metric):+.{digits}f}"
                        for metric, (_, digits, _) in METRICS.items()))
            rows.append([kind, peer["label"], f"{size} characters" if text else f"{size} bytes",
                         ", ".join(f"{_value(theirs, metric):.{digits}f}"
                                   for metric, (_, digits, _) in METRICS.items()), *cells])
    names = ", ".join(name for name, *_ in METRICS.values())
    return table(["data", "placeholder", "size", f"its {names}", *(f"{_label(codec)}: difference" for codec in models)],
                 rows)


def _losses(found: dict[str, list[Json]]) -> str:
    """Where a peer in as many bytes is better than each model, and by how much."""
    rows = []
    for kind, codecs in found.items():
        for ours in (codec for codec in codecs if "model" in codec):
            for metric, (name, digits, sign) in METRICS.items():
                lost = []
                for budget, point in _points(ours).items():
                    rivals = [(sign * (_value(_points(peer)[budget], metric) - _value(point, metric)), peer["label"])
                              for peer in codecs if "model" not in peer and budget in _points(peer)]
                    ahead, rival = max(rivals, default=(0.0, ""))
                    if ahead > 0:
                        lost.append((rival, budget, ahead))
                told = [f"{rival} at {', '.join(f'{budget} ({ahead:.{digits}f})' for _, budget, ahead in some)}"
                        for rival, some in groupby(lost, lambda one: one[0])]
                rows.append([kind, _label(ours), name, "; ".join(told) or "nowhere"])
    return table(["data", "model", "figure", "who is better, at how many bytes, and by how much"], rows)


def _times(codecs: Sequence[Codec], images: Sequence[Pixels]) -> dict[str, tuple[float, float]]:
    """Milliseconds of a processor that an image takes to encode and to decode; JPEG and WebP at half a side."""
    found = {codec.info.name: _median_ms(codec.encode, codec.decode, images) for codec in codecs}
    small = [resized(image, SIDE // 2, Image.Resampling.LANCZOS) for image in images]
    for peer in PLACEHOLDERS:
        if peer.name not in PEERS or peer.unavailable(SIDE):
            continue
        if isinstance(peer, FileCodec):
            found[peer.label] = _median_ms(partial(_middling, peer), peer.decode, small)
        elif isinstance(peer, Placeholder):
            found[peer.label] = _median_ms(peer.encode, partial(_at_full_side, peer.decode), images)
        else:
            found[peer.label] = _median_ms(_traced, partial(_at_full_side, rendered), images)
    return found


def _middling(codec: FileCodec, image: Pixels) -> bytes:
    return codec.encode(image, codec.steps // 2)


def _traced(image: Pixels) -> str:
    return "".join(traced(image, *TRACED[0]))


def _at_full_side(decode: Callable[[Any, int], Pixels], code: Any) -> Pixels:
    return decode(code, SIDE)


def _median_ms(encode: Callable[[Any], Any], decode: Callable[[Any], Any], images: Sequence[Pixels]
               ) -> tuple[float, float]:
    """Of the images after the first, which has what is loaded once."""
    took = []
    for image in images:
        began = process_time()
        code = encode(image)
        between = process_time()
        decode(code)
        took.append((between - began, process_time() - between))
    encoding, decoding = (1e3 * median(times) for times in zip(*took[1:], strict=True))
    return encoding, decoding


def _decoders(codecs: Sequence[Codec]) -> str:
    """Bytes that a reader must have before the first placeholder."""
    rows = []
    for name, (archive, member) in MODULES.items():
        path = ROOT / archive
        if path.is_file():
            with tarfile.open(path) as tar:
                content = tar.extractfile(member)
                assert content is not None
                module = content.read()
            rows.append([name, f"its authors' module, {member.rsplit('/', 1)[1]} of {path.stem}, which encodes too",
                         f"{len(module):,}", f"{len(gzip.compress(module, 9, mtime=0)):,}"])
        else:
            rows.append([name, f"not measured: {archive} is not there (`make placeholders` fetches it)", "", ""])
    headers = [placeholders.known_header(tables, SIDE) for tables in range(placeholders.TABLES)]
    rows += [[f"JPEG, {count} shared header{'s' * (count > 1)}", "the headers; the decoder is the browser's",
              f"{len(b''.join(headers[:count])):,}", f"{len(gzip.compress(b''.join(headers[:count]), 9, mtime=0)):,}"]
             for count in (1, len(headers))]
    rows += [["WebP, bare", "container and start code; the decoder is the browser's", str(placeholders.VP8_KNOWN), ""],
             ["Traced SVG", "the names of elements and attributes; the renderer is the browser's",
              f"{len(placeholders.svg('M0 0#000')) - len('M0 0#000'):,}", ""],
             ["BC1", "the GPU's, where a browser offers it; otherwise code of one's own, not measured", "", ""]]
    for codec in codecs:
        weights = codec.info.path.read_bytes()
        rows.append([f"`{codec.info.name}`", "weights, as they ship; there is no decoder for browsers yet",
                     f"{len(weights):,}", f"{len(gzip.compress(weights, 6, mtime=0)):,}"])
    size = sum(path.stat().st_size for entry in files("torch") or () if (path := Path(str(entry.locate()))).is_file())
    rows.append(["all of ours", f"torch {torch.__version__}, as installed here, where decoding runs", f"{size:,}", ""])
    return table(["", "what is counted", "bytes", "with gzip"], rows)


def _curve(codec: Json) -> list[tuple[float, float]]:
    """Bytes and PSNR of a model's prefixes and budgets, rising in both."""
    points = {(one["bytes"], one["psnr_of_mean_error"]["value"]) for one in codec["prefixes"]}
    points |= {(point["bytes"], _value(point, "psnr_of_mean_error")) for point in _points(codec).values()}
    rising: list[tuple[float, float]] = []
    for size, psnr in sorted(points):
        if not rising or psnr > rising[-1][1]:
            rising.append((size, psnr))
    return rising


def bytes_for(curve: Sequence[tuple[float, float]], psnr: float) -> float | None:
    """Bytes of a rising curve at a PSNR, between its points in a straight line; None above it, its first below it."""
    if psnr > curve[-1][1]:
        return None
    return float(np.interp(psnr, [quality for _, quality in curve], [size for size, _ in curve]))


def _pays(found: dict[str, list[Json]], codecs: Sequence[Codec]) -> str:
    """From how many images on what a model saves at a peer's PSNR is more than its weights."""
    weights = {codec.info.name: codec.info.path.stat().st_size for codec in codecs}
    rows = []
    for kind, measured in found.items():
        ours = [codec for codec in measured if "model" in codec]
        for peer in measured:
            if "model" in peer:
                continue
            sizes = {point["bytes"]: point for budget, point in _points(peer).items()
                     if budget in PAID or len({one["bytes"] for one in _points(peer).values()}) == 1}
            for size, point in sizes.items():
                text = 4 / 3 if peer["name"] in TEXTS else 1
                cells = []
                for codec in ours:
                    needed = bytes_for(_curve(codec), _value(point, "psnr_of_mean_error"))
                    saved = -math.inf if needed is None else size - text * needed
                    cells.append("never: not as good" if needed is None else
                                 f"{text * needed:.0f}: never" if saved <= 0 else
                                 f"{text * needed:.0f}: {math.ceil(weights[codec['model']] / saved):,}")
                rows.append([kind, peer["label"], f"{size:.0f}", *cells])
    return table(["data", "instead of", "bytes", *(f"`{name}` ({size:,} bytes)" for name, size in weights.items())],
                 rows)


def _rows(wanted: Sequence[tuple[str | None, int]], codecs: Sequence[Json], strips: dict[str, Json]
          ) -> Iterator[tuple[str, Pixels]]:
    """Label and strip of the pictures of codecs at budgets; None stands for every model."""
    yield "original", _strip(strips["originals"][""])
    for name, budget in wanted:
        for codec in codecs:
            if (codec["name"] == name if name else "model" in codec) and str(budget) in strips.get(codec["name"], {}):
                size = _points(codec).get(budget, {}).get("bytes", budget)
                unit = "characters" if codec["name"] in TEXTS else "bytes"
                yield f"{codec['label']}\n{size:.0f} {unit}", _strip(strips[codec["name"]][str(budget)])


def _strip(uri: str) -> Pixels:
    """The first of the pictures."""
    whole = np.asarray(Image.open(BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB"))
    return whole[:, : COLUMNS * SIDE]


def _write_sheet(path: Path, rows: Sequence[tuple[str, Pixels]]) -> None:
    """Strips one below another, enlarged, their labels on the left."""
    sheet = Image.new("RGB", (LABEL_WIDTH + SCALE * rows[0][1].shape[1], SCALE * SIDE * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, (label, strip) in enumerate(rows):
        top = SCALE * SIDE * number
        draw.multiline_text((6, top + SCALE * SIDE // 2), label.replace("×", "x"), "black", font, anchor="lm")
        sheet.paste(Image.fromarray(strip.repeat(SCALE, 0).repeat(SCALE, 1)), (LABEL_WIDTH, top))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=True) as file:
        write_picture(Whole(np.asarray(sheet)), file)


def _rows_told(codecs: Sequence[Codec]) -> str:
    names = ", ".join(f"`{codec.info.name}`" for codec in codecs)
    return f"Of ours: {names}, at the highest effort. Images by chance, not chosen."


def _provenance(results: Json, codecs: Sequence[Codec]) -> str:
    known = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    models = ", ".join(f"`{codec.info.name}` ({codec.info.id.hex()}, {codec.resolution}×{codec.resolution}, "
                       f"{codec.info.config.bits:,} bits)" for codec in codecs)
    machine = results["machine"]
    return f"{models}; {machine['cpu']}, {torch.get_num_threads()} of {machine['cores']} cores; {known}."


if __name__ == "__main__":
    typer.run(main)

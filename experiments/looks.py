"""Measures the looks of the shipped models, and writes the tables and sheets of docs/looks.md.

    python experiments/looks.py                                # final figures, on images never used for choosing
    python experiments/looks.py --model binddn --dry-run       # of one model, only printed
    python experiments/looks.py --search RUN --search RUN …    # the table of trainings, from their folders' logs

Faces are those of the published test seeds; for `photos` the crops of held-out photographs that `make photos` cut.
Text between `<!-- looks: NAME -->` and `<!-- /looks -->` is written by this file alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from flatness import fine_energy
from markers import filled, table
from photos import PHOTOS
from sheet import save_sheet

from ddncodec import zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.evaluation.data import BUILT_IN, load
from ddncodec.evaluation.told_apart import told_apart
from ddncodec.files import atomic_write
from ddncodec.images import Pixels, grid
from ddncodec.latent import Latent
from ddncodec.looks import FAITHFUL, NATURAL, looks_of
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.metrics.kernel import kernel_distance
from ddncodec.metrics.sliced import sliced_distance
from ddncodec.metrics.spectrum import band_ratios
from ddncodec.metrics.texture import texture_features
from ddncodec.pixels import to_tensor

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/looks.md"
SHEETS = ROOT / "docs/pictures"
MODELS = {"binddn": BUILT_IN, "k512": BUILT_IN, "photos": str(PHOTOS / "held-out")}
FLAT = PHOTOS / "flat"
BYTES = {144: 1, 72: 2, 24: 6}  # of picks, and by what the levels are divided for so many
BATCH = 64
SHOWN, EVERY, WORST = 8, 30, 12  # images in a sheet; of how many one is shown
MARGIN = 2  # pixels at the borders that a shift may change
HEAD = ("bytes", "look", "PSNR, dB", "power in bands from 25, 31, 37 and 44% on", "Fréchet, texture", "kernel, texture",
        "sliced", "shift of red, green, blue", "told apart", "precision", "recall", "log-odds")


def main(
    model: Annotated[list[str] | None, typer.Option(help="Only this one; several times.")] = None,
    images: Annotated[int | None, typer.Option(help="Take the first N images.")] = None,
    search: Annotated[list[Path] | None, typer.Option(help="Folders of trainings to tabulate instead.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written.")] = False,
) -> None:
    """Measure, print, and write."""
    tables = {}
    if search:
        tables["search"] = trainings(search)
    for name in [] if search else model or MODELS:
        info = zoo.find(name)
        if NATURAL not in looks_of(info):
            typer.echo(f"{name} has no natural look", err=True)
            continue
        originals = load(MODELS.get(name, BUILT_IN), info.config.resolution, images).pixels
        tables[name] = measured(load_weights(info), originals, None if dry_run else SHEETS)
    typer.echo("\n\n".join(f"{name}\n{text}" for name, text in tables.items()))
    if not dry_run:
        with atomic_write(DOCUMENT, overwrite=True) as file:
            file.write(filled(DOCUMENT.read_text(encoding="utf-8"), "looks", tables).encode())


def trainings(runs: Sequence[Path]) -> str:
    """A line for each training of a look: what its last validation found."""
    rows = []
    for run in runs:
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        last = [line for line in lines if "psnr" in line][-1]
        rows.append([run.name, f"{last['step']:,}", f"{last['psnr'][0]:.2f}",
                     " ".join(f"{share:.2f}" for share in last["bands"][0]),
                     *(f"{distance:.2f}" for distance in last["distance"]), f"{np.abs(last['means']).max():.2f}"])
    return table(["training", "steps", "PSNR, dB", "power in bands", "sliced, 144 bytes", "72 bytes", "24 bytes",
                  "largest shift of a channel"], rows)


def measured(codec: Codec, originals: Pixels, sheets: Path | None) -> str:
    """The table of a model's looks at each length, and what holds for whole streams alone; sheets go to a folder."""
    latents = [latent for part in _batches(originals) for latent in codec.encode_batch(list(part))]
    looks = {name: codec.with_look(name) for name in (FAITHFUL, NATURAL)}
    drawn = {(size, name): _decoded(look, [latent.prefix(codec.levels // part) for latent in latents])
             for size, part in BYTES.items() for name, look in looks.items()}
    rows = [[str(size), name, *_shown(figures_of(originals, decoded))] for (size, name), decoded in drawn.items()]
    shifted = {name: under_shifts(look, originals[:BATCH]) for name, look in looks.items()}
    text = table(HEAD, rows) + (
        f"\n\n{len(originals):,} images. Where an original is shifted by a pixel, and its picture back, the picture "
        f"changes by {shifted[FAITHFUL]:.2f} (faithful) and {shifted[NATURAL]:.2f} (natural) of 255, root mean square.")
    if FLAT.is_dir():
        flat = load(str(FLAT), codec.resolution).pixels
        shares = {name: fine_energy(_decoded(look, codec.encode_batch(list(flat)))).mean() / fine_energy(flat).mean()
                  for name, look in looks.items()}
        text += (f" Fine energy in {len(flat)} nearly flat crops, in shares of the originals' (more than 1.1 is a "
                 f"pattern): {shares[FAITHFUL]:.2f} faithful, {shares[NATURAL]:.2f} natural.")
    if sheets is not None:
        some = slice(None, None, EVERY) if len(originals) >= SHOWN * EVERY else slice(None)
        columns = [originals[some][:SHOWN], *(drawn[size, name][some][:SHOWN] for size in sorted(BYTES)
                                              for name in looks)]
        save_sheet(sheets / f"looks-{codec.info.name}.png", grid(list(chain(*columns)), len(columns[0])))
        lost = squared_errors(originals, drawn[144, NATURAL]) - squared_errors(originals, drawn[144, FAITHFUL])
        worst = np.argsort(-lost)[:WORST]
        columns = [part[worst] for part in (originals, drawn[144, FAITHFUL], drawn[144, NATURAL])]
        save_sheet(sheets / f"looks-{codec.info.name}-worst.png", grid(list(chain(*columns)), len(worst)))
    return text


def figures_of(originals: Pixels, decoded: Pixels) -> dict[str, Any]:
    """What is measured of decoded pictures; docs/looks.md says what each figure is."""
    theirs, ours = to_tensor(originals), to_tensor(decoded)
    features = texture_features(theirs), texture_features(ours)
    return {
        "psnr": psnr(float(squared_errors(originals, decoded).mean())), "power": band_ratios(ours, theirs),
        "fd_texture": frechet_distance(*features), "kd_texture": 1_000 * kernel_distance(*features),
        "sliced": sliced_distance(ours, theirs), "means": (decoded.astype(float) - originals).mean((0, 1, 2)).tolist(),
        **asdict(told_apart(originals, decoded)),
    }


def _shown(figures: dict[str, Any]) -> list[str]:
    return [f"{figures['psnr']:.2f}", " ".join(f"{power:.2f}" for power in figures["power"]),
            f"{figures['fd_texture']:.2f}", f"{figures['kd_texture']:.1f}", f"{figures['sliced']:.2f}",
            " ".join(f"{mean:+.2f}" for mean in figures["means"]), f"{figures['accuracy']:.1%}",
            *(f"{figures[name]:.2f}" for name in ("precision", "recall", "log_odds"))]


def under_shifts(codec: Codec, originals: Pixels) -> float:
    """By how much, in 8-bit steps, pictures change where originals are shifted by a pixel, and the pictures back."""
    still = _decoded(codec, codec.encode_batch(list(originals))).astype(float)
    changes = []
    for axis in (1, 2):
        moved = _decoded(codec, codec.encode_batch(list(np.roll(originals, 1, axis))))
        apart = np.roll(moved, -1, axis) - still
        changes.append(np.square(apart[:, MARGIN:-MARGIN, MARGIN:-MARGIN]).mean())
    return float(np.sqrt(np.mean(changes)))


def _decoded(codec: Codec, latents: Sequence[Latent]) -> Pixels:
    return np.stack([picture for part in _batches(latents) for picture in codec.decode_batch(part)])


def _batches(items: Any) -> Any:
    return (items[first : first + BATCH] for first in range(0, len(items), BATCH))


if __name__ == "__main__":
    typer.run(main)

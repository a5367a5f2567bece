"""`ddncodec info`: what .ddn files say of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ddncodec import container, zoo
from ddncodec.errors import UnknownWeights
from ddncodec.looks import looks_of
from ddncodec.weights import WeightsInfo
from ddncodec_cli import options
from ddncodec_cli.archives import archive_facts, is_archive, show_archive
from ddncodec_cli.jobs import Failures, printable, read_bytes
from ddncodec_cli.weights import read_bare, require_model


def info(
    files: options.Streams,
    partial: options.Partial = False,
    bare: options.Bare = False,
    model: options.BareModel = None,
    as_json: options.Json = False,
) -> None:
    """Show what .ddn files and archives hold, without decoding them."""
    of = require_model(bare, model, partial)
    failures = Failures()
    found = []
    for path in files:
        with failures.guard(path):
            found.append(archive_facts(path, failures, _known) if not of and is_archive(path) else
                         _facts(path, partial, of))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for facts in found:
            (show_archive if "images" in facts else _show)(facts)
    raise typer.Exit(failures.exit_code)


def _facts(path: Path, partial: bool, of: WeightsInfo | None) -> dict[str, Any]:
    data = read_bare(path) if of else read_bytes(path, container.MAX_FILE)
    size = len(data)
    levels, whole = None, size  # of the whole file
    if of:
        stream = of.bare_stream(data)
    elif partial:
        stream, levels, whole = container.partial_from_bytes(data)
    else:
        stream = container.from_bytes(data)
    latent = stream.latent
    model = of or _known(stream.weights_id)
    earlier = dict(model.earlier).get(stream.weights_id) if model else None
    return {
        "file": str(path),
        "bytes": size,
        "bytes_of_whole": whole,
        "levels_of_whole": levels or latent.levels,
        "bare": of is not None,
        "version": None if of else container.VERSION,
        "width": stream.width,
        "height": stream.height,
        "k": latent.k,
        "levels": latent.levels,
        "levels_of_model": model.config.levels if model else None,
        "bits": latent.bits,
        "bits_per_pixel": 8 * size / (stream.width * stream.height),
        "weights": stream.weights_hex,
        "model": model.name if model else None,  # of a bare stream, the one that was named
        "deviation": earlier,  # from what earlier weights drew, in 8-bit steps; None if it is of those that are here
        "looks": looks_of(model) if model else [],
        "icc_bytes": len(stream.icc) if stream.icc else 0,
        "comment": stream.comment,
    }


def _known(weights_id: bytes) -> WeightsInfo | None:
    """The model here that decodes streams of the weights with that id."""
    try:
        return zoo.find_id(weights_id)
    except UnknownWeights:
        return None


def _show(facts: dict[str, Any]) -> None:
    of = f" of {facts['levels_of_model']:,}" if facts["levels_of_model"] else ""
    lines = {
        "image": f"{facts['width']} × {facts['height']} pixels" + " (the aspect ratio alone is known)" * facts["bare"],
        "size": f"{facts['bytes']:,} bytes, {facts['bits_per_pixel']:.4f} bits a pixel",
        "latent": f"{facts['levels']:,}{of} levels, K = {facts['k']:,}: {facts['bits']:,} bits",
        "weights": f"{facts['weights']} ({facts['model'] or 'not among the models here'})"
                   + ", as --model says" * facts["bare"],
    }
    if facts["deviation"] is not None:
        lines["weights"] += f", earlier ones: pictures changed by up to {facts['deviation']} of 255 since"
    if len(facts["looks"]) > 1:
        lines["looks"] = ", ".join(facts["looks"])
    if facts["bytes"] < facts["bytes_of_whole"]:
        lines["broken"] = (f"it broke off, unchecked: {facts['bytes']:,} of {facts['bytes_of_whole']:,} bytes, "
                           f"{facts['levels']:,} of {facts['levels_of_whole']:,} levels")
    if facts["icc_bytes"]:
        lines["profile"] = f"{facts['icc_bytes']:,} bytes of ICC"
    if facts["comment"] is not None:
        lines["comment"] = printable(facts["comment"])
    typer.echo(printable(facts["file"]))
    for name, text in lines.items():
        typer.echo(f"  {name:8} {text}")

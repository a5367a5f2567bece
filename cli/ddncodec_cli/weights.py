"""What a command decodes, and which weights it decodes with."""

from __future__ import annotations

from pathlib import Path

import typer

from ddncodec import bare, container, zoo
from ddncodec.container import Stream
from ddncodec.errors import UnknownWeights
from ddncodec.weights import WeightsInfo
from ddncodec_cli.jobs import read_bytes


def weights_of(weights_id: bytes, model: str | None) -> WeightsInfo:
    """Those that --model names, or else those that a .ddn file names. Raises UnknownWeights, BadCheckpoint."""
    if model:
        return zoo.find(model)
    try:
        return zoo.find_id(weights_id)
    except UnknownWeights as error:
        raise UnknownWeights(f"{error}; give their file with --model") from None


def require_model(is_bare: bool, model: str | None, partial: bool = False) -> WeightsInfo | None:
    """The weights of bare streams, which do not name them; None for files. Raises UnknownWeights, BadParameter."""
    if not is_bare:
        return None
    if not model:
        raise typer.BadParameter("--bare wants --model: a bare stream does not name its model")
    if partial:
        raise typer.BadParameter("--partial is for files: of a bare stream nobody knows that it broke off")
    return zoo.find(model)


def read_bare(source: Path) -> bytes:
    """A bare stream or its text, not yet checked. Raises InputMissing."""
    return read_bytes(source, bare.MAX_TEXT)


def read_stream(source: Path, of: WeightsInfo | None) -> Stream:
    """The stream in an input. of: the weights of a bare stream; None for a file. Raises DdnError."""
    return of.bare_stream(read_bare(source)) if of else container.from_bytes(read_bytes(source, container.MAX_FILE))


def read_partial(source: Path) -> tuple[Stream, str | None]:
    """The stream in a file that may have broken off, and after what it did. Raises DdnError."""
    data = read_bytes(source, container.MAX_FILE)
    found = container.partial_from_bytes(data)
    return found.stream, None if len(data) == found.bytes else (
        f"after {len(data):,} of {found.bytes:,} bytes, unchecked: "
        f"{found.stream.latent.levels:,} of {found.levels:,} levels")

"""What a command decodes, and which weights it decodes with."""

from __future__ import annotations

from pathlib import Path

from ddncodec import container, zoo
from ddncodec.container import Stream
from ddncodec.errors import UnknownWeights
from ddncodec.weights import WeightsInfo
from ddncodec_cli.jobs import complain, read_bytes


def weights_of(weights_id: bytes, model: str | None) -> WeightsInfo:
    """Those that --model names, or else those that a .ddn file names. Raises UnknownWeights, BadCheckpoint."""
    if model:
        return zoo.find(model)
    try:
        return zoo.find_id(weights_id)
    except UnknownWeights as error:
        raise UnknownWeights(f"{error}; give their file with --model") from None


def read_stream(source: Path, partial: bool) -> Stream:
    """The stream in an input; partial: also in one that broke off, which is told. Raises DdnError."""
    data = read_bytes(source, container.MAX_FILE)
    if not partial:
        return container.from_bytes(data)
    found = container.partial_from_bytes(data)
    if len(data) < found.bytes:
        complain(f"{source}: it broke off after {len(data):,} of {found.bytes:,} bytes, unchecked: "
                 f"{found.stream.latent.levels:,} of {found.levels:,} levels")
    return found.stream

"""Which weights a command decodes with."""

from __future__ import annotations

from ddncodec import zoo
from ddncodec.errors import UnknownWeights
from ddncodec.weights import WeightsInfo


def weights_of(weights_id: bytes, model: str | None) -> WeightsInfo:
    """Those that --model names, or else those that a .ddn file names. Raises UnknownWeights, BadCheckpoint."""
    if model:
        return zoo.find(model)
    try:
        return zoo.find_id(weights_id)
    except UnknownWeights as error:
        raise UnknownWeights(f"{error}; give their file with --model") from None

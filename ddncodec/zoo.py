"""Which weights are here: the checkpoints that the package ships, and files given by path. Needs no torch."""

from __future__ import annotations

from functools import cache
from os.path import isfile  # unlike a Path's method, false for a name that is too long
from pathlib import Path

import ddncodec_models
from ddncodec.errors import UnknownWeights
from ddncodec.weights import WeightsInfo, read_info

DEFAULT = "binddn"


@cache
def shipped() -> tuple[WeightsInfo, ...]:
    """The checkpoints of the zoo, by name; they are read once a process."""
    return tuple(read_info(path) for path in ddncodec_models.weights_files())


def find(name_or_path: str) -> WeightsInfo:
    """The zoo's checkpoint of that name, or else the weights file at that path.

    Raises UnknownWeights where it is neither, BadCheckpoint where it is a file but not of weights.
    """
    for path in ddncodec_models.weights_files():
        if path.parent.name == name_or_path:
            return read_info(path)
    if not isfile(name_or_path):
        names = ", ".join(path.parent.name for path in ddncodec_models.weights_files())
        raise UnknownWeights(f"no model or weights file named {name_or_path}; the models here are {names}")
    return read_info(Path(name_or_path))


def find_id(weights_id: bytes) -> WeightsInfo:
    """The zoo's checkpoint with that id. Raises UnknownWeights."""
    for info in shipped():
        if info.id == weights_id:
            return info
    raise UnknownWeights(f"it was made with the weights {weights_id.hex()}, which are not among the models here; "
                         "give their file with --model")

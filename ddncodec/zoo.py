"""Which weights are here: the checkpoints that the package ships, and files given by path. Needs no torch."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike
from os.path import isfile  # unlike a Path's method, false for a name that is too long
from pathlib import Path

import ddncodec_models
from ddncodec.errors import UnknownWeights
from ddncodec.weights import WeightsInfo, may_decode, read_info

DEFAULT = "binddn"
AUTO = "auto"  # for a name: all that ship and are unconditional


def list_models() -> list[str]:
    """List the models that ship, in alphabetical order; needs no torch.

    Returns:
        The names that `load_model`, `encode` and `sample` take.

    Examples:
        >>> import ddncodec
        >>> "binddn" in ddncodec.list_models()
        True
    """
    return [path.parent.name for path in ddncodec_models.weights_files()]


def shipped() -> tuple[WeightsInfo, ...]:
    """The checkpoints of the zoo, by name."""
    return tuple(_info(path) for path in ddncodec_models.weights_files())


def find(name_or_path: str | PathLike[str]) -> WeightsInfo:
    """The zoo's checkpoint of that name, or else the weights file at that path.

    Raises UnknownWeights where it is neither, BadCheckpoint where it is a file but not of weights.
    """
    for path in ddncodec_models.weights_files():
        if path.parent.name == name_or_path:
            return _info(path)
    if not isfile(name_or_path):
        names = ", ".join(list_models())
        raise UnknownWeights(f"no model or weights file named {name_or_path}; the models here are {names}")
    return _info(Path(name_or_path))


def unconditional() -> tuple[WeightsInfo, ...]:
    """The checkpoints of the zoo that encode images: a file does not hold a condition."""
    return tuple(info for info in shipped() if info.config.condition is None)


def find_several(names: str) -> tuple[WeightsInfo, ...]:
    """The checkpoints that names or paths with commas between them ask for; `auto` is `unconditional`.

    A file whose own path has a comma is that file. Raises as `find`.
    """
    if names == AUTO:
        return unconditional()
    each = [names] if isfile(names) else names.split(",")
    return tuple(dict.fromkeys(find(name) for name in each))


def find_id(weights_id: bytes) -> WeightsInfo:
    """The zoo's checkpoint that decodes streams of the weights with that id. Raises UnknownWeights."""
    # To hash a file takes a while: those that state the id come first, then small ones.
    for path in sorted(ddncodec_models.weights_files(),
                       key=lambda path: (not may_decode(path, weights_id), path.stat().st_size)):
        info = _info(path)
        if weights_id in info.ids:
            return info
    raise UnknownWeights(f"it was made with the weights {weights_id.hex()}, which are not among the models here")


def prior_path(info: WeightsInfo) -> Path:
    """Where the prior of weights is looked for: beside them, NAME.prior.safetensors."""
    return info.path.with_suffix(".prior.safetensors")


def _info(path: Path) -> WeightsInfo:
    """What a weights file says of itself; hashing it takes time, and so it is read once, and again where it changed."""
    state = path.stat()
    return _read(path, state.st_ino, state.st_mtime_ns)


@lru_cache
def _read(path: Path, inode: int, modified: int) -> WeightsInfo:
    return read_info(path)

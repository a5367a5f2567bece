"""Looks: other refiners of the same shape, in small files beside the weights, for the same files and the same bits.

A look is a safetensors file NAME.LOOK.safetensors beside NAME.safetensors. Tensors: those of the weights' refiner, in
half precision, by their names in it. Metadata: `format`, `look` (its name) and `weights`, the id of the weights that it
belongs to, in hexadecimal. Needs no torch; what a file says is not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddncodec.errors import BadCheckpoint, DdnError, UnknownWeights
from ddncodec.files import atomic_write, open_input
from ddncodec.weights import Place, WeightsInfo, read_header, tensor_places

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT = "ddncodec-look-1"
FAITHFUL, NATURAL = "faithful", "natural"  # the weights' own refiner; one that draws likely detail
REFINER = "refiner."  # what the names of a refiner's tensors begin with in a weights file
_NAME = re.compile("[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A refiner's tensors, float16, by their names in it. path: their file. places: where the weights have theirs."""

    name: str
    path: Path
    tensors: Mapping[str, npt.NDArray[np.float16]]
    places: Mapping[str, Place]


def look_path(info: WeightsInfo, name: str) -> Path:
    """Where a look of weights is looked for: beside them, NAME.LOOK.safetensors."""
    return info.path.with_suffix(f".{name}{info.path.suffix}")


def looks_of(info: WeightsInfo) -> list[str]:
    """The looks that weights have here, `faithful` first."""
    beside = sorted(path.name.split(".")[-2] for path in info.path.parent.glob(f"{info.path.stem}.*{info.path.suffix}"))
    found = [FAITHFUL]
    for name in beside:
        try:
            _require_look(info, name)
            found.append(name)
        except DdnError:  # a prior, or a look of other weights
            continue
    return found


def load_look(info: WeightsInfo, name: str) -> Look:
    """The look of weights that lies beside them, by its name.

    Raises:
        UnknownWeights: They have no such look, or it is one of other weights than these or earlier ones.
        BadCheckpoint: It is damaged, or no look, or has other tensors than the weights' refiner.
    """
    if not _NAME.fullmatch(name) or not look_path(info, name).is_file():
        raise UnknownWeights(f"{info.name} has no look {name!r}; it has {', '.join(looks_of(info))}")
    import numpy as np
    from safetensors import SafetensorError, safe_open

    path = look_path(info, name)
    _require_look(info, name)
    places = {key.removeprefix(REFINER): place for key, place in tensor_places(info.path).items()
              if key.startswith(REFINER)}
    try:
        with safe_open(path, "numpy") as file:
            shapes = {key: list(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            if shapes != {key: place.shape for key, place in places.items() if place.kind == "F16"}:
                raise BadCheckpoint(f"its tensors are not those of {info.name}'s refiner", path)
            tensors = {key: file.get_tensor(key) for key in shapes}
    except (SafetensorError, ValueError, OSError) as error:
        raise BadCheckpoint(str(error), path) from None
    for key, values in tensors.items():
        if values.dtype != np.float16 or not np.isfinite(values).all():
            raise BadCheckpoint(f"{key} holds other values than finite numbers in half precision", path)
    return Look(name, path, tensors, places)


def save_look(path: Path, name: str, tensors: Mapping[str, npt.NDArray[np.float16]], info: WeightsInfo) -> None:
    """Write a look of these weights; `load_look` is the inverse. Overwrites. Raises OutputFailed."""
    from safetensors.numpy import save

    with atomic_write(path, overwrite=True) as file:
        file.write(save(dict(tensors), {"format": FORMAT, "look": name, "weights": info.id.hex()}))


def _require_look(info: WeightsInfo, name: str) -> None:
    """Check what a look's file says of itself. Raises InputMissing, BadCheckpoint, UnknownWeights."""
    path = look_path(info, name)
    with open_input(path) as file:
        metadata = read_header(file, path).metadata
    if (metadata.get("format"), metadata.get("look")) != (FORMAT, name):
        raise BadCheckpoint(f"not a look named {name}", path)
    weights = metadata.get("weights")
    if weights not in [known.hex() for known in info.ids]:
        raise UnknownWeights(f"it is a look of the weights {weights}, not of {info.name}, {info.id.hex()}", path)

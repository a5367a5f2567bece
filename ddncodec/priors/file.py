"""Prior files: counts of picks, tied to the weights whose picks they are, as safetensors. What they say is not trusted.

Tensors: `cells` (M,) int32, ascending, those in which anything was picked; `counts` (M, nodes) int16. Metadata:
`format`, and `weights`, the id in hexadecimal.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddncodec.errors import BadCheckpoint, UnknownWeights
from ddncodec.files import atomic_write, open_input
from ddncodec.network.base import CellTable
from ddncodec.priors.odds import Odds
from ddncodec.weights import WeightsInfo

FORMAT = "ddncodec-prior-1"
MOST = 2**15 - 1
TENSORS = {"cells": torch.int32, "counts": torch.int16}


def save_prior(path: Path, odds: Odds, info: WeightsInfo, *, overwrite: bool = True) -> None:
    """Write the odds of these weights; where a count is above int16, all are scaled down.

    Raises OutputExists, OutputFailed.
    """
    counts = odds.counts.cpu()
    scale = max(1.0, int(counts.max()) / MOST)
    seen = counts.sum(1).nonzero()[:, 0]
    tensors = {"cells": seen.int(), "counts": (counts[seen] / scale).round().short()}
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(save(tensors, {"format": FORMAT, "weights": info.id.hex()}))


def load_prior(path: Path, info: WeightsInfo, table: CellTable, device: torch.device) -> Odds:
    """The odds in a file.

    Args:
        path: The file.
        info: The weights that it must be of; those of earlier ones do as well, since picks mean the same.
        table: The cells of their network.
        device: Where the odds are to be.

    Raises:
        InputMissing: There is no such file.
        BadCheckpoint: It is damaged, or no prior.
        UnknownWeights: It is a prior of other weights.
    """
    open_input(path).close()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or set(file.keys()) != TENSORS.keys():
                raise BadCheckpoint("not a prior of ddncodec", path)
            if metadata.get("weights") not in {one.hex() for one in info.ids}:
                raise UnknownWeights(f"it is the prior of the weights {metadata.get('weights')}, not of {info.name}, "
                                     f"{info.id.hex()}; the command prior makes another", path)
            tensors = {name: file.get_tensor(name) for name in TENSORS}
    except (SafetensorError, ValueError, OSError) as error:
        raise BadCheckpoint(str(error), path) from None
    if wrong := _wrong(tensors, table):
        raise BadCheckpoint(wrong, path)
    counts = torch.zeros(table, dtype=torch.int16)
    counts[tensors["cells"].long()] = tensors["counts"]
    return Odds(counts.to(device))


def _wrong(tensors: dict[str, Tensor], table: CellTable) -> str | None:
    """What is wrong with the tensors of a file, if anything."""
    cells, counts = tensors["cells"], tensors["counts"]
    if any(tensors[name].dtype != dtype for name, dtype in TENSORS.items()):
        return "its tensors are of other types"
    if cells.dim() != 1 or counts.shape != (len(cells), table.nodes):
        return "its tensors have other shapes"
    if len(cells) and not (cells[0] >= 0 and cells[-1] < table.number and (cells[1:] > cells[:-1]).all()):
        return f"its cells are not some of {table.number}, in ascending order"
    return "it holds counts below zero" if (counts < 0).any() else None

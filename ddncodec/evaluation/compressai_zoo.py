"""CompressAI's zoo as peers, where the package is installed and its weights lie in torch's cache already."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ddncodec.evaluation.peers import Advance, Coded, Many, Tuned
from ddncodec.metrics.distortion import Pixels, squared_errors
from ddncodec.pixels import to_pixels, to_tensor

HEADER = 16  # bytes: its strings have no file format, so they are given as large a header as ours
STRIDE = 64  # its networks take multiples of this
BATCH = 16


@dataclass(frozen=True, slots=True)
class CompressAI:
    """One architecture, at all the qualities whose weights are here."""

    architecture: str
    label: str

    @property
    def name(self) -> str:
        return f"compressai-{self.architecture}"

    @property
    def settings(self) -> str:
        return f"CompressAI, qualities {self._qualities()}, trained for MSE; {HEADER} bytes of header"

    def unavailable(self, resolution: int) -> str | None:
        try:
            _zoo()
        except ImportError as error:
            return f"CompressAI is not installed: {error}"
        if resolution % STRIDE:
            return f"it takes images whose sides are multiples of {STRIDE} pixels"
        return None if self._qualities() else f"its weights are not in {_weights_folder()}"

    def _qualities(self) -> list[int]:
        try:
            urls = _zoo().model_urls[self.architecture]["mse"]
        except ImportError:
            return []
        return [quality for quality, url in urls.items() if (_weights_folder() / url.rsplit("/", 1)[1]).is_file()]

    def tune(self, images: Pixels, budgets: Sequence[int], many: Many, advance: Advance) -> Tuned:
        best: list[list[Coded | None]] = [[None] * len(images) for _ in budgets]
        least = np.full((len(budgets), len(images)), np.inf)
        smallest = np.full(len(images), np.iinfo(np.int64).max)
        qualities = self._qualities()
        for quality in qualities:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = getattr(_zoo(), self.architecture.replace("-", "_"))(quality=quality, pretrained=True).eval()
            for row, coded in enumerate(_coded(network, images)):
                smallest[row] = min(smallest[row], coded.size)
                error = float(squared_errors(images[row][None], coded.pixels[None])[0])
                for i, budget in enumerate(budgets):
                    if coded.size <= budget and error < least[i, row]:
                        least[i, row], best[i][row] = error, coded
        advance(len(images))
        return Tuned(best, smallest.tolist())


def _zoo() -> Any:
    from compressai.zoo import image

    return image


def _weights_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


@torch.no_grad()
def _coded(network: Any, images: Pixels) -> list[Coded]:
    """Each image as the strings of one network."""
    found = []
    for first in range(0, len(images), BATCH):
        part = images[first : first + BATCH]
        began = perf_counter()
        made = network.compress((to_tensor(part) + 1) / 2)
        between = perf_counter()
        shown = to_pixels(network.decompress(made["strings"], made["shape"])["x_hat"] * 2 - 1)
        encoding, decoding = (between - began) / len(part), (perf_counter() - between) / len(part)
        for row, pixels in enumerate(shown):
            size = sum(len(strings[row]) for strings in made["strings"])
            found.append(Coded(pixels, HEADER + size, size, encoding, decoding))
    return found


ZOO = (
    CompressAI("bmshj2018-factorized", "CompressAI factorized prior"),
    CompressAI("bmshj2018-hyperprior", "CompressAI hyperprior"),
    CompressAI("mbt2018-mean", "CompressAI mean–scale hyperprior"),
    CompressAI("cheng2020-anchor", "CompressAI Cheng 2020"),
)

"""What a run reports while it goes on: a log of JSON lines and pictures always, TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels, write_picture
from ddncodec.pixels import to_pixels

LOG_FILE, PREVIEW_FILE, SAMPLES_FILE, BOARD_FOLDER = "log.jsonl", "preview.png", "samples.png", "tensorboard"
BOARD_LEVELS = 64  # of so many levels, evenly spread, TensorBoard gets a curve each


class Clock:
    """How fast a run goes, in steps of `batch` images."""

    def __init__(self, batch: int) -> None:
        self._batch, self._steps, self._began = batch, 0, monotonic()

    def tick(self) -> None:
        """A step is done."""
        self._steps += 1

    @property
    def seconds(self) -> float:
        """Since the run began or went on."""
        return monotonic() - self._began

    @property
    def images_a_second(self) -> float:
        """Over all processes, everything included."""
        return self._steps * self._batch / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Measured:
    """A run as a validation finds it.

    levels: (L + 1,), mean squared errors of the last step's levels and of its output. picks: (L, K), how often each
    node was picked since the validation before. resolutions: of the L levels.
    """

    step: int
    loss: float
    psnr: float
    splits: int
    clock: Clock
    levels: Tensor
    picks: Tensor
    resolutions: Sequence[int]

    @property
    def usage(self) -> float:
        """Entropy of the picks in bits a level, averaged over the levels; log2 K where all nodes are used alike."""
        share = self.picks / self.picks.sum(1, keepdim=True).clamp(min=1)
        return float(torch.special.entr(share).sum(1).mean()) / float(np.log(2))

    @property
    def by_resolution(self) -> dict[int, float]:
        """The mean of the levels' errors at each resolution."""
        errors, sides = self.levels[:-1].cpu(), torch.tensor(self.resolutions)
        return {side: float(errors[sides == side].mean()) for side in sorted(set(self.resolutions))}


class Watch:
    """Writes to a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._board: Any = None
        if find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / BOARD_FOLDER))

    def write(self, measured: Measured, preview: Pixels, samples: Pixels) -> None:
        """A line of the log, and the pictures: reconstructions and random samples."""
        facts = {"step": measured.step, "loss": measured.loss, "psnr": measured.psnr, "splits": measured.splits,
                 "usage": measured.usage, "by_resolution": measured.by_resolution,
                 "seconds": round(measured.clock.seconds, 1),
                 "images_a_second": round(measured.clock.images_a_second, 1)}
        with open(self._folder / LOG_FILE, "a") as file:
            file.write(json.dumps(facts) + "\n")
        for name, pixels in ((PREVIEW_FILE, preview), (SAMPLES_FILE, samples)):
            with atomic_write(self._folder / name, overwrite=True) as picture:
                write_picture(Picture(pixels), picture)
        if self._board is not None:
            self._to_board(measured, preview, samples)

    def _to_board(self, measured: Measured, preview: Pixels, samples: Pixels) -> None:
        step, board = measured.step, self._board
        for name in ("loss", "psnr", "splits", "usage"):
            board.add_scalar(name, getattr(measured, name), step)
        board.add_scalar("images_a_second", measured.clock.images_a_second, step)
        for side, error in measured.by_resolution.items():
            board.add_scalar(f"error by resolution/{side}", error, step)
        levels = measured.levels[:-1].tolist()
        for level in sorted({round(i * (len(levels) - 1) / (BOARD_LEVELS - 1)) for i in range(BOARD_LEVELS)}):
            board.add_scalar(f"error by level/{level + 1:05}", levels[level], step)
        board.add_image("reconstructions", preview, step, dataformats="HWC")
        board.add_image("samples", samples, step, dataformats="HWC")
        board.flush()


def grid(rows: Iterable[Tensor]) -> Pixels:
    """One picture of rows of images (n, 3, R, R) in [−1, 1]."""
    return np.concatenate([np.concatenate(list(to_pixels(row)), axis=1) for row in rows])

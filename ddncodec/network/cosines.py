"""The two-dimensional discrete cosine transform, which images are smooth in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def cosine_matrix(side: int) -> npt.NDArray[np.float64]:
    """The orthonormal DCT-II as a matrix: (side, side), one wave a row."""
    frequency = np.arange(side)
    waves: npt.NDArray[np.float64] = np.cos(frequency[:, None] * (frequency + 0.5) * (np.pi / side)) * (2 / side) ** 0.5
    waves[0] *= 0.5**0.5
    return waves


def rising_frequencies(side: int) -> npt.NDArray[np.int64]:
    """The indices of the side² waves of the two-dimensional DCT, row by row, by rising frequency."""
    squares = np.arange(side) ** 2
    return np.argsort(np.add.outer(squares, squares), axis=None, kind="stable")


def cosine_planes(count: int, side: int) -> npt.NDArray[np.float32]:
    """The `count` orthonormal planes of lowest frequency of the side's two-dimensional DCT: (count, side²)."""
    down, across = cosine_factors(count, side)
    return np.asarray((down[:, :, None] * across[:, None, :]).reshape(count, side * side), np.float32)


def cosine_factors(count: int, side: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The waves (count, side), down and across, whose outer products are `cosine_planes`."""
    waves = cosine_matrix(side)
    height, width = np.divmod(rising_frequencies(side)[:count], side)
    return waves[height], waves[width]

"""The eigenface coder: principal components of the training seeds, and a uniform quantiser of an image's coefficients.

At an ideal entropy: each index costs −log2 of how often the training images had it, in a table for each component that
encoder and decoder share. Or at a fixed rate: whole bits, allotted to the components by reverse water-filling.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ddncodec.data.faces import FACES_PACKAGE, FACES_SIDE, TRAIN_SEEDS, Faces
from ddncodec.evaluation.peers import Advance, Coded, Many, Tuned
from ddncodec.metrics.distortion import Pixels
from ddncodec.pixels import to_pixels, to_tensor

Numbers = npt.NDArray[np.float32]

HEADER = 16  # bytes, as many as ours; the step's number stands where ours says the levels
TRAINING_IMAGES, COMPONENTS = 10_000, 1_000
STEPS_AN_OCTAVE, MAX_STEPS = 12, 200
LIMIT = 255  # indices of an entropy table end at ± this
UNSEEN = 0.02  # how often each index counts as seen besides
LOADINGS = np.linspace(0.5, 5, 16)  # half of a fixed-rate quantiser's range, in deviations


@dataclass(frozen=True, slots=True)
class Basis:
    """mean: (P,), of images of P = 3·R·R values in [−1, 1]. axes: (P, C). training: (N, C), their coefficients."""

    mean: Tensor
    axes: Tensor
    training: Numbers

    @classmethod
    def fit(cls, images: Tensor, components: int) -> Basis:
        """Of images (N, 3, R, R), by a randomised decomposition (Halko et al. 2011) with a fixed seed."""
        flat = images.flatten(1)
        mean = flat.mean(0)
        flat -= mean
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            axes = torch.pca_lowrank(flat, q=min(components, *flat.shape), center=False, niter=1)[2]
        return cls(mean, axes, (flat @ axes).numpy())

    def analyse(self, images: Pixels) -> Numbers:
        """Pixels (N, R, R, 3) → coefficients (N, C)."""
        coefficients: Numbers = ((to_tensor(images).flatten(1) - self.mean) @ self.axes).numpy()
        return coefficients

    def synthesise(self, coefficients: Numbers, side: int) -> Pixels:
        """Inverse of `analyse`, but for what no component holds."""
        return to_pixels((torch.from_numpy(coefficients) @ self.axes.T + self.mean).view(-1, 3, side, side))


@cache
def trained(resolution: int) -> Basis:
    """The basis of the first training seeds. It takes a minute and a gigabyte, once a process."""
    faces = Faces(resolution)
    parts = [faces.draw(TRAIN_SEEDS[first : first + 500]) for first in range(0, TRAINING_IMAGES, 500)]
    return Basis.fit(torch.cat(parts), COMPONENTS)


class Quantised:
    """Indices of a uniform quantiser, and per component what the training images say of each index.

    bits: −log2 of its probability, (C, 2·limit + 1). means: the mean of the coefficients that have it.
    """

    def __init__(self, training: Numbers, step: Numbers, limit: int, centred: bool) -> None:
        self._step, self._limit, self._centred = step, limit, centred
        width = 2 * limit + 1
        cells = self.cells(training)
        components = training.shape[1]
        flat = (cells + np.arange(components) * width).ravel()
        counts = np.bincount(flat, minlength=components * width).reshape(components, width)
        sums = np.bincount(flat, training.ravel(), components * width).reshape(components, width)
        self.bits = -np.log2((counts + UNSEEN) / (len(training) + UNSEEN * width))
        offset = 0.0 if centred else 0.5
        middles = (np.arange(-limit, limit + 1) + offset) * step[:, None]
        self.means: Numbers = np.where(counts > 0, sums / np.maximum(counts, 1), middles).astype(np.float32)

    def cells(self, coefficients: Numbers) -> npt.NDArray[np.int64]:
        """Coefficients (N, C) → columns of the tables."""
        scaled = coefficients / self._step
        index = np.rint(scaled) if self._centred else np.floor(scaled)
        clipped = np.clip(index, -self._limit, self._limit if self._centred else self._limit - 1)
        cells: npt.NDArray[np.int64] = (clipped + self._limit).astype(np.int64)
        return cells

    def price(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Bits of each image, (N,)."""
        price: npt.NDArray[np.float64] = self.bits[np.arange(len(self.bits)), cells].sum(1)
        return price

    def decode(self, cells: npt.NDArray[np.int64]) -> Numbers:
        """Columns → the coefficients (N, C) that a decoder takes them for."""
        decoded: Numbers = self.means[np.arange(len(self.means)), cells]
        return decoded


def at_entropy(basis: Basis, wanted: Numbers, bits: Sequence[int]) -> tuple[list[Numbers], list[npt.NDArray[np.int64]],
                                                                          npt.NDArray[np.int64]]:
    """For each limit in `bits` the coefficients (N, C) that the finest step affordable gives each image.

    And the whole bits that each took, (N,), −1 where no step is coarse enough; and the fewest, (N,). One step is for
    all components, as reverse water-filling has it.
    """
    decoded = [np.zeros_like(wanted) for _ in bits]
    taken = [np.full(len(wanted), -1, np.int64) for _ in bits]
    fewest = np.full(len(wanted), np.iinfo(np.int64).max)
    step = 16 * float(basis.training.std(0).max())  # where nearly every index is 0
    for _ in range(MAX_STEPS):
        quantised = Quantised(basis.training, np.full(wanted.shape[1], step, np.float32), LIMIT, centred=True)
        cells = quantised.cells(wanted)
        price = np.ceil(quantised.price(cells)).astype(np.int64)
        fewest = np.minimum(fewest, price)
        if not (price <= max(bits)).any():
            break
        values = quantised.decode(cells)
        for limit, chosen, cost in zip(bits, decoded, taken, strict=True):
            fits = price <= limit
            chosen[fits], cost[fits] = values[fits], price[fits]
        step /= 2 ** (1 / STEPS_AN_OCTAVE)
    return decoded, taken, fewest


def allotted(variances: npt.NDArray[np.floating], bits: int) -> npt.NDArray[np.int64]:
    """Whole bits of each component, (C,): each goes where most is left, σ²·4^−b (Cover & Thomas, Sec. 10.3.3)."""
    left = [(-float(variance), i) for i, variance in enumerate(variances)]
    heapq.heapify(left)
    counts = np.zeros(len(variances), np.int64)
    for _ in range(bits):
        variance, i = left[0]
        counts[i] += 1
        heapq.heapreplace(left, (variance / 4, i))
    return counts


def at_fixed_rate(basis: Basis, wanted: Numbers, bits: int) -> Numbers:
    """The coefficients (N, C) that so many bits an image keep; the quantisers' ranges are fitted to the training's."""
    deviations = basis.training.std(0)
    counts = allotted(deviations**2, bits)
    decoded = np.zeros_like(wanted)
    for count in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == count)
        training, limit = basis.training[:, rows], 1 << (int(count) - 1)

        def of(loading: float, rows: npt.NDArray[np.int64] = rows, training: Numbers = training,
               limit: int = limit) -> Quantised:
            return Quantised(training, (loading * deviations[rows] / limit).astype(np.float32), limit, centred=False)

        sample = training[:1000]
        best = min(LOADINGS, key=lambda loading: float(
            np.square(of(loading).decode(of(loading).cells(sample)) - sample).sum()))
        quantised = of(best)
        decoded[:, rows] = quantised.decode(quantised.cells(wanted[:, rows]))
    return decoded


@dataclass(frozen=True, slots=True)
class Eigenfaces:
    """The coder as a peer, at an ideal entropy or at a fixed rate."""

    fixed_rate: bool
    basis: Callable[[int], Basis] = trained

    @property
    def name(self) -> str:
        return "eigenfaces-fixed-rate" if self.fixed_rate else "eigenfaces"

    @property
    def label(self) -> str:
        return "Eigenfaces, fixed rate" if self.fixed_rate else "Eigenfaces, ideal entropy"

    @property
    def settings(self) -> str:
        way = ("whole bits by reverse water-filling" if self.fixed_rate else
               f"one step for all components, {STEPS_AN_OCTAVE} an octave; ideal entropy under tables of the training")
        return f"{COMPONENTS:,} components of {TRAINING_IMAGES:,} training seeds; {way}; {HEADER} bytes of header"

    def unavailable(self, resolution: int) -> str | None:
        if not find_spec(FACES_PACKAGE):
            return "the synthetic faces are not installed"
        return f"the synthetic faces have no {resolution}×{resolution} pixels" if resolution > FACES_SIDE else None

    def tune(self, images: Pixels, budgets: Sequence[int], many: Many, advance: Advance) -> Tuned:
        basis = self.basis(images.shape[1])
        began = perf_counter()
        wanted = basis.analyse(images)
        limits = [8 * max(0, budget - HEADER) for budget in budgets]
        if self.fixed_rate:
            decoded = [at_fixed_rate(basis, wanted, limit) for limit in limits]
            taken = [np.full(len(images), limit or -1) for limit in limits]
            fewest = np.ones(len(images), np.int64)
        else:
            decoded, taken, fewest = at_entropy(basis, wanted, limits)
        between = perf_counter()
        pixels = [basis.synthesise(values, images.shape[1]) for values in decoded]
        files = len(images) * len(budgets)
        encoding, decoding = (between - began) / files, (perf_counter() - between) / files
        advance(len(images))

        def coded(shown: Pixels, bits: int) -> Coded | None:
            size = -(-bits // 8)
            return None if bits < 0 else Coded(shown, HEADER + size, size, encoding, decoding)

        return Tuned([[coded(image, int(bits)) for image, bits in zip(shown, costs, strict=True)]
                      for shown, costs in zip(pixels, taken, strict=True)],
                     [HEADER - (-int(bits) // 8) for bits in fewest])

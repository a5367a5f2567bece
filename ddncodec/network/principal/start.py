"""A principal generator fitted to images without a gradient through its levels: axes, trees, then head by head.

The trees are grown on the axes as they are (a scalar quantiser for each, at a fixed rate); a head learns, at the
point where it stands, what is still missing there and how much of it. What comes out is a codec already;
training then lets all parts learn together.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.effort import GREEDY, LOOK_AHEAD
from ddncodec.network.principal.coupling import Codebook, all_picks
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.network.principal.heads import Head
from ddncodec.network.principal.trees import Cells, SplitTrees
from ddncodec.progress import SILENT, Progress, each
from ddncodec.samplers.guided import GuidedSampler

CHUNK = 1_000  # images at a time
MIN_CELL = 64  # images that a cell must hold to be split
PRIOR = 20  # images' worth of trust in what a cell's steps and gain were, when they are fitted again
DITHER = 0.4  # of half the distance between a cell's children: more helps a search, and harms a greedy encoder
LLOYD_STEPS = 20
LEAST = 1e-4  # deviation of an axis along which few images do not differ: heads divide by it
HEAD_BATCH, HEAD_LR = 256, 1e-3


@torch.no_grad()
def start(network: PrincipalGenerator, images: Iterator[Tensor], head_steps: int, progress: Progress = SILENT) -> None:
    """Fit an untrained network to images.

    Args:
        network: Of which nothing is trained yet.
        images: Some (b, 3, R, R) in [−1, 1] at a time.
        head_steps: Steps of gradient descent for each head.
        progress: Shows the phases.
    """
    with progress.phase("principal axes"):
        coefficients = fit_axes(network, images)
    grow_trees(network.trees, coefficients, progress)
    fit_heads(network, coefficients, head_steps, progress)
    refit_trees(network, coefficients, progress)


def fit_axes(network: PrincipalGenerator, images: Iterator[Tensor]) -> Tensor:
    """Fit the spectrum, mean, principal colours (to the first images) and axes: the coefficients (N, axes)."""
    spectrum = network.spectrum
    first = next(images)
    spectrum.mean.copy_(first.mean(0))
    centred = (first - spectrum.mean).transpose(0, 1).flatten(1)
    spectrum.colours.copy_(torch.linalg.eigh(centred @ centred.T).eigenvectors.flip(1).T)
    waves = torch.cat([spectrum.waves(first), *(spectrum.waves(part) for part in images)])
    mean = waves.mean(0)
    waves -= mean
    axes = torch.linalg.eigh(waves.T @ waves).eigenvectors.flip(1)
    spectrum.basis.copy_(axes[:, : spectrum.basis.shape[1]])
    spectrum.mean.copy_(spectrum.image(mean[None])[0])
    return waves @ spectrum.basis


def grow_trees(trees: SplitTrees, coefficients: Tensor, progress: Progress) -> None:
    """Grow each axis's tree cell by cell, every cell split where that saves most squared error."""
    for axis in each(range(len(trees.gain)), "trees", progress):
        steps, gain = _grow(coefficients[:, axis].double().numpy(), trees.gain.shape[1])
        trees.steps[axis], trees.gain[axis] = torch.from_numpy(steps), torch.from_numpy(gain).half()


def _grow(values: npt.NDArray[np.float64], size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Steps (size, 2) and gains (size,) of the tree of values (N,)."""
    ordered = np.sort(values)
    sums = np.concatenate([[0], ordered.cumsum()])
    steps, gain = np.zeros((size, 2)), np.zeros(size)
    cells = {0: (0, len(ordered))}
    for cell in range(size):
        low, high = cells.get(cell, (0, 0))
        count = high - low
        if count < MIN_CELL:
            continue
        left = np.arange(1, count)
        left_sum, total = sums[low + 1 : high] - sums[low], sums[high] - sums[low]
        saved = left_sum**2 / left + (total - left_sum) ** 2 / (count - left) - total**2 / count
        best = int(saved.argmax())
        edge, mean = low + 1 + best, total / count
        steps[cell] = (sums[edge] - sums[low]) / (edge - low) - mean, (sums[high] - sums[edge]) / (high - edge) - mean
        gain[cell] = max(saved[best] / count, 0)
        cells[2 * cell + 1], cells[2 * cell + 2] = (low, edge), (edge, high)
    return steps, gain


def fit_heads(network: PrincipalGenerator, coefficients: Tensor, head_steps: int, progress: Progress) -> None:
    """Walk the images through the segments; fit each head where they stand, then go on with what it says."""
    config = network.config
    count = len(config.segments)
    prediction = torch.zeros_like(coefficients)
    cells = [Cells(network.trees, len(part)) for part in torch.split(coefficients, CHUNK)]
    for segment in range(count + 1):
        network.deviation[segment] = (coefficients - prediction).square().mean(0).sqrt().clamp(min=LEAST)
        if segment:
            head = network.heads[segment - 1]
            assert isinstance(head, Head)
            fit_head(head, network.seen(prediction), (coefficients - prediction) / network.deviation[segment],
                     network.deviation[segment].square(), head_steps, f"head {segment} of {count}", progress)
        if segment == count:
            return
        bits = config.segments[segment] * config.level_bits
        targets = _parts(coefficients, f"images through segment {segment + 1} of {count}", progress)
        for target, part, reached in zip(targets, torch.split(prediction, CHUNK), cells, strict=True):
            corrected, scale = network.correct(segment, part)
            for splits in network.segment(GuidedSampler(target), segment, corrected, scale, reached, bits):
                corrected = splits.after
            part.copy_(corrected)


@torch.enable_grad()
def fit_head(head: Head, inputs: Tensor, missing: Tensor, weight: Tensor, steps: int, phase: str = "head",
             progress: Progress = SILENT) -> None:
    """Fit a head to say the mean of what is missing (N, axes) and, of the coded axes, its deviation.

    weight: (axes,), what an axis's squared error counts; the deviation's loss is a Gaussian's likelihood.
    """
    weight = weight / weight.sum()
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for step in each(range(steps), phase, progress):
        for group in optimizer.param_groups:
            group["lr"] = HEAD_LR * min(1, (step + 1) / 100) * (1 - step / steps)
        rows = torch.randint(len(inputs), (HEAD_BATCH,), generator=generator)
        mean, log_scale = head(inputs[rows])
        rest = missing[rows] - mean
        spread = rest[:, : log_scale.shape[1]].detach().square()
        likelihood = (spread * (-2 * log_scale).exp() / 2 + log_scale).mean()
        loss = (rest.square() * weight).sum(1).mean() + 0.1 * likelihood
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def couple(network: PrincipalGenerator, images: Iterator[Tensor], progress: Progress = SILENT) -> None:
    """Let the network's picks depend on one another: where a cell is not split again, give it a dither.

    This is done late, since the order of the splits is what says which cells those are.

    Args:
        network: Trained so far without a coupling.
        images: Some (b, 3, R, R) in [−1, 1] at a time.
        progress: Shows the phases.
    """
    coefficients = torch.cat([network.target(part) for part in images])
    trees = network.trees
    last = [splits for target in torch.split(coefficients[: 4 * CHUNK], CHUNK)
            for splits in list(network.splits(GuidedSampler(target), len(target)))[-1:]]
    smallest = torch.cat([trees.gain[splits.axes, splits.leaves].flatten() for splits in last]).median()
    cells = trees.gain.shape[1]
    children = functional.pad(trees.gain, (0, cells + 1))[:, 1:].view(len(trees.gain), cells, 2)
    final = (trees.gain > 0) & (children < smallest).all(2)
    reach = (trees.steps[:, :, 1] - trees.steps[:, :, 0]) / 2
    if isinstance(network.coupling, Codebook):
        trees.dither.zero_()
        network.coupling.offsets.copy_(fit_codebook(network, coefficients, final, progress))
        trees.dither.copy_(reach * final)
    else:
        trees.dither.copy_(DITHER * reach * final)
    refit_trees(network, coefficients, progress, LOOK_AHEAD)


def fit_codebook(network: PrincipalGenerator, coefficients: Tensor, final: Tensor, progress: Progress) -> Tensor:
    """Offsets (K, b) of a level's nodes by Lloyd's algorithm, on what its final cells hold.

    Residuals are measured from the middle between a cell's two children, in halves of their distance.
    """
    bits = network.config.level_bits
    steps = network.trees.steps
    samples = []
    for target in _parts(coefficients[: 8 * CHUNK], "codebook", progress):
        for splits in network.splits(GuidedSampler(target), len(target)):
            pair = steps[splits.axes, splits.leaves] * splits.scale[:, :, None]
            residual = (target - splits.before).gather(1, splits.axes)
            values = (2 * residual - pair.sum(2)) / (pair[:, :, 1] - pair[:, :, 0])
            whole = final[splits.axes, splits.leaves].view(-1, bits).all(1)
            samples.append(values.view(-1, bits)[whole][::8])
    values = torch.cat(samples)
    corners = 2.0 * all_picks(bits) - 1
    nodes = corners + 0.05 * torch.randn(corners.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(LLOYD_STEPS):
        nearest = torch.cat([torch.cdist(part, nodes).argmin(1) for part in torch.split(values, 10 * CHUNK)])
        count = torch.bincount(nearest, minlength=len(nodes))[:, None]
        sums = torch.zeros_like(nodes).index_add_(0, nearest, values)
        nodes = (sums + corners) / (count + 1)
    return nodes - corners


def refit_trees(network: PrincipalGenerator, coefficients: Tensor, progress: Progress, effort: int = GREEDY) -> None:
    """A Lloyd step: every cell's steps and gain become what a guided pass over the images finds them to be."""
    steps, gain = network.trees.steps, network.trees.gain
    weight, pull = torch.zeros(steps.numel()), torch.zeros(steps.numel())
    count, saved = torch.zeros(gain.numel()), torch.zeros(gain.numel())
    for target in _parts(coefficients, "trees again", progress):
        for splits in network.splits(GuidedSampler(target, effort), len(target)):
            cell = splits.axes * gain.shape[1] + splits.leaves
            node = (2 * cell + splits.picks).flatten()
            residual = (target - splits.before).gather(1, splits.axes)
            shifted = residual - splits.shift * splits.scale * network.trees.dither[splits.axes, splits.leaves]
            weight.index_add_(0, node, splits.scale.square().flatten())
            pull.index_add_(0, node, (shifted * splits.scale).flatten())
            rest = (target - splits.after).gather(1, splits.axes)
            count.index_add_(0, cell.flatten(), torch.ones(cell.numel()))
            saved.index_add_(0, cell.flatten(), (residual.square() - rest.square()).flatten())
    steps.copy_((pull.view_as(steps) + PRIOR * steps) / (weight.view_as(steps) + PRIOR))
    fitted = (saved.view_as(gain) + PRIOR * gain) / (count.view_as(gain) + PRIOR)
    gain.copy_(fitted.clamp(min=0).half())


def _parts(coefficients: Tensor, phase: str, progress: Progress) -> Iterator[Tensor]:
    """The coefficients of some images at a time, as a phase."""
    with progress.phase(phase, len(coefficients)) as advance:
        for part in torch.split(coefficients, CHUNK):
            yield part
            advance(len(part))

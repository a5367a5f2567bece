"""Nodes started from data: a coarse-to-fine residual quantiser fitted to a sample of the training images.

At each resolution the feature planes become the principal planes of what is still missing there; in each block
the levels' nodes become centroids along the axes of largest residual variance. A network so started is already
a codec; training then makes its later nodes depend on the path.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.network.cosines import cosine_planes
from ddncodec.network.paper.blockwise import Block, BlockwiseGenerator, StageModule
from ddncodec.network.paper.ddl import IMAGE_CHANNELS
from ddncodec.network.paper.features import PlaneFeatures
from ddncodec.network.paper.selection import nearest_path
from ddncodec.pixels import downsample
from ddncodec.progress import SILENT, Progress, each

CHUNK = 500  # images at a time
LLOYD_STEPS = 20
EXACT_PLANES = 64 * 64  # pixels up to which the principal planes are found exactly; beyond, by a randomised SVD
MAX_BYTES = 2**30  # of sample images: fewer of them at higher resolutions


@torch.no_grad()
def start(network: BlockwiseGenerator, images: Iterator[Tensor], head_steps: int = 0, progress: Progress = SILENT
          ) -> None:
    """Fit the planes and nodes of an untrained network whose stages have planes.

    Relies on what an untrained block does: its correction is zero and its gains are one, so that the trunk need not
    run.

    Args:
        network: Of which nothing is trained yet.
        images: Some (b, 3, R, R) in [−1, 1] at a time; together well above three times as many as planes. Only as many
            are taken as fit into MAX_BYTES.
        head_steps: Not used: nothing here is fitted by gradient descent.
        progress: Shows the phases.
    """
    k, side = network.config.k, network.config.resolution
    sample = _first(images, MAX_BYTES // (4 * IMAGE_CHANNELS * side**2))
    prediction = sample.mean((0, 2, 3)).view(1, 3, 1, 1).expand(len(sample), -1, -1, -1)
    network.start_outputs[:IMAGE_CHANNELS] = prediction[0]
    for stage in each(list(network.stages), "nodes, stage by stage", progress):
        assert isinstance(stage, StageModule)
        target = downsample(sample, stage.resolution)
        if prediction.shape[-1] != stage.resolution:
            prediction = functional.interpolate(prediction, size=stage.resolution, mode="bilinear")
        stage.planes.copy_(_principal_planes(target - prediction, len(stage.planes)))
        features = PlaneFeatures(stage.planes, torch.ones(1, len(stage.planes)))
        for block in stage.blocks:
            assert isinstance(block, Block)
            if block.ddl is None:
                continue
            coefficients = torch.cat([features.project(t - p) for t, p in _chunks(target, prediction)])
            fitted = fit_levels(coefficients.flatten(1), block.ddl.levels, k)
            nodes = block.ddl.nodes[:, :, :IMAGE_CHANNELS]
            nodes.copy_(fitted.view_as(nodes))
            rendered = []
            for t, p in _chunks(target, prediction):
                picks = nearest_path(features, nodes, torch.ones(len(t), block.ddl.levels), t - p)
                rendered.append(p + features.render(block.ddl.picked(picks)[:, :, :IMAGE_CHANNELS].sum(1)))
            prediction = torch.cat(rendered)


def _first(images: Iterator[Tensor], limit: int) -> Tensor:
    """The first `limit` images of parts (b, 3, R, R), or all of them if they are fewer."""
    parts, count = [], 0
    while count < limit and (part := next(images, None)) is not None:
        parts.append(part)
        count += len(part)
    return torch.cat(parts)[:limit]


def fit_levels(samples: Tensor, levels: int, k: int) -> Tensor:
    """A residual quantiser of `levels` levels of k nodes for samples (N, M): (levels, k, M).

    Each prime factor q of k splits the axis of largest residual variance into q: K = 512 is a product code of
    nine binary splits, and so as good a start as nine binary levels.
    """
    mean = samples.mean(0)
    _, axes = torch.linalg.eigh((samples - mean).T @ (samples - mean))
    rotated = (samples - mean) @ axes
    variance = rotated.square().mean(0)
    nodes = torch.zeros(levels, k, samples.shape[1])
    for level in range(levels):
        codes = nodes.new_zeros(1, samples.shape[1])
        for q in prime_factors(k):
            axis = int(variance.argmax())
            values = rotated[:, axis]
            centroids = lloyd(values, q)
            nearest = centroids[(values[:, None] - centroids).abs().argmin(1)]
            rotated[:, axis] = values - nearest
            variance[axis] = rotated[:, axis].square().mean()
            split = torch.zeros(q, samples.shape[1])
            split[:, axis] = centroids
            codes = (codes[:, None] + split).flatten(0, 1)
        nodes[level] = codes
    nodes[:] = nodes @ axes.T
    nodes[0] += mean
    return nodes


def lloyd(values: Tensor, q: int) -> Tensor:
    """q centroids of values (N,), by Lloyd's algorithm from their quantiles; ascending."""
    ordered = values.sort().values
    sums = functional.pad(ordered.double().cumsum(0), (1, 0))
    edges = torch.linspace(0, len(values), q + 1).round().long()
    centroids = ordered[(edges[1:] + edges[:-1]) // 2]
    for _ in range(LLOYD_STEPS):
        inner = torch.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        edges = torch.cat([edges[:1], inner, edges[-1:]])
        count = edges.diff()
        means = ((sums[edges[1:]] - sums[edges[:-1]]) / count.clamp(min=1)).float()
        centroids = torch.where(count > 0, means, centroids)
    return centroids


def prime_factors(n: int) -> list[int]:
    """The prime factors of n ≥ 2, ascending, with repetition."""
    factors, divisor = [], 2
    while divisor * divisor <= n:
        while n % divisor == 0:
            factors.append(divisor)
            n //= divisor
        divisor += 1
    return [*factors, n] if n > 1 else factors


def _principal_planes(residual: Tensor, count: int) -> Tensor:
    """The `count` principal planes of (N, 3, r, r), all colours taken together: (count, r²), orthonormal."""
    side = residual.shape[-1]
    planes = side**2
    if planes > EXACT_PLANES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            flat = residual.reshape(-1, planes)
            directions = torch.svd_lowrank(flat, q=min(count + 16, *flat.shape), niter=4)[2]
        # Few images have few principal planes: waves of low frequency make up the number.
        filled = torch.cat([directions, torch.from_numpy(cosine_planes(count, side)).T], 1)
        orthonormal: Tensor = torch.linalg.qr(filled).Q
        return orthonormal[:, :count].T
    moments = torch.zeros(planes, planes)
    for (part,) in _chunks(residual):
        flat = part.reshape(-1, planes)
        moments += flat.T @ flat
    axes: Tensor = torch.linalg.eigh(moments).eigenvectors
    return axes.flip(1)[:, :count].T


def _chunks(*tensors: Tensor) -> zip[tuple[Tensor, ...]]:
    return zip(*(torch.split(tensor, CHUNK) for tensor in tensors), strict=True)

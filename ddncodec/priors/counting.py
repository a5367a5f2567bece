"""Counts of the picks that images lead to, and what a prior says of such picks."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

import torch
from torch import Tensor

from ddncodec.network.base import Generator
from ddncodec.samplers.guided import GuidedSampler
from ddncodec.samplers.protocol import Choice, Prior, Proposals, Sampler, Walk
from ddncodec.samplers.random import nodes_of

Batch = tuple[Tensor, Tensor | None]  # images (B, 3, R, R) in [−1, 1], and their condition where the network wants one


class Watched:
    """A sampler whose nodes are written down, block by block: `cells` and `nodes`, each (B, c)."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.cells: list[Tensor] = []
        self.nodes: list[Tensor] = []

    def choose(self, proposals: Proposals) -> Choice:
        choice = self._sampler.choose(proposals)
        self.cells.append(proposals.cells.flatten(1))
        self.nodes.append(nodes_of(choice.indices, proposals.cells.shape[2], proposals.shape.k))
        return choice


@torch.no_grad()
def guided(network: Generator, images: Tensor, condition: Tensor | None) -> Watched:
    """What an encoder at its highest effort picks for images."""
    network.check(condition=condition)
    watched = Watched(GuidedSampler(network.target(images), network.max_effort))
    for _ in network.picks(watched, len(images), None, condition):
        pass
    return watched


def count(network: Generator, batches: Iterable[Batch]) -> Tensor:
    """How often images lead to each node of each cell of a network: (cells, nodes) int64, on the network's device."""
    cells, nodes = network.cells
    counts = torch.zeros(cells * nodes, dtype=torch.int64)
    for images, condition in batches:
        found = guided(network, images, condition)
        taken = torch.cat([cell * nodes + node for cell, node in zip(found.cells, found.nodes, strict=True)], 1)
        counts = counts.to(taken.device) + torch.bincount(taken.flatten(), minlength=len(counts))
    return counts.view(cells, nodes)


def cross_entropy(network: Generator, priors: dict[str, Prior], batches: Iterable[Batch]) -> dict[str, float]:
    """Mean bits that images' whole latents would take, entropy-coded by each of some priors."""
    bits = dict.fromkeys(priors, 0.0)
    total = 0
    for images, condition in batches:
        found = guided(network, images, condition)
        total += len(images)
        for name, prior in priors.items():
            walk = prior.walk(len(images))
            for cells, nodes in zip(found.cells, found.nodes, strict=True):
                bits[name] += _bits(walk, cells, nodes)
    return {name: found / total for name, found in bits.items()}


def _bits(walk: Walk, cells: Tensor, nodes: Tensor) -> float:
    """What these nodes of these cells (B, c) take, all together; the walk goes on over them."""
    bits = 0.0
    while cells.shape[1]:
        logs = walk.log_odds(cells).double().log_softmax(2)
        (now, cells), (taken, nodes) = (part.tensor_split([logs.shape[1]], 1) for part in (cells, nodes))
        bits -= float(logs.gather(2, taken[:, :, None]).sum()) / log(2)
        walk.take(now, taken)
    return bits

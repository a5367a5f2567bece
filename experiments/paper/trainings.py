"""Small networks that experiments share, each trained once.

A training is in runs/paper, in a folder named after its network and its recipe's hash: the same recipe is never trained
twice, whichever experiment asks for it, and goes on where it was stopped.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ddncodec import zoo
from ddncodec.network.base import Generator
from ddncodec.network.paper.config import CHAIN_DROPOUT, SingleShotConfig, Stage
from ddncodec.training.config import TrainConfig
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import train_once
from ddncodec.weights import load_network
from ddncodec_cli.progress import shown

SIDE, BATCH = 16, 100
STEPS = 1_000  # a training's, of 64 images each
# Of networks with so many levels. The first level is at 4×4: there two convolutions see where in the image they are.
STAGES = {
    3: (Stage(4, 48, 1), Stage(8, 48, 1), Stage(16, 32, 1)),
    4: (Stage(4, 48, 1), Stage(8, 48, 2), Stage(16, 32, 1)),
    5: (Stage(4, 48, 1), Stage(8, 48, 2), Stage(16, 32, 2)),
    10: (Stage(4, 32, 3), Stage(8, 32, 4), Stage(16, 24, 3)),
}


def recipe(k: int, levels: int, data: Path, steps: int, cache: Path, *, learning_residual: bool = True,
           split_and_prune: bool = True, chain_dropout: bool = True) -> Recipe:
    """A small single-shot network, and a training of minutes.

    Args:
        k: K.
        levels: L, one of `STAGES`.
        data: What `train --data` takes.
        steps: Of 64 images each.
        cache: A folder for the resampled images.
        learning_residual: Whether nodes add to the prediction.
        split_and_prune: Whether nodes are split and pruned.
        chain_dropout: Whether some picks are random in training.
    """
    network = SingleShotConfig(k=k, resolution=SIDE, leak=1, chain_dropout=CHAIN_DROPOUT if chain_dropout else 0.0,
                               learning_residual=learning_residual, stages=STAGES[levels])
    train = TrainConfig(data=str(data), cache=str(cache), steps=steps, lr=3e-3, node_lr=1e-3, final_weight=1.0,
                        precision="bfloat16", validate_every=100, split_swaps=64 if split_and_prune else 0)
    return Recipe(network, train)


def trained(recipe: Recipe, runs: Path) -> Generator:
    """The network of a recipe's training in a folder of `runs`."""
    with shown(True) as progress:
        weights = train_once(recipe, runs / f"k{recipe.network.k}-l{recipe.network.levels}-{recipe.digest}", progress)
    return load_network(zoo.find(weights))


def encoded(network: Generator, images: Tensor) -> Tensor:
    """The latents of grey images (N, 1, R, R), (N, L)."""
    return torch.cat([network.encode(part.expand(-1, 3, -1, -1)) for part in torch.split(images, BATCH)])

"""What a run that comes to its end leaves beside its best weights: the odds of their picks."""

from __future__ import annotations

from pathlib import Path

import torch

from ddncodec.codec import load_model
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.priors.file import load_prior
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import BEST_FILE, PRIOR_FILE, Trainer

NETWORK = BlockwiseConfig.default(4, 12, 16, channels=8, planes=16)


def test_a_run_that_ends_writes_the_prior_of_its_best_weights_and_one_that_is_stopped_none(
    photos: Path, tmp_path: Path
) -> None:
    config = TrainConfig(data=str(photos), batch=4, steps=3, validate_every=3, validation_images=2)
    trainer = Trainer.create(tmp_path, Recipe(NETWORK, config), World(torch.device("cpu")))
    for _ in trainer.run():
        trainer.request_stop()
    assert not (tmp_path / PRIOR_FILE).exists()
    list(Trainer.resume(tmp_path, World(torch.device("cpu"))).run())
    codec = load_model(tmp_path / BEST_FILE, "cpu")
    odds = load_prior(tmp_path / PRIOR_FILE, codec.info, codec.network.cells, codec.device)
    assert int(odds.counts.sum()) == 3 * 4 * NETWORK.levels  # of the images that the run has seen

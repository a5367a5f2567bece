"""A GPU is waited for a fixed number of times a step, however many levels there are; counted here on the CPU."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ddncodec.network.config import Condition, GeneratorConfig
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.feed import Feed, Images
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import Trainer

CPU = World(torch.device("cpu"))
WAITING = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default"}
MOVES = {"to", "cpu", "cuda", "tolist", "numpy"}


class Moves(TorchFunctionMode):
    """Counts the tensors that the program moves between devices; torch's own code moves none where all are on one."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        places = (torch.device, torch.Tensor, str)
        asked_by = sys._getframe(1).f_globals["__name__"]
        if name in MOVES and (name != "to" or any(isinstance(place, places) for place in args[1:])) \
                and not asked_by.startswith("torch."):
            self.counted[name] += 1
        return function(*args, **(kwargs or {}))


class ScalarReads(TorchDispatchMode):
    """Counts the operations whose results a program can only have once the device is done with all before."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counted[str(operation)] += str(operation) in WAITING
        return operation(*args, **(kwargs or {}))


def waits(network: GeneratorConfig, data: Path, folder: Path, **settings: Any) -> Counter[str]:
    """Of the second step of a training."""
    config = TrainConfig(data=str(data), steps=4, batch=4, warmup=1, start_images=0, **settings)
    trainer = Trainer.create(folder / f"{network.levels}", Recipe(network, config), CPU)
    trainer.train_step()
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: None  # type: ignore[method-assign, assignment]  # Adam's counts are never on a GPU
    with Moves() as moves, ScalarReads() as reads:
        trainer.train_step()
    trainer.optimizer.step = step  # type: ignore[method-assign]
    return +(moves.counted + reads.counted)


def single_shot(levels: int) -> SingleShotConfig:
    return SingleShotConfig.default(8, levels, 8, channels=8)


@pytest.mark.parametrize("config", [
    single_shot,
    lambda levels: replace(single_shot(levels), condition=Condition("edges", 1)),
    lambda levels: BlockwiseConfig.default(8, levels, 8, channels=8, planes=0),
    lambda levels: RecurrentConfig(k=8, levels=levels, resolution=8, leak=1, chain_dropout=0.1, widths=(8, 8)),
], ids=["single-shot", "conditional", "blockwise", "recurrent"])
def test_a_step_waits_as_often_for_many_levels_as_for_few(config: Any, photos: Path, tmp_path: Path) -> None:
    few, many = (waits(config(levels), photos, tmp_path) for levels in (6, 24))
    assert few == many
    assert 0 < few.total() <= 16


def test_an_accumulated_step_waits_no_more_for_many_levels(photos: Path, tmp_path: Path) -> None:
    few, many = (waits(single_shot(levels), photos, tmp_path, accumulate=2, checkpoint_activations=True)
                 for levels in (6, 24))
    assert few == many


def test_the_counter_sees_what_it_is_to_count() -> None:
    values = torch.arange(4.0)
    with Moves() as moves, ScalarReads() as reads:
        values.sum().item()
        int(values[0])
        values.nonzero()
        values[values > 1]
        values.to(torch.device("cpu"))
        values.cpu()
    assert +reads.counted == Counter({"aten._local_scalar_dense.default": 2, "aten.nonzero.default": 1})
    assert moves.counted == Counter({"to": 1, "cpu": 1})


def numbered(positions: range) -> Images:
    return Images(torch.arange(positions.start, positions.stop, dtype=torch.float32), torch.tensor(list(positions)))


@pytest.mark.parametrize("ahead", [False, True])
def test_a_feed_hands_out_what_is_asked_for_whatever_was_announced(ahead: bool) -> None:
    feed = Feed(numbered, torch.device("cpu"), ahead)
    for positions, announced in ((range(3), range(3, 6)), (range(3, 6), range(6, 9)), (range(20, 22), range(22, 24))):
        images = feed.take(positions, announced)
        assert images.pixels.tolist() == list(positions)
        assert images.labels is not None
        assert images.labels.tolist() == list(positions)


def test_the_next_images_are_made_while_those_before_are_worked_on() -> None:
    made = threading.Event()

    def make(positions: range) -> Images:
        if positions.start:
            made.set()
        return numbered(positions)

    feed = Feed(make, torch.device("cpu"), ahead=True)
    feed.take(range(2), range(2, 4))
    assert made.wait(10)  # nobody has asked for them yet


def test_what_fails_beforehand_is_told_when_it_is_asked_for() -> None:
    def make(positions: range) -> Images:
        if positions.start:
            raise ValueError("damaged")
        return numbered(positions)

    feed = Feed(make, torch.device("cpu"), ahead=True)
    feed.take(range(2), range(2, 4))
    with pytest.raises(ValueError, match="damaged"):
        feed.take(range(2, 4), range(4, 6))


@pytest.mark.cuda
def test_images_reach_a_gpu_through_pinned_memory() -> None:
    feed = Feed(numbered, torch.device("cuda"))
    feed.take(range(2), range(2, 4))
    images = feed.take(range(2, 4), range(4, 6))
    assert images.pixels.device.type == "cuda"
    assert images.pixels.tolist() == [2, 3]
    assert feed._ready(range(2)).pixels.is_pinned()

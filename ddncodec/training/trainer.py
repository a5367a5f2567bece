"""The trainer: Adam on the mean of the levels' L2 losses, split-and-prune, and a run that can always be resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch import Tensor

from ddncodec.effort import DEFAULT_EFFORT
from ddncodec.errors import BadCheckpoint
from ddncodec.evaluation.metrics import mean_psnr
from ddncodec.files import atomic_write
from ddncodec.images import Picture, write_picture
from ddncodec.network.config import AnyConfig, PrincipalConfig, config_from_json
from ddncodec.network.generator import build
from ddncodec.network.principal import PrincipalGenerator
from ddncodec.network.single_shot import SingleShotGenerator
from ddncodec.network.split_and_prune import split_and_prune
from ddncodec.pixels import to_pixels
from ddncodec.training.augment import augment
from ddncodec.training.checkpoint import flatten_optimizer, load_state, restore_optimizer, save_state
from ddncodec.training.data import TRAIN_SEEDS, Faces, Folder, Source
from ddncodec.training.principal_start import couple, start_principal
from ddncodec.training.start import sample_size, start_from_data
from ddncodec.weights import save_network

STATE_FILE, BEST_FILE, LOG_FILE, PREVIEW_FILE = "state.safetensors", "best.safetensors", "log.jsonl", "preview.png"
VALIDATION_BATCH = 64
START_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a run trains; stored with its state, so that resuming needs nothing else.

    data: a folder of images, or None for the synthetic faces. steps, warmup, validate_every, save_every: in
    steps of `batch` images. lr: Adam's rate. node_lr: the output nodes' own, since the many levels of a block
    add up; None is a twentieth of `lr` for nodes that start from data and a tenth for random ones. Both decay to
    zero along half a cosine. final_weight: weight of the refined output's loss beside the mean of all
    levels'. ema: decay of the weights' moving average, which is what is validated and kept. clip: bound on the
    gradient's norm. bfloat16: autocast the convolutions; distances stay in float32. start_images: how many
    images the planes and nodes are fitted to before the first step; 0 starts from random nodes. head_steps: of each
    head of a principal generator, before the first step; couple_at: the share of the steps after which its picks
    are coupled, on couple_images images. augment: None takes the images as they are; a share
    mirrors half of them and changes framing, light and background of so many. cache: a folder that keeps the
    synthetic faces once drawn, faces: how many of their training seeds to take, over and over.
    """

    data: str | None = None
    seed: int = 0
    steps: int = 20_000
    batch: int = 64
    lr: float = 5e-4
    node_lr: float | None = None
    warmup: int = 100
    final_weight: float = 4.0
    ema: float = 0.998
    clip: float = 1.0
    bfloat16: bool = False
    augment: float | None = None
    cache: str | None = None
    faces: int = len(TRAIN_SEEDS)
    start_images: int = 10_000
    head_steps: int = 1_000
    couple_at: float = 0.6
    couple_images: int = 20_000
    validation_images: int = 256
    validate_every: int = 200
    save_every: int = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """What the trainer tells after each step. psnr: mean PSNR (dB) of the moving average on the validation
    images, where this step measured it. splits: nodes split since the run began."""

    step: int
    loss: float
    splits: int
    psnr: float | None
    best_psnr: float


class Trainer:
    """One training run in a folder of its own.

    `create` begins a run, `resume` goes on with one as if it had never stopped (bit for bit on the CPU). The
    folder holds the resumable state, the best weights so far by validation PSNR, a log of JSON lines and a
    preview picture.
    """

    def __init__(self, folder: Path, network: AnyConfig, config: TrainConfig, device: torch.device) -> None:
        self.folder, self.config, self.device = folder, config, device
        cache = Path(config.cache) if config.cache else None
        self.source: Source = (Faces(network.resolution, cache, config.faces) if config.data is None
                               else Folder(Path(config.data), network.resolution, config.seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = build(network).to(device)
        self.average = deepcopy(self.network).requires_grad_(False)
        nodes = self.network.nodes
        node_ids = {id(node) for node in nodes}
        others = [p for p in self.network.parameters() if id(p) not in node_ids]
        node_lr = config.lr / (20 if self._starts_from_data else 10) if config.node_lr is None else config.node_lr
        self.optimizer = torch.optim.Adam([{"params": others, "peak": config.lr}, {"params": nodes, "peak": node_lr}])
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.step, self.splits, self.best_psnr = 0, 0, -math.inf
        self._stop = False

    @classmethod
    def create(cls, folder: Path, network: AnyConfig, config: TrainConfig, device: torch.device) -> Trainer:
        """Begin a run in a folder, which is made; start the nodes from data. Raises DataMissing."""
        trainer = cls(folder, network, config, device)
        if trainer._starts_from_data:
            trainer._start()
        folder.mkdir(parents=True, exist_ok=True)
        return trainer

    @classmethod
    def resume(cls, folder: Path, device: torch.device, steps: int | None = None) -> Trainer:
        """Go on with the run in a folder, to another number of steps if given. Raises InputMissing, BadCheckpoint."""
        tensors, facts = load_state(folder / STATE_FILE)
        try:
            config = TrainConfig(**facts["train"])
            if steps is not None:
                config = replace(config, steps=steps)
            trainer = cls(folder, config_from_json(facts["network"]), config, device)
            trainer.network.load_state_dict(_below("network.", tensors))
            trainer.average.load_state_dict(_below("average.", tensors))
            restore_optimizer(trainer.optimizer, _below("optimizer.", tensors))
            trainer.generator.set_state(tensors["generator"])
            trainer.step, trainer.splits = facts["step"], facts["splits"]
            trainer.best_psnr = facts["best_psnr"] if facts["best_psnr"] is not None else -math.inf
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadCheckpoint(f"{folder / STATE_FILE}: {error}".splitlines()[0]) from None
        return trainer

    @property
    def _starts_from_data(self) -> bool:
        config = self.network.config
        return isinstance(config, PrincipalConfig) or (
            self.config.start_images > 0 and all(stage.planes for stage in config.stages))

    def _start(self) -> None:
        """Fit the network to the first training images, on the CPU."""
        size, resolution = self.config.batch, self.network.config.resolution
        self.network.cpu()
        if isinstance(self.network, PrincipalGenerator):
            start_principal(self.network, self._first_images(self.config.start_images), self.config.head_steps)
        elif isinstance(self.network, SingleShotGenerator):
            steps = -(-sample_size(self.config.start_images, resolution) // size)
            start_from_data(self.network, torch.cat([self.source.batch(step, size) for step in range(steps)]))
        self.network.to(self.device)
        self.average.load_state_dict(self.network.state_dict())

    def _images(self, step: int, size: int) -> Tensor:
        """The training images of a step, augmented if so configured."""
        images = self.source.batch(step, size)
        if self.config.augment is None:
            return images
        return augment(images, self.config.augment, torch.Generator().manual_seed(self.config.seed + step))

    def _first_images(self, count: int) -> Iterator[Tensor]:
        """At least `count` of the first training images, a batch at a time."""
        return (self._images(step, START_BATCH) for step in range(-(-count // START_BATCH)))

    def request_stop(self) -> None:
        """Stop after the step under way, with the state saved; safe to call from a signal handler."""
        self._stop = True

    def run(self) -> Iterator[Progress]:
        """Train to the configured number of steps, or until asked to stop; the state is saved at the end."""
        began = monotonic()
        couple_at = round(self.config.couple_at * self.config.steps)
        while self.step < self.config.steps and not self._stop:
            if self.step == couple_at and isinstance(self.network, PrincipalGenerator):
                self._couple(self.network)
            loss = self.train_step(self._images(self.step, self.config.batch).to(self.device))
            measured = None
            if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                measured = self.validate()
                self._log(step=self.step, loss=loss, psnr=measured, splits=self.splits,
                          seconds=round(monotonic() - began, 1))
            if self.step % self.config.save_every == 0:
                self.save()
            yield Progress(self.step, loss, self.splits, measured, self.best_psnr)
        self.save()

    def train_step(self, images: Tensor) -> float:
        """One optimizer step on images (B, 3, R, R) in [−1, 1]; returns the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._schedule()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            loss = self.network.loss(images, self.config.final_weight, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimizer.step()
        self.step += 1
        self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        """Split and prune, then let the moving average follow the weights; both follow the splits."""
        for layer, averaged in zip(self.network.layers, self.average.layers, strict=True):
            splits = split_and_prune(layer, self.generator)
            self.splits += len(splits.level)
            moments = self.optimizer.state[layer.nodes]
            for per_node in (moments["exp_avg"], moments["exp_avg_sq"], averaged.nodes):
                splits.apply(per_node)
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def _schedule(self) -> float:
        done = self.step / max(self.config.steps, 1)
        return min(1.0, (self.step + 1) / max(self.config.warmup, 1)) * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    def _couple(self, network: PrincipalGenerator) -> None:
        """Couple the picks of the network as the moving average has it; from here on training searches."""
        network.load_state_dict(self.average.state_dict())
        network.cpu()
        images = self._first_images(self.config.couple_images)
        with torch.no_grad():
            couple(network, torch.cat([network.spectrum.analyse(part) for part in images]))
        network.to(self.device)
        self.average.load_state_dict(network.state_dict())

    def validate(self) -> float:
        """Mean PSNR of the moving average on the validation images; keeps the weights if they are the best."""
        images = self.source.validation(self.config.validation_images)
        decoded = torch.cat([self.average.reconstruct(part.to(self.device), effort=DEFAULT_EFFORT).image.cpu()
                             for part in torch.split(images, VALIDATION_BATCH)])
        measured = mean_psnr(to_pixels(images), to_pixels(decoded))
        if measured > self.best_psnr:
            self.best_psnr = measured
            save_network(self.folder / BEST_FILE, self.average, self.folder.resolve().name)
        self._preview(images[:8])
        return measured

    def _preview(self, images: Tensor) -> None:
        """A picture of a few validation images: the original, then what 1/8, 1/4, 1/2 and all of the levels show."""
        levels = self.network.config.levels
        rows = [images, *(self.average.reconstruct(images.to(self.device), max(1, levels // part)).image.cpu()
                          for part in (8, 4, 2, 1))]
        grid = np.concatenate([np.concatenate(list(to_pixels(row)), axis=1) for row in rows])
        with atomic_write(self.folder / PREVIEW_FILE, overwrite=True) as file:
            write_picture(Picture(grid), file)

    def _log(self, **facts: float) -> None:
        with open(self.folder / LOG_FILE, "a") as file:
            file.write(json.dumps(facts) + "\n")

    def save(self) -> None:
        """Write the state that `resume` reads: weights, moving average, moments, counters, random state, position."""
        tensors = {"generator": self.generator.get_state()}
        for prefix, part in (("network.", self.network.state_dict()), ("average.", self.average.state_dict()),
                             ("optimizer.", flatten_optimizer(self.optimizer))):
            tensors |= {prefix + name: tensor for name, tensor in part.items()}
        facts = {"train": asdict(self.config), "network": self.network.config.to_json(), "step": self.step,
                 "splits": self.splits, "best_psnr": self.best_psnr if math.isfinite(self.best_psnr) else None}
        save_state(self.folder / STATE_FILE, tensors, facts)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

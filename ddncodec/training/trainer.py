"""The trainer: Adam on the mean of the levels' L2 losses, split-and-prune, and a run that can always be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ddncodec.data import Faces, Packed, Source, pack
from ddncodec.errors import BadCheckpoint, BadRecipe, NotFinite
from ddncodec.files import atomic_write
from ddncodec.images import Pixels
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.network.base import Generator, Loss
from ddncodec.network.condition import condition_of
from ddncodec.network.registry import build, config_from_json, couple_of, start_of
from ddncodec.pixels import to_pixels
from ddncodec.samplers.random import RandomSampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import BatchStreams, PerImageStreams
from ddncodec.training.augment import augment
from ddncodec.training.checkpoint import flatten_optimizer, load_state, restore_optimizer, save_state
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.recipe import Recipe
from ddncodec.training.watch import Clock, Measured, Watch, grid
from ddncodec.weights import save_network

STATE_FILE, BEST_FILE, RECIPE_FILE = "state.safetensors", "best.safetensors", "recipe.toml"
VALIDATION_BATCH = 64
START_BATCH = 1_000
PICTURED = 8  # validation images, and random samples, in the pictures
PICKS, AUGMENT, SPLIT = range(3)  # what a random seed is for


@dataclass(frozen=True, slots=True)
class Progress:
    """What the trainer tells after each step. psnr: mean PSNR (dB) of the moving average on the validation
    images, where this step measured it. splits: nodes split since the run began."""

    step: int
    loss: float
    splits: int
    psnr: float | None
    best_psnr: float
    images_a_second: float


class Objective(nn.Module):
    """A generator's loss as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, network: Generator, final_weight: float) -> None:
        super().__init__()
        self.network, self.final_weight = network, final_weight

    def forward(self, images: Tensor, streams: BatchStreams, condition: Tensor | None) -> Loss:
        return self.network.loss(images, self.final_weight, streams, condition)


class Trainer:
    """One training run in a folder of its own, as one process of a job sees it.

    `create` begins a run, `resume` goes on with one as if it had never stopped (bit for bit on the CPU). The
    folder holds the resumable state, the best weights so far by validation PSNR, the recipe, a log of JSON lines
    and pictures; several processes must see the same folder.
    """

    def __init__(self, folder: Path, recipe: Recipe, world: World, source: Source) -> None:
        self.folder, self.config, self.world, self.source = folder, recipe.train, world, source
        self._share = self.config.share(world.size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.network = build(recipe.network).to(world.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions
        self.average = deepcopy(self.network).requires_grad_(False)
        nodes = self.network.nodes
        node_ids = {id(node) for node in nodes}
        others = [p for p in self.network.parameters() if id(p) not in node_ids]
        rate = self.config.lr * self.network.node_rate
        node_lr = rate if self.config.node_lr is None else self.config.node_lr
        self.optimizer = torch.optim.Adam([{"params": others, "peak": self.config.lr},
                                           {"params": nodes, "peak": node_lr}])
        self.network.checkpoint_activations = self.config.checkpoint_activations
        if self.config.compile:
            for part in self.network.dense:
                part.compile(dynamic=False)
        self.objective: nn.Module = Objective(self.network, self.config.final_weight)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.config.precision == "float16")
        self.step, self.splits, self.best_psnr = 0, 0, -math.inf
        # Picks of each node since the last validation: for the log.
        self._picks = torch.zeros(recipe.network.levels, recipe.network.k, device=world.device)
        self._stop = False

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, world: World, tell: Callable[[str], None] = lambda text: None
               ) -> Trainer:
        """Begin a run in a folder, which is made; start the nodes from data. Raises DataMissing, BadRecipe.

        tell: called with what is being done, as it may take long.
        """
        recipe.train.share(world.size)  # refuse before anything is packed
        trainer = cls(folder, recipe, world, _open_source(folder, recipe, world, tell))
        if world.leads:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / RECIPE_FILE, overwrite=True) as file:
                file.write(recipe.to_toml().encode())
        if trainer._starts_from_data:
            tell("fitting a start to data")
            trainer._fit(trainer._start)
        trainer.save()
        return trainer

    @classmethod
    def resume(cls, folder: Path, world: World, steps: int | None = None) -> Trainer:
        """Go on with the run in a folder, to another number of steps if given. Raises InputMissing, BadCheckpoint."""
        tensors, facts = load_state(folder / STATE_FILE)
        try:
            config = TrainConfig(**facts["train"])
            if steps is not None:
                config = replace(config, steps=steps)
            recipe = Recipe(config_from_json(facts["network"]), config)
            packed = _pack_folder(folder, config) / facts["packed"] if facts["packed"] else None
            trainer = cls(folder, recipe, world, Packed(packed, config.seed) if packed and packed.exists()
                          else _open_source(folder, recipe, world))
            trainer.network.load_state_dict(_below("network.", tensors))
            trainer.average.load_state_dict(_below("average.", tensors))
            restore_optimizer(trainer.optimizer, _below("optimizer.", tensors))
            trainer.scaler.load_state_dict(facts["scaler"])
            trainer.step, trainer.splits = facts["step"], facts["splits"]
            trainer.best_psnr = facts["best_psnr"] if facts["best_psnr"] is not None else -math.inf
        except (KeyError, TypeError, ValueError, RuntimeError, BadRecipe) as error:
            raise BadCheckpoint(f"{folder / STATE_FILE}: {error}".splitlines()[0]) from None
        return trainer

    @property
    def _starts_from_data(self) -> bool:
        return self.network.starts_from_data and self.config.start_images > 0

    def _fit(self, work: Callable[[Generator], None]) -> None:
        """Let rank 0 change the network as the moving average has it, on the CPU; all others follow."""
        if self.world.leads:
            fitted = deepcopy(self.average).cpu().requires_grad_()
            work(fitted)
            self.network.load_state_dict(fitted.state_dict())
        self.world.follow(self.network)
        self.average.load_state_dict(self.network.state_dict())

    def _start(self, network: Generator) -> None:
        """Fit an untrained network to the first training images."""
        start = start_of(network.config)
        assert start is not None
        start(network, self._first_images(self.config.start_images), self.config.head_steps)

    def _couple(self, network: Generator) -> None:
        """Couple the picks; from here on training searches."""
        couple = couple_of(network.config)
        assert couple is not None
        couple(network, self._first_images(self.config.couple_images))

    def _images(self, positions: range) -> Tensor:
        """The training images at these positions, augmented if so configured."""
        images = self.source.images(positions)
        if self.config.augment is None:
            return images
        return augment(images, self.config.augment, [self._seed(AUGMENT, position) for position in positions])

    def _condition(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """The network's condition of these images; None for an unconditional one."""
        return condition_of(self.network.config.condition, images, labels)

    def _first_images(self, count: int) -> Iterator[Tensor]:
        """At least `count` of the first training images, a batch at a time."""
        return (self._images(range(first, first + START_BATCH)) for first in range(0, count, START_BATCH))

    def _seed(self, purpose: int, number: int) -> int:
        """Of the run's random numbers for a purpose, of a step or position: they depend on nothing else."""
        words = np.random.SeedSequence([self.config.seed, purpose, number]).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))

    def request_stop(self) -> None:
        """Stop all processes after the step under way, with the state saved; safe to call from a signal handler."""
        self._stop = True

    def run(self) -> Iterator[Progress]:
        """Train to the configured number of steps, or until asked to stop; the state is saved at the end.

        Raises NotFinite, with the state that was last saved left as it is.
        """
        watch = Watch(self.folder) if self.world.leads else None
        clock = Clock(self.config.batch)
        couple_at = round(self.config.couple_at * self.config.steps)
        self._share_gradients()
        while self.step < self.config.steps and not self.world.any(self._stop):
            if self.step == couple_at and couple_of(self.network.config):
                self._fit(self._couple)
                self._share_gradients()
            loss, levels = self.train_step()
            clock.tick()
            measured = None
            if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                measured = self.validate()
                if watch is not None:
                    watch.write(Measured(self.step, loss, measured, self.splits, clock, levels, self._picks,
                                         self.network.config.level_resolutions), *self._pictures())
                self._picks.zero_()
            if self.step % self.config.save_every == 0:
                self.save()
            yield Progress(self.step, loss, self.splits, measured, self.best_psnr, clock.images_a_second)
        self.save()

    def _share_gradients(self) -> None:
        """Average the gradients over the processes, of the parameters that have a part in the loss by now."""
        resting = {id(parameter) for parameter in self.network.resting}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) not in resting)
        self.objective = self.world.wrap(Objective(self.network, self.config.final_weight))

    def train_step(self) -> tuple[float, Tensor]:
        """One optimizer step on the next images.

        Returns the loss before it, and the errors of the levels and the output (L + 1,). Raises NotFinite, and
        leaves the weights as they were.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._schedule()
        self.optimizer.zero_grad(set_to_none=True)
        config, share, start = self.config, self._share, self.step * self.config.batch
        counts = self._picks.new_zeros(*self._picks.shape, self.network.config.classes)
        told = torch.zeros(len(counts) + 2, device=self.world.device)  # levels' errors, output's error, loss
        for part in range(config.accumulate):
            first = (self.world.rank * config.accumulate + part) * share
            positions = range(start + first, start + first + share)
            images = self._images(positions).to(self.world.device)
            condition = self._condition(images, self.source.labels(positions))
            with self._summed_up(last=part == config.accumulate - 1):
                with torch.autocast(self.world.device.type, getattr(torch, config.precision),
                                    enabled=config.precision != "float32"):
                    loss = self.objective(images, BatchStreams(self._seed(PICKS, self.step), config.batch, first),
                                          condition)
                self.scaler.scale(loss.total / config.accumulate).backward()
            told += torch.cat([loss.levels, loss.total.detach()[None]]) / (config.accumulate * self.world.size)
            nodes = loss.picks + torch.arange(len(counts), device=counts.device) * counts.shape[1]
            classes = condition.argmax(1).view(-1, 1) if condition is not None and counts.shape[2] > 1 else 0
            counts.view(-1).scatter_add_(0, (nodes * counts.shape[2] + classes).flatten(),
                                         loss.guided.flatten().float())
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.world.sum(told)
        self._require_finite(told, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._follow(self.world.sum(counts))
        self.step += 1
        return told[-1].item(), told[:-1]

    def _summed_up(self, last: bool) -> AbstractContextManager[None]:
        """Let the processes average their gradients after the last part of a step alone."""
        if isinstance(self.objective, nn.parallel.DistributedDataParallel) and not last:
            return self.objective.no_sync()
        return nullcontext()

    def _require_finite(self, told: Tensor, norm: Tensor) -> None:
        """told: errors of the levels and the output, and the loss. norm: the gradient's."""
        where = (~told.isfinite()).nonzero()[:, 0]
        if len(where) == 0 and (norm.isfinite() or self.scaler.is_enabled()):  # a scaler skips what overflows
            return
        levels = self.network.config.levels
        place = ("in the gradient" if len(where) == 0 else "after the last level" if where[0] >= levels
                 else f"from level {where[0] + 1} of {levels} on")
        raise NotFinite(f"step {self.step + 1} is not finite, {place}; {self.folder / STATE_FILE} is as it was saved "
                        f"before: a smaller learning rate, or float32, may help")

    @torch.no_grad()
    def _follow(self, counts: Tensor) -> None:
        """Split and prune by guided picks (L, K, classes); the average follows the weights, and both the splits."""
        self._picks += counts.sum(2)
        generator = torch.Generator().manual_seed(self._seed(SPLIT, self.step))
        averaged = dict(zip(self.network.parameters(), self.average.parameters(), strict=True))
        for splits in self.network.split_and_prune(counts, self.config.split_gate, self.config.split_swaps,
                                                    generator):
            self.splits += int(splits.due.sum())
            moments = self.optimizer.state[splits.nodes]
            for per_node in (moments["exp_avg"], moments["exp_avg_sq"], averaged[splits.nodes]):
                splits.apply(per_node)
        torch._foreach_copy_(list(self.average.buffers()), list(self.network.buffers()))
        decay = min(self.config.ema, (2 + self.step) / (11 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def _schedule(self) -> float:
        done = self.step / max(self.config.steps, 1)
        return min(1.0, (self.step + 1) / max(self.config.warmup, 1)) * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    def validate(self) -> float:
        """Mean PSNR of the moving average on the validation images; keeps the weights if they are the best."""
        images, told = self._validation(self.config.validation_images)
        found = torch.zeros(2, dtype=torch.float64, device=self.world.device)
        ours = torch.arange(len(images))[self.world.rank :: self.world.size]
        for rows in torch.split(ours, VALIDATION_BATCH) if len(ours) else ():
            part = images[rows]
            decoded = self.average.reconstruct(part.to(self.world.device), effort=self.average.max_effort,
                                               condition=None if told is None else told[rows]).image
            errors = squared_errors(to_pixels(part), to_pixels(decoded))
            found += torch.tensor([sum(map(psnr, errors)), len(errors)]).to(found)
        total, count = self.world.sum(found)
        measured = float(total / count)
        if measured > self.best_psnr:
            self.best_psnr = measured
            if self.world.leads:
                save_network(self.folder / BEST_FILE, self.average, self.folder.resolve().name)
        return measured

    def _pictures(self) -> tuple[Pixels, Pixels]:
        """Grids of pictures: validation images, below each what 1/8, 1/4, 1/2 and all levels show; random samples."""
        config, device = self.network.config, self.world.device
        images, condition = self._validation(PICTURED)
        rows = [images, *(self.average.reconstruct(images.to(device), max(1, config.levels // part),
                                                   condition=condition).image for part in (8, 4, 2, 1))]
        none = torch.empty(len(images), 0, dtype=torch.int64, device=device)
        samples = []
        for seed in range(2):
            sampler = ReplaySampler(none, RandomSampler(PerImageStreams(seed, range(len(images)))))
            samples.append(self.average.run(sampler, len(images), condition=condition).image)
        return grid(rows), grid(samples)

    def _validation(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Validation images, on the CPU, and their condition, on the device."""
        images = self.source.validation(count)
        return images, self._condition(images.to(self.world.device), self.source.validation_labels(count))

    def save(self) -> None:
        """Write the state that `resume` reads: weights, moving average, moments, counters, position; and the recipe."""
        if not self.world.leads:
            return
        tensors: dict[str, Tensor] = {}
        for prefix, part in (("network.", self.network.state_dict()), ("average.", self.average.state_dict()),
                             ("optimizer.", flatten_optimizer(self.optimizer))):
            tensors |= {prefix + name: tensor for name, tensor in part.items()}
        facts = {"train": asdict(self.config), "network": self.network.config.to_json(), "step": self.step,
                 "splits": self.splits, "best_psnr": self.best_psnr if math.isfinite(self.best_psnr) else None,
                 "scaler": self.scaler.state_dict(),
                 "packed": self.source.file.name if isinstance(self.source, Packed) else None}
        save_state(self.folder / STATE_FILE, tensors, facts)


def _open_source(folder: Path, recipe: Recipe, world: World, tell: Callable[[str], None] = lambda text: None) -> Source:
    """The recipe's images; rank 0 packs them, and says where: to others the files' times may look otherwise."""
    config, resolution = recipe.train, recipe.network.resolution
    if config.data is None:
        return Faces(resolution, Path(config.cache) if config.cache else None, config.faces)
    place = _pack_folder(folder, config)
    packed = ""
    if world.leads:
        packed = pack(config.data, resolution, place, lambda count: tell(f"packing images: {count:,}")).name
    return Packed(place / world.told(packed), config.seed)


def _pack_folder(folder: Path, config: TrainConfig) -> Path:
    """Where packed images are: in the cache, or else in the run's own folder."""
    return Path(config.cache) if config.cache else folder


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

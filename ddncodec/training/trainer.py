"""The trainer: Adam on the mean of the levels' L2 losses, split-and-prune, and a run that can always be resumed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ddncodec import zoo
from ddncodec.data import Faces, Packed, Source, pack
from ddncodec.errors import BadCheckpoint, BadRecipe, InputMissing, NotFinite, reason
from ddncodec.files import atomic_write, locked
from ddncodec.images import Pixels
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.network.base import Generator, Loss
from ddncodec.network.condition import condition_of
from ddncodec.network.registry import build, config_from_json, couple_of, start_of
from ddncodec.pixels import to_pixels
from ddncodec.priors.counting import Batch, count
from ddncodec.priors.file import save_prior
from ddncodec.priors.odds import Odds
from ddncodec.progress import SILENT, Progress
from ddncodec.samplers.random import RandomSampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import BatchStreams, PerImageStreams
from ddncodec.training.augment import augment
from ddncodec.training.average import moving_average
from ddncodec.training.checkpoint import (
    AVERAGE,
    MOMENTS,
    NETWORK,
    OPTIMIZER,
    below,
    flatten_optimizer,
    load_state,
    previous,
    restore_optimizer,
    save_state,
    set_aside,
)
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.feed import Feed, Images
from ddncodec.training.recipe import Recipe
from ddncodec.training.schedule import Schedule
from ddncodec.training.watch import Clock, Measured, Watch, grid
from ddncodec.weights import load_network, read_info, require_work, save_network

STATE_FILE, BEST_FILE, RECIPE_FILE = "state.safetensors", "best.safetensors", "recipe.toml"
PRIOR_FILE = "best.prior.safetensors"
PRIOR_IMAGES, PRIOR_BATCH = 12_000, 100
VALIDATION_BATCH = 64
START_BATCH = 1_000
PICTURED = 8  # validation images, and random samples, in the pictures
REFINER = "refiner."
PICKS, AUGMENT, SPLIT = range(3)  # what a random seed is for


@dataclass(frozen=True, slots=True)
class Step:
    """What the trainer reports after each step. psnr: mean PSNR (dB) of the moving average on the validation
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

    `create` begins a run, `resume` goes on with one as if it had never stopped (bit for bit on the CPU, with as many
    threads). The folder holds the resumable state, the best weights so far by validation PSNR, the recipe, a log of
    JSON lines and pictures; several processes must see the same folder.
    """

    def __init__(self, folder: Path, recipe: Recipe, world: World, source: Source, progress: Progress = SILENT
                 ) -> None:
        self.folder, self.config, self.world, self.source = folder, recipe.train, world, source
        self._share = self.config.share(world.size)
        self._feed = Feed(self._labelled, world.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.network = build(recipe.network).to(world.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions
        self._averaged = moving_average(self.network, self.config.ema)
        self.network.checkpoint_activations = self.config.checkpoint_activations
        if self.config.compile:
            for part in self.network.dense:
                part.compile(dynamic=False)
        self.objective: nn.Module = Objective(self.network, self.config.final_weight)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.config.precision == "float16")
        self.step, self.splits, self.best_psnr = 0, 0, -math.inf
        self.warning: str | None = None  # of what whoever resumed the run is to know
        self.coupled = False
        self.refining_since: int | None = None  # the step from which on the refiner alone learns
        self.schedule = Schedule(self.config.steps, self.config.warmup)
        # Picks of each node since the last validation: for the log.
        self._picks = torch.zeros(recipe.network.levels, recipe.network.k, device=world.device)
        self._stop = False
        self._progress = progress

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, world: World, progress: Progress = SILENT) -> Trainer:
        """Begin a run in a folder, which is made; start the nodes from data. Raises DataMissing, BadRecipe."""
        recipe.train.share(world.size)  # refuse before anything is packed
        _require_work(recipe)
        trainer = cls(folder, recipe, world, _open_source(folder, recipe, world, progress), progress)
        if recipe.train.refiner_from is not None:
            trainer._take_refiner(recipe.train.refiner_from)
        if world.leads:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / RECIPE_FILE, overwrite=True) as file:
                file.write(recipe.to_toml().encode())
        if trainer._starts_from_data:
            trainer._fit(trainer._start)
        trainer._set_optimizer()
        return trainer

    @classmethod
    def resume(cls, folder: Path, world: World, steps: int | None = None, progress: Progress = SILENT) -> Trainer:
        """Go on with the run in a folder, to another number of steps if given. Raises InputMissing, BadCheckpoint.

        Where that is more than were done, a run whose refiner learned alone goes back to all parts, up to that number.
        Where the newest state is damaged, the one before it goes on; `warning` says so.
        """
        newest = folder / STATE_FILE
        try:
            trainer = cls._resume(newest, world, steps, progress)
        except (InputMissing, BadCheckpoint) as error:
            if not previous(newest).exists():
                raise
            trainer = cls._resume(previous(newest), world, steps, progress)
            if world.leads:
                set_aside(newest)
            trainer.warning = f"{error}; going on with the state before it, of step {trainer.step}"
        leading = world.from_rank_0(str(trainer.step))
        if leading != str(trainer.step):  # as where a folder is seen through a network, and late
            raise BadCheckpoint(f"process {world.rank} read step {trainer.step} where rank 0 read {leading}", newest)
        return trainer

    @classmethod
    def _resume(cls, state: Path, world: World, steps: int | None, progress: Progress) -> Trainer:
        tensors, facts = load_state(state)
        folder = state.parent
        try:
            before = TrainConfig(**facts["train"])
            config = before if steps is None else replace(before, steps=steps)
            recipe = Recipe(config_from_json(facts["network"]), config)
            packed = _pack_folder(folder, config) / facts["packed"] if facts["packed"] else None
            trainer = cls(folder, recipe, world, Packed(packed, config.seed) if packed and packed.exists()
                          else _open_source(folder, recipe, world, progress), progress)
            if trainer.source.validation(1).shape[-1] != recipe.network.resolution:
                raise ValueError("the packed images are of another resolution")
            trainer.network.load_state_dict(below(NETWORK, tensors))
            trainer.average.load_state_dict(below(AVERAGE, tensors))
            trainer.scaler.load_state_dict(facts["scaler"])
            trainer.step, trainer.splits = facts["step"], facts["splits"]
            trainer.best_psnr = facts["best_psnr"] if facts["best_psnr"] is not None else -math.inf
            # States of version 0.1 have none of these; picks are coupled by dither.
            dither = tensors.get("network.trees.dither", torch.zeros(()))
            trainer.coupled = facts.get("coupled", bool(dither.any()))
            refining_since = facts.get("refining_since")
            changed = facts.get("schedule_changed")
            trainer.schedule = Schedule(before.steps, before.warmup, changed and tuple(changed))
            if config.steps != before.steps:
                trainer.schedule = trainer.schedule.resized(config.steps, trainer.step)
            back = refining_since is not None and trainer.step < config.steps
            trainer.refining_since = None if back else refining_since
            trainer._set_optimizer()
            if not back:  # else the moments are those of the refiner alone
                restore_optimizer(trainer.optimizer, below(OPTIMIZER, tensors))
        except (KeyError, TypeError, ValueError, RuntimeError, BadRecipe) as error:
            raise BadCheckpoint(reason(error), state) from None
        return trainer

    @property
    def average(self) -> Generator:
        """The network with the moving average of its weights: what is validated and kept."""
        return cast(Generator, self._averaged.module)

    def _set_optimizer(self) -> None:
        """Let all parts learn from here on, or the refiner alone; the optimizer's moments begin anew."""
        config, network, since = self.config, self.network, self.refining_since
        network.refiner_alone = since is not None
        if since is None:
            rate = config.lr * network.node_rate
            nodes = set(network.nodes)
            groups = [([p for p in network.parameters() if p not in nodes], config.lr),
                      (network.nodes, rate if config.node_lr is None else config.node_lr)]
            schedule = self.schedule
        else:
            resting = set(network.resting)
            groups = [([p for p in network.parameters() if p not in resting], config.refiner_lr)]
            schedule = Schedule(config.refiner_steps, config.warmup)
        self.optimizer = torch.optim.Adam([{"params": parameters, "lr": lr, "initial_lr": lr}
                                           for parameters, lr in groups])
        self._rates = LambdaLR(self.optimizer, schedule, last_epoch=self.step - (since or 0) - 1)
        self._averaged.n_averaged.fill_(self.step + 1)  # what the run began with counts as one

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

    def _take_refiner(self, model: str) -> None:
        """Begin with the refiner of another model. Raises UnknownWeights, BadCheckpoint, BadRecipe."""
        known = below(REFINER, load_network(zoo.find(model)).state_dict())
        for network in (self.network, self.average):
            try:
                network.get_submodule("refiner").load_state_dict(known)
            except (AttributeError, RuntimeError):
                raise BadRecipe(f"{model} has no refiner that fits this network") from None

    def _start(self, network: Generator) -> None:
        """Fit an untrained network to the first training images."""
        start = start_of(network.config)
        assert start is not None
        start(network, self._first_images(self.config.start_images), self.config.head_steps, self._progress)

    def _couple(self, network: Generator) -> None:
        """Couple the picks; from here on training searches."""
        couple = couple_of(network.config)
        assert couple is not None
        with self._progress.phase("coupling picks"):
            couple(network, self._first_images(self.config.couple_images), self._progress)

    def _images(self, positions: range) -> Tensor:
        """The training images at these positions, augmented if so configured."""
        images = self.source.images(positions)
        if self.config.augment is None:
            return images
        return augment(images, self.config.augment, [self._seed(AUGMENT, position) for position in positions])

    def _labelled(self, positions: range) -> Images:
        return Images(self._images(positions), self.source.labels(positions))

    def _positions(self, number: int) -> range:
        """Where this process's images of a part of a step lie; the parts are numbered through the steps."""
        step, part = divmod(number, self.config.accumulate)
        first = step * self.config.batch + (self.world.rank * self.config.accumulate + part) * self._share
        return range(first, first + self._share)

    def _condition(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """The network's condition of these images; None for an unconditional one."""
        return condition_of(self.network.config.condition, images, labels)

    def _first_images(self, count: int) -> Iterator[Tensor]:
        """At least `count` of the first training images, a batch at a time."""
        batches = range(0, count, START_BATCH)
        with self._progress.phase("reading images", len(batches) * START_BATCH) as advance:
            for first in batches:
                yield self._images(range(first, first + START_BATCH))
                advance(START_BATCH)

    def _seed(self, purpose: int, number: int) -> int:
        """Of the run's random numbers for a purpose, of a step or position: they depend on nothing else."""
        words = np.random.SeedSequence([self.config.seed, purpose, number]).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))

    def _save_prior(self) -> None:
        """Count the picks of the best weights over images of the run, unless that is done or the weights keep them."""
        best, target = self.folder / BEST_FILE, self.folder / PRIOR_FILE
        if self.average.shares is not None or target.exists() or not best.exists():
            return
        info = read_info(best)
        network = load_network(info).to(self.world.device)
        total = min(PRIOR_IMAGES, self.step * self.config.batch)

        def batches() -> Iterator[Batch]:
            with self._progress.phase("counting picks", total) as advance:
                for first in range(0, total, PRIOR_BATCH):
                    positions = range(first, min(first + PRIOR_BATCH, total))
                    images = self.source.images(positions).to(self.world.device)
                    yield images, self._condition(images, self.source.labels(positions))
                    advance(len(images))

        save_prior(target, Odds(count(network, batches())), info)

    def request_stop(self) -> None:
        """Stop all processes after the step under way, with the state saved; safe to call from a signal handler."""
        self._stop = True

    @property
    def over(self) -> bool:
        """Whether all steps of the run were taken."""
        refined = not self.config.refiner_steps or (
            self.refining_since is not None and self.step >= self.refining_since + self.config.refiner_steps)
        return self.step >= self.config.steps and refined

    def run(self) -> Iterator[Step]:
        """Train to the end, or until asked to stop; the state is saved then.

        All parts learn for the configured number of steps, then the refiner alone, where its steps are configured, on
        top of the moving average of all parts. Raises NotFinite, with the state that was last saved left as it is.
        """
        if self.step == 0:
            self.save()  # here, where a signal that stops the run is heeded, for it to be one that can go on
        watch = Watch(self.folder) if self.world.leads else None
        clock = Clock(self.config.batch)
        yield from self._train("training", self.config.steps, watch, clock)
        if self.config.refiner_steps and not self.world.any(self._stop):
            if self.refining_since is None:
                self.network.load_state_dict(self.average.state_dict())
                self.refining_since = self.step
                self._set_optimizer()
            end = self.refining_since + self.config.refiner_steps
            yield from self._train("training the refiner", end, watch, clock)
        self.save()
        if self.world.leads and not self._stop:
            self._save_prior()

    def _train(self, name: str, end: int, watch: Watch | None, clock: Clock) -> Iterator[Step]:
        """Take steps up to a number of them, or until asked to stop; couple the picks once, as soon as that is due."""
        if self.step >= end:
            return
        couple_at = round(self.config.couple_at * self.config.steps)
        self._share_gradients()
        quality = ""
        with self._progress.phase(name, end, self.step) as advance:
            while self.step < end and not self.world.any(self._stop):
                if self.step >= couple_at and not self.coupled and couple_of(self.network.config):
                    self._fit(self._couple)
                    self._share_gradients()
                    self.coupled = True
                loss, levels = self.train_step()
                clock.tick()
                measured = None
                if self.step % self.config.validate_every == 0 or self.step == end:
                    measured = self.validate()
                    if watch is not None:
                        watch.write(Measured(self.step, loss, measured, self.splits, clock, levels, self._picks,
                                             self.network.config.level_resolutions), *self._pictures())
                    self._picks.zero_()
                if self.step % self.config.save_every == 0:
                    self.save()
                if measured is not None:
                    quality = f", {measured:.2f} dB (best {self.best_psnr:.2f})"
                advance(1, f"{clock.images_a_second:.0f} images/s, loss {loss:.5f}{quality}")
                yield Step(self.step, loss, self.splits, measured, self.best_psnr, clock.images_a_second)

    def _share_gradients(self) -> None:
        """Average the gradients over the processes, of the parameters that have a part in the loss by now."""
        resting = set(self.network.resting)
        for parameter in self.network.parameters():
            parameter.requires_grad_(parameter not in resting)
        self.objective = self.world.wrap(Objective(self.network, self.config.final_weight))

    def train_step(self) -> tuple[float, Tensor]:
        """One optimizer step on the next images.

        Returns the loss before it, and the errors of the levels and the output (L + 1,). Raises NotFinite, and
        leaves the weights as they were.
        """
        self.network.zero_grad()
        config = self.config
        counts = self._picks.new_zeros(*self._picks.shape, self.network.config.classes)
        sums = torch.zeros(len(counts) + 2, device=self.world.device)  # levels' errors, output's error, loss
        for part in range(config.accumulate):
            number = self.step * config.accumulate + part
            positions = self._positions(number)
            images, labels = self._feed.take(positions, self._positions(number + 1))
            condition = self._condition(images, labels)
            streams = BatchStreams(self._seed(PICKS, self.step), config.batch, positions.start % config.batch)
            with self._summed_up(last=part == config.accumulate - 1):
                with torch.autocast(self.world.device.type, getattr(torch, config.precision),
                                    enabled=config.precision != "float32"):
                    loss = self.objective(images, streams, condition)
                self.scaler.scale(loss.total / config.accumulate).backward()
            sums += torch.cat([loss.levels, loss.total.detach()[None]]) / (config.accumulate * self.world.size)
            nodes = loss.picks + torch.arange(len(counts), device=counts.device) * counts.shape[1]
            classes = condition.argmax(1).view(-1, 1) if condition is not None and counts.shape[2] > 1 else 0
            counts.view(-1).scatter_add_(0, (nodes * counts.shape[2] + classes).flatten(),
                                         loss.guided.flatten().float())
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        found = torch.cat([self.world.sum(sums), norm[None]]).cpu()  # a GPU is waited for here, not once a level
        self._require_finite(found)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with warnings.catch_warnings():  # of a first step that the scaler skipped, since its gradient overflowed
            warnings.simplefilter("ignore", UserWarning)
            self._rates.step()
        self._follow(self.world.sum(counts))
        self.step += 1
        return float(found[-2]), found[:-2]

    def _summed_up(self, last: bool) -> AbstractContextManager[None]:
        """Let the processes average their gradients after the last part of a step alone."""
        if isinstance(self.objective, nn.parallel.DistributedDataParallel) and not last:
            return self.objective.no_sync()
        return nullcontext()

    def _require_finite(self, found: Tensor) -> None:
        """found: errors of the levels and the output, the loss, and the gradient's norm; on the CPU."""
        where = (~found[:-1].isfinite()).nonzero()[:, 0]
        if len(where) == 0 and (found[-1].isfinite() or self.scaler.is_enabled()):  # a scaler skips what overflows
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
        generator = torch.Generator(self.world.device).manual_seed(self._seed(SPLIT, self.step))
        averaged = dict(zip(self.network.parameters(), self.average.parameters(), strict=True))
        due = []
        for splits in self.network.split_and_prune(counts, self.config.split_gate, self.config.split_swaps,
                                                    generator):
            due.append(splits.due)
            moments = self.optimizer.state[splits.nodes]  # none before the first step that a scaler did not skip
            for per_node in (*(moments[name] for name in MOMENTS if moments), averaged[splits.nodes]):
                splits.apply(per_node)
        if due:
            self.splits += int(torch.cat(due).sum())
        self._averaged.update_parameters(self.network)

    def validate(self) -> float:
        """Mean PSNR of the moving average on the validation images; keeps the weights if they are the best."""
        images, conditions = self._validation(self.config.validation_images)
        found = torch.zeros(2, dtype=torch.float64, device=self.world.device)
        ours = torch.arange(len(images))[self.world.rank :: self.world.size]
        for rows in torch.split(ours, VALIDATION_BATCH) if len(ours) else ():
            part = images[rows]
            decoded = self.average.reconstruct(part.to(self.world.device), effort=self.average.max_effort,
                                               condition=None if conditions is None else conditions[rows]).image
            errors = squared_errors(to_pixels(part), to_pixels(decoded))
            found += torch.tensor([sum(map(psnr, errors)), len(errors)]).to(found)
        total, count = self.world.sum(found)
        measured = float(total / count)
        if measured > self.best_psnr:
            self.best_psnr = measured
            if self.world.leads:
                (self.folder / PRIOR_FILE).unlink(missing_ok=True)  # of weights that were the best before
                save_network(self.folder / BEST_FILE, self.average, self.folder.resolve().name)
        return measured

    def _pictures(self) -> tuple[Pixels, Pixels]:
        """Grids of pictures: validation images, below each what 1/8, 1/4, 1/2 and all levels show; random samples."""
        config, device = self.network.config, self.world.device
        images, condition = self._validation(PICTURED)
        rows = [images, *(self.average.reconstruct(images.to(device), max(1, config.levels // part),
                                                   condition=condition).image for part in (8, 4, 2, 1))]
        none = torch.empty(len(images), 0, dtype=torch.int64, device=device)
        shares = self.average.shares
        prior = None if shares is None else Odds(shares, unseen=0)
        samples = []
        for seed in range(2):
            streams = PerImageStreams(seed, range(len(images)))
            sampler = ReplaySampler(none, RandomSampler(streams, prior=prior))
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
        for prefix, part in ((NETWORK, self.network.state_dict()), (AVERAGE, self.average.state_dict()),
                             (OPTIMIZER, flatten_optimizer(self.optimizer))):
            tensors |= {prefix + name: tensor for name, tensor in part.items()}
        facts = {"train": asdict(self.config), "network": self.network.config.to_json(), "step": self.step,
                 "coupled": self.coupled, "refining_since": self.refining_since,
                 "schedule_changed": self.schedule.changed, "splits": self.splits,
                 "best_psnr": self.best_psnr if math.isfinite(self.best_psnr) else None,
                 "scaler": self.scaler.state_dict(),
                 "packed": self.source.file.name if isinstance(self.source, Packed) else None}
        save_state(self.folder / STATE_FILE, tensors, facts)


def train_once(recipe: Recipe, folder: Path, progress: Progress = SILENT) -> Path:
    """Train by a recipe on the CPU, in a folder of its own: a run that was stopped goes on, one that is over is left.

    Args:
        recipe: The same one whenever it is the same folder.
        folder: Made where it is not there.
        progress: Is told of the run.

    Returns:
        The best weights.

    Raises:
        OutputExists: Another process trains in the folder.
        DdnError: As `Trainer` does.
    """
    with locked(folder):
        world = World(torch.device("cpu"))
        trainer = (Trainer.resume(folder, world, progress=progress) if (folder / STATE_FILE).exists() else
                   Trainer.create(folder, recipe, world, progress))
        if not trainer.over:
            for _ in trainer.run():
                pass
    return folder / BEST_FILE


def _require_work(recipe: Recipe) -> None:
    """Raise BadRecipe for a network whose weights nobody could load."""
    with torch.device("meta"):
        network = build(recipe.network)
    try:
        require_work(recipe.network, sum(tensor.numel() for tensor in network.state_dict().values()))
    except BadCheckpoint as error:
        raise BadRecipe(str(error)) from None


def _open_source(folder: Path, recipe: Recipe, world: World, progress: Progress) -> Source:
    """The recipe's images; rank 0 packs them, and says where: to others the files' times may look otherwise."""
    config, resolution = recipe.train, recipe.network.resolution
    if config.data is None:
        return Faces(resolution, Path(config.cache) if config.cache else None, config.faces)
    place = _pack_folder(folder, config)
    packed = ""
    if world.leads:
        with progress.phase("packing images") as advance:
            packed = pack(config.data, resolution, place, lambda count: advance()).name
    return Packed(place / world.from_rank_0(packed), config.seed)


def _pack_folder(folder: Path, config: TrainConfig) -> Path:
    """Where packed images are: in the cache, or else in the run's own folder."""
    return Path(config.cache) if config.cache else folder

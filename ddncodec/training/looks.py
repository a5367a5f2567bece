"""Training of a look: the refiner alone, on predictions that the finished network made once of its training images.

`faithful` lowers the squared error, as the shipped refiners learned. `natural` also deceives a discriminator, and has
the originals' spectrum and colours: it draws detail that is likely where the picks say nothing of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ddncodec import zoo
from ddncodec.data import Faces, Packed, Source, pack
from ddncodec.errors import BadCheckpoint, BadRecipe, InputMissing, NotFinite, reason
from ddncodec.files import atomic_write
from ddncodec.images import Picture, write_picture
from ddncodec.looks import FAITHFUL, NATURAL, load_look, looks_of, save_look
from ddncodec.metrics.distortion import mean_psnr, psnr, squared_errors
from ddncodec.metrics.sliced import sliced_distance
from ddncodec.metrics.spectrum import band_ratios, radial_power
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.network.principal.refiner import Refiner
from ddncodec.pixels import rounded, to_pixels, to_tensor
from ddncodec.progress import SILENT, Progress
from ddncodec.training.augment import close_ups
from ddncodec.training.average import moving_average
from ddncodec.training.checkpoint import below, flatten_optimizer, previous, read_state, restore_optimizer, save_state
from ddncodec.training.discriminator import Discriminator, deceived, hinge
from ddncodec.training.schedule import Schedule
from ddncodec.training.watch import LOG_FILE, PREVIEW_FILE, Clock, grid
from ddncodec.weights import WeightsInfo, load_network, save_network

LOOKS = (FAITHFUL, NATURAL)
STATE_FILE = "look.safetensors"
FORMAT = "ddncodec-look-run-1"
CACHE_BATCH = 100
VALIDATION_BATCH = 64
PICTURED = 8  # validation images in the preview
SHORTER = 0.4  # the share of a batch that is of shorter streams
LENGTHS = (1, 2, 6)  # what of the levels is validated: all, a half, a sixth; 144, 72 and 24 bytes of 1,152 bits
MOST_LOST = 1.0  # dB below the weights' own refiner, on whole streams, that the best natural look may be
COARSE = 16  # spectra are compared from so small a share of the sampling rate on: of what is coarser the picks speak
LOCAL = 0.02  # the weight of each image's spectrum beside the batch's
QUIET = 0.1  # the least of the usual power that a rough image's is taken for: in the flattest ones nothing is usual
CLOSE_UP = 8  # of so many faces one is a close-up: the rest are nowhere flat, and no look is to draw into what is
PARTS = ("refiner.", "average.", "discriminator.", "optimizer.", "rival.")


@dataclass(frozen=True, slots=True)
class LookConfig:
    """How a look is trained.

    look: `faithful` or `natural`. of: the weights, by name or path. data: where the images are, or None for the
    synthetic faces. cache: a folder that keeps what was drawn or decoded; None: the run's own. images: how many of the
    training images to take, over and over. steps: of `batch` images. lr: Adam's rate for the refiner; discriminator_lr:
    for the discriminator. Both warm up over `warmup` steps and decay to zero along half a cosine. ema: decay of the
    moving average, which is what is kept. precision: float32 or bfloat16, of convolutions.

    The natural loss is a sum: error_weight times the squared error, adversarial times the discriminator's, spectrum
    times the squared difference of power spectra, means times the squared error of each channel's mean.
    """

    look: str
    of: str
    data: str | None = None
    cache: str | None = None
    images: int = 12_000
    seed: int = 0
    steps: int = 8_000
    batch: int = 16
    lr: float = 1e-4
    discriminator_lr: float = 3e-4
    warmup: int = 100
    ema: float = 0.999
    precision: str = "float32"
    error_weight: float = 4.0
    adversarial: float = 0.006
    spectrum: float = 1.0
    means: float = 20.0
    validation_images: int = 256
    validate_every: int = 500
    save_every: int = 250

    def __post_init__(self) -> None:
        if self.look not in LOOKS:
            raise BadRecipe(f"a look is one of {', '.join(LOOKS)}, not {self.look}")
        if self.precision not in ("float32", "bfloat16"):
            raise BadRecipe(f"a look is trained in float32 or bfloat16, not {self.precision}")
        if not (self.steps >= 1 and self.batch >= 2 and self.images >= self.batch):
            raise BadRecipe("a look wants a step, a batch of two images, and at least a batch of images")


class Predictions:
    """Training images, and what the network predicts of them: of whole streams, and of one shorter stream each.

    Computed once, into two memory-mapped files in a folder, whose names cover weights, data and seed; a computation
    that was stopped goes on.
    """

    def __init__(self, network: PrincipalGenerator, info: WeightsInfo, source: Source, config: LookConfig, folder: Path,
                 progress: Progress) -> None:
        self._source, self._batch = source, config.batch
        self._batches = config.images // config.batch
        count = self._batches * config.batch
        made_of = [info.id.hex(), config.data or f"faces, every {CLOSE_UP}th a close-up", config.seed, count]
        name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [_memory(folder / f"predictions-{name}-{part}.npy", count, network.config.axes)
                       for part in ("whole", "shorter")]
        done = int(np.count_nonzero(self._files[1].any(1)))  # rows are filled in order
        with progress.phase("predicting", count, done) as advance:
            for first in range(done // CACHE_BATCH * CACHE_BATCH, count, CACHE_BATCH):
                images = source.images(range(first, min(first + CACHE_BATCH, count)))
                shares = torch.rand(len(images), generator=torch.Generator().manual_seed(config.seed + first))
                for file, found in zip(self._files, network.predictions(images, shares), strict=True):
                    file[first : first + len(images)] = found.half().numpy()
                advance(len(images))

    def batch(self, step: int, seed: int) -> tuple[Tensor, Tensor]:
        """The images of a step (B, 3, R, R), and predictions of them (B, axes), first those of shorter streams."""
        lap, place = divmod(step, self._batches)
        number = np.random.default_rng([seed, lap]).permutation(self._batches)[place]
        first = int(number) * self._batch
        rows = slice(first, first + self._batch)
        whole, shorter = (torch.from_numpy(file[rows].astype(np.float32)) for file in self._files)
        cut = round(SHORTER * self._batch)
        # Which of a batch's images are cut changes from lap to lap.
        order = torch.from_numpy(np.random.default_rng([seed, lap, place]).permutation(self._batch))
        images = self._source.images(range(rows.start, rows.stop))[order]
        return images, torch.cat([shorter[order[:cut]], whole[order[cut:]]])


class LookTrainer:
    """A training of a look in a folder of its own: `create` begins it, `resume` goes on with it.

    It begins with the look that the weights have by that name, or else with their refiner.

    The folder holds the resumable state, the best look so far (`best.natural.safetensors`; of `faithful` whole weights,
    `best.safetensors`), the predictions, a log of JSON lines and a preview.
    """

    def __init__(self, folder: Path, config: LookConfig, device: torch.device, progress: Progress = SILENT) -> None:
        self.folder, self.config, self._progress = folder, config, progress
        self.info = zoo.find(config.of)
        network = load_network(self.info)
        if not isinstance(network, PrincipalGenerator) or network.refiner is None:
            raise BadRecipe(f"{self.info.name} has no refiner, and so no looks")
        self._device = device
        self.network = network
        self._source = _source(config, network.config.resolution, folder, progress)
        self._predictions = Predictions(network, self.info, self._source, config, folder, progress)
        self.network = network.to(device)
        self.refiner = deepcopy(network.refiner).requires_grad_().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.look in looks_of(self.info)[1:]:
            look = load_look(self.info, config.look)
            self.refiner.load_state_dict({key: torch.from_numpy(values) for key, values in look.tensors.items()})
        self._averaged = moving_average(self.refiner, config.ema)
        self._averaged.n_averaged.fill_(1)  # what the training began with counts as one
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.discriminator = Discriminator().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.refiner.parameters(), config.lr, betas=(0.5, 0.99))
        self.rival = torch.optim.Adam(self.discriminator.parameters(), config.discriminator_lr, betas=(0.5, 0.99))
        self._schedule = Schedule(config.steps, config.warmup)
        self.step, self.best = 0, -math.inf
        self.warning: str | None = None
        self._stop = False
        self._validation = self._validation_set()

    @classmethod
    def create(cls, folder: Path, config: LookConfig, device: torch.device, progress: Progress = SILENT) -> LookTrainer:
        """Begin in a folder, which is made. Raises BadRecipe, DataMissing, UnknownWeights."""
        trainer = cls(folder, config, device, progress)
        with open(folder / LOG_FILE, "a") as file:
            file.write(json.dumps({"look": asdict(config), "weights": trainer.info.id.hex()}) + "\n")
        return trainer

    @classmethod
    def resume(cls, folder: Path, device: torch.device, steps: int | None = None, progress: Progress = SILENT
               ) -> LookTrainer:
        """Go on with a training, to another number of steps if given; where the newest state is damaged, with the one
        before it.

        Raises InputMissing, BadCheckpoint.
        """
        newest = folder / STATE_FILE
        try:
            return cls._resume(newest, device, steps, progress)
        except (InputMissing, BadCheckpoint) as error:
            if not previous(newest).exists():
                raise
            trainer = cls._resume(previous(newest), device, steps, progress)
            trainer.warning = f"{error}; going on with the state before it, of step {trainer.step}"
            return trainer

    @classmethod
    def _resume(cls, state: Path, device: torch.device, steps: int | None, progress: Progress) -> LookTrainer:
        tensors, facts = read_state(state, FORMAT)
        try:
            config = LookConfig(**facts["config"] | ({} if steps is None else {"steps": steps}))
            trainer = cls(state.parent, config, device, progress)
            if trainer.info.id.hex() != facts["weights"]:
                raise ValueError(f"it is of the weights {facts['weights']}, and {config.of} is now others")
            parts = [below(prefix, tensors) for prefix in PARTS]
            for module, part in zip((trainer.refiner, trainer.average, trainer.discriminator), parts, strict=False):
                module.load_state_dict(part)
            trainer.step = int(facts["step"])
            trainer.best = -math.inf if facts["best"] is None else float(facts["best"])
            for optimizer, part in zip((trainer.optimizer, trainer.rival), parts[3:], strict=True):
                restore_optimizer(optimizer, part)
            trainer._averaged.n_averaged.fill_(trainer.step + 1)
        except (KeyError, TypeError, ValueError, RuntimeError, BadRecipe) as error:
            raise BadCheckpoint(reason(error), state) from None
        return trainer

    @property
    def average(self) -> Refiner:
        """The refiner with the moving average of its weights: what is validated and kept."""
        return cast(Refiner, self._averaged.module)

    def request_stop(self) -> None:
        """Stop after the step under way, with the state saved; safe to call from a signal handler."""
        self._stop = True

    def run(self) -> Iterator[dict[str, Any]]:
        """Train to the end, or until asked to stop; yields what each step and validation found. Raises NotFinite."""
        config, clock = self.config, Clock(self.config.batch)
        note = ""
        with self._progress.phase(f"training the {config.look} look", config.steps, self.step) as advance:
            while self.step < config.steps and not self._stop:
                found = self.train_step()
                clock.tick()
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    measured = self.validate()
                    found |= measured | {"seconds": round(clock.seconds, 1)}
                    note = f", {measured['psnr'][0]:.2f} dB, distance {measured['distance'][0]:.2f}"
                    with open(self.folder / LOG_FILE, "a") as file:
                        file.write(json.dumps(found) + "\n")
                    self._preview()
                if self.step % config.save_every == 0:
                    self.save()
                advance(1, f"{clock.images_a_second:.0f} images/s, loss {found['loss']:.4f}{note}")
                yield found
        self.save()

    def train_step(self) -> dict[str, Any]:
        """One step of the refiner, and of the discriminator where there is one. Raises NotFinite."""
        images, predictions = self._predictions.batch(self.step, self.config.seed)
        images = images.to(self._device)
        rough = self.network.spectrum.synthesise(predictions.to(self._device))
        if self.step % 2:
            images, rough = images.flip(3), rough.flip(3)
        for optimizer, rate in ((self.optimizer, self.config.lr), (self.rival, self.config.discriminator_lr)):
            optimizer.param_groups[0]["lr"] = rate * self._schedule(self.step)
        with self._autocast():
            refined = self.refiner(rough).float()
        error = (refined - images).square().mean()
        found = {"step": self.step + 1, "error": error.item()}
        loss = error if self.config.look == FAITHFUL else self._natural(images, rough, refined, error, found)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.refiner.parameters(), 1.0)
        found["loss"] = loss.item()
        if not (loss.isfinite() and norm.isfinite()):
            raise NotFinite(f"step {self.step + 1} is not finite; {self.folder / STATE_FILE} is as it was saved before")
        self.optimizer.step()
        self._averaged.update_parameters(self.refiner)
        self.step += 1
        return found

    def _natural(self, images: Tensor, rough: Tensor, refined: Tensor, error: Tensor, found: dict[str, Any]) -> Tensor:
        """The refiner's loss, after a step of the discriminator."""
        config, shown = self.config, refined.clamp(-1, 1)
        self.discriminator.requires_grad_()
        with self._autocast():
            verdicts = [self.discriminator(shown_one, rough) for shown_one in (images, shown.detach())]
            rival = hinge(*verdicts)
        self.rival.zero_grad()
        rival.backward()  # type: ignore[no-untyped-call]
        self.rival.step()
        self.discriminator.requires_grad_(False)
        with self._autocast():
            adversarial = deceived(self.discriminator(shown, rough))
        spectrum = self._spectrum(images, rough, shown)
        means = (shown - images).mean((2, 3)).square().mean()
        found |= {"discriminator": rival.item(), "adversarial": adversarial.item(), "spectrum": spectrum.item(),
                  "means": means.item()}
        return (config.error_weight * error + config.adversarial * adversarial + config.spectrum * spectrum
                + config.means * means)

    def _spectrum(self, images: Tensor, rough: Tensor, shown: Tensor) -> Tensor:
        """How unlike the power of whole streams' images is to the originals', in a quarter of each.

        The quarter is elsewhere at each step: of all of an image the middle would count, under the spectrum's window,
        and detail be drawn there. Squared differences, not of logarithms, have their minimum where the mean power is
        right. They are taken of the batch's mean and, in shares of what is usual where a rough image is as lively, of
        each image: else what trees lack is drawn into skies. Shorter streams are left out: held to the spectrum of what
        their picks do not say, the refiner weaves lattices.
        """
        side, cut = images.shape[-1] // 2, round(SHORTER * self.config.batch)
        y, x = np.random.default_rng([self.config.seed, self.step]).integers(side + 1, size=2).tolist()
        shares = [radial_power(some[cut:, :, y : y + side, x : x + side]) / self._power
                  for some in (shown, images, rough)]
        wrong = (shares[0] - shares[1])[:, side // COARSE :]
        lively = shares[2][:, side // COARSE : 2 * side // COARSE].mean(1, keepdim=True).clamp(min=QUIET)
        return wrong.mean(0).square().mean() + LOCAL * (wrong / lively).square().mean()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Measure the moving average on the validation images, by length of the stream; keep it if it is the best.

        Of `faithful`, the best has the highest PSNR of whole streams. Of `natural`, it is the latest that is at most
        MOST_LOST dB below the weights' own refiner: distances are small wherever much is drawn.

        Returns:
            psnr (mean, dB), distance (sliced), bands (shares of the originals' power), means (of decoded less original
            channels, in 8-bit steps): a list by length each.
        """
        originals, lengths = self._validation
        pixels = to_pixels(originals)
        drawn = [self._drawn(self.average, rough) for rough in lengths]
        measured: dict[str, Any] = {"psnr": [], "distance": [], "bands": [], "means": []}
        for pictures in drawn:
            decoded = to_tensor(pictures)
            measured["psnr"].append(mean_psnr(pixels, pictures))
            measured["distance"].append(sliced_distance(decoded, originals))
            measured["bands"].append(band_ratios(decoded, originals))
            measured["means"].append((127.5 * (decoded - originals).mean((0, 2, 3))).tolist())
        if self.config.look == FAITHFUL:
            score = measured["psnr"][0]
        else:
            near = _psnr(pixels, drawn[0]) >= self._faithful_psnr - MOST_LOST
            score = self.step if near else -math.inf
        if score > self.best:
            self.best = score
            self._save_best()
        return measured

    def _save_best(self) -> None:
        if self.config.look == FAITHFUL:
            network = deepcopy(self.network).cpu()
            network.refiner = deepcopy(self.average).cpu()
            save_network(self.folder / "best.safetensors", network, self.folder.resolve().name)
            return
        tensors = {name: tensor.cpu().half().contiguous().numpy() for name, tensor in self.average.state_dict().items()}
        save_look(self.folder / f"best.{self.config.look}.safetensors", self.config.look, tensors, self.info)

    def _validation_set(self) -> tuple[Tensor, list[Tensor]]:
        """Validation images, and of each length their rough pictures; and the faithful refiner's PSNR."""
        images = self._source.validation(self.config.validation_images)
        rough = []
        for part in LENGTHS:
            levels = max(1, self.network.config.levels // part)
            rough.append(torch.cat([self.network.spectrum.synthesise(self.network.prediction(few, levels))
                                    for few in torch.split(images.to(self._device), VALIDATION_BATCH)]))
        assert self.network.refiner is not None
        quarters = torch.cat([part for half in images.chunk(2, 2) for part in half.chunk(2, 3)])
        self._power = radial_power(quarters).mean(0).to(self._device)
        self._faithful_psnr = _psnr(to_pixels(images), self._drawn(self.network.refiner, rough[0]))
        return images, rough

    def _drawn(self, refiner: nn.Module, rough: Tensor) -> npt.NDArray[np.uint8]:
        """The pictures of rough ones, (N, R, R, 3), uint8."""
        with torch.no_grad():
            return np.concatenate([rounded(refiner(few)).cpu().numpy() for few in torch.split(rough, VALIDATION_BATCH)])

    def _preview(self) -> None:
        """Originals, and for each length the pictures of the weights' own refiner and of the one that learns."""
        assert self.network.refiner is not None
        refiners = self.network.refiner, self.average
        rows = [self._validation[0][:PICTURED]]
        for rough in self._validation[1]:
            rows += [to_tensor(self._drawn(refiner, rough[:PICTURED])) for refiner in refiners]
        with atomic_write(self.folder / PREVIEW_FILE, overwrite=True) as file:
            write_picture(Picture(grid(rows)), file)

    def save(self) -> None:
        """Write the state that `resume` reads."""
        parts = (self.refiner.state_dict(), self.average.state_dict(), self.discriminator.state_dict(),
                 flatten_optimizer(self.optimizer), flatten_optimizer(self.rival))
        tensors = {prefix + name: tensor for prefix, part in zip(PARTS, parts, strict=True)
                   for name, tensor in part.items()}
        save_state(self.folder / STATE_FILE, tensors,
                   {"config": asdict(self.config), "weights": self.info.id.hex(), "step": self.step,
                    "best": self.best if math.isfinite(self.best) else None}, FORMAT)


def _psnr(originals: npt.NDArray[np.uint8], drawn: npt.NDArray[np.uint8]) -> float:
    """That of the pictures' mean error, as docs/looks.md tells it."""
    return psnr(float(squared_errors(originals, drawn).mean()))


def _memory(path: Path, rows: int, axes: int) -> npt.NDArray[np.float16]:
    """A memory-mapped file of coefficients, made where it is not there."""
    if not path.exists():
        return np.lib.format.open_memmap(path, "w+", np.float16, (rows, axes))
    try:
        found = np.lib.format.open_memmap(path, "r+")
    except ValueError as error:
        raise BadCheckpoint(str(error), path) from None
    if found.dtype != np.float16 or found.shape != (rows, axes):
        raise BadCheckpoint("not predictions of these images", path)
    return cast("npt.NDArray[np.float16]", found)


class FacesAndCloseUps(Faces):
    """Synthetic faces, of which every CLOSE_UP-th one is a close-up."""

    def images(self, positions: range) -> Tensor:
        images = super().images(positions)
        chosen = [place for place, position in enumerate(positions) if position % CLOSE_UP == 0]
        if chosen:
            images[chosen] = to_tensor(to_pixels(close_ups(images[chosen], [positions[place] for place in chosen])))
        return images


def _source(config: LookConfig, resolution: int, folder: Path, progress: Progress) -> Source:
    cache = Path(config.cache) if config.cache else None
    if config.data is None:
        return FacesAndCloseUps(resolution, cache or folder / "faces", config.images)
    with progress.phase("packing images") as advance:
        return Packed(pack(config.data, resolution, cache or folder, lambda count: advance()), config.seed)

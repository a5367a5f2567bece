"""Images that no one encoded: drawn by chance, or as guides would have them. Each is a latent that decodes to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ddncodec import zoo
from ddncodec.api import Model, codec_of
from ddncodec.codec import Codec
from ddncodec.guides import Objective
from ddncodec.images import Picture, Pixels, fit, write_picture
from ddncodec.inputs import AnyImage, pixels_of
from ddncodec.latent import Latent
from ddncodec.network.condition import condition_of, one_hot
from ddncodec.network.config import CLASS
from ddncodec.pixels import to_pixels, to_tensor
from ddncodec.priors.file import load_prior
from ddncodec.priors.odds import Odds
from ddncodec.samplers.conditional import LOOKAHEAD, TOP, TYPICAL, ConditionalSampler
from ddncodec.samplers.protocol import Continuation, Prior
from ddncodec.samplers.random import RandomSampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import PerImageStreams

OWN_PRIOR, NO_PRIOR = "own", "none"


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image that was drawn; a notebook shows it.

    Args:
        latent: Of all L levels; it decodes to the image, by a conditional network under the same condition.
        pixels: R×R×3, uint8.

    Examples:
        >>> import ddncodec
        >>> drawn = ddncodec.sample(seed=7, temperature=0.5)[0]
        >>> drawn.pixels.shape, drawn.latent.levels
        ((64, 64, 3), 1152)
    """

    latent: Latent
    pixels: Pixels

    def __repr__(self) -> str:
        return f"<Drawn {self.pixels.shape[1]}×{self.pixels.shape[0]}: {self.latent}>"

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        write_picture(Picture(self.pixels), file)
        return file.getvalue()


def sample(count: int = 1, model: Model = zoo.DEFAULT, *, seed: int = 0, first: int = 0, temperature: float = 1.0,
           prefix: Latent | None = None, condition: int | AnyImage | None = None,
           prior: str | PathLike[str] | Prior = OWN_PRIOR) -> list[Drawn]:
    """Draw images by chance.

    Args:
        count: How many images, 1 or more.
        model: A model's name, the path of a weights file, or a codec. Weights are loaded on the first call alone.
        seed: Of the random numbers, 0 or more. Image i of a seed is the same in whatever batch it is drawn.
        first: The number of the first image of the seed to draw, 0 or more.
        temperature: Above 0. 1: as likely as the prior says; below 1 likely picks are favoured, above 1 unlikely
            ones. Without a prior small and large steps.
        prefix: Picks of the first levels, which all images have; None: all levels are drawn.
        condition: For a conditional model alone: a class, from 0 on, or an image whose grey or edges it is given.
        prior: How likely picks are. "own": as the model's prior says, or else what its weights counted, or else as
            "none": all alike, the paper's choice. Or the path of a prior's file, or what `prior_of` gives.

    Returns:
        The images, numbers `first` to `first + count - 1` of the seed.

    Raises:
        TypeError: A condition is an image of a kind that `encode` does not take.
        ValueError: A number is out of range; a condition is missing, of another kind, or the model takes none.
        UnknownWeights: There is no such model, or the prefix is not one of its latents, or the prior is of another.
        BadCheckpoint: The weights file or the prior is damaged or none.
        InputMissing: There is no such prior.

    Examples:
        >>> import ddncodec
        >>> four = ddncodec.sample(4, seed=1, temperature=0.5)
        >>> variation, = ddncodec.sample(prefix=four[2].latent.prefix(144), temperature=0.5)
        >>> variation.latent.prefix(144) == four[2].latent.prefix(144)
        True
        >>> bags = ddncodec.sample(2, "fashion-class", condition=8)
    """
    _require_above_zero(count=count, temperature=temperature)
    codec = codec_of(model)
    if prefix is not None:
        codec.info.check_latent(prefix)
    streams = PerImageStreams(seed, range(first, first + count))
    chosen = prior_of(codec, prior) if isinstance(prior, str | PathLike) else prior
    return _draw(codec, count, RandomSampler(streams, temperature, chosen), prefix, condition)


def prior_of(codec: Codec, name: str | PathLike[str] = OWN_PRIOR) -> Prior | None:
    """The prior that `sample` takes by this name; None where all picks are equally likely.

    Args:
        codec: Of a model.
        name: "own", "none", or the path of a prior's file.

    Returns:
        The prior, loaded anew.

    Raises:
        InputMissing: There is no such file.
        UnknownWeights: It is the prior of other weights.
        BadCheckpoint: It is damaged or none.

    Examples:
        >>> import ddncodec
        >>> from ddncodec.generate import prior_of
        >>> codec = ddncodec.load_model("binddn")
        >>> prior_of(codec, "none") is None
        True
    """
    if name == NO_PRIOR:
        return None
    path = zoo.prior_path(codec.info) if name == OWN_PRIOR else Path(name)
    if name != OWN_PRIOR or path.is_file():
        return load_prior(path, codec.info, codec.network.cells, codec.device)
    shares = codec.network.shares
    return None if shares is None else Odds(shares, unseen=0)


@torch.no_grad()
def guide(objectives: Sequence[Objective], count: int = 1, model: Model = zoo.DEFAULT, *, seed: int = 0, first: int = 0,
          top: int = TOP, lookahead: int = LOOKAHEAD, typical: float = TYPICAL, condition: int | AnyImage | None = None
          ) -> list[Drawn]:
    """Draw images as guides would have them: picks by objectives in the place of the distance to a target image.

    Args:
        objectives: One or more, of `ddncodec.guides`; their targets and masks are on the codec's device.
        count: As in `sample`.
        model: As in `sample`.
        seed: As in `sample`.
        first: As in `sample`.
        top: Of how many of the best proposals one is taken by chance, 1 or more; 1: the best.
        lookahead: Bits that are decided at once, 1 or more: 2^N proposals are compared at each choice.
        typical: Weight of staying likely, where no guide is affine, 0 or more.
        condition: As in `sample`.

    Returns:
        The images, numbers `first` to `first + count - 1` of the seed.

    Raises:
        TypeError: As in `sample`.
        ValueError: As in `sample`; also where there is no objective.
        UnknownWeights: There is no such model.
        BadCheckpoint: The weights file is damaged or none.

    Examples:
        >>> import ddncodec, torch
        >>> from ddncodec.guides import Objective
        >>> from ddncodec.guides.kinds import Smaller
        >>> small = torch.tensor([0.6, 0.1, -0.2]).view(1, 3, 1, 1).expand(1, 3, 8, 8)  # in [−1, 1]
        >>> drawn, = ddncodec.guide([Objective(Smaller(8, 8), small)])
        >>> drawn
        <Drawn 64×64: <Latent ...: L = 1152, K = 2, 1152 bits>>
    """
    _require_above_zero(objectives=len(objectives), count=count, top=top, lookahead=lookahead)
    codec = codec_of(model)
    streams = PerImageStreams(seed, range(first, first + count))
    expectation = codec.network.expectation(objectives, typical)
    sampler = ConditionalSampler(codec.resolution, objectives, streams, expectation, top, lookahead)
    return _draw(codec, count, sampler, None, condition)


def _require_above_zero(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}")


@torch.no_grad()
def _draw(codec: Codec, count: int, then: Continuation, prefix: Latent | None, condition: int | AnyImage | None
          ) -> list[Drawn]:
    known = _condition(codec, condition)
    first = torch.tensor([prefix.indices if prefix else ()] * count, dtype=torch.int64, device=codec.device)
    if known is not None:
        known = known.expand(count, -1, -1, -1)
    drawn = codec.network.run(ReplaySampler(first, then), count, condition=known)
    latents = Latent.from_tensor(drawn.indices, codec.k)
    if known is not None:
        return [Drawn(*pair) for pair in zip(latents, to_pixels(drawn.image), strict=True)]
    # One by one, as from single files: in a batch a product's last bit may differ, and so a pixel by one.
    return [Drawn(latent, codec.decode(latent)) for latent in latents]


def _condition(codec: Codec, given: int | AnyImage | None) -> Tensor | None:
    """What the network is given besides the picks, (1, C, r, r); None where it is not conditional."""
    condition, name = codec.info.config.condition, codec.info.name
    if condition is None:
        if given is not None:
            raise ValueError(f"{name} takes no condition")
        return None
    if given is None or isinstance(given, int) != (condition.kind == CLASS):
        raise ValueError(f"{name} takes {'a class' if condition.kind == CLASS else 'an image'} as its condition")
    if isinstance(given, int):
        if not 0 <= given < condition.channels:
            raise ValueError(f"{name} knows the classes 0 to {condition.channels - 1}, not {given}")
        return one_hot(torch.tensor([given], device=codec.device), condition.channels)
    images = to_tensor(fit(pixels_of(given), codec.resolution)[None]).to(codec.device)
    return condition_of(condition, images, None)

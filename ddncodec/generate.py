"""Images that no one encoded: drawn by chance, or as guides would have them. Each is a latent that decodes to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddncodec.codec import Codec
from ddncodec.guides import Objective
from ddncodec.images import Pixels
from ddncodec.latent import Latent
from ddncodec.pixels import to_pixels
from ddncodec.samplers.conditional import LOOKAHEAD, TOP, TYPICAL, ConditionalSampler
from ddncodec.samplers.protocol import Continuation
from ddncodec.samplers.random import RandomSampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import PerImageStreams


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image, R×R×3 uint8, and the latent of all L levels that it is."""

    latent: Latent
    pixels: Pixels


def sample(codec: Codec, images: Sequence[int], seed: int = 0, temperature: float = 1.0, prefix: Latent | None = None,
           condition: Tensor | None = None) -> list[Drawn]:
    """Images drawn by chance; image i of a seed is the same beside whatever others. See `RandomSampler`.

    prefix: the first levels of all of them. condition: (1, C, r, r), what a conditional network is given; None
    for others. Raises UnknownWeights for a prefix of another network's.
    """
    if prefix is not None:
        codec.info.check_latent(prefix)
    return _draw(codec, len(images), RandomSampler(PerImageStreams(seed, images), temperature), prefix, condition)


@torch.no_grad()
def guide(codec: Codec, objectives: Sequence[Objective], images: Sequence[int] = range(1), seed: int = 0,
          top: int = TOP, lookahead: int = LOOKAHEAD, typical: float = TYPICAL,
          condition: Tensor | None = None) -> list[Drawn]:
    """Images that lower objectives, whose targets and masks are on the codec's device; see `sample`.

    top, lookahead: as in `ConditionalSampler`. typical: weight of staying likely, where no objective is affine.
    """
    sampler = ConditionalSampler(codec.resolution, objectives, PerImageStreams(seed, images),
                                 codec.network.expectation(objectives, typical), top, lookahead)
    return _draw(codec, len(images), sampler, None, condition)


@torch.no_grad()
def _draw(codec: Codec, count: int, then: Continuation, prefix: Latent | None, condition: Tensor | None) -> list[Drawn]:
    first = torch.tensor([prefix.indices if prefix else ()] * count, dtype=torch.int64, device=codec.device)
    if condition is not None:
        condition = condition.expand(count, -1, -1, -1)
    drawn = codec.network.run(ReplaySampler(first, then), count, condition=condition)
    latents = [Latent(tuple(row), codec.info.config.k) for row in drawn.indices.tolist()]
    if condition is not None:
        return [Drawn(*pair) for pair in zip(latents, to_pixels(drawn.image), strict=True)]
    # One by one, as from single files: in a batch a product's last bit may differ, and so a pixel by one.
    return [Drawn(latent, codec.decode(latent)) for latent in latents]

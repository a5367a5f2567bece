"""Images that no one encoded: drawn by chance, or as guides would have them. Each is a latent that decodes to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddncodec.codec import Codec
from ddncodec.guides import Wish
from ddncodec.images import Pixels
from ddncodec.latent import Latent
from ddncodec.pixels import to_pixels
from ddncodec.samplers import Draw, Replay
from ddncodec.samplers.chance import Dice, Random
from ddncodec.samplers.ranked import LOOKAHEAD, TOP, TYPICAL, Ranked


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image, R×R×3 uint8, and the latent of all L levels that it is."""

    latent: Latent
    pixels: Pixels


def sample(codec: Codec, images: Sequence[int], seed: int = 0, temperature: float = 1.0, prefix: Latent | None = None,
           condition: Tensor | None = None) -> list[Drawn]:
    """Images drawn by chance: image i of a seed is the same beside whatever others; see `Random` for temperature.

    prefix: the first levels of all of them. condition: (1, C, r, r), what a conditional network is told; None for
    others. Raises UnknownWeights for a prefix of another network's.
    """
    if prefix is not None:
        codec.info.check_latent(prefix)
    return _draw(codec, len(images), Random(Dice(seed, images), temperature), prefix, condition)


@torch.no_grad()
def guide(codec: Codec, wishes: Sequence[Wish], images: Sequence[int] = range(1), seed: int = 0, top: int = TOP,
          lookahead: int = LOOKAHEAD, typical: float = TYPICAL, condition: Tensor | None = None) -> list[Drawn]:
    """Images as wishes have them, whose targets and masks are on the codec's device; see `Ranked` and `sample`."""
    ranked = Ranked(codec.network, wishes, Dice(seed, images), top, lookahead, typical)
    return _draw(codec, len(images), ranked, None, condition)


@torch.no_grad()
def _draw(codec: Codec, count: int, draw: Draw, prefix: Latent | None, condition: Tensor | None) -> list[Drawn]:
    first = torch.tensor([prefix.indices if prefix else ()] * count, dtype=torch.int64, device=codec.device)
    if condition is not None:
        condition = condition.expand(count, -1, -1, -1)
    drawn = codec.network.run(Replay(first, draw), count, condition=condition)
    latents = [Latent(tuple(row), codec.info.config.k) for row in drawn.indices.tolist()]
    if condition is not None:
        return [Drawn(*pair) for pair in zip(latents, to_pixels(drawn.image), strict=True)]
    # One by one, as from single files: in a batch a product's last bit may differ, and so a pixel by one.
    return [Drawn(latent, codec.decode(latent)) for latent in latents]

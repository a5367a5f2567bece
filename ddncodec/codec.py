"""Codec: image <-> latent <-> bytes, with one network. Batches are for speed: they change no result."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from ddncodec import container, zoo
from ddncodec.container import Stream
from ddncodec.errors import UnknownWeights
from ddncodec.images import Picture, Pixels, fit
from ddncodec.latent import Latent
from ddncodec.network.base import Generator
from ddncodec.pixels import to_pixels, to_tensor
from ddncodec.weights import WeightsInfo, load_network


class Codec:
    """A network that encodes and decodes, and the id of its weights that streams name.

    Images are H×W×3 uint8 arrays in sRGB, of any size: they are fitted to the network's resolution.
    """

    def __init__(self, network: Generator, info: WeightsInfo, device: torch.device) -> None:
        self.network, self.info, self.device = network.to(device), info, device

    @property
    def levels(self) -> int:
        """L, the number of levels of a whole latent."""
        return self.info.config.levels

    @property
    def resolution(self) -> int:
        """The side of the network's square images, in pixels."""
        return self.info.config.resolution

    def encode(self, image: Pixels, levels: int | None = None, effort: int | None = None) -> Latent:
        """The latent of an image, or its first `levels` levels (1 to L; ValueError); the highest effort by default."""
        return self.encode_batch([image], levels, effort)[0]

    def decode(self, latent: Latent) -> Pixels:
        """The image of a latent or of a prefix of one: R×R×3 uint8. Raises UnknownWeights if it is not ours."""
        return self.decode_batch([latent])[0]

    def encode_batch(self, images: Sequence[Pixels], levels: int | None = None,
                     effort: int | None = None) -> list[Latent]:
        """`encode` for several images at once. Raises UnknownWeights for a conditional network, as decoding does."""
        if levels is not None and not 1 <= levels <= self.levels:
            raise ValueError(f"levels must be 1 to {self.levels}, not {levels}")
        self._require_unconditional()
        if not images:
            return []
        fitted = np.stack([fit(_checked(image), self.resolution) for image in images])
        indices = self.network.encode(to_tensor(fitted).to(self.device), levels,
                                      self.network.max_effort if effort is None else effort)
        return [Latent(tuple(row), self.info.config.k) for row in indices.tolist()]

    def decode_batch(self, latents: Sequence[Latent]) -> list[Pixels]:
        """`decode` for several latents at once, of any lengths."""
        self._require_unconditional()
        for latent in latents:
            self.info.check_latent(latent)
        images: dict[int, Pixels] = {}
        for levels in sorted({latent.levels for latent in latents}):
            rows = [i for i, latent in enumerate(latents) if latent.levels == levels]
            indices = torch.tensor([latents[i].indices for i in rows], device=self.device)
            images |= dict(zip(rows, to_pixels(self.network.decode(indices)), strict=True))
        return [images[i] for i in range(len(latents))]

    def _require_unconditional(self) -> None:
        if self.info.config.condition is not None:
            raise UnknownWeights(f"{self.info.name} wants to be told each image's {self.info.config.condition.kind}, "
                                 f"which a .ddn file does not hold")

    def to_stream(self, picture: Picture, latent: Latent, comment: str | None = None) -> Stream:
        """What a .ddn file of this picture holds."""
        height, width = picture.pixels.shape[:2]
        return Stream(latent, width, height, self.info.id, picture.icc, comment)

    def to_pictures(self, streams: Sequence[Stream], levels: int | None = None) -> list[Picture]:
        """The pictures of streams at their own sizes, of their first `levels` if given. Raises UnknownWeights."""
        for stream in streams:
            self.info.check(stream)
        latents = [stream.latent if levels is None else stream.latent.prefix(min(levels, stream.latent.levels))
                   for stream in streams]
        return [Picture(fit(pixels, (stream.height, stream.width)), stream.icc)
                for pixels, stream in zip(self.decode_batch(latents), streams, strict=True)]


def load_model(name_or_path: str = zoo.DEFAULT, device: str = "auto") -> Codec:
    """The codec of a checkpoint: a name of the zoo or a weights file; device is auto, cpu, cuda or cuda:n.

    Raises UnknownWeights, BadCheckpoint; ValueError for a device that is not here.
    """
    return load_weights(zoo.find(name_or_path), device)


def load_weights(info: WeightsInfo, device: str = "auto") -> Codec:
    """`load_model` for weights that are found already."""
    chosen = choose_device(device)
    return Codec(load_network(info), info, chosen)


def choose_device(device: str) -> torch.device:
    """auto is CUDA where there is one, else the CPU. Raises ValueError for another name or a missing device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch("cpu|cuda(:[0-9]+)?", device):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:n, not {device}")
    if device != "cpu" and int(device[5:] or 0) >= torch.cuda.device_count():
        raise ValueError(f"there is no device {device} here")
    return torch.device(device)


def encode(image: Pixels, model: str = zoo.DEFAULT, levels: int | None = None, effort: int | None = None) -> bytes:
    """The bytes of a .ddn file of an image, H×W×3 uint8. To encode many, keep a `Codec`."""
    codec = load_model(model)
    return container.to_bytes(codec.to_stream(Picture(_checked(image)), codec.encode(image, levels, effort)))


def decode(data: bytes) -> Pixels:
    """The image in the bytes of a .ddn file, H×W×3 uint8, by the shipped weights that it names."""
    stream = container.from_bytes(data)
    return load_weights(zoo.find_id(stream.weights_id)).to_pictures([stream])[0].pixels


def _checked(image: Pixels) -> Pixels:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"an image is an H×W×3 array of uint8, not {pixels.shape} of {pixels.dtype}")
    return pixels

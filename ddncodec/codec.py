"""Codec: images <-> latents <-> streams, with one network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import count
from os import PathLike
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddncodec import zoo
from ddncodec.container import Stream
from ddncodec.decoding import StreamDecoder
from ddncodec.errors import UnknownWeights, memory_errors
from ddncodec.images import Picture, Pixels, fit
from ddncodec.inputs import AnyImage, pixels_of_batch
from ddncodec.latent import Latent, payload_bytes
from ddncodec.metrics.distortion import psnr as psnr_of
from ddncodec.metrics.distortion import squared_errors
from ddncodec.network.base import Generator
from ddncodec.pixels import require_finite, to_pixels, to_tensor
from ddncodec.sizes import ladder, longest
from ddncodec.weights import WeightsInfo, load_network


class Near(NamedTuple):
    """A latent and, where it was decoded, how near to the original its picture is.

    psnr: in dB, at the network's resolution; infinite for the original itself. pixels: of the picture, R×R×3.
    """

    latent: Latent
    psnr: float | None = None
    pixels: Pixels | None = None


class Codec(StreamDecoder):
    """A network that encodes images to latents and decodes them; `load_model` makes one.

    An image is a NumPy array of uint8 (H×W×3, H×W grey, or H×W×4, RGBA, seen over white), a PIL image of any mode, or
    a torch tensor (3×H×W, floating-point in [0, 1]); in sRGB and of any size. It is rounded to 8 bits and fitted to
    the network's resolution, so that the same picture has the same latent in whichever of these it comes.

    A batch of N images is a list of them, an array N×H×W×3 or a tensor N×3×H×W. It is faster than one by one; memory
    grows with N, and 64 is a good number. Results in a batch may differ from those alone in a near-tie of two proposals
    (encoding) or by 1 in 8 bits (decoding).

    Encoding and decoding by a conditional network raise UnknownWeights: a latent does not hold the condition.

    Args:
        network: In evaluation mode; it is moved to the device.
        info: What its weights file says of itself.
        device: Where it runs.

    Examples:
        >>> import ddncodec, numpy as np, torch
        >>> codec = ddncodec.load_model("binddn")
        >>> codec.resolution, codec.k, codec.levels
        (64, 2, 1152)
        >>> latents = codec.encode_batch(torch.rand(2, 3, 64, 64), levels=576)
        >>> [image.shape for image in codec.decode_batch(latents)]
        [(64, 64, 3), (64, 64, 3)]
        >>> codec.decode_tensor(latents).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(self, network: Generator, info: WeightsInfo, device: torch.device) -> None:
        self.network, self.info, self.device = network.to(device), info, device

    def __repr__(self) -> str:
        return (f"<Codec {self.info.name!r} {self.info.id.hex()}: {self.resolution}×{self.resolution}, K = {self.k}, "
                f"L = {self.levels}, on {self.device}>")

    @property
    def levels(self) -> int:
        """L, the number of levels of a whole latent."""
        return self.info.config.levels

    @property
    def k(self) -> int:
        """K, the number of proposals of a level."""
        return self.info.config.k

    @property
    def resolution(self) -> int:
        """R, the side of the network's square images, in pixels."""
        return self.info.config.resolution

    def encode(self, image: AnyImage, levels: int | None = None, effort: int | None = None, *,
               max_bytes: int | None = None, psnr: float | None = None) -> Latent:
        """The latent of an image; see `encode_batch`."""
        return self.encode_batch([image], levels, effort, max_bytes=max_bytes, psnr=psnr)[0]

    def decode(self, latent: Latent) -> Pixels:
        """The image of a latent; see `decode_batch`."""
        return self.decode_batch([latent])[0]

    @memory_errors()
    def encode_batch(self, images: Iterable[AnyImage], levels: int | None = None, effort: int | None = None, *,
                     max_bytes: int | None = None, psnr: float | None = None) -> list[Latent]:
        """The latents of images.

        Args:
            images: N of any sizes; the class says what an image and a batch are.
            levels: How many to encode, 1 to L: the first ones, a coarser image. None: all L.
            effort: How hard to search: 1, the nearest proposal of each level, as in the paper; 2, the best picks of a
                whole block, where the network has a trellis. It costs encode time alone. None: the network's highest.
            max_bytes: The most bytes of the packed latent: the longest prefix that fits. None: any number.
            psnr: In dB, above 0: the fewest bytes whose picture is that near; see `shortest`. None: all levels.

        Returns:
            N latents of so many levels.

        Raises:
            TypeError: An image is of another kind.
            ValueError: An image has another shape or range; levels, effort or psnr is out of range.
            UnreadableImage: A PIL image cannot be decoded.
            TooFewBytes: max_bytes do not hold one level.
        """
        self._require_unconditional()
        if levels is not None and not 1 <= levels <= self.levels:
            raise ValueError(f"levels must be 1 to {self.levels}, not {levels}")
        fitted = [fit(pixels, self.resolution) for pixels in pixels_of_batch(images)]
        if not fitted:
            return []
        effort = self.network.max_effort if effort is None else effort
        indices = self.network.encode(to_tensor(np.stack(fitted)).to(self.device), levels, effort)
        latents = Latent.from_tensor(indices, self.k)
        if max_bytes is not None:
            most = longest(self._payload, latents[0].levels, max_bytes)
            latents = [latent.prefix(most) for latent in latents]
        if psnr is not None:
            latents = [near.latent for near in self.shortest(fitted, latents, psnr)]
        return latents

    def shortest(self, images: Sequence[Pixels], latents: Sequence[Latent], psnr: float,
                 steps: Sequence[Sequence[int]] | None = None) -> list[Near]:
        """The shortest prefixes whose pictures are near enough to the originals.

        PSNR over prefixes may fall before it rises. The first step that is near enough is taken, and every one before
        it is decoded: by default as many pictures of each image as its latent has bytes.

        Args:
            images: N, fitted to the network's resolution, R×R×3, uint8.
            latents: Their latents.
            psnr: How near, in dB, above 0.
            steps: For each latent the numbers of levels to try, rising. None: the longest prefix of each number of
                bytes, since a shorter one saves none.

        Returns:
            N prefixes; the last step where none is near enough, whose PSNR then says so.

        Raises:
            ValueError: psnr is not a number above 0.
            UnknownWeights: As in `decode_batch`.
        """
        if not 0 < psnr < math.inf:
            raise ValueError(f"psnr must be a finite number above 0, not {psnr}")
        if steps is None:
            steps = [list(ladder(self._payload, latent.levels)) for latent in latents]
        found: dict[int, Near] = {}
        for step in count():
            left = [i for i in range(len(latents)) if i not in found]
            if not left:
                break
            tried = [latents[i].prefix(steps[i][step]) for i in left]
            for i, near in zip(left, self.nearness([images[i] for i in left], tried), strict=True):
                assert near.psnr is not None
                if near.psnr >= psnr or near.latent.levels == steps[i][-1]:
                    found[i] = near
        return [found[i] for i in range(len(latents))]

    def nearness(self, images: Sequence[Pixels], latents: Sequence[Latent]) -> list[Near]:
        """How near the pictures of latents are.

        Args:
            images: N, fitted to the network's resolution, R×R×3, uint8.
            latents: Their latents.

        Returns:
            N latents with their pictures and PSNR.

        Raises:
            UnknownWeights: As in `decode_batch`.
        """
        if not latents:
            return []
        decoded = self.decode_batch(latents)
        errors = squared_errors(np.stack(images), np.stack(decoded))
        return [Near(latent, psnr_of(float(error)), pixels)
                for latent, error, pixels in zip(latents, errors, decoded, strict=True)]

    def _payload(self, levels: int) -> int:
        return payload_bytes(self.k, levels)

    @memory_errors()
    def decode_batch(self, latents: Sequence[Latent]) -> list[Pixels]:
        return list(to_pixels(self._decode(latents)))

    def decode_tensor(self, latents: Sequence[Latent]) -> Tensor:
        """The images of latents, not rounded to 8 bits.

        Args:
            latents: As in `decode_batch`.

        Returns:
            (N, 3, R, R), float32 in [0, 1], on the codec's device.

        Raises:
            UnknownWeights: As in `decode_batch`.
        """
        return ((require_finite(self._decode(latents)) + 1) / 2).clamp(0, 1)

    def _decode(self, latents: Sequence[Latent]) -> Tensor:
        """As the network has them, (N, 3, R, R) in [−1, 1] or slightly beyond."""
        self._require_unconditional()
        for latent in latents:
            self.info.check_latent(latent)
        images = torch.empty(len(latents), 3, self.resolution, self.resolution, device=self.device)
        for levels in {latent.levels for latent in latents}:
            rows = [row for row, latent in enumerate(latents) if latent.levels == levels]
            indices = Latent.stack([latents[row] for row in rows]).to(self.device)
            images[rows] = self.network.decode(indices)
        return images

    def _require_unconditional(self) -> None:
        if self.info.config.condition is not None:
            raise UnknownWeights(f"{self.info.name} needs each image's {self.info.config.condition.kind}, "
                                 f"which a .ddn file does not hold")

    def to_stream(self, picture: Picture, latent: Latent, comment: str | None = None) -> Stream:
        """What a .ddn file holds of a picture.

        Args:
            picture: The original, whose size and profile the file keeps.
            latent: What it was encoded to, or a prefix of that.
            comment: Any text.

        Returns:
            The stream, for `container.write`.

        Raises:
            AbsurdSize: The picture is larger than a file may say.
        """
        height, width = picture.size
        return Stream(latent, width, height, self.info.id, picture.icc, comment)


def load_model(name_or_path: str | PathLike[str] = zoo.DEFAULT, device: str = "auto") -> Codec:
    """Load a model, anew at every call: keep the codec.

    Args:
        name_or_path: The name of one of `list_models`, or the path of a weights file.
        device: auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:n.

    Returns:
        The codec of the model.

    Raises:
        ValueError: There is no such device.
        UnknownWeights: It is neither a name nor a file.
        BadCheckpoint: The weights file is damaged or none.

    Examples:
        >>> import ddncodec
        >>> ddncodec.load_model("binddn", device="cpu")
        <Codec 'binddn' ...: 64×64, K = 2, L = 1152, on cpu>
    """
    return load_weights(zoo.find(name_or_path), device)


@memory_errors()
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

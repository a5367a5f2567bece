"""Codec: images <-> latents <-> streams, with one network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor

from ddncodec import zoo
from ddncodec.coding import Picks, StreamCoder, Targets
from ddncodec.errors import memory_errors
from ddncodec.images import Pixels
from ddncodec.latent import Latent
from ddncodec.looks import FAITHFUL, load_look
from ddncodec.network.base import Generator
from ddncodec.pixels import require_finite, to_pixels, to_tensor
from ddncodec.weights import WeightsInfo, load_network


class Codec(StreamCoder):
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

    look: the name of what it draws with; `with_look` makes a codec of another.

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
        self.look, self._faithful = FAITHFUL, self

    def __repr__(self) -> str:
        return (f"<Codec {self.info.name!r} {self.info.id.hex()}: {self.resolution}×{self.resolution}, K = {self.k}, "
                f"L = {self.levels}, on {self.device}{f', {self.look}' * (self.look != FAITHFUL)}>")

    @memory_errors()
    def with_look(self, name: str) -> Codec:
        """A codec that draws pictures in another look, and shares all else with this one.

        Latents and files are the same in all looks. What `encode` knows of pictures, as by `psnr`, is of the codec's.

        Args:
            name: `faithful`, the nearest picture, or another of `ddncodec.looks.looks_of`, as `natural`: likely detail
                where the picks leave it open.

        Returns:
            The codec.

        Raises:
            UnknownWeights: The model has no such look.
            BadCheckpoint: The look's file is damaged.
        """
        if name in (self.look, FAITHFUL):
            return self if name == self.look else self._faithful
        look = load_look(self.info, name)
        tensors = {key: torch.from_numpy(values).float() for key, values in look.tensors.items()}
        other = Codec(self._faithful.network.with_refiner(tensors), self.info, self.device)
        other.look, other._faithful = name, self._faithful
        return other

    @property
    def on_cpu(self) -> bool:
        return self.device.type == "cpu"

    def _search(self, targets: Targets, levels: int, effort: int) -> Picks:
        return self.network.encode(to_tensor(targets).to(self.device), levels, effort).cpu().numpy()

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

"""Weights files: a network's configuration and weights in one safetensors file.

Weights are in half precision. A matrix NAME may be in 8 bits, −127 to 127, beside float32 numbers NAME.scale that its
rows are multiplied by. Weights that supersede others are another file with an id of its own, and name the others as
earlier ones, whose streams they decode as well.

The file's header and its content hash are read without torch, so that commands can name weights in
milliseconds; only `load_network` needs torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ddncodec import bare
from ddncodec.container import Stream
from ddncodec.errors import BadCheckpoint, NotFinite, UnknownWeights
from ddncodec.files import atomic_write, open_input
from ddncodec.latent import Latent
from ddncodec.network.config import GeneratorConfig, to_json
from ddncodec.network.registry import build, config_from_json

if TYPE_CHECKING:
    from torch import Tensor

    from ddncodec.network.base import Generator

FORMAT = "ddncodec-weights-1"
METADATA = 4_096  # bytes at the beginning of a file that hold its metadata, as they are written
MAX_HEADER = 16 * 2**20
MAX_WORK = 2**44  # multiplications to decode an image: some minutes
ID_BYTES = 4
MAX_EARLIER = 64  # weights that a file may name
MAX_DEVIATION = 255
SCALE = ".scale"  # behind a matrix's name: of its rows, where it is in 8 bits
EIGHT_BITS = 127  # the largest of their numbers


class Earlier(NamedTuple):
    """Weights that others supersede.

    id: theirs. deviation: by how many 8-bit steps, at most, the pictures of their streams were seen to change.
    """

    id: bytes
    deviation: int


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """What a weights file says of itself.

    path: the file. name: the checkpoint's. config: the network's. id: 4 bytes that a .ddn stream names. earlier: those
    whose streams these weights decode as well.
    """

    path: Path
    name: str
    config: GeneratorConfig
    id: bytes
    earlier: tuple[Earlier, ...] = ()

    @property
    def ids(self) -> list[bytes]:
        """Of the weights whose streams these decode: theirs first, then the earlier ones'."""
        return [self.id, *(one.id for one in self.earlier)]

    def check(self, stream: Stream) -> None:
        """Raise UnknownWeights unless the weights decode the stream: it was made with them, or with earlier ones."""
        if stream.weights_id not in self.ids:
            raise UnknownWeights(f"it was made with the weights {stream.weights_hex}, "
                                 f"not with {self.name}, {self.id.hex()}")
        self.check_latent(stream.latent)

    def bare_stream(self, data: bytes) -> Stream:
        """A bare stream, or its text, as made with these weights. Raises as `bare.from_bytes`, and UnknownWeights."""
        stream = bare.from_bytes(data, self.config.k, self.config.resolution, self.id)
        self.check_latent(stream.latent)
        return stream

    def check_latent(self, latent: Latent) -> None:
        """Raise UnknownWeights unless the latent has this network's K and at most its levels."""
        if latent.k != self.config.k or latent.levels > self.config.levels:
            raise UnknownWeights(f"{latent.levels} levels of {latent.k} are not of {self.name}, "
                                 f"which has {self.config.levels} levels of {self.config.k}")


def read_info(path: Path) -> WeightsInfo:
    """What a weights file says of itself, and its id: the first 4 bytes of the SHA-256 of its content.

    The id covers the configuration and every tensor's name, type, shape and bytes. Raises InputMissing,
    BadCheckpoint, also where the file states another id.
    """
    with open_input(path) as file:
        header = read_header(file, path)
        metadata = header.metadata
        marks = [metadata.get("format"), metadata.get("name"), metadata.get("config"), metadata.get("earlier", "{}")]
        if marks[0] != FORMAT or not all(isinstance(mark, str) for mark in marks):
            raise BadCheckpoint("not a checkpoint of ddncodec", path)
        try:
            config = config_from_json(marks[2])
            earlier = _earlier_from_json(marks[3])
        except BadCheckpoint as error:
            raise error.of(path) from None
        weights_id = _id(config, header.tensors, iter(lambda: file.read(2**20), b""))
    if metadata.get("id", weights_id.hex()) != weights_id.hex():  # the oldest files state none
        raise BadCheckpoint("damaged: its content is not what its id stands for", path)
    return WeightsInfo(path, marks[1], config, weights_id, earlier)


class Header(NamedTuple):
    """What a safetensors file says of itself, which is not trusted.

    tensors: type, shape and place of each, by name. metadata: what else it says. size: bytes before the first tensor's.
    """

    tensors: dict[str, Any]
    metadata: dict[str, Any]
    size: int


def read_header(file: BinaryIO, path: Path) -> Header:
    """The header of a safetensors file, up to which it is read. Raises BadCheckpoint."""
    length = int.from_bytes(file.read(8), "little")
    try:
        tensors = json.loads(file.read(length) if length <= MAX_HEADER else "")
        header = Header(tensors, tensors.pop("__metadata__", {}), 8 + length)
        if not isinstance(header.metadata, dict):
            raise TypeError
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise BadCheckpoint("not a safetensors file", path) from None
    return header


def _id(config: GeneratorConfig, header: dict[str, Any], content: Iterable[bytes]) -> bytes:
    """The id of a file's content: what its header says of tensors, and their bytes in turn."""
    digest = hashlib.sha256(config.to_json().encode())
    digest.update(json.dumps(header, sort_keys=True).encode())
    for chunk in content:
        digest.update(chunk)
    return digest.digest()[:ID_BYTES]


def may_decode(path: Path, weights_id: bytes) -> bool:
    """Whether a weights file states an id as its own or as an earlier one; a hint, since nothing is checked."""
    with open_input(path) as file:
        return weights_id.hex().encode() in file.read(METADATA)


def _earlier_from_json(text: str) -> tuple[Earlier, ...]:
    """What a weights file says of earlier weights, which is not trusted: deviations by hexadecimal ids."""
    try:
        said = json.loads(text)
        earlier = tuple(Earlier(bytes.fromhex(name), deviation) for name, deviation in said.items())
    except (ValueError, AttributeError, RecursionError):
        raise BadCheckpoint("what it says of earlier weights is no table of ids") from None
    if len(earlier) > MAX_EARLIER or [one.id.hex() for one in earlier] != list(said) or not all(
            len(one.id) == ID_BYTES and type(one.deviation) is int and 0 <= one.deviation <= MAX_DEVIATION
            for one in earlier):
        raise BadCheckpoint(f"it may name up to {MAX_EARLIER} earlier weights, each by {2 * ID_BYTES} hexadecimal "
                            f"digits, with deviations of 0 to {MAX_DEVIATION}")
    return earlier


class Place(NamedTuple):
    """Where a tensor's values are in a weights file, in bytes from its beginning. kind: F16, F32 or I8."""

    kind: str
    shape: list[int]
    offset: int
    length: int


def tensor_places(path: Path) -> dict[str, Place]:
    """Where the tensors of a weights file are, by name; the file is one that `load_network` takes."""
    with open_input(path) as file:
        header = read_header(file, path)
    return {name: Place(entry["dtype"], entry["shape"], header.size + entry["data_offsets"][0],
                        entry["data_offsets"][1] - entry["data_offsets"][0])
            for name, entry in header.tensors.items() if entry["dtype"] in ("F16", "F32", "I8")}


def save_network(path: Path, network: Generator, name: str, *, eight_bits: bool = False, earlier: Sequence[Earlier] = ()
                 ) -> None:
    """Write a network's state; `load_network` is the inverse, up to rounding. Overwrites.

    Args:
        path: Where to.
        network: In half precision it must be finite.
        name: The checkpoint's.
        eight_bits: Hold in 8 bits what loses little by it, `network.in_eight_bits`; all else is in half precision.
        earlier: Weights whose streams this network decodes as well.

    Raises:
        NotFinite: A value is beyond half precision.
        OutputFailed: As its name says.
    """
    import torch
    from safetensors.torch import save

    state = {key: (_shares(value) if key.endswith(".usage") else value)
             for key, value in network.state_dict().items() if _kept(key, network.config)}
    tensors = {key: value.half().contiguous() for key, value in state.items()}
    if beyond := [key for key, value in tensors.items() if not value.isfinite().all()]:
        raise NotFinite(f"{beyond[0]} holds values beyond half precision", path)
    if eight_bits:
        for key in network.in_eight_bits:
            scale = state[key].abs().amax(1) / EIGHT_BITS
            tensors[key] = (state[key] / scale.clamp(min=1e-30)[:, None]).round().to(torch.int8)
            tensors[key + SCALE] = scale
    content = save(tensors)
    size = 8 + int.from_bytes(content[:8], "little")
    weights_id = _id(network.config, json.loads(content[8:size]), [content[size:]])
    metadata = {"format": FORMAT, "name": name, "config": network.config.to_json(), "id": weights_id.hex()}
    if earlier:
        metadata["earlier"] = to_json({one.id.hex(): one.deviation for one in earlier})
    with atomic_write(path, overwrite=True) as file:
        file.write(save(tensors, metadata))


def load_network(info: WeightsInfo) -> Generator:
    """The network of a weights file, in float32 and evaluation mode, on the CPU.

    Raises BadCheckpoint where a tensor is missing, unknown, of a wrong shape or type, or not finite in float32; where
    one in 8 bits has no scales; where the network would take too long for an image, or draws none of finite numbers.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ddncodec.network.condition import condition_of
    from ddncodec.pixels import require_finite

    config = info.config
    try:
        tensors = load_file(info.path)
    except OSError as error:
        raise BadCheckpoint(f"cannot be read: {error.strerror}", info.path) from None
    except (SafetensorError, ValueError) as error:
        raise BadCheckpoint(str(error), info.path) from None
    try:
        tensors = _from_eight_bits(tensors)
        network = lay_out(config, tensors, lambda key: _kept(key, config))
        require_work(config, sum(tensor.numel() for tensor in tensors.values()))
        state = {}
        for key, tensor in tensors.items():
            if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
                raise BadCheckpoint(f"{key} holds no numbers of 16 bits or more")
            state[key] = tensor.float()
            if not state[key].isfinite().all():
                raise BadCheckpoint(f"{key} holds values that are not finite numbers")
            if key.endswith(".usage") and (tensor < 0).any():
                raise BadCheckpoint(f"{key} holds shares below zero")
        usage = {key: torch.zeros(value.shape) for key, value in network.state_dict().items() if key not in state}
        network.load_state_dict(state | usage, assign=True)
        network.requires_grad_(False).eval()
        image = torch.zeros(1, 3, config.resolution, config.resolution)
        picks = torch.zeros(1, config.levels, dtype=torch.int64)
        require_finite(network.decode(picks, condition_of(config.condition, image, picks[0, :1])))
    except BadCheckpoint as error:
        raise error.of(info.path) from None
    return network


def _from_eight_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, with those that are in 8 bits as float32, and without their scales.

    Raises BadCheckpoint.
    """
    import torch

    coarse = {key: tensor for key, tensor in tensors.items() if tensor.dtype == torch.int8}
    whole = {}
    for key, tensor in coarse.items():
        scale = tensors.get(key + SCALE)
        if scale is None or scale.dtype != torch.float32 or tensor.dim() != 2 or scale.shape != tensor.shape[:1]:
            raise BadCheckpoint(f"{key} is in 8 bits and no matrix with a scale for each row")
        if (tensor < -EIGHT_BITS).any() or not (scale >= 0).all():
            raise BadCheckpoint(f"{key} holds numbers below -{EIGHT_BITS}, or scales below zero")
        whole[key] = tensor * scale[:, None]
    scales = {key + SCALE for key in coarse}
    return {key: whole.get(key, tensor) for key, tensor in tensors.items() if key not in scales}


def lay_out(config: GeneratorConfig, tensors: Mapping[str, Tensor], has: Callable[[str], bool]) -> Generator:
    """The network of a configuration on the meta device, if these tensors can be its state.

    Args:
        config: Not trusted: it may promise more than the tensors hold, and a layout takes memory and time.
        tensors: By name.
        has: Which names of the network's state are to be there.

    Raises:
        BadCheckpoint: A tensor is missing, unknown or of another shape.
    """
    import torch

    if config.modules > len(tensors) or any(
            name not in tensors or tensors[name].shape != shape for name, shape in config.largest.items()):
        raise BadCheckpoint("its tensors are not those of its configuration")
    with torch.device("meta"):
        network = build(config)
    expected = {key: value for key, value in network.state_dict().items() if has(key)}
    for key in sorted(expected.keys() | tensors.keys()):
        if key not in tensors or key not in expected:
            raise BadCheckpoint(f"{'missing' if key in expected else 'unknown'} tensor {key}")
        if tensors[key].shape != expected[key].shape:
            raise BadCheckpoint(f"{key} has shape {tuple(tensors[key].shape)}, not {tuple(expected[key].shape)}")
    return network


def require_work(config: GeneratorConfig, weights: int) -> None:
    """Raise BadCheckpoint where so many weights of a configuration would take too long for an image."""
    if weights * config.uses > MAX_WORK:
        raise BadCheckpoint(f"an image takes up to {weights * config.uses:.1e} multiplications; "
                            f"the limit is {MAX_WORK:.1e}")


def _kept(key: str, config: GeneratorConfig) -> bool:
    """Training alone wants to know how often nodes were picked; but by classes, these are the odds of samples."""
    return config.classes > 1 or not key.endswith(".usage")


def _shares(usage: Tensor) -> Tensor:
    """Of the picks of each class, (n, K, classes): counts may be more than half precision holds."""
    return usage / usage.sum(1, keepdim=True).clamp(min=1)

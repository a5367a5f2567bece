"""Coders for use without torch: a network's `replay` and `search` as ONNX graphs, whose weights stay in their file."""

from __future__ import annotations

import hashlib
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ddncodec.effort import GREEDY
from ddncodec.errors import MissingExtra, UnknownWeights
from ddncodec.exported import DECODER, EFFORT, ENCODER, IN_PLACE, Form
from ddncodec.files import atomic_write
from ddncodec.looks import REFINER
from ddncodec.network.base import Generator
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.pixels import from_steps, rounded
from ddncodec.weights import SCALE, Place, WeightsInfo, load_network, tensor_places

OPSET = 20
KINDS = {"F16": np.float16, "F32": np.float32, "I8": np.int8}  # of tensors in weights files
BATCH = 2  # of the images that a graph is traced with, of different lengths; it takes any number


class _Exported(nn.Module):
    def __init__(self, network: Generator) -> None:
        super().__init__()
        self.network = network


class _Replay(_Exported):
    """What a decoder is exported from: (picks (B, L), levels (B,)) → pixels (B, R, R, 3), uint8."""

    def forward(self, picks: Tensor, levels: Tensor) -> Tensor:
        return rounded(self.network.replay(picks, levels))


class _Search(_Exported):
    """What an encoder is exported from: (targets (B, R, R, 3), float32 in 8-bit steps, levels (B,), effort) → picks."""

    def forward(self, targets: Tensor, levels: Tensor, effort: Tensor) -> Tensor:
        return self.network.search(from_steps(targets), levels, effort)


def export(info: WeightsInfo, folder: Path) -> list[Path]:
    """Write what needs onnxruntime instead of torch: a decoder and, where networks of its kind have one, an encoder.

    Args:
        info: The weights, of an unconditional network that has one level a block, or of a principal generator.
        folder: Where to; it is made, and gets the weights too if they are not there.

    Returns:
        The graphs' paths: the weights file's name, with the suffix .onnx, and with .encoder.onnx.

    Raises:
        UnknownWeights: Networks of this kind cannot be exported.
        MissingExtra: The packages onnx and onnxruntime are not there.
        BadCheckpoint, OutputFailed: As their names say.
    """
    decoder, encoder = export_decoder(info, folder), export_encoder(info, folder)
    return [decoder] if encoder is None else [decoder, encoder]


def export_decoder(info: WeightsInfo, folder: Path) -> Path:
    """`export` of the decoder alone."""
    network = _exportable(info)
    levels = network.config.levels
    picks = torch.randint(network.config.k, (BATCH, levels), generator=torch.Generator().manual_seed(0))
    return _write(_Replay(network), (picks, _lengths(levels)), DECODER, info, folder)


def export_encoder(info: WeightsInfo, folder: Path) -> Path | None:
    """`export` of the encoder alone; None where networks of this kind have none."""
    network = _exportable(info)
    if not network.search_can_be_exported:
        return None
    side = network.config.resolution
    targets = 255 * torch.rand(BATCH, side, side, 3, generator=torch.Generator().manual_seed(0))
    inputs = targets, _lengths(network.config.levels), torch.tensor(GREEDY)
    return _write(_Search(network), inputs, ENCODER, info, folder)


def _exportable(info: WeightsInfo) -> Generator:
    """The network of these weights, if it can be exported here."""
    if info.config.condition is not None:
        raise UnknownWeights(f"{info.name} needs each image's {info.config.condition.kind}, which no file holds")
    if isinstance(info.config, BlockwiseConfig):
        raise UnknownWeights("a blockwise generator has no exported form")
    if not find_spec("onnx") or not find_spec("onnxruntime"):
        raise MissingExtra("an export wants onnx and onnxruntime: pip install 'ddncodec[export]'")
    return load_network(info)


def _lengths(levels: int) -> Tensor:
    """Of BATCH images."""
    return torch.tensor([levels, max(1, levels // 2)])


def _write(module: nn.Module, inputs: tuple[Tensor, ...], form: Form, info: WeightsInfo, folder: Path) -> Path:
    """Write the graph of a module, and the weights beside it if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / info.path.name
    if not weights.exists():
        with atomic_write(weights, overwrite=True) as file:
            file.write(info.path.read_bytes())
    model = _traced(module, inputs, form)
    _share_weights(model, info.path)
    _shorten(model)
    refiner = IN_PLACE if _reads_refiner_in_place(model, info.path) else ""
    for name, value in (("format", form.name), ("weights", info.id.hex()), ("refiner", refiner)):
        model.metadata_props.add(key=name, value=value)
    graph = weights.with_suffix(form.suffix)
    with atomic_write(graph, overwrite=True) as file:
        file.write(model.SerializeToString(deterministic=True))
    return graph


def _traced(module: nn.Module, inputs: tuple[Tensor, ...], form: Form) -> Any:
    """The graph of a module, with its weights in it, and with everything computed that depends on no input."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as name:
        traced, simplified = (str(Path(name) / part) for part in ("traced.onnx", "simplified.onnx"))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of shapes that are constants in the trace, as they are in the network
            # The newer exporter refuses what depends on a tensor's values, such as whether a network is coupled at all.
            torch.onnx.export(
                module, inputs, traced, dynamo=False, input_names=list(form.inputs), output_names=[form.output],
                opset_version=OPSET,
                dynamic_axes={name: {0: "images"} for name in (*form.inputs, form.output) if name != EFFORT})
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = simplified
        onnxruntime.InferenceSession(traced, options, providers=["CPUExecutionProvider"])
        model = onnx.load(simplified)
    used = {node.domain for node in model.graph.node}
    kept = [domain for domain in model.opset_import if domain.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _share_weights(model: Any, weights: Path) -> None:
    """Let a graph read its weights from the safetensors file, by the names there, and make them float32."""
    from onnx import TensorProto, helper, numpy_helper

    places = tensor_places(weights)
    names = {_key(values): name for name, values in _values(weights, places).items()}
    own, nodes, transposed = [], [], set()
    shared: dict[str, Any] = {}

    def share(name: str, shape: Sequence[int]) -> str:
        """What a tensor of the file is called in the graph: as there, unless it has that in another shape already."""
        place = places[name]
        tensor = TensorProto(name=name, dims=shape, data_location=TensorProto.EXTERNAL,
                             data_type=helper.np_dtype_to_tensor_dtype(np.dtype(KINDS[place.kind])))
        for key, value in (("location", weights.name), ("offset", place.offset), ("length", place.length)):
            tensor.external_data.add(key=key, value=str(value))
        if shared.setdefault(name, tensor).dims != tensor.dims:
            tensor.name = f"{name}:{'x'.join(map(str, shape))}"
            shared[tensor.name] = tensor
        return str(tensor.name)

    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        name = names.get(_key(values))
        if name is None and values.ndim == 2 and (name := names.get(_key(values.T))):
            transposed.add(tensor.name)
            values = values.T
        if name is None or values.dtype != np.float32:
            own.append(tensor)  # computed from weights, or a constant of the network
        elif places[name].kind == "I8":
            parts = [share(name, places[name].shape), share(name + SCALE, places[name].shape[:1])]
            nodes.append(helper.make_node("DequantizeLinear", parts, [tensor.name], axis=0))
        else:
            nodes.append(helper.make_node("Cast", [share(name, values.shape)], [tensor.name], to=TensorProto.FLOAT))
    for node in model.graph.node:
        if transposed.intersection(node.input):
            assert node.op_type == "MatMul"
            node.op_type = "Gemm"
            node.attribute.append(helper.make_attribute("transB", 1))
    nodes.extend(model.graph.node)
    for field, content in ((model.graph.initializer, [*own, *shared.values()]), (model.graph.node, nodes)):
        del field[:]
        field.extend(content)


def _shorten(model: Any) -> None:
    """Leave out of a graph what only a person would read, half of its bytes, but for the names of weights."""
    from onnx import AttributeProto

    graph = model.graph
    kept = [value.name for value in (*graph.input, *graph.output)]
    kept += [tensor.name for tensor in graph.initializer if tensor.external_data]
    short: dict[str, str] = {name: name for name in ("", *kept)}

    def renamed(name: str) -> str:
        return short.setdefault(name, f"{len(short):x}")

    # Parts bring constants of their own; one of each content is enough.
    first: dict[bytes, Any] = {}
    for tensor in graph.initializer:
        name = tensor.name
        if not tensor.external_data:
            tensor.ClearField("name")
        one, _ = first.setdefault(tensor.SerializeToString(deterministic=True), (name, tensor))
        tensor.name, short[name] = name, renamed(one)
    constants = [tensor for _, tensor in first.values()]
    del graph.initializer[:]
    graph.initializer.extend(constants)

    def rename(graph: Any) -> None:
        for named in (*graph.initializer, *graph.input, *graph.output):
            named.name = renamed(named.name)
        for node in graph.node:
            node.input[:], node.output[:] = map(renamed, node.input), map(renamed, node.output)
            node.ClearField("name")
            for attribute in node.attribute:
                if attribute.type == AttributeProto.GRAPH:  # the body of a loop, which sees the names around it
                    rename(attribute.g)
        del graph.value_info[:]

    rename(graph)


def _values(weights: Path, places: Mapping[str, Place]) -> dict[str, npt.NDArray[Any]]:
    """The numbers of a weights file's tensors, by name; the scales of those in 8 bits are in them."""
    content = weights.read_bytes()
    values = {name: np.frombuffer(content, KINDS[place.kind], math.prod(place.shape), place.offset).reshape(place.shape)
              for name, place in places.items()}
    for name, place in places.items():
        if place.kind == "I8":
            values[name] = values[name] * values.pop(name + SCALE)[:, None]
    return values


def _reads_refiner_in_place(model: Any, weights: Path) -> bool:
    """Whether a graph reads each tensor of the refiner, and nothing else, from its place in a weights file.

    A look can stand there then. It cannot if a tensor equals another one, since a graph may read one for both.
    """
    content = weights.read_bytes()
    places = tensor_places(weights)
    same = Counter(content[place.offset : place.offset + place.length] for place in places.values())
    read = {int(entry.value) for tensor in model.graph.initializer for entry in tensor.external_data
            if entry.key == "offset"}
    refiner = [place for name, place in places.items() if name.startswith(REFINER)]
    return bool(refiner) and all(place.offset in read and same[content[place.offset : place.offset + place.length]] == 1
                                 for place in refiner)


def _key(values: npt.NDArray[Any]) -> bytes:
    """What tells the same numbers, in half precision or not, in whatever shape."""
    return hashlib.sha256(values.astype(np.float32).tobytes()).digest()

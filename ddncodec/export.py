"""Decoders for use without torch: a network's `replay` as an ONNX graph, whose weights stay in the weights file."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ddncodec.errors import MissingExtra, UnknownWeights
from ddncodec.exported import FORMAT, INPUTS, SUFFIX
from ddncodec.files import atomic_write
from ddncodec.network.base import Generator
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.pixels import rounded
from ddncodec.weights import WeightsInfo, load_network, tensor_places

OPSET = 18
BATCH = 2  # of the latents that the graph is traced with, of different lengths; it takes any number


class _Replay(nn.Module):
    """What is exported: (picks (B, L), levels (B,)) → pixels (B, R, R, 3), uint8."""

    def __init__(self, network: Generator) -> None:
        super().__init__()
        self.network = network

    def forward(self, picks: Tensor, levels: Tensor) -> Tensor:
        return rounded(self.network.replay(picks, levels))


def export(info: WeightsInfo, folder: Path) -> Path:
    """Write a decoder that needs onnxruntime instead of torch, and the weights beside it if they are not there.

    Args:
        info: The weights, of an unconditional network that has one level a block, or of a principal generator.
        folder: Where to; it is made.

    Returns:
        The graph's path: the weights file's name, with the suffix .onnx.

    Raises:
        UnknownWeights: Networks of this kind cannot be exported.
        MissingExtra: The packages onnx and onnxruntime are not there.
        BadCheckpoint, OutputFailed: As their names say.
    """
    if info.config.condition is not None:
        raise UnknownWeights(f"{info.name} needs each image's {info.config.condition.kind}, which no file holds")
    if isinstance(info.config, BlockwiseConfig):
        raise UnknownWeights("a blockwise generator has no exported form")
    if not find_spec("onnx") or not find_spec("onnxruntime"):
        raise MissingExtra("an export wants onnx and onnxruntime: pip install 'ddncodec[export]'")
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / info.path.name
    if not weights.exists():
        with atomic_write(weights, overwrite=True) as file:
            file.write(info.path.read_bytes())
    model = _traced(load_network(info))
    _share_weights(model, info.path)
    for name, value in (("format", FORMAT), ("weights", info.id.hex())):
        model.metadata_props.add(key=name, value=value)
    graph = weights.with_suffix(SUFFIX)
    with atomic_write(graph, overwrite=True) as file:
        file.write(model.SerializeToString(deterministic=True))
    return graph


def _traced(network: Generator) -> Any:
    """The graph, with its weights in it, and with everything computed that depends on no input."""
    import onnx
    import onnxruntime

    levels = network.config.levels
    picks = torch.randint(network.config.k, (BATCH, levels), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as name:
        traced, simplified = (str(Path(name) / part) for part in ("traced.onnx", "simplified.onnx"))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of shapes that are constants in the trace, as they are in the network
            # The newer exporter refuses what depends on a tensor's values, such as whether a network is coupled at all.
            torch.onnx.export(
                _Replay(network), (picks, torch.tensor([levels, max(1, levels // 2)])), traced, dynamo=False,
                input_names=list(INPUTS), output_names=["pixels"], opset_version=OPSET,
                dynamic_axes={name: {0: "images"} for name in (*INPUTS, "pixels")})
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
    """Let a graph read its weights from the safetensors file, in half precision, and make them float32."""
    from onnx import TensorProto, helper, numpy_helper

    content = weights.read_bytes()
    places = {_key(np.frombuffer(content, np.float16, place.length // 2, place.offset)): place
              for place in tensor_places(weights).values()}
    casts, transposed = [], set()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        place = places.get(_key(values))
        if place is None and values.ndim == 2 and (place := places.get(_key(values.T))):
            transposed.add(tensor.name)
            tensor.dims[:] = values.T.shape
        if place is None or values.dtype != np.float32:
            continue  # computed from weights, or a constant of the network
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
        tensor.ClearField("raw_data")
        tensor.name, tensor.data_type = f"{tensor.name}.half", TensorProto.FLOAT16
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", place.offset), ("length", place.length)):
            tensor.external_data.add(key=key, value=str(value))
    for node in model.graph.node:
        if transposed.intersection(node.input):
            assert node.op_type == "MatMul"
            node.op_type = "Gemm"
            node.attribute.append(helper.make_attribute("transB", 1))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _key(values: npt.NDArray[Any]) -> bytes:
    """What tells the same numbers, in half precision or not, in whatever shape."""
    return hashlib.sha256(values.astype(np.float32).tobytes()).digest()

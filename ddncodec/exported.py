"""Encoding and decoding with exported graphs, by onnxruntime and without torch; `export` writes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddncodec.coding import Picks, StreamCoder, Targets
from ddncodec.decoding import StreamDecoder
from ddncodec.errors import BadCheckpoint, memory_errors
from ddncodec.images import Pixels
from ddncodec.latent import Latent
from ddncodec.looks import FAITHFUL, Look, load_look
from ddncodec.weights import WeightsInfo


@dataclass(frozen=True, slots=True)
class Form:
    """What a graph takes and gives.

    name: its mark. suffix: of the file, in place of the weights'. inputs, output: their names; all but `EFFORT`, a
    number, have an image a row.
    """

    name: str
    suffix: str
    inputs: tuple[str, ...]
    output: str


EFFORT = "effort"
IN_PLACE = "in place"
DECODER = Form("ddncodec-decoder-1", ".onnx", ("picks", "levels"), "pixels")
ENCODER = Form("ddncodec-encoder-1", ".encoder.onnx", ("targets", "levels", EFFORT), "picks")


def exported(info: WeightsInfo, many: bool = False, look: str = FAITHFUL) -> ExportedDecoder | None:
    """The exported decoder beside a weights file.

    Args:
        info: The weights, as `read_info` says them.
        many: Whether it is to decode many images fast, rather than to begin fast.
        look: The name of what it draws with.

    Returns:
        The decoder; None where there is none of these weights, or none that takes looks, or no onnxruntime.

    Raises:
        BadCheckpoint: The file cannot be read.
        UnknownWeights: The weights have no such look.
    """
    drawn = None if look == FAITHFUL else load_look(info, look)
    graph = _beside(info, DECODER, many, drawn)
    return None if graph is None or (drawn and not graph.takes_looks) else ExportedDecoder(info, graph)


def exported_coder(info: WeightsInfo, many: bool = False) -> ExportedCoder | None:
    """The exported encoder beside a weights file, which decodes too, by the exported decoder there.

    Args:
        info: As for `exported`.
        many: As for `exported`, and encode.

    Returns:
        The coder; None where there is none of these weights, or no onnxruntime.

    Raises:
        BadCheckpoint: The file cannot be read.
    """
    graph = _beside(info, ENCODER, many)
    return None if graph is None else ExportedCoder(info, graph, many)


def _beside(info: WeightsInfo, form: Form, many: bool, look: Look | None = None) -> Graph | None:
    path = info.path.with_suffix(form.suffix)
    if not path.is_file() or not find_spec("onnxruntime"):
        return None
    graph = Graph(info, path, form, many, look)
    return graph if graph.of(info) else None


class Graph:
    """A graph that `ddncodec export` made of a network, and that runs on the CPU.

    Args:
        info: The weights, as `read_info` says them.
        path: The ONNX file, in the folder of the weights, which it reads.
        form: What it should be.
        many: Whether to spend time now, to run faster.
        look: What to draw with, where it is not the weights' own refiner and the graph `takes_looks`.

    Raises:
        BadCheckpoint: The file is none of ours.
    """

    def __init__(self, info: WeightsInfo, path: Path, form: Form, many: bool = False, look: Look | None = None) -> None:
        import onnxruntime

        self._path, self._form = path, form
        options = onnxruntime.SessionOptions()
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if many else level.ORT_DISABLE_ALL
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # as torch; 0: one for each core
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = many
        options.log_severity_level = 4  # what is wrong becomes an exception
        if look is not None:
            weights = _with_look(info.path.read_bytes(), look)
            options.add_external_initializers_from_files_in_memory([info.path.name], [weights], [len(weights)])
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self._marks = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # of many kinds that have nothing in common
            raise BadCheckpoint(f"onnxruntime cannot read it: {str(error).splitlines()[0]}", path) from None
        if self._marks.get("format") != form.name:
            raise BadCheckpoint(f"not a {form.name} that ddncodec exported", path)

    def of(self, info: WeightsInfo) -> bool:
        """Whether it was exported from these weights."""
        return bool(self._marks.get("weights") == info.id.hex())

    @property
    def takes_looks(self) -> bool:
        """Whether it reads each tensor of the refiner, and nothing else, from the refiner's places in the weights."""
        return bool(self._marks.get("refiner") == IN_PLACE)

    def run(self, *inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output for inputs, in the form's order. Raises BadCheckpoint where it cannot be run."""
        taken = {one.name for one in self._session.get_inputs()}  # one that would change nothing is not there
        named = zip(self._form.inputs, inputs, strict=True)
        try:
            (output,) = self._session.run(None, {name: values for name, values in named if name in taken})
        except Exception as error:
            raise BadCheckpoint(f"it cannot be run: {str(error).splitlines()[0]}", self._path) from None
        return np.asarray(output)


def _with_look(weights: bytes, look: Look) -> bytearray:
    """The content of a weights file in which a look stands in the refiner's place."""
    content = bytearray(weights)
    for name, place in look.places.items():
        content[place.offset : place.offset + place.length] = look.tensors[name].tobytes()
    return content


class ExportedDecoder(StreamDecoder):
    """A decoder that `ddncodec export` made of a network.

    Its images are those of the network within 1 in 8 bits.

    Args:
        info: The weights, as `read_info` says them.
        graph: A `DECODER` of them.
    """

    def __init__(self, info: WeightsInfo, graph: Graph) -> None:
        self.info, self._graph = info, graph

    @memory_errors()
    def decode_batch(self, latents: Sequence[Latent]) -> list[Pixels]:
        for latent in latents:
            self.info.check_latent(latent)
        if not latents:
            return []
        picks = np.zeros((len(latents), self.info.config.levels), np.int64)
        for row, latent in zip(picks, latents, strict=True):
            row[: latent.levels] = latent.indices
        return list(self._graph.run(picks, np.array([latent.levels for latent in latents])))


class ExportedCoder(StreamCoder):
    """An encoder that `ddncodec export` made of a network, and the decoder beside it, loaded where it is needed.

    Its picks are those of the network, but for near-ties.

    Args:
        info: The weights, as `read_info` says them.
        graph: An `ENCODER` of them.
        many: As for `Graph`.
    """

    def __init__(self, info: WeightsInfo, graph: Graph, many: bool = False) -> None:
        self.info, self._graph, self._many = info, graph, many

    def _search(self, targets: Targets, levels: int, effort: int) -> Picks:
        return self._graph.run(targets, np.full(len(targets), levels), np.array(effort))[:, :levels]

    @cached_property
    def _decoder(self) -> ExportedDecoder:
        decoder = exported(self.info, self._many)
        if decoder is None:
            raise BadCheckpoint("it has an exported encoder beside it, but no decoder", self.info.path)
        return decoder

    def decode_batch(self, latents: Sequence[Latent]) -> list[Pixels]:
        return self._decoder.decode_batch(latents)

"""Decoding with an exported decoder, by onnxruntime and without torch; `export` writes one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ddncodec.decoding import StreamDecoder
from ddncodec.errors import BadCheckpoint, memory_errors
from ddncodec.images import Pixels
from ddncodec.latent import Latent
from ddncodec.looks import FAITHFUL, Look, load_look
from ddncodec.weights import WeightsInfo

FORMAT = "ddncodec-decoder-1"
SUFFIX = ".onnx"
INPUTS = ("picks", "levels")
IN_PLACE = "in place"


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
    graph = info.path.with_suffix(SUFFIX)
    if not graph.is_file() or not find_spec("onnxruntime"):
        return None
    drawn = None if look == FAITHFUL else load_look(info, look)
    decoder = ExportedDecoder(info, graph, many, drawn)
    return decoder if decoder.of(info) and (drawn is None or decoder.takes_looks) else None


class ExportedDecoder(StreamDecoder):
    """A decoder that `ddncodec export` made of a network. It runs on the CPU.

    Its images are those of the network within 1 in 8 bits.

    Args:
        info: The weights, as `read_info` says them.
        graph: The ONNX file that was made of them, in the folder of the weights, which it reads.
        many: Whether to spend time now, to decode faster.
        look: What to draw with, where it is not the weights' own refiner and the graph `takes_looks`.

    Raises:
        BadCheckpoint: The file is none of ours.
    """

    def __init__(self, info: WeightsInfo, graph: Path, many: bool = False, look: Look | None = None) -> None:
        import onnxruntime

        self.info = info
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
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self._marks = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # of many kinds that have nothing in common
            raise BadCheckpoint(f"onnxruntime cannot read it: {str(error).splitlines()[0]}", graph) from None
        if self._marks.get("format") != FORMAT:
            raise BadCheckpoint("not a decoder that ddncodec exported", graph)

    def of(self, info: WeightsInfo) -> bool:
        """Whether it was exported from these weights."""
        return bool(self._marks.get("weights") == info.id.hex())

    @property
    def takes_looks(self) -> bool:
        """Whether it reads each tensor of the refiner, and nothing else, from the refiner's places in the weights."""
        return bool(self._marks.get("refiner") == IN_PLACE)

    @memory_errors()
    def decode_batch(self, latents: Sequence[Latent]) -> list[Pixels]:
        for latent in latents:
            self.info.check_latent(latent)
        if not latents:
            return []
        picks = np.zeros((len(latents), self.info.config.levels), np.int64)
        for row, latent in zip(picks, latents, strict=True):
            row[: latent.levels] = latent.indices
        levels = np.array([latent.levels for latent in latents])
        try:
            (pixels,) = self._session.run(None, dict(zip(INPUTS, (picks, levels), strict=True)))
        except Exception as error:
            raise BadCheckpoint(f"it cannot be run: {str(error).splitlines()[0]}", self.info.path) from None
        return list(pixels)


def _with_look(weights: bytes, look: Look) -> bytearray:
    """The content of a weights file in which a look stands in the refiner's place."""
    content = bytearray(weights)
    for name, place in look.places.items():
        content[place.offset : place.offset + place.length] = look.tensors[name].tobytes()
    return content

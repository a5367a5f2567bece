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
from ddncodec.weights import WeightsInfo

FORMAT = "ddncodec-decoder-1"
SUFFIX = ".onnx"
INPUTS = ("picks", "levels")


def exported(info: WeightsInfo, many: bool = False) -> ExportedDecoder | None:
    """The exported decoder beside a weights file.

    Args:
        info: The weights, as `read_info` says them.
        many: Whether it is to decode many images fast, rather than to begin fast.

    Returns:
        The decoder; None where there is none of these weights, or no onnxruntime.

    Raises:
        BadCheckpoint: The file cannot be read.
    """
    graph = info.path.with_suffix(SUFFIX)
    if not graph.is_file() or not find_spec("onnxruntime"):
        return None
    decoder = ExportedDecoder(info, graph, many)
    return decoder if decoder.of(info) else None


class ExportedDecoder(StreamDecoder):
    """A decoder that `ddncodec export` made of a network. It runs on the CPU.

    Its images are those of the network within 1 in 8 bits.

    Args:
        info: The weights, as `read_info` says them.
        graph: The ONNX file that was made of them, in the folder of the weights, which it reads.
        many: Whether to spend time now, to decode faster.

    Raises:
        BadCheckpoint: The file is none of ours.
    """

    def __init__(self, info: WeightsInfo, graph: Path, many: bool = False) -> None:
        import onnxruntime

        self.info = info
        options = onnxruntime.SessionOptions()
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if many else level.ORT_DISABLE_ALL
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # as torch; 0: one for each core
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = many
        options.log_severity_level = 4  # what is wrong becomes an exception
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

"""Columns of images in Ray's data sets <-> columns of payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ddncodec.columns import ColumnCoder

if TYPE_CHECKING:
    from ray.data import Dataset

BATCH = 256  # rows that a worker gets at once


class ColumnActor:
    """What `Dataset.map_batches` makes its actors of: a worker that loads its model once, when its first batch comes.

    Its results are those of one process. It takes batches of the format pyarrow.

    Args:
        coder: A `ColumnEncoder` or a `ColumnDecoder`.
    """

    def __init__(self, coder: ColumnCoder) -> None:
        self._coder = coder

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the coder's columns."""
        return self._coder(table)


def convert(dataset: Dataset, coder: ColumnCoder, workers: int, gpus: float = 0) -> Dataset:
    """A data set with a coder's columns, which `ColumnActor`s make when it is consumed.

    A worker that is lost is replaced, and its batches are done again.

    Args:
        dataset: With a column of images, or of payloads.
        coder: A `ColumnEncoder` or a `ColumnDecoder`; for a GPU its device is cuda.
        workers: How many actors, of one CPU each; fewer than there are, so that Ray can read and write beside them.
        gpus: What each has of a GPU, 0 to 1.

    Examples:
        >>> import ray  # doctest: +SKIP
        >>> from ddncodec.columns import ColumnEncoder
        >>> from ddncodec.ray import convert
        >>> dataset = ray.data.read_parquet("faces/")  # doctest: +SKIP
        >>> convert(dataset, ColumnEncoder("image", drop=True), workers=64).write_parquet("encoded/")  # doctest: +SKIP
    """
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(ColumnActor, fn_constructor_args=(coder,), batch_format="pyarrow", batch_size=BATCH,
                               compute=ActorPoolStrategy(size=workers), num_cpus=1, num_gpus=gpus or None,
                               zero_copy_batch=True)

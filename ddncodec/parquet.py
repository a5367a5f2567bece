"""Parquet files whose column of images becomes one of payloads, or the other way, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from ddncodec.batches import BATCH
from ddncodec.columns import ColumnCoder
from ddncodec.errors import BadTable, DdnError, memory_errors, reason
from ddncodec.files import open_input

MAX_GROUP = 2**26  # bytes of a row group in memory: one that is larger becomes several
READ_AHEAD = 2**20  # bytes of each column

Map: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # as `map`, in one process or several


class Rows(NamedTuple):
    """What became of a file's rows: how many there are, and of how many the new column is null, for an error or not."""

    rows: int
    null: int
    failed: int


def convert(source: Path, target: BinaryIO, coder: ColumnCoder, told: Callable[[int, DdnError], None],
            advance: Callable[[int], None] = lambda rows: None, each: Map = map) -> Rows:
    """Write a Parquet file with a coder's columns; row groups stay as they are, but for very large ones.

    Args:
        source: The file to read.
        target: Where to write.
        coder: What is to be done.
        told: Of each row that cannot be done, its number, from 0, and why.
        advance: Told how many rows are done.
        each: As `map`, which calls the coder for one batch of rows after the other; another may do it elsewhere.

    Returns:
        How many rows there are.

    Raises:
        InputMissing: There is no such file.
        BadTable: It is not Parquet, or damaged.
        DdnError, ValueError: As `ColumnCoder.convert`.
    """
    with open_input(source) as file:
        with _reading():
            parquet = pq.ParquetFile(file, buffer_size=READ_AHEAD, pre_buffer=False)
        schema = coder.schema(parquet.schema_arrow)
        groups = range(parquet.num_row_groups)
        ends = set(accumulate(parquet.metadata.row_group(group).num_rows for group in groups))
        rows = null = failed = size = 0
        waiting: list[pa.Table] = []  # of a row group
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for table, errors in each(coder.convert, _tables(parquet)):
                for row, error in errors.items():
                    told(rows + row, error)
                rows, failed = rows + table.num_rows, failed + len(errors)
                null += table[coder.target].null_count
                size += table.nbytes
                waiting.append(table)
                if rows in ends or size >= MAX_GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, size = [], 0
                advance(table.num_rows)
            if waiting:  # of a file that has other rows than it says
                writer.write_table(pa.concat_tables(waiting))
    return Rows(rows, null, failed)


def rows_of(source: Path) -> int:
    """How many rows a Parquet file says that it has. Raises InputMissing, BadTable."""
    with open_input(source) as file, _reading():
        return int(pq.ParquetFile(file).metadata.num_rows)


def _tables(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    """The rows in batches that end where row groups do."""
    with _reading():
        for group in range(parquet.num_row_groups):
            for batch in parquet.iter_batches(BATCH, row_groups=[group]):
                yield pa.Table.from_batches([batch])


@contextmanager
def _reading() -> Iterator[None]:
    """Tell whatever reading a damaged file raises as a BadTable."""
    try:
        with memory_errors():
            yield
    except (pa.ArrowException, OSError) as error:
        raise BadTable(f"it cannot be read as Parquet: {reason(error)}") from None

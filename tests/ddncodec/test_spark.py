"""A local Spark gives by `mapInPandas` what one process gives. `make spark` runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ddncodec.columns import ColumnDecoder, ColumnEncoder

pytestmark = pytest.mark.spark
pa = pytest.importorskip("pyarrow")
sql = pytest.importorskip("pyspark.sql")

ROOT = Path(__file__).parents[2]
K2 = str(ROOT / "tests/golden/k2-planes.safetensors")
FACE = (ROOT / "examples/face.png").read_bytes()
ROWS = [FACE, b"none", None, FACE] * 5


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def test_spark_encodes_and_decodes_as_one_process_does(spark: Any) -> None:
    encoder, decoder = ColumnEncoder(model=K2, effort=1, drop=True), ColumnDecoder(model=K2, drop=True)
    frame = spark.createDataFrame(list(enumerate(ROWS)), "id long, image binary").repartition(2)
    encoded = frame.mapInPandas(encoder.in_pandas, "id long, image_ddn binary, image_ddn_width int, "
                                                   "image_ddn_height int, image_ddn_error string")
    table = encoder(pa.table({"id": range(len(ROWS)), "image": ROWS}))
    assert listed(encoded, table.schema.names) == table.to_pylist()
    decoded = encoded.mapInPandas(decoder.in_pandas, "id long, image_png binary, image_png_error string")
    table = decoder(table)
    assert listed(decoded, table.schema.names) == table.to_pylist()


def listed(frame: Any, names: list[str]) -> list[dict[str, object]]:
    """The rows of a frame, by their `id`, as Arrow has them."""
    return [{name: bytes(row[name]) if isinstance(row[name], bytearray) else row[name] for name in names}
            for row in sorted(frame.collect(), key=lambda row: int(row.id))]

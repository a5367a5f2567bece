"""A local Ray of two workers, one of which is killed, gives what one process gives. `make ray` runs it."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ddncodec.columns import ColumnDecoder, ColumnEncoder
from ddncodec.encoding import Request
from ddncodec.workers import Encoder

pytestmark = pytest.mark.ray
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray.data")

ROOT = Path(__file__).parents[2]
K2 = str(ROOT / "tests/golden/k2-planes.safetensors")
ENCODER = ColumnEncoder(model=K2, effort=1)
FACE = (ROOT / "examples/face.png").read_bytes()
ATTEMPTS = 2
ROWS = [FACE, b"none", None, FACE] * 25


@pytest.fixture(scope="module")
def ray() -> Iterator[ModuleType]:
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # whose sockets' names may not be long
        for attempt in range(ATTEMPTS):
            try:  # two CPUs for workers, one for what reads and writes
                ray.init("local", num_cpus=3, include_dashboard=False, object_store_memory=2**27, log_to_driver=False,
                         logging_level="error", _temp_dir=folder)
                break
            except Exception as error:  # its processes have half a minute, which a busy machine may not give them
                ray.shutdown()
                if attempt == ATTEMPTS - 1:
                    pytest.skip(f"Ray does not start here: {error}")
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ray_shards", ROOT / "examples/ray_shards.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_killed_workers_batches_are_done_again(ray: ModuleType, tmp_path: Path) -> None:
    from ddncodec.ray import convert

    killed = tmp_path / "killed"

    class Mortal(ColumnEncoder):
        """The first one that gets a batch is killed at it."""

        def __call__(self, table: Any) -> Any:
            try:
                killed.touch(exist_ok=False)
            except FileExistsError:
                return ENCODER(table)
            os.kill(os.getpid(), signal.SIGKILL)

    tables = [pa.table({"id": range(first, first + 25), "image": ROWS[first : first + 25]})
              for first in range(0, 100, 25)]
    encoded = convert(ray.data.from_arrow(tables), Mortal(), 2)
    found = pa.concat_tables(ray.get(encoded.to_arrow_refs())).sort_by("id")
    assert killed.exists()
    assert found.equals(ENCODER(pa.concat_tables(tables)))
    decoder = ColumnDecoder(model=K2)
    decoded = convert(ray.data.from_arrow(found), decoder, 1)
    assert pa.concat_tables(ray.get(decoded.to_arrow_refs())).equals(decoder(found))


def test_the_example_encodes_folders_of_parquet_files_and_of_shards(ray: ModuleType, example: ModuleType, tmp_path: Path
                                                                    ) -> None:
    (tmp_path / "in").mkdir()
    tables = [pa.table({"id": [number, number + 10], "image": [FACE, b"none"]}) for number in range(2)]
    for number, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"in/{number}.parquet")
    example.encode_parquet(tmp_path / "in", tmp_path / "parquet", ENCODER, 2)
    found = pq.read_table(tmp_path / "parquet").sort_by("id")
    expected = ENCODER(pa.concat_tables(tables)).sort_by("id")
    assert found["image_ddn"].equals(expected["image_ddn"])
    assert found.schema.metadata[b"ddncodec:image_ddn"] == expected.schema.metadata[b"ddncodec:image_ddn"]

    for number in range(3):
        with tarfile.open(tmp_path / f"in/{number}.tar", "w") as archive:
            for name, data in (("1.png", FACE), ("1.cls", b"3"), ("2.png", b"none")):
                header = tarfile.TarInfo(name)
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))
    encoder = Encoder(K2, Request(effort=1))
    done = example.encode_shards(tmp_path / "in", tmp_path / "shards", encoder, 2)
    assert [(row["shard"], row["images"], row["failed"]) for row in done] == [
        ("0.tar", 2, 1), ("1.tar", 2, 1), ("2.tar", 2, 1)]
    assert "2.png: not an image" in done[0]["errors"][0]
    with tarfile.open(tmp_path / "shards/2.tar") as archive:
        assert archive.getnames() == ["1.ddn", "1.cls"]
        assert [archive.extractfile("1.ddn").read()] == encoder([FACE])  # type: ignore[union-attr]

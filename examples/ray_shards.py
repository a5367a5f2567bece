"""Encode a folder of Parquet files or of WebDataset shards on a Ray cluster; `pip install "ddncodec[ray]"`.

    python examples/ray_shards.py faces/ encoded/ --workers 64

All nodes must see both folders. Of Parquet files the column `image` is encoded, and left out of what is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from ddncodec import shards
from ddncodec.columns import ColumnEncoder
from ddncodec.files import atomic_write
from ddncodec.images import READ_SUFFIXES
from ddncodec.ray import convert
from ddncodec.workers import Encoder


def encode_parquet(source: Path, target: Path, encoder: ColumnEncoder, workers: int) -> None:
    """Encode all Parquet files of a folder, in batches of rows."""
    convert(ray.data.read_parquet(str(source)), encoder, workers).write_parquet(str(target))


class ShardEncoder:
    """A worker that encodes one shard after the other."""

    def __init__(self, target: Path, encoder: Encoder) -> None:
        self.target, self.encoder = target, encoder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Encode the shard that a row names; the new row says what became of it."""
        source, errors = Path(row["item"]), list[str]()
        with atomic_write(self.target / source.name, overwrite=True) as file:
            counts = shards.convert(source, file, lambda name: Path(name).suffix.lower() in READ_SUFFIXES, ".ddn",
                                    self.encoder, lambda name, error: errors.append(f"{source}: {name}: {error}"))
        return {"shard": source.name, "images": counts.members, "failed": counts.failed, "errors": errors}


def encode_shards(source: Path, target: Path, encoder: Encoder, workers: int) -> list[dict[str, Any]]:
    """Encode all shards of a folder, each in one worker, and give what became of each."""
    target.mkdir(parents=True, exist_ok=True)
    paths = [str(path) for path in sorted(source.glob("*.tar"))]
    dataset = ray.data.from_items(paths, override_num_blocks=len(paths))
    done: list[dict[str, Any]] = dataset.map(ShardEncoder, fn_constructor_args=(target, encoder),
                                             compute=ActorPoolStrategy(size=workers), num_cpus=1).take_all()
    return sorted(done, key=lambda row: str(row["shard"]))


def main() -> None:
    """Encode what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", default="binddn")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    if any(asked.source.glob("*.tar")):
        for row in encode_shards(asked.source, asked.target, Encoder(asked.model, device=asked.device), asked.workers):
            print(*row["errors"], "{shard}: {images} images, {failed} failed".format(**row), sep="\n")
    else:
        encoder = ColumnEncoder("image", asked.model, device=asked.device, drop=True)
        encode_parquet(asked.source, asked.target, encoder, asked.workers)


if __name__ == "__main__":
    main()

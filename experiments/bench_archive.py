"""What archives take: bytes an image, memory and speed of packing many files, and one record's way out.

    python experiments/bench_archive.py [--count N] [--rounds N] [--json FILE]

Latents are drawn by chance: what an archive takes does not depend on what they show. Linux alone. Ends with code 1 if
packing all takes 64 MB more than packing a tenth, or if a record is out of the archive 50 ms later than out of a file.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from bench_decode import PROGRAM, of_a_process

from ddncodec import container, open_archive, zoo
from ddncodec.container import Packed
from ddncodec.latent import payload_bytes

GROWTH, DELAY = 64.0, 0.05  # megabytes, seconds


def main(count: Annotated[int, typer.Option(help="Images.")] = 100_000,
         rounds: Annotated[int, typer.Option(help="Single records, each in a process.")] = 7,
         model: Annotated[str, typer.Option(help="Of those that ship.")] = zoo.DEFAULT,
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """Print the figures; see the module."""
    info = zoo.find(model)
    rng = random.Random(0)
    size = payload_bytes(info.config.k, info.config.levels)
    figures: dict[str, float] = {"images": count}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for part, files in (("tenth", count // 10), ("all", count)):
            folder = home / part
            folder.mkdir()
            for number in range(files):
                packed = Packed(info.id, 64, 64, info.config.k, info.config.levels, rng.randbytes(size))
                (folder / f"face{number:08}.ddn").write_bytes(container.packed_to_bytes(packed))
            seconds, megabytes = of_a_process(PROGRAM, "pack", "-q", "-j", "1", "-r", str(folder), "-o",
                                              str(home / f"{part}.ddns"))
            figures |= {f"pack {part}, seconds": seconds, f"pack {part}, megabytes": megabytes}
        path, last = home / "all.ddns", f"face{count - 1:08}"
        figures["bytes an image"] = path.stat().st_size / count
        figures["bytes an image beyond payload"] = path.stat().st_size / count - size
        for what in ("number", "name"):
            began = perf_counter()
            with open_archive(path) as archive:
                _ = archive[count // 2] if what == "number" else archive.find(last)
            figures[f"opened and one record by {what}, milliseconds"] = 1000 * (perf_counter() - began)
        (home / "one.ddn").write_bytes((home / "all" / f"{last}.ddn").read_bytes())
        ways = {"decode": ["decode", f"{name}/one.ddn"], "extract": ["extract", str(path), last]}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, line in ways.items():
                times[way].append(of_a_process(PROGRAM, *line, "-o", f"{name}/one.png", "-f")[0])
        figures |= {f"{way}, seconds of a process": statistics.median(seconds) for way, seconds in times.items()}
    for what, value in figures.items():
        typer.echo(f"{what:45} {value:12,.3f}")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    grown = figures["pack all, megabytes"] - figures["pack tenth, megabytes"]
    late = figures["extract, seconds of a process"] - figures["decode, seconds of a process"]
    raise typer.Exit(grown > GROWTH or late > DELAY)


if __name__ == "__main__":
    typer.run(main)

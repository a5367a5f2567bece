"""How fast many files go through the command line, alone and beside a busy process; where the time goes; what it holds.

    python experiments/bench_jobs.py [--part NAME]… [--jobs N] [--json FILE]

rates: images a second for 64×64 PNGs, encoded at efforts 1 and 2, and decoded; the same beside a process that keeps a
core busy. A rate is that of the images beyond the first two batches of each process, by a run of many and one of those
alone; the shares of the parts of the work are as the command itself tells (-v). jpegs: JPEGs of 12 megapixels, whose
rate is compared with that of Pillow's decoder alone, at the same reduced scale in as many processes. memory: of all
processes together, by how many of them there are, and by how many files.

Each part takes up to two minutes on two idle cores. Linux alone. Ends with code 1 if beside a busy process the rate is
below 0.6 of the one without, or that of JPEGs is below 0.7 of Pillow's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from time import perf_counter, sleep
from typing import Annotated, Any, NamedTuple

import typer
from PIL import Image

from ddncodec.batches import BATCH
from ddncodec.data.faces import VALIDATION_SEEDS, Faces
from ddncodec.pixels import to_pixels
from ddncodec.threads import cores

DRAWN = 512  # different faces; more files have some of their content
SHARES = re.compile(r"reading (\d+)%, network (\d+)%, writing (\d+)%")
BUSY, JPEGS = 0.6, 0.7  # the least ratios
SETTINGS = {"encode, effort 1": ["encode", "--effort", "1"], "encode, effort 2": ["encode", "--effort", "2"],
            "decode": ["decode"]}
SMALL = Path(__file__).parents[1] / "tests/golden/k2-principal.safetensors"  # a network that takes hardly any time
SIZE, QUALITY = (4000, 3000), 90  # of a JPEG of 12 megapixels
REDUCED = 512  # pixels a side that the reader wants of a JPEG at least, for networks of 64×64
PILLOW = """if True:
    import os, sys
    from PIL import Image
    jobs, side, *files = sys.argv[1:]
    for number in range(int(jobs)):
        if not os.fork():
            for file in files[number::int(jobs)]:
                image = Image.open(file)
                image.draft(None, (int(side), int(side)))
                image.load()
            os._exit(0)
    while True:
        try:
            if os.wait()[1]:
                sys.exit(1)
        except ChildProcessError:
            break
"""


class Part(StrEnum):
    """What is measured."""

    RATES = "rates"
    JPEGS = "jpegs"
    MEMORY = "memory"


class Took(NamedTuple):
    """What a command took, and what it said of itself at the end."""

    seconds: float
    told: str


def command(*arguments: object) -> Took:
    """Run the command line."""
    began = perf_counter()
    done = subprocess.run([sys.executable, "-m", "ddncodec", *map(str, arguments)], check=True, text=True,
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    return Took(perf_counter() - began, done.stderr.splitlines()[-1])


@contextmanager
def busy() -> Iterator[None]:
    """Within the block another process keeps a core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def draw_faces(folder: Path) -> Path:
    """A folder of different faces."""
    folder.mkdir()
    for number, pixels in enumerate(to_pixels(Faces(64).draw(VALIDATION_SEEDS[:DRAWN]))):
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def links(folder: Path, files: list[Path], count: int) -> Path:
    """A folder of so many files, which are others' content by other names, a thousand to each folder below it."""
    for number in range(count):
        place = folder / f"{number // 1000:03}"
        if not number % 1000:
            place.mkdir(parents=True)
        source = files[number % len(files)]
        os.link(source, place / f"{number % 1000:03}{source.suffix}")
    return folder


def rate(line: list[str], few: Path, many: Path, out: Path, more: int, jobs: int) -> tuple[float, Took]:
    """Images a second of the `more` that one folder has more than another one, and the run of all.

    out: A new folder. What is there is not deleted between runs: ext4 looks at each file that was, before a new one.
    """
    runs = [command(*line, "-r", folder, "--output-dir", out / folder.name, "-j", jobs, "-v") for folder in (few, many)]
    return more / (runs[1].seconds - runs[0].seconds), runs[1]


def measure_rates(place: Path, jobs: int, images: int) -> dict[str, Any]:
    """Rates by setting: idle, busy, of the whole command, and shares of the work."""
    faces = draw_faces(place / "faces")
    warm = 2 * BATCH * jobs
    sizes = {"few": warm, "many": warm + images}
    command("encode", "-r", faces, "--output-dir", place / "streams", "--effort", "1", "-v")
    folders = {"encode": faces, "decode": place / "streams"}
    inputs = {(verb, name): links(place / f"{verb}-{name}", sorted(folder.iterdir()), count)
              for verb, folder in folders.items() for name, count in sizes.items()}
    results: dict[str, Any] = {}
    for name, line in SETTINGS.items():
        few, many = inputs[line[0], "few"], inputs[line[0], "many"]
        idle, took = rate(line, few, many, place / f"{name}-idle", images, jobs)
        with busy():
            beside, _ = rate(line, few, many, place / f"{name}-busy", images, jobs)
        match = SHARES.search(took.told)
        assert match, took.told
        shares = {part: int(share) / 100
                  for part, share in zip(("reading", "network", "writing"), match.groups(), strict=True)}
        results[name] = {"idle": idle, "busy": beside, "whole": (warm + images) / took.seconds, "shares": shares}
        typer.echo(f"{name:16} {idle:5.0f} images a second, {results[name]['whole']:5.0f} with the command's start; "
                   f"beside a busy process {beside:5.0f}, {beside / idle:.2f} of it; "
                   + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()))
    return results


def measure_jpegs(place: Path, jobs: int, images: int) -> dict[str, float]:
    """Images a second of the command and of Pillow's decoder alone."""
    sources = place / "sources"
    sources.mkdir()
    for number, pixels in enumerate(to_pixels(Faces(64).draw(VALIDATION_SEEDS[:4]))):
        grain = Image.effect_noise(SIZE, 20).convert("RGB")  # as cameras add it; a smooth picture is decoded too fast
        large = Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC)
        Image.blend(large, grain, 0.2).save(sources / f"{number}.jpg", quality=QUALITY)
    files = sorted(sources.iterdir())
    few, many = (links(place / f"{count}", files, count) for count in (BATCH * jobs, BATCH * jobs + images))
    ours, _ = rate(["encode", "--effort", "1"], few, many, place / "out", images, jobs)
    pillow = []
    for folder in (few, many):
        names = map(str, sorted(folder.rglob("*.jpg")))
        began = perf_counter()
        subprocess.run([sys.executable, "-c", PILLOW, str(jobs), str(REDUCED), *names], check=True)
        pillow.append(perf_counter() - began)
    alone = images / (pillow[1] - pillow[0])
    size = sum(file.stat().st_size for file in files) / len(files)
    typer.echo(f"JPEGs of 12 megapixels, {size / 1e6:.1f} MB: {ours:.1f} images a second; Pillow's decoder alone "
               f"{alone:.1f}: {ours / alone:.2f} of it")
    return {"ours": ours, "pillow": alone, "bytes": size}


def held(*arguments: object) -> float:
    """The most megabytes that a command's processes held together, each page once (PSS), by ten looks a second."""
    most = 0
    with subprocess.Popen([sys.executable, "-m", "ddncodec", *map(str, arguments)]) as process:
        while process.poll() is None:
            sizes = []
            with suppress(OSError):  # a process that ended
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                for pid in (process.pid, *children):
                    match = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
                    sizes.append(int(match[1]) if match else 0)
            most = max(most, sum(sizes))
            sleep(0.1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return most / 1024


def measure_memory(place: Path, jobs: int, images: int) -> dict[str, Any]:
    """Megabytes by processes, of the default model; and by files, of a network that takes no time."""
    files = sorted(draw_faces(place / "faces").iterdir())
    some = links(place / "some", files, 16 * BATCH)
    by_jobs = {}
    for processes in (1, 2, 8):
        by_jobs[processes] = held("encode", "-r", some, "--output-dir", place / "out", "--effort", "1", "-j", processes)
        shutil.rmtree(place / "out")
        typer.echo(f"{processes} processes: {by_jobs[processes]:.0f} MB together")
    by_files = {}
    for count in (images // 100, images):
        folder = links(place / f"{count}", files, count)
        by_files[count] = held("--no-sync", "encode", "-r", folder, "--output-dir", place / "out", "--model", SMALL,
                               "-j", jobs)
        shutil.rmtree(place / "out")
        typer.echo(f"{count:,} files: {by_files[count]:.0f} MB")
    (few, low), (many, high) = by_files.items()
    each = (high - low) * 2**20 / (many - few)
    typer.echo(f"that is {each:.0f} bytes a file")
    return {"by processes": by_jobs, "by files": by_files, "bytes a file": each}


def main(
    part: Annotated[list[Part] | None, typer.Option(help="By default all.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Processes.")] = cores(),
    images: Annotated[int, typer.Option(min=BATCH, help="64×64 PNGs.")] = 4096,
    jpegs: Annotated[int, typer.Option(min=1, help="JPEGs of 12 megapixels.")] = 256,
    files: Annotated[int, typer.Option(min=100, help="Of which memory is measured.")] = 100_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too; those of parts that "
                                                                  "are not measured stay.")] = None,
) -> None:
    """Print the figures; see the module."""
    results: dict[str, Any] = json.loads(json_file.read_text()) if json_file and json_file.exists() else {}
    typer.echo(f"{jobs} processes on {cores()} cores")
    results |= {"cores": cores(), "jobs": jobs}
    for one in part or list(Part):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            if one == Part.RATES:
                results[one] = measure_rates(place, jobs, images)
            elif one == Part.JPEGS:
                results[one] = measure_jpegs(place, jobs, jpegs)
            else:
                results[one] = measure_memory(place, jobs, files)
    if json_file:
        json_file.write_text(json.dumps(results, indent=2) + "\n")
    slow = [name for name, found in results.get(Part.RATES, {}).items() if found["busy"] < BUSY * found["idle"]]
    if Part.JPEGS in results and results[Part.JPEGS]["ours"] < JPEGS * results[Part.JPEGS]["pillow"]:
        slow.append("JPEGs")
    for name in slow:
        typer.echo(f"too slow: {name}", err=True)
    raise typer.Exit(bool(slow))


if __name__ == "__main__":
    typer.run(main)

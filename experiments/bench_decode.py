"""What decoding takes with an exported decoder and with torch: one file from process start, and many in a process.

    python experiments/bench_decode.py [--model NAME] [--json FILE]

Both ways by turns; figures are medians. Linux alone. Ends with code 1 if the exported decoder is not the faster one
for a single file.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple

import torch
import typer

from ddncodec import container, load_model, zoo
from ddncodec.container import Stream
from ddncodec.exported import exported
from ddncodec.latent import Latent

ROUNDS, BATCH, BATCHES = 5, 64, 4
PROGRAM = """import atexit
from ddncodec_cli.app import main
atexit.register(lambda: print(open("/proc/self/status").read()))  # which has the peak of the memory, as VmHWM
main()
"""
WAYS = {"onnxruntime": PROGRAM, "torch": f"import sys\nsys.modules['onnxruntime'] = None\n{PROGRAM}"}


class Cost(NamedTuple):
    """seconds, megabytes: of a process that decodes one file. images_a_second: in a process, after the first batch."""

    seconds: float
    megabytes: float
    images_a_second: float


def of_a_process(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds from start to end, and the most megabytes that were resident."""
    began = perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    seconds = perf_counter() - began
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    return seconds, int(peak) / 1024


def main(model: Annotated[str, typer.Option(help="Of those that ship.")] = zoo.DEFAULT,
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """Print the table; see the module."""
    info = zoo.find(model)
    picks = torch.randint(info.config.k, (BATCH, info.config.levels), generator=torch.Generator().manual_seed(0))
    latents = Latent.from_tensor(picks, info.config.k)
    decoders = {"onnxruntime": exported(info, many=True), "torch": load_model(model, "cpu")}
    alone: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    many: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "image.ddn"
        file.write_bytes(container.to_bytes(Stream(latents[0], 64, 64, info.id)))
        for _ in range(ROUNDS):
            for way, code in WAYS.items():
                alone[way].append(of_a_process(code, "decode", str(file), "-o", f"{name}/image.png", "-f"))
    for round_ in range(BATCHES + 1):
        for way, decoder in decoders.items():
            assert decoder is not None, "the models that ship have their exported decoders"
            began = perf_counter()
            decoder.decode_batch(latents)
            if round_:  # the first one warms up
                many[way].append(BATCH / (perf_counter() - began))
    costs = {}
    for way in WAYS:
        seconds, megabytes = map(statistics.median, zip(*alone[way], strict=True))
        costs[way] = Cost(seconds, megabytes, statistics.median(many[way]))
    typer.echo(f"{model}, {torch.get_num_threads()} threads")
    for way, cost in costs.items():
        typer.echo(f"{way:12} one file: {cost.seconds:5.2f} s, {cost.megabytes:4.0f} MB; "
                   f"{BATCH} at a time: {cost.images_a_second:5.0f} images a second")
    if json_file:
        json_file.write_text(json.dumps({way: cost._asdict() for way, cost in costs.items()}, indent=2) + "\n")
    raise typer.Exit(costs["onnxruntime"].seconds >= costs["torch"].seconds)


if __name__ == "__main__":
    typer.run(main)

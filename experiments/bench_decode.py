"""What encoding and decoding take with exported graphs and with torch: one file from process start, many in a process.

    python experiments/bench_decode.py [--model NAME] [--json FILE]

Both ways by turns; figures are medians. Linux alone. Encoding is measured where the model has an exported encoder. Ends
with code 1 if an exported graph is not the faster one for a single file.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from PIL import Image

from ddncodec import container, load_model, zoo
from ddncodec.container import Stream
from ddncodec.exported import exported, exported_coder
from ddncodec.latent import Latent

ROUNDS, BATCH, BATCHES = 5, 64, 4
PROGRAM = """import atexit
from ddncodec_cli.app import main
atexit.register(lambda: print(open("/proc/self/status").read()))  # which has the peak of the memory, as VmHWM
main()
"""
WAYS = {"onnxruntime": PROGRAM, "torch": f"import sys\nsys.modules['onnxruntime'] = None\n{PROGRAM}"}


class Cost(NamedTuple):
    """seconds, megabytes: of a process that works on one file. images_a_second: in a process, after the first batch."""

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


def measure(command: str, model: str, file: Path, work: Mapping[str, Callable[[], object]]) -> dict[str, Cost]:
    """The cost of each of WAYS, by turns.

    command: encode or decode. model: its --model. file: an input of it. work: by way, what does a batch of it here.
    """
    alone: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    many: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, code in WAYS.items():
            output = file.with_name("output" + {"encode": ".ddn", "decode": ".png"}[command])
            alone[way].append(of_a_process(code, command, str(file), "--model", model, "-o", str(output), "-f"))
    for round_ in range(BATCHES + 1):
        for way in WAYS:
            began = perf_counter()
            work[way]()
            if round_:  # the first one warms up
                many[way].append(BATCH / (perf_counter() - began))
    costs = {}
    for way in WAYS:
        seconds, megabytes = map(statistics.median, zip(*alone[way], strict=True))
        costs[way] = Cost(seconds, megabytes, statistics.median(many[way]))
        typer.echo(f"{command} by {way:12} one file: {seconds:5.2f} s, {megabytes:4.0f} MB; "
                   f"{BATCH} at a time: {costs[way].images_a_second:5.0f} images a second")
    return costs


def main(model: Annotated[str, typer.Option(help="A model's name, or the path of a weights file.")] = zoo.DEFAULT,
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """Print the table; see the module."""
    info = zoo.find(model)
    codec, decoder, coder = load_model(model, "cpu"), exported(info, many=True), exported_coder(info, many=True)
    assert decoder is not None, "the models that ship have their exported decoders"
    random = np.random.default_rng(0)
    picks = random.integers(info.config.k, size=(BATCH, info.config.levels))
    latents = [Latent(tuple(row), info.config.k) for row in picks.tolist()]
    typer.echo(f"{model}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "image.ddn"
        file.write_bytes(container.to_bytes(Stream(latents[0], 64, 64, info.id)))
        costs = {"decode": measure("decode", model, file, {
            "onnxruntime": lambda: decoder.decode_batch(latents), "torch": lambda: codec.decode_batch(latents)})}
        if coder is not None:
            images = decoder.decode_batch(latents)
            picture = Path(name) / "image.png"
            Image.fromarray(images[0]).save(picture)
            costs["encode"] = measure("encode", model, picture, {
                "onnxruntime": lambda: coder.encode_batch(images), "torch": lambda: codec.encode_batch(images)})
    if json_file:
        json_file.write_text(json.dumps({command: {way: cost._asdict() for way, cost in ways.items()}
                                         for command, ways in costs.items()}, indent=2) + "\n")
    raise typer.Exit(any(ways["onnxruntime"].seconds >= ways["torch"].seconds for ways in costs.values()))


if __name__ == "__main__":
    typer.run(main)

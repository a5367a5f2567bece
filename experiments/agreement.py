"""How far decoding deviates from the conformance kit: by threads, instruction sets, precision, batches and programs.

    python experiments/agreement.py [KIT] [--dry-run]

Runs `ddncodec conformance` in a process for each way, and writes the table in docs/conformance.md, and
docs/conformance.json. What cannot be run here is said to be so.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from markers import filled, table

from ddncodec.codec import load_weights
from ddncodec.conformance import deviations, read_kit
from ddncodec.decoding import StreamDecoder
from ddncodec.files import atomic_write
from ddncodec.weights import WeightsInfo

ROOT = Path(__file__).parents[1]
KIT = ROOT / "conformance"
PAGE, FIGURES = ROOT / "docs/conformance.md", ROOT / "docs/conformance.json"
# What each of torch's and oneDNN's instruction sets is called, and the processor's flag for it.
INSTRUCTIONS = {"SSE4.1": ("default", "SSE41", "sse4_1"), "AVX2": ("avx2", "AVX2", "avx2"),
                "AVX-512": ("avx512", "AVX512_CORE", "avx512f")}

Facts = list[dict[str, Any]]
OWN = 1  # the deviation that is allowed where weights decode their own streams; of earlier ones', those had others


@dataclass(frozen=True)
class Way:
    """A way to decode the kit. name: in the table. options: of `ddncodec conformance`. environment: beside ours."""

    name: str
    options: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def ways() -> Iterator[Way]:
    """Those that are processes of the command line."""
    for threads in ("1", "2", "4"):
        yield Way(f"torch, {threads} thread{'s' * (threads != '1')}", ("--decoder", "torch"),
                  {"OMP_NUM_THREADS": threads})
    for name, (aten, onednn, _) in INSTRUCTIONS.items():
        yield Way(f"torch, {name}", ("--decoder", "torch"), {
            "ATEN_CPU_CAPABILITY": aten, "ONEDNN_MAX_CPU_ISA": onednn, "OMP_NUM_THREADS": "1"})
    for batch in ("1", "7"):
        yield Way(f"torch, {batch} at a time", ("--decoder", "torch", "--batch", batch), {"OMP_NUM_THREADS": "1"})
    for threads in ("1", "4"):
        yield Way(f"onnxruntime, {threads} thread{'s' * (threads != '1')}", ("--decoder", "onnx"),
                  {"OMP_NUM_THREADS": threads})
    yield Way("onnxruntime, 1 at a time", ("--decoder", "onnx", "--batch", "1"), {"OMP_NUM_THREADS": "1"})


def missing(way: Way, flags: set[str]) -> str | None:
    """Why a way cannot be gone here."""
    for name, (_, _, flag) in INSTRUCTIONS.items():
        if way.name.endswith(name) and flag not in flags:
            return "this processor has no such instructions"
    return None


def of_a_process(way: Way, kit: Path) -> Facts:
    """What the command says in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "ddncodec", "conformance", str(kit), "--json", "--device", "cpu",
                           *way.options], env={**os.environ, **way.environment}, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)  # it has said why
    facts: Facts = json.loads(done.stdout)
    return facts


def in_this_process(decoder_of: Callable[[WeightsInfo], StreamDecoder], kit: Path) -> Facts:
    """The same facts by other decoders."""
    return [one.facts() for one in deviations(read_kit(kit), decoder_of)]


def double_precision(kit: Path) -> Facts:
    """torch with numbers of 64 bits."""

    def decoder(info: WeightsInfo) -> StreamDecoder:
        codec = load_weights(info, "cpu")
        codec.network.double()
        return codec

    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(torch.Tensor, "float", torch.Tensor.double):  # which networks call against half precision
            return in_this_process(decoder, kit)
    finally:
        torch.set_default_dtype(torch.float32)


def cuda(kit: Path) -> Facts | str:
    """torch on a GPU, or why not."""
    if not torch.cuda.is_available():
        return "not run: no CUDA device"
    return in_this_process(lambda info: load_weights(info, "cuda"), kit)


def web_assembly(kit: Path) -> Facts | str:
    """The JavaScript decoder, by its own run of the kit, or why not."""
    if not (ROOT / "js/node_modules").is_dir():
        return "not run: js/ is not installed"
    if kit.resolve() != KIT:
        return f"not run: it decodes the kit in {KIT.name}/ alone"
    names = sorted({one.model for one in read_kit(kit).weights.values() if not one.file})
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "ddncodec", "models", "copy", *names, "-o", folder], check=True,
                       stdout=subprocess.DEVNULL)
        done = subprocess.run(["node", "js/test/kit.js", f"{folder}/models.json"], cwd=ROOT, check=True,
                              stdout=subprocess.PIPE)
    return [{**facts, "largest": facts["deviation"]} for facts in json.loads(done.stdout)]


def row(name: str, result: Facts | str) -> list[str]:
    """A line of the table."""
    if isinstance(result, str):
        return [name, result, "", "", ""]
    streams = sum(facts["streams"] for facts in result)
    own = [facts for facts in result if facts["allowed"] == OWN]
    return [name, f"{streams}", worst(own), f"{max(facts['differing'] for facts in own):.4%}",
            worst([facts for facts in result if facts["allowed"] > OWN])]


def worst(facts: Facts) -> str:
    """The largest deviation, and of which model, if there is any."""
    if not facts:
        return ""
    most = max(facts, key=lambda one: (one["largest"], one["differing"]))
    return f"{most['largest']}" + (f" (`{most['model']}`)" if most["largest"] else "")


def main(kit: Annotated[Path, typer.Argument(help="The kit's folder.")] = KIT,
         dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table alone.")] = False) -> None:
    """Decode the kit in all ways, and write the table; see the module."""
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    found: dict[str, Facts | str] = {}

    for way in ways():
        typer.echo(way.name, err=True)
        reason = missing(way, flags)
        found[way.name] = f"not run: {reason}" if reason else of_a_process(way, kit)
    for name, run in {"torch, 64-bit numbers": double_precision, "torch, CUDA": cuda,
                      "onnxruntime-web, WebAssembly in Node": web_assembly}.items():
        typer.echo(name, err=True)
        found[name] = run(kit)
    head = ["decoder", "streams", "largest deviation", "samples that differ, worst model",
            "of earlier weights' streams"]
    where = (f"By `experiments/agreement.py`, on {platform.machine()} of {os.cpu_count()} cores, "
             f"torch {torch.__version__.partition('+')[0]}.")
    text = table(head, [row(name, result) for name, result in found.items()]) + f"\n\n{where}"
    if dry_run:
        typer.echo(text)
        return
    page = filled(PAGE.read_text(encoding="utf-8"), "conformance", {"agreement": text})
    for target, content in ((PAGE, page), (FIGURES, json.dumps(found, indent=2) + "\n")):
        with atomic_write(target, overwrite=True) as file:
            file.write(content.encode())


if __name__ == "__main__":
    typer.run(main)

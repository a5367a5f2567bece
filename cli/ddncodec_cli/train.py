"""`ddncodec train`: make a checkpoint."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec_cli import options

if TYPE_CHECKING:
    from ddncodec.training.trainer import Progress, Trainer


class Kind(StrEnum):
    """Which generator to train."""

    principal = "principal"
    single_shot = "single-shot"


def train(
    k: Annotated[int, typer.Option(min=2, help="K, output nodes of a level.")] = 2,
    levels: Annotated[int, typer.Option("--l", "--levels", min=1, help="L, number of levels.")] = 1152,
    resolution: Annotated[int, typer.Option(help="Side of the images in pixels, a power of two.")] = 64,
    generator: Annotated[
        Kind, typer.Option(help="principal: splits of principal axes, for K a power of two; single-shot: the paper's.")
    ] = Kind.principal,
    width: Annotated[int, typer.Option(help="principal: width of the heads.")] = 640,
    channels: Annotated[int, typer.Option(help="single-shot: width of the convolutions.")] = 96,
    planes: Annotated[
        int, typer.Option(help="single-shot: fixed feature planes; 0: the convolutions' output, as in the paper.")
    ] = 256,
    data: Annotated[Path | None, typer.Option(help="A folder of images; by default the synthetic faces.")] = None,
    augment: Annotated[
        float | None, typer.Option(min=0, max=1, help="Mirror images, and change framing and light of this share.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep synthetic faces here once drawn, 12 KB each.")] = None,
    faces: Annotated[
        int, typer.Option(min=1_000, max=1_000_000, help="How many synthetic faces to train on, over and over.")
    ] = 1_000_000,
    start_images: Annotated[int, typer.Option(min=1, help="Images that a start from data is fitted to.")] = 10_000,
    head_steps: Annotated[int, typer.Option(min=0, help="principal: steps of each head at the start.")] = 1_000,
    out: Annotated[Path, typer.Option(help="The run's folder; its name becomes the model's.")] = Path("runs/model"),
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder; of the other options only --steps counts.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps, 20,000 if not given.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 64,
    lr: Annotated[float, typer.Option(min=0, help="Adam's rate for all but the output nodes.")] = 5e-4,
    node_lr: Annotated[float | None, typer.Option(min=0, help="Adam's rate for the output nodes.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the first weights and the order of the images.")
    ] = 0,
    bfloat16: Annotated[bool, typer.Option(help="Autocast the convolutions to bfloat16.")] = False,
    device: options.Device = "auto",
) -> None:
    """Train a model, by default BinDDN (K = 2, L = 1152) on synthetic faces.

    The run's folder holds the best weights (best.safetensors: give it to --model), the state that --resume reads,
    a log and a preview. Ctrl-C stops after the step under way and saves.
    """
    from ddncodec.codec import choose_device
    from ddncodec.errors import BadCheckpoint, OutputExists
    from ddncodec.network.config import AnyConfig, NetworkConfig, PrincipalConfig
    from ddncodec.training.trainer import STATE_FILE, TrainConfig, Trainer

    try:
        chosen = choose_device(device)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if resume is not None:
        trainer = Trainer.resume(resume, chosen, steps)
    else:
        if (out / STATE_FILE).exists():
            raise OutputExists(f"{out} holds a run already; --resume {out} goes on with it, --out names another")
        config = TrainConfig(data=str(data) if data else None, seed=seed, batch=batch, lr=lr, node_lr=node_lr,
                             bfloat16=bfloat16, augment=augment,
                             cache=str(cache) if cache else None, faces=faces, start_images=start_images,
                             head_steps=head_steps, **({"steps": steps} if steps else {}))
        try:
            layout: AnyConfig = (
                PrincipalConfig.default(k, levels, resolution, width=width) if generator is Kind.principal
                else NetworkConfig.default(k, levels, resolution, channels=channels, planes=planes))
        except BadCheckpoint as error:
            raise typer.BadParameter(str(error)) from None
        if sys.stderr.isatty():
            typer.echo("fitting a start to data", err=True)
        trainer = Trainer.create(out, layout, config, chosen)
    stopped = _run(trainer)
    if stopped is not None:
        typer.echo(f"stopped at step {trainer.step}; --resume {trainer.folder} goes on", err=True)
        raise typer.Exit(128 + stopped)


def _run(trainer: Trainer) -> int | None:
    """Train, with a progress bar on a terminal; returns the signal that stopped it."""
    caught: list[int] = []

    def stop(number: int, frame: object) -> None:
        caught.append(number)
        trainer.request_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if sys.stderr.isatty():
            _with_bar(trainer)
        else:
            for _ in trainer.run():
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return caught[0] if caught else None


def _with_bar(trainer: Trainer) -> None:
    with typer.progressbar(trainer.run(), length=trainer.config.steps - trainer.step, file=sys.stderr, show_pos=True,
                           item_show_func=lambda progress: _line(progress) if progress else None) as bar:
        for _ in bar:
            pass


def _line(progress: Progress) -> str:
    best = f", best {progress.best_psnr:.2f} dB" if progress.best_psnr > 0 else ""
    return f"step {progress.step}: loss {progress.loss:.5f}, {progress.splits} splits{best}"

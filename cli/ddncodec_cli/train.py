"""`ddncodec train`: make a checkpoint."""

from __future__ import annotations

import json
import signal
from collections import Counter
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddncodec.network.registry import GENERATORS
from ddncodec_cli import options
from ddncodec_cli.jobs import complain, tell_skipped
from ddncodec_cli.progress import shown

if TYPE_CHECKING:
    import torch

    from ddncodec.training.looks import LookTrainer
    from ddncodec.training.recipe import Recipe
    from ddncodec.training.trainer import Trainer


def _known_generator(name: str) -> str:
    if name not in GENERATORS:
        raise typer.BadParameter(f"it is one of {', '.join(GENERATORS)}, not {name}")
    return name


class Precision(StrEnum):
    """What the dense parts compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Look(StrEnum):
    """What a refiner draws."""

    faithful = "faithful"
    natural = "natural"


LOOK_STATE = "look.safetensors"  # in a run's folder, where it is of a look
LOOK_OPTIONS = ("look", "of", "data", "cache", "images", "seed", "steps", "batch", "lr", "precision")
RECIPES = (  # here, since --help must not import torch
    "binddn-1152", "k512-128", "ffhq-64", "cifar-10", "fashion-class", "fashion-recurrent", "faces-colour",
    "paper-faces32", "paper-binddn32", "paper-digits", "photos-1152", "placeholder-183",
)
NETWORK = ("generator", "k", "levels", "resolution", "width", "channels", "planes")  # options of the [network] table


def train(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Option(help=f"A TOML file, or one of {', '.join(RECIPES)}; other options override it.")
    ] = None,
    k: Annotated[int | None, typer.Option(min=2, help="K, output nodes of a level; 2 if not given.")] = None,
    levels: Annotated[
        int | None, typer.Option("--l", "--levels", min=1, help="L, number of levels; 1152 if not given.")
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the images in pixels, a power of two; 64.")] = None,
    generator: Annotated[
        str | None,
        typer.Option(parser=_known_generator, metavar=f"[{'|'.join(GENERATORS)}]",
                     help="Which to train; principal if not given, for K a power of two."),
    ] = None,
    width: Annotated[int | None, typer.Option(help="principal: width of the heads; 640.")] = None,
    channels: Annotated[int | None, typer.Option(help="single-shot, blockwise: width of the convolutions; 96.")] = None,
    planes: Annotated[
        int | None, typer.Option(help="blockwise: fixed feature planes, 256; 0: learned features.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Images to train on; by default the synthetic faces.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Keep drawn faces or decoded images here, 12 KB each at 64×64.")
    ] = None,
    faces: Annotated[
        int | None, typer.Option(min=1_000, max=1_000_000, help="How many synthetic faces to train on, over and over.")
    ] = None,
    augment: Annotated[
        float | None, typer.Option(min=0, max=1, help="Mirror images, and change framing and light of this share.")
    ] = None,
    start_images: Annotated[int | None, typer.Option(min=0, help="Images that a start from data is fitted to.")] = None,
    head_steps: Annotated[int | None, typer.Option(min=0, help="principal: steps of each head at the start.")] = None,
    out: Annotated[Path, typer.Option(help="The run's folder; its name becomes the model's.")] = Path("runs/model"),
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder; of the other options only --steps counts.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps, before those of the refiner alone; 20,000 if not given.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step, of all processes together; 64.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(min=1, help="Parts that a process works through its images of a step in.")
    ] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Adam's rate for all but the output nodes; 5e-4.")] = None,
    node_lr: Annotated[float | None, typer.Option(min=0, help="Adam's rate for the output nodes.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Of the first weights and the order of the images; 0.")
    ] = None,
    precision: Annotated[Precision | None, typer.Option(help="Autocast dense parts; distances stay float32.")] = None,
    checkpoint_activations: Annotated[
        bool | None, typer.Option("--checkpoint-activations", help="Less memory, more time.")
    ] = None,
    compile: Annotated[bool | None, typer.Option("--compile", help="Compile the dense parts by torch.compile.")] = None,
    look: Annotated[
        Look | None, typer.Option(help="Train a look instead: the refiner of a model alone, of which the rest stays.")
    ] = None,
    of: Annotated[str | None, typer.Option(help="--look: the model, a name or a weights file.")] = None,
    images: Annotated[int | None, typer.Option(min=1_000, help="--look: how many training images; 12,000.")] = None,
    device: options.Device = "auto",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only print parameters, FLOPs and memory; 'batch' images at once.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Train a model, by default BinDDN (K = 2, L = 1152) on synthetic faces.

    On several GPUs: torchrun --nproc-per-node 8 -m ddncodec train … The run's folder holds the best weights
    (best.safetensors: give it to --model), the state that --resume reads, the recipe, a log and pictures. Ctrl-C stops
    after the step under way and saves.
    """
    from torch.distributed import is_torchelastic_launched

    from ddncodec.codec import choose_device
    from ddncodec.data import Packed
    from ddncodec.errors import OutputExists
    from ddncodec.files import locked
    from ddncodec.training.distributed import join
    from ddncodec.training.trainer import STATE_FILE, Trainer

    try:
        chosen = choose_device(device)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if look is not None or (resume is not None and (resume / LOOK_STATE).exists()):
        _train_look(context, out, resume, chosen)
        return
    if of is not None or images is not None:
        raise typer.BadParameter("--of and --images are for --look")
    if estimate:
        _estimate(_recipe(context, recipe), chosen, as_json)
        return
    with (join(chosen) as world, locked(resume or out) if world.leads else nullcontext(),
          shown(world.leads) as progress):
        # What rank 0 sees counts: all must do the same.
        started = resume is None and world.any(world.leads and (out / STATE_FILE).exists())
        if started and is_torchelastic_launched():
            resume = out  # a process or a node is replaced, or the whole job is started again
            if world.leads:
                typer.echo(f"{out} holds a run already: going on with it", err=True)
        if resume is not None:
            trainer = Trainer.resume(resume, world, steps, progress)
            if world.leads and trainer.warning:
                complain(trainer.warning)
        else:
            if started:
                raise OutputExists(f"{out} holds a run already; --resume {out} goes on with it, --out names another")
            trainer = Trainer.create(out, _recipe(context, recipe), world, progress)
            if world.leads and isinstance(trainer.source, Packed):
                tell_skipped(trainer.config.data, trainer.source.left_out + Counter(unreadable=trainer.source.skipped))
        stopped = _run(trainer)
        if stopped is not None and world.leads:
            typer.echo(f"stopped at step {trainer.step}; --resume {trainer.folder} goes on", err=True)
    if stopped is not None:
        raise typer.Exit(128 + stopped)


def _recipe(context: typer.Context, name: str | None) -> Recipe:
    """The recipe that the options ask for; what is wrong with them alone is a usage error."""
    from ddncodec.errors import BadRecipe
    from ddncodec.training.config import TrainConfig
    from ddncodec.training.recipe import Recipe, read

    tables: dict[str, dict[str, Any]] = read(name) if name is not None else {}
    given = {option: value for option, value in context.params.items() if value is not None}
    settings = {"network": NETWORK, "train": tuple(TrainConfig.__dataclass_fields__)}
    for table, known in settings.items():
        overrides = {option: str(value) if isinstance(value, Path | StrEnum) else value
                     for option, value in given.items() if option in known}
        tables[table] = tables.get(table, {}) | overrides
    try:
        return Recipe.of(tables)
    except BadRecipe as error:
        if name is None:
            raise typer.BadParameter(str(error)) from None
        raise


def _estimate(recipe: Recipe, device: torch.device, as_json: bool) -> None:
    """Print what a run of this recipe takes of each process."""
    from dataclasses import asdict

    from ddncodec.training.estimate import estimate

    found = estimate(recipe, device)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"total_bytes": found.total_bytes}, indent=2))
        return
    typer.echo(f"parameters   {found.parameters:,}")
    typer.echo(f"FLOPs        {found.flops_per_image / 1e9:,.2f} G an image, forward and backward")
    for name, size in (("weights", found.weight_bytes), ("gradients", found.gradient_bytes),
                       ("optimizer", found.optimizer_bytes), ("activations", found.activation_bytes),
                       ("in all", found.total_bytes)):
        of = f", of {found.images} images at once" if name == "activations" else ""
        typer.echo(f"{name:12} {size / 2**20:,.0f} MiB{of}")


def _train_look(context: typer.Context, out: Path, resume: Path | None, device: torch.device) -> None:
    """Begin a training of a look, or go on with it."""
    from ddncodec.errors import OutputExists
    from ddncodec.files import locked
    from ddncodec.training.looks import LookConfig, LookTrainer

    given: dict[str, Any] = {
        name: str(value) if isinstance(value, Path | StrEnum) else value for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) is not None and source.name != "DEFAULT"}
    folder = resume or out
    known = ("resume", "steps") if resume else LOOK_OPTIONS
    if strange := given.keys() - {*known, "out", "device"}:
        raise typer.BadParameter(f"--{min(strange).replace('_', '-')} is not for "
                                 + ("going on with a look" if resume else "--look"))
    if resume is None and "of" not in given:
        raise typer.BadParameter("--look wants --of: the model whose look it is to be")
    with locked(folder), shown(True) as progress:
        if resume is None:
            if (folder / LOOK_STATE).exists():
                raise OutputExists(f"{folder} holds a run already: --resume {folder} goes on with it")
            config = LookConfig(**{name: value for name, value in given.items() if name in LOOK_OPTIONS})
            trainer = LookTrainer.create(folder, config, device, progress)
        else:
            trainer = LookTrainer.resume(resume, device, given.get("steps"), progress)
            if trainer.warning:
                complain(trainer.warning)
        stopped = _run(trainer)
    if stopped is not None:
        typer.echo(f"stopped at step {trainer.step}; --resume {folder} goes on", err=True)
        raise typer.Exit(128 + stopped)


def _run(trainer: Trainer | LookTrainer) -> int | None:
    """Train; returns the signal that stopped it."""
    caught: list[int] = []

    def stop(number: int, frame: object) -> None:
        caught.append(number)
        trainer.request_stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)  # for good: torchrun signals to a process that is about to say that another is gone
    for _ in trainer.run():
        pass
    return caught[0] if caught else None


"""`ddncodec sample`: images drawn by chance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec import zoo
from ddncodec.network.config import CLASS
from ddncodec_cli import options
from ddncodec_cli.jobs import lazy_codec, read
from ddncodec_cli.results import Count, Output, Results, SaveLatent, Seed

if TYPE_CHECKING:
    from torch import Tensor

    from ddncodec.codec import Codec
    from ddncodec.images import Picture


def sample(
    output: Output,
    n: Count = 64,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(min=0.01, max=100, help="1: any proposal is as likely; below, small steps are more.")
    ] = 1.0,
    prefix: Annotated[Path | None, typer.Option(help="A .ddn file whose first levels all images have.")] = None,
    levels: Annotated[int | None, typer.Option(min=1, help="How many levels of --prefix to keep; all of them.")] = None,
    label: Annotated[int | None, typer.Option("--class", min=0, help="For a model that is told a class.")] = None,
    condition: Annotated[Path | None, typer.Option(help="For a model that is told grey or edges: an image.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name or weights file; by default binddn, or that of --prefix.")
    ] = None,
    save_latent: SaveLatent = False,
    force: options.Force = False,
    device: options.Device = "auto",
) -> None:
    """Draw images by random choice among the proposals of each level."""
    from ddncodec import container
    from ddncodec.images import read_picture

    if levels is not None and prefix is None:
        raise typer.BadParameter("--levels says how many levels of --prefix to keep, and there is no --prefix")
    kept = None
    if prefix is not None:
        with read(prefix) as file:
            stream = container.read(file)
        kept = stream.latent if levels is None else stream.latent.prefix(min(levels, stream.latent.levels))
        info = zoo.find(model) if model else zoo.find_id(stream.weights_id)
        info.check(stream)
    else:
        info = zoo.find(model or zoo.DEFAULT)
    told = info.config.condition
    wants_class, wants_image = told is not None and told.kind == CLASS, told is not None and told.kind != CLASS
    if (label is not None, condition is not None) != (wants_class, wants_image):
        wants = "--class" if wants_class else "--condition" if wants_image else "neither --class nor --condition"
        raise typer.BadParameter(f"{info.name} is told {told.kind if told else 'nothing'}: it wants {wants}")
    if told is not None and label is not None and label >= told.channels:
        raise typer.BadParameter(f"{info.name} knows the classes 0 to {told.channels - 1}")
    picture = None
    if condition is not None:
        with read(condition) as file:
            picture = read_picture(file)
    results = Results(output, n, info, save_latent, force)
    codec = lazy_codec(lambda: info, device)()
    from ddncodec import generate

    given = _condition(codec, label, picture)
    results.draw(codec, lambda part: generate.sample(codec, part, seed, temperature, kept, given))


def _condition(codec: Codec, label: int | None, picture: Picture | None) -> Tensor | None:
    import torch

    from ddncodec.images import fit
    from ddncodec.network.condition import condition_of
    from ddncodec.pixels import to_tensor

    side = codec.resolution
    images = torch.zeros(1, 3, side, side) if picture is None else to_tensor(fit(picture.pixels, side)[None])
    labels = None if label is None else torch.tensor([label])
    told = condition_of(codec.info.config.condition, images, labels)
    return None if told is None else told.to(codec.device)

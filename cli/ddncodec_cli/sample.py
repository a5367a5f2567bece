"""`ddncodec sample`: images drawn by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddncodec import zoo
from ddncodec_cli import completion, conditions, options
from ddncodec_cli.jobs import lazy_codec, named, path_of, read_bytes
from ddncodec_cli.results import Count, Output, Results, SaveLatent, Seed
from ddncodec_cli.weights import weights_of


def sample(
    output: Output,
    n: Count = 64,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(min=0.01, max=100, help="1: as likely as in training; below, likely picks, or small steps.")
    ] = 1.0,
    prefix: Annotated[
        Path | None, typer.Option(parser=path_of, autocompletion=completion.streams,
                                  help="A .ddn file whose first levels all images have.")
    ] = None,
    levels: Annotated[int | None, typer.Option(min=1, help="How many levels of --prefix to keep; all of them.")] = None,
    label: conditions.Label = None,
    condition: conditions.Image = None,
    model: Annotated[
        str | None, typer.Option(autocompletion=completion.models,
                                 help="A model's name or weights file; by default binddn, or that of --prefix.")
    ] = None,
    prior: Annotated[
        str, typer.Option(metavar="own|none|FILE", help="How likely picks are: the model's own prior; none, all alike, "
                          "as in the paper; a file of the command prior.")
    ] = "own",
    save_latent: SaveLatent = False,
    force: options.Force = False,
    device: options.Device = "auto",
) -> None:
    """Draw images by random choice among the proposals of each level, as likely as the model's prior says."""
    from ddncodec import container

    if levels is not None and prefix is None:
        raise typer.BadParameter("--levels says how many levels of --prefix to keep, and there is no --prefix")
    kept = None
    if prefix is not None:
        with named(prefix):
            stream = container.from_bytes(read_bytes(prefix, container.MAX_FILE))
        kept = stream.latent if levels is None else stream.latent.prefix(min(levels, stream.latent.levels))
        info = weights_of(stream.weights_id, model)
        info.check(stream)
    else:
        info = zoo.find(model or zoo.DEFAULT)
    given = conditions.read_condition(info, label, condition)
    results = Results(output, n, info, save_latent, force, [prefix, condition])
    codec = lazy_codec(lambda: info, device)()
    from ddncodec import generate

    chosen = generate.prior_of(codec, prior)
    results.draw(codec, lambda first, count: generate.sample(
        count, codec, seed=seed, first=first, temperature=temperature, prefix=kept, condition=given,
        prior=chosen or generate.NO_PRIOR))

"""`ddncodec prior`: count how likely a model's picks are, which `sample` then follows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec import zoo
from ddncodec.errors import OutputExists
from ddncodec_cli import options
from ddncodec_cli.jobs import lazy_codec, path_of, tell_skipped
from ddncodec_cli.progress import shown

if TYPE_CHECKING:
    from ddncodec.data import Source
    from ddncodec.priors.counting import Batch

BATCH = 100


def prior(
    model: options.NamedModel = zoo.DEFAULT,
    data: Annotated[
        str | None, typer.Option(help="Images, as train takes them; by default the synthetic faces.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=1_000_000, help="Count over so many training images.")] = 12_000,
    check: Annotated[int, typer.Option(min=1, max=10_000, help="Measure on up to so many validation images.")] = 1_000,
    cache: Annotated[Path | None, typer.Option(help="Keep drawn faces or decoded images here.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", parser=path_of,
                                  help="By default beside the weights, where sample finds it.")
    ] = None,
    force: options.Force = False,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Make a model's prior: how often its levels pick each of their nodes, counted over images.

    It prints how many bits a latent takes, as it is and if it were entropy-coded by the prior.
    """
    info = zoo.find(model)
    target = output or zoo.prior_path(info)
    if target.exists() and not force:
        raise OutputExists("it exists; -f overwrites it", target)
    codec = lazy_codec(lambda: info, device)()
    from ddncodec.data import Faces, Packed, pack
    from ddncodec.network.condition import condition_of
    from ddncodec.priors.counting import count, cross_entropy
    from ddncodec.priors.file import save_prior
    from ddncodec.priors.odds import Odds

    with TemporaryDirectory() as folder, shown(True) as progress:
        source: Source
        if data is None:
            source = Faces(codec.resolution, cache)
        else:
            with progress.phase("packing images") as advance:
                packed = pack(data, codec.resolution, cache or Path(folder), lambda count: advance())
            source = Packed(packed, seed=0)
            tell_skipped(data, source.left_out + Counter(unreadable=source.skipped))

        def training() -> Iterator[Batch]:
            with progress.phase("counting picks", images) as advance:
                for first in range(0, images, BATCH):
                    positions = range(first, min(first + BATCH, images))
                    part = source.images(positions).to(codec.device)
                    yield part, condition_of(info.config.condition, part, source.labels(positions))
                    advance(len(part))

        def validation() -> Iterator[Batch]:
            part = source.validation(check).to(codec.device)
            condition = condition_of(info.config.condition, part, source.validation_labels(check))
            with progress.phase("measuring", len(part)) as advance:
                for first in range(0, len(part), BATCH):
                    rows = slice(first, first + BATCH)
                    yield part[rows], condition if condition is None else condition[rows]
                    advance(len(part[rows]))

        odds = Odds(count(codec.network, training()))
        found = cross_entropy(codec.network, {"odds": odds}, validation())["odds"]
    save_prior(target, odds, info, overwrite=force)
    facts = {"prior": str(target), "weights": info.id.hex(), "images": images, "bits": info.config.bits,
             "bits_by_prior": round(found, 1)}
    typer.echo(json.dumps(facts, indent=2) if as_json else
               f"{target}: counted over {images:,} images; a latent of {info.config.bits:g} bits is worth {found:.1f}")

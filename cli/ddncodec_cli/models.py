"""`ddncodec models`: the checkpoints that are here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ddncodec import zoo
from ddncodec.looks import looks_of
from ddncodec.weights import WeightsInfo
from ddncodec_cli import completion, options
from ddncodec_cli.jobs import printable

app = typer.Typer(help="The models here.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_models(as_json: options.Json = False) -> None:
    """List the models that ship with ddncodec."""
    found = [_facts(info) for info in zoo.shipped()]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    width = max(len(facts["name"]) for facts in found)
    for facts in found:
        typer.echo(f"{facts['name']:{width}} {facts['weights']}  {facts['resolution']}×{facts['resolution']}  "
                   f"K = {facts['k']}, L = {facts['levels']}: {facts['bits']:g} bits")


@app.command()
def show(
    model: options.NamedModel = zoo.DEFAULT,
    as_json: options.Json = False,
) -> None:
    """Show a model: its layout, its card and its figures."""
    info = zoo.find(model)
    here = info in zoo.shipped()  # what lies beside other weights may be anyone's
    card, metrics = info.path.with_name("card.md"), info.path.with_name("metrics.json")
    facts = _facts(info) | {"metrics": json.loads(metrics.read_text()) if here and metrics.is_file() else None}
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(printable(f"{info.name}  {facts['weights']}  {info.path}"))
    for earlier, deviation in facts["earlier"].items():
        typer.echo(f"  decodes streams of the earlier weights {earlier} too, within {deviation} of 255")
    typer.echo(f"  looks: {', '.join(facts['looks'])}")
    typer.echo("\n".join(f"  {name}: {value}" for name, value in facts["layout"].items()))
    if facts["metrics"]:
        typer.echo(json.dumps(facts["metrics"], indent=2))
    if here and card.is_file():
        typer.echo("\n" + card.read_text(encoding="utf-8"))


@app.command()
def copy(
    models: Annotated[
        list[str], typer.Argument(autocompletion=completion.models, help="Names of models, or paths of weights files.")
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="The folder, which is to be served.")],
    force: options.Force = False,
) -> None:
    """Copy models into a folder from which pages fetch them, with models.json, which names them.

    A model of your own needs its decoder beside the weights: `ddncodec export` makes it.
    """
    from ddncodec.webmodels import copy_models

    typer.echo(copy_models([zoo.find(model) for model in models], output_dir, force))


def _facts(info: WeightsInfo) -> dict[str, Any]:
    config = info.config
    return {
        "name": info.name,
        "weights": info.id.hex(),
        "earlier": {one.id.hex(): one.deviation for one in info.earlier},
        "bytes": info.path.stat().st_size,
        "resolution": config.resolution,
        "k": config.k,
        "levels": config.levels,
        "bits": config.bits,
        "generator": config.generator,
        "looks": looks_of(info),
        "layout": json.loads(config.to_json()),
    }

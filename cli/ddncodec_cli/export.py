"""`ddncodec export`: a decoder and an encoder of a model that need no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddncodec import zoo
from ddncodec_cli import options


def export(
    model: options.NamedModel = zoo.DEFAULT,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Where to write them; by default beside the weights.")
    ] = None,
) -> None:
    """Export a model's decoder, and a principal one's encoder, as ONNX graphs, which read the weights file beside them.

    `decode` and `encode` then need onnxruntime instead of torch for this model. The shipped models have theirs.
    """
    info = zoo.find(model)
    from ddncodec.export import export as write

    for graph in write(info, info.path.parent if output_dir is None else output_dir):
        typer.echo(graph)

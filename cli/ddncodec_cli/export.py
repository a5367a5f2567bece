"""`ddncodec export`: a decoder of a model that needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddncodec import zoo
from ddncodec_cli import options


def export(
    model: options.NamedModel = zoo.DEFAULT,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Where to write it; by default beside the weights.")
    ] = None,
) -> None:
    """Export a model's decoder as an ONNX graph, which reads the weights file beside it.

    `decode` then needs onnxruntime instead of torch for this model's files. The shipped models have theirs.
    """
    info = zoo.find(model)
    from ddncodec.export import export as write

    typer.echo(write(info, info.path.parent if output_dir is None else output_dir))

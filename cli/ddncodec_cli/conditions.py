"""What a conditional model is given, by `sample` and `guide`, for the images that it draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec.network.config import CLASS
from ddncodec_cli.jobs import path_of, read_picture

if TYPE_CHECKING:
    from ddncodec.images import Pixels
    from ddncodec.weights import WeightsInfo

Label = Annotated[int | None, typer.Option("--class", min=0, help="For a model of classes.")]
Image = Annotated[
    Path | None, typer.Option("--condition", parser=path_of, help="For a model of grey or edges: an image.")
]


def read_condition(info: WeightsInfo, label: int | None, image: Path | None) -> int | Pixels | None:
    """The condition of the command line, read before a network is.

    Raises BadParameter where the model is given what it does not take, or not what it does.
    """
    condition = info.config.condition
    pixels = read_picture(image).pixels if image is not None else None
    kind = condition.kind if condition else None
    if (label is not None, image is not None) != (kind == CLASS, kind not in (CLASS, None)):
        wants = {CLASS: "--class", None: "neither --class nor --condition"}.get(kind, "--condition")
        raise typer.BadParameter(f"the condition of {info.name} is {kind or 'nothing'}: give {wants}")
    if condition and label is not None and label >= condition.channels:
        raise typer.BadParameter(f"{info.name} knows the classes 0 to {condition.channels - 1}")
    return pixels if label is None else label

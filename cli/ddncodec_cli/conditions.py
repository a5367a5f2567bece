"""What `sample` and `guide` tell a conditional model of the images that it draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec.network.config import CLASS
from ddncodec_cli.jobs import read_pixels

if TYPE_CHECKING:
    from torch import Tensor

    from ddncodec.codec import Codec
    from ddncodec.weights import WeightsInfo

Label = Annotated[int | None, typer.Option("--class", min=0, help="For a model that is told a class.")]
Image = Annotated[
    Path | None, typer.Option("--condition", help="For a model that is told grey or edges: an image.")
]


class Given:
    """Read from the command line before a network is; raises BadParameter for what the model is not told, or wants."""

    def __init__(self, info: WeightsInfo, label: int | None, image: Path | None) -> None:
        self._condition, self._label = info.config.condition, label
        self._pixels = read_pixels(image) if image is not None else None
        kind = self._condition.kind if self._condition else None
        if (label is not None, image is not None) != (kind == CLASS, kind not in (CLASS, None)):
            wants = {CLASS: "--class", None: "neither --class nor --condition"}.get(kind, "--condition")
            raise typer.BadParameter(f"{info.name} is told {kind or 'nothing'}: it wants {wants}")
        if self._condition and label is not None and label >= self._condition.channels:
            raise typer.BadParameter(f"{info.name} knows the classes 0 to {self._condition.channels - 1}")

    def tensor(self, codec: Codec) -> Tensor | None:
        """As a conditional network takes it, (1, C, r, r); None for others."""
        import torch

        from ddncodec.images import fit
        from ddncodec.network.condition import condition_of
        from ddncodec.pixels import to_tensor

        side = codec.resolution
        images = torch.zeros(1, 3, side, side) if self._pixels is None else to_tensor(fit(self._pixels, side)[None])
        labels = None if self._label is None else torch.tensor([self._label])
        told = condition_of(self._condition, images, labels)
        return None if told is None else told.to(codec.device)

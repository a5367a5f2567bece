"""`ddncodec guide`: images as guides would have them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec import zoo
from ddncodec_cli import conditions, options
from ddncodec_cli.jobs import lazy_codec, path_of, read_picture
from ddncodec_cli.results import Count, Output, Results, SaveLatent, Seed

if TYPE_CHECKING:
    import torch

    from ddncodec.codec import Codec
    from ddncodec.guides import Guide, Objective
    from ddncodec.images import Pixels

IMAGES = ("super-resolution", "colourise", "inpaint", "denoise", "style", "edges")
KINDS = (*IMAGES, "classifier", "clip")
KEYS = ("weight", "mask", "noise", "class", "text", "architecture")


@dataclass(frozen=True)
class Given:
    """A guide as the command line gives it; its image and mask are read already."""

    kind: str
    source: Path
    image: Pixels | None
    mask_source: Path | None
    mask: Pixels | None
    weight: float
    noise: float
    label: int
    text: str
    architecture: str


def guide(
    guides: Annotated[list[str], typer.Argument(metavar="KIND=FILE[,KEY=VALUE]…", help="What to look like.")],
    output: Output,
    n: Count = 1,
    seed: Seed = 0,
    top_k: Annotated[int, typer.Option(min=1, help="Take one of so many best proposals, by chance; 1: the best.")] = 2,
    lookahead: Annotated[
        int, typer.Option(min=1, max=12, help="Bits decided at once: 2^N proposals are compared at each choice.")
    ] = 9,
    typical: Annotated[
        float, typer.Option(min=0, help="Weight of staying likely, where no guide is of pixels, size or grey.")
    ] = 1.0,
    label: conditions.Label = None,
    condition: conditions.Image = None,
    model: options.Model = zoo.DEFAULT,
    save_latent: SaveLatent = False,
    force: options.Force = False,
    device: options.Device = "auto",
) -> None:
    """Draw images that look as guides have them: repair, and search in what a model knows, without training.

    KIND is super-resolution (FILE: a smaller image), colourise (grey), inpaint (with mask=), denoise (with noise=),
    style, edges (an image whose edges to have), classifier (a TorchScript file or a .pt2 program, with class=) or clip
    (weights of open_clip, with text= and, if it is not ViT-B-32, architecture=).

    Each may have weight=W (1), against the others, and mask=FILE: it looks where that is white. inpaint fills what is
    black. noise=S (25) is the noise's standard deviation in 8-bit steps.
    """
    parsed = [parse(text) for text in guides]
    info = zoo.find(model)
    wanted = conditions.read_condition(info, label, condition)
    side = info.config.resolution
    for one in parsed:
        if one.kind == "super-resolution" and one.image is not None and max(one.image.shape[:2]) > side:
            raise typer.BadParameter(f"{one.source} is larger than the {side}×{side} of {info.name}")
    inputs = [condition, *(path for one in parsed for path in (one.source, one.mask_source))]
    results = Results(output, n, info, save_latent, force, inputs)
    codec = lazy_codec(lambda: info, device)()
    from ddncodec import generate

    objectives = [objective(codec, one) for one in parsed]
    results.draw(codec, lambda first, count: generate.guide(
        objectives, count, codec, seed=seed, first=first, top=top_k, lookahead=lookahead, typical=typical,
        condition=wanted))


def parse(text: str) -> Given:
    """Of KIND=FILE[,KEY=VALUE]…; a comma that no key follows is part of a value. Raises BadParameter, DdnError."""
    first, *rest = re.split(f",(?=(?:{'|'.join(KEYS)})=)", text)
    kind, _, source = first.partition("=")
    if kind not in KINDS or not source:
        raise typer.BadParameter(f"a guide is KIND=FILE, KIND one of {', '.join(KINDS)}; not {text!r}")
    values = dict(entry.split("=", 1) for entry in rest)
    takes = {"weight", "mask"} | {"denoise": {"noise"}, "classifier": {"class"},
                                  "clip": {"text", "architecture"}}.get(kind, set())
    needs = {"classifier": "class", "clip": "text", "inpaint": "mask"}.get(kind)
    if len(values) < len(rest) or not values.keys() <= takes:
        raise typer.BadParameter(f"{kind} takes {', '.join(sorted(takes))}, each once; not {text!r}")
    if needs and needs not in values:
        raise typer.BadParameter(f"{kind} needs {needs}=; not {text!r}")
    label = values.get("class", "0")
    if not label.isdecimal():
        raise typer.BadParameter(f"a class is a whole number, not {label!r}")
    mask = path_of(values["mask"]) if "mask" in values else None
    return Given(kind, path_of(source), read_picture(path_of(source)).pixels if kind in IMAGES else None,
                mask, read_picture(mask).pixels if mask else None,
                _positive("weight", values.get("weight", "1")), _positive("noise", values.get("noise", "25")),
                int(label), values.get("text", ""), values.get("architecture", "ViT-B-32"))


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{name} is a number above 0, not {text!r}")
    return value


def objective(codec: Codec, given: Given) -> Objective:
    """What the command line says, for the network at hand."""
    from torch.nn import functional

    from ddncodec.guides import Objective, kinds
    from ddncodec.images import fit
    from ddncodec.pixels import to_tensor

    side, device = codec.resolution, codec.device
    mask = None
    if given.mask is not None:
        mask = (to_tensor(fit(given.mask, side)[None]).mean(1, keepdim=True) > 0).float().to(device)
        if not mask.any():
            raise typer.BadParameter(f"the mask of {given.source} is black everywhere: there is nothing to look at")
    if given.kind == "classifier":
        return kinds.Classifier.load(given.source, given.label, side, device).objective(given.weight, mask, device)
    if given.kind == "clip":
        return kinds.Clip(given.architecture, given.source, device).objective(given.text, given.weight, mask)
    assert given.image is not None
    if given.kind == "super-resolution":
        height, width = given.image.shape[:2]
        small, smaller = to_tensor(given.image[None]).to(device), kinds.Smaller(height, width)
        if mask is None:
            return Objective(smaller, small, given.weight)
        blocks = functional.interpolate(small, size=side, mode="nearest-exact")  # so that a mask hides both alike
        return Objective.like(smaller, blocks, given.weight, mask)
    image = to_tensor(fit(given.image, side)[None]).to(device)
    noise = given.noise / 127.5 if given.kind == "denoise" else 0.0
    return Objective.like(_guide(given.kind, device), image, given.weight, mask, noise)


def _guide(kind: str, device: torch.device) -> Guide:
    """One that looks at images as they are."""
    from ddncodec.guides import kinds
    from ddncodec.metrics.features import load_features

    match kind:
        case "colourise":
            return kinds.Grey()
        case "edges":
            return kinds.Edges()
        case "style":
            return kinds.Style(load_features().to(device))
        case _:
            return kinds.Pixels()

"""Crops of photographs that no training and no choice ever saw, for the figures that are told.

    make reserved                                 # needs Debian 12 on amd64; fetches 55 MB, without root

`reserved.toml` says which photographs, by whom and under which licence. The folder, runs/reserved, then has the same
`held-out/` and `flat/` as that of `make photos`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from photos import crops_of, read_all, write

from ddncodec.errors import DdnError
from ddncodec_cli.progress import shown

MANIFEST = Path(__file__).with_name("reserved.toml")
RESERVED = Path(__file__).parents[1] / "runs/reserved"


def main(
    out: Annotated[Path, typer.Option(help="The folder for all of it.")] = RESERVED,
    pictured: Annotated[int, typer.Option(help="Crops.")] = 250,
    flat: Annotated[int, typer.Option(help="Nearly flat ones, at most.")] = 60,
    manifest: Annotated[Path, typer.Option(help="The list of photographs.")] = MANIFEST,
) -> None:
    """Fetch the photographs and cut crops of them; see the module."""
    with shown(True) as progress:
        pictures = read_all(manifest, out / "packages", progress)
        write(crops_of(pictures, pictured, "reserved", progress), out / "held-out")
        nearly_flat = crops_of(pictures, flat, "reserved flat", progress, only_flat=True)
        write(nearly_flat, out / "flat")
    typer.echo(f"{out}: {pictured} crops and {len(nearly_flat)} flat ones of {len(pictures)} photographs")


if __name__ == "__main__":
    try:
        typer.run(main)
    except DdnError as error:
        sys.exit(f"error: {error}")

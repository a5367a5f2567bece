"""What an experiment of the paper found, as docs/paper.md tells it: a JSON file and pictures in docs/paper."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import typer

from ddncodec.errors import DdnError
from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels, write_picture

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs/paper"
RUNS = ROOT / "runs/paper"  # trainings and the like, which a second call goes on with


@dataclass
class Record:
    """One experiment's findings.

    name: of its file. shows: which figure or table of the paper. differs: in one sentence, what differs from the
    paper. figures: everything measured. rows: what docs/paper.md's table has of it.
    """

    name: str
    shows: str
    differs: str
    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)

    def row(self, what: str, ours: str, paper: str = "–") -> None:
        """A number of ours next to the paper's."""
        self.rows.append({"what": what, "paper": paper, "ours": ours})

    def picture(self, pixels: Pixels, suffix: str = "", enlarged: int = 1) -> None:
        """A PNG that docs/paper.md shows, each pixel as a square of so many."""
        name = f"{self.name}{suffix}.png"
        with atomic_write(self.folder / name, overwrite=True) as file:
            write_picture(Picture(pixels.repeat(enlarged, 0).repeat(enlarged, 1)), file)
        self.pictures.append(name)


@contextmanager
def recording(name: str, shows: str, differs: str, folder: Path = RECORDS) -> Iterator[Record]:
    """Run an experiment, and write what it found if it came to its end: NAME.json, beside its pictures.

    Args:
        name: Of the experiment's file.
        shows: Which figures or tables of the paper, as "Figs 4, 18".
        differs: What differs from the paper, in a sentence.
        folder: Where to write; it is made.

    Raises:
        typer.Exit: Data or a model is missing, which one line on stderr says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, began = Record(name, shows, differs, folder), monotonic()
    try:
        yield record
    except DdnError as error:
        typer.echo(f"{name}: {error}", err=True)
        raise typer.Exit(1) from None
    written = {
        "shows": shows, "differs": differs, "rows": record.rows, "pictures": record.pictures,
        "command": shlex.join(["python", f"experiments/paper/{name}.py", *sys.argv[1:]]),
        "minutes": round((monotonic() - began) / 60, 1), "figures": record.figures,
    }
    with atomic_write(folder / f"{name}.json", overwrite=True) as file:
        file.write((json.dumps(written, indent=2, ensure_ascii=False) + "\n").encode())

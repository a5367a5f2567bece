"""`ddncodec dataset`: what images there are to train on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec_cli import options
from ddncodec_cli.jobs import printable

if TYPE_CHECKING:
    from ddncodec.training.data.pictures import Entry

app = typer.Typer(help="Images to train on.", no_args_is_help=True, rich_markup_mode=None)
SHOWN = 20  # lines of a list on a terminal


@app.callback()
def _root() -> None:
    pass  # so that `check` stays a command of its own


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="What train --data takes: a folder, an archive, shards, arrays.")],
    as_json: options.Json = False,
) -> None:
    """Read every image; report counts, sizes, duplicates and what cannot be read (then the exit code is 30)."""
    from ddncodec.errors import DdnError, UnreadableImage
    from ddncodec.training.data.pictures import pictures

    sizes: Counter[str] = Counter()
    names: dict[bytes, list[str]] = {}
    unreadable: dict[str, str] = {}
    grey = 0
    for name, content in _watched(pictures(data)):
        if isinstance(content, DdnError):
            unreadable[name] = str(content)
            continue
        height, width = content.shape[:2]
        sizes[f"{width}×{height}"] += 1
        grey += bool((content == content[:, :, :1]).all())
        key = hashlib.sha256(f"{content.shape}".encode() + content.tobytes()).digest()
        names.setdefault(key, []).append(name)
    duplicates = [group for group in names.values() if len(group) > 1]
    facts = {"images": sizes.total(), "grey": grey, "sizes": dict(sizes.most_common()), "duplicates": duplicates,
             "unreadable": unreadable}
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        typer.echo(f"{sizes.total():,} images, {grey:,} of them grey, in {len(sizes)} sizes")
        _list(f"{size}: {count:,}" for size, count in sizes.most_common())
        typer.echo(f"{sum(map(len, duplicates)) - len(duplicates):,} duplicates")
        _list(" = ".join(group) for group in duplicates)
        typer.echo(f"{len(unreadable):,} unreadable")
        _list(f"{name}: {reason}" for name, reason in unreadable.items())
    if unreadable:
        raise typer.Exit(UnreadableImage.exit_code)


def _watched(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, counted on a terminal."""
    if not sys.stderr.isatty():
        yield from entries
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        for count, entry in enumerate(entries, 1):
            status.update(f"{count:,} images")
            yield entry


def _list(lines: Iterable[str]) -> None:
    """The first lines of a list, indented, and how many there are more."""
    every = list(lines)
    for line in every[:SHOWN]:
        typer.echo("  " + printable(line))
    if len(every) > SHOWN:
        typer.echo(f"  and {len(every) - SHOWN:,} more")

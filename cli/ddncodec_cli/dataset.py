"""`ddncodec dataset`: what images there are to train on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec_cli import options
from ddncodec_cli.jobs import counted, printable

if TYPE_CHECKING:
    from ddncodec.data.pictures import Entry

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
    """Read every image; report counts, sizes, duplicates and what cannot be read, whose first exit code it is."""
    from ddncodec.data.pictures import pictures
    from ddncodec.errors import DdnError

    sizes: Counter[tuple[int, int]] = Counter()
    names: dict[bytes, list[str]] = {}
    unreadable: list[dict[str, str]] = []
    grey = code = 0
    classes: Counter[int] = Counter()
    skipped: Counter[str] = Counter()
    for name, content, label in _watched(pictures(data, skipped)):
        if isinstance(content, DdnError):
            unreadable.append({"name": name, "reason": content.reason})
            code = code or content.exit_code
            continue
        height, width = content.shape[:2]
        sizes[width, height] += 1
        classes.update([] if label is None else [label])
        grey += bool((content == content[:, :, :1]).all())
        key = hashlib.sha256(f"{content.shape}".encode() + content.tobytes()).digest()
        names.setdefault(key, []).append(name)
    duplicates = [group for group in names.values() if len(group) > 1]
    by_count = {f"{width}×{height}": count for (width, height), count in sizes.most_common()}
    ends = [f"{width}×{height}" for width, height in (min(sizes, key=prod), max(sizes, key=prod))] if sizes else []
    facts = {"images": sizes.total(), "grey": grey, "colour": sizes.total() - grey,
             "classes": dict(sorted(classes.items())), "sizes": by_count,
             "smallest_and_largest": ends, "duplicates": duplicates, "unreadable": unreadable,
             "skipped": skipped}
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        typer.echo(f"{sizes.total():,} images, {grey:,} of them grey, in {len(sizes)} sizes"
                   + (f", {' to '.join(ends)}" if ends else ""))
        _list(f"{size}: {count:,}" for size, count in by_count.items())
        if classes:
            typer.echo(f"{len(classes)} classes of {min(classes.values()):,} to {max(classes.values()):,}")
        typer.echo(f"{sum(map(len, duplicates)) - len(duplicates):,} duplicates")
        _list(" = ".join(group) for group in duplicates)
        if skipped:
            typer.echo(f"skipped: {counted(skipped)}")
        typer.echo(f"{len(unreadable):,} unreadable")
        _list("{name}: {reason}".format(**entry) for entry in unreadable)
    raise typer.Exit(code)


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

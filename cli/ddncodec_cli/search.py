"""`ddncodec similar` and `duplicates`: search in archives, without decoding them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ddncodec_cli import completion, options, progress
from ddncodec_cli.archives import Set, opened
from ddncodec_cli.jobs import Failures, lazy_codec, named, path_of, printable, read_bytes, read_picture
from ddncodec_cli.pack import is_stream
from ddncodec_cli.weights import weights_of

if TYPE_CHECKING:
    from ddncodec.archive import Archive
    from ddncodec.codec import Codec
    from ddncodec.errors import DdnError
    from ddncodec.images import Pixels
    from ddncodec.matches import Match

Model = Annotated[
    str | None, typer.Option(autocompletion=completion.models,
                             help="A model's name or weights file; by default the one that the archive names.")
]


def similar(
    archive: Set,
    to: Annotated[Path, typer.Option(parser=path_of, metavar="IMAGE", help="An image or a .ddn file of the archive's "
                                                                           "weights; - is standard input.")],
    count: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many.")] = 20,
    model: Model = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Show the images of an archive that are nearest to another one: distance, number, name.

    The distance is the root mean square difference of the pixels at the model's resolution, in 8-bit steps.
    """
    failures = Failures()
    with _search(archive, model, device, failures) as search:
        from ddncodec.search import similar

        codec = search.codec()
        matches = similar(search.archive, codec, _pixels(to, codec), count, search.complain, search.advance)
    if as_json:
        typer.echo(json.dumps([match._asdict() for match in matches], indent=2))
    else:
        for match in matches:
            typer.echo(_line(match))
    raise typer.Exit(failures.exit_code)


def duplicates(
    archive: Set,
    exact: Annotated[bool, typer.Option("--exact", help="Only latents that are the same, which takes no weights.")
                     ] = False,
    within: Annotated[
        float | None, typer.Option(min=0.0, max=255.0, help="The greatest distance of near duplicates, the root mean "
                                   "square difference at a low resolution, in 8-bit steps.  [default: 10]")
    ] = None,
    model: Model = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Show groups of images of an archive that are alike or nearly so: distance to the first, number, name."""
    if exact and within is not None:
        raise typer.BadParameter("--within is for near duplicates, and --exact leaves them out")
    failures = Failures()
    with _search(archive, model, device, failures) as search:
        if exact:
            from ddncodec.matches import same

            groups = same(search.archive, search.complain, search.advance)
        else:
            from ddncodec.search import WITHIN, duplicates

            groups = duplicates(search.archive, search.codec(), WITHIN if within is None else within, search.complain,
                                search.advance)
    if as_json:
        typer.echo(json.dumps([[match._asdict() for match in group] for group in groups], indent=2))
    else:
        typer.echo("\n\n".join("\n".join(map(_line, group)) for group in groups) or "no duplicates")
    raise typer.Exit(failures.exit_code)


class _Search(NamedTuple):
    """An open archive, and what a search of it takes."""

    archive: Archive
    codec: Callable[[], Codec]
    complain: Callable[[DdnError], None]
    advance: Callable[[int], None]


@contextmanager
def _search(path: Path, model: str | None, device: str, failures: Failures) -> Iterator[_Search]:
    with opened(path, failures) as archive, progress.shown(sys.stderr.isatty()) as bars:
        codec = lazy_codec(lambda: weights_of(archive.header.weights_id, model), device)
        with bars.phase("searching", len(archive)) as advance:
            yield _Search(archive, codec, lambda error: failures.tell(error.of(path)), advance)


def _pixels(source: Path, codec: Codec) -> Pixels:
    """The pixels of an image, or of a .ddn file decoded. Raises DdnError."""
    from ddncodec import container
    from ddncodec.images import srgb_pixels

    with named(source):
        if is_stream(source):
            (picture,) = codec.to_pictures([container.from_bytes(read_bytes(source, container.MAX_FILE))])
        else:
            picture = read_picture(source, resolution=codec.resolution)
    return srgb_pixels(picture)


def _line(match: Match) -> str:
    return f"{match.distance:8.2f}  {match.number:>8}  {printable(match.name)}".rstrip()

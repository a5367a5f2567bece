"""`ddncodec eval`: how good a model is, at how many bytes, against what people use."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from ddncodec import zoo
from ddncodec.errors import MissingExtra
from ddncodec.looks import FAITHFUL
from ddncodec_cli import options
from ddncodec_cli.jobs import complain, lazy_codec, tell_skipped

MAX_SIDE = 512  # at which metrics still fit into memory
EXTRA = ("pytorch_msssim", "bjontegaard", "matplotlib", "imagecodecs")


def evaluate(
    data: Annotated[
        str | None, typer.Argument(help="What train --data takes, or test-seeds, the built-in synthetic faces.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Instead compare two results.json.", metavar="A.json B.json")
    ] = None,
    out: Annotated[Path, typer.Option(help="The run's folder; the same command goes on with a stopped run.")] = Path(
        "runs/eval"),
    model: options.Model = zoo.DEFAULT,
    budget: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Bytes of a whole file or bare stream; several times. By default 80 to 320."),
    ] = None,
    bare: Annotated[
        bool,
        typer.Option("--bare", help="Measure the model's bare streams, and placeholders as peers too; budgets are then "
                                    "by default 16 to 144."),
    ] = False,
    peer: Annotated[
        list[str] | None, typer.Option(help="Compare with this one alone, named as in the tables; several times.")
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(min=16, max=MAX_SIDE, help="Compare at this resolution, to which the model's pictures are "
                                                "enlarged. By default the model's."),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Take the first N images.")] = None,
    curve_images: Annotated[int, typer.Option(min=1, help="Images that have their PSNR after every level.")] = 8,
    inception: Annotated[Path | None, typer.Option(help="TorchScript InceptionV3, for rFID.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="TorchScript module of two batches, for LPIPS.")] = None,
    look: options.Look = FAITHFUL,
    told_apart: Annotated[
        bool, typer.Option("--told-apart", help="Train a classifier to tell decoded pictures from originals, for each "
                                                "codec and budget; minutes.")
    ] = False,
    device: options.Device = "auto",
    as_json: options.Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Measure a model and its peers at the same bytes; the run's folder gets JSON, CSV, plots and report.html.

    Images are first area-resampled to the resolution at which all are compared. Ones that cannot be read are told, and
    the exit code is the first one's.
    """
    missing = [name.replace("_", "-") for name in EXTRA if not find_spec(name)]
    if missing:
        raise MissingExtra(f"eval wants {', '.join(missing)}: pip install 'ddncodec[eval]'")
    if compare is not None:
        _compare(*compare, as_json)
        return
    if data is None:
        raise typer.BadParameter("give what to evaluate on: a path, or test-seeds")
    codec = lazy_codec(lambda: zoo.find(model), device)().with_look(look)
    from ddncodec.evaluation.data import load
    from ddncodec.evaluation.evaluate import BARE_BUDGETS, BUDGETS, PEERS, WHOLE, Evaluation, Settings
    from ddncodec.evaluation.output import as_csv as csv_of
    from ddncodec.evaluation.output import write

    known = [one.name for one in PEERS]
    names = {alias.casefold(): one.name for one in PEERS for alias in (one.label, one.name)}
    if unknown := [name for name in peer or [] if name.casefold() not in names]:
        raise typer.BadParameter(f"no peer is named {unknown[0]}; known: {', '.join(known)}")
    loaded = load(data, side or codec.resolution, images)
    for name, error in loaded.unreadable.items():
        complain(str(error.of(name)))
    tell_skipped(data, loaded.skipped)
    default = known if bare else [one.name for one in WHOLE]
    peers = tuple(names[name.casefold()] for name in peer or default)
    budgets = budget or (BARE_BUDGETS if bare else BUDGETS)
    settings = Settings(tuple(sorted(set(budgets))), peers, curve_images, inception, lpips, bare,
                        told_apart=told_apart)
    with _bars() as begin:
        results, pictures = Evaluation(codec, loaded, settings, out, begin).run()
    write(results, pictures, out)
    if as_json:
        typer.echo(json.dumps(results, indent=2))
    elif as_csv:
        typer.echo(csv_of(results), nl=False)
    else:
        _table(results)
        typer.echo(f"{out / 'report.html'} shows it all")
    raise typer.Exit(next((error.exit_code for error in loaded.unreadable.values()), 0))


@contextmanager
def _bars() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A bar for each part on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda name, total: lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bars:
        def begin(name: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(name, total=total)
            return lambda count: bars.advance(task, count)

        yield begin


def _table(results: dict[str, Any]) -> None:
    """The results at each budget, a line for each codec."""
    for budget in results["settings"]["budgets"]:
        what = ("bare streams of ours and placeholders, whole files of others," if results["settings"]["bare"] else
                "whole files")
        typer.echo(f"\n{what} of at most {budget} bytes, {results['data']['images']:,} images\n"
                   f"{'':36}{'bytes':>6}{'payload':>8}  {'PSNR, dB':22}{'SSIM':>7}{'fd64':>8}{'BD-rate':>9}")
        for codec in results["codecs"]:
            typer.echo(f"{codec['label']:36}" + _line(codec, budget, results["bjontegaard"].get(codec["name"])))


def _line(codec: dict[str, Any], budget: int, saved: dict[str, float | None] | None) -> str:
    if "unavailable" in codec:
        return f"– {codec['unavailable']}"
    point = next(point for point in codec["points"] if point["budget"] == budget)
    if not point["fitted"]:
        return f"– none fits; its smallest file has {codec['smallest_file']} bytes"
    metrics, rate = point["metrics"], saved["rate"] if saved else None
    error = metrics["psnr_of_mean_error"]
    psnr = "∞" if error["value"] is None else f"{error['value']:.2f} ({error['low']:.2f}–{error['high']:.2f})"
    fd = metrics.get("fd64", {}).get("value")
    few = f"  {point['fitted']} of {point['of']} fit" if point["fitted"] < point["of"] else ""
    return (f"{point['bytes']:6.0f}{point['payload']:8.0f}  {psnr:22}{metrics['ssim']['value']:7.3f}"
            f"{'–' if fd is None else format(fd, '.2f'):>8}{'' if rate is None else f'{rate:+.0f}%':>9}{few}")


def _compare(first: Path, second: Path, as_json: bool) -> None:
    from ddncodec.evaluation.compare import differences, read, warnings

    one, other = read(first), read(second)
    found = differences(one, other)
    for line in warnings(one, other):
        complain(f"warning: {line}")
    if as_json:
        typer.echo(json.dumps([difference._asdict() for difference in found], indent=2))
        return
    for codec, budget, metric, *both, apart in found:
        a, b = (f"{figure['value']:.4g}" + (f" ({figure['low']:.4g}–{figure['high']:.4g})" if "low" in figure else "")
                for figure in both)
        change = both[1]["value"] - both[0]["value"]
        typer.echo(f"{codec:26}{budget:5} B  {metric:20}{a:>26}{b:>26}  {change:+.4g}"
                   + ("  intervals apart" if apart else ""))

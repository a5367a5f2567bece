"""Evaluates the shipped models, and rewrites every figure and plot of README.md, docs/benchmarks.md and the models.

    python experiments/benchmarks.py [--images N] [--ours] [--dry-run]

On the synthetic faces of the published test seeds and on examples/real_faces, by `ddncodec eval`'s own code; runs lie
in runs/benchmarks and are gone on with. Text between `<!-- benchmarks: NAME -->` and `<!-- /benchmarks -->` is written
by this file alone.
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from markers import filled, table
from sheet import save_sheet

from ddncodec import zoo
from ddncodec.codec import load_weights
from ddncodec.evaluation import output
from ddncodec.evaluation.data import BUILT_IN, load
from ddncodec.evaluation.evaluate import BUDGETS, Evaluation, Settings
from ddncodec.files import atomic_write
from ddncodec.images import grid

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs/benchmarks"
REAL_FACES = "examples/real_faces"
DATA = {BUILT_IN: "test seeds", REAL_FACES: "real faces"}
MODELS = ("binddn", "k512")  # for faces of 64×64
HEADLINE = 160  # bytes of a whole file
SHARES = (8, 4, 2, 1)  # of the stream, in prefixes.png: the first 1/8, 1/4, 1/2 and all of it
PICTURED = 8

Results = dict[str, Any]


def main(images: Annotated[int | None, typer.Option(help="How many of the test seeds; by default all.")] = None,
         ours: Annotated[bool, typer.Option("--ours", help="Leave the test seeds' peers, and what is told beside them, "
                                                           "as they are: they do not depend on the weights.")] = False,
         dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written.")] = False) -> None:
    """Run all evaluations, then write."""
    runs: dict[tuple[str, str], Results] = {}
    written: dict[Path, str] = {}
    for info in map(zoo.find, MODELS):
        codec = load_weights(info)
        for data, label in DATA.items():
            path = data if data == BUILT_IN else str(ROOT / data)
            loaded = load(path, codec.resolution, images if data == BUILT_IN else None)
            folder = RUNS / f"{info.name}-{Path(data).name}"
            settings = Settings(BUDGETS, peers=()) if ours and data == BUILT_IN else Settings(BUDGETS)
            results, pictures = Evaluation(codec, loaded, settings, RUNS, _begin).run()
            results["data"]["source"] = data
            folder.mkdir(parents=True, exist_ok=True)
            output.write(results, pictures, folder)
            runs[info.name, data] = results
            typer.echo(f"{info.name} on {len(loaded.pixels):,} {label}: {folder}", err=True)
        synthetic = load(BUILT_IN, codec.resolution, PICTURED).pixels
        latents = codec.encode_batch(list(synthetic))
        rows = [list(synthetic), *(codec.decode_batch([latent.prefix(codec.levels // share) for latent in latents])
                                   for share in SHARES)]
        sheet = grid(list(chain(*rows)), PICTURED)
        if not dry_run:
            save_sheet(info.path.with_name("prefixes.png"), sheet)
        written[info.path.with_name("metrics.json")] = json.dumps(
            _metrics(runs[info.name, BUILT_IN], runs[info.name, REAL_FACES]), indent=2) + "\n"
    main_run = runs[zoo.DEFAULT, BUILT_IN]
    tables = {"models": _models(runs), "real-peers": _real_sentence(runs), "prefixes": _prefixes(main_run)}
    if not ours:
        tables |= {"peers": _peers(main_run), "provenance": _provenance(main_run),
                   **{f"{model}-{Path(data).name}": _full(results) for (model, data), results in runs.items()}}
    for document in ("README.md", "docs/benchmarks.md"):
        written[ROOT / document] = filled((ROOT / document).read_text(encoding="utf-8"), "benchmarks", tables)
    if dry_run:
        typer.echo("\n\n".join(f"{path.relative_to(ROOT)}\n{text}" for path, text in written.items()))
        return
    for target, text in written.items():
        with atomic_write(target, overwrite=True) as file:
            file.write(text.encode())
    if ours:
        return
    for name, plot in {"rate-distortion": output.rate_distortion_plot, "prefixes": output.prefixes_plot}.items():
        with atomic_write(ROOT / f"docs/{name}.png", overwrite=True) as file:
            file.write(plot(main_run))


def _begin(name: str, total: int) -> Any:
    typer.echo(f"  {name}", err=True)
    return lambda count: None


def _ours(results: Results) -> list[Results]:
    return [codec for codec in results["codecs"] if "effort" in codec]


def _others(results: Results) -> list[Results]:
    return [codec for codec in results["codecs"] if "effort" not in codec]


def _point(codec: Results, budget: int = HEADLINE) -> Results:
    found: Results = next((point for point in codec.get("points", ()) if point["budget"] == budget), {"fitted": 0})
    return found


def _value(codec: Results, metric: str = "psnr_of_mean_error") -> float:
    value: float = _point(codec)["metrics"][metric]["value"]
    return value


def _metrics(synthetic: Results, real: Results) -> Results:
    """What `models show` shows of a model."""
    default = max(_ours(synthetic), key=lambda codec: codec["effort"])
    return {
        "weights": synthetic["model"]["weights"],
        "data": f"{synthetic['data']['images']:,} synthetic faces of the test seeds; "
                f"{real['data']['images']} real faces, {REAL_FACES}",
        "efforts": {str(codec["effort"]): {
            **{metric: round(figure["value"], 4 if "ssim" in metric else 2)
               for metric, figure in _point(codec)["metrics"].items()},
            "real_faces": round(_value(other), 2),
            "largest_file": codec["largest_file"],
            "encoded_a_second": round(codec["encoded_a_second"], 1),
            "decoded_a_second": round(codec["decoded_a_second"], 1),
        } for codec, other in zip(_ours(synthetic), _ours(real), strict=True)},
        "prefixes": {str(prefix["bits"]): round(prefix["psnr_of_mean_error"]["value"], 2)
                     for prefix in default["prefixes"]},
        "peers_on_real_faces": {codec["name"]: round(_value(codec), 2) for codec in _others(real)
                                if _point(codec)["fitted"] == real["data"]["images"]},
    }


def _models(runs: dict[tuple[str, str], Results]) -> str:
    rows = []
    for info in map(zoo.find, MODELS):
        for codec, real in zip(*(_ours(runs[info.name, data]) for data in DATA), strict=True):
            rows.append([f"`{info.name}` (K = {info.config.k}, L = {info.config.levels})", str(codec["effort"]),
                         f"{_value(codec):.2f} dB", f"{_value(real):.2f} dB"])
    return table(["model", "effort", "PSNR", "on real faces"], rows)


def _peers(results: Results) -> str:
    rows = []
    for codec in _others(results):
        point, saved = _point(codec), results["bjontegaard"].get(codec["name"])
        if "unavailable" not in codec:
            rate = f"{saved['rate']:+.0f}%" if saved and saved["rate"] is not None else "–"
            rows.append([codec["label"], f"{_value(codec):.2f} dB" if point["fitted"] == point["of"] else
                         f"{point['fitted']:,} of {point['of']:,} fit", rate])
    return table([f"in {HEADLINE} bytes", "PSNR", "BD-rate of `binddn`"], rows)


def _real_sentence(runs: dict[tuple[str, str], Results]) -> str:
    real = runs[zoo.DEFAULT, REAL_FACES]
    reached = [f"{codec['label']} {_value(codec):.2f} dB" for codec in _others(real)
               if _point(codec)["fitted"] == real["data"]["images"]]
    return (f"On the same {real['data']['images']} real faces (`{REAL_FACES}`, licences beside them), "
            f"in {HEADLINE} bytes: " + ", ".join(reached) + ". These models never saw a photograph.")


def _prefixes(results: Results) -> str:
    default = max(_ours(results), key=lambda codec: codec["effort"])
    return table(["first bits of the stream", "PSNR"],
                  [[f"{p['bits']:,} bits", f"{p['psnr_of_mean_error']['value']:.2f} dB"] for p in default["prefixes"]])


def _provenance(results: Results) -> str:
    known = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    machine = results["machine"]
    return (f"{results['data']['images']:,} images, sha256 of their pixels `{results['data']['sha256'][:16]}…`; "
            f"{machine['cpu']}, {machine['cores']} cores; {known}.\n\n"
            "![PSNR over bytes, of all codecs](rate-distortion.png)\n\n![PSNR of every prefix](prefixes.png)")


def _full(results: Results) -> str:
    """Every codec at every budget, with intervals; then those that took no part, and why."""
    metrics = list(_ours(results)[0]["points"][0]["metrics"])
    rows = []
    there = [codec for codec in results["codecs"] if "unavailable" not in codec]
    for budget in results["settings"]["budgets"]:
        for codec in there:
            point = _point(codec, budget)
            if not point["fitted"]:
                why = f"none fits; its smallest file has {codec['smallest_file']} bytes"
                rows.append([str(budget), codec["label"], why, *[""] * (len(metrics) + 3)])
                continue
            figures = [point["metrics"][metric] for metric in metrics]
            saved = results["bjontegaard"].get(codec["name"], {}).get("rate")
            rows.append([str(budget), codec["label"],
                         f"{point['bytes']:.0f}" + (f" ({point['fitted']:,} of {point['of']:,} fit)"
                                                    if point["fitted"] < point["of"] else ""),
                         f"{point['payload']:.0f}",
                         *(_shown(figure, metric) for figure, metric in zip(figures, metrics, strict=True)),
                         f"{point['encode_ms']:.1f} / {point['decode_ms']:.1f}",
                         "" if saved is None else f"{saved:+.0f}%"])
    text = table(["budget", "codec", "bytes", "payload", *(metric.replace("_", " ") for metric in metrics),
                   "ms to encode / decode", "BD-rate"], rows)
    missing = [f"{codec['label']} ({codec['unavailable']})" for codec in results["codecs"] if codec not in there]
    return text + (f"\n\nTook no part: {'; '.join(missing)}." if missing else "")


def _shown(figure: dict[str, float | None], metric: str) -> str:
    digits = 3 if "ssim" in metric else 2
    value, low, high = (figure.get(end) for end in ("value", "low", "high"))
    if value is None:
        return "–"
    return f"{value:.{digits}f}" + (f" ({low:.{digits}f}–{high:.{digits}f})" if low is not None else "")


if __name__ == "__main__":
    typer.run(main)

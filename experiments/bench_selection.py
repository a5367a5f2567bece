"""Choosing a level's node: as this project's layer does it, by rendering all K images, and as two peers do it.

    python experiments/bench_selection.py [--train] [--json FILE]

With --train, a training step of one level instead: choosing, the loss of what was chosen, and its gradient.

All methods get the same features, weights and target, and must find the same picks and gradient. Time is the median
over rounds in which they take turns; memory is the growth of a fresh process's peak resident size over one selection
(read from /proc, heap trimmed by glibc, so on Linux alone).
The layer compares nodes in Gram space, or renders them where they are few. Ends with code 1 if results differ, if at
K = 512 and 64×64 the layer is not ten times faster and smaller than the plain way, or anywhere takes twice its time.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import re
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import torch
import typer
from peers import importing
from torch import Tensor
from torch.nn import functional

from ddncodec.network.paper.ddl import DiscreteDistributionLayers
from ddncodec.network.paper.features import ConvFeatures
from ddncodec.samplers.guided import GuidedSampler

BATCH, CHANNELS = 16, 64
CASES = [(k, side) for side in (16, 64) for k in (2, 64, 512)]
LARGE = CASES[-1]
ROUNDS = 5
PROMISE = 10  # times faster and smaller than the plain way, in the largest case
NOWHERE_BELOW = 0.5  # times as fast as the plain way

Selection = Callable[[], tuple[Tensor, Tensor]]  # () → picks (B,), picked images (B, 3, H, W)
Maker = Callable[[Tensor, Tensor, Tensor], Selection]  # features (B, C, H, W), weights (K, 3, C), target
Row = dict[str, Any]


def our_selection(features: Tensor, weights: Tensor, target: Tensor) -> Selection:
    """Ours: a layer as the networks run it, which takes the cheaper way."""
    layer = DiscreteDistributionLayers(1, len(weights), 0, features.shape[1])
    layer.nodes.data.copy_(weights.detach()[None])
    prediction, sampler = torch.zeros_like(target), GuidedSampler(target)

    def select() -> tuple[Tensor, Tensor]:
        images, picks = layer(ConvFeatures(features), prediction, sampler)
        return picks.choice.indices[:, 0], images

    return select


def plain_selection(features: Tensor, weights: Tensor, target: Tensor) -> Selection:
    """The plain way, as the formula reads: render all K images, compare each with the target, take the nearest."""

    def select() -> tuple[Tensor, Tensor]:
        drawn = functional.conv2d(features, weights.flatten(0, 1)[:, :, None, None])
        images = drawn.view(len(features), -1, *target.shape[1:])
        picks = (images - target[:, None]).square().sum((2, 3, 4)).argmin(1)
        return picks, images[torch.arange(len(images)), picks]

    return select


def sddn_selection(features: Tensor, weights: Tensor, target: Tensor) -> Selection:
    """`DiscreteDistributionOutput` of sddn, by the author of the paper."""
    with importing("sddn"):
        from sddn import DiscreteDistributionOutput

    layer = DiscreteDistributionOutput(len(weights), last_c=features.shape[1], leak_choice=False).eval()
    layer.learn_residual = False  # else it adds an image of zeros to all K
    layer.multi_out_conv1x1.weight.data.copy_(weights.detach().flatten(0, 1)[:, :, None, None])

    def select() -> tuple[Tensor, Tensor]:
        found = layer({"feat_last": features, "target": target})
        return found["idx_ks"][0], found["predict"]

    return select


def guided_sampler_selection(features: Tensor, weights: Tensor, target: Tensor) -> Selection:
    """`GuidedSampler` of discrete-distribution-network."""
    with importing("discrete-distribution-network", "torchvision"):  # for its trainer
        from discrete_distribution_network import GuidedSampler

    layer = GuidedSampler(features.shape[1], codebook_size=len(weights)).eval()
    layer.to_key_values.param_values[0].data.copy_(weights.detach()[..., None, None])

    def select() -> tuple[Tensor, Tensor]:
        values, picks, _ = layer(features, target)
        return picks, values

    return select


METHODS: dict[str, Maker] = {
    "ddncodec": our_selection,
    "plain, all K rendered": plain_selection,
    "sddn": sddn_selection,
    "discrete-distribution-network": guided_sampler_selection,
}
OURS, PLAIN = list(METHODS)[:2]


def inputs(k: int, side: int, train: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Features, node weights and a target of one case; the same in every process."""
    generator = torch.Generator().manual_seed(k * side)
    features = torch.randn(BATCH, CHANNELS, side, side, generator=generator)
    weights = torch.randn(k, 3, CHANNELS, generator=generator) / CHANNELS**0.5
    # Each image's target is drawn from its own node, under noise: with a target that has nothing to do with the
    # features the smallest node would win everywhere, and equal picks would show nothing.
    own = torch.randn(BATCH, 3, CHANNELS, generator=generator) / CHANNELS**0.5
    noise = torch.randn(BATCH, 3, side, side, generator=generator)
    target = (own @ features.flatten(2)).view_as(noise) + noise
    return features.requires_grad_(train), weights.requires_grad_(train), target


def step(select: Selection, target: Tensor, train: bool) -> Tensor:
    """The picks of one selection, or of one training step."""
    with torch.inference_mode(not train):
        picks, images = select()
        if train:
            functional.mse_loss(images, target).backward()  # type: ignore[no-untyped-call]
        return picks


def peak_growth(name: str, k: int, side: int, train: bool) -> float:
    """MiB by which one step raises this process's peak resident size; run in a process of its own."""
    small, case = inputs(2, 4, train), inputs(k, side, train)
    step(METHODS[name](*small), small[2], train)  # what the libraries allocate once does not count
    select = METHODS[name](*case)
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that the heap still holds would hide growth (glibc)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _peak()
    step(select, case[2], train)
    return _peak() - before


def _peak() -> float:
    """Peak resident size in MiB. Not getrusage's, which a process inherits from the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def measure(k: int, side: int, names: Sequence[str], train: bool) -> tuple[dict[str, float], bool]:
    """Milliseconds of each method, and whether all picked the same nodes and found the same gradient."""
    features, weights, target = inputs(k, side, train)
    selections = {name: METHODS[name](features, weights, target) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    picks: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}
    for round_ in range(1 + max(ROUNDS, 2**18 // (k * side**2))):  # more rounds where one takes little
        for name, select in selections.items():
            features.grad = weights.grad = None
            began = perf_counter()
            picks[name] = step(select, target, train)
            if round_:
                times[name].append(1000 * (perf_counter() - began))
            gradients[name] = features.new_zeros(()) if features.grad is None else features.grad
    with torch.no_grad():
        same = all(_same(picks[name], picks[PLAIN], features, weights, target) for name in names)
    same &= all(torch.allclose(gradients[name], gradients[PLAIN], rtol=1e-3, atol=1e-6) for name in names)
    return {name: statistics.median(times[name]) for name in names}, same


def _same(picks: Tensor, reference: Tensor, features: Tensor, weights: Tensor, target: Tensor) -> bool:
    """Equal picks, or picks equally near up to rounding."""
    first, second = ((torch.einsum("bic,bchw->bihw", weights[p], features) - target).square().sum((1, 2, 3))
                     for p in (picks, reference))
    return torch.allclose(first, second, rtol=1e-5)


def apart(function: Callable[..., float], *arguments: object) -> float:
    """The function's result in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def compare(k: int, side: int, names: Sequence[str], train: bool) -> tuple[list[Row], bool]:
    """One case: a row for each method, and whether they found the same. `names` starts with ours."""
    times, same = measure(k, side, names, train)
    memory = {name: apart(peak_growth, name, k, side, train) for name in names}
    return [{"k": k, "side": side, "method": name, "ms": times[name], "mib": memory[name],
             "time_ratio": times[name] / times[OURS],
             "memory_ratio": max(memory[name], 1) / max(memory[OURS], 1)}  # below 1 MiB is noise
            for name in names], same


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
    train: Annotated[bool, typer.Option("--train", help="A training step instead of a selection.")] = False,
) -> None:
    """Print the table; see the module."""
    rows: list[Row] = []
    agree = True
    typer.echo(f"batch {BATCH}, {CHANNELS} features, {torch.get_num_threads()} threads")
    typer.echo(f"{'K':>4} {'side':>5}  {'method':30} {'ms':>9} {'MiB':>8} {'time':>9} {'memory':>9}")
    for k, side in CASES:
        case, same = compare(k, side, list(METHODS), train)
        agree &= same
        rows += case
        for row in case:
            typer.echo(f"{k:4} {side:5}  {row['method']:30} {row['ms']:9.2f} {row['mib']:8.1f} "
                       f"{row['time_ratio']:8.1f}× {row['memory_ratio']:8.1f}×" + ("" if same else "  RESULTS DIFFER"))
    if json_file:
        setting = {"batch": BATCH, "channels": CHANNELS, "train": train, "threads": torch.get_num_threads(),
                   "torch": torch.__version__}
        json_file.write_text(json.dumps({**setting, "rows": rows, "same_picks": agree}, indent=2) + "\n")
    plain = {(row["k"], row["side"]): row for row in rows if row["method"] == PLAIN}
    large, worst = plain[LARGE], min(row["time_ratio"] for row in plain.values())
    promises = {
        "all methods find the same": agree,
        f"at K = {LARGE[0]} and {LARGE[1]}×{LARGE[1]} at least {PROMISE} times faster and smaller than the plain way":
            min(large["time_ratio"], large["memory_ratio"]) >= PROMISE,
        f"nowhere below {NOWHERE_BELOW} times as fast as the plain way ({worst:.2f})": worst >= NOWHERE_BELOW,
    }
    for promise, kept in promises.items():
        typer.echo(f"{promise}: {'yes' if kept else 'NO'}")
    raise typer.Exit(0 if all(promises.values()) else 1)


if __name__ == "__main__":
    typer.run(main)

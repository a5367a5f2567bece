"""Choosing a level's node: in Gram space, by rendering all K images, and as two peers do it.

    python experiments/bench_selection.py [--train] [--json FILE]

With --train, a training step of one level instead: choosing, the loss of what was chosen, and its gradient.

All methods get the same features, weights and target, and must find the same picks and gradient. Time is the median
over rounds in which they take turns; memory is the growth of a fresh process's peak resident size over one selection
(read from /proc, heap trimmed by glibc, so on Linux alone).
Ends with code 1 if results differ, or if at K = 512 and 64×64 the Gram space is not ten times faster and smaller.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import torch
import typer
from ddncodec.network.layer import ConvFeatures, Proposals
from ddncodec.network.selection import nearest_path
from stand_in import stand_in
from torch import Tensor
from torch.nn import functional

BATCH, CHANNELS = 16, 64
CASES = [(k, side) for side in (16, 64) for k in (2, 64, 512)]
ROUNDS = 5
PROMISE = 10  # times faster and smaller than the plain way, at K = 512 and 64×64

Selection = Callable[[], tuple[Tensor, Tensor]]  # () → picks (B,), picked images (B, 3, H, W)
Maker = Callable[[Tensor, Tensor, Tensor], Selection]  # features (B, C, H, W), weights (K, 3, C), target


def gram_selection(features: Tensor, weights: Tensor, target: Tensor) -> Selection:
    """Ours: distances from inner products, and only the picked node is rendered."""

    def select() -> tuple[Tensor, Tensor]:
        ours = ConvFeatures(features)
        picks = nearest_path(Proposals(ours, weights[None], torch.ones(len(features), 1)), target)[:, 0]
        return picks, ours.render(weights[picks])

    return select


def plain_selection(features: Tensor, weights: Tensor, target: Tensor) -> Selection:
    """The plain way, as the formula reads: render all K images, compare each with the target, take the nearest."""

    def select() -> tuple[Tensor, Tensor]:
        images = functional.conv2d(features, weights.flatten(0, 1)[:, :, None, None]).unflatten(1, (-1, 3))
        picks = (images - target[:, None]).square().sum((2, 3, 4)).argmin(1)
        return picks, images[torch.arange(len(images)), picks]

    return select


def sddn_selection(features: Tensor, weights: Tensor, target: Tensor) -> Selection:
    """`DiscreteDistributionOutput` of sddn, by the author of the paper."""
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
    stand_in("torchvision")  # for its trainer
    from discrete_distribution_network import GuidedSampler

    layer = GuidedSampler(features.shape[1], codebook_size=len(weights)).eval()
    layer.to_key_values.param_values[0].data.copy_(weights.detach()[..., None, None])

    def select() -> tuple[Tensor, Tensor]:
        values, picks, _ = layer(features, target)
        return picks, values

    return select


METHODS: dict[str, Maker] = {
    "ddncodec, Gram space": gram_selection,
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
            functional.mse_loss(images, target).backward()
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


def measure(k: int, side: int, names: list[str], train: bool) -> tuple[dict[str, dict[str, float]], bool]:
    """Milliseconds and MiB of each method, and whether all picked the same nodes and found the same gradient."""
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
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {name: pool.apply(peak_growth, (name, k, side, train)) for name in names}
    return {name: {"ms": statistics.median(times[name]), "mib": memory[name]} for name in names}, same


def _same(picks: Tensor, reference: Tensor, features: Tensor, weights: Tensor, target: Tensor) -> bool:
    """Equal picks, or picks equally near up to rounding."""
    distances = [(torch.einsum("bic,bchw->bihw", weights[p], features) - target).square().sum((1, 2, 3))
                 for p in (picks, reference)]
    return torch.allclose(*distances, rtol=1e-5)


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
    train: Annotated[bool, typer.Option("--train", help="A training step instead of a selection.")] = False,
) -> None:
    """Print the table; see the module."""
    available, missing = [], {}
    for name, maker in METHODS.items():
        try:
            maker(*inputs(2, 4))
            available.append(name)
        except ImportError as error:
            missing[name] = str(error)
    rows: list[dict[str, Any]] = []
    agree = True
    typer.echo(f"batch {BATCH}, {CHANNELS} features, {torch.get_num_threads()} threads")
    typer.echo(f"{'K':>4} {'side':>5}  {'method':30} {'ms':>9} {'MiB':>8} {'time':>9} {'memory':>9}")
    for k, side in CASES:
        figures, same = measure(k, side, available, train)
        agree &= same
        for name, found in figures.items():
            ratios = {"ms": found["ms"] / figures[OURS]["ms"],
                      "mib": max(found["mib"], 1) / max(figures[OURS]["mib"], 1)}  # below 1 MiB is noise
            rows.append({"k": k, "side": side, "method": name, **found,
                         "time_ratio": ratios["ms"], "memory_ratio": ratios["mib"]})
            typer.echo(f"{k:4} {side:5}  {name:30} {found['ms']:9.2f} {found['mib']:8.1f} "
                       f"{ratios['ms']:8.1f}× {ratios['mib']:8.1f}×" + ("" if same else "  RESULTS DIFFER"))
        for name, reason in missing.items():
            typer.echo(f"{k:4} {side:5}  {name:30} not installed: {reason}")
    if json_file:
        setting = {"batch": BATCH, "channels": CHANNELS, "train": train, "threads": torch.get_num_threads(),
                   "torch": torch.__version__}
        result = {**setting, "rows": rows, "same_picks": agree, "missing": missing}
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    plain = next(row for row in rows if (row["k"], row["side"], row["method"]) == (512, 64, PLAIN))
    kept = min(plain["time_ratio"], plain["memory_ratio"]) >= PROMISE
    typer.echo(f"all methods find the same: {'yes' if agree else 'NO'}")
    typer.echo(f"at K = 512 and 64×64 at least {PROMISE} times faster and smaller than the plain way: "
               f"{'yes' if kept else 'NO'}")
    raise typer.Exit(0 if agree and kept else 1)


if __name__ == "__main__":
    typer.run(main)

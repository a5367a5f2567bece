"""Bjøntegaard's deltas: what one rate–distortion curve saves over another (VCEG-M33, 2001), by `bjontegaard`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Curve = Sequence[tuple[float, float]]  # rate in bytes, PSNR in dB

LEAST_POINTS = 2
METHOD = "pchip"


@dataclass(frozen=True, slots=True)
class Delta:
    """rate: percent more bytes at the same PSNR. psnr: dB more at the same bytes. None where curves do not overlap."""

    rate: float | None
    psnr: float | None


def curve(codec: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a codec's results that make its curve: ours at the prefixes, a peer's where all images fit."""
    points = codec.get("prefixes") or [{"bytes": point["bytes"], **point["metrics"]}
                                       for point in codec.get("points", ()) if point["fitted"] == point["of"]]
    return [point for point in points if point["psnr_of_mean_error"]["value"] is not None]


def delta(ours: Curve, theirs: Curve) -> Delta:
    """Ours against theirs over the overlap of the curves: a negative rate says that ours needs fewer bytes."""
    from bjontegaard import bd_psnr, bd_rate

    a, b = _rising(theirs), _rising(ours)
    if min(len(a), len(b)) < LEAST_POINTS:
        return Delta(None, None)
    columns = (*zip(*a, strict=True), *zip(*b, strict=True))
    lists = [list(column) for column in columns]
    options = {"method": METHOD, "require_matching_points": False, "min_overlap": 0}
    rate = float(bd_rate(*lists, **options)) if _overlap(lists[1], lists[3]) else None
    psnr = float(bd_psnr(*lists, **options)) if _overlap(lists[0], lists[2]) else None
    return Delta(_finite(rate), _finite(psnr))


def _rising(curve: Curve) -> list[tuple[float, float]]:
    """The points that are better than all cheaper ones: a curve that can be read either way."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(curve):
        if math.isfinite(quality) and (not kept or (rate > kept[-1][0] and quality > kept[-1][1])):
            kept.append((rate, quality))
    return kept


def _overlap(first: Sequence[float], second: Sequence[float]) -> bool:
    return max(first[0], second[0]) < min(first[-1], second[-1])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

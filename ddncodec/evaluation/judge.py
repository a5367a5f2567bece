"""All metrics of decoded images against their originals, those of networks included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddncodec.errors import BadCheckpoint
from ddncodec.evaluation.provenance import sha256
from ddncodec.evaluation.told_apart import LEAST, told_apart
from ddncodec.metrics.distortion import Pixels, bootstrap, ms_ssim, ms_ssim_window, psnr, squared_errors, ssim
from ddncodec.metrics.features import load_features
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.metrics.kernel import kernel_distance
from ddncodec.metrics.sliced import sliced_distance
from ddncodec.metrics.spectrum import BANDS, band_ratios
from ddncodec.metrics.texture import texture_features
from ddncodec.pixels import to_tensor

BATCH = 64

Figures = dict[str, dict[str, float | None]]


class Judge:
    """Knows the originals (N, R, R, 3), and their features once computed.

    inception: TorchScript of uint8 images (N, 3, H, W) → features (N, D), for rFID (Heusel et al. 2017). lpips:
    TorchScript of two batches in [−1, 1] → (N,), for LPIPS (Zhang et al. 2018). Without them `fd64`, the Fréchet
    distance of the project's own face features, which is no FID. told_apart: train a classifier to tell decoded
    pictures from originals, which takes a minute for each set of pictures. Raises InputMissing, BadCheckpoint.

    Of fine details: `power_P`, mean power in shares of the originals', in bands of frequencies that begin at P% of the
    sampling rate; `sliced`, the sliced Wasserstein distance of details; `fd_texture` and `kd_texture`, Fréchet and
    kernel distances (the latter times 1,000) of features of texture.
    """

    def __init__(self, originals: Pixels, inception: Path | None = None, lpips: Path | None = None,
                 told_apart: bool = False) -> None:
        self.originals, self._told_apart = originals, told_apart
        self.networks = {name: sha256(path) for name, path in (("rFID", inception), ("LPIPS", lpips)) if path}
        self._lpips = _script(lpips) if lpips else None
        self._extractors: dict[str, Callable[[Pixels], Tensor]] = {"fd64": lambda pixels: load_features()(
            to_tensor(pixels)), "fd_texture": lambda pixels: texture_features(to_tensor(pixels))}
        if inception:
            network = _script(inception)
            self._extractors["rFID"] = lambda pixels: network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        self._known: dict[str, Tensor] = {}

    def figures(self, decoded: Pixels, rows: Sequence[int] | None = None) -> Figures:
        """Of images decoded from the originals of these rows, by default all; an interval where there is one."""
        rows = range(len(self.originals)) if rows is None else rows
        originals = self.originals[list(rows)]
        errors = squared_errors(originals, decoded)
        found: dict[str, Any] = {
            "psnr_of_mean_error": bootstrap(errors, psnr),
            "mean_psnr": bootstrap(np.array([psnr(error) for error in errors])),
            "ssim": bootstrap(ssim(originals, decoded)),
        }
        if window := ms_ssim_window(originals.shape[1]):
            found[f"ms_ssim_win{window}"] = bootstrap(ms_ssim(originals, decoded, window))
        if self._lpips is not None:
            found["LPIPS"] = bootstrap(self._apart(self._lpips, originals, decoded))
        figures: Figures = {name: {key: _finite(value) for key, value in asdict(estimate).items()}
                            for name, estimate in found.items()}
        if len(originals) > 1:
            for name, extract in self._extractors.items():
                if name not in self._known:
                    self._known[name] = _features(extract, self.originals)
                theirs, ours = self._known[name][list(rows)], _features(extract, decoded)
                figures[name] = {"value": _finite(frechet_distance(theirs, ours))}
                if name == "fd_texture":
                    figures["kd_texture"] = {"value": _finite(1_000 * kernel_distance(theirs, ours))}
        return figures | {name: {"value": _finite(value)} for name, value in self._details(originals, decoded).items()}

    def _details(self, originals: Pixels, decoded: Pixels) -> dict[str, float]:
        """How the decoded images' details differ from the originals', as distributions."""
        theirs, ours = to_tensor(originals), to_tensor(decoded)
        found = {f"power_{(25 * (BANDS + i)) // BANDS}": share for i, share in enumerate(band_ratios(ours, theirs))}
        found["sliced"] = sliced_distance(ours, theirs)
        if self._told_apart and len(originals) >= LEAST:
            found |= {f"told_apart_{name}": value for name, value in asdict(told_apart(originals, decoded)).items()}
        return found

    @staticmethod
    @torch.no_grad()
    def _apart(lpips: Any, originals: Pixels, decoded: Pixels) -> Any:
        parts = [lpips(to_tensor(originals[i : i + BATCH]), to_tensor(decoded[i : i + BATCH])).flatten().double()
                 for i in range(0, len(originals), BATCH)]
        return torch.cat(parts).numpy()


@torch.no_grad()
def _features(extract: Callable[[Pixels], Tensor], pixels: Pixels) -> Tensor:
    return torch.cat([extract(pixels[first : first + BATCH]) for first in range(0, len(pixels), BATCH)])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _script(path: Path) -> Any:
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise BadCheckpoint(f"{path} is not a TorchScript module: {str(error).splitlines()[0]}") from None

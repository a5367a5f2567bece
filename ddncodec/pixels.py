"""8-bit pictures <-> tensors, and what the networks' inputs are made of: smaller, grey, edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.errors import BadCheckpoint
from ddncodec.images import Pixels

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def to_tensor(pixels: Pixels | npt.NDArray[np.float32]) -> Tensor:
    """(B, H, W, 3) in 8-bit steps → float (B, 3, H, W) in [−1, 1]."""
    return from_steps(torch.from_numpy(pixels))


def from_steps(pixels: Tensor) -> Tensor:
    """`to_tensor` of what is a tensor already."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: Tensor) -> Pixels:
    """Inverse of `to_tensor`, after clipping and rounding. Raises BadCheckpoint as `require_finite` does."""
    return rounded(require_finite(images)).cpu().numpy()


def rounded(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [−1, 1], or beyond → uint8 (B, H, W, 3), clipped."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def require_finite(images: Tensor) -> Tensor:
    """The images that a network drew. Raises BadCheckpoint for numbers that are not finite: its weights are broken."""
    if not images.isfinite().all():
        raise BadCheckpoint("the weights give a picture that is not of finite numbers")
    return images


def downsample(images: Tensor, side: int) -> Tensor:
    """Area average of (B, C, R, R) to (B, C, side, side)."""
    return images if images.shape[-1] == side else functional.interpolate(images, size=side, mode="area")


def grey_of(images: Tensor) -> Tensor:
    """Luminance: (B, 3, R, R) → (B, 1, R, R), both in [−1, 1]."""
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def edges_of(grey: Tensor) -> Tensor:
    """The size of Sobel's gradient, at most 1: (B, 1, R, R) in [−1, 1] → (B, 1, R, R) in [0, 1]."""
    slope = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    kernels = torch.stack([slope, slope.T])[:, None]
    gradient = functional.conv2d(functional.pad(grey, (1, 1, 1, 1), "replicate"), kernels)
    return gradient.square().sum(1, keepdim=True).sqrt().clamp(max=1)

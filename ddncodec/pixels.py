"""8-bit pictures <-> the network's tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from ddncodec.images import Pixels


def to_tensor(pixels: Pixels) -> Tensor:
    """uint8 (B, H, W, 3) → float (B, 3, H, W) in [−1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: Tensor) -> Pixels:
    """Inverse of `to_tensor`, after clipping and rounding."""
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()

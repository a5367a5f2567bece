"""Convolution blocks that several generators are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(norm(x))))), 3×3, starting as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, r, r) → the same."""
        hidden: Tensor = self.first(functional.silu(self.norm(x)))
        result: Tensor = x + self.second(functional.silu(hidden))
        return result


class Hourglass(nn.Module):
    """A residual block at one resolution, an hourglass at half of it that is added, and another block."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        fine, coarser = widths[0], widths[1:]
        self.before, self.after = ResidualBlock(fine), ResidualBlock(fine)
        self.inner = nn.Sequential(nn.Conv2d(fine, coarser[0], 2, 2), Hourglass(coarser),
                                   nn.Conv2d(coarser[0], 4 * fine, 1), nn.PixelShuffle(2)) if coarser else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, r, r) → the same."""
        x = self.before(x)
        if self.inner is not None:
            x = x + self.inner(x)
        result: Tensor = self.after(x)
        return result

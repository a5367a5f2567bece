"""Binary split trees over axes: which axis a level splits, and where its two children lie.

An axis starts as one cell, all values; a split makes two of it, and the pick says in which one the target is.
A tree's nodes are numbered as in a heap: the children of leaf i are 2i + 1 and 2i + 2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class SplitTrees(nn.Module):
    """One tree of `depth` splits for each of `axes` axes.

    steps: parameter (axes, 2^depth − 1, 2), from a cell's prediction to its two children's. dither: parameter
    (axes, 2^depth − 1), how far a coupling shifts both, 0 in a cell that is likely to be split again.
    gain: buffer (axes, 2^depth − 1), the squared error that splitting the cell saves on average, half-precision
    values; 0 where a cell cannot be split.
    """

    steps: nn.Parameter
    dither: nn.Parameter
    gain: Tensor

    def __init__(self, axes: int, depth: int) -> None:
        super().__init__()
        cells = 2**depth - 1
        self.steps = nn.Parameter(torch.zeros(axes, cells, 2))
        self.dither = nn.Parameter(torch.zeros(axes, cells))
        self.register_buffer("gain", torch.zeros(axes, cells))

    def keys(self) -> Tensor:
        """Gains as whole numbers (axes, cells), no two axes alike: what an order by gain is decided on.

        An encoder and a decoder must agree on the order on any machine, and so no rounding may enter it.
        """
        axes = len(self.gain)
        gain = self.gain.half()
        if torch.onnx.is_in_onnx_export():  # which knows no such view: the keys become a constant
            bits = torch.from_numpy(gain.numpy().view(np.int16))
        else:
            bits = gain.view(torch.int16)  # of non-negative floats: in the order of their values
        return bits.int() * axes + torch.arange(axes - 1, -1, -1, device=bits.device, dtype=torch.int32)[:, None]


class Cells:
    """The leaves that B images have reached, one on each axis."""

    def __init__(self, trees: SplitTrees, batch: int) -> None:
        axes = len(trees.gain)
        self._keys = trees.keys()
        self._spent = self._keys[:, 0] % axes - axes  # a leaf that cannot be split: after all that can
        self._leaf = torch.zeros(batch, axes, dtype=torch.int64, device=trees.gain.device)
        self._key = self._keys[:, 0].expand(batch, axes).clone()

    def best(self, count: int) -> tuple[Tensor, Tensor]:
        """The `count` axes with most to gain from a split, best first, and their leaves: both (B, count)."""
        axes = self._key.topk(count, 1).indices
        return axes, self._leaf.gather(1, axes)

    def split(self, axes: Tensor, bits: Tensor) -> None:
        """Go down to child `bits` (B, m), 0 or 1, of the leaves on these axes (B, m)."""
        cells = self._keys.shape[1]
        child = 2 * self._leaf.gather(1, axes) + 1 + bits
        leaf = child.clamp(max=cells - 1)
        key = torch.where(child == leaf, self._keys.flatten()[axes * cells + leaf], self._spent[axes])
        self._leaf.scatter_(1, axes, leaf)
        self._key.scatter_(1, axes, key)

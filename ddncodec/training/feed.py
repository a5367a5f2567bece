"""Training images on their way to the device: made ready while the device still works on those before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor


class Images(NamedTuple):
    """pixels: (B, 3, R, R) in [−1, 1]. labels: (B,) int64, on the CPU; None where classes are not known."""

    pixels: Tensor
    labels: Tensor | None


class Feed:
    """Hands out images by their positions.

    With a GPU the images that come next are made by a thread, into pinned memory, from which they are copied without
    anything waiting. On the CPU nothing would be gained: the thread would take the cores from the step under way.

    Args:
        make: Images at positions of the training set, on the CPU.
        device: Where they are wanted.
        ahead: Whether to make the next ones beforehand; by default with a GPU.
    """

    def __init__(self, make: Callable[[range], Images], device: torch.device, ahead: bool | None = None) -> None:
        self._make, self._device = make, device
        self._pinned = device.type == "cuda"
        self._thread = ThreadPoolExecutor(1) if (self._pinned if ahead is None else ahead) else None
        self._next: tuple[range, Future[Images]] | None = None

    def take(self, positions: range, following: range) -> Images:
        """The images at these positions, on the device; those at `following` will be asked for next."""
        if self._next is not None and self._next[0] == positions:
            images = self._next[1].result()
        else:
            images = self._ready(positions)
        if self._thread is not None:
            self._next = following, self._thread.submit(self._ready, following)
        return Images(images.pixels.to(self._device, non_blocking=self._pinned), images.labels)

    def _ready(self, positions: range) -> Images:
        images = self._make(positions)
        return Images(images.pixels.pin_memory(), images.labels) if self._pinned else images

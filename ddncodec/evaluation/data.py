"""What is evaluated on: images at a model's resolution, where they come from, and their hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ddncodec.data.faces import TEST_SEEDS, Faces
from ddncodec.data.pictures import pictures
from ddncodec.errors import DataMissing, DdnError
from ddncodec.metrics.distortion import Pixels
from ddncodec.pixels import to_pixels

BUILT_IN = "test-seeds"


@dataclass(frozen=True)
class Images:
    """pixels: (N, R, R, 3). unreadable: name and reason of what was left out. skipped: how many other files, by why."""

    source: str
    pixels: Pixels
    unreadable: dict[str, DdnError] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def resolution(self) -> int:
        """R."""
        return int(self.pixels.shape[1])

    @property
    def sha256(self) -> str:
        """Of the decoded pixels, after they were resampled to R×R, and their shape."""
        return hashlib.sha256(f"{self.pixels.shape}".encode() + self.pixels.tobytes()).hexdigest()


def load(source: str, resolution: int, limit: int | None = None) -> Images:
    """The built-in test seeds, or everything that `pictures` finds at a path, area-resampled to R×R.

    limit: the first so many. Raises InputMissing; DataMissing where there is no readable image.
    """
    if source == BUILT_IN:
        return Images(source, to_pixels(Faces(resolution).draw(TEST_SEEDS[:limit])))
    found = []
    unreadable: dict[str, DdnError] = {}
    skipped: Counter[str] = Counter()
    for name, content, _ in islice(pictures(source, skipped, resolution), limit):
        if isinstance(content, DdnError):
            unreadable[name] = content
        else:
            found.append(content)
    if not found:
        raise next(iter(unreadable.values()), DataMissing(f"{source} holds no readable image"))
    return Images(source, np.stack(found), unreadable, skipped)

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddncodec.progress import Advance


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of forty small pictures, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(40):
        coarse = Image.fromarray(random.integers(0, 256, (3, 4, 3), np.uint8))
        coarse.resize((20, 24), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


class Phases:
    """Progress that is kept.

    names: of the phases, in the order of their beginnings. unfinished: those that are not over, or ended before their
    total or after it.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.unfinished: list[str] = []

    @contextmanager
    def phase(self, name: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        self.names.append(name)
        self.unfinished.append(name)

        def advance(more: int = 1, note: str = "") -> None:
            nonlocal done
            done += more

        yield advance
        if total in (None, done):
            self.unfinished.remove(name)


@pytest.fixture
def phases() -> Phases:
    """Progress that is kept."""
    return Phases()

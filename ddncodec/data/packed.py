"""Pictures packed into one file at a model's resolution: a million of them need no memory, and processes share it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ddncodec.data.pictures import listing, pictures
from ddncodec.errors import BadCheckpoint, DataMissing
from ddncodec.files import atomic_write, open_input
from ddncodec.images import Pixels
from ddncodec.pixels import to_tensor

HEADER = 128  # bytes of an .npy file before its data
MAX_NOTES = 2**20  # bytes
HELD_OUT = 20  # every so many-th image is for validation


def pack(data: str, resolution: int, folder: Path, advance: Callable[[int], None] = lambda count: None) -> Path:
    """The file (N, R, R, 3) in the folder of all pictures of a path, area-resampled to R×R; made unless it is there.

    Its name covers the data's names, sizes and times: changed data is packed anew. What cannot be read is skipped
    and counted. advance: called with the number of pictures so far. Raises InputMissing, DataMissing, OutputFailed.
    """
    identity = hashlib.sha256(json.dumps([data, resolution, listing(data)]).encode()).hexdigest()[:16]
    target = folder / f"images-{resolution}-{identity}.npy"
    if target.exists():
        return target
    skipped = 0
    left_out: Counter[str] = Counter()
    labels: list[int | None] = []

    def readable() -> Iterator[Pixels]:
        nonlocal skipped
        for entry in pictures(data, left_out, resolution):
            if isinstance(entry.content, np.ndarray):
                labels.append(entry.label)
                yield entry.content
            else:
                skipped += 1

    found = readable()
    first = list(islice(found, 2))
    if len(first) < 2:
        raise DataMissing(f"{data} holds fewer than two readable images")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(target, overwrite=True) as file:
        file.seek(HEADER)
        count = 0
        for count, pixels in enumerate(chain(first, found), 1):
            file.write(pixels.tobytes())
            advance(count)
        file.seek(0)
        shape = (count, resolution, resolution, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert file.tell() == HEADER
        if None not in labels:  # what is beside the images is there before they are
            with atomic_write(_labels(target), overwrite=True) as classes:
                np.save(classes, np.array(labels, np.int64))
        with atomic_write(_notes(target), overwrite=True) as notes:
            notes.write(json.dumps({"data": data, "skipped": skipped, "left_out": left_out}).encode())
    return target


class Packed:
    """The images of a file that `pack` made; every twentieth is kept for validation.

    seed: of the order of the images. skipped: how many were unreadable. left_out: how many files were no pictures, by
    why. Raises InputMissing, BadCheckpoint.
    """

    def __init__(self, file: Path, seed: int) -> None:
        self.file, self._seed = file, seed
        open_input(file).close()
        try:
            with open_input(_notes(file)) as notes:
                facts = json.loads(notes.read(MAX_NOTES))
            self.skipped, self.left_out = int(facts["skipped"]), Counter(facts.get("left_out", {}))
            images: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
            self._classes: npt.NDArray[Any] | None = None
            if _labels(file).exists():
                self._classes = np.load(_labels(file), mmap_mode="r", allow_pickle=False)
                if self._classes.shape != images.shape[:1] or self._classes.dtype != np.int64:
                    raise ValueError("it has not a class for each image")
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise BadCheckpoint(f"{file} is not a file of packed images: {error}") from None
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) < 2 or images.shape[3] != 3:
            raise BadCheckpoint(f"{file} is not a file of packed images")
        held_out = np.arange(len(images)) % HELD_OUT == 1
        self._images: npt.NDArray[np.uint8] = images
        self._order = lru_cache(maxsize=2)(self._shuffled)  # a step has images of two passes at most, as a rule
        self._training, self._validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def images(self, positions: range) -> Tensor:
        """Passes over the images in an order that the seed decides, a new one for each pass."""
        return to_tensor(self._images[self._rows(positions)])

    def labels(self, positions: range) -> Tensor | None:
        return None if self._classes is None else torch.from_numpy(self._classes[self._rows(positions)])

    def _rows(self, positions: range) -> npt.NDArray[np.int64]:
        count = len(self._training)
        places = [divmod(position, count) for position in positions]
        return self._training[[self._order(epoch)[place] for epoch, place in places]]

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._training))

    def validation(self, count: int) -> Tensor:
        return to_tensor(self._images[self._validation[:count]])

    def validation_labels(self, count: int) -> Tensor | None:
        return None if self._classes is None else torch.from_numpy(self._classes[self._validation[:count]])


def _labels(file: Path) -> Path:
    return file.with_suffix(".labels.npy")


def _notes(file: Path) -> Path:
    return file.with_suffix(".json")

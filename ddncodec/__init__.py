"""ddncodec: a neural image codec on Discrete Distribution Networks.

    import ddncodec
    codec = ddncodec.load_model("binddn")
    latent = codec.encode(pixels)               # H×W×3 uint8 → 1,152 picks, 144 bytes
    image = codec.decode(latent.prefix(576))    # any prefix is a coarser image
    data = ddncodec.encode(pixels)              # the bytes of a .ddn file; ddncodec.decode(data)

torch is imported on the first use of what needs it, so that looking at a file takes milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddncodec.errors import DdnError
from ddncodec.latent import Latent

if TYPE_CHECKING:
    from ddncodec.codec import Codec, decode, encode, load_model

__version__ = "0.1.0"
__all__ = ["Codec", "DdnError", "Latent", "decode", "encode", "load_model"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ddncodec import codec

        return getattr(codec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

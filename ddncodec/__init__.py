"""ddncodec: a neural image codec on Discrete Distribution Networks.

    import ddncodec
    data = ddncodec.encode(image)               # NumPy, PIL or torch → the bytes of a .ddn file
    image = ddncodec.decode(data)               # H×W×3 uint8
    codec = ddncodec.load_model("binddn")
    latent = codec.encode(image)                # 1,152 picks, 144 bytes
    image = codec.decode(latent.prefix(576))    # any prefix is a coarser image

torch is imported on the first use of what needs it, so that looking at a file takes milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddncodec.errors import DdnError
from ddncodec.latent import Latent
from ddncodec.lazy import lazily

if TYPE_CHECKING:
    from ddncodec.api import decode, decode_batch, encode, encode_batch
    from ddncodec.archive import Archive, ArchiveWriter, append_archive, open_archive
    from ddncodec.bare import to_text
    from ddncodec.codec import Codec, load_model
    from ddncodec.container import cut
    from ddncodec.generate import Drawn, guide, sample
    from ddncodec.zoo import list_models

__version__ = "0.2.0"
__all__ = [
    "Archive", "ArchiveWriter", "Codec", "DdnError", "Drawn", "Latent", "append_archive", "cut", "decode",
    "decode_batch", "encode", "encode_batch", "guide", "list_models", "load_model", "open_archive", "sample", "to_text",
]


if not TYPE_CHECKING:  # else it would seem to have any name
    __getattr__ = lazily(__name__, {
        "api": ("decode", "decode_batch", "encode", "encode_batch"),
        "archive": ("Archive", "ArchiveWriter", "append_archive", "open_archive"),
        "bare": ("to_text",),
        "codec": ("Codec", "load_model"),
        "container": ("cut",),
        "generate": ("Drawn", "guide", "sample"),
        "zoo": ("list_models",),
    })


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

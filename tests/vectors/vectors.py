"""Makes what readers and decoders in other languages are held to.

    python tests/vectors/vectors.py

streams.json: streams, whole and damaged, and what a reader must say of each. A line of JSON for each: its name; its
form, `file`, `partial` (a file that may have broken off) or `bare` (then with K and the resolution of the model); the
data in base64; and either the error's name or all that the stream holds.

fitted.json: squares of RGB pixels, and the same at other sizes.
"""

import base64
import json
import random
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from ddncodec import bare, container
from ddncodec.container import MAGIC, MAX_METADATA_CONTENT, Stream, to_bytes
from ddncodec.errors import DdnError
from ddncodec.images import fit
from ddncodec.latent import Latent

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
STREAMS, FITTED = HERE / "streams.json", HERE / "fitted.json"
ID = bytes.fromhex("0badcafe")
PLAIN = Stream(Latent((1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0), 2), 300, 200, ID)
RICH = Stream(Latent((7, 0, 4), 10), 300, 200, ID, icc=bytes(range(200)), comment="Grüße")
HEADER = MAGIC + b"\x01\x01" + ID  # K = 2, no metadata
HEADER_LONG_K = MAGIC + b"\x01\x00" + ID
HEADER_METADATA = MAGIC + b"\x01\x11" + ID
SIZES = b"\x40\x40\x08"  # 64 x 64, 8 levels: one byte of payload at K = 2
KS = (2, 3, 5, 6, 7, 8, 10, 12, 16, 100, 255, 256, 257, 512, 1_000, 4_096, 32_768, 40_000, 65_535, 65_536)
BARE_K, BARE_RESOLUTION = 8, 64


def main() -> None:
    """Write the vectors, a line for each."""
    for path, entries in ((STREAMS, vectors()), (FITTED, fitted())):
        lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        sys.stdout.write(f"{path.name}: {len(lines)} vectors\n")


def fitted() -> Iterator[dict[str, Any]]:
    """Pictures that grow, shrink, do one of each, and stay.

    None that shrinks in height alone, where Pillow's releases take the two passes in different orders.
    """
    noise = np.random.RandomState(0)
    for side, width, height in (
        (8, 8, 8), (8, 16, 24), (8, 3, 5), (8, 8, 5), (8, 20, 8), (8, 3, 20), (7, 31, 9), (16, 1, 1), (16, 15, 17)
    ):
        pixels = noise.randint(0, 256, (side, side, 3)).astype(np.uint8)
        pixels[: side // 2] = pixels[: side // 2] // 128 * 255  # sharp edges: bicubic goes beyond what 8 bits hold
        yield {"side": side, "width": width, "height": height, "pixels": base64.b64encode(pixels.tobytes()).decode(),
               "fitted": base64.b64encode(fit(pixels, (height, width)).tobytes()).decode()}


def vectors() -> Iterator[dict[str, Any]]:
    """All vectors of streams."""
    for name, data in [*whole_files(), *broken_headers(), *broken_metadata(), *damaged_files()]:
        yield vector({"name": name, "form": "file"}, data)
    for name, data in partial_files():
        yield vector({"name": name, "form": "partial"}, data)
    for name, data, k, resolution in bare_streams():
        yield vector({"name": name, "form": "bare", "k": k, "resolution": resolution}, data)


def vector(described: dict[str, Any], data: bytes) -> dict[str, Any]:
    """A vector as JSON has it, with what this package's reader says of the data."""
    told = described | {"data": base64.b64encode(data).decode()}
    try:
        if described["form"] == "bare":
            stream = bare.from_bytes(data, described["k"], described["resolution"], ID)
        elif described["form"] == "partial":
            stream = container.partial_from_bytes(data).stream
        else:
            stream = container.from_bytes(data)
    except DdnError as error:
        return told | {"error": type(error).__name__}
    held = {"width": stream.width, "height": stream.height, "k": stream.latent.k, "picks": list(stream.latent.indices)}
    if described["form"] != "bare":
        held |= {"weights": stream.weights_hex, "comment": stream.comment,
                 "icc": None if stream.icc is None else base64.b64encode(stream.icc).decode()}
    return told | {"stream": held}


def whole_files() -> Iterator[tuple[str, bytes]]:
    """Of each kind of K, size and metadata; and the golden ones."""
    yield "plain", to_bytes(PLAIN)
    yield "rich", to_bytes(RICH)
    for k in KS:
        yield f"K = {k}", to_bytes(Stream(picks(k, 30), 640, 480, ID))
        yield f"K = {k}, one level", to_bytes(Stream(Latent((k - 1,), k), 1, 1, ID))
    yield "many levels of K = 3", to_bytes(Stream(picks(3, 1_000), 64, 64, ID))
    for width, height in ((1, 1), (65_535, 1_024), (127, 128), (16_383, 16)):
        yield f"{width} x {height}", to_bytes(Stream(PLAIN.latent, width, height, ID))
    yield "a profile alone", to_bytes(Stream(PLAIN.latent, 9, 9, ID, icc=bytes(3_000)))
    yield "an empty profile and comment", to_bytes(Stream(PLAIN.latent, 9, 9, ID, icc=b"", comment=""))
    yield "a comment with a byte order mark", to_bytes(Stream(PLAIN.latent, 9, 9, ID, comment="\ufeffhi"))
    text = " ".join(f"{number} bottles on the wall," for number in range(99, 0, -1))
    for level in (-5, 1, 3, 9, 19, 22):
        content = b"\x02" + varint(len(text)) + text.encode()
        yield f"zstd's level {level}", with_metadata(zstandard.ZstdCompressor(level=level).compress(content))
    content = b"\x02\x05hello"
    yield "zstd with a checksum", with_metadata(zstandard.ZstdCompressor(write_checksum=True).compress(content))
    noise = random.Random(1).randbytes(3_000)
    yield "a profile of noise", to_bytes(Stream(PLAIN.latent, 9, 9, ID, icc=noise))
    for path in sorted(GOLDEN.glob("*.ddn")):
        yield f"golden {path.name}", path.read_bytes()


def broken_headers() -> Iterator[tuple[str, bytes]]:
    """A field that is wrong, under a right checksum."""
    fields = {
        "another magic": b"\x89PNG\r\n\x1a\n", "half the magic": b"\xddX",
        "version 0": MAGIC + b"\0\x01" + ID + SIZES + b"\xaa", "version 2": MAGIC + b"\x02\x01" + ID + SIZES + b"\xaa",
        "reserved bit 5": MAGIC + b"\x01\x21" + ID + SIZES + b"\xaa",
        "reserved bit 6": MAGIC + b"\x01\x41" + ID + SIZES + b"\xaa",
        "reserved bit 7": MAGIC + b"\x01\x81" + ID + SIZES + b"\xaa",
        "overlong width": HEADER + b"\xc0\x00\x40\x08\xaa", "overlong zero": HEADER + b"\x80\x80\x00\x40\x08\xaa",
        "five-byte width": HEADER + b"\xff\xff\xff\xff\x01\x40\x08\xaa",
        "K = 2 as a varint": HEADER_LONG_K + SIZES + b"\x02\xaa",
        "K = 32,768 as a varint": HEADER_LONG_K + SIZES + b"\x80\x80\x02" + bytes(15),
        "K = 0": HEADER_LONG_K + SIZES + b"\x00\xaa", "K = 1": HEADER_LONG_K + SIZES + b"\x01\xaa",
        "K = 65,537": HEADER_LONG_K + SIZES + b"\x81\x80\x04\xaa",
        "K = 131,072": HEADER_LONG_K + SIZES + b"\x80\x80\x08\xaa",
        "width 0": HEADER + b"\x00\x40\x08\xaa", "height 65,536": HEADER + b"\x01\x80\x80\x04\x08\xaa",
        "65,535 x 65,535": HEADER + b"\xff\xff\x03\xff\xff\x03\x08\xaa",
        "8,193 x 8,192": HEADER + b"\x81\x40\x80\x40\x08\xaa",
        "no levels": HEADER + b"\x40\x40\x00\xaa", "65,536 levels": HEADER + b"\x40\x40\x80\x80\x04\xaa",
        "2 MiB of metadata": HEADER_METADATA + SIZES + b"\x80\x80\x80\x01\xaa",
        "metadata longer than the file": HEADER_METADATA + SIZES + b"\x80\x01\xaa",
        "width 0 and K = 2 as a varint": HEADER_LONG_K + b"\x00\x40\x08\x02\xaa",
        "width 0 and no levels": HEADER + b"\x00\x40\x00\xaa",
        "padding": HEADER + b"\x40\x40\x07\xab", "index": HEADER_LONG_K + b"\x40\x40\x05\x03\xf3",
        "padding of K = 3": HEADER_LONG_K + b"\x40\x40\x04\x03\x01",
        "index of K = 10": HEADER_LONG_K + b"\x40\x40\x03\x0a\xff\xc0",
    }
    for name, body in fields.items():
        yield name, sealed(body)


def broken_metadata() -> Iterator[tuple[str, bytes]]:
    """Metadata that are wrong, under a right checksum."""
    zstd = zstandard.ZstdCompressor().compress
    unstated = zstandard.ZstdCompressor(write_content_size=False).compress
    frames = {
        "not zstd": b"hello there", "no frame": b"", "half the magic of zstd": b"\x28\xb5", "an empty frame": zstd(b""),
        "half a frame": zstd(bytes(range(200)) * 2)[:-9], "two frames": zstd(b"\x02\x02hi") * 2,
        "bytes after the frame": zstd(b"\x02\x02hi") + b"\0",
        "a skippable frame": b"\x50\x2a\x4d\x18\x00\x00\x00\x00", "no content size": unstated(b"\x02\x02hi"),
        "a false content size": zstd(bytes(250)).replace(b"\x20\xfa", b"\x20\xf0"),
        "too large a content size": zstd(bytes(250)).replace(b"\x20\xfa", b"\x20\xfb"),
        "a reserved block": b"\x28\xb5\x2f\xfd\x20\x04\x27\x00\x00\x02\x02hi",
        "a reserved bit": b"\x28\xb5\x2f\xfd\x28\x04\x21\x00\x00\x02\x02hi",
        "a dictionary": b"\x28\xb5\x2f\xfd\x21\x07\x04\x21\x00\x00\x02\x02hi",
        "a damaged block": b"\x28\xb5\x2f\xfd\x20\xff\x45\x00\x00" + bytes([0xFF] * 8),
        "an unknown tag": zstd(b"\x03\x00"), "tag 0": zstd(b"\x00\x00"), "a tag twice": zstd(b"\x02\x00\x02\x00"),
        "tags out of order": zstd(b"\x02\x00\x01\x00"), "an entry cut short": zstd(b"\x02\x03hi"),
        "a tag alone": zstd(b"\x02"), "a comment in Latin-1": zstd(b"\x02\x01\xfc"),
        "half a surrogate pair": zstd(b"\x02\x03\xed\xa0\x80"), "an overlong length": zstd(b"\x02\x82\x00hi"),
        "a bomb": zstd(bytes(MAX_METADATA_CONTENT + 1)), "a hidden bomb": unstated(bytes(2**20)),
        "a bomb that states little": zstd(bytes(2**20)).replace(*(size.to_bytes(4, "little") for size in (2**20, 10))),
    }
    for name, frame in frames.items():
        yield name, with_metadata(frame)
    yield "bad metadata and a bad checksum", with_metadata(b"hello there")[:-1] + b"\0"


def damaged_files() -> Iterator[tuple[str, bytes]]:
    """Files that end early, go on, or have one byte changed."""
    for name, stream in (("plain", PLAIN), ("rich", RICH)):
        data = to_bytes(stream)
        step = 1 if name == "plain" else 13
        yield from ((f"{name}, first {end} bytes", data[:end]) for end in range(0, len(data), step))
        yield f"{name}, and a byte", data + b"\0"
        for at in range(0, len(data), step):
            yield f"{name}, byte {at} changed", data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def partial_files() -> Iterator[tuple[str, bytes]]:
    """Files that broke off in the payload, of every kind of K."""
    for k in (2, 3, 8, 10, 512, 65_535, 65_536):
        data = to_bytes(Stream(picks(k, 12), 64, 48, ID))
        header = len(data) - 4 - len(picks(k, 12).pack())
        ends = (header, header + 1, header + 2, *(len(data) - count for count in (8, 5, 4, 1, 0)))
        for end in sorted(set(ends)):
            if end >= header:
                yield f"K = {k}, first {end} of {len(data)} bytes", data[:end]
    data = to_bytes(RICH)
    yield "rich, in the payload", data[:-5]
    yield "rich, in the metadata", data[:40]
    yield "a whole file with a bad checksum", to_bytes(PLAIN)[:-1] + b"\0"
    yield "a payload that no latent begins with", HEADER_LONG_K + b"\x40\x40\x0a\x03\xff"


def bare_streams() -> Iterator[tuple[str, bytes, int, int]]:
    """Bare streams and their text; then what is none."""
    for k in KS:
        data = bare.to_bytes(Stream(picks(k, 30), 640, 480, ID))
        yield f"bare, K = {k}", data, k, 64
    for width, height in ((1, 1), (1, 3_000), (3_000, 1), (300, 200), (200, 300), (1_920, 1_080)):
        yield f"bare, {width} x {height}", bare.to_bytes(Stream(PLAIN.latent, width, height, ID)), 2, 33
    data = bare.to_bytes(Stream(picks(BARE_K, 21), 64, 48, ID))
    text = bare.to_text(data).encode()
    forms = {"text": text, "text in white space": b" \t\r\n" + text + b"\n",
             "text with padding": text + b"=" * (-len(text) % 4)}
    bad = {
        "nothing": b"", "an aspect alone": b"\xc0", "text of an aspect alone": b"wA", "no level": b"\xc0\x80",
        "no mark": b"\xc0\x10\x00", "bits that no levels have": b"\xc0\x10\x10", "no text": b"wA!",
        "text of zeros": b"AAAA", "neither": b"\x40\x10", "text and Latin-1": "wÄ".encode("latin-1"),
        "one character": b"w", "stray bits": b"wBF", "other base64": b"wA+/", "white space": b" \n",
        "text with a space": text[:4] + b" " + text[4:],
    }
    for name, stream in (forms | bad).items():
        yield f"bare, {name}", stream, BARE_K, BARE_RESOLUTION
    yield "bare, an index beyond K", b"\xc0\xf8", 3, 64
    for path in sorted(GOLDEN.glob("*-bare.ddnb")):
        k = int(path.name[1:].partition("-")[0])
        yield f"golden {path.name}", path.read_bytes(), k, 16
        yield f"golden {path.stem}.txt", path.with_suffix(".txt").read_bytes(), k, 16


def picks(k: int, levels: int) -> Latent:
    """A latent in which every part of the range occurs."""
    return Latent(tuple((7 * i * i + k - 1) % k for i in range(levels)), k)


def sealed(body: bytes) -> bytes:
    """With the checksum that makes everything before it count."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def with_metadata(frame: bytes) -> bytes:
    """A file with these bytes for its metadata."""
    return sealed(HEADER_METADATA + SIZES + varint(len(frame)) + frame + b"\xaa")


def varint(value: int) -> bytes:
    """A number as LEB128."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


if __name__ == "__main__":
    main()

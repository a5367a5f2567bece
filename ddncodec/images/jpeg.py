"""JPEG, decoded so that damage is seen.

libjpeg only warns where the data of a scan end too early or too late, and Pillow drops its warnings: half of a file, or
one with a zeroed block, comes out with grey or garbled parts. So the data are handed over piece by piece, and the bytes
that libjpeg leaves tell what it waits for. It takes data for pixels eight bytes at a time and leaves what is less, but
reads at once whatever stands before a marker. Where a scan, or a restart interval of one, ends, it must have all of its
pixels after at most eight more bytes of anything, and must not have had them much sooner.

What this cannot see: damage after which a decoder finds back into step, to the very bit.
"""

import re
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile

from ddncodec.errors import UnreadableImage
from ddncodec.images.raster import Raster

_SCAN_END = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # a marker; not a stuffed byte, nor a restart or fill
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_EOI = b"\xff\xd9"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE, _LOSSLESS = 0xC2, 0xC3
_ARITHMETIC = range(0xC9, 0xD0)
_COEFFICIENTS = 64

_LOOKAHEAD = 8  # bytes that libjpeg wants at once
_SPARE = 16  # bytes that may stand behind the data of the last pixel: some encoders leave such
_MAX_SCANS = 500  # each costs a pass over the image, and may take two bytes
_PROBED = 512  # a disk's smallest block; an interval shorter than that loses its restart markers when one is lost
_ZEROED = bytes(256)


@dataclass
class _Component:
    """A component of a frame: its sampling, and the lowest bit of each coefficient that the scans so far have coded."""

    across: int
    down: int
    coded: list[int] = field(default_factory=lambda: [_COEFFICIENTS] * _COEFFICIENTS)


@dataclass
class _Frame:
    """The first image of a file: its kind, size and components, and where the restart intervals of its scans are."""

    kind: int
    width: int
    height: int
    components: dict[int, _Component]
    scans: list[list[tuple[int, int]]] = field(default_factory=list)

    def intervals(self, scanned: list[_Component], restart: int) -> int:
        """How many restart intervals, of so many units each, a scan of these components has."""
        if not restart:
            return 1
        across, down = (scanned[0].across, scanned[0].down) if len(scanned) == 1 else (1, 1)  # units: blocks, or MCUs
        most_across = max(component.across for component in self.components.values())
        most_down = max(component.down for component in self.components.values())
        side = 1 if self.kind == _LOSSLESS else 8
        units = -(-self.width * across // (side * most_across)) * -(-self.height * down // (side * most_down))
        return -(-units // restart)


def read(image: ImageFile.ImageFile) -> Raster:
    """The picture of an opened JPEG file, at the scale that `draft` has set.

    Raises UnreadableImage if pixels are missing or wrong, as far as that can be seen.
    """
    _load(image)
    return Raster.of(image)


def check(data: bytes, width: int, height: int) -> None:
    """Raise UnreadableImage if a JPEG file is larger than so many pixels or damaged as `read` tells it.

    Raises what Pillow raises, too.
    """
    with Image.open(BytesIO(data), formats=["JPEG"]) as image:
        assert isinstance(image, ImageFile.ImageFile)
        if image.width > width or image.height > height:
            raise _damaged("it is larger than its place")
        image.draft(None, (1, 1))
        _load(image)


def _load(image: ImageFile.ImageFile) -> None:
    """Decode the image. Raises UnreadableImage for damage."""
    assert image.fp is not None
    image.fp.seek(0)
    data = image.fp.read()
    frame = _parse(data)
    tile = image.tile.pop()
    _decode(_Decoder(image, tile), data, frame, b"\0")
    if _EOI not in data[frame.scans[-1][-1][1] :]:
        pixels = np.array(image)
        _decode(_Decoder(image, tile), data, frame, b"\xaa")
        if not np.array_equal(pixels, np.array(image)):
            raise _damaged("the data end early")  # by so little that the filler completed them


def _parse(data: bytes) -> _Frame:
    """The frame and scans of the first image. Raises UnreadableImage if they do not make up a whole one."""
    frame: _Frame | None = None
    first_symbols: dict[int, int] = {}  # of each Huffman table: what zero bits mean
    restart = 0
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and not data.startswith(_EOI, at):
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker in (0x00, 0x01, 0xD8, 0xFF) or 0xD0 <= marker <= 0xD7:  # without a segment
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : end]
        at = end
        if marker in _FRAMES and frame is None and len(segment) >= 6:
            frame = _frame(marker, segment)
        elif marker == 0xC4:
            first_symbols |= _first_symbols(segment)
        elif marker == 0xDD:
            restart = int.from_bytes(segment[:2], "big")
        elif marker == 0xDA:
            if frame is None:
                raise _damaged("a scan comes before its frame")
            match = _SCAN_END.search(data, end)
            at = match.start() if match else len(data)
            _add_scan(frame, data, (end, at), segment, restart, first_symbols)
    if frame is None or not frame.scans:
        raise _damaged("there is no scan")
    if any(bit for component in frame.components.values() for bit in component.coded):
        raise _damaged("scans are missing")
    return frame


def _frame(kind: int, segment: bytes) -> _Frame:
    if kind in _ARITHMETIC:
        raise UnreadableImage("the JPEG file is coded arithmetically, a kind that cannot be checked for damage")
    components = {segment[i]: _Component(segment[i + 1] >> 4, segment[i + 1] & 15)
                  for i in range(6, len(segment) - 2, 3)}
    if not all(component.across and component.down for component in components.values()):
        raise _damaged("its sampling factors are 0")
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    return _Frame(kind, width, height, components)


def _first_symbols(segment: bytes) -> dict[int, int]:
    """The symbol of each table (class and number in one byte) whose code is all zeros."""
    found = {}
    while len(segment) > 17:
        found[segment[0]] = segment[17]
        segment = segment[17 + sum(segment[1:17]) :]
    return found


def _add_scan(frame: _Frame, data: bytes, place: tuple[int, int], header: bytes, restart: int,
              first_symbols: dict[int, int]) -> None:
    """Add a scan whose data are at `place`. Raises UnreadableImage if its markers or its data cannot be right."""
    count = header[0] if header else 0
    if not 0 < count <= 4 or len(header) < 4 + 2 * count or any(header[1 + 2 * i] not in frame.components
                                                               for i in range(count)):
        raise _damaged("a scan is of components that are not there")
    scanned = [frame.components[header[1 + 2 * i]] for i in range(count)]
    tables = [header[2 + 2 * i] for i in range(count)]
    first, last, bits = header[1 + 2 * count :][:3]
    if frame.kind != _PROGRESSIVE:
        first, last, bits = 0, _COEFFICIENTS - 1, 0
    for component in scanned:
        component.coded[first : last + 1] = [bits & 15] * (last + 1 - first)

    start, end = place
    restarts = list(_RESTART.finditer(data, start, end))
    numbers = [match[0][-1] & 7 for match in restarts]
    if len(restarts) + 1 != frame.intervals(scanned, restart) or numbers != [i % 8 for i in range(len(restarts))]:
        raise _damaged("restart markers are missing")
    ends = [start, *(place for match in restarts for place in match.span()), end]
    if len(frame.scans) == _MAX_SCANS:
        raise _damaged("it has too many scans")
    frame.scans.append(list(zip(ends[::2], ends[1::2], strict=True)))

    if data.find(_ZEROED, start, end) >= 0 and not _may_be_zero(frame.kind, first, last, bits, tables, first_symbols):
        raise _damaged("a part of its data is zeroed")


def _may_be_zero(kind: int, first: int, last: int, bits: int, tables: list[int], first_symbols: dict[int, int]) -> bool:
    """Whether hundreds of zero bytes can be data of a scan: where zero bits stand for a block like the one before."""
    if kind == _PROGRESSIVE and (first > 0 or bits >> 4):
        return first == 0  # single bits of DC; runs of empty blocks, though, have a code of their own
    symbols = [first_symbols.get(table >> 4) for table in tables]
    symbols += [first_symbols.get(0x10 | table & 15) for table in tables if last > 0]
    return not any(symbols)


class _Decoder:
    """Pillow's decoder of JPEG, fed by hand.

    Attributes:
        left: The bytes that it could not take yet.
        done: Whether all pixels are there.
    """

    def __init__(self, image: ImageFile.ImageFile, tile: ImageFile._Tile) -> None:
        image.load_prepare()
        _, extents, _, arguments = tile
        self.left, self.done = b"", False
        self._decoder = Image._getdecoder(image.mode, "jpeg", arguments, image.decoderconfig)
        self._decoder.setimage(image.im, extents)

    def feed(self, data: bytes) -> None:
        """Hand data over. Raises UnreadableImage where they cannot be decoded."""
        if self.done:
            return
        data = self.left + data
        taken, error = self._decoder.decode(data)
        if error < 0:
            raise _damaged("it cannot be decoded")
        self.done = taken < 0
        self.left = b"" if self.done else data[taken:]

    def wants_pixels(self, data: bytes) -> bool:
        """Hand nine or more bytes over, one by one; whether pixels were missing yet before the last few."""
        hungry = False
        for i in range(len(data)):
            self.feed(data[i : i + 1])
            hungry |= bool(self.left)
        return hungry

    def close(self) -> None:
        self._decoder.cleanup()


def _decode(decoder: _Decoder, data: bytes, frame: _Frame, filler: bytes) -> None:
    """Decode into the decoder's image; the filler, a byte, is handed over where data end.

    Raises UnreadableImage for damage.
    """
    probe = _LOOKAHEAD + 1
    at = 0
    try:
        for start, end in (interval for scan in frame.scans for interval in scan):
            if end - start < _PROBED and end != frame.scans[-1][-1][1]:
                continue
            if end - start > _SPARE + probe:
                decoder.feed(data[at : end - _SPARE - probe])
                if not decoder.wants_pixels(data[end - _SPARE - probe : end - _SPARE]):
                    raise _damaged("the data go on behind the last pixel")
                at = end - _SPARE
            decoder.feed(data[at:end] + filler * _LOOKAHEAD)
            if decoder.wants_pixels(filler * probe):
                raise _damaged("the data end early")
            at = end
        decoder.feed(_EOI)
        if not decoder.done:
            raise _damaged("the data end early")
    finally:
        decoder.close()


def _damaged(how: str) -> UnreadableImage:
    return UnreadableImage(f"the JPEG file is damaged: {how}")

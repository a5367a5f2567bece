"""JPEG, decoded so that damage is seen.

libjpeg only warns where the data of a scan end too early or too late, and Pillow drops its warnings: half of a file, or
one with a zeroed block, comes out with grey or garbled parts. So the data are handed over piece by piece, and the bytes
that libjpeg leaves tell what it waits for. It takes data for pixels eight bytes at a time and leaves what is less, but
reads at once whatever stands before a marker. Where a scan, or a restart interval of one, ends, it must have all of its
pixels after at most eight more bytes of anything, and must not have had them much sooner.

What this cannot see: damage after which a decoder finds back into step, to the very bit, and bits that are all allowed,
such as the last ones of a progressive file's coarsest coefficients.
"""

import re
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile

from ddncodec.errors import UnreadableImage
from ddncodec.images.raster import Raster

_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # not a stuffed byte, nor fill
_RESTARTS = range(0xD0, 0xD8)
_EOI = b"\xff\xd9"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a frame, which say what kind it is of
_PROGRESSIVE, _LOSSLESS = 0xC2, 0xC3
_ARITHMETIC = range(0xC9, 0xD0)
_HUFFMAN_TABLES, _START_OF_SCAN, _RESTART_INTERVAL = 0xC4, 0xDA, 0xDD
_COEFFICIENTS, _NOTHING = 64, 16  # of a block; a bit above all that are coded

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
    coded: list[int] = field(default_factory=lambda: [_NOTHING] * _COEFFICIENTS)


@dataclass
class _Scan:
    """What a scan codes, by its header, and the restart intervals that its data are in."""

    components: list[_Component]
    tables: list[int]  # of each component: that of DC in the upper four bits, that of AC in the lower
    first: int  # coefficient
    last: int
    bit: int  # the lowest that it codes
    refines: bool
    intervals: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class _Frame:
    """The first image of a file."""

    kind: int
    width: int
    height: int
    components: dict[int, _Component]
    scans: list[_Scan] = field(default_factory=list)

    def units(self, scan: _Scan) -> int:
        """How many units restart intervals count: blocks in a scan of one component, else MCUs."""
        sole = scan.components[0] if len(scan.components) == 1 else _Component(1, 1)
        most_across = max(component.across for component in self.components.values())
        most_down = max(component.down for component in self.components.values())
        side = 1 if self.kind == _LOSSLESS else 8
        across = -(-self.width * sole.across // (side * most_across))
        return across * -(-self.height * sole.down // (side * most_down))


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
            raise _damaged("they are of a larger image than there is room for")
        image.draft(None, (1, 1))
        _load(image)


def _load(image: ImageFile.ImageFile) -> None:
    """Decode the image. Raises UnreadableImage for damage."""
    assert image.fp is not None
    image.fp.seek(0)
    data = image.fp.read()
    scans = _scans(data)
    tile = image.tile.pop()
    _decode(_Decoder(image, tile), data, scans, b"\0")
    if data.find(_EOI, scans[-1].intervals[-1][1]) < 0:
        pixels = np.array(image)
        _decode(_Decoder(image, tile), data, scans, b"\xaa")
        if not np.array_equal(pixels, np.array(image)):
            raise _damaged("they end early")  # by so little that the filler completed them


def _scans(data: bytes) -> list[_Scan]:
    """The scans of the first image. Raises UnreadableImage if they do not make up a whole one."""
    frame: _Frame | None = None
    first_symbols: dict[int, int] = {}  # of each Huffman table: what zero bits mean
    restart = 0
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and not data.startswith(_EOI, at):
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker in (0x00, 0x01, 0xD8, 0xFF, *_RESTARTS):  # without a segment
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : end]
        at = end
        if marker in _FRAMES and frame is None and len(segment) >= 6:
            frame = _frame(marker, segment)
        elif marker == _HUFFMAN_TABLES:
            first_symbols |= _first_symbols(segment)
        elif marker == _RESTART_INTERVAL:
            restart = int.from_bytes(segment[:2], "big")
        elif marker == _START_OF_SCAN:
            if frame is None or len(frame.scans) == _MAX_SCANS:
                raise _damaged("scans are where none can be")
            scan = _scan(frame, segment)
            scan.intervals = _intervals(data, end, -(-frame.units(scan) // restart) if restart else 1)
            at = scan.intervals[-1][1]
            if data.find(_ZEROED, end, at) >= 0 and not _may_be_zero(frame.kind, scan, first_symbols):
                raise _damaged("a part of them is zeroed")
            frame.scans.append(scan)
    if frame is None or not frame.scans or any(bit for part in frame.components.values() for bit in part.coded):
        raise _damaged("scans are missing")
    return frame.scans


def _frame(kind: int, segment: bytes) -> _Frame:
    if kind in _ARITHMETIC:
        raise UnreadableImage("the JPEG data are coded arithmetically, which hides damage")
    components = {segment[i]: _Component(segment[i + 1] >> 4, segment[i + 1] & 15)
                  for i in range(6, len(segment) - 2, 3)}
    if not all(component.across and component.down for component in components.values()):
        raise _damaged("sampling factors are 0")
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    return _Frame(kind, width, height, components)


def _first_symbols(segment: bytes) -> dict[int, int]:
    """The symbol of each table (class and number in one byte) whose code is all zeros."""
    found = {}
    while len(segment) > 17:
        found[segment[0]] = segment[17]
        segment = segment[17 + sum(segment[1:17]) :]
    return found


def _scan(frame: _Frame, header: bytes) -> _Scan:
    """The scan of a header, whose components then count as coded that far."""
    count = header[0] if header else 0
    names, tables = header[1 : 1 + 2 * count : 2], header[2 : 2 + 2 * count : 2]
    if not 0 < count <= 4 or len(header) < 4 + 2 * count or not all(name in frame.components for name in names):
        raise _damaged("a scan is of components that are not there")
    first, last, bits = header[1 + 2 * count : 4 + 2 * count]
    if frame.kind != _PROGRESSIVE:
        first, last, bits = 0, _COEFFICIENTS - 1, 0
    scan = _Scan([frame.components[name] for name in names], list(tables), first, last, bits & 15, bits >> 4 > 0)
    for component in scan.components:
        if set(component.coded[first : last + 1]) - {bits >> 4 or _NOTHING}:
            raise _damaged("scans are missing")
        component.coded[first : last + 1] = [scan.bit] * (last + 1 - first)
    return scan


def _intervals(data: bytes, start: int, count: int) -> list[tuple[int, int]]:
    """The restart intervals of a scan: up to another marker, and between markers that count from 0 to 7 and again."""
    intervals = []
    for marker in _MARKER.finditer(data, start):
        intervals.append((start, marker.start()))
        if marker[0][1] not in _RESTARTS:
            break
        if marker[0][1] & 7 != (len(intervals) - 1) % 8:
            raise _damaged("restart markers are missing")
        start = marker.end()
    else:
        intervals.append((start, len(data)))
    if len(intervals) != count:
        raise _damaged("restart markers are missing")
    return intervals


def _may_be_zero(kind: int, scan: _Scan, first_symbols: dict[int, int]) -> bool:
    """Whether hundreds of zero bytes can be data of a scan: of blocks that are alike, as in flat areas and patterns."""
    if kind == _PROGRESSIVE and scan.refines:
        return scan.first == 0  # one bit for each block, but many for other coefficients
    dc = [first_symbols.get(table >> 4, 0) for table in scan.tables if scan.first == 0]
    ac = [first_symbols.get(0x10 | table & 15, 0) for table in scan.tables if scan.last > 0]
    if kind == _PROGRESSIVE and ac:
        # The last coefficient of each block, say; empty blocks are not written one by one.
        return ac[0] & 15 > 0 and ac[0] >> 4 == scan.last - scan.first
    return not any(dc + ac)  # no difference, and no coefficients


class _Decoder:
    """Pillow's decoder of JPEG, fed by hand.

    Attributes:
        left: The bytes that it could not take yet.
        done: Whether all pixels are there.
    """

    def __init__(self, image: ImageFile.ImageFile, tile: ImageFile._Tile) -> None:
        image.load_prepare()
        _, extents, _, arguments = tile
        self.left: bytes | memoryview = b""
        self.done = False
        self._decoder = Image._getdecoder(image.mode, "jpeg", arguments, image.decoderconfig)
        self._decoder.setimage(image.im, extents)

    def feed(self, data: bytes | memoryview) -> None:
        """Hand data over. Raises UnreadableImage where they cannot be decoded."""
        if self.done:
            return
        if self.left:
            data = bytes(self.left) + data
        taken, error = self._decoder.decode(data)
        if error < 0:
            raise _damaged("they cannot be decoded")
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


def _decode(decoder: _Decoder, data: bytes, scans: list[_Scan], filler: bytes) -> None:
    """Decode into the decoder's image; the filler, a byte, is handed over where data end.

    Raises UnreadableImage for damage.
    """
    probe = _LOOKAHEAD + 1
    intervals = [interval for scan in scans for interval in scan.intervals]
    at = 0
    try:
        for start, end in intervals:
            if end - start < _PROBED and end != intervals[-1][1]:
                continue
            if end - start > _SPARE + probe:
                decoder.feed(memoryview(data)[at : end - _SPARE - probe])
                at = end - _SPARE
                if not decoder.wants_pixels(data[at - probe : at]):
                    raise _damaged("they go on behind the last pixel")
            decoder.feed(data[at:end] + filler * _LOOKAHEAD)
            at = end
            if decoder.wants_pixels(filler * probe):
                raise _damaged("they end early")
        decoder.feed(_EOI)
        if not decoder.done:
            raise _damaged("they end early")
    finally:
        decoder.close()


def _damaged(how: str) -> UnreadableImage:
    return UnreadableImage(f"the JPEG data are damaged: {how}")

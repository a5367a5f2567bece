"""The conformance kit: streams, the pictures they decode to, and how far a decoder may be off. docs/conformance.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ddncodec import container, zoo
from ddncodec.container import Stream
from ddncodec.decoding import StreamDecoder
from ddncodec.errors import BadKit, DdnError
from ddncodec.files import open_input
from ddncodec.images import Pixels, read_picture
from ddncodec.weights import WeightsInfo, read_info

FORMAT = "ddncodec-conformance-1"
MANIFEST = "manifest.json"
MAX_MANIFEST = 2**22  # bytes
FORMS = ("file", "partial", "bare", "text")

T = TypeVar("T", "Weights", "Case")


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that streams of the kit were made with.

    Attributes:
        id: Hexadecimal, as streams name it.
        model: The shipped model's name, or that of the file.
        file: In the kit; empty for those that ship.
        k: K of its levels.
        levels: L.
        resolution: R, the side of its pictures in pixels.
        allowed: The largest deviation of a conforming decoder in any sample, in steps of 8 bits.
    """

    id: str
    model: str
    file: str
    k: int
    levels: int
    resolution: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Case:
    """A stream and what it decodes to.

    Attributes:
        stream: The file in the kit.
        form: One of `FORMS`: a .ddn file, one that broke off, a bare stream or its text.
        weights: The id of those that made it.
        levels: How many whole levels it holds.
        width: Of the picture, in pixels, as a reader tells it.
        height: As width.
        sheet: The PNG in the kit that has its picture at the weights' resolution, among others in a row.
        index: Of its picture in that row, from 0.
    """

    stream: str
    form: str
    weights: str
    levels: int
    width: int
    height: int
    sheet: str
    index: int


class Kit(NamedTuple):
    """A folder's manifest. weights: by id."""

    folder: Path
    weights: dict[str, Weights]
    cases: list[Case]


class Deviation(NamedTuple):
    """How a decoder did on all streams of some weights.

    streams: their number. largest: in steps of 8 bits. differing: the share of samples that are not the reference's.
    worst: the stream with the largest deviation.
    """

    weights: Weights
    streams: int
    largest: int
    differing: float
    worst: str

    @property
    def conforms(self) -> bool:
        """Whether the deviation is an allowed one."""
        return self.largest <= self.weights.allowed

    def facts(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"model": self.weights.model, "weights": self.weights.id, "streams": self.streams,
                "largest": self.largest, "allowed": self.weights.allowed, "differing": self.differing,
                "worst": self.worst}


def read_kit(folder: Path) -> Kit:
    """The kit in a folder. Raises InputMissing, BadKit."""
    path = folder / MANIFEST
    with open_input(path) as file:
        data = file.read(MAX_MANIFEST + 1)
    try:
        if len(data) > MAX_MANIFEST:
            raise ValueError("it is too long")
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        weights = {one.id: one for one in (_checked(Weights, entry) for entry in content["weights"])}
        cases = [_checked(Case, entry) for entry in content["cases"]]
        if unknown := {case.weights for case in cases} - weights.keys() or {case.form for case in cases} - {*FORMS}:
            raise ValueError(f"it does not say what {min(unknown)} is")
        names = {name for case in cases for name in (case.stream, case.sheet)} | {one.file for one in weights.values()}
        if outside := [name for name in names if not (folder / name).resolve().is_relative_to(folder.resolve())]:
            raise ValueError(f"{min(outside)} is not in the kit")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadKit(f"no manifest of a conformance kit: {error}", path) from None
    return Kit(folder, weights, cases)


def write_manifest(kit: Kit) -> None:
    """Write a kit's manifest, a line for each entry; `read_kit` reads it."""
    parts = [",\n".join(f"  {json.dumps(asdict(entry))}" for entry in entries)
             for entries in (kit.weights.values(), kit.cases)]
    (kit.folder / MANIFEST).write_text(
        f'{{"format": "{FORMAT}",\n "weights": [\n{parts[0]}\n ],\n "cases": [\n{parts[1]}\n ]}}\n', encoding="utf-8")


def _checked(kind: type[T], entry: Mapping[str, Any]) -> T:
    made = kind(**entry)
    for field in fields(kind):
        value = getattr(made, field.name)
        if type(value) is not {"str": str, "int": int}[str(field.type)] or (isinstance(value, int) and value < 0):
            raise ValueError(f"{field.name} cannot be {value!r}")
    return made


def info_of(kit: Kit, weights: Weights) -> WeightsInfo:
    """The weights that decode such streams here. Raises UnknownWeights, InputMissing, BadCheckpoint, BadKit."""
    if weights.file:
        return read_info(kit.folder / weights.file)
    try:
        return zoo.find_id(bytes.fromhex(weights.id))
    except ValueError:
        raise BadKit(f"{weights.id} is no id of weights", kit.folder / MANIFEST) from None


def read_case(kit: Kit, case: Case, info: WeightsInfo) -> Stream:
    """A stream of the kit. Raises InputMissing; DdnError, too where it does not hold what the manifest says."""
    path = kit.folder / case.stream
    with open_input(path) as file:
        data = file.read(container.MAX_FILE + 1)
    try:
        stream = (info.bare_stream(data) if case.form in ("bare", "text") else
                  container.partial_from_bytes(data).stream if case.form == "partial" else container.from_bytes(data))
    except DdnError as error:
        raise error.of(path) from None
    found, said = ((stream.latent.levels, stream.width, stream.height), (case.levels, case.width, case.height))
    if found != said:
        raise BadKit("it is read as {} levels of {}×{} pixels, not as {} of {}×{}".format(*found, *said), path)
    return stream


def read_sheets(kit: Kit) -> dict[str, Pixels]:
    """The pixels of all sheets, by name. Raises InputMissing, UnreadableImage."""
    sheets = {}
    for name in {case.sheet for case in kit.cases}:
        with open_input(kit.folder / name) as file:
            try:
                sheets[name] = read_picture(file).pixels
            except DdnError as error:
                raise error.of(kit.folder / name) from None
    return sheets


def deviations(kit: Kit, decoder_of: Callable[[WeightsInfo], StreamDecoder | None], batch: int | None = None
               ) -> Iterator[Deviation]:
    """Decode all streams of a kit.

    Args:
        kit: As read.
        decoder_of: A decoder of weights; None: those are left out.
        batch: How many streams are decoded at once; None: all of the same weights.

    Yields:
        A result for each weights.

    Raises:
        DdnError: A file of the kit cannot be read, is not what the manifest says, or its weights are not here.
    """
    sheets = read_sheets(kit)
    for weights in kit.weights.values():
        info = info_of(kit, weights)
        cases = [case for case in kit.cases if case.weights == weights.id]
        if not cases or (decoder := decoder_of(info)) is None:
            continue
        streams = [read_case(kit, case, info) for case in cases]
        size = batch or len(streams)
        decoded = [pixels for start in range(0, len(streams), size)
                   for pixels in decoder.decode_streams(streams[start : start + size])]
        references = [_reference(sheets[case.sheet], case.index, info.config.resolution, kit) for case in cases]
        off = np.abs(np.stack(decoded).astype(int) - np.stack(references))
        largest = off.max((1, 2, 3))
        yield Deviation(weights, len(cases), int(largest.max()), float((off > 0).mean()),
                        cases[int(largest.argmax())].stream)


def _reference(sheet: Pixels, index: int, side: int, kit: Kit) -> Pixels:
    pixels = sheet[:, index * side : (index + 1) * side]
    if pixels.shape[:2] != (side, side):
        raise BadKit("a sheet has not the pictures that the manifest speaks of", kit.folder / MANIFEST)
    return pixels

"""A column of images in Arrow tables <-> a column of payloads; docs/columns.md says what is in them.

A coder of columns is its arguments and nothing else: it is called wherever tables, pandas' or Spark's frames are.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ddncodec import zoo
from ddncodec.container import Stream
from ddncodec.encoding import Encoded, Request
from ddncodec.errors import BadTable, DdnError, PayloadLength, UnknownWeights, UnreadableImage
from ddncodec.images import format_of
from ddncodec.latent import Latent, cut_payload, payload_bytes
from ddncodec.sizes import longest
from ddncodec.weights import WeightsInfo
from ddncodec.workers import Decoder, Encoder, Image

if TYPE_CHECKING:
    from pandas import DataFrame

PAYLOAD = "_ddn"  # what is added to the name of a column of images
WIDTH, HEIGHT, ERROR = "_width", "_height", "_error"  # and to that of the new one
METADATA = "ddncodec:"  # and the column's name: the key of what the schema says of a column

Errors = dict[int, DdnError]  # by row


class ColumnCoder(ABC):
    """What turns a column of a table into columns behind all others.

    column: the name of the one that is read. drop: leave out what is read.
    """

    column: str
    drop: bool

    @property
    @abstractmethod
    def target(self) -> str:
        """The new column's name."""

    @abstractmethod
    def schema(self, schema: pa.Schema) -> pa.Schema:
        """What tables of a schema become.

        Raises:
            BadTable: There is no such column, it is of another type, or a new one's name is taken.
            UnknownWeights: There is no such model.
            ValueError: The model has not so many levels.
        """

    @abstractmethod
    def values(self, table: pa.Table) -> tuple[list[Sequence[Any]], Errors]:
        """The values of the new columns but the last, which is why a row is null, and these reasons."""

    def convert(self, table: pa.Table) -> tuple[pa.Table, Errors]:
        """The table with its new columns, and by the numbers of rows why they are null; null stays null for no reason.

        Raises:
            DdnError: As `schema`; BadCheckpoint where the weights file is damaged.
            ValueError: As `schema`; the effort is out of range; there is no such device.
        """
        schema = self.schema(table.schema)
        columns, errors = self.values(table)
        columns.append([str(errors[row]) if row in errors else None for row in range(table.num_rows)])
        kept = [table[name] for name in schema.names[: -len(columns)]]
        fields = list(schema)[-len(columns) :]
        new = [pa.array(values, field.type) for values, field in zip(columns, fields, strict=True)]
        return pa.Table.from_arrays(kept + new, schema=schema), errors

    def __call__(self, table: pa.Table) -> pa.Table:
        """As `convert`, without the errors, whose text is in the table."""
        return self.convert(table)[0]

    def in_pandas(self, frames: Iterable[DataFrame]) -> Iterator[DataFrame]:
        """The same for pandas' frames: the function that Spark's `mapInPandas` takes."""
        for frame in frames:
            yield self(pa.Table.from_pandas(frame, preserve_index=False)).to_pandas()

    def _schema(self, schema: pa.Schema, usable: Callable[[pa.DataType], bool], wanted: str, left: Sequence[str],
                new: Sequence[pa.Field]) -> pa.Schema:
        """A schema with new fields, if its column is usable: a wanted one. left: the columns that are left out."""
        if schema.names.count(self.column) != 1:
            raise BadTable(f"it has no column {self.column}" if self.column not in schema.names else
                           f"it has several columns {self.column}")
        kind = schema.field(self.column).type
        if not (usable(kind) or pa.types.is_null(kind)):
            raise BadTable(f"its column {self.column} holds {kind}, not {wanted}")
        kept = [field for field in schema if field.name not in left]
        metadata = {key: value for key, value in (schema.metadata or {}).items()
                    if key not in [(METADATA + name).encode() for name in left]}
        names = [field.name for field in kept]
        for field in new:
            if field.name in names:
                raise BadTable(f"it has a column {field.name} already")
        return pa.schema([*kept, *new], metadata)


@dataclass(frozen=True, slots=True)
class ColumnEncoder(ColumnCoder):
    """A column of images to a column of payloads, `image` to `image_ddn`, with the images' sizes.

    Args:
        column: Of binary values, each a PNG, JPEG or any other image file that is read; of structs with such `bytes`,
            as Hugging Face's; or of tensors, H×W×3, H×W or H×W×4, uint8.
        model: A name, or the path of a weights file.
        levels: How many to encode, 1 to L, and as many more as their last byte has room for; None: all.
        effort: How hard to search; None: the model's default.
        device: auto, cpu, cuda or cuda:n.
        drop: Leave the images out.

    Examples:
        >>> import pathlib, pyarrow as pa
        >>> from ddncodec.columns import ColumnDecoder, ColumnEncoder
        >>> table = pa.table({"image": [pathlib.Path("examples/face.png").read_bytes(), b"none", None]})
        >>> encoded = ColumnEncoder("image", "binddn", levels=576)(table)
        >>> encoded.schema.field("image_ddn").type, encoded["image_ddn"].null_count
        (FixedSizeBinaryType(fixed_size_binary[72]), 2)
        >>> ColumnDecoder("image_ddn")(encoded)["image_png"].null_count
        2
    """

    column: str = "image"
    model: str = zoo.DEFAULT
    levels: int | None = None
    effort: int | None = None
    device: str = "auto"
    drop: bool = False

    @property
    def target(self) -> str:
        return self.column + PAYLOAD

    def schema(self, schema: pa.Schema) -> pa.Schema:
        info = zoo.find(self.model)
        levels = self._levels(info)
        k, name = info.config.k, self.target
        grown = self._schema(schema, _holds_images, "images: binary, structs with bytes, or tensors",
                             [self.column] if self.drop else [],
                             [pa.field(name, pa.binary(payload_bytes(k, levels))), pa.field(name + WIDTH, pa.uint16()),
                              pa.field(name + HEIGHT, pa.uint16()), pa.field(name + ERROR, pa.string())])
        facts = {"model": info.name, "weights": info.id.hex(), "k": k, "levels": levels}
        return grown.with_metadata({**grown.metadata, METADATA + name: json.dumps(facts)})

    def values(self, table: pa.Table) -> tuple[list[Sequence[Any]], Errors]:
        images: dict[int, Image] = {}
        errors: Errors = {}
        for row, scalar in enumerate(table[self.column]):
            image = _image(scalar)
            if isinstance(image, DdnError):
                errors[row] = image
            elif image is not None:
                images[row] = image
        request = Request(self._levels(zoo.find(self.model)), self.effort)
        found: dict[int, Encoded] = {}
        encoded = Encoder(self.model, request, self.device).encode(list(images.values()))
        for row, result in zip(images, encoded, strict=True):
            if isinstance(result, DdnError):
                errors[row] = result
            else:
                found[row] = result
        streams = [found[row].stream if row in found else None for row in range(table.num_rows)]
        return [[stream and stream.latent.pack() for stream in streams],
                [stream and stream.width for stream in streams],
                [stream and stream.height for stream in streams]], errors

    def _levels(self, info: WeightsInfo) -> int:
        most = info.config.levels
        if self.levels is not None and not 1 <= self.levels <= most:
            raise ValueError(f"levels must be 1 to {most}, not {self.levels}")
        size = payload_bytes(info.config.k, self.levels or most)
        return longest(lambda count: payload_bytes(info.config.k, count), most, size)


@dataclass(frozen=True, slots=True)
class ColumnDecoder(ColumnCoder):
    """A column of payloads to a column of image files, `image_ddn` to `image_png`; the inverse of `ColumnEncoder`.

    Images have the originals' sizes, where the columns of these are there, else the model's resolution.

    Args:
        column: Of payloads, whole, or cut to their first bytes where K is a power of two.
        model: A name, or the path of a weights file; None: the shipped weights that the table's schema names.
        levels: How many levels to decode, where there are more, 1 or more; None: all.
        device: auto, cpu, cuda or cuda:n.
        drop: Leave the payloads out, the images' sizes and errors too.
        suffix: Of the files that the images are, and of the new column's name: png, webp, jpg and the like.
    """

    column: str = "image" + PAYLOAD
    model: str | None = None
    levels: int | None = None
    device: str = "auto"
    drop: bool = False
    suffix: str = "png"

    @property
    def target(self) -> str:
        return f"{self.column.removesuffix(PAYLOAD)}_{self.suffix}"

    def schema(self, schema: pa.Schema) -> pa.Schema:
        self._weights(schema)
        left = [self.column + end for end in ("", WIDTH, HEIGHT, ERROR)] if self.drop else []
        return self._schema(schema, _holds_bytes, "payloads: binary", left,
                            [pa.field(self.target, pa.binary()), pa.field(self.target + ERROR, pa.string())])

    def values(self, table: pa.Table) -> tuple[list[Sequence[Any]], Errors]:
        info = self._weights(table.schema)
        sizes = [table[self.column + end].to_pylist() if self.column + end in table.schema.names else
                 [info.config.resolution] * table.num_rows for end in (WIDTH, HEIGHT)]
        streams: dict[int, Stream] = {}
        errors: Errors = {}
        for row, (payload, width, height) in enumerate(zip(table[self.column].to_pylist(), *sizes, strict=True)):
            if payload is not None:
                try:
                    streams[row] = Stream(_latent(payload, info), int(width or 0), int(height or 0), info.id)
                except DdnError as error:
                    errors[row] = error
        images: list[bytes | None] = [None] * table.num_rows
        kind = format_of(Path(f"image.{self.suffix}"))
        decoder = Decoder(str(info.path), self.levels, device=self.device, kind=kind)
        for row, image in zip(streams, decoder.decode(list(streams.values())), strict=True):
            if isinstance(image, DdnError):
                errors[row] = image
            else:
                images[row] = image
        return [images], errors

    def _weights(self, schema: pa.Schema) -> WeightsInfo:
        """The weights of the payloads."""
        text = (schema.metadata or {}).get((METADATA + self.column).encode())
        if text is None:
            if self.model is None:
                raise UnknownWeights(f"nothing in it says which weights its column {self.column} was made with: "
                                     f"a model must be given")
            return zoo.find(self.model)
        weights_id = _weights_id(text)
        info = zoo.find_id(weights_id) if self.model is None else zoo.find(self.model)
        if weights_id not in info.ids:
            raise UnknownWeights(f"its column {self.column} was made with the weights {weights_id.hex()}, "
                                 f"not with {info.name}, {info.id.hex()}")
        return info


def _weights_id(text: bytes) -> bytes:
    """The weights in what a schema says of a column."""
    try:
        weights_id = bytes.fromhex(json.loads(text)["weights"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadTable("what its schema says of the column is not of ddncodec") from None
    return weights_id


def _latent(payload: bytes, info: WeightsInfo) -> Latent:
    """The latent of a payload, which has as many levels as have room in it: it may have been cut to fewer bytes."""
    k, most = info.config.k, info.config.levels
    if not 1 <= len(payload) <= payload_bytes(k, most):
        raise PayloadLength(f"the payload has {len(payload):,} bytes; those of {info.name} have 1 to "
                            f"{payload_bytes(k, most):,}")
    levels = longest(lambda count: payload_bytes(k, count), most, len(payload))
    return Latent.unpack(cut_payload(payload, k, levels, levels) if k & (k - 1) == 0 else payload, k, levels)


def _holds_bytes(kind: pa.DataType) -> bool:
    return any(check(kind) for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary,
                                         pa.types.is_binary_view))


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_images(kind.value_type)
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return _holds_bytes(kind) or isinstance(kind, pa.BaseExtensionType)


def _image(scalar: pa.Scalar) -> Image | DdnError | None:
    """The image of a row: the bytes of a file, or pixels; None for null."""
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        data: bytes | None = scalar["bytes"].as_py()
        return UnreadableImage("it has a path, not an image's bytes") if data is None else data
    image: Image = scalar.to_numpy() if isinstance(scalar, pa.ExtensionScalar) else scalar.as_py()
    return image

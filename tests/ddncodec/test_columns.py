"""Columns of images in Arrow tables and pandas' frames, and in Parquet files: payloads, and images again."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddncodec import load_model
from ddncodec.errors import BadTable, DdnError, InputMissing, UnknownWeights
from ddncodec.latent import payload_bytes
from ddncodec.weights import read_info

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from PIL import Image  # noqa: E402

from ddncodec import parquet  # noqa: E402
from ddncodec.columns import ColumnDecoder, ColumnEncoder  # noqa: E402

K2 = str(Path(__file__).parents[1] / "golden" / "k2-planes.safetensors")
K8 = str(Path(__file__).parents[1] / "golden" / "k8-principal.safetensors")
K3 = str(Path(__file__).parents[1] / "golden" / "k3-conv.safetensors")
ENCODER = ColumnEncoder(model=K2, effort=1)
DECODER = ColumnDecoder(model=K2)
PIXELS = np.random.default_rng(0).integers(256, size=(3, 20, 28, 3), dtype=np.uint8)


def png(pixels: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PNGS = [png(pixels) for pixels in PIXELS]


def pixels_of(column: Any) -> list[Any]:
    return [None if data is None else np.asarray(Image.open(BytesIO(data))) for data in column.to_pylist()]


def test_payloads_are_those_of_the_library_and_other_columns_stay() -> None:
    table = pa.table({"id": [7, 8, 9], "image": PNGS, "text": ["a", None, "c"]}, metadata={"mine": "kept"})
    encoded = ENCODER(table)
    codec = load_model(K2, "cpu")
    assert encoded["image_ddn"].to_pylist() == [latent.pack() for latent in codec.encode_batch(list(PIXELS), effort=1)]
    assert encoded["image_ddn_width"].to_pylist() == [28] * 3
    assert encoded["image_ddn_height"].to_pylist() == [20] * 3
    assert encoded.select(table.column_names).equals(table)
    assert encoded.schema.field("image_ddn").type == pa.binary(12)
    assert encoded.schema.metadata[b"mine"] == b"kept"
    assert json.loads(encoded.schema.metadata[b"ddncodec:image_ddn"]) == {
        "model": "k2-planes", "weights": codec.info.id.hex(), "k": 2, "levels": 96}


def test_payloads_come_back_at_the_originals_sizes() -> None:
    encoded = ENCODER(pa.table({"image": PNGS}))
    codec = load_model(K2, "cpu")
    latents = codec.encode_batch(list(PIXELS), effort=1)
    for levels in (None, 30):
        decoded = replace(DECODER, levels=levels)(encoded)
        streams = [codec.to_stream(picture, latent) for picture, latent in zip(_pictures(), latents, strict=True)]
        expected = [picture.pixels for picture in codec.to_pictures(streams, levels)]
        assert all((one == other).all() for one, other in zip(pixels_of(decoded["image_png"]), expected, strict=True))


def _pictures() -> list[Any]:
    from ddncodec.images import Picture

    return [Picture(pixels) for pixels in PIXELS]


def tensors() -> Any:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS)


@pytest.mark.parametrize("column", [
    pa.array(PNGS, pa.large_binary()), pa.array(PNGS, pa.binary_view()), pa.array(PNGS).dictionary_encode(),
    pa.array([{"bytes": data, "path": None} for data in PNGS]), tensors(),
    pa.chunked_array([PNGS[:1], PNGS[1:]]),
], ids=["large", "view", "dictionary", "struct", "tensor", "chunks"])
def test_whatever_holds_the_images_gives_the_same_payloads(column: Any) -> None:
    assert ENCODER(pa.table({"image": column}))["image_ddn"].equals(ENCODER(pa.table({"image": PNGS}))["image_ddn"])


def test_a_bad_row_is_null_with_its_reason_and_null_is_null_without() -> None:
    rows = [{"bytes": PNGS[0], "path": "a"}, {"bytes": b"none", "path": "b"}, None, {"bytes": None, "path": "c"}]
    encoded, errors = ENCODER.convert(pa.table({"image": rows}))
    assert list(errors) == [3, 1]
    assert [data is None for data in encoded["image_ddn"].to_pylist()] == [False, True, True, True]
    assert encoded["image_ddn_width"].to_pylist() == [28, None, None, None]
    assert encoded["image_ddn_error"].to_pylist() == [
        None, "not an image, or not of a kind that can be read", None, "it has a path, not an image's bytes"]
    broken = encoded.set_column(2, "image_ddn_width", pa.array([0, None, None, None], pa.uint16()))
    decoded, errors = DECODER.convert(broken)
    assert list(errors) == [0]
    assert "0 x 20" in decoded["image_png_error"].to_pylist()[0]


def test_images_come_back_in_other_formats_too() -> None:
    encoded = ENCODER(pa.table({"image": PNGS}))
    webp = replace(DECODER, suffix="webp")(encoded)["image_webp"]
    assert webp[0].as_py()[8:12] == b"WEBP"
    assert all((one == other).all() for one, other in
               zip(pixels_of(webp), pixels_of(DECODER(encoded)["image_png"]), strict=True))


@pytest.mark.parametrize("rows", [[], [None, None]])
def test_tables_without_an_image_have_the_same_types(rows: list[None]) -> None:
    encoded = ENCODER(pa.table({"image": pa.array(rows, pa.null())}))
    assert encoded.schema.field("image_ddn").type == pa.binary(12)
    assert DECODER(encoded)["image_png"].to_pylist() == rows


def test_what_is_read_can_be_left_out() -> None:
    encoded = replace(ENCODER, drop=True)(pa.table({"image": PNGS, "id": [1, 2, 3]}))
    assert encoded.column_names == ["id", "image_ddn", "image_ddn_width", "image_ddn_height", "image_ddn_error"]
    decoded = replace(DECODER, drop=True)(encoded)
    assert decoded.column_names == ["id", "image_png", "image_png_error"]
    assert not decoded.schema.metadata


def test_a_payload_that_was_cut_to_its_first_bytes_is_a_coarser_image() -> None:
    encoded = ENCODER(pa.table({"image": PNGS}))
    cut = pa.table({"image_ddn": [data[:3] for data in encoded["image_ddn"].to_pylist()],
                    **{name: encoded[name] for name in ("image_ddn_width", "image_ddn_height")}})
    coarse = replace(DECODER, levels=24)(encoded)["image_png"]
    assert DECODER(cut)["image_png"].equals(coarse)
    assert DECODER(cut.replace_schema_metadata(encoded.schema.metadata))["image_png"].equals(coarse)


@pytest.mark.parametrize(("model", "levels", "size", "filled"), [(K2, 21, 3, 24), (K8, 4, 2, 5), (K3, 7, 2, 10)],
                         ids=["2", "8", "3"])
def test_levels_fill_their_last_byte_so_that_payloads_say_how_many_there_are(model: str, levels: int, size: int,
                                                                             filled: int) -> None:
    encoded = ColumnEncoder(model=model, levels=levels)(pa.table({"image": PNGS}))
    assert encoded.schema.field("image_ddn").type == pa.binary(size)
    assert json.loads(encoded.schema.metadata[b"ddncodec:image_ddn"])["levels"] == filled
    codec = load_model(model, "cpu")
    assert encoded["image_ddn"].to_pylist() == [latent.pack() for latent in codec.encode_batch(list(PIXELS), filled)]
    decoded = ColumnDecoder(model=model)(encoded.replace_schema_metadata(None))
    assert decoded.equals(ColumnDecoder(model=model)(encoded))
    assert decoded["image_png"].null_count == 0


def test_without_sizes_images_have_the_models_resolution() -> None:
    encoded = ENCODER(pa.table({"image": PNGS}))
    side = read_info(Path(K2)).config.resolution
    decoded = DECODER(encoded.select(["image_ddn"]))
    assert {image.shape for image in pixels_of(decoded["image_png"])} == {(side, side, 3)}


@pytest.mark.parametrize("payload", [b"", b"x" * 13, b"\xff" * payload_bytes(3, 30)])
def test_payloads_that_cannot_be_are_errors_of_their_rows(payload: bytes) -> None:
    info = read_info(Path(K3))
    good = bytes(payload_bytes(3, info.config.levels))
    decoded, errors = ColumnDecoder(model=K3).convert(pa.table({"image_ddn": [payload, good]}))
    assert list(errors) == [0]
    assert decoded["image_png"].null_count == 1


@pytest.mark.parametrize(("table", "kind", "words"), [
    ({"picture": PNGS}, BadTable, "no column image"),
    ({"image": [1, 2]}, BadTable, "holds int64, not images"),
    ({"image": [{"path": "a"}]}, BadTable, "not images"),
    ({"image": PNGS, "image_ddn_width": [1, 2, 3]}, BadTable, "image_ddn_width already"),
])
def test_tables_that_cannot_be_encoded_are_refused(table: dict[str, Any], kind: type[DdnError], words: str) -> None:
    with pytest.raises(kind, match=words):
        ENCODER(pa.table(table))


@pytest.mark.parametrize(("metadata", "decoder", "kind", "words"), [
    (None, ColumnDecoder(), UnknownWeights, "a model must be given"),
    ('{"weights": "00000000"}', DECODER, UnknownWeights, "with the weights 00000000"),
    ('{"weights": "00000000"}', ColumnDecoder(), UnknownWeights, "not among the models"),
    ('{"weights": "none"}', DECODER, BadTable, "not of ddncodec"),
    ('{"weights": 3}', DECODER, BadTable, "not of ddncodec"),
    ("[" * 100_000, DECODER, BadTable, "not of ddncodec"),
    (None, replace(DECODER, column="id"), BadTable, "holds int64, not payloads"),
])
def test_tables_that_cannot_be_decoded_are_refused(metadata: str | None, decoder: ColumnDecoder, kind: type[DdnError],
                                                   words: str) -> None:
    table = pa.table({"image_ddn": [bytes(12)], "id": [1]},
                     metadata=None if metadata is None else {"ddncodec:image_ddn": metadata})
    with pytest.raises(kind, match=words):
        decoder(table)


def test_frames_of_pandas_are_converted_as_tables_are() -> None:
    pd = pytest.importorskip("pandas")
    frames = [pd.DataFrame({"id": [1, 2], "image": [PNGS[0], b"none"]}), pd.DataFrame({"id": [3], "image": [PNGS[1]]})]
    encoded = list(ENCODER.in_pandas(iter(frames)))
    expected = ENCODER(pa.table({"image": PNGS[:2]}))["image_ddn"].to_pylist()
    assert [list(frame["image_ddn"]) for frame in encoded] == [[expected[0], None], [expected[1]]]
    decoded = list(DECODER.in_pandas(encoded))
    assert [list(frame["image_png"].isna()) for frame in decoded] == [[False, True], [False]]


def written(path: Path, table: Any, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def convert(source: Path, target: Path, **options: Any) -> tuple[parquet.Rows, dict[int, DdnError]]:
    errors: dict[int, DdnError] = {}
    with target.open("wb") as file:
        return parquet.convert(source, file, ENCODER, errors.__setitem__, **options), errors


def test_a_parquet_files_row_groups_stay_and_its_rows_are_those_of_its_table(tmp_path: Path) -> None:
    rows = [PNGS[0], b"none", None, *PNGS] * 30
    table = pa.table({"id": range(180), "image": rows})
    source = written(tmp_path / "a.parquet", table, row_group_size=100)
    steps: list[int] = []
    counts, errors = convert(source, tmp_path / "b.parquet", advance=steps.append)
    assert counts == (180, 60, 30)
    assert list(errors) == list(range(1, 180, 6))
    assert steps == [64, 36, 64, 16]
    result = pq.ParquetFile(tmp_path / "b.parquet")
    assert [result.metadata.row_group(group).num_rows for group in range(2)] == [100, 80]
    assert result.read().equals(ENCODER(table))
    assert result.schema_arrow.equals(ENCODER.schema(table.schema), check_metadata=True)
    assert result.schema.column(2).physical_type == "FIXED_LEN_BYTE_ARRAY"


def test_a_row_group_beyond_the_limit_becomes_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_GROUP", 1000)
    table = pa.table({"image": PNGS * 50})
    convert(written(tmp_path / "a.parquet", table), tmp_path / "b.parquet")
    result = pq.ParquetFile(tmp_path / "b.parquet")
    assert result.metadata.num_row_groups == 3
    assert result.read().equals(ENCODER(table))


def test_an_empty_parquet_file_stays_one(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([], pa.binary())})
    assert convert(written(tmp_path / "a.parquet", table), tmp_path / "b.parquet")[0] == (0, 0, 0)
    assert pq.read_table(tmp_path / "b.parquet").equals(ENCODER(table))


@pytest.mark.parametrize("at", [10, 100, -20, -4])
def test_a_damaged_parquet_file_is_refused_or_read(at: int, tmp_path: Path) -> None:
    source = written(tmp_path / "a.parquet", pa.table({"image": PNGS}), compression="zstd")
    data = bytearray(source.read_bytes())
    data[at:at + 8 if at > 0 else None] = b"\xff" * len(data[at:at + 8 if at > 0 else None])
    source.write_bytes(data)
    try:
        convert(source, tmp_path / "b.parquet")
    except BadTable as error:
        assert "\n" not in str(error)


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadTable, match="cannot be read as Parquet"):
        convert(tmp_path / "a.parquet", tmp_path / "b.parquet")
    with pytest.raises(InputMissing):
        convert(tmp_path / "none.parquet", tmp_path / "b.parquet")

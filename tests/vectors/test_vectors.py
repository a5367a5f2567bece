"""The vectors that readers are held to: this package's and the one written from the document pass them."""

import json
from base64 import b64decode
from typing import Any

import pytest
from format_reader import Refused, read, read_bare
from vectors import FITTED, STREAMS, vector

from ddncodec import errors

STREAM_VECTORS = json.loads(STREAMS.read_text(encoding="utf-8"))


def test_the_vectors_say_what_the_reader_does() -> None:
    assert len(STREAM_VECTORS) > 300
    for told in STREAM_VECTORS:
        described = {key: told[key] for key in ("name", "form", "k", "resolution") if key in told}
        assert vector(described, b64decode(told["data"])) == told


@pytest.mark.parametrize("form", ["file", "bare"])
def test_a_reader_written_from_the_document_alone_says_the_same(form: str) -> None:
    for told in STREAM_VECTORS:
        data = b64decode(told["data"])
        if told["form"] == form and (form == "file" or data[:1] >= b"\x80"):
            assert (told["name"], said(told, data)) == (told["name"], expected(told))


def said(told: dict[str, Any], data: bytes) -> object:
    try:
        if told["form"] == "bare":
            return read_bare(data, told["k"])[1]
        file = read(data)
        return file.indices, file.width, file.height, file.weights_id.hex(), file.comment
    except Refused as refused:
        return refused.code


def expected(told: dict[str, Any]) -> object:
    if "error" in told:
        return getattr(errors, told["error"]).exit_code
    held = told["stream"]
    return held["picks"] if told["form"] == "bare" else tuple(
        held[key] for key in ("picks", "width", "height", "weights", "comment"))


def test_resampled_pictures_are_this_pillow_s() -> None:
    from vectors import fitted

    assert list(fitted()) == json.loads(FITTED.read_text(encoding="utf-8"))

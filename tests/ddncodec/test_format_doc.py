"""docs/format.md against the code: its examples, limits and table of errors."""

import re
import struct
from pathlib import Path

import pytest

from ddncodec import bare, container, errors, latent
from ddncodec.archive import format as archives
from ddncodec.archive.format import Header, pack_block
from ddncodec.container import Stream, from_bytes, to_bytes
from ddncodec.latent import Latent

DOC = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
EXAMPLES = [
    bytes.fromhex(block) for block in re.findall(r"(?:^    (?:[0-9A-F]{2}\s+)+)+$", DOC, re.M)
]
ID = bytes.fromhex("0badcafe")
BINARY = Latent((1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0), 2)
DECIMAL = Latent((7, 0, 4), 10)


def test_the_examples_are_what_the_code_makes() -> None:
    binary, decimal, plain, commented, bare_binary, bare_decimal, archived = EXAMPLES
    assert binary == BINARY.pack()
    assert decimal == DECIMAL.pack()
    assert plain == to_bytes(Stream(BINARY, 64, 48, ID))
    for bare_example, picks, size in ((bare_binary, BINARY, (64, 48)), (bare_decimal, DECIMAL, (300, 200))):
        assert bare_example == bare.to_bytes(Stream(picks, *size, ID))
        assert f"three bytes, or `{bare.to_text(bare_example)}`" in DOC
    header = Header(ID, 2, 12)
    assert archived == header.pack() + pack_block(
        header, 0, [BINARY.pack(), BINARY.pack()], [(64, 48), (67, 48)], [b"", b""])
    assert f"a block, {len(archived)} bytes" in DOC
    # Read only, as another release of zstd may write the frame otherwise.
    assert from_bytes(commented) == Stream(DECIMAL, 300, 200, ID, comment="hi")
    assert f"above; {len(plain)} bytes" in DOC
    assert f'"hi"; {len(commented)} bytes' in DOC


@pytest.mark.parametrize(("name", "layout"), {
    "header": archives.HEADER, "block": archives.BLOCK, "index": archives.INDEX, "entry": archives.ENTRY,
    "end": archives.END,
}.items())
def test_the_parts_of_an_archive_have_the_listed_fields(name: str, layout: struct.Struct) -> None:
    table = re.search(rf"<!-- archive: {name} -->\n(.*?)<!-- /archive -->", DOC, re.S)
    assert table
    rows = re.findall(r"^\| ([\w ]+) \| (\d+) \|(.*)\|$", table[1], re.M)
    sizes = [int(size) for field, size, _ in rows if field != "CRC32"]
    widths = [struct.calcsize(f"<{code}") for code in re.findall(r"\d*[a-zA-Z]", layout.format)]
    assert sizes == widths
    magics = {"header": archives.MAGIC, "block": archives.BLOCK_MAGIC, "index": archives.INDEX_MAGIC,
              "end": archives.END_MAGIC}
    assert [content.strip().startswith(f"`{magics[name].hex(' ').upper()}`")
            for field, _, content in rows if field == "magic"] == [True] * (name != "entry")
    assert (rows[-1][0] == "CRC32") == (name != "entry")


def test_the_limits_of_archives_are_the_code_s() -> None:
    for name, limit in {
        "records of a block": f"1 to {archives.MAX_RECORDS:,}",
        "blocks of an index": f"1 to {archives.MAX_BLOCKS:,}",
        "block, index": f"at most {archives.MAX_PART:,} bytes (2^27)",
        "content of a zstd frame": f"at most {archives.MAX_CONTENT:,} bytes (2^26)",
        "name": f"at most {archives.MAX_NAME:,} bytes",
        "records of an archive": f"at most {archives.MAX_NUMBER:,} (2^48)",
    }.items():
        assert f"| {name} | {limit} |" in DOC


def test_every_error_is_listed_with_its_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", DOC, re.M)
    listed = {name: int(code) for code, name in rows}
    assert set(rows) == {(str(code), name) for name, code in listed.items()}  # in bare streams' table too
    kinds = [errors.DdnError, *errors.DdnError.__subclasses__()]
    assert listed == {kind.__name__: kind.exit_code for kind in kinds}


def test_exit_codes_are_unique_and_leave_2_to_the_command_line() -> None:
    codes = [kind.exit_code for kind in errors.DdnError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert min(codes) > 2
    assert max(codes) < 126


def test_the_limits_are_the_code_s() -> None:
    for name, limit in {
        "width, height": f"1 to {container.MAX_SIDE:,}",
        "width·height": f"at most {container.MAX_PIXELS:,} (2^26)",
        "levels": f"1 to {latent.MAX_LEVELS:,}",
        "K": f"2 to {latent.MAX_K:,}",
        "metadata length": f"at most {container.MAX_METADATA:,} (1 MiB)",
        "metadata content": f"at most {container.MAX_METADATA_CONTENT:,} (4 MiB)",
    }.items():
        assert f"| {name} | {limit} |" in DOC


def test_the_header_is_what_the_layout_says() -> None:
    assert container.MAGIC.hex(" ").upper() == "DD 4E"
    assert container.VERSION == 1
    assert "# The .ddn file, version 1" in DOC

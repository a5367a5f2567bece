"""WebDataset shards: images become .ddn files in their places, and .ddn files images; all else stays."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from ddncodec import shards
from ddncodec.errors import DdnError, InputMissing, OutputExists, UnreadableImage

Member = tuple[str, bytes | None]  # None: a folder


def tar(path: Path, members: Sequence[Member], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.mtime, header.mode, header.uname = 1_000_000_000, 0o640, "somebody"
            header.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            header.size = len(data or b"")
            archive.addfile(header, io.BytesIO(data or b""))
    return path


def members(path: Path) -> list[Member]:
    with tarfile.open(path) as archive:
        return [(header.name, file.read() if (file := archive.extractfile(header)) else None) for header in archive]


def takes(name: str) -> bool:
    return name.endswith((".png", ".jpg"))


def reversed_files(files: Sequence[bytes]) -> list[bytes | DdnError]:
    """In the place of an encoder: all can be seen in what it makes."""
    return [UnreadableImage("it is bad") if file == b"bad" else file[::-1] for file in files]


def convert(source: Path, target: Path) -> tuple[shards.Counts, dict[str, DdnError]]:
    errors: dict[str, DdnError] = {}
    with target.open("xb") as file:
        return shards.convert(source, file, takes, ".ddn", reversed_files, errors.__setitem__), errors


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_files_are_converted_in_their_places_and_the_others_stay(suffix: str, tmp_path: Path) -> None:
    source = tar(tmp_path / f"a{suffix}", [("x", None), ("./x/1.png", b"abc"), ("./x/1.cls", b"3"),
                                           ("x/2.json", b"{}"), ("x/2.left.png", b""), ("x/2.right.jpg", b"de")],
                 "w:" + {".tar": "", ".tgz": "gz"}.get(suffix, suffix.rpartition(".")[2]))
    counts, errors = convert(source, tmp_path / f"b{suffix}")
    assert (counts, errors) == ((3, 0), {})
    assert members(tmp_path / f"b{suffix}") == [
        ("x", None), ("./x/1.ddn", b"cba"), ("./x/1.cls", b"3"),
        ("x/2.json", b"{}"), ("x/2.left.ddn", b""), ("x/2.right.ddn", b"ed")]
    assert (tmp_path / f"b{suffix}").read_bytes()[:2] == source.read_bytes()[:2]  # compressed alike


def test_times_owners_and_long_names_stay(tmp_path: Path) -> None:
    long = "ä" * 60 + "/" + "n" * 150
    source = tar(tmp_path / "a.tar", [(f"{long}.png", b"abc"), (f"{long}.txt", b"t")])
    convert(source, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as archive:
        for header, suffix in zip(archive, ("ddn", "txt"), strict=True):
            assert header.name == f"{long}.{suffix}"
            assert (header.mtime, header.mode, header.uname) == (1_000_000_000, 0o640, "somebody")


def test_what_cannot_be_converted_is_told_and_left_out(tmp_path: Path) -> None:
    source = tar(tmp_path / "a.tar", [("1.png", b"bad"), ("1.cls", b"3"), ("2.png", b"ab"), ("2.jpg", b"cd"),
                                      ("3.png", b"ef"), ("d.png", None)])
    counts, errors = convert(source, tmp_path / "b.tar")
    assert counts == (5, 3)
    assert {name: type(error) for name, error in errors.items()} == {
        "1.png": UnreadableImage, "2.jpg": OutputExists, "d.png": UnreadableImage}
    assert members(tmp_path / "b.tar") == [("1.cls", b"3"), ("2.ddn", b"ba"), ("3.ddn", b"fe")]


def test_many_and_large_members_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_BATCH", 200)
    monkeypatch.setattr(shards, "MAX_MEMBER", 300)
    given = [(f"{number:03}.{kind}", bytes([number]) * number) for number in range(200) for kind in ("cls", "png")]
    source = tar(tmp_path / "a.tar", [*given, ("9.txt", b"x" * 10_000), ("9.png", b"x" * 301)])
    counts, errors = convert(source, tmp_path / "b.tar")
    assert counts == (201, 1)
    assert "more than 300 bytes" in str(errors["9.png"])
    assert members(tmp_path / "b.tar") == [*((name.replace(".png", ".ddn"), data) for name, data in given),
                                           ("9.txt", b"x" * 10_000)]


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar", [("1.png", b"x" * 3000), ("2.png", b"y")]).read_bytes()
    for name, data in (("cut.tar", whole[:2000]), ("none.tar", b"x" * 2000), ("short.tar.gz", b"\x1f\x8b\x08")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableImage, match="the archive is damaged"):
            convert(tmp_path / name, tmp_path / f"of-{name}")
    with pytest.raises(InputMissing):
        convert(tmp_path / "nowhere.tar", tmp_path / "of-nowhere.tar")


def test_a_sparse_file_which_may_be_of_any_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        header = tarfile.TarInfo("1.bin")
        header.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000000000000"}
        header.size = 1
        archive.addfile(header, io.BytesIO(b"x"))
    with pytest.raises(UnreadableImage, match="sparse"):
        convert(path, tmp_path / "b.tar")

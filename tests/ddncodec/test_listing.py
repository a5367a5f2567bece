"""A folder's files: links followed without loops, each once, and whatever cannot be taken told or counted."""

import os
from pathlib import Path

import pytest
from PIL import Image

from ddncodec.images import reading
from ddncodec.listing import APPLE_DOUBLE, OTHER, REPEATED, Listing, list_files


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def listed(folder: Path) -> Listing:
    return list_files(folder, lambda name: name.endswith(".png"))


def names(found: Listing, folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in found.files]


def test_files_are_in_the_order_of_their_names_parts_and_others_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a/z.png", "a.png", "a/b/c.png", "notes.txt", "a/._z.png", "__MACOSX/._b.png", "._x")
    found = listed(tmp_path)
    assert names(found, tmp_path) == ["a/b/c.png", "a/z.png", "a.png", "b.png"]
    assert found.files == sorted(file for file in tmp_path.rglob("*.png") if not file.name.startswith("._"))
    assert found.skipped == {OTHER: 1, APPLE_DOUBLE: 3}
    assert not found.unreadable


def test_links_are_followed_without_loops_and_a_folder_is_listed_once(tmp_path: Path) -> None:
    make(tmp_path, "here/z/a.png", "there/b.png", "there/deep/c.png")
    (tmp_path / "here/a-link-to-z").symlink_to("z")
    (tmp_path / "here/loop").symlink_to(".")
    (tmp_path / "here/z/up").symlink_to("../..")
    (tmp_path / "here/there").symlink_to(tmp_path / "there")
    (tmp_path / "here/file.png").symlink_to("z/a.png")
    found = listed(tmp_path / "here")
    assert names(found, tmp_path / "here") == ["file.png", "there/b.png", "there/deep/c.png", "z/a.png"]
    assert found.skipped[REPEATED] > 0
    assert not found.unreadable


def test_a_farm_of_links_takes_no_time_that_grows_with_its_paths(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}").mkdir()
        for link in "ab":  # 2^30 paths lead to the last folder
            (tmp_path / f"{number}" / link).symlink_to(f"../{number + 1}")
    make(tmp_path, "30/x.png")
    assert len(listed(tmp_path / "0").files) == 1


def test_links_to_nothing_and_special_files_are_told(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    os.mkfifo(tmp_path / "fifo.png")
    os.mkfifo(tmp_path / "fifo")
    found = listed(tmp_path)
    assert names(found, tmp_path) == ["a.png"]
    assert {(error.name, error.reason) for error in found.unreadable} == {
        (tmp_path / "gone", "cannot be read: No such file or directory"),
        (tmp_path / "self.png", "cannot be read: Too many levels of symbolic links"),
        (tmp_path / "fifo.png", "is not a regular file")}
    assert found.skipped == {OTHER: 1}


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.png", "locked/b.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read any
    found = listed(tmp_path)
    assert names(found, tmp_path) == ["a.png"]
    assert [str(error) for error in found.unreadable] == [f"{tmp_path}/locked: cannot be listed: Permission denied"]


def test_every_suffix_that_pillow_has_for_a_format_that_is_read_is_listed() -> None:
    formats = reading._KNOWN | {"MPO"}
    known = {suffix for suffix, format in Image.registered_extensions().items() if format in formats}
    assert known - {".pfm"} <= reading.READ_SUFFIXES  # .pfm holds floats, which have no look

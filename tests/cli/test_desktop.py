"""What desktops are told in share/: which files are ours, and how to draw their thumbnails."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from ddncodec import container, pillow
from ddncodec.container import Stream
from ddncodec.latent import Latent
from ddncodec.zoo import find

SHARE = Path(__file__).parents[2] / "share"
TYPES = SHARE / "mime/packages/ddncodec.xml"


def data(width: int, height: int) -> bytes:
    return container.to_bytes(Stream(Latent((0, 1, 1), 2), width, height, find("placeholder").id))


@pytest.fixture
def mime_type(tmp_path: Path) -> Callable[[Path], str]:
    """The type that xdg-mime says a file has, once ours are installed for a user whose home this folder is."""
    if not all(map(shutil.which, ("xdg-mime", "update-mime-database", "mimetype"))):
        pytest.skip("no xdg-mime, or what it asks")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}

    def run(*arguments: object) -> str:
        done = subprocess.run(["xdg-mime", *map(str, arguments)], env=environment, capture_output=True, text=True,
                              check=True)
        assert done.stderr == ""
        return done.stdout.strip()

    run("install", "--novendor", "--mode", "user", TYPES)
    return lambda path: run("query", "filetype", path)


def test_xdg_mime_knows_files_by_name_and_by_content(mime_type: Callable[[Path], str], tmp_path: Path) -> None:
    for name, content, ours in (("a.ddn", b"", True), ("none", data(8, 8), True), ("other", b"\xdd\x4e other", False)):
        (tmp_path / name).write_bytes(content)
        assert (mime_type(tmp_path / name) == pillow.MIME_TYPE) == ours


def test_the_type_is_declared_by_what_files_begin_with() -> None:
    space = "{http://www.freedesktop.org/standards/shared-mime-info}"
    (declared,) = ElementTree.parse(TYPES).getroot()
    assert declared.attrib == {"type": pillow.MIME_TYPE}
    match = declared.find(f"{space}magic/{space}match")
    assert match is not None
    assert match.attrib["value"].encode().decode("unicode_escape").encode("latin-1") == data(8, 8)[:3]


def test_the_thumbnailers_command_draws_a_png_of_the_size_asked_for(run_many: Callable[..., Any], tmp_path: Path
                                                                   ) -> None:
    entry = configparser.ConfigParser(interpolation=None)
    entry.read(SHARE / "thumbnailers/ddncodec.thumbnailer")
    section = entry["Thumbnailer Entry"]
    assert section["MimeType"] == f"{pillow.MIME_TYPE};"
    assert section["TryExec"] == "ddncodec"
    lines = []
    for name, width, height in (("wide photo", 4_000, 1_000), ("small", 20, 30)):
        (tmp_path / name).write_bytes(data(width, height))
        (tmp_path / f"{name}.XYZ").touch()  # desktops may make the output's file first, under any name
        words = {"%s": "128", "%i": name, "%o": f"{name}.XYZ", "%%": "%"}
        lines.append([words.get(word, word) for word in shlex.split(section["Exec"])])
    assert all(line[0] == "ddncodec" for line in lines)
    assert run_many(*(line[1:] for line in lines)) == [(0, b"", "")] * 2
    for name, size in (("wide photo", (128, 32)), ("small", (20, 30))):
        with Image.open(tmp_path / f"{name}.XYZ") as image:
            assert (image.format, image.size) == ("PNG", size)


def test_a_format_and_a_size_may_be_asked_for_of_many_files(run_many: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.ddn").write_bytes(data(300, 200))
    shown, refused = run_many(["decode", "a.ddn", "b.ddn", "--format", "webp", "--max-side", 32],
                              ["decode", "a.ddn", "--format", "gif"])
    assert shown == (0, b"", "")
    for name in ("a", "b"):
        with Image.open(tmp_path / f"{name}.webp") as image:
            assert (image.format, image.size) == ("WEBP", (32, 21))
    assert refused.code == 2
    assert "known: png" in refused.err

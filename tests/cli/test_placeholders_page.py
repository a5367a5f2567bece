"""docs/placeholders-on-a-page.md: its commands and its Python do as they stand there what it says."""

from __future__ import annotations

import re
import shlex
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., Any]
DOC = (Path(__file__).parents[2] / "docs/placeholders-on-a-page.md").read_text(encoding="utf-8")
SIZES = {"a.jpg": (120, 80), "b.jpg": (64, 64)}


def test_the_commands_and_the_python_make_a_page(
    run_many: Run, draw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for name, size in SIZES.items():
        draw(*size).save(tmp_path / "photos" / name, quality=90)
    encode, cut = (shlex.split(line) for line in re.findall(r"^    ddncodec (.*)$", DOC, re.MULTILINE))
    at, (redirection, target) = encode.index("photos/*.jpg"), encode[-2:]
    assert redirection == ">"  # which is the shell's, as the pattern is
    encoded, = run_many([*encode[:at], *(f"photos/{name}" for name in SIZES)])
    assert encoded.code == 0
    (tmp_path / target).write_bytes(encoded.out)
    lines = encoded.out.decode().split()
    assert [len(line) for line in lines] == [32] * len(SIZES)
    (tmp_path / "first.ddnb").write_bytes(b64decode(lines[0], b"-_"))
    shorter, = run_many(cut)
    assert shorter.code == 0
    assert (tmp_path / "shorter.ddnb").stat().st_size == 16
    example = re.search(r"```python\n(.*?)```", DOC, re.DOTALL)
    assert example is not None
    monkeypatch.chdir(tmp_path)
    exec(example[1], {})
    page = (tmp_path / "page.html").read_text()
    shown = re.findall(r'<img src="photos/(.)\.jpg" width="(\d+)" height="(\d+)".*?base64,([\w+/=]+)\)', page)
    assert [(f"{name}.jpg", (int(width), int(height))) for name, width, height, _ in shown] == list(SIZES.items())
    for _, width, height, data in shown:
        with Image.open(BytesIO(b64decode(data))) as placeholder:
            # Whole pixels, 32 on the longer side.
            assert placeholder.width / placeholder.height == pytest.approx(int(width) / int(height), rel=0.05)

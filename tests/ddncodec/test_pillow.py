"""Pillow's Image.open and save on .ddn files."""

from __future__ import annotations

import io
import pickle
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import ddncodec
from ddncodec import container, pillow, zoo
from ddncodec.container import Stream
from ddncodec.exported import exported
from ddncodec.latent import Latent

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
INFO = zoo.find("placeholder")
PICKS = np.random.default_rng(0).integers(2, size=INFO.config.levels).tolist()
STREAM = Stream(Latent(tuple(PICKS), 2), 90, 120, INFO.id, comment="a b")
DATA = container.to_bytes(STREAM)


def opened(data: bytes) -> pillow.DdnImageFile:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, pillow.DdnImageFile)
    return image


def pixels(image: Image.Image) -> npt.NDArray[np.int64]:
    return np.asarray(image).astype(int)


def reference(stream: Stream, levels: int | None = None) -> npt.NDArray[np.int64]:
    decoder = exported(INFO)
    assert decoder is not None
    return decoder.to_pictures([stream], levels)[0].pixels.astype(int)


def test_opening_says_all_that_the_file_does_and_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "_decoder", lambda *of: pytest.fail("decoded"))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = opened(container.to_bytes(replace(STREAM, icc=profile)))
    assert (image.format, image.mode, image.size) == ("DDN", "RGB", (90, 120))
    assert image.get_format_mimetype() == "image/x-ddn"
    assert image.info == {"weights": INFO.id.hex(), "model": "placeholder", "levels": INFO.config.levels,
                          "icc_profile": profile, "comment": "a b"}
    image.verify()
    assert "icc_profile" not in opened(DATA).info


def test_loading_gives_the_decoders_picture_by_path_or_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ddn"
    path.write_bytes(DATA)
    with Image.open(path) as image:
        assert (pixels(image) == reference(STREAM)).all()
        assert (np.asarray(image.crop((0, 0, 9, 9))) == np.asarray(image)[:9, :9]).all()
        image.putpixel((0, 0), (1, 2, 3))
        assert image.getpixel((0, 0)) == (1, 2, 3)
        assert np.array_equal(pickle.loads(pickle.dumps(image)), image)
    assert (pixels(opened(DATA)) == reference(STREAM)).all()


def test_a_draft_is_smaller_coarser_or_both() -> None:
    image = opened(DATA)
    assert image.draft(None, (30, 1)) == ("RGB", (0, 0, 30, 40))
    assert image.size == (30, 40)
    assert (pixels(image) == reference(replace(STREAM, width=30, height=40))).all()
    assert image.draft(None, (3, 4)) is None  # it is loaded
    coarse = opened(DATA)
    coarse.draft(None, None, levels=40)
    assert (pixels(coarse) == reference(STREAM, 40)).all()
    whole = opened(DATA)
    whole.draft("L", (1_000, 1_000), levels=10_000)
    assert (pixels(whole) == reference(STREAM)).all()
    for wrong in ({"size": (0, 3)}, {"size": None, "levels": 0}):
        with pytest.raises(ValueError, match="above 0"):
            opened(DATA).draft(None, **wrong)  # type: ignore[arg-type]


def test_a_draft_may_have_another_look() -> None:
    info = zoo.find("binddn")
    stream = Stream(Latent(tuple(np.random.default_rng(0).integers(2, size=info.config.levels).tolist()), 2), 64, 64,
                    info.id)
    drawn = {}
    for look in ("faithful", "natural"):
        image = opened(container.to_bytes(stream))
        image.draft(None, None, look=look)
        decoder = exported(info, look=look)
        assert decoder is not None
        drawn[look] = pixels(image)
        assert (drawn[look] == decoder.to_pictures([stream])[0].pixels).all()
    assert np.abs(drawn["natural"] - drawn["faithful"]).max() > 3
    image = opened(DATA)
    image.draft(None, None, look="natural")
    with pytest.raises(OSError, match="no look 'natural'"):
        image.load()


def test_saving_takes_a_codec_for_a_model_as_the_library_does() -> None:
    codec, face = ddncodec.load_model("placeholder", "cpu"), Image.open(ROOT / "examples/face.png")
    file = io.BytesIO()
    face.save(file, "DDN", model=codec)
    assert file.getvalue() == ddncodec.encode(face, codec)


def test_a_thumbnail_of_a_huge_original_draws_no_more_than_it_needs() -> None:
    image = opened(container.to_bytes(replace(STREAM, width=8_000, height=6_000)))
    image.thumbnail((64, 64))
    assert image.size == (64, 48)
    assert np.abs(pixels(image) - reference(replace(STREAM, width=64, height=48))).mean() < 3


@pytest.fixture
def face() -> Image.Image:
    return Image.open(ROOT / "examples/face.png")


def test_saving_writes_what_the_library_encodes(face: Image.Image, tmp_path: Path) -> None:
    for options in ({}, {"levels": 40}, {"max_bytes": 30}, {"effort": 1}, {"psnr": 10.0}):
        face.save(tmp_path / "a.ddn", model="placeholder", **options)
        assert (tmp_path / "a.ddn").read_bytes() == ddncodec.encode(face, "placeholder", **options)  # type: ignore[arg-type]
    file = io.BytesIO()
    face.convert("RGBA").save(file, "DDN", model=GOLDEN / "k2-refined.safetensors", comment="hi")
    stream = container.from_bytes(file.getvalue())
    assert (stream.comment, stream.width) == ("hi", 64)


def test_an_image_of_ours_is_saved_over_itself(tmp_path: Path) -> None:
    (tmp_path / "a.ddn").write_bytes(DATA)
    with Image.open(tmp_path / "a.ddn") as image:
        image.save(tmp_path / "a.ddn", model="placeholder", max_bytes=30)
    assert len((tmp_path / "a.ddn").read_bytes()) <= 30


def test_a_profile_is_kept_if_asked_and_else_the_colours_go_to_srgb(face: Image.Image) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    face.info["icc_profile"] = profile
    for keep in (True, False):
        file = io.BytesIO()
        face.save(file, "DDN", model="placeholder", keep_icc=keep)
        assert opened(file.getvalue()).info.get("icc_profile") == (profile if keep else None)


@pytest.mark.parametrize(("options", "kind"), [
    ({"model": "none"}, OSError), ({"max_bytes": 3}, OSError), ({"levels": 0}, ValueError), ({"psnr": -1}, ValueError),
])
def test_what_cannot_be_saved_is_refused_and_leaves_no_file(options: dict[str, object], kind: type[Exception],
                                                           face: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(kind):
        face.save(tmp_path / "a.ddn", **{"model": "placeholder", **options})
    assert not any(tmp_path.iterdir())


def test_a_file_that_broke_off_is_drawn_only_where_pillow_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = DATA[:-10]
    found = container.partial_from_bytes(broken).stream
    image = opened(broken)
    assert (image.size, image.info["levels"]) == ((90, 120), found.latent.levels)
    for refused in (image.load, image.verify):
        with pytest.raises(OSError, match="truncated"):
            refused()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert (pixels(image) == reference(found)).all()


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize(("data", "said"), [
    (DATA[:12], "ends after"),
    (DATA[:-1] + bytes([DATA[-1] ^ 1]), "damaged"),
    (DATA + b"0", "goes on"),
    (sealed(DATA[:2] + b"\2" + DATA[3:-4]), "version 2"),
    (sealed(DATA[:8] + b"\xff\xff\3\xff\xff\3" + DATA[10:-4]), "limits"),
])
def test_damaged_and_hostile_files_are_refused_on_opening_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(UnidentifiedImageError, match=said):
        opened(data)


def test_files_of_other_kinds_are_left_to_others() -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"\xdd\x4d nothing of ours"))
    with pytest.raises(UnidentifiedImageError):
        Image.open(ROOT / "examples/face.png", formats=["DDN"])


def test_files_of_own_weights_load_once_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "_own", {})
    data = (GOLDEN / "k2-refined.ddn").read_bytes()
    image = opened(data)
    assert image.info["model"] is None
    with pytest.raises(OSError, match="not among the models here"):
        image.load()
    pillow.use(GOLDEN / "k2-refined.safetensors")
    assert opened(data).info["model"] == "k2-refined"
    with Image.open(GOLDEN / "k2-refined.png") as picture:
        assert np.abs(pixels(image) - pixels(picture)).max() <= 1


def test_the_documents_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs/tools.md").read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "face.png").write_bytes((ROOT / "examples/face.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(example[1], {})
    assert len((tmp_path / "face.ddn").read_bytes()) <= 100
    with Image.open("small.png") as image:
        assert image.size == (32, 32)


def test_a_file_is_shown_without_torch(tmp_path: Path) -> None:
    (tmp_path / "a.ddn").write_bytes(DATA)
    code = """if True:
        import sys
        sys.modules["torch"] = None
        import ddncodec.pillow
        from PIL import Image
        Image.open("a.ddn").save("a.png")
    """
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "a.png") as image:
        assert (pixels(image) == reference(STREAM)).all()

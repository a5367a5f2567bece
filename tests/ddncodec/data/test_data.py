"""Training images from a folder, archives, shards and arrays: the same images, whatever holds them."""

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddncodec.data import Packed, pack
from ddncodec.data.pictures import pictures
from ddncodec.errors import BadCheckpoint, DataMissing, DdnError, ImageSize, InputMissing, UnreadableImage
from ddncodec.images import Pixels, fit
from ddncodec.pixels import to_tensor

BROKEN = b"no picture"


def draw(grey: bool = False) -> Pixels:
    """(24, 10, 12, 3), or (24, 10, 12) grey."""
    images = np.random.default_rng(0).integers(0, 256, (24, 10, 12, 3), np.uint8)
    return images[..., 0] if grey else images


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def files(images: Pixels) -> dict[str, bytes]:
    return {f"sub/{i:02}.png": png(image) for i, image in enumerate(images)} | {
        "sub/broken.png": BROKEN, "a.txt": b"x", "__MACOSX/sub/._00.png": b"of another system"}


def folder(path: Path, images: Pixels) -> str:
    for name, data in files(images).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


def zipped(path: Path, images: Pixels) -> str:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, data in files(images).items():
            archive.writestr(name, data)
    return str(path.with_suffix(".zip"))


def tarred(path: Path, images: Pixels, suffix: str = ".tar.gz") -> str:
    target = path.with_name(path.name + suffix)
    with tarfile.open(target, "w:gz" if suffix.endswith("gz") else "w") as archive:
        for name, data in files(images).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(target)


def tars(path: Path, images: Pixels) -> str:
    """A folder of them."""
    path.mkdir()
    for number, part in enumerate((images[:10], images[10:])):
        tarred(path / f"{number}", part, ".tar")
    return str(path)


def shards(path: Path, images: Pixels) -> str:
    pytest.importorskip("webdataset")
    return tars(path, images) + "/{0..1}.tar"


@pytest.mark.parametrize("make", [zipped, tarred, tars, shards])
def test_an_archive_holds_what_the_folder_did_and_what_is_broken_is_counted(
    make: Callable[[Path, Pixels], str], tmp_path: Path
) -> None:
    expected = Packed(pack(folder(tmp_path / "folder", draw()), 8, tmp_path / "x"), seed=1)
    found = Packed(pack(make(tmp_path / "data", draw()), 8, tmp_path / "x"), seed=1)
    assert torch.equal(found.images(range(50)), expected.images(range(50)))
    assert torch.equal(found.validation(9), expected.validation(9))
    assert expected.skipped == 1
    assert found.skipped == (2 if make in (tars, shards) else 1)  # each tar has a broken one


def test_every_process_of_a_job_can_read_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = shards(tmp_path / "data", draw())
    alone = [entry.name for entry in pictures(pattern)]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [entry.name for entry in pictures(pattern)] == alone


def test_shards_without_the_library_are_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddncodec.data.pictures.find_spec", lambda name: None)
    with pytest.raises(DataMissing, match="pip install webdataset"):
        list(pictures("x-{0..1}.tar"))


@pytest.mark.parametrize("make", [zipped, tarred, tars, shards])
def test_a_member_beyond_the_cap_is_skipped_unread(
    make: Callable[[Path, Pixels], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddncodec.data.pictures.MAX_MEMBER", 100)
    found = list(pictures(make(tmp_path / "data", draw())))
    large = [entry for entry in found if "more than 100 bytes" in str(entry.content)]
    assert len(large) == 24


def cifar(path: Path, images: Pixels) -> str:
    np.savez(path, labels=np.arange(24), images=images.transpose(0, 3, 1, 2))
    return f"{path}.npz"


def mnist(path: Path, images: Pixels) -> str:
    data = struct.pack(">HBBIII", 0, 8, 3, *images.shape) + images.tobytes()
    with gzip.open(f"{path}-idx3-ubyte.gz", "wb") as file:
        file.write(data)
    return f"{path}-idx3-ubyte.gz"


@pytest.mark.parametrize(("make", "grey"), [(cifar, False), (mnist, True)])
def test_arrays_hold_what_a_folder_would(
    make: Callable[[Path, Pixels], str], grey: bool, tmp_path: Path
) -> None:
    found = list(pictures(make(tmp_path / "data", draw(grey))))
    expected = [image for image in draw(grey)]
    assert len(found) == len(expected)
    for entry, image in zip(found, expected, strict=True):
        assert isinstance(entry.content, np.ndarray)
        assert np.array_equal(entry.content, image if image.ndim == 3 else np.stack([image] * 3, 2))


def labelled(path: Path, labels: bytes, declared: int | None = None) -> str:
    """An IDX file of grey pictures, and one of so many labels beside it."""
    data = mnist(path / "t-images", draw(grey=True))
    header = struct.pack(">HBBI", 0, 8, 1, len(labels) if declared is None else declared)
    (path / "t-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels))
    return data


def test_classes_come_from_the_labels_beside_an_idx_file_and_follow_the_images(tmp_path: Path) -> None:
    count = len(draw(grey=True))
    data = labelled(tmp_path, bytes(range(count)))
    assert [entry.label for entry in pictures(data)] == list(range(count))
    packed = Packed(pack(data, 8, tmp_path), seed=1)
    every = {image.sum().item(): number for number, image in enumerate(
        to_tensor(np.stack([fit(entry.content, 8) for entry in pictures(data)])))}  # type: ignore[arg-type]
    for images, labels in ((packed.images(range(3, 30)), packed.labels(range(3, 30))),
                           (packed.validation(9), packed.validation_labels(9))):
        assert labels is not None
        assert labels.tolist() == [every[image.sum().item()] for image in images]


def test_a_pack_is_made_again_when_labels_come_to_lie_beside_its_images(tmp_path: Path) -> None:
    plain = pack(mnist(tmp_path / "t-images", draw(grey=True)), 8, tmp_path)
    assert Packed(plain, 0).labels(range(2)) is None
    images = tmp_path / "t-images-idx3-ubyte.gz"
    before = images.stat()
    header = struct.pack(">HBBI", 0, 8, 1, 24)
    (tmp_path / "t-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + bytes(24)))
    assert images.stat().st_mtime_ns == before.st_mtime_ns  # the images are what they were
    told = pack(str(images), 8, tmp_path)
    assert told != plain
    assert Packed(told, 0).labels(range(2)) is not None


@pytest.mark.parametrize(("labels", "declared"), [(b"ab", None), (bytes(24), 23), (b"", None)])
def test_labels_that_are_not_of_the_images_are_refused(labels: bytes, declared: int | None, tmp_path: Path) -> None:
    with pytest.raises(DataMissing):
        list(pictures(labelled(tmp_path, labels, declared)))


def test_folders_in_a_folder_are_classes_unless_pictures_lie_beside_them(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/1.png", "a/deep/2.png", "a/x.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(png(draw()[0]))
    labels = [(Path(entry.name).name, entry.label) for entry in pictures(str(tmp_path / "data"))]
    assert labels == [("1.png", 0), ("2.png", 0), ("x.png", 0), ("1.png", 1)]
    assert {entry.label for entry in pictures(str(tmp_path / "data/a"))} == {None}
    assert Packed(pack(str(tmp_path / "data/a"), 8, tmp_path), 0).labels(range(2)) is None


def test_cifars_own_rows_are_pictures(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "x.npz", data=images.transpose(0, 3, 1, 2).reshape(5, 3072))
    assert all(np.array_equal(entry.content, image)  # type: ignore[arg-type]
               for entry, image in zip(pictures(str(tmp_path / "x.npz")), images, strict=True))


def test_positions_and_the_seed_alone_decide_the_order(tmp_path: Path) -> None:
    file = pack(folder(tmp_path / "data", draw()), 8, tmp_path)
    source = Packed(file, seed=3)
    whole = source.images(range(60))
    assert torch.equal(torch.cat([source.images(range(7)), Packed(file, seed=3).images(range(7, 60))]), whole)
    assert not torch.equal(Packed(file, seed=4).images(range(60)), whole)
    passes = torch.split(whole[:44], 22)  # two of 24 are kept for validation
    first, second = (sorted(image.sum().item() for image in part) for part in passes)
    assert first == second
    assert not torch.equal(*passes)


def test_a_pack_is_made_once_and_again_when_the_data_changes(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", draw())
    told: list[int] = []
    first = pack(data, 8, tmp_path / "x", told.append)
    assert told == list(range(1, 25))
    assert pack(data, 8, tmp_path / "x", told.append) == first
    assert len(told) == 24
    assert pack(data, 4, tmp_path / "x") != first
    (tmp_path / "data/new.png").write_bytes(png(draw()[0]))
    second = pack(data, 8, tmp_path / "x")
    assert second != first
    assert len(np.load(second)) == 25
    assert not list(tmp_path.rglob("*.tmp"))


def npz_of(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.array([{}, []], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize(("name", "data"), [
    ("lies.npz", npz_of(x=npy((10**6, 10**6, 3)))), ("short.npz", npz_of(x=npy((2, 8, 8), b"x"))),
    ("objects.npz", objects()), ("none.npz", npz_of()), ("text.npz", b"text"),
    ("cut.npz", npz_of(x=npy((2, 8, 8)))[:50]),
    ("lies-idx3-ubyte", struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 2**31)), ("cut-idx3-ubyte", b"\0\0\x08"),
    ("labels-idx1-ubyte", struct.pack(">HBBI", 0, 8, 1, 2) + b"ab"),
    ("floats-idx3-ubyte", struct.pack(">HBB", 0, 13, 3)),
    ("x-idx3-ubyte.gz", b"no gzip"), ("x.txt", b"text"),
    ("x-idx3-ubyte.gz", gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2, 8, 8) + bytes(2**20))),  # a bomb
    ("cut-idx3-ubyte.gz", gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2, 8, 8) + bytes(128))[:-9]),
    ("empty-idx3-ubyte", struct.pack(">HBBIII", 0, 8, 3, 2**31, 0, 0)),
    ("empty.npz", npz_of(x=npy((2**31, 0, 0, 3)))), ("huge.npz", npz_of(x=npy((1, 2**20, 2**20)))),
    *((f"header{number}.npz", npz_of(x=b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text))
      for number, text in enumerate([
          b"{'a': (((", b"{'descr': (), 'fortran_order': False, 'shape': (2,8,8)}",
          b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1,-8,8)}", b" " * 20_000, b"(" * 9_000])),
], ids=lambda part: part if isinstance(part, str) else "")  # archives hold the time, by which processes would differ
def test_an_array_file_that_lies_is_refused(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataMissing) as refusal:
        list(pictures(str(tmp_path / name)))
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_members_of_an_npz_that_are_no_pictures_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz_of(notes=b"text", x=npy((2, 8, 8), bytes(128)), labels=npy((2,), b"ab")))
    assert len(list(pictures(str(tmp_path / "x.npz")))) == 2


def test_pictures_of_an_array_that_are_too_small_are_skipped_as_files_are(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz_of(x=npy((3, 4, 4), bytes(48))))
    assert all(isinstance(entry.content, ImageSize) for entry in pictures(str(tmp_path / "x.npz")))


@pytest.mark.parametrize("make", [zipped, tarred, cifar, mnist])
def test_no_flipped_bit_raises_what_is_not_told(make: Callable[[Path, Pixels], str], tmp_path: Path) -> None:
    path = Path(make(tmp_path / "x", draw(make is mnist)))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        # Where directories and headers are, as well as anywhere.
        span = [(0, len(whole)), (0, 200), (max(0, len(whole) - 2_000), len(whole))][random.integers(3)]
        damaged[random.integers(span[0], min(span[1], len(whole)))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with suppress(DataMissing):
            for entry in pictures(str(path)):
                assert "\n" not in entry.name + (str(entry.content) if isinstance(entry.content, DdnError) else "")


def test_a_zip_member_that_lies_about_its_size_is_skipped(tmp_path: Path) -> None:
    path = Path(zipped(tmp_path / "x", draw()))
    data = bytearray(path.read_bytes())
    entry = data.find(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(data)
    found = list(pictures(str(path)))
    assert len(found) == 25
    assert sum(isinstance(entry.content, DdnError) for entry in found) == 2  # and the broken one


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_a_damaged_archive_is_an_entry_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    whole = Path((zipped if name == "x.zip" else lambda *rest: tarred(*rest, suffix=".tar"))(tmp_path / "x", draw()))
    whole.write_bytes(whole.read_bytes()[: 10 * 1024 + 612])  # of a tar: within a picture
    found = list(pictures(str(whole)))
    assert isinstance(found[-1].content, DdnError)
    assert all(isinstance(entry.content, np.ndarray) for entry in found[:-1])


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    for data in ("x", "x.zip", "x.npz", "x" * 300, "x\0"):
        with pytest.raises(InputMissing):
            pack(str(tmp_path / data), 8, tmp_path)
    (tmp_path / "few").mkdir()
    (tmp_path / "few/a.png").write_bytes(png(draw()[0]))
    with pytest.raises(DataMissing, match="few"):
        pack(str(tmp_path / "few"), 8, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_file_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    file = pack(folder(tmp_path / "data", draw()), 8, tmp_path)
    for data in (b"", b"text", npy((5, 8, 8), bytes(320)), npy((10**9, 8, 8, 3))):
        file.write_bytes(data)
        with pytest.raises(BadCheckpoint):
            Packed(file, 0)


def tar_header(kind: bytes, size: int, name: str = "x.png") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, max(size, 0)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        header[124:136] = size.to_bytes(12, "big", signed=True)
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    return bytes(header)


def pax(records: bytes, size: int) -> bytes:
    data = b"%d %s\n" % (len(records) + 1 + len(str(size)), records) if records else b""
    return data.ljust(size, b"\0")


LARGE = 2**26
HOSTILE_TARS = {
    "long name": tar_header(tarfile.GNUTYPE_LONGNAME, LARGE) + b"a" * LARGE,
    "pax": tar_header(tarfile.XHDTYPE, LARGE) + pax(b"", LARGE),
    "global pax": tar_header(tarfile.XGLTYPE, LARGE) + pax(b"", LARGE),
    "chained pax": (tar_header(tarfile.XHDTYPE, 2**19) + bytes(2**19)) * (LARGE // 2**19),
    "many globals": (tar_header(tarfile.XGLTYPE, 2**16) + bytes(2**16) + tar_header(tarfile.REGTYPE, 0)) * 1000,
    "negative size": tar_header(tarfile.REGTYPE, -512),
    "negative long name": tar_header(tarfile.GNUTYPE_LONGNAME, -512) + bytes(LARGE),
    "negative pax": tar_header(tarfile.XHDTYPE, 512) + pax(b"size=-512", 512) + tar_header(tarfile.REGTYPE, 0),
    "sparse": tar_header(tarfile.GNUTYPE_SPARSE, 512) + bytes(512),
    "name": tar_header(tarfile.GNUTYPE_LONGNAME, 5_000) + (b"a" * 4_996 + b".png").ljust(5_120, b"\0")
            + tar_header(tarfile.REGTYPE, 0),
}


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_what_a_tar_says_of_its_members_is_bounded_before_it_is_read(name: str, tmp_path: Path) -> None:
    good = tar_header(tarfile.REGTYPE, len(BROKEN), "first.png") + BROKEN.ljust(512, b"\0")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(good + HOSTILE_TARS[name] + bytes(10_240), 1))
    tracemalloc.start()
    first, *_, last = pictures(str(tmp_path / "x.tar.gz"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first.name.endswith(":first.png")
    assert isinstance(last.content, UnreadableImage)
    assert last.name == str(tmp_path / "x.tar.gz")  # it ends there
    assert peak < 2**23


def test_labels_are_read_one_by_one_and_rows_of_a_size_that_no_picture_has_never(tmp_path: Path) -> None:
    count = 2**25
    for name, header in (("t-images-idx3-ubyte.gz", struct.pack(">HBBIII", 0, 8, 3, count, 1, 1)),
                         ("t-labels-idx1-ubyte.gz", struct.pack(">HBBI", 0, 8, 1, count)),
                         ("u-images-idx3-ubyte.gz", struct.pack(">HBBIII", 0, 8, 3, 1, 1, count))):
        (tmp_path / name).write_bytes(gzip.compress(header + bytes(count), 1))
    tracemalloc.start()
    for name in "tu":
        entry, = pictures(str(tmp_path / f"{name}-images-idx3-ubyte.gz"))
        assert isinstance(entry.content, ImageSize)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22

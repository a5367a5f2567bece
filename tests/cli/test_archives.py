"""The commands of archives: pack, unpack, extract, list, cat; cut, info and verify of archives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddncodec import append_archive, container, open_archive, zoo
from ddncodec.archive import writer
from ddncodec.container import Packed, Stream
from ddncodec.errors import (
    BadMetadata,
    ChecksumMismatch,
    DataMissing,
    OutputExists,
    PayloadLength,
    RecordMissing,
    Truncated,
    UnknownWeights,
    UnreadableImage,
)
from ddncodec.latent import Latent

Run = Callable[..., Any]
LEVELS = 96  # of the small model
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from ddncodec_cli.app import main; main()"


@pytest.fixture
def streams(tmp_path: Path, k2: Path) -> dict[str, bytes]:
    """Files a.ddn to e.ddn of the small model in the folder `in`, as they are."""
    info = zoo.find(k2)
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "below").mkdir(parents=True)
    made = {}
    for name, size in (("a", (20, 30)), ("b", (64, 64)), ("below/c", (9, 8)), ("below/d", (64, 64))):
        picks = tuple(rng.integers(2, size=LEVELS).tolist())
        made[name] = container.to_bytes(Stream(Latent(picks, 2), *size, info.id))
        (tmp_path / "in" / f"{name}.ddn").write_bytes(made[name])
    return made


def records(path: Path) -> dict[str, bytes]:
    with open_archive(path) as archive:
        return {record.name: record.to_bytes() for record in archive}


def made(results: Sequence[Any]) -> None:
    """All ran, and said nothing."""
    for result in results:
        assert (result.code, result.err) == (0, ""), result


def test_files_come_out_as_they_went_in(run_many: Run, tmp_path: Path, streams: dict[str, bytes], k2: Path) -> None:
    packed, listed, unpacked, pictures, direct = run_many(
        ["pack", "-r", "in", "-o", "set.ddns"],
        ["list", "set.ddns", "--json"],
        ["unpack", "set.ddns", "--ddn", "--output-dir", "out"],
        ["unpack", "set.ddns", "--output-dir", "pictures", "--model", k2, "--levels", 50],
        ["decode", "-r", "in", "--output-dir", "direct", "--model", k2, "--levels", 50])
    made([packed, listed, unpacked, pictures, direct])
    assert records(tmp_path / "set.ddns") == streams
    assert json.loads(listed.out) == [
        {"number": number, "name": name, "width": stream.width, "height": stream.height}
        for number, (name, stream) in enumerate((name, container.from_bytes(data)) for name, data in streams.items())]
    for name, data in streams.items():
        assert (tmp_path / "out" / f"{name}.ddn").read_bytes() == data
        assert (tmp_path / f"pictures/{name}.png").read_bytes() == (tmp_path / f"direct/{name}.png").read_bytes()


def test_images_are_encoded_as_encode_does(run_many: Run, tmp_path: Path, face: Path, draw: Run, k2: Path) -> None:
    draw(40, 56).save(tmp_path / "other.webp", lossless=True)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    encoded, packed, extracted = run_many(
        ["encode", face, "other.webp", "--model", k2, "--levels", 60, "--output-dir", "."],
        ["pack", face, "bad.png", "other.webp", "--model", k2, "--levels", 60, "-o", "set.ddns"],
        ["extract", "set.ddns", "other", "-o", "again.ddn"])
    made([encoded, extracted])
    assert packed.code == UnreadableImage.exit_code
    assert packed.err.count("\n") == 1
    wanted = {name: (tmp_path / f"{name}.ddn").read_bytes() for name in ("face", "other")}
    assert records(tmp_path / "set.ddns") == wanted
    assert (tmp_path / "again.ddn").read_bytes() == (tmp_path / "other.ddn").read_bytes()


def test_appending_goes_on_and_leaves_out_what_is_there(run_many: Run, tmp_path: Path, streams: dict[str, bytes],
                                                        refused: Run) -> None:
    first, again, rest, other = run_many(
        ["pack", "in/a.ddn", "-o", "set.ddns", "--append"],
        ["pack", "-r", "in", "-o", "set.ddns", "--append", "--dry-run", "--skip-existing"],
        ["pack", "-r", "in", "-o", "set.ddns", "--append", "--skip-existing"],
        ["pack", "in/a.ddn", "-o", "set.ddns", "--append"])
    made([first])
    assert "1 inputs are in the archive already" in rest.err
    assert (rest.code, again.code) == (0, 0)
    assert again.out.decode().splitlines() == ["in/b.ddn", "in/below/c.ddn", "in/below/d.ddn"]
    assert "in/a.ddn: the archive has a record named a" in refused(other, OutputExists.exit_code)
    assert records(tmp_path / "set.ddns") == streams


def test_what_does_not_belong_together_is_refused_by_name(run_many: Run, tmp_path: Path, streams: dict[str, bytes]
                                                          ) -> None:
    stream = container.from_bytes(streams["a"])
    others = {"foreign": Stream(stream.latent, 9, 9, b"else"), "short": Stream(stream.latent.prefix(9), 9, 9,
                                                                               stream.weights_id)}
    for name, other in others.items():
        (tmp_path / f"{name}.ddn").write_bytes(container.to_bytes(other))
    shutil.copy(tmp_path / "in/a.ddn", tmp_path / "a.ddn")
    mixed, twice, nothing, there = run_many(
        ["pack", "in/a.ddn", "foreign.ddn", "short.ddn", "in/b.ddn", "-o", "set.ddns"],
        ["pack", "a.ddn", "in/a.ddn", "-o", "two.ddns"],
        ["pack", "missing.ddn", "-o", "none.ddns"],
        ["pack", "in/a.ddn", "-o", "set.ddns"])
    assert mixed.code == UnknownWeights.exit_code
    assert [line.split(": ")[1] for line in mixed.err.splitlines()] == ["foreign.ddn", "short.ddn"]
    assert list(records(tmp_path / "set.ddns")) == ["a", "b"]
    assert (twice.code, list(records(tmp_path / "two.ddns"))) == (OutputExists.exit_code, ["a"])
    assert nothing.code
    assert not (tmp_path / "none.ddns").exists()
    assert there.code == OutputExists.exit_code


def test_profiles_and_comments_are_told_and_not_kept(run_many: Run, tmp_path: Path, streams: dict[str, bytes]) -> None:
    stream = container.from_bytes(streams["a"])
    rich = Stream(stream.latent, 20, 30, stream.weights_id, icc=b"x", comment="hi")
    (tmp_path / "rich.ddn").write_bytes(container.to_bytes(rich))
    (result,) = run_many(["pack", "rich.ddn", "-o", "set.ddns", "--no-names"])
    assert result.code == 0
    assert "1 files have a colour profile" in result.err
    assert "1 files have a comment" in result.err
    assert records(tmp_path / "set.ddns") == {"": streams["a"]}


def test_one_record_is_extracted_by_name_or_number(run_many: Run, tmp_path: Path, streams: dict[str, bytes], k2: Path,
                                                   refused: Run) -> None:
    results = run_many(
        ["pack", "-r", "in", "-o", "set.ddns"],
        ["extract", "set.ddns", "below/c", "--model", k2],
        ["extract", "set.ddns", "#2", "--model", k2, "-o", "-"],
        ["extract", "set.ddns", "#1", "--levels", 7, "-o", "b.ddn"],
        ["decode", "in/below/c.ddn", "--model", k2, "-o", "-"])
    assert all(result.code == 0 for result in results)
    assert (tmp_path / "c.png").read_bytes() == results[2].out == results[4].out
    assert container.from_bytes((tmp_path / "b.ddn").read_bytes()).latent.levels == 7
    for which in ("#4", "c", "#99999999999999"):
        assert "there is no record" in refused(run_many(["extract", "set.ddns", which])[0], RecordMissing.exit_code)


def test_archives_are_joined_and_cut(run_many: Run, tmp_path: Path, streams: dict[str, bytes]) -> None:
    results = run_many(
        ["pack", "in/a.ddn", "in/b.ddn", "-o", "one.ddns"], ["pack", "in/below/c.ddn", "-o", "two.ddns"],
        ["cat", "one.ddns", "two.ddns", "-o", "both.ddns"], ["cut", "both.ddns", "--levels", 11, "-o", "short.ddns"])
    made(results)
    wanted = {name: streams[f"below/{name}" if name == "c" else name] for name in "abc"}
    assert records(tmp_path / "both.ddns") == wanted
    assert records(tmp_path / "short.ddns") == {name: container.cut(data, 11) for name, data in wanted.items()}
    mixed, itself, several, by_bytes = run_many(
        ["cat", "one.ddns", "short.ddns", "-o", "mixed.ddns"], ["cat", "one.ddns", "-o", "one.ddns", "-f"],
        ["cut", "one.ddns", "two.ddns", "--levels", 3, "--output-dir", "."],
        ["cut", "one.ddns", "--bytes", 30, "-o", "x.ddns"])
    assert (mixed.code, itself.code) == (PayloadLength.exit_code, OutputExists.exit_code)
    assert several.code == by_bytes.code == 2
    assert list(records(tmp_path / "mixed.ddns")) == ["a", "b"]


def test_info_and_verify_know_archives(run_many: Run, tmp_path: Path, streams: dict[str, bytes], k2: Path) -> None:
    run_many(["pack", "-r", "in", "-o", "set.ddns"])
    told, shown, verified, unknown = run_many(
        ["info", "set.ddns", "in/a.ddn", "--json"], ["info", "set.ddns"], ["verify", "set.ddns", "--model", k2],
        ["verify", "set.ddns"])
    archive, file = json.loads(told.out)
    info = zoo.find(k2)
    size = (tmp_path / "set.ddns").stat().st_size
    assert archive == {
        "file": "set.ddns", "bytes": size, "archive": True, "images": 4, "bytes_an_image": size / 4, "blocks": 1,
        "k": 2, "levels": LEVELS, "levels_of_model": None, "payload_bytes": LEVELS // 8, "weights": info.id.hex(),
        "model": None, "complete": True,
    }
    assert file["file"] == "in/a.ddn"
    assert "4 images in 1 blocks" in shown.out.decode()
    assert (verified.code, verified.out) == (0, b"set.ddns: ok\n")
    assert unknown.code == UnknownWeights.exit_code
    (tmp_path / "set.ddns").write_bytes((tmp_path / "set.ddns").read_bytes()[:-50])
    broken, broken_info = run_many(["verify", "set.ddns", "--model", k2], ["info", "set.ddns"])
    assert (broken.code, broken.out) == (Truncated.exit_code, b"")
    assert "did not come to its end" in broken_info.out.decode()


def test_a_damaged_block_costs_its_own_records_alone(run_many: Run, tmp_path: Path, streams: dict[str, bytes],
                                                     monkeypatch: pytest.MonkeyPatch, k2: Path) -> None:
    monkeypatch.setattr(writer, "RECORDS", 1)
    monkeypatch.setattr(writer, "FEWEST", 1)
    with append_archive(tmp_path / "set.ddns") as archive:
        for name, data in streams.items():
            archive.add(data, name)
    data = bytearray((tmp_path / "set.ddns").read_bytes())
    with open_archive(tmp_path / "set.ddns") as found:
        data[found.entries[1].offset + 40] ^= 1
    (tmp_path / "set.ddns").write_bytes(data)
    for result in run_many(["unpack", "set.ddns", "--ddn", "--output-dir", "out"], ["cat", "set.ddns", "-o", "b.ddns"],
                           ["verify", "set.ddns", "--model", k2], ["list", "set.ddns"]):
        assert result.code == ChecksumMismatch.exit_code
        assert "records 1 to 1" in result.err
        assert result.err.count("\n") == 1
    assert {path.stem for path in (tmp_path / "out").rglob("*.ddn")} == {"a", "c", "d"}
    assert list(records(tmp_path / "b.ddns")) == ["a", "below/c", "below/d"]


def test_names_lead_nowhere_outside_and_those_without_have_numbers(run_many: Run, tmp_path: Path,
                                                                   streams: dict[str, bytes]) -> None:
    packed = container.packed_from_bytes(streams["a"])
    with append_archive(tmp_path / "set.ddns") as archive:
        for name in ("../out", "/tmp/out", "..", ".", "good/v1.2", "", "twice", "twice"):
            archive.add_packed(packed, name)
    (result,) = run_many(["unpack", "set.ddns", "--ddn", "--output-dir", "out"])
    assert result.code == BadMetadata.exit_code
    assert result.err.count("is none of a file below the directory") == 4
    assert result.err.count("would become out/twice.ddn too") == 1
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.ddn")} - {
        f"in/{name}.ddn" for name in streams} == {"out/good/v1.2.ddn", "out/00000005.ddn", "out/twice.ddn"}


def test_listing_joining_and_unpacking_files_need_no_torch(run_light: Run, run_code: Run, tmp_path: Path) -> None:
    with append_archive(tmp_path / "set.ddns") as archive:
        archive.add_packed(Packed(b"else", 64, 48, 2, 16, b"ab"), "name")
    assert b"64 \xc3\x97 48  name" in run_light("list", "set.ddns")
    run_light("cut", "set.ddns", "--levels", 9, "-o", "cut.ddns")
    run_light("cat", "set.ddns", "-o", "cat.ddns")
    run_light("extract", "set.ddns", "#0", "-o", "one.ddn")
    assert run_code(WITHOUT_TORCH, "duplicates", "set.ddns", "--exact").out == b"no duplicates\n"
    assert (tmp_path / "one.ddn").read_bytes() == records(tmp_path / "cat.ddns")["name"]


def test_the_default_is_what_the_first_file_or_the_archive_is_of(run_many: Run, tmp_path: Path, draw: Run) -> None:
    info = zoo.find("placeholder")
    latent = Latent((0,) * info.config.levels, info.config.k)
    (tmp_path / "first.ddn").write_bytes(container.to_bytes(Stream(latent, 64, 64, info.id)))
    draw().save(tmp_path / "face.png")
    made(run_many(["pack", "first.ddn", "face.png", "-o", "set.ddns"],
                  ["pack", "face.png", "-o", "set.ddns", "--append", "--no-names"]))
    with open_archive(tmp_path / "set.ddns") as archive:
        assert [one.packed.weights_id for one in archive] == [info.id] * 3


def test_nothing_is_no_archive(run_many: Run, tmp_path: Path, refused: Run) -> None:
    (tmp_path / "empty").mkdir()
    (result,) = run_many(["pack", "-r", "empty", "-o", "set.ddns"])
    assert result.code
    assert result.code != DataMissing.exit_code  # the folder is what is told
    assert not (tmp_path / "set.ddns").exists()


def test_a_picture_that_is_unpacked_is_the_one_that_is_decoded(run_many: Run, tmp_path: Path, face: Path) -> None:
    made(run_many(["pack", face, "-o", "set.ddns"], ["unpack", "set.ddns", "--output-dir", "out", "--format", "bmp"],
                  ["encode", face], ["decode", "face.ddn", "-o", "face.bmp"]))
    with Image.open(tmp_path / "out/face.bmp") as ours, Image.open(tmp_path / "face.bmp") as theirs:
        assert np.abs(np.array(ours).astype(int) - np.array(theirs)).max() <= 1


def test_similar_and_duplicates_say_numbers_and_names(run_many: Run, tmp_path: Path, draw: Run, k2: Path) -> None:
    draw().save(tmp_path / "face.png")
    draw().convert("L").save(tmp_path / "grey.png")
    shutil.copy(tmp_path / "face.png", tmp_path / "again.png")
    packed, nearest, shown, groups, exact, encoded, by_stream = run_many(
        ["pack", "face.png", "grey.png", "again.png", "-o", "set.ddns", "--model", k2],
        ["similar", "set.ddns", "--to", "face.png", "-n", 2, "--json", "--model", k2],
        ["similar", "set.ddns", "--to", "face.png", "-n", 1, "--model", k2],
        ["duplicates", "set.ddns", "--within", 0.1, "--json", "--model", k2],
        ["duplicates", "set.ddns", "--exact"],
        ["encode", "grey.png", "--model", k2],
        ["similar", "set.ddns", "--to", "grey.ddn", "-n", 1, "--json", "--model", k2])
    made([packed, nearest, shown, groups, exact, encoded, by_stream])
    assert [match["name"] for match in json.loads(nearest.out)] == ["face", "again"]
    assert shown.out.decode().split()[1:] == ["0", "face"]
    assert [[match["number"] for match in group] for group in json.loads(groups.out)] == [[0, 2]]
    assert exact.out.decode().split() == ["0.00", "0", "face", "0.00", "2", "again"]
    (match,) = json.loads(by_stream.out)
    assert match["distance"] < 5  # encoded alone, a near-tie may go another way

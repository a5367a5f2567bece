"""Whatever is wrong with the input: one line on stderr, the kind's exit code, and no file left behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save

from ddncodec.container import Stream, to_bytes
from ddncodec.latent import Latent
from ddncodec.weights import read_info

Run = Callable[..., Any]
ID = bytes.fromhex("0badcafe")
DEV_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def image_bytes(format: str, size: tuple[int, int] = (64, 64)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(file, format)
    return file.getvalue()


def sealed(body: bytes) -> bytes:
    """With the checksum that makes everything before it count."""
    return body + zlib.crc32(body).to_bytes(4, "little")


BAD_IMAGES = {
    "text.png": (b"This is no image.\n", 30),
    "empty.png": (b"", 30),
    "png-cut.png": (image_bytes("PNG")[:-2000], 30),
    "png-header.png": (image_bytes("PNG")[:20], 30),
    "jpeg-cut.jpg": (image_bytes("JPEG")[:-1000], 30),
    "jpeg-header.jpg": (image_bytes("JPEG")[:100], 30),
    "dot.png": (image_bytes("PNG", (1, 1)), 31),
    "thin.png": (image_bytes("PNG", (20_000, 1)), 31),
    "long.png": (image_bytes("PNG", (20_000, 8)), 31),
    "stream.png": (to_bytes(Stream(Latent((1, 0, 1), 2), 64, 64, ID)), 30),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n", 30),
}


def test_what_is_no_good_image_is_refused(run_many: Run, refused: Run, tmp_path: Path) -> None:
    for name, (data, _) in BAD_IMAGES.items():
        (tmp_path / name).write_bytes(data)
    before = files(tmp_path)
    results = run_many(*(["encode", name, "-o", "out.ddn"] for name in BAD_IMAGES),
                       *(["encode", name, "-o", "-"] for name in BAD_IMAGES))
    for (name, (_, code)), result in zip(2 * list(BAD_IMAGES.items()), results, strict=True):
        assert refused(result, code).startswith(f"{name}: ")
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["text.png", "thin.png"])
def test_a_process_says_so_before_torch_is_there(
    run: Run, run_code: Run, refused: Run, tmp_path: Path, name: str
) -> None:
    data, code = BAD_IMAGES[name]
    (tmp_path / name).write_bytes(data)
    refused(run("encode", name), code)
    refused(run("encode", "-", stdin=data), code)
    without_torch = "import sys; sys.modules['torch'] = None; from ddncodec_cli.app import main; main()"
    refused(run_code(without_torch, "encode", name), code)
    assert files(tmp_path) == {name: data}


def test_inputs_that_cannot_be_read_are_refused(run_many: Run, refused: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    for command in ("encode", "decode", "info", "verify"):
        for name in ("missing", "folder", "file/below", "loop", "x" * 300, "missing/x.png"):
            (result,) = run_many([command, name])
            assert refused(result, 40).startswith(f"{name}: ")
    assert files(tmp_path) == {"file": b"x"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_permissions_are_told(run_many: Run, refused: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(run_many(["encode", "face.png", "-o", "locked/out.ddn", "--model", k2])[0], 42)
    face.chmod(0)
    refused(run_many(["encode", "face.png", "--model", k2])[0], 40)
    assert not list(locked.iterdir())


def test_outputs_that_cannot_be_written_are_refused(run_many: Run, refused: Run, face: Path, k2: Path) -> None:
    folder = face.parent
    (folder / "folder").mkdir()
    (folder / "file.txt").write_bytes(b"mine")
    before = files(folder)
    targets = [["-o", "file.txt/out.ddn"], ["-o", "folder"], ["-o", "x" * 300], ["--output-dir", "file.txt"],
               ["--output-dir", "file.txt/below"], ["-f", "-o", "folder"], ["-f", "-o", "file.txt/a/b/out.ddn"]]
    for target in targets:
        assert refused(run_many(["encode", "face.png", "--model", k2, *target])[0], 42), target
    assert files(folder) == before


@DEV_FULL
def test_a_full_disk_is_told(run_many: Run, refused: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    refused(run_many(["encode", "face.png", "-o", "/dev/full", "--model", k2])[0], 42)
    (tmp_path / "a.ddn").write_bytes(to_bytes(Stream(Latent((1, 0, 1), 2), 64, 64, read_info(k2).id)))
    for line in (["encode", "face.png", "-o", "-", "--model", k2], ["info", "a.ddn"], ["info", "--json", "a.ddn"],
                 ["verify", "a.ddn", "--model", k2], ["models", "list"], ["--version"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([sys.executable, "-m", "ddncodec", *map(str, line)], cwd=tmp_path, stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (42, 1), done.stderr
        assert done.stderr.startswith("ddncodec: ")
        assert "No space left" in done.stderr


def test_a_reader_that_leaves_is_no_error_to_tell(face: Path, tmp_path: Path) -> None:
    (tmp_path / "a.ddn").write_bytes(to_bytes(Stream(Latent((1, 0, 1), 2), 64, 64, ID)))
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-m", "ddncodec", "info", "a.ddn"], cwd=tmp_path, stdout=write_end,
                          stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_closed_standard_input_is_told(tmp_path: Path) -> None:
    done = subprocess.run(f"'{sys.executable}' -m ddncodec info - <&-", shell=True, cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (40, "")
    assert done.stderr == "ddncodec: stdin: standard input cannot be read\n"


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-m", "ddncodec", "info", "-"], cwd=tmp_path, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job behind & ignores it
                          ) as process:
        assert process.stdin
        process.stdin.write(bytes(2**20))  # far more than a pipe holds: once it is gone, the program is reading
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


GOOD = to_bytes(Stream(Latent((1, 0, 1, 1, 0, 0, 1, 0, 1, 1), 2), 64, 64, ID))
DEFECTS = {  # K = 2 has 10 bits in two bytes before the checksum
    "magic": (b"\x89PNG\r\n\x1a\n", 3),
    "version": (sealed(GOOD[:2] + b"\x02" + GOOD[3:-4]), 4),
    "reserved": (sealed(GOOD[:3] + bytes([GOOD[3] | 0x80]) + GOOD[4:-4]), 5),
    "varint": (sealed(GOOD[:8] + b"\xc0\x00" + GOOD[9:-4]), 6),
    "size": (sealed(GOOD[:8] + b"\x00" + GOOD[9:-4]), 7),
    "levels": (sealed(GOOD[:10] + b"\xff\xff\xff\x7f" + GOOD[11:-4]), 7),
    "empty": (b"", 8),
    "header": (GOOD[:7], 8),
    "cut": (GOOD[:-1], 8),
    "trailing": (GOOD + b"\x00", 9),
    "checksum": (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), 10),
    "payload": (GOOD[:-6] + bytes([GOOD[-6] ^ 0x80]) + GOOD[-5:], 10),
    "metadata": (sealed(GOOD[:3] + bytes([GOOD[3] | 0x10]) + GOOD[4:11] + b"\x04zstd" + GOOD[11:-4]), 11),
    "padding": (sealed(GOOD[:-5] + bytes([GOOD[-5] | 1])), 13),
}


@pytest.mark.parametrize("command", ["decode", "info", "verify"])
def test_a_defect_of_the_container_is_refused(
    run_many: Run, refused: Run, tmp_path: Path, k2: Path, command: str
) -> None:
    for name, (data, _) in DEFECTS.items():
        (tmp_path / name).write_bytes(data)
    before = files(tmp_path)
    model = [] if command == "info" else ["--model", k2]
    results = run_many(*([command, name, *model] for name in DEFECTS))
    for (name, (_, code)), result in zip(DEFECTS.items(), results, strict=True):
        assert refused(result, code).startswith(f"{name}: ")
    assert files(tmp_path) == before


def test_an_index_beyond_k_is_refused(run: Run, run_many: Run, refused: Run, tmp_path: Path, k3: Path) -> None:
    info = read_info(k3)
    whole = to_bytes(Stream(Latent((2,) * info.config.levels, 3), 64, 64, info.id))
    size = -(-Latent((2,) * info.config.levels, 3).bits // 8)
    padding = -Latent((2,) * info.config.levels, 3).bits % 8
    ones = (((1 << 8 * size) - 1) >> padding << padding).to_bytes(size, "big")
    data = sealed(whole[: -4 - size] + ones)
    (tmp_path / "bad.ddn").write_bytes(data)
    results = run_many(*([command, "bad.ddn", "--model", k3] for command in ("decode", "verify")), ["info", "bad.ddn"])
    for result in [*results, run("decode", "bad.ddn")]:
        refused(result, 14)
    assert files(tmp_path) == {"bad.ddn": data}


def test_streams_of_other_weights_are_refused(
    run: Run, run_many: Run, refused: Run, tmp_path: Path, k2: Path, k3: Path
) -> None:
    info = read_info(k2)
    levels, k = info.config.levels, info.config.k
    streams = {"foreign.ddn": Stream(Latent((1, 0), 2), 64, 64, ID),
               "ours.ddn": Stream(Latent((1, 0), k), 64, 64, info.id),
               "long.ddn": Stream(Latent((1,) * (levels + 1), k), 64, 64, info.id),
               "k.ddn": Stream(Latent((1,), k + 1), 64, 64, info.id)}
    for name, stream in streams.items():
        (tmp_path / name).write_bytes(to_bytes(stream))
    before = files(tmp_path)
    assert "0badcafe" in refused(run("decode", "foreign.ddn"), 20)
    for result in run_many(["decode", "foreign.ddn", "--model", k2], ["decode", "ours.ddn", "--model", k3],
                           ["decode", "long.ddn", "--model", k2], ["decode", "k.ddn", "--model", k2]):
        refused(result, 20)
    assert files(tmp_path) == before


def test_a_model_that_is_not_there_is_refused(run_many: Run, refused: Run, face: Path, k2: Path) -> None:
    (face.parent / "a.ddn").write_bytes(to_bytes(Stream(Latent((1, 0), 2), 64, 64, read_info(k2).id)))
    before = files(face.parent)
    for model in ("missing", "missing.safetensors", ".", "", "x" * 300, "../binddn"):
        for line in (["encode", "face.png"], ["decode", "a.ddn"], ["verify", "a.ddn"]):
            if model or line[0] == "encode":
                refused(run_many([*line, "--model", model])[0], 20)
    assert files(face.parent) == before


def weights_file(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_config(good: bytes, **changes: Any) -> bytes:
    """The weights with another configuration: its text, or some of its fields."""
    size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + size])
    config = changes.pop("text", None)
    config = json.dumps(json.loads(header["__metadata__"]["config"]) | changes) if config is None else config
    header["__metadata__"]["config"] = config
    return weights_file(header, good[8 + size :])


def bad_headers(good: bytes) -> dict[str, bytes]:
    """Files that are refused for their first bytes alone."""
    config = json.loads(json.loads(good[8 : 8 + int.from_bytes(good[:8], "little")])["__metadata__"]["config"])
    stage = config["stages"][-1]
    mark = {"format": "ddncodec-weights-1", "name": "x", "config": json.dumps(config)}
    return {
        "empty": b"", "short": good[:5], "half-header": good[:100], "text": b"This is no checkpoint, but a text.\n",
        "png": image_bytes("PNG"), "huge-header": (2**62).to_bytes(8, "little") + b"{}",
        "no-json": weights_file(b"{{{{"), "no-text": weights_file(b"\xff\xfe\xff\xff"),
        "list": weights_file([]), "number": weights_file(b"17"),
        "deep": weights_file(b"[" * 1_000_000), "deep-object": weights_file(b'{"a":' * 100_000),
        "plain": weights_file({"a": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}}),
        "other-format": weights_file({"__metadata__": mark | {"format": "ddncodec-weights-2"}}),
        "odd-metadata": weights_file({"__metadata__": [1, 2]}),
        "odd-name": weights_file({"__metadata__": mark | {"name": 5}}),
        "odd-config": weights_file({"__metadata__": mark | {"config": config}}),
        **{f"config-{i}": with_config(good, text=text) for i, text in enumerate(
            ["", "null", "[]", "17", '"k"', "{}", "{", "[" * 100_000, '{"stages":' * 50_000, '{"stages": 5}',
             '{"stages": [5]}', json.dumps(config).replace(": 2,", f": {'9' * 5000},", 1)])},
        **{f"field-{i}": with_config(good, **fields) for i, fields in enumerate([
            {"k": 10**9}, {"k": 1}, {"k": 0}, {"k": -2}, {"k": 2.0}, {"k": "2"}, {"k": True}, {"k": None}, {"k": [2]},
            {"resolution": 2**30}, {"resolution": 48}, {"resolution": 0}, {"resolution": -16}, {"leak": 10**6},
            {"leak": -1}, {"chain_dropout": 1.5}, {"chain_dropout": float("nan")}, {"chain_dropout": "much"},
            {"chain_dropout": None},
            {"stages": []}, {"stages": "stages"}, {"stages": {}}, {"stages": [stage, stage]}, {"surplus": 1},
            *({"stages": [stage | change]} for change in (
                {"levels": "999"}, {"levels": ["9"]}, {"levels": []}, {"levels": 9}, {"levels": [10**9]},
                {"levels": [-1]}, {"levels": [0]}, {"levels": [60_000] * 10}, {"planes": -1}, {"planes": 10**6},
                {"channels": 0},
                {"channels": 2**40}, {"trunk": 0}, {"trunk": 3}, {"trunk": 2**30}, {"resolution": 2**30},
                {"surplus": 1}, {"resolution": None})),
        ])},
    }


def bad_tensors(good: bytes, path: Path) -> dict[str, bytes]:
    """Files whose header is well, but not what it speaks of."""
    info = read_info(path)
    metadata = {"format": "ddncodec-weights-1", "name": "x", "config": info.config.to_json()}
    tensors = load_file(path)
    key = max(tensors, key=lambda name: tensors[name].numel())
    tensor = tensors[key]

    def changed(**changes: torch.Tensor) -> bytes:
        return save(tensors | changes, metadata)

    def spoiled(value: float) -> torch.Tensor:
        worse = tensor.clone()
        worse.view(-1)[-1] = value
        return worse

    config = json.loads(info.config.to_json())
    stage = config["stages"][-1]
    giant = {"resolution": 1024, "trunk": 1024, "channels": 4096, "planes": 4096, "levels": [65_000]}
    return {
        "cut": good[:-7], "longer": good + b"\0", "no-tensors": save({}, metadata),
        "missing": save({name: value for name, value in tensors.items() if name != key}, metadata),
        "extra": changed(surplus=torch.zeros(3)), "shape": changed(**{key: tensor.reshape(-1)}),
        "nan": changed(**{key: spoiled(float("nan"))}), "infinite": changed(**{key: spoiled(float("inf"))}),
        "overflow": changed(**{key: tensor.double() * 1e300}),
        "huge": save({name: value.float().sign() * 3e38 for name, value in tensors.items()}, metadata),
        "integers": changed(**{key: tensor.to(torch.int16)}), "booleans": changed(**{key: tensor > 0}),
        "float8": changed(**{key: tensor.to(torch.float8_e4m3fn)}),
        "complex": changed(**{key: tensor.to(torch.complex64)}),
        "layout": with_config(good, stages=[*config["stages"][:-1], stage | {"channels": stage["channels"] + 1}]),
        "giant": with_config(good, k=65_536, resolution=1024, leak=64, stages=[giant]),
        "many-blocks": with_config(good, stages=[stage | {"levels": [5] + 1_000_000 * [0]}]),
        "many-levels": with_config(good, stages=[stage | {"levels": 65_000 * [1]}]),
    }


@pytest.mark.parametrize("kind", ["headers", "tensors"])
def test_a_bad_checkpoint_is_refused(run_many: Run, refused: Run, face: Path, k2: Path, kind: str) -> None:
    good = k2.read_bytes()
    bad = bad_headers(good) if kind == "headers" else bad_tensors(good, k2)
    for name, data in bad.items():
        (face.parent / f"{name}.safetensors").write_bytes(data)
    before = set(files(face.parent))
    for name in bad:
        command = ["models", "show"] if kind == "headers" else ["encode", "face.png", "-o", "out.ddn", "--model"]
        (result,) = run_many([*command, f"{name}.safetensors"])
        assert result.code == 21, (name, result)
        assert len(refused(result, 21)) < 1000, name
    assert set(files(face.parent)) == before


def test_every_command_refuses_a_bad_checkpoint(run: Run, refused: Run, face: Path, k2: Path) -> None:
    folder = face.parent
    (folder / "a.ddn").write_bytes(to_bytes(Stream(Latent((1, 0), 2), 64, 64, read_info(k2).id)))
    (folder / "bad").write_bytes(b"This is no checkpoint.\n")
    before = files(folder)
    for line in (["encode", "face.png"], ["decode", "a.ddn", "-o", "out.png"], ["verify", "a.ddn"]):
        refused(run(*line, "--model", "bad"), 21)
    assert files(folder) == before


def test_a_comment_that_is_not_unicode_is_refused(run_many: Run, refused: Run, face: Path, k2: Path) -> None:
    comment = b"caf\xe9".decode(errors="surrogateescape")
    refused(run_many(["encode", "face.png", "--comment", comment, "--model", k2])[0], 11)
    assert list(files(face.parent)) == ["face.png"]

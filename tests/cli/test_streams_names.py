"""Streams, names and outputs: what a closed, narrow or endless stream does, and which name is which file."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ddncodec.container import Stream, to_bytes
from ddncodec.latent import Latent
from ddncodec.weights import read_info

Run = Callable[..., Any]
PROGRAM = f"'{sys.executable}' -m ddncodec"
DEV_STDOUT = pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def shell(line: str, folder: Path, **environment: str) -> tuple[int, bytes, str]:
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, check=False,
                          env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)
    return done.returncode, done.stdout, done.stderr.decode(errors="backslashreplace")


@contextmanager
def fifo(path: Path, data: bytes) -> Iterator[Path]:
    """A FIFO that gives these bytes once."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[data], daemon=True)
    writer.start()
    yield path
    writer.join(10)


@pytest.fixture
def stream(tmp_path: Path, k2: Path) -> bytes:
    """A .ddn file of the small weights, which is also a.ddn in the test's folder."""
    data = to_bytes(Stream(Latent((1, 0, 1, 1), 2), 30, 20, read_info(k2).id))
    (tmp_path / "a.ddn").write_bytes(data)
    return data


def test_info_and_verify_take_a_pipe_among_files(run_many: Run, stream: bytes, k2: Path, tmp_path: Path) -> None:
    for command in (["info"], ["verify", "--model", k2]):
        with fifo(tmp_path / "pipe", stream):
            result = run_many([*command, "a.ddn", "pipe", "a.ddn"])[0]
        assert (result.code, result.err) == (0, "")
        assert [line for line in result.out.decode().splitlines() if line[0] != " "] == [
            name + (": ok" if command[0] == "verify" else "") for name in ("a.ddn", "pipe", "a.ddn")]
        (tmp_path / "pipe").unlink()


def test_pictures_and_streams_come_out_of_pipes(
    run_many: Run, face: Path, stream: bytes, k2: Path, tmp_path: Path
) -> None:
    use = ["--model", k2]
    with fifo(tmp_path / "picture", face.read_bytes()), fifo(tmp_path / "stream", stream):
        results = run_many(["encode", "face.png", *use], ["encode", "picture", *use],
                           ["decode", "a.ddn", *use], ["decode", "stream", *use])
    assert [(result.code, result.err) for result in results] == [(0, "")] * 4
    assert (tmp_path / "picture.ddn").read_bytes() == (tmp_path / "face.ddn").read_bytes()
    assert (tmp_path / "stream.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_an_endless_pipe_is_read_up_to_a_limit(run_code: Run, tmp_path: Path) -> None:
    limited = "from ddncodec_cli import app, jobs; jobs.MAX_PIPE = 10**6; app.main()"
    for command, code in (("encode", 30), ("info", 3), ("decode", 3)):
        read, write = os.pipe()
        with subprocess.Popen([sys.executable, "-c", limited, command, "-"], cwd=tmp_path, stdin=read,
                              stderr=subprocess.PIPE, text=True) as process:
            os.close(read)
            with pytest.raises(BrokenPipeError):
                while True:
                    os.write(write, bytes(2**16))
            os.close(write)
            assert process.stderr
            assert process.stderr.read().startswith("ddncodec: stdin: ")
        assert process.returncode == code
    assert names(tmp_path) == []


@pytest.mark.parametrize("command", ["info a.ddn", "info --json a.ddn", "verify a.ddn --model k2", "--version",
                                     "models list", "decode a.ddn --model k2 -o -", "dataset check d"])
def test_a_closed_standard_output_is_told(stream: bytes, draw: Run, k2: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "k2").symlink_to(k2)
    (tmp_path / "d").mkdir()
    draw(9, 9).save(tmp_path / "d/x.png")
    code, out, err = shell(f"{PROGRAM} {command} >&-", tmp_path)
    assert (code, out, err.count("\n")) == (42, b"", 1), err
    assert err.startswith("ddncodec: ")
    assert err.endswith("Bad file descriptor\n")


def test_what_needs_no_stream_works_where_all_are_closed(face: Path, k2: Path, tmp_path: Path) -> None:
    assert shell(f"{PROGRAM} encode face.png --model {k2} <&- >&- 2>&-", tmp_path)[0] == 0
    assert shell(f"{PROGRAM} encode face.png -o other.ddn --model {k2}", tmp_path)[0] == 0
    assert (tmp_path / "face.ddn").read_bytes() == (tmp_path / "other.ddn").read_bytes()


@pytest.mark.parametrize("encoding", ["cp437", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_escaped_and_nothing_is_lost(
    stream: bytes, tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "a.ddn").rename(tmp_path / "日本 ×.ddn")
    code, out, err = shell(f"{PROGRAM} info *.ddn && {PROGRAM} verify *.ddn", tmp_path, PYTHONIOENCODING=encoding)
    assert code == 20, err  # of verify: the weights are not here
    expected = "日本 ×.ddn\n  image    30 × 20 pixels\n".encode(encoding, "backslashreplace")
    assert out.startswith(expected)
    assert len(out.splitlines()) == 5
    assert err.count("\n") == 1


def test_a_slash_at_the_end_names_a_folder(run_many: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    use = ["--model", k2]
    results = run_many(["encode", "face.png", "-o", "new/", *use], ["encode", "face.png", "-o", "face.d/", *use],
                       ["decode", "new/face.ddn", "-o", "back/deep/", *use],
                       ["encode", "face.png", "new/face.ddn", "-o", "both/", *use],
                       ["sample", "-n", 2, "-o", "drawn.png/", *use])
    assert [result.code for result in results] == [0, 0, 0, 30, 0]
    assert names(tmp_path) == ["back/deep/face.png", "both/face.ddn", "drawn.png/0.png", "drawn.png/1.png",
                               "face.d/face.ddn", "face.png", "new/face.ddn"]


def test_a_file_may_be_named_as_the_standard_streams_are(
    run_many: Run, face: Path, stream: bytes, k2: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.ddn").rename(tmp_path / "-")
    results = run_many(["info", "./-"], ["decode", "./-", "-o", "out.png", "--model", k2],
                       ["encode", "face.png", "-f", "-o", "./-", "--model", k2],
                       ["encode", "face.png", "-o", "-/", "--model", k2])
    assert [result.code for result in results] == [0, 0, 0, 42]
    assert [result.out for result in results[1:]] == [b""] * 3
    assert names(tmp_path) == ["-", "face.png", "out.png"]
    assert (tmp_path / "-").read_bytes() != stream


def test_a_suffix_that_is_not_the_kinds_own_is_part_of_the_name(
    run_many: Run, face: Path, k2: Path, tmp_path: Path
) -> None:
    for name in ("v1.2", "v1.3", "x.PNG", "b.ddn"):
        (tmp_path / name).write_bytes(face.read_bytes())
    encoded, decoded = run_many(["encode", "v1.2", "v1.3", "x.PNG", "b.ddn", "--model", k2],
                                ["decode", "v1.2.ddn", "x.ddn", "--model", k2])
    assert (encoded.code, decoded.code) == (0, 0)
    (tmp_path / "v1.2.ddn").rename(tmp_path / "v1")
    assert run_many(["decode", "v1", "--model", k2])[0].code == 0
    assert names(tmp_path) == ["b.ddn", "b.ddn.ddn", "face.png", "v1", "v1.2", "v1.2.png", "v1.3", "v1.3.ddn", "v1.png",
                               "x.PNG", "x.ddn", "x.png"]


@DEV_STDOUT
def test_dev_stdout_is_standard_output(face: Path, k2: Path, tmp_path: Path) -> None:
    for command in ("encode face.png", "decode face.ddn", "sample -n 1"):
        line = f"{PROGRAM} {command} --model {k2} -o"
        code, _, err = shell(f"(echo before; {line} /dev/stdout; echo after) > mixed; {line} - > plain", tmp_path)
        plain = (tmp_path / "plain").read_bytes()
        assert (code, err) == (0, "")
        assert (tmp_path / "mixed").read_bytes() == b"before\n" + plain + b"after\n"  # nothing is overwritten
        if command.startswith("encode"):
            (tmp_path / "face.ddn").write_bytes(plain)


def test_what_is_overwritten_keeps_its_permissions(run_many: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    (tmp_path / "face.ddn").write_bytes(b"old")
    (tmp_path / "face.ddn").chmod(0o640)
    assert run_many(["encode", "-f", "face.png", "--model", k2])[0].code == 0
    assert (tmp_path / "face.ddn").read_bytes() != b"old"
    assert stat.S_IMODE((tmp_path / "face.ddn").stat().st_mode) == 0o640


def test_an_output_that_is_an_input_is_refused_whatever_it_is_called(
    run_many: Run, refused: Run, draw: Run, face: Path, stream: bytes, k2: Path, tmp_path: Path
) -> None:
    data = face.read_bytes()
    (tmp_path / "link.png").symlink_to("face.png")
    os.link(face, tmp_path / "hard.ddn")
    (tmp_path / "hard.png").symlink_to("face.png")  # would become hard.ddn
    use = ["--model", k2, "-f"]
    lines = [["encode", "face.png", "-o", "face.png"], ["encode", "face.png", "-o", "./link.png"],
             ["encode", "link.png", "-o", tmp_path / "face.png"], ["encode", "hard.png"],
             ["encode", "face.png", "-o", "hard.ddn"], ["decode", "a.ddn", "-o", "a.ddn"],
             ["sample", "-n", 1, "--prefix", "a.ddn", "--save-latent", "-o", "a.png"],
             ["guide", "inpaint=face.png,mask=link.png", "-o", "link.png"]]
    for line in lines:
        result, = run_many([*line, *use])
        if line[:2] == ["decode", "a.ddn"]:
            assert result.code == 2  # its suffix is no picture's
        else:
            assert "is an input" in refused(result, 41), line
    (tmp_path / "face.ddn").symlink_to("other.png")
    draw().save(tmp_path / "other.png")
    assert run_many(["encode", "face.png", "other.png", *use])[0].code == 41  # the first would overwrite the second
    assert face.read_bytes() == data
    assert (tmp_path / "a.ddn").read_bytes() == stream


def test_standard_input_is_not_overwritten(face: Path, k2: Path, tmp_path: Path) -> None:
    data = face.read_bytes()
    for line in ("- -f -o face.png < face.png", "face.png -o - >> face.png"):
        code, _, err = shell(f"{PROGRAM} encode {line} --model {k2}", tmp_path)
        assert code == 41, err
    assert face.read_bytes() == data


def test_a_message_has_its_path_once(run_many: Run, tmp_path: Path, k2: Path, face: Path) -> None:
    (tmp_path / "text").write_text("no image")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/gone.png").symlink_to("nowhere")
    for line in (["encode", "gone"], ["encode", "text"], ["decode", "gone"], ["decode", "text"], ["info", "gone"],
                 ["verify", "text"], ["encode", "-r", "d"], ["dataset", "check", "gone"], ["dataset", "check", "text"],
                 ["eval", "d", "--model", k2], ["encode", "face.png", "--model", "text"],
                 ["sample", "-o", "x.png", "--prefix", "text"], ["sample", "-o", "x.png", "--prefix", "gone"],
                 ["guide", "inpaint=text,mask=text", "-o", "x.png"], ["guide", "edges=gone", "-o", "x.png"],
                 ["train", "--data", "gone", "--k", 2, "--l", 8], ["train", "--recipe", "gone"],
                 ["train", "--recipe", "text"], ["train", "--resume", "gone"]):
        result, = run_many(line)
        first = result.err.splitlines()[0]
        name = next(name for name in ("d/gone.png", "gone", "text") if name in first)
        assert first.count(name) == 1, first
        assert result.code not in (0, 1, 2), first


def test_a_signal_leaves_no_temporary_file(run_code: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    stopped = """if True:
        import os, signal, sys
        number, *rest = sys.argv[1:]
        fsync = os.fsync
        os.fsync = lambda descriptor: os.kill(os.getpid(), int(number)) or fsync(descriptor)
        sys.argv[1:] = rest
        signal.signal(int(number), signal.SIG_DFL)  # a job behind & ignores some
        from ddncodec_cli.app import main
        main()
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # -f: the thread that writes may have come to its end before the signal was heard, and the file is whole then.
        result = run_code(stopped, number.value, "encode", "-f", "face.png", "--model", k2)
        assert (result.code, result.out, result.err) == (128 + number, b"", "")
        assert not list(tmp_path.glob(".ddn-*"))


def test_outputs_are_on_the_disk_unless_they_need_not_be(run_code: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    counted = """if True:
        import os, sys
        count, os.fsync = 0, lambda descriptor: globals().__setitem__("count", count + 1)
        from ddncodec_cli.app import main
        try:
            main()
        finally:
            print(count)
    """
    use = ["encode", "-f", "face.png", "--model", k2]
    assert run_code(counted, *use).out == b"2\n"  # the file and its folder
    assert run_code(counted, "--no-sync", *use).out == b"0\n"


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_memory_does_not_grow_with_the_number_of_files(run_code: Run, k2: Path, tmp_path: Path, command: str) -> None:
    stream = Stream(Latent((1, 0, 1, 1), 2), 2000, 1500, read_info(k2).id)
    for folder, count in (("few", 1), ("many", 12)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            if command == "encode":
                Image.new("RGB", (2000, 1500), (number, 0, 0)).save(tmp_path / folder / f"{number}.ppm")
            else:
                (tmp_path / folder / f"{number}.ddn").write_bytes(to_bytes(stream))
    measured = """if True:
        import resource
        from ddncodec_cli.app import main
        try:
            main()
        finally:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    few, many = (run_code(measured, command, "-r", folder, "--model", k2) for folder in ("few", "many"))
    assert (few.code, many.code) == (0, 0)
    assert int(many.out) - int(few.out) < 3 * 2000 * 1500 * 3 / 1024  # kilobytes of three of the pictures


def test_running_out_of_memory_is_told_of_the_file_and_the_rest_is_done(
    run_code: Run, draw: Run, tmp_path: Path, k2: Path
) -> None:
    Image.new("RGB", (8000, 8000)).save(tmp_path / "b-large.png")
    for name in "ac":
        draw().save(tmp_path / f"{name}.png")
    limited = """if True:
        import resource, torch, ddncodec.codec
        used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, resource.RLIM_INFINITY))
        from ddncodec_cli.app import main
        main()
    """
    result = run_code(limited, "encode", "a.png", "b-large.png", "c.png", "--model", k2)
    assert result.code == 43, result
    assert result.err == "ddncodec: b-large.png: not enough memory\n"
    assert names(tmp_path) == ["a.ddn", "a.png", "b-large.png", "c.ddn", "c.png"]


def test_a_batch_that_memory_runs_out_for_is_halved(run_code: Run, draw: Run, tmp_path: Path, k2: Path) -> None:
    for name in "abcde":
        draw().save(tmp_path / f"{name}.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "c.png")
    scarce = """if True:
        from ddncodec import codec
        encode = codec.to_tensor
        def to_tensor(pixels):
            if len(pixels) > 1 or (pixels[0] == [255, 0, 0]).all():
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
            return encode(pixels)
        codec.to_tensor = to_tensor
        from ddncodec_cli.app import main
        main()
    """
    result = run_code(scarce, "encode", *(f"{name}.png" for name in "abcde"), "--model", k2)
    assert (result.code, result.err) == (43, "ddncodec: c.png: not enough memory\n")
    assert [name for name in names(tmp_path) if name.endswith(".ddn")] == ["a.ddn", "b.ddn", "d.ddn", "e.ddn"]

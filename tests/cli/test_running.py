"""Many files in one command: in several processes as in one, after a worker was killed, and after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ddncodec import container
from ddncodec.batches import BATCH
from ddncodec.container import Stream
from ddncodec.latent import Latent

Run = Callable[..., Any]
ID = bytes(4)


def stream(number: int) -> bytes:
    return container.to_bytes(Stream(Latent.unpack(number.to_bytes(4, "little"), 2, 32), 64, 64, ID))


@pytest.fixture
def many(tmp_path: Path) -> Callable[[int], list[str]]:
    """Makes so many batches of files, and gives their names."""

    def make(batches: int) -> list[str]:
        names = [f"{number:04}.ddn" for number in range(batches * BATCH)]
        (tmp_path / "in").mkdir()
        for number, name in enumerate(names):
            (tmp_path / "in" / name).write_bytes(stream(number))
        return names

    return make


@contextmanager
def stuck(folder: Path, name: str, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A `cut` of all files of a folder to 16 levels, once it waits for what is in one of them, a FIFO.

    Yields the process, and the FIFO to write to.
    """
    names = sorted(path.name for path in (folder / "in").iterdir())
    (folder / "in" / name).unlink()
    os.mkfifo(folder / "in" / name)
    line = ["--no-sync", "cut", *(f"in/{name}" for name in names), "--levels", 16, "--output-dir", "out", *arguments]
    with subprocess.Popen([sys.executable, "-m", "ddncodec", *map(str, line)], cwd=folder, text=True,
                          stderr=subprocess.PIPE, start_new_session=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job behind & ignores it
                          ) as process, open(folder / "in" / name, "wb") as fifo:  # opens once somebody reads
        yield process, fifo


def reader(process: subprocess.Popen[str], path: Path) -> int:
    """Which child of a process has a file open."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(int(child) for child in children
                if str(path) in {os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def done(folder: Path) -> dict[str, bytes]:
    """The outputs; an interrupted job may have ended before its first, with which their folder is made."""
    return contents(folder / "out") if (folder / "out").exists() else {}


def test_several_processes_do_what_one_does(run_many: Run, draw: Run, k2: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(BATCH + 3):
        draw(16, 16).rotate(number).save(tmp_path / f"in/{number:03}.bmp")
    (tmp_path / "in/001.bmp").write_text("no image")
    (tmp_path / "in/065.bmp").write_text("no image either")
    results = [result for jobs in (1, 2) for result in run_many(
        ["encode", "-r", "in", "--output-dir", f"files{jobs}", "--model", k2, "-j", jobs, "--jsonl"],
        ["decode", "-r", f"files{jobs}", "--output-dir", f"images{jobs}", "--model", k2, "-j", jobs, "--levels", 40],
        ["encode", "-r", "in", "--text", "--model", k2, "-j", jobs],
    )]
    assert [result.code for result in results] == [30, 0, 30] * 2
    for one, two in zip(results[:3], results[3:], strict=True):
        assert (one.out.replace(b"files1", b"files2"), one.err) == (two.out, two.err)
    for kind in ("files", "images"):
        one, two = (contents(tmp_path / f"{kind}{jobs}") for jobs in (1, 2))
        assert one == two
        assert len(one) == BATCH + 1
    lines = [json.loads(line) for line in results[0].out.splitlines()]
    assert [line["file"] for line in lines] == [f"in/{number:03}.bmp" for number in range(BATCH + 3)]
    assert {line["file"] for line in lines if "error" in line} == {"in/001.bmp", "in/065.bmp"}
    assert lines[1]["exit_code"] == 30
    assert lines[0]["bytes"] == (tmp_path / "files1/000.ddn").stat().st_size


def test_a_worker_that_is_killed_loses_its_batch_alone(many: Run, tmp_path: Path) -> None:
    names = many(5)
    with stuck(tmp_path, names[BATCH + 5], "-j", 2) as (process, _):
        os.kill(reader(process, tmp_path / "in" / names[BATCH + 5]), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    lost = names[BATCH : 2 * BATCH]
    assert err.splitlines() == [f"ddncodec: in/{name}: the process that was at work on it was killed by SIGKILL"
                                for name in lost]
    assert process.returncode == 46
    assert sorted(done(tmp_path)) == sorted({*names} - {*lost})


def test_ctrl_c_ends_what_is_begun_and_the_rest_can_be_gone_on_with(many: Run, run: Run, tmp_path: Path) -> None:
    names = many(20)
    with stuck(tmp_path, names[3], "-j", 2) as (process, fifo):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        assert process.stderr
        assert "another Ctrl-C ends at once" in process.stderr.readline()
        fifo.write(stream(3))
        fifo.close()
        _, err = process.communicate(timeout=60)
    finished = done(tmp_path)
    assert process.returncode == 130
    assert err == (f"ddncodec: interrupted: {len(finished):,} of 1,280 files are worked through; "
                   "the same command with --skip-existing goes on\n")
    assert {*names[:BATCH]} <= {*finished} < {*names}
    assert len(finished) % BATCH == 0
    (tmp_path / "in" / names[3]).unlink()
    (tmp_path / "in" / names[3]).write_bytes(stream(3))
    result = run("cut", "-r", "in", "--levels", 16, "--output-dir", "out", "--skip-existing")
    assert (result.code, result.err) == (0, f"ddncodec: {len(finished):,} outputs exist already and are skipped\n")
    assert done(tmp_path) == {name: container.cut(stream(number), 16) for number, name in enumerate(names)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_ctrl_c_ends_at_once(many: Run, tmp_path: Path, jobs: int) -> None:
    names = many(3)
    with stuck(tmp_path, names[BATCH + 5], "-j", jobs) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert "another Ctrl-C ends at once" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    for name, data in done(tmp_path).items():  # the temporary files' names are others
        assert data == container.cut((tmp_path / "in" / name).read_bytes(), 16)
    assert names[2 * BATCH] not in done(tmp_path) or jobs == 2


def test_what_would_be_done_is_told_and_not_done(run_many: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "b.ddn").write_text("is there")
    before = sorted(tmp_path.iterdir())
    dry = ["encode", "face.png", "b.png", "gone.png", "--model", k2, "--dry-run"]
    plain, skipping, lines, quiet = run_many(dry, [*dry, "--skip-existing"], [*dry, "--jsonl"], [*dry, "-q"])
    size = face.stat().st_size
    assert plain.out == b"face.png -> face.ddn\n"
    assert plain.err == ("ddncodec: b.png: b.ddn exists already; -f overwrites it\n"
                         "ddncodec: gone.png: cannot be read: No such file or directory\n"
                         f"ddncodec: would encode 1 files of {size} bytes\n")
    assert (plain.code, skipping.code) == (41, 40)
    assert skipping.err.startswith("ddncodec: 1 outputs exist already and are skipped\n")
    assert json.loads(lines.out) == {"file": "face.png", "output": "face.ddn"}
    assert quiet.err.count("\n") == 2
    assert sorted(tmp_path.iterdir()) == before


def test_quiet_tells_failures_alone_and_verbose_each_file(run_many: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    face.rename(tmp_path / "d/face.png")
    (tmp_path / "d/notes.txt").write_text("left out")
    (tmp_path / "d/text.png").write_text("no image")
    line = ["encode", "-r", "d", "--model", k2, "-f", "--bytes", 20]
    quiet, verbose = run_many([*line, "-q"], [*line, "-v"])
    assert (quiet.code, quiet.out) == (30, b"")
    assert quiet.err == "ddncodec: d/text.png: not an image, or not of a kind that can be read\n"
    told = verbose.err.splitlines()
    assert told[1] == "ddncodec: d/face.png: done, 20 bytes in d/face.ddn"
    assert told[-1].startswith("ddncodec: 2 files, ")
    assert "network" in told[-1]


def test_contradicting_options_are_refused(run_many: Run, face: Path, k2: Path) -> None:
    for line in (["encode", "face.png", "--model", k2, "-f", "--skip-existing"],
                 ["encode", "face.png", "--model", k2, "-o", "-", "--jsonl"],
                 ["encode", "face.png", "--model", k2, "-j", 0]):
        result, = run_many(line)
        assert (result.code, result.out) == (2, b"")


def test_a_single_file_starts_no_more_than_it_needs(run_code: Run, tmp_path: Path) -> None:
    (tmp_path / "a.ddn").write_bytes(stream(1))
    code = """if True:
        import sys
        from ddncodec_cli.app import main
        try:
            main()
        finally:
            print(sorted({"multiprocessing", "rich.progress", "torch", "numpy"} & sys.modules.keys()))
    """
    assert run_code(code, "cut", "a.ddn", "-o", "b.ddn", "--levels", 8).out == b"[]\n"

"""Running the program: as a process of its own, or forked off one that has torch loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pytest
from PIL import Image, ImageDraw

GOLDEN = Path(__file__).parents[1] / "golden"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "CUDA_VISIBLE_DEVICES": ""}
TIMEOUT = 120

# Reads lines of JSON, each a folder and the arguments of a command line; forks for each, and answers with a line.
FORKS = """
import contextlib, gc, io, json, os, sys, tempfile, traceback
import torch, ddncodec.codec, ddncodec.training.trainer
from ddncodec_cli.app import main

def child(folder, arguments, out, err):
    code = 1
    try:
        os.chdir(folder)
        for stream, number in ((open(os.devnull), 0), (out, 1), (err, 2)):
            os.dup2(stream.fileno(), number)
        sys.argv = ["ddncodec", *arguments]
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

torch.set_num_threads(1)
sys.argv = ["ddncodec", "encode", "/missing"]
with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
    main()  # imports what it imports
gc.freeze()  # and lets the children share it
answers = os.fdopen(os.dup(1), "w", buffering=1)
for line in sys.stdin:
    folder, arguments = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            child(folder, arguments, out, err)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = [os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0).hex() for stream in (out, err)]
        print(json.dumps([code, *texts]), file=answers)
"""


class Result(NamedTuple):
    """What a command line gave."""

    code: int
    out: bytes
    err: str


class Run(Protocol):
    """Run one command line in the test's folder."""

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Result: ...


def start(arguments: Sequence[object], cwd: Path, stdin: bytes = b"") -> Result:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, input=stdin, env=ENVIRONMENT,
                          capture_output=True, timeout=TIMEOUT, check=False)
    return Result(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A process of its own."""
    return lambda *arguments, stdin=b"": start(["-m", "ddncodec", *arguments], tmp_path, stdin)


@pytest.fixture
def run_code(tmp_path: Path) -> Run:
    """A process that runs the given Python code, the arguments after it being `sys.argv[1:]`."""
    return lambda *arguments, stdin=b"": start(["-c", *arguments], tmp_path, stdin)


@pytest.fixture
def run_light(run_code: Run) -> Callable[..., bytes]:
    """Run a command line, check that it does its work without torch, numpy and Pillow, and give what it printed."""
    code = """if True:
        import sys
        from ddncodec_cli.app import main
        try:
            main()
        except SystemExit as end:
            assert not end.code
        print(sorted({"torch", "numpy", "PIL"} & sys.modules.keys()))
    """

    def check(*line: object) -> bytes:
        result = run_code(code, *line)
        assert (result.code, result.err) == (0, "")
        assert result.out.endswith(b"[]\n")
        return result.out.removesuffix(b"[]\n")

    return check


@pytest.fixture(scope="session")
def forks() -> Iterator[subprocess.Popen[str]]:
    """A process with torch loaded, which forks for every command line: the start is what takes the time."""
    with subprocess.Popen([sys.executable, "-c", FORKS], env=ENVIRONMENT, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.terminate()


@pytest.fixture
def run_many(forks: subprocess.Popen[str], tmp_path: Path) -> Callable[..., list[Result]]:
    """Several command lines, each a sequence of arguments, one after the other, forked."""

    def one(line: Sequence[object]) -> Result:
        assert forks.stdin
        assert forks.stdout
        print(json.dumps([str(tmp_path), [str(argument) for argument in line]]), file=forks.stdin, flush=True)
        code, out, err = json.loads(forks.stdout.readline())
        return Result(code, bytes.fromhex(out), bytes.fromhex(err).decode())

    return lambda *lines: [one(line) for line in lines]


@pytest.fixture
def refused() -> Callable[[Result, int], str]:
    """Check that a command line was refused with a code and one line, which is returned without the program's name."""

    def check(result: Result, code: int) -> str:
        assert (result.code, result.out) == (code, b""), result
        return one_line(result)

    return check


def one_line(result: Result) -> str:
    assert "Traceback" not in result.err
    assert result.err.startswith("ddncodec: ")
    assert result.err.endswith("\n")
    assert result.err.count("\n") == 1, result.err
    return result.err.removeprefix("ddncodec: ").rstrip("\n")


def picture(width: int = 64, height: int = 64) -> Image.Image:
    """A gradient with shapes on it: no flip or turn leaves it as it is."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x // width, 255 * y // height, 128 + 0 * x], axis=2).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.ellipse([width // 8, height // 8, width // 2, height // 2], "white")
    draw.rectangle([width * 5 // 8, height // 2, width * 7 // 8, height * 7 // 8], "navy")
    return image


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    """Draws the example picture at a size."""
    return picture


@pytest.fixture
def face(tmp_path: Path) -> Path:
    """The example picture as face.png in the test's folder."""
    path = tmp_path / "face.png"
    picture().save(path)
    return path


@pytest.fixture(scope="session")
def k2() -> Path:
    """Small weights with K = 2."""
    return GOLDEN / "k2-planes.safetensors"


@pytest.fixture(scope="session")
def k3() -> Path:
    """Small weights with K = 3, whose payload is not a whole number of bits a level."""
    return GOLDEN / "k3-conv.safetensors"

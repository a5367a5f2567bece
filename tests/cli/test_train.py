"""train: a run's files, going on with a run, stopping it, and refusals; tiny networks on a folder of pictures."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

Run = Callable[..., Any]
COMMON = ["train", "--k", "2", "--l", "8", "--resolution", "8", "--batch", "4", "--data", "data", "--device", "cpu"]
TINY = [*COMMON, "--generator", "single-shot", "--channels", "4", "--planes", "4"]
PRINCIPAL = [*COMMON, "--width", "8", "--head-steps", "2", "--start-images", "1000", "--augment", "0.5"]
HIDE_FACES = """if True:
    import importlib.util
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "gan_face_generate" else find(name, *rest)
    from ddncodec_cli.app import main
    main()
"""
UNDER_TORCHRUN = """if True:
    import os
    os.environ["TORCHELASTIC_RUN_ID"] = "job"
    from ddncodec_cli.app import main
    main()
"""
TALKATIVE = """if True:
    from ddncodec_cli import progress
    from ddncodec_cli.app import main
    progress.INTERVAL = 0
    main()
"""
PLAIN = [*TINY, "--planes", "0"]  # begins at once, with random nodes
SKIPPED = "ddncodec: data: skipped: 1 unreadable"


@pytest.fixture
def data(tmp_path: Path, draw: Run) -> Path:
    """A folder of pictures, one of them below another folder, and a file that is none."""
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    image = np.asarray(draw(12, 10))
    for number in range(24):
        picture = Image.fromarray((image * rng.uniform(0.2, 1, 3)).astype(np.uint8))
        picture.save(folder / ("more" if number == 5 else ".") / f"{number}.png")
    (folder / "broken.png").write_text("no image")
    return folder


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run in the folder x that has begun: it has saved its state once."""
    with subprocess.Popen([sys.executable, "-m", "ddncodec", *arguments], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            deadline = monotonic() + 60
            while not (folder / "x/state.safetensors").exists() and monotonic() < deadline:
                assert process.poll() is None, process.communicate()
                sleep(0.05)
            yield process
        finally:
            process.kill()


def facts_of(folder: Path) -> dict[str, Any]:
    """What the state of a run says of it."""
    with safe_open(folder / "state.safetensors", "pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("arguments", [TINY, PRINCIPAL], ids=["single-shot", "principal"])
def test_a_run_leaves_weights_that_work(
    run: Run, run_many: Run, data: Path, face: Path, tmp_path: Path, arguments: list[str]
) -> None:
    result = run(*arguments, "--steps", 6, "--out", "runs/x")
    told = SKIPPED + "\n"
    assert (result.code, result.out, result.err) == (0, b"", told)  # and else quiet in a pipe
    folder = tmp_path / "runs/x"
    assert {path.name for path in folder.iterdir() if not path.name.startswith("images-8-")} == {
        "best.safetensors", "best.prior.safetensors", "state.safetensors", "state.previous.safetensors", "recipe.toml",
        "log.jsonl", "preview.png", "samples.png", "tensorboard"}
    told = log(folder)[0]
    assert told["step"] == 6
    assert told["psnr"] > 0
    with Image.open(folder / "preview.png") as preview:
        assert preview.size[1] == 5 * 8
    use = ["--model", "runs/x/best.safetensors"]
    shown, *used = run_many(["models", "show", use[1], "--json"], ["encode", "face.png", *use],
                            ["decode", "face.ddn", "-o", "back.png", *use], ["verify", "face.ddn", *use])
    assert [result.code for result in used] == [0] * 3
    facts = json.loads(shown.out)
    assert (facts["name"], facts["k"], facts["levels"], facts["resolution"]) == ("x", 2, 8, 8)


def test_a_pipe_gets_lines_of_the_start_and_of_the_steps(run_code: Run, data: Path, tmp_path: Path) -> None:
    """As where a minute is over at each of them."""
    (tmp_path / "r.toml").write_text("[train]\ncouple_images = 1_000\nrefiner_steps = 1")
    result = run_code(TALKATIVE, *PRINCIPAL, "--recipe", "r.toml", "--steps", 4, "--out", "x")
    assert (result.code, result.out) == (0, b"")
    varied = r"\d+ images/s, loss [\d.]+|[\d.]+ dB \(best [\d.]+\)|\d:\d\d:\d\d left"
    lines = [re.sub(varied, "…", line) for line in result.err.splitlines()]
    assert [line for line in lines if not line.startswith(("packing images", "trees"))] == [
        "reading images: 1,000 of 1,000, …", "images through segment 1 of 1: 1,000 of 1,000, …",
        "head 1 of 1: 1 of 2, …", "head 1 of 1: 2 of 2, …", SKIPPED, "training: 1 of 4, …, …",
        "training: 2 of 4, …, …", "reading images: 1,000 of 1,000, …", "training: 3 of 4, …, …",
        "training: 4 of 4, …, …, …", "training the refiner: 5 of 5, …, …, …",
        "counting picks: 20 of 20, …"]
    assert [line.split(":")[0] for line in lines].count("trees") == 192  # axes
    assert lines[22] == "packing images: 23"


def test_a_run_goes_on_as_if_it_had_not_stopped(run_many: Run, data: Path, tmp_path: Path, refused: Run) -> None:
    whole, part = run_many([*PLAIN, "--steps", 8, "--out", "whole"], [*PLAIN, "--steps", 8, "--out", "part"])
    assert (whole.code, part.code) == (0, 0)
    assert (tmp_path / "whole/state.safetensors").read_bytes() == (tmp_path / "part/state.safetensors").read_bytes()
    state = (tmp_path / "part/state.safetensors").read_bytes()
    over, on = run_many([*PLAIN, "--steps", 8, "--out", "part"], ["train", "--resume", "part", "--steps", 12])
    line = refused(over, 41)
    assert "--resume part" in line
    assert on.code == 0
    assert (tmp_path / "part/state.safetensors").read_bytes() != state
    assert [told["step"] for told in log(tmp_path / "part")] == [8, 12]


def test_under_torchrun_a_run_that_exists_goes_on(run_code: Run, data: Path, tmp_path: Path) -> None:
    first, again = (run_code(UNDER_TORCHRUN, *PLAIN, "--steps", steps, "--out", "x") for steps in (3, 5))
    assert (first.code, first.err) == (0, SKIPPED + "\n")
    assert (again.code, again.err) == (0, "x holds a run already: going on with it\n")
    assert [told["step"] for told in log(tmp_path / "x")] == [3, 5]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_that_can_go_on(run_many: Run, data: Path, tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, *PLAIN, "--steps", "100000", "--out", "x") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, "")
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("stopped at step ")
    assert last.endswith("; --resume x goes on")
    assert not list(tmp_path.rglob("*.tmp"))
    stopped = int(last.split()[3].rstrip(";"))
    (result,) = run_many(["train", "--resume", "x", "--steps", stopped + 3])
    assert result.code == 0
    assert log(tmp_path / "x")[-1]["step"] == stopped + 3
    assert (tmp_path / "x/best.safetensors").exists()


def test_two_trainings_in_one_folder_are_refused(run_many: Run, refused: Run, data: Path, tmp_path: Path) -> None:
    with running(tmp_path, *PLAIN, "--steps", "100000", "--out", "x") as process:
        (tmp_path / "link").symlink_to("x")
        again, resumed = run_many([*PLAIN, "--out", "link"], ["train", "--resume", "x"])
        assert refused(again, 41) == "link: another process is at work in it"
        assert refused(resumed, 41) == "x: another process is at work in it"
        process.kill()
        process.wait()
    stopped = int(facts_of(tmp_path / "x")["step"])
    assert run_many(["train", "--resume", "x", "--steps", stopped + 1])[0].code == 0  # a killed one holds no lock


def test_a_damaged_state_is_told_and_the_one_before_it_goes_on(run_many: Run, data: Path, tmp_path: Path) -> None:
    assert run_many([*PLAIN, "--steps", 2, "--out", "x"])[0].code == 0
    (tmp_path / "x/state.safetensors").write_bytes(b"no state")
    result, = run_many(["train", "--resume", "x", "--steps", 3])
    assert (result.code, result.out) == (0, b"")
    assert result.err.startswith("ddncodec: x/state.safetensors: damaged: ")
    assert result.err.endswith("; going on with the state before it, of step 0\n")
    assert result.err.count("\n") == 1
    assert log(tmp_path / "x")[-1]["step"] == 3


def test_a_run_that_runs_out_of_memory_is_told_in_one_line(run_code: Run, refused: Run, data: Path) -> None:
    scarce = """if True:
        from ddncodec.training import trainer
        def build(config):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory")
        trainer.build = build
        from ddncodec_cli.app import main
        main()
    """
    assert refused(run_code(scarce, *PLAIN, "--steps", 1, "--out", "x"), 43) == "not enough memory"


def test_data_that_is_missing_is_told(run_many: Run, refused: Run, draw: Run, tmp_path: Path) -> None:
    for name in ("empty", "one", "broken"):
        (tmp_path / name).mkdir()
    draw().save(tmp_path / "one/a.png")
    for number in range(3):
        (tmp_path / f"broken/{number}.png").write_text("no image")
    folders = ["missing", "empty", "one", "broken", "one/a.png"]
    for folder, result in zip(folders, run_many(*([*TINY, "--data", f, "--out", "x"] for f in folders)), strict=True):
        assert folder in refused(result, 40 if folder == "missing" else 50)
    assert not (tmp_path / "x").exists()


def test_without_the_faces_a_way_is_shown(run_code: Run, refused: Run, tmp_path: Path) -> None:
    """As where `make faces` was never run."""
    line = refused(run_code(HIDE_FACES, "train", "--steps", 1, "--out", "x", "--device", "cpu"), 50)
    assert "make faces" in line
    assert "folder of images" in line
    assert not (tmp_path / "x").exists()


def test_nonsense_numbers_are_usage_errors(run_many: Run, data: Path, tmp_path: Path) -> None:
    nonsense = ("k 1|k 0|k -5|k 100000|l 0|l -1|l 70000|resolution 48|resolution 0|resolution -8|resolution 4096|"
                "channels 0|channels 99999|planes -1|steps 0|batch 0|lr -1|node-lr -1|seed -1|"
                "seed 99999999999999999999|device x")
    options = [f"--{option}".split() for option in nonsense.split("|")]
    for option in options:
        (result,) = run_many([*TINY, "--steps", 1, "--out", "x", *option])
        assert (result.code, result.out) == (2, b""), option
        assert "Traceback" not in result.err
        assert result.err.count("Error: ") == 1
        assert "Error: " in result.err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_resumed_is_refused(run_many: Run, refused: Run, data: Path, tmp_path: Path, k2: Path) -> None:
    assert run_many([*PLAIN, "--steps", 2, "--out", "x"])[0].code == 0
    good = (tmp_path / "x/state.safetensors").read_bytes()
    states = {"empty": b"", "cut": good[:-5], "text": b"no state at all", "weights": k2.read_bytes(),
              "config": good.replace(b'\\"k\\\\\\":2', b'\\"k\\\\\\":1'),
              "facts": good.replace(b'\\"splits\\"', b'\\"splitz\\"')}
    for name, state in states.items():
        assert state != good, name
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.safetensors").write_bytes(state)
    results = run_many(*(["train", "--resume", name] for name in states), ["train", "--resume", "missing"])
    for name, result in zip(states, results[:-1], strict=True):
        assert refused(result, 21), name
    refused(results[-1], 40)


def test_a_run_that_cannot_be_written_is_told(run_many: Run, refused: Run, data: Path) -> None:
    for out in ("data/0.png", "data/0.png/x"):
        (result,) = run_many([*PLAIN, "--steps", 2, "--out", out])
        assert "data/0.png" in refused(result, 42)


def test_a_recipe_makes_a_run_options_override_it_and_the_runs_own_makes_the_same(
    run_many: Run, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text("""
        [network]
        generator = "single-shot"
        k = 3
        levels = 6
        resolution = 8
        channels = 4
        planes = 0
        [train]
        data = "data"
        batch = 4
        steps = 9
        lr = 0.001
        """)
    whole = ["train", "--device", "cpu", "--recipe"]
    made, again, other = run_many([*whole, "r.toml", "--steps", 2, "--seed", 7, "--out", "x"],
                                  [*whole, "x/recipe.toml", "--out", "y"], [*whole, "r.toml", "--k", 5, "--out", "z",
                                                                           "--steps", 1])
    assert (made.code, again.code, other.code) == (0, 0, 0), made.err
    recipe = tomllib.loads((tmp_path / "x/recipe.toml").read_text())
    assert (recipe["network"]["k"], recipe["train"]["steps"], recipe["train"]["seed"]) == (3, 2, 7)
    assert recipe["train"]["lr"] == 0.001
    assert log(tmp_path / "x")[0]["loss"] == log(tmp_path / "y")[0]["loss"]
    assert tomllib.loads((tmp_path / "z/recipe.toml").read_text())["network"]["k"] == 5


@pytest.mark.parametrize("text", [
    "no toml", "k = 2", "[other]", "[network]\nk = 2.5", "[network]\nplanets = 3", "[network]\ngenerator = 'gan'",
    "[network]\nk = 3", "[train]\nsteps = 'many'", "[train]\nsteps = 0", "[train]\nstep = 1", "[train]\ncompile = 1",
    "[train]\nprecision = 'int8'", "[network]\ngenerator = 'single-shot'\nwidth = 3", "[network]\nsegments = [0]",
    "[network]\nstages = 3", "\0", "[train]\nbatch = 6\naccumulate = 4", "[train]\nlr = nan",
    "[network]\ngenerator = 'recurrent'\nk = 2\nlevels = 2000\nresolution = 1024",
])
def test_a_recipe_that_is_none_is_refused(run_many: Run, refused: Run, data: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    (result,) = run_many(["train", "--recipe", "r.toml", "--data", "data", "--out", "x"])
    refused(result, 51)
    assert not (tmp_path / "x").exists()


def test_an_estimate_is_printed_and_nothing_trained(run_many: Run, tmp_path: Path) -> None:
    text, facts = run_many([*TINY, "--estimate"], [*TINY, "--estimate", "--json"])
    assert (text.code, facts.code) == (0, 0)
    found = json.loads(facts.out)
    assert f"{found['parameters']:,}" in text.out.decode()
    assert found["images"] == 4
    assert found["total_bytes"] > found["optimizer_bytes"] == 8 * found["parameters"]
    assert not (tmp_path / "runs").exists()

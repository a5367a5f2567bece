"""Several processes on gloo train as one does: the same weights on all, splits included; one that dies stops all."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.training.checkpoint import load_state
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import STATE_FILE, Trainer
from ddncodec.training.watch import LOG_FILE

SINGLE_SHOT = BlockwiseConfig.default(4, 12, 8, channels=8, planes=16)  # K > 2: with chain dropout
PRINCIPAL = PrincipalConfig(k=4, resolution=8, axes=40, coded_axes=20, depth=3, frequencies=(40, 20, 10), width=8,
                            segments=(4, 8), block_bits=8, refiner=(4, 8))
BINARY = replace(PRINCIPAL, k=2, segments=(8, 16))
# Trains as one process of a job, and leaves its own weights.
WORKER = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from ddncodec.training.distributed import join
from ddncodec.training.recipe import Recipe, read
from ddncodec.training.trainer import Trainer
with join(torch.device(sys.argv[2])) as world:
    trainer = Trainer.create(Path("job"), Recipe.of(read("recipe.toml")), world)
    assert world.size == int(sys.argv[1])
    list(trainer.run())
    state = {name: tensor.contiguous() for name, tensor in trainer.network.state_dict().items()}
    save_file({**state, "splits": torch.tensor(trainer.splits)}, f"{world.rank}.safetensors")
"""
# Leaves a job in two ways, holding what was made in it.
LEAVER = """
import sys
from pathlib import Path
import torch
from torch import nn
from ddncodec.training.distributed import join

def gloo_threads():
    names = (thread.joinpath("comm").read_text() for thread in Path("/proc/self/task").iterdir())
    return [name for name in names if "gloo" in name]

def work(world):
    held.append((world, world.wrap(nn.Linear(4, 4))))
    held[-1][1](torch.ones(2, 4)).sum().backward()
    world.sum(torch.ones(1))
    assert gloo_threads()

held = []
with join(torch.device("cpu")) as world:
    work(world)
assert not gloo_threads()
try:
    with join(torch.device("cpu")) as world:
        work(world)
        raise OSError
except OSError:
    assert not gloo_threads()
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(60):
        coarse = Image.fromarray(random.integers(0, 256, (3, 4, 3), np.uint8))
        coarse.resize((8, 8), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    return folder


def torchrun(processes: int, *arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    return subprocess.Popen([*command, *arguments], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize(("network", "processes", "accumulate", "device"), [
    pytest.param(SINGLE_SHOT, 3, 2, "cpu", id="single-shot"), pytest.param(PRINCIPAL, 2, 1, "cpu", id="principal"),
    pytest.param(BINARY, 2, 2, "cpu", id="principal-binary"),
    pytest.param(SINGLE_SHOT, 2, 2, "cuda", id="single-shot-cuda", marks=pytest.mark.cuda),
    pytest.param(PRINCIPAL, 2, 1, "cuda", id="principal-cuda", marks=pytest.mark.cuda),
])
def test_processes_end_with_the_weights_of_one(
    network: BlockwiseConfig | PrincipalConfig, processes: int, accumulate: int, device: str, photos: Path,
    tmp_path: Path
) -> None:
    if device == "cuda" and torch.cuda.device_count() < processes:
        pytest.skip("too few GPUs")  # NCCL takes one for each process
    train = TrainConfig(data=str(photos), steps=10, batch=12, warmup=2, start_images=48, head_steps=2, augment=0.5,
                        split_gate=1, couple_images=40, couple_at=0.5, validation_images=3, validate_every=5, lr=1e-3,
                        refiner_steps=5 if network is PRINCIPAL else 0)
    (tmp_path / "recipe.toml").write_text(Recipe(network, replace(train, accumulate=accumulate)).to_toml())
    (tmp_path / "worker.py").write_text(WORKER)
    with torchrun(processes, "--standalone", "worker.py", str(processes), device, cwd=tmp_path) as job:
        _, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    assert "unused parameters" not in err
    alone = Trainer.create(tmp_path / "alone", Recipe(network, train), World(torch.device("cpu")))
    list(alone.run())
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(processes)]
    for rank in ranks[1:]:
        assert all(torch.equal(tensor, rank[name]) for name, tensor in ranks[0].items())
    assert ranks[0].pop("splits") == alone.splits
    assert alone.splits > 0 or network is not SINGLE_SHOT
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(ranks[0][name].cpu(), tensor, rtol=1e-3, atol=1e-4, msg=name)
    logs = [[json.loads(line) for line in (tmp_path / name / LOG_FILE).read_text().splitlines()]
            for name in ("job", "alone")]
    assert len(logs[0]) == len(logs[1]) == (train.steps + train.refiner_steps) // 5
    for job_line, line in zip(*logs, strict=True):
        for fact in ("psnr", "loss", "usage"):
            assert job_line[fact] == pytest.approx(line[fact], rel=1e-3), fact


def test_no_thread_outlives_a_job(tmp_path: Path) -> None:
    """One that did would abort the process if it had to release a tensor while the interpreter ends."""
    (tmp_path / "leaver.py").write_text(LEAVER)
    with torchrun(2, "--standalone", "leaver.py", cwd=tmp_path) as job:
        _, err = job.communicate(timeout=60)
    assert job.returncode == 0, err


@pytest.fixture
def launch(photos: Path, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a launcher of a long training job in the folder x; all processes die at the end."""
    (tmp_path / "often.toml").write_text("[train]\nsave_every = 20\nvalidate_every = 20\nvalidation_images = 3")
    train = ["-m", "ddncodec", "train", "--recipe", "often.toml", "--generator", "single-shot", "--k", "2", "--levels",
             "8", "--resolution", "8", "--channels", "4", "--planes", "0", "--batch", "4", "--data", str(photos),
             "--device", "cpu", "--steps", "1000000", "--out", "x"]
    launched: list[subprocess.Popen[str]] = []

    def start(processes: int, *options: str) -> "subprocess.Popen[str]":
        launched.append(torchrun(processes, *options, *train, cwd=tmp_path))
        return launched[-1]

    yield start
    for launcher in launched:
        kill(launcher)
        launcher.communicate(timeout=10)


def kill(launcher: "subprocess.Popen[str]") -> None:
    """Kill a launcher with its workers, as if its node had gone."""
    for pid in [*workers(launcher), launcher.pid] if launcher.poll() is None else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def workers(*launchers: "subprocess.Popen[str]") -> list[int]:
    """The processes that launchers started."""
    return [int(pid) for launcher in launchers
            for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]


def step(folder: Path) -> int:
    """How far the job in the folder x has come; 0 before it has saved a step."""
    state = folder / "x" / STATE_FILE
    step = load_state(state)[1]["step"] if state.exists() else 0
    assert isinstance(step, int)
    return step


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = monotonic() + 90
    while not happens():
        assert monotonic() < deadline
        sleep(0.1)


def wait_for_steps(folder: Path, *launchers: "subprocess.Popen[str]", killed: Sequence[int] = ()) -> None:
    """Wait until two workers, none of them one of the killed job's, have made steps."""
    wait_for(lambda: len(set(workers(*launchers)) - set(killed)) == 2)
    before = step(folder)
    wait_for(lambda: step(folder) > before)


def test_a_process_that_dies_stops_the_job_which_goes_on_from_its_last_checkpoint(
    launch: Callable[..., Any], tmp_path: Path
) -> None:
    started = launch(2, "--standalone", "--max-restarts", "1")
    wait_for_steps(tmp_path, started)
    killed = workers(started)
    os.kill(killed[1], signal.SIGKILL)
    wait_for_steps(tmp_path, started, killed=killed)
    log = [json.loads(line)["step"] for line in (tmp_path / "x" / LOG_FILE).read_text().splitlines()]
    assert log == sorted(log)
    os.kill(workers(started)[1], signal.SIGKILL)  # once more than it may
    _, err = started.communicate(timeout=60)
    assert started.returncode != 0
    assert err.count("ddncodec: process 0 of 2 stopped, since another is gone") == 2


def test_a_signal_stops_all_processes_after_the_same_step(launch: Callable[..., Any], tmp_path: Path) -> None:
    started = launch(2, "--standalone")
    wait_for_steps(tmp_path, started)
    os.kill(workers(started)[0], signal.SIGTERM)  # one alone is asked, both stop
    _, err = started.communicate(timeout=60)
    assert f"stopped at step {step(tmp_path)}; --resume x goes on" in err


@pytest.fixture
def node(launch: Callable[..., Any]) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts one of the two launchers of a job, each with one process; the host is where they meet."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    # A node that has not been heard of for two seconds is given up.
    return lambda host: launch(
        1, "--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--max-restarts", "3",
        "--rdzv-conf", f"is_host={host},keep_alive_interval=1,keep_alive_max_attempt=2")


@pytest.mark.parametrize("struck", [0, 1])
def test_nodes_meet_again_after_a_worker_of_one_was_killed(
    struck: int, node: Callable[..., Any], tmp_path: Path
) -> None:
    nodes = [node(host=True), node(host=False)]
    wait_for_steps(tmp_path, *nodes)
    killed = workers(*nodes)
    os.kill(killed[struck], signal.SIGKILL)
    wait_for_steps(tmp_path, *nodes, killed=killed)


def test_a_node_takes_the_place_of_one_that_is_gone(
    node: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    host, other = node(host=True), node(host=False)
    wait_for_steps(tmp_path, host, other)
    killed = workers(host, other)
    kill(other)
    wait_for_steps(tmp_path, host, node(host=False), killed=killed)

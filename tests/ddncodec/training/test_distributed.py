"""Several processes on gloo train as one does: the same weights on all, splits included; one that dies stops all."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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
# Trains as one process of a job, and leaves its own weights.
WORKER = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from ddncodec.network.paper import split_and_prune
from ddncodec.training.distributed import join
from ddncodec.training.recipe import Recipe, read
from ddncodec.training.trainer import Trainer
split_and_prune.MIN_PICKS = 1
with join(torch.device(sys.argv[2])) as world:
    trainer = Trainer.create(Path("job"), Recipe.of(read("recipe.toml")), world)
    assert world.size == int(sys.argv[1])
    list(trainer.run())
    state = {name: tensor.contiguous() for name, tensor in trainer.network.state_dict().items()}
    save_file({**state, "splits": torch.tensor(trainer.splits)}, f"{world.rank}.safetensors")
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
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen([*command, *arguments], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize(("network", "processes", "accumulate", "device"), [
    pytest.param(SINGLE_SHOT, 3, 2, "cpu", id="single-shot"), pytest.param(PRINCIPAL, 2, 1, "cpu", id="principal"),
    pytest.param(SINGLE_SHOT, 2, 2, "cuda", id="single-shot-cuda", marks=pytest.mark.cuda),
    pytest.param(PRINCIPAL, 2, 1, "cuda", id="principal-cuda", marks=pytest.mark.cuda),
])
def test_processes_end_with_the_weights_of_one(
    network: BlockwiseConfig | PrincipalConfig, processes: int, accumulate: int, device: str, photos: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cuda" and torch.cuda.device_count() < processes:
        pytest.skip("too few GPUs")  # NCCL takes one for each process
    train = TrainConfig(data=str(photos), steps=10, batch=12, warmup=2, start_images=48, head_steps=2, augment=0.5,
                        couple_images=40, couple_at=0.5, validation_images=3, validate_every=5, lr=1e-3)
    (tmp_path / "recipe.toml").write_text(Recipe(network, replace(train, accumulate=accumulate)).to_toml())
    (tmp_path / "worker.py").write_text(WORKER)
    with torchrun(processes, "worker.py", str(processes), device, cwd=tmp_path) as job:
        _, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    monkeypatch.setattr("ddncodec.network.paper.split_and_prune.MIN_PICKS", 1)
    alone = Trainer.create(tmp_path / "alone", Recipe(network, train), World(torch.device("cpu")))
    list(alone.run())
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(processes)]
    for rank in ranks[1:]:
        assert all(torch.equal(tensor, rank[name]) for name, tensor in ranks[0].items())
    assert ranks[0].pop("splits") == alone.splits
    assert alone.splits > 0 or network is PRINCIPAL
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(ranks[0][name].cpu(), tensor, rtol=1e-3, atol=1e-4, msg=name)
    logs = [[json.loads(line) for line in (tmp_path / name / LOG_FILE).read_text().splitlines()]
            for name in ("job", "alone")]
    assert len(logs[0]) == len(logs[1]) == 2
    for job_line, line in zip(*logs, strict=True):
        for fact in ("psnr", "loss", "usage"):
            assert job_line[fact] == pytest.approx(line[fact], rel=1e-3), fact


@pytest.fixture
def job(photos: Path, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a long training job of two processes in the folder x, once it has saved its state; all die at the end."""
    jobs: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "subprocess.Popen[str]":
        train = ["-m", "ddncodec", "train", "--generator", "single-shot", "--k", "2", "--levels", "8", "--resolution",
                 "8", "--channels", "4", "--planes", "0", "--batch", "4", "--data", str(photos), "--device", "cpu",
                 "--steps", "1000000", "--out", "x"]
        jobs.append(torchrun(2, *options, *train, cwd=tmp_path))
        state = tmp_path / "x" / STATE_FILE
        wait_for(lambda: jobs[-1].poll() is not None or (state.exists() and step(tmp_path) > 0))
        assert jobs[-1].poll() is None
        return jobs[-1]

    yield start
    for started in jobs:
        for pid in [*workers(started.pid), started.pid] if started.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started.communicate(timeout=10)


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = monotonic() + 90
    while not happens():
        assert monotonic() < deadline
        sleep(0.2)


def step(folder: Path) -> int:
    step = load_state(folder / "x" / STATE_FILE)[1]["step"]
    assert isinstance(step, int)
    return step


def workers(parent: int) -> list[int]:
    """The processes that a launcher started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_a_process_that_dies_stops_the_job_which_goes_on_from_its_last_checkpoint(
    job: Callable[..., Any], tmp_path: Path
) -> None:
    started = job("--max-restarts", "1")
    killed = workers(started.pid)
    before = step(tmp_path)
    os.kill(killed[1], signal.SIGKILL)
    wait_for(lambda: step(tmp_path) > before + 200 and len(set(workers(started.pid)) - set(killed)) == 2)
    assert started.poll() is None
    log = [json.loads(line)["step"] for line in (tmp_path / "x" / LOG_FILE).read_text().splitlines()]
    assert log == sorted(log)
    os.kill(workers(started.pid)[1], signal.SIGKILL)  # once more than it may
    _, err = started.communicate(timeout=60)
    assert started.returncode != 0
    assert err.count("ddncodec: process 0 of 2 stopped, since another is gone") == 2


def test_a_signal_stops_all_processes_after_the_same_step(job: Callable[..., Any], tmp_path: Path) -> None:
    started = job()
    os.kill(workers(started.pid)[0], signal.SIGTERM)  # one alone is asked, both stop
    _, err = started.communicate(timeout=60)
    assert f"stopped at step {step(tmp_path)}; --resume x goes on" in err

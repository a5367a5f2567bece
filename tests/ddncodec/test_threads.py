import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ddncodec import threads


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control group's file, of a process that may run on four cores and whose environment decides nothing."""
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(("text", "number"), [
    ("150000 100000", "2"), ("50000 100000", "1"), ("400000 100000", None), ("max 100000", None), (None, None),
])
def test_there_are_no_more_threads_than_the_control_group_has_cores(
    text: str | None, number: str | None, quota: Path
) -> None:
    if text is not None:
        quota.write_text(text + "\n")
    threads.share_cpu()
    assert os.environ.get("OMP_NUM_THREADS") == number
    assert threads.cores() == int(number or 4)


def test_what_the_user_set_stays(quota: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota.write_text("100000 100000")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    threads.share_cpu()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("3", "active")


def test_a_worker_has_one_thread_whatever_was_set(quota: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = torch.get_num_threads()
    try:
        threads.use_one_thread()
        assert (os.environ["OMP_NUM_THREADS"], torch.get_num_threads()) == ("1", 1)
    finally:
        torch.set_num_threads(before)


def test_a_command_that_loads_a_network_lets_waiting_threads_sleep() -> None:
    """OpenMP itself says how its threads wait, as it is loaded."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    model = Path(__file__).parents[1] / "golden/k2-planes.safetensors"
    done = subprocess.run([sys.executable, "-m", "ddncodec", "sample", "--model", model, "-n", "1", "-o", "-"],
                          env=environment | {"OMP_DISPLAY_ENV": "true"}, capture_output=True, check=True)
    assert b"OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr.upper().replace(b"'='", b"' = '")

"""How torch's threads share the CPU with other processes; to be decided before torch is imported."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from math import ceil
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time in a period of so many; or "max" and the period


def share_cpu() -> None:
    """Let threads sleep while they wait for one another, and start no more than this process may have cores.

    By OpenMP's default a thread that waits spins, and takes from another process, and so from the thread it waits for,
    what that needs to go on. torch counts the cores that this process is bound to, but not its control group's quota.
    Variables that are set already stay as they are.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if cores() < _bound():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def use_one_thread() -> None:
    """Let networks loaded from now on run in one thread, whatever was set: for a process that works beside its like."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def cores() -> int:
    """How many cores this process may use: those that it is bound to, or as many as its control group's quota fills."""
    with suppress(OSError, ValueError):  # no such file, or no quota
        time, period = map(int, QUOTA.read_text().split())
        return min(ceil(time / period), _bound())
    return _bound()


def _bound() -> int:
    return len(os.sched_getaffinity(0))

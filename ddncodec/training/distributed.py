"""The processes of a training job, as PyTorch's launcher `torchrun` starts them; one process is a job too.

All processes hold the same weights, work on different images of a step, and sum up what they found.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from ddncodec.errors import ProcessLost

PATIENCE = timedelta(days=1)  # for what one process does alone: fitting a start, packing images


@dataclass(frozen=True, slots=True)
class World:
    """This process's place in the job. device: what it computes on. rank: 0 to size − 1; rank 0 writes files.

    patient: a group whose barrier waits for `PATIENCE`, where a collective on the device would give up.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    patient: distributed.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all processes' values, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(float(flag), device=self.device)))

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            distributed.barrier(self.patient)

    def told(self, text: str) -> str:
        """What rank 0 says."""
        said = [text]
        if self.size > 1:
            distributed.broadcast_object_list(said, 0, self.patient)
        return said[0]

    def follow(self, module: nn.Module) -> None:
        """Wait for rank 0, and make this process's state of the module the same as its."""
        self.wait()
        if self.size > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def wrap(self, module: nn.Module, some_unused: bool) -> nn.Module:
        """The module with its gradients averaged over the processes. some_unused: not all parameters get one."""
        if self.size == 1:
            return module
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the newer name of broadcast_buffers is not in torch 2.4
            return nn.parallel.DistributedDataParallel(
                module, device_ids=[self.device.index] if self.device.type == "cuda" else None,
                broadcast_buffers=False, find_unused_parameters=some_unused)


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Meet the other processes that torchrun started, by NCCL on CUDA and gloo elsewhere; alone without it.

    device: a CUDA device without an index becomes the one of this process's local rank. Raises ProcessLost, within
    the block too, when another process is gone.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device)
        return
    backend = "gloo"
    if device.type == "cuda":
        backend, device = "nccl", torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    rank = int(os.environ["RANK"])
    try:
        # A restarted job finds the store of its launcher again, with the addresses of processes that are gone.
        store = PrefixStore(f"attempt {restarts()}", next(rendezvous("env://"))[0])
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
        yield World(device, rank, size, distributed.new_group(backend="gloo", timeout=PATIENCE))
        distributed.destroy_process_group()
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise ProcessLost(f"process {rank} of {size} stopped, since another is gone ({_reason(error)}); "
                          f"its own message says why") from None


def restarts() -> int:
    """How often torchrun has restarted the job's processes."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _lost(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[0].split("] ", 1)[-1].split(". ")[0]

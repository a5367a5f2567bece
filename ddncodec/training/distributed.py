"""The processes of a training job, as PyTorch's launcher `torchrun` starts them; one process is a job too.

All processes hold the same weights, work on different images of a step, and sum up what they found.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from time import sleep
from uuid import uuid4

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from ddncodec.errors import ProcessLost

PATIENCE = timedelta(days=1)  # for what rank 0 does alone: fitting a start, packing images


@dataclass(slots=True)
class World:
    """This process's place in the job. device: what it computes on. rank: 0 to size − 1; rank 0 writes files.

    store: keys that all processes of the job see; None if there is one process.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    store: Store | None = None
    _messages: Iterator[int] = field(default_factory=count, init=False)
    _wrapped: DistributedDataParallel | None = field(default=None, init=False)

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

    def from_rank_0(self, text: str) -> str:
        """What rank 0 says. The others wait for it up to `PATIENCE`, much longer than a collective would."""
        if self.store is None:
            return text
        key = f"message {next(self._messages)}"
        if self.leads:
            self.store.set(key, text)
            return text
        self.store.wait([key], PATIENCE)
        return self.store.get(key).decode()

    def follow(self, module: nn.Module) -> None:
        """Wait for rank 0, and make this process's state of the module the same as its."""
        self.from_rank_0("ready")
        if self.size > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes; it takes the place of one wrapped before.

        All parameters that require a gradient must get one in each process.
        """
        if self.size == 1:
            return module
        self._unwrap()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the newer name of broadcast_buffers is not in torch 2.4
            self._wrapped = DistributedDataParallel(
                module, device_ids=[self.device.index] if self.device.type == "cuda" else None,
                broadcast_buffers=False)
        return self._wrapped

    def _unwrap(self) -> None:
        """Release what the wrapped module holds of the process group, whoever still holds the wrapped module."""
        if self._wrapped is not None:
            del self._wrapped.process_group, self._wrapped.reducer, self._wrapped.logger
            self._wrapped = None

    def leave(self) -> None:
        """End the process group and its threads.

        Gloo's threads end with the last reference to the group. A thread that is left when the interpreter ends may
        then have to release a tensor, for which it needs the interpreter, and aborts the process.
        """
        self._unwrap()
        distributed.destroy_process_group()


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
    # DistributedDataParallel imports these functions. If a group exists by then, their default arguments keep it alive.
    from torch.distributed.nn import functional  # noqa: F401
    try:
        store = _meet(next(rendezvous("env://"))[0], rank, size)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
        world = World(device, rank, size, store)
        try:
            yield world
        except BaseException:
            if backend == "gloo":  # NCCL would wait for the processes that are gone
                world.leave()
            raise
        world.leave()
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise ProcessLost(f"process {rank} of {size} stopped, since another is gone ({_reason(error)}); "
                          f"its own message says why") from None


def _meet(store: Store, rank: int, size: int) -> Store:
    """The part of the launcher's store that belongs to this start of the job, once all its processes are here.

    torchrun keeps the store from one start to the next, with the addresses of processes that are gone, and its
    launchers count starts differently. So rank 0 names the start, and hands the name to each process under the name
    that the process gave itself; what a process that is gone has left behind is answered too, and read by nobody.
    """
    name = uuid4().hex
    if rank > 0:
        store.set(f"process {rank}", name)
        name = store.get(f"start of {name}").decode()
        store.set(f"process {rank}", name)  # it is here
    else:
        while waiting := {store.get(f"process {other}").decode() for other in range(1, size)} - {name}:
            for process in waiting:
                store.set(f"start of {process}", name)
            sleep(0.05)
    return PrefixStore(name, store)


def _lost(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[0].split("] ", 1)[-1].split(". ")[0]

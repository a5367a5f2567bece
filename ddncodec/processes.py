"""Worker processes for batches that are made on the way: what `map` does, in several processes. Needs no torch."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Self, TypeVar

from ddncodec.errors import WorkerLost
from ddncodec.threads import use_one_thread

T = TypeVar("T")
R = TypeVar("R")
GIVEN = 2  # batches for each process at once: one at work, and one to begin with beside the end of the first


class Processes:
    """So many processes of one thread each, which start when there is work, and end with the block.

    They are started afresh, not forked: this process may have threads. What they are given is pickled.

    Args:
        count: How many; with 1 the work is done in this process.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._executor: ProcessPoolExecutor | None = None

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """What the work makes of each item, in order; no more items are taken than there is work for.

        Raises:
            WorkerLost: A process was killed; the next call starts others.
            Exception: What the work raises.
        """
        if self._count == 1:
            yield from map(work, items)
            return
        if self._executor is None:
            self._executor = ProcessPoolExecutor(self._count, get_context("spawn"), _begin)
        waiting = deque[Future[R]]()
        try:
            for item in items:
                waiting.append(self._executor.submit(work, item))
                if len(waiting) > GIVEN * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            self._end()
            raise WorkerLost("a process that was at work on it was killed") from None
        finally:
            for future in waiting:
                future.cancel()

    def _end(self) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._end()


def _begin() -> None:
    """Prepare a worker process: Ctrl-C reaches all processes, and the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_one_thread()

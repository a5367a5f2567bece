"""Worker processes that share what was loaded before them, and of which one may be killed."""

from __future__ import annotations

import gc
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")
Work = Callable[[Iterable[int | None]], Iterator[R]]

GIVEN = 2  # parts that a worker has: one at work, and one to begin with beside the end of the first
AHEAD = 8  # parts for each worker that may be handed out while an earlier one is awaited
PATIENCE = 5.0  # seconds that a worker has to end when it is told to


class Lost(NamedTuple):
    """In place of a part's result: the process that worked on it ended, with this code, or minus a signal's number."""

    code: int


class Pool(Generic[R]):
    """Worker processes for some work in parts.

    They are forks of this process: they know all that it does, and share its memory until one writes to it. It must
    have no threads. A worker that ends loses the part that it is at work on, and another one takes its place.

    Args:
        work: Runs in a worker: takes the numbers of parts, or None where it should not wait for one, and gives their
            results in the same order; of two parts it may take the second before it gives the first one's result. What
            it raises is raised by `results`.
        parts: How many there are; their numbers begin with 0.
        processes: How many workers there may be.
        stopped: Whether to hand out no more parts, so that the results end after those that were handed out.
    """

    def __init__(self, work: Work[R], parts: int, processes: int, stopped: Callable[[], bool]) -> None:
        self._work, self._parts, self._processes, self._stopped = work, parts, processes, stopped
        self._workers: list[_Worker] = []
        self._fresh = 0  # the first part that was never handed out
        self._again: deque[int] = deque()  # parts that a worker was given, and ended before it began with them
        self._told = 0  # the first part whose result was not given yet

    def results(self) -> Generator[R | Lost, None, None]:
        """The parts' results, in their order."""
        results: dict[int, R | Lost] = {}
        gc.freeze()  # the collector would write to all memory, which would be copied for each worker
        try:
            while True:
                self._hand_out()
                busy = {worker.connection: worker for worker in self._workers if worker.given}
                if not busy:
                    break
                for connection in wait(busy):
                    assert isinstance(connection, Connection)
                    worker = busy[connection]
                    result = self._take(worker)
                    results[worker.given.popleft()] = result
                    if isinstance(result, Lost):
                        self._again.extend(worker.given)
                while self._told in results:
                    yield results.pop(self._told)
                    self._told += 1
            for worker in self._workers:
                worker.end()
        except BaseException:
            for worker in self._workers:
                worker.process.terminate()
            for worker in self._workers:
                worker.end(PATIENCE)
            raise
        finally:
            gc.unfreeze()

    def _hand_out(self) -> None:
        """Give each worker as many parts as it may have, the least busy first; workers start with their first part."""
        while self._again or (self._fresh < min(self._parts, self._told + AHEAD * self._processes)
                              and not self._stopped()):
            worker = min(self._workers, key=lambda worker: len(worker.given), default=None)
            if len(self._workers) < self._processes and (worker is None or worker.given):
                worker = _Worker(self._work, [worker.connection for worker in self._workers])
                self._workers.append(worker)
            assert worker is not None
            if len(worker.given) >= GIVEN:
                break
            part = self._again[0] if self._again else self._fresh
            try:
                worker.connection.send(part)
            except OSError:  # it has ended
                if not worker.given:
                    worker.end()
                    self._workers.remove(worker)
                    continue
            worker.given.append(part)
            if self._again:
                self._again.popleft()
            else:
                self._fresh += 1

    def _take(self, worker: _Worker) -> R | Lost:
        """A result of a worker, or that it has ended, which takes it out. Raises what the work did."""
        try:
            result: R | BaseException = worker.connection.recv()
        except (EOFError, OSError):
            self._workers.remove(worker)
            return Lost(worker.end())
        if isinstance(result, BaseException):
            raise result
        return result


class _Worker:
    """A process, and the parts that it was given and has not given back, in their order.

    others: this process's connections to other workers, which the new one is not to keep open.
    """

    def __init__(self, work: Work[R], others: Sequence[Connection]) -> None:
        context = get_context("fork")
        self.connection, theirs = context.Pipe()
        self.given: deque[int] = deque()
        self.process = context.Process(target=_serve, args=(work, theirs, [*others, self.connection]), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def end(self, patience: float | None = None) -> int:
        """Let it end, by force after so many seconds; its exit code."""
        self.connection.close()
        self.process.join(patience)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


def _serve(work: Work[R], connection: Connection, others: Sequence[Connection]) -> None:
    """What a worker does, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the first one decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for other in others:
        other.close()
    try:
        for result in work(_received(connection)):
            connection.send(result)
    except BrokenPipeError:  # nobody waits for it any more
        pass
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        connection.send(_sendable(error))


def _received(connection: Connection) -> Iterator[int | None]:
    while True:
        if not connection.poll():
            yield None
        try:
            yield connection.recv()
        except (EOFError, OSError):
            return


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error

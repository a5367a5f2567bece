"""Working through many files: in processes of one thread each, with progress, and so that it can go on later."""

from __future__ import annotations

import json
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import typer

from ddncodec.batches import BATCH
from ddncodec.errors import DdnError, OutputFailed, WorkerLost
from ddncodec.threads import cores, use_one_thread
from ddncodec_cli import progress
from ddncodec_cli.jobs import (
    STANDARD,
    Failures,
    Job,
    Jobs,
    Outputs,
    complain,
    input_size,
    is_there,
    named,
    printable,
    require_free,
    shown,
    write_standard,
)
from ddncodec_cli.options import Running

Item = TypeVar("Item")
Made = TypeVar("Made")
Facts = dict[str, Any]
INTERRUPTED = 128 + signal.SIGINT


class Finished(NamedTuple):
    """An output, and what there is to know of it.

    data: None where nothing is to be written. facts: names and values that JSON knows.
    """

    data: bytes | memoryview | None
    facts: Facts


class Work(ABC, Generic[Item, Made]):
    """What a command does to files, a batch at a time; perhaps in several processes, each of which has a copy of it.

    A DdnError of `read` or `finish` is of that file alone; what is raised otherwise ends the command.

    Attributes:
        verb: As in "would encode 3 files".
        doing: As in "encoding".
        resume: How to go on after an interruption.
    """

    verb: ClassVar[str]
    doing: ClassVar[str]
    resume: ClassVar[str] = "the same command with --skip-existing goes on"

    def size(self, source: Path) -> int:
        """How many bytes an input has. Raises DdnError."""
        return input_size(source)

    def prepare(self, jobs: Jobs) -> bool:
        """Load what several processes can share, before there are several; False if there can be only one."""
        return True

    @abstractmethod
    def read(self, job: Job) -> Item:
        """What is in an input. Raises DdnError."""

    @abstractmethod
    def compute(self, items: Sequence[Item]) -> Sequence[Made | DdnError]:
        """What becomes of each of at most `BATCH` things that were read, or why nothing does."""

    @abstractmethod
    def finish(self, job: Job, made: Made) -> Finished:
        """The output. Raises DdnError."""


class Done(NamedTuple):
    """A job that is done, and its output written.

    facts: its file and output, and what the work says of it. data: the output, where the job has no target.
    """

    job: Job
    facts: Facts
    data: bytes | None


def run(jobs: Jobs, work: Work[Item, Made], how: Running, failures: Failures, force: bool = False) -> Iterator[Done]:
    """Work through jobs, and tell of each what is to be told, in their order.

    Args:
        jobs: As `plan` makes them; or without targets, for what writes no files.
        work: What the command does to them.
        how: The options that all such commands have.
        failures: Is told what cannot be done. An interruption sets its exit code.
        force: Overwrite outputs that exist.

    Yields:
        Each job that is done, while others are worked on: all are to be taken.

    Raises:
        BadParameter: Options that contradict one another; also what the work raises of it.
    """
    left = to_do(jobs, how, failures, force, work.verb, work.size)
    long = len(left) > BATCH
    total = Total()
    with (
        _interruptible(long) as stopped,
        progress.of_files(long and not how.quiet, work.doing, len(left)) as advance,
        closing(_batches(left, work, how, force, stopped)) as batches,
    ):
        for batch in batches:
            part = left[total.files : total.files + len(batch.outcomes)]
            for job, outcome in zip(part, batch.outcomes, strict=True):
                if done := _tell(job, outcome, how, failures):
                    yield done
            total = total.plus(batch)
            advance(total.files, total.read, total.written)
    if total.files < len(left):
        complain(f"interrupted: {total.files:,} of {len(left):,} files are worked through; {work.resume}")
        failures.exit_code = INTERRUPTED
    if how.verbose:
        failures.note(str(total))


def to_do(jobs: Jobs, how: Running, failures: Failures, force: bool, verb: str,
          size_of: Callable[[Path], int] = input_size) -> Jobs:
    """The jobs that are to be done: without those that are to be skipped, or none where it is only said what would be.

    Raises BadParameter for options that contradict one another.
    """
    if how.skip_existing and force:
        raise typer.BadParameter("--skip-existing leaves outputs that exist, and --force overwrites them")
    left = Jobs(job for job in jobs if not (job.target and is_there(job.target))) if how.skip_existing else jobs
    if len(left) < len(jobs):
        failures.note(f"{len(jobs) - len(left):,} outputs exist already and are skipped")
    if not how.dry_run:
        return left
    size = count = 0
    for job in left:
        with failures.guard(job.source):
            if job.target:
                require_free(job.target, force)
            size += size_of(job.source)
            count += 1
            names = _names(job)
            typer.echo(json.dumps(names) if how.json_lines else printable(" -> ".join(names.values())))
    failures.note(f"would {verb} {count:,} files of {size:,} bytes")
    return Jobs()


def _names(job: Job) -> dict[str, str]:
    return {"file": str(job.source)} | ({"output": str(job.target)} if job.target else {})


class Outcome(NamedTuple):
    """What became of one job, as the process that did it tells.

    facts: None where it failed. data: what that process was not to write. read, written: bytes.
    """

    facts: Facts | None = None
    data: bytes | None = None
    error: DdnError | None = None
    read: int = 0
    written: int = 0


class Batch(NamedTuple):
    """What became of a batch of jobs, and for how many seconds a process read, computed, and made and wrote outputs."""

    outcomes: Sequence[Outcome]
    reading: float = 0.0
    computing: float = 0.0
    writing: float = 0.0


class Total(NamedTuple):
    """What was worked through."""

    files: int = 0
    read: int = 0
    written: int = 0
    reading: float = 0.0
    computing: float = 0.0
    writing: float = 0.0

    def plus(self, batch: Batch) -> Total:
        """With one more batch."""
        return Total(self.files + len(batch.outcomes),
                     self.read + sum(outcome.read for outcome in batch.outcomes),
                     self.written + sum(outcome.written for outcome in batch.outcomes),
                     self.reading + batch.reading, self.computing + batch.computing, self.writing + batch.writing)

    def __str__(self) -> str:
        seconds = self.reading + self.computing + self.writing
        shares = ", ".join(f"{name} {part / seconds:.0%}" for name, part in (
            ("reading", self.reading), ("network", self.computing), ("writing", self.writing))) if seconds else "none"
        return (f"{self.files:,} files, {self.read:,} bytes read, {self.written:,} written; "
                f"{seconds:.2f} s of all processes together: {shares}")


def _tell(job: Job, outcome: Outcome, how: Running, failures: Failures) -> Done | None:
    """Tell what became of a job; None where it failed."""
    error, data = outcome.error, outcome.data
    if job.target == STANDARD and data is not None:
        try:
            write_standard(data)
        except OutputFailed as refused:
            error = refused.of(shown(job.source))
    if error:
        failures.tell(error)
    if how.json_lines:
        told = {"error": str(error), "exit_code": error.exit_code} if error else outcome.facts
        typer.echo(json.dumps(_names(job) | (told or {})))
    if error or outcome.facts is None:
        return None
    if how.verbose:
        output = f", {outcome.written:,} bytes in {job.target}" if job.target else ""
        failures.note(f"{shown(job.source)}: done{output}")
    return Done(job, _names(job) | outcome.facts, None if job.target else data)


def _processes(jobs: Jobs, how: Running) -> int:
    return min(how.jobs or cores(), -(-len(jobs) // BATCH))


def _batches(jobs: Jobs, work: Work[Item, Made], how: Running, force: bool, stopped: Callable[[], bool]
             ) -> Generator[Batch, None, None]:
    """What becomes of all batches, or of those begun before it is to stop, in their order."""
    parts, processes = -(-len(jobs) // BATCH), _processes(jobs, how)

    def part(number: int) -> list[Job]:
        return jobs[number * BATCH : (number + 1) * BATCH]

    if how.jobs or parts > 1:
        use_one_thread()
    if processes < 2 or not work.prepare(jobs):
        yield from _worked(work, takewhile(lambda _: not stopped(), map(part, range(parts))), force)
        return
    from ddncodec_cli.pool import Lost, Pool  # imports multiprocessing, which takes as long as a file

    def worked(numbers: Iterable[int | None]) -> Iterator[Batch]:
        return _worked(work, (None if number is None else part(number) for number in numbers), force)

    with closing(Pool(worked, parts, processes, stopped).results()) as results:
        for number, result in enumerate(results):
            yield Batch([_lost(job, result.code) for job in part(number)]) if isinstance(result, Lost) else result


def _lost(job: Job, code: int) -> Outcome:
    why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return Outcome(error=WorkerLost(f"the process that was at work on it {why}", shown(job.source)))


def _worked(work: Work[Item, Made], parts: Iterable[Sequence[Job] | None], force: bool) -> Iterator[Batch]:
    """What becomes of batches, in this process; each is read and computed while the one before goes to the disk.

    None of its outputs is there before the outcome of the batch before is told: where this process is killed, another
    one does it anew.

    parts: None where nothing is to be begun, so that what is to be told can be.
    """
    with Outputs(force) as outputs:
        before: _InWork[Item, Made] | None = None
        for part in parts:
            begun = None if part is None else _InWork(part, work, outputs, force)
            if before:
                yield before.end()
            if begun:
                begun.publish()
            before = begun
        if before:
            yield before.end()


class _InWork(Generic[Item, Made]):
    """A batch of jobs, read and computed; the outputs are written, though not in their places."""

    def __init__(self, jobs: Sequence[Job], work: Work[Item, Made], outputs: Outputs, force: bool) -> None:
        self._jobs, self._work, self._outputs = jobs, work, outputs
        self._outcomes = [Outcome() for _ in jobs]
        self._written: list[int] = []  # whose outputs are written, but perhaps not yet on the disk
        self._published: Future[list[DdnError | None]] | None = None
        began = perf_counter()
        items: dict[int, Item] = {}
        for number, job in enumerate(jobs):
            with self._guard(number):
                if job.target:
                    require_free(job.target, force)
                items[number] = work.read(job)
        read = perf_counter()
        made = work.compute(list(items.values())) if items else []
        computed = perf_counter()
        for number, one in zip(items, made, strict=True):
            with self._guard(number):
                self._write(number, one)
        self._reading, self._computing, self._writing = read - began, computed - read, perf_counter() - computed

    def publish(self) -> None:
        """Let the outputs be there."""
        self._published = self._outputs.publish()

    def _write(self, number: int, made: Made | DdnError) -> None:
        if isinstance(made, DdnError):
            raise made
        job = self._jobs[number]
        data, facts = self._work.finish(job, made)
        outcome = Outcome(facts, read=self._work.size(job.source))
        if data is not None:
            outcome = outcome._replace(written=len(data))
            if job.target and job.target != STANDARD:
                self._outputs.write(job.target, data)
                self._written.append(number)
            else:
                outcome = outcome._replace(data=bytes(data))
        self._outcomes[number] = outcome

    def end(self) -> Batch:
        """What became of the jobs, once their outputs are there."""
        began = perf_counter()
        assert self._published
        for number, failure in zip(self._written, self._published.result(), strict=True):
            if failure:
                self._outcomes[number] = Outcome(error=failure.of(shown(self._jobs[number].source)))
        return Batch(self._outcomes, self._reading, self._computing, self._writing + perf_counter() - began)

    @contextmanager
    def _guard(self, number: int) -> Iterator[None]:
        """Within the block a DdnError is what becomes of that job."""
        try:
            with named(self._jobs[number].source):
                yield
        except DdnError as error:
            self._outcomes[number] = Outcome(error=error)


@contextmanager
def _interruptible(wanted: bool) -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C does nothing but to make the function true; the second one acts as ever."""
    asked = False
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)
        os.write(2, b"ddncodec: finishing what is begun; another Ctrl-C ends at once\n")  # print may be in use now

    if wanted and before != signal.SIG_IGN:  # as of a job behind &
        signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)

"""Runs trials in several processes of this machine, forked from one that has imported what they need.

A worker is told one job at a time through a pipe and answers with its events and its outcome. One that ends without an
answer, whatever killed it, is replaced, and its job is reported as lost. Workers end by themselves when the process
that made them does. As with everything in `multiprocessing`, a script that uses this must guard its own start with
`if __name__ == "__main__"`.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeAlias

from autogpt.errors import AutoGPTError
from autogpt.events import Event
from autogpt.search.executor import Job, Objective, Outcome, failure
from autogpt.search.trials import Report

__all__ = ["Processes"]

Answer: TypeAlias = Event | Report | str | BaseException
"""Of a worker: an event; or, as the job's last, a report, an error of the trial in words, or what was raised."""

_PATIENCE_S = 3.0
"""How long a worker may take to end when it is told to, before it is killed."""


@dataclass(slots=True)
class _Worker:
    """One process; `job` is what it runs, `last` the trial that it ran last."""

    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    last: int | None = None


class Processes:
    """An executor of several processes.

    Args:
        make: called once in each worker for its objective; it is pickled, so it holds data and no open files.
        workers: how many.
        preload: modules that are imported once, before the workers are forked; nothing in them may start threads.
    """

    def __init__(self, make: Callable[[], Objective], workers: int, *, preload: Sequence[str] = ()) -> None:
        self.workers = workers
        self._make = make
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._pool = [self._worker() for _ in range(workers)]
        self._told: deque[Event | Outcome] = deque()

    def submit(self, job: Job) -> None:
        free = [worker for worker in self._pool if worker.job is None]
        # The one that ran the trial last has it in memory still; any other one reads its checkpoint.
        worker = next((worker for worker in free if worker.last == job.number), free[0])
        try:
            worker.pipe.send(job)
        except OSError:  # it died while it was idle: nothing was lost
            self._replace(worker)
            self.submit(job)
        else:
            worker.job, worker.last = job, job.number

    def wait(self) -> Event | Outcome:
        while not self._told:
            busy = {worker.pipe: worker for worker in self._pool if worker.job is not None}
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                self._hear(busy[pipe])
        return self._told.popleft()

    def close(self) -> None:
        pool, self._pool = self._pool, []
        for worker in pool:
            worker.pipe.close()  # an idle worker ends by that, a busy one with its next event
            if worker.job is not None:
                worker.process.terminate()
        for worker in pool:
            worker.process.join(_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()

    def _hear(self, worker: _Worker) -> None:
        assert worker.job is not None
        job = worker.job
        try:
            answer: Answer = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            self._told.append(Outcome(job))
            return
        if isinstance(answer, Event):
            self._told.append(answer)
            return
        worker.job = None
        if isinstance(answer, BaseException):
            raise answer
        said = Outcome(job, answer) if isinstance(answer, Report) else Outcome(job, error=answer)
        self._told.append(said)

    def _replace(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.join(_PATIENCE_S)
        worker.process.close()
        self._pool[self._pool.index(worker)] = self._worker()

    def _worker(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._make), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)


def _work(pipe: Connection, make: Callable[[], Objective]) -> None:
    """A worker's life: one job after the other, until the pipe is closed from the other side."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who made us decides what ends
    objective = cache(make)
    with suppress(EOFError, OSError):  # nobody is there any more
        while True:
            job: Job = pipe.recv()
            for answer in _answers(objective, job):
                pipe.send(answer)


def _answers(objective: Callable[[], Objective], job: Job) -> Generator[Answer, None, None]:
    try:
        report = yield from objective()(job)
    except Exception as error:
        yield _failed(error)
    else:
        yield report


def _failed(error: Exception) -> str | Exception:
    """The trial's failure in words, or what the other side raises: our own errors, and others by their traceback."""
    try:
        return failure(error)
    except AutoGPTError as raised:
        return raised
    except Exception:
        return AutoGPTError("a process that runs trials failed", found=traceback.format_exc())

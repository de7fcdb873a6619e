"""Where trials run: the protocol of an executor, and the one that runs them in this process.

A trial is a chain of jobs. A job takes one trial from where its checkpoint stands to the next share at which it is
scored, and leaves a checkpoint there, so it may run anywhere, and once more when the process that ran it is lost. What
is run next is decided by `study.optimize` alone; an executor decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from autogpt.errors import AutoGPTError, BadInput, Interrupted
from autogpt.events import Event
from autogpt.search.trials import Report

__all__ = ["Executor", "Inline", "Job", "Objective", "Outcome", "failure"]


@dataclass(frozen=True, slots=True)
class Job:
    """A part of a trial.

    Attributes:
        number: of the trial.
        config: of the trial.
        after: the share at which its checkpoint stands; 0 for a trial that is new.
        until: the share at which it reports.
    """

    number: int
    config: Mapping[str, Any]
    after: float
    until: float


Objective: TypeAlias = Callable[[Job], Generator[Event, None, Report]]
"""Runs a job: yields events on the way, returns the report. A report of share 1 ends the trial, also before `until`.
An AutoGPTError (BadInput and Interrupted aside), RuntimeError or MemoryError fails the trial."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: with a report, with an error in words, or with neither when the process that ran it was lost."""

    job: Job
    report: Report | None = None
    error: str = ""

    @property
    def lost(self) -> bool:
        return self.report is None and not self.error


class Executor(Protocol):
    """Runs jobs. Checked by `autogpt.testing.ExecutorContract`."""

    @property
    def workers(self) -> int:
        """How many jobs may be submitted before the first outcome."""
        ...

    def submit(self, job: Job) -> None:
        """Take on a job. Never more than `workers` at a time, and never two of one trial."""
        ...

    def wait(self) -> Event | Outcome:
        """What happened next in any of the jobs that were submitted; blocks until something did.

        Each job has one outcome, after all its events. An error that is not the trial's own is raised.
        """
        ...

    def close(self) -> None:
        """Give up what is running and free everything. May be called again."""
        ...


class Inline:
    """Runs jobs one by one in this process, each as far as somebody waits for it."""

    workers = 1

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._job: Job | None = None
        self._running: Generator[Event, None, Report] | None = None

    def submit(self, job: Job) -> None:
        self._job, self._running = job, self._objective(job)

    def wait(self) -> Event | Outcome:
        assert self._job is not None
        assert self._running is not None
        job = self._job
        try:
            return next(self._running)
        except StopIteration as end:
            outcome = Outcome(job, end.value)
        except Exception as error:
            outcome = Outcome(job, error=failure(error))
        self._job = self._running = None
        return outcome

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
        self._job = self._running = None


def failure(error: Exception) -> str:
    """Why the trial failed, in words; what is no failure of a trial is raised again."""
    if isinstance(error, BadInput | Interrupted) or not isinstance(error, AutoGPTError | RuntimeError | MemoryError):
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, AutoGPTError) else f"{type(error).__name__}: {text}"

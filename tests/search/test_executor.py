from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from autogpt.errors import AutoGPTError, DataError, Interrupted, TrainingError
from autogpt.events import Event
from autogpt.search.executor import Executor, Inline, Job, Objective, Outcome, failure
from autogpt.search.trials import Report
from autogpt.testing import ExecutorContract


class TestInline(ExecutorContract):
    def make(self, objective: Callable[[], Objective], workers: int) -> Executor:
        return Inline(objective())


def test_closing_closes_the_objective() -> None:
    closed = []

    def objective(job: Job) -> Generator[Event, None, Report]:
        try:
            yield Event("training.step", {})
            return Report(1.0, 0.0)
        finally:
            closed.append(job.number)

    executor = Inline(objective)
    executor.submit(Job(3, {}, 0.0, 1.0))
    executor.wait()
    executor.close()
    assert closed == [3]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TrainingError("the loss is not finite"), "the loss is not finite"),
        (RuntimeError("out of\n  memory"), "RuntimeError: out of memory"),
        (MemoryError(), "MemoryError: MemoryError"),
    ],
)
def test_failures_of_a_trial_in_words(error: Exception, text: str) -> None:
    assert failure(error) == text


@pytest.mark.parametrize("error", [DataError("row 3"), Interrupted("stopped"), ValueError("bug")])
def test_other_errors_are_raised_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        failure(error)


def test_an_outcome_is_lost_when_nothing_is_known_of_it() -> None:
    job = Job(0, {}, 0.0, 1.0)
    assert Outcome(job).lost
    assert not Outcome(job, Report(1.0, 0.0)).lost
    assert not Outcome(job, error=str(AutoGPTError("no"))).lost

"""Workers that are killed at random moments: no trial that ended is lost, none is run twice, the search ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from autogpt.events import Event
from autogpt.search.executor import Executor, Job, Objective, Outcome
from autogpt.search.processes import Processes
from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Report, Study
from autogpt.store.leases import process_exists
from autogpt.testing import ExecutorContract, quadratic_space


class TestProcesses(ExecutorContract):
    def make(self, objective: Callable[[], Objective], workers: int) -> Executor:
        return Processes(objective, workers)


def counted(folder: Path, seconds: float) -> Objective:
    """Leaves a file for each job that it ends; takes some time, and tells its process."""

    def objective(job: Job) -> Generator[Event, None, Report]:
        yield Event("training.step", {"number": job.number, "pid": os.getpid()})
        time.sleep(seconds)
        with (folder / f"{job.number}-{job.until:.3f}").open("a", encoding="utf-8") as file:
            file.write("ended\n")
        return Report(job.until, -(float(job.config["x"]) ** 2))

    return objective


def pids(executor: Processes) -> list[int]:
    return [worker.process.pid or 0 for worker in executor._pool]


@pytest.mark.parametrize(
    ("kills", "trials"), [(8, 16), pytest.param(100, 150, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_killed_workers_lose_no_ended_trial(kills: int, trials: int, tmp_path: Path) -> None:
    rng, space = random.Random(0), quadratic_space()
    executor = Processes(partial(counted, tmp_path, 0.02), 2)
    sampler = RandomSampler(space, direction="max")
    search = optimize(space, executor, sampler, Racing(), Budget(1e9), limits=Limits(trials))
    reported, study = [], None
    while study is None:
        try:
            event = next(search)
        except StopIteration as end:
            study = end.value
            break
        if event.kind == "search.trial_reported":
            reported.append((event.data["number"], event.data["share"]))
        if kills and event.kind in ("training.step", "search.trial_reported") and rng.random() < 0.3:
            with suppress(ProcessLookupError):  # that one is dead already
                os.kill(rng.choice(pids(executor)), signal.SIGKILL)
                kills -= 1
            time.sleep(rng.random() * 0.01)
    assert isinstance(study, Study)
    assert kills == 0
    assert len(study.trials) == trials
    assert len(reported) == len(set(reported))  # no part of a trial has two reports
    for trial in study.trials:
        assert trial.state in ("finished", "stopped", "failed")
        assert (trial.state == "failed") == (trial.lost >= 2) == ("was lost 2 times" in trial.error)
        assert [(trial.number, report.share) for report in trial.reports] == [
            row for row in reported if row[0] == trial.number
        ]
    assert any(trial.lost == 1 and trial.state != "failed" for trial in study.trials)
    assert study.best is not None


def test_a_worker_that_dies_while_idle_is_replaced(tmp_path: Path) -> None:
    with closing(Processes(partial(counted, tmp_path, 0.0), 1)) as executor:
        os.kill(pids(executor)[0], signal.SIGKILL)
        time.sleep(0.2)
        executor.submit(Job(0, {"x": 2.0}, 0.0, 1.0))
        while isinstance(outcome := executor.wait(), Event):
            pass
        # Told at once, or found out by the pipe: either way the search knows, and the next job runs.
        if isinstance(outcome, Outcome) and outcome.lost:
            executor.submit(Job(0, {"x": 2.0}, 0.0, 1.0))
            while isinstance(outcome := executor.wait(), Event):
                pass
        assert isinstance(outcome, Outcome)
        assert outcome.report is not None
        assert outcome.report.score == -4.0


def test_the_same_worker_goes_on_with_a_trial(tmp_path: Path) -> None:
    def pid_of(executor: Processes, job: Job) -> int:
        executor.submit(job)
        told = 0
        while isinstance(happened := executor.wait(), Event):
            told = happened.data["pid"]
        return told

    with closing(Processes(partial(counted, tmp_path, 0.0), 2)) as executor:
        first = pid_of(executor, Job(0, {"x": 1.0}, 0.0, 0.5))
        assert {pid_of(executor, Job(0, {"x": 1.0}, 0.5, 1.0)) for _ in range(5)} == {first}


def test_workers_end_with_the_process_that_made_them(tmp_path: Path) -> None:
    script = tmp_path / "search.py"
    script.write_text(
        "import os, signal, sys\n"
        "from autogpt.search.executor import Job\n"
        "from autogpt.search.processes import Processes\n"
        "from autogpt.testing import squares\n"
        "if __name__ == '__main__':\n"
        "    executor = Processes(squares, 2)\n"
        "    executor.submit(Job(0, {'x': 1.0}, 0.0, 1.0))\n"
        "    executor.wait()\n"
        "    print(*[worker.process.pid for worker in executor._pool], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2
    for _ in range(100):
        if not any(process_exists(pid) for pid in workers):
            return
        time.sleep(0.05)
    raise AssertionError(f"{workers} live on")

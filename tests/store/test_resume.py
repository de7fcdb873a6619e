"""Search and database together: a search killed with SIGKILL goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from autogpt.events import Event
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.study import Limits, Report, Trial, optimize
from autogpt.store.database import Store
from autogpt.testing import quadratic_space

TRIALS = 14


def objective(job: Job) -> Generator[Event, None, Report]:
    yield from ()
    return Report(job.until, -sum(value**2 for value in job.config.values()) - (1 - job.until))


def search(store: Store, run: str) -> Iterator[int]:
    """What the pipeline does: goes on from the recorded trials and records each one as it changes."""
    history = [Trial.from_dict(row.to_dict()) for row in store.trials(run)]
    space = quadratic_space()
    for event in optimize(
        space,
        Inline(objective),
        BayesSampler(space, 1, direction="max"),
        Racing(),
        Budget(1e9),
        history=history,
        limits=Limits(TRIALS),
    ):
        if "trial" in event.data:
            store.record_trial(run, event.data["trial"])
        if event.kind == "search.trial_finished":
            yield event.data["trial"]["number"]


def start(store: Store) -> str:
    return store.start_run("quadratic", spec={"kind": "x"}, fingerprint="f", config={}, budget_s=1.0).id


def main(home: str) -> None:
    """The process that is killed."""
    with Store(Path(home)) as store:
        run = start(store)
        for number in search(store, run):
            sys.stdout.write(f"{run} {number}\n")
            sys.stdout.flush()


@pytest.mark.parametrize("kill_after", [2, 9])
def test_no_finished_trial_is_lost_or_run_again(tmp_path: Path, kill_after: int) -> None:
    with Store(tmp_path / "unbroken") as store:
        run = start(store)
        assert set(search(store, run)) == set(range(TRIALS))
        unbroken = [(row.number, row.config, row.state, row.score) for row in store.trials(run)]

    command = [sys.executable, __file__, str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().split() for _ in range(kill_after)]
    os.kill(process.pid, signal.SIGKILL)
    said += [line.split() for line in process.stdout.read().splitlines()]
    process.wait()
    process.stdout.close()

    with Store(tmp_path / "killed") as store:
        run = said[0][0]
        finished = [row for row in store.trials(run) if row.state == "finished"]
        assert {int(number) for _, number in said} <= {row.number for row in store.trials(run)}
        store.claim_run(run)
        assert not {row.number for row in finished} & set(search(store, run))
        assert finished == [row for row in store.trials(run) if row.number in {known.number for known in finished}]
        assert [(row.number, row.config, row.state, row.score) for row in store.trials(run)] == unbroken


if __name__ == "__main__":
    main(sys.argv[1])

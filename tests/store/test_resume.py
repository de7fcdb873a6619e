"""Search and database together: a search killed with SIGKILL goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.study import Report, Trial, optimize
from autogpt.store.database import Store
from autogpt.testing import quadratic_space

TRIALS = 14


def objective(number: int, config: Mapping[str, Any]) -> Iterator[Report]:
    loss = sum(value**2 for value in config.values())
    for share in (1 / 9, 1 / 3, 1.0):
        yield Report(share, -loss - (1 - share))


def search(store: Store, run: str) -> Iterator[int]:
    """What the pipeline does: goes on from the recorded trials and records each one as it ends."""
    history = [Trial.from_dict(row.to_dict()) for row in store.trials(run)]
    space = quadratic_space()
    for event in optimize(
        space,
        objective,
        BayesSampler(space, 1, direction="max"),
        Racing(),
        Budget(1e9),
        history=history,
        max_trials=TRIALS,
    ):
        if event.kind == "search.trial_finished":
            store.record_trial(run, event.data["trial"])
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
        assert list(search(store, run)) == list(range(TRIALS))
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
        recorded = len(store.trials(run))
        assert recorded >= len(said)
        store.claim_run(run)
        assert list(search(store, run)) == list(range(recorded, TRIALS))
        assert [(row.number, row.config, row.state, row.score) for row in store.trials(run)] == unbroken


if __name__ == "__main__":
    main(sys.argv[1])

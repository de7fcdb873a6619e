"""What a trial does from one rung to the next, in one process and in another; the search around it is in `search`."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autogpt.bench import Bench, judge, set_up
from autogpt.config import load_run_config
from autogpt.data import readers
from autogpt.errors import ConfigError, TrainingError
from autogpt.events import Event
from autogpt.pipeline import fit, fit_summary
from autogpt.run import Run
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.stopping import stopper
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Report, Trial
from autogpt.stages_search import TrialRunner, _is_below_ceilings, _sampler, clock_of, share_of
from autogpt.store.artifacts import RunFolder, write_json
from autogpt.store.database import Store
from autogpt.tasks.understand import understand
from autogpt.training.admission import Admission, Ceilings
from autogpt.training.loop import averaged

WORDS = {"red": ("rose", "blood", "ruby"), "green": ("grass", "leaf", "moss")}
SENTENCE = "Sort short texts by the colour of the thing"
SPACE = "{width: 128, depth: 3, vocabulary: 1024, tokens_per_step: 512, epochs: 10, dropout: 0.0}"
SECRET = "sealedword"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng, rows = random.Random(0), []
    for number in range(120):
        label = rng.choice(sorted(WORDS))
        rows.append({"text": f"the {rng.choice(WORDS[label])} of {number}", "label": label})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def runner(tmp_path: Path, data: Path) -> TrialRunner:
    test = tmp_path / "test.jsonl"
    rows = [{"text": f"{SECRET} {number}", "label": "red"} for number in range(20)]
    test.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = load_run_config(None, [f"search.space={SPACE}", "training.threads=1"], base="scratch")
    tables = [readers.read(data), readers.read(test)]
    spec = understand(SENTENCE, readers.sample(tables[0], seed=0), config.task)
    return TrialRunner(set_up(config, spec, tables, 60.0), config, RunFolder(tmp_path / "run"), 1e-9, 0.1)


def driven(running: Generator[Event, None, Report]) -> tuple[Report, list[Event]]:
    events = []
    while True:
        try:
            events.append(next(running))
        except StopIteration as end:
            return end.value, events


def weights(runner: TrialRunner) -> list[torch.Tensor]:
    assert runner._last is not None
    return [parameter.detach().clone() for parameter in runner._last[1].model.parameters()]


def test_a_trial_goes_on_the_same_here_and_from_its_checkpoint(runner: TrialRunner) -> None:
    """With a full length of no time at all, each job is one step."""
    config = runner.bench.space.default
    elsewhere = replace(runner)
    first, events = driven(runner(Job(0, config, 0.0, 0.25)))
    assert first.info["step"] == 1
    assert {event.data["number"] for event in events} == {0}
    second, _ = driven(elsewhere(Job(0, config, 0.25, 0.5)))
    moved = weights(elsewhere)
    again, _ = driven(runner(Job(0, config, 0.25, 0.5)))
    assert (second.info["step"], again.info["step"]) == (2, 2)
    assert second.info["loss"] == again.info["loss"]
    assert all(torch.equal(a, b) for a, b in zip(moved, weights(runner), strict=True))


def test_a_report_tells_score_loss_size_and_time_and_keeps_the_rows(runner: TrialRunner) -> None:
    report, _ = driven(runner(Job(3, runner.bench.space.default, 0.0, 0.5)))
    assert runner._last is not None
    assert report.info["parameters"] == runner._last[1].model.num_parameters()
    assert report.info["row_ms"] > 0
    assert abs(report.value - report.score) <= 0.075  # three quarters of the resolution
    kept = np.load(runner.folder.rows(3, 0.5))
    assert kept["rows"][:, 0].sum() / kept["rows"][:, 1].sum() == pytest.approx(report.score)
    assert kept["losses"][:, 0].sum() / kept["losses"][:, 1].sum() == pytest.approx(report.info["loss"], abs=1e-5)


def test_the_candidate_of_a_trial_is_as_it_was_when_it_reported(runner: TrialRunner) -> None:
    job = Job(0, runner.bench.space.default, 0.0, 0.25)
    elsewhere = replace(runner)
    report, _ = driven(runner(job))
    trial = Trial(0, job.config, "running", (report,))
    for ran in (runner, elsewhere):  # where it ran it is at hand, elsewhere it is read from its checkpoint
        with averaged(ran.candidate_of_last(trial).state) as model:
            assert judge(ran.bench, ran.candidate_of_last(trial), model).loss == pytest.approx(
                report.info["loss"], abs=1e-5
            )


def test_a_trial_that_has_seen_all_its_epochs_is_over(runner: TrialRunner) -> None:
    slow = replace(runner, full_s=1e9)
    report, events = driven(slow(Job(0, {**runner.bench.space.default, "epochs": 10}, 0.0, 0.25)))
    assert report.share == 1.0
    assert len(events) == report.info["step"]


def test_another_process_has_no_sealed_rows(runner: TrialRunner) -> None:
    assert SECRET in str(runner.bench.parts[0].dataset.sealed.open())
    apart = replace(runner, bench=runner.bench.without_sealed_rows())
    assert SECRET.encode() not in pickle.dumps(apart)
    assert pickle.loads(pickle.dumps(apart)).bench.space.default == runner.bench.space.default


# --- ceilings and wishes ---------------------------------------------------------------------------------------------


def bench_of(data: Path, *options: str) -> Bench:
    config = load_run_config(None, [*options, "training.threads=1"], base="scratch")
    table = readers.read(data)
    spec = understand(SENTENCE, readers.sample(table, seed=0), config.task)
    return set_up(config, spec, [table], 60.0)


def with_options(runner: TrialRunner, *options: str) -> TrialRunner:
    return replace(runner, config=load_run_config(None, [*options, "training.threads=1"], base="scratch"))


def test_a_model_that_answers_too_slowly_fails_its_trial_with_both_numbers(runner: TrialRunner) -> None:
    job = Job(0, runner.bench.space.default, 0.0, 0.25)
    report, _ = driven(with_options(runner, "search.max_row_ms=1e6")(job))
    assert report.info["row_ms"] > 0
    slow = with_options(runner, "search.max_row_ms=0.0001")
    with pytest.raises(TrainingError, match=r"found [\d.]+ ms a validation row; expected at most .*, 0.0001 ms"):
        driven(slow(Job(7, job.config, 0.0, 0.25)))
    assert not slow.folder.rows(7, 0.25).exists()


def test_a_failed_combination_is_a_trial_that_cannot_win(runner: TrialRunner, data: Path) -> None:
    """One value of the two makes three heads that cannot share in pairs; the other one's trials go on."""
    space = f"search.space={SPACE[:-1].replace('width: 128', 'width: [64, 96]')}, query_groups: 2}}"
    bench = bench_of(data, space)
    running = optimize(
        bench.space,
        Inline(replace(runner, bench=bench)),
        RandomSampler(bench.space, seed=0, direction="max"),
        stopper("none", (1.0,), 1.0, 1.0),
        Budget(600.0),
        limits=Limits(trials=4),
    )
    study, _ = driven(running)
    by_width = {width: [t for t in study.trials if t.config["width"] == width] for width in (64, 96)}
    assert {trial.state for trial in by_width[64]} == {"finished"}
    assert {trial.state for trial in by_width[96]} == {"failed"}
    assert all("3 query heads (width 96, head size 32), 2 for each" in trial.error for trial in by_width[96])
    assert study.best is not None
    assert study.best.config["width"] == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["search.space={width: 96, query_groups: 2}"], "cannot have this shape; found 3 query heads"),
        (
            ["search.max_memory=1kB"],
            r"the smallest \(.*about .* MB .* allows a trial 1 kB; give at least search.max_mem",
        ),
        (["search.max_parameters=1000"], r"the smallest \(.*allows 1,000; give at least search.max_parameters=\d+"),
        (["search.space={qk_nrom: true}"], "did you mean 'qk_norm'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(data: Path, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bench_of(data, *options)


def test_what_is_above_a_ceiling_is_not_tried_and_told_once(data: Path, tmp_path: Path) -> None:
    config = load_run_config(None, ["search.max_parameters=1000000"], base="scratch")
    bench = bench_of(data, "search.max_parameters=1000000", "search.space={width: [128, 512], late_keys: false}")
    events: list[Event] = []
    store = Store(tmp_path / "home")
    row = store.start_run("bounded", spec={}, fingerprint="f", config={}, budget_s=60.0)
    run = Run(row, RunFolder(row.folder), config, store, Budget(60.0), [events.append])
    admission = Admission(bench.corpus, {}, config.training, "fp32", Ceilings.of(config.search))
    small = {**bench.space.default, "vocabulary": 1024}
    assert _is_below_ceilings(run, admission, small)
    assert (events, run.reasons) == ([], {})
    for _ in range(2):
        assert not _is_below_ceilings(run, admission, {**small, "width": 512})
    assert len(events) == 1
    assert "width 512" in run.reasons["ceilings"]
    assert run.reasons["ceilings"].endswith("search.max_parameters allows 1,000,000")


@pytest.mark.parametrize("fresh", [False, True])
def test_a_search_begins_with_what_won_on_a_similar_task_unless_it_is_fresh(
    runner: TrialRunner, tmp_path: Path, fresh: bool
) -> None:
    bench, default = runner.bench, runner.bench.space.default
    spec, winner = bench.parts[0].spec.model_dump(mode="json"), {**default, "lr": 3.3e-3}
    with Store(tmp_path / "home") as store:
        past = store.start_run("past", spec=spec, fingerprint="other", config={}, budget_s=60.0)
        for number, config in enumerate([default, {**default, "lr": 1e-3}, winner]):
            trial = Trial(number, config, "finished", (Report(1.0, 0.6 + 0.1 * number),))
            store.record_trial(past.id, trial.to_dict())
        write_json(past.folder / "report.json", {"splits": {"train": bench.train_rows}})
        store.finish_run(past.id, "finished")
        row = store.start_run("new", spec=spec, fingerprint="own", config={"fresh": fresh}, budget_s=60.0)
        run = Run(row, RunFolder(row.folder), runner.config, store, Budget(60.0), [])
        first = Trial(0, default, "stopped", (Report(0.1, 0.5),))
        assert (_sampler(run, bench).ask([first]) == winner) is not fresh
        assert (f"best of run {past.id}" in run.reasons.get("first", "")) is not fresh


def test_a_short_budget_is_for_training() -> None:
    assert [share_of(60.0 * minutes) for minutes in (1, 4, 10, 20, 600)] == pytest.approx([0.1, 0.1, 0.225, 0.45, 0.45])


def timed_run(folder: Path, now: list[float], *options: str, budget_s: float = 120.0) -> Run:
    """A run by a clock that stands still until `now` is changed; its baselines took 2 s."""
    config = load_run_config(None, options, base="scratch")
    store = Store(folder / "home")
    row = store.start_run("timed", spec={}, fingerprint="f", config={}, budget_s=budget_s)
    run = Run(row, RunFolder(row.folder), config, store, Budget(budget_s, clock=lambda: now[0]), [])
    run.stages["baselines"] = 2.0
    return run


def test_the_search_has_its_share_of_what_the_stages_before_have_left(tmp_path: Path) -> None:
    """Two minutes, of which 12 s are for answering the test rows and 6 s for the baselines on them and the report."""
    now = [0.0]
    run = timed_run(tmp_path, now)
    clock, free_s = clock_of(run, [])
    assert (clock.seconds, free_s) == pytest.approx((10.2, 102.0))
    now[0] = 4.0 + 24.0  # of baselines and feasibility, and of a comparison of groups
    clock, free_s = clock_of(run, [])
    assert (clock.seconds, free_s) == pytest.approx((7.4, 74.0))
    now[0] = 119.0
    assert clock_of(run, [])[0].seconds == 0.0


def test_a_share_that_is_asked_for_is_one_of_what_is_left(tmp_path: Path) -> None:
    now = [0.0]
    run = timed_run(tmp_path, now, "search.share=0.5")
    now[0] = 28.0
    assert clock_of(run, [])[0].seconds == pytest.approx(37.0)


def test_a_run_within_a_run_does_not_pay_for_what_the_whole_one_did_before(tmp_path: Path) -> None:
    """It knows how long the baselines took, for which it keeps time at the end, and has all of its own."""
    run = timed_run(tmp_path, [0.0], "search.share=0.5", budget_s=50.0)
    run.stages["feasibility"] = 20.0
    assert clock_of(run, [])[1] == pytest.approx(50.0 - 6.0 - 5.0)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_search_goes_on_with_the_share_that_it_had(workers: int, tmp_path: Path) -> None:
    now = [0.0]
    run = timed_run(tmp_path, now, "search.share=0.5", f"search.workers={workers}")
    now[0] = 28.0
    whole = clock_of(run, [])[0]
    now[0] += 10.0
    trials = [Trial(number, {}, "finished", (Report(1.0, 0.5),), seconds=10.0) for number in range(workers)]
    again, _ = clock_of(run, trials)
    assert again.seconds == pytest.approx(whole.seconds)
    assert again.elapsed() == pytest.approx(10.0, abs=0.5)


@pytest.mark.slow
def test_two_workers_find_a_model(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGPT_HOME", str(tmp_path / "home"))
    events: list[Event] = []
    options = ["search.space={width: 128, depth: 3, vocabulary: 1024, epochs: 10}", "search.max_trials=3"]
    config = load_run_config(
        None, [*options, "search.workers=2", "search.share=0.45", "evaluation.bootstrap=200"], budget="90s"
    )
    summary: dict[str, Any] = fit_summary(fit(SENTENCE, data, config=config, consumers=[events.append]))
    assert summary["trials"] == 3
    assert summary["metric"]["value"] > 0.8
    steps = [event.data["number"] for event in events if event.kind == "training.step" and "number" in event.data]
    assert set(steps) == {0, 1, 2}
    assert steps != sorted(steps)  # side by side

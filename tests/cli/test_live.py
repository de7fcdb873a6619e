"""The live view: events in, text out."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from autogpt.cli.live import LinesView, LiveView, Progress, QuietView, view_for
from autogpt.cli.text import Text
from autogpt.events import Event

SPEC = {
    "kind": "generation",
    "input_fields": [],
    "output_field": "text",
    "input_language": "zh",
    "metric": "bits_per_byte",
    "direction": "min",
}


def story() -> Iterator[Event]:
    """A run as the pipeline tells it, one event a second."""
    told = [
        ("pipeline.understood", {"spec": SPEC}),
        ("pipeline.stage", {"stage": "prepare", "message": "reading a.txt", "left_s": 600.0}),
        (
            "pipeline.prepared",
            {"summary": {"rows": {"train": 80, "valid": 10}, "drops": {"empty input": 2}, "warnings": ["few rows"]}},
        ),
        ("pipeline.stage", {"stage": "baselines", "message": "", "left_s": 598.0}),
        ("pipeline.baseline", {"name": "n-gram", "value": 2.5, "ci95": [2.4, 2.6]}),
        ("pipeline.stage", {"stage": "search", "message": "", "left_s": 596.0}),
        ("search.trial_started", {"number": 0, "config": {"lr": 0.001, "width": 128}}),
        ("training.step", {"step": 0, "steps": 100, "loss": 4.0, "lr": 0.001, "tokens_per_s": 12345.6}),
        ("training.step", {"step": 10, "steps": 100, "loss": 3.14159, "lr": 0.001, "tokens_per_s": 12345.6}),
        ("search.trial_reported", {"number": 0, "share": 0.25, "score": 2.2, "seconds": 3.0}),
        ("search.trial_finished", {"trial": {"number": 0, "state": "finished", "score": 2.1, "share": 1.0}, "best": 0}),
        ("search.trial_started", {"number": 1, "config": {"lr": 0.01, "width": 64}}),
        ("search.trial_reported", {"number": 1, "share": 0.25, "score": 3.3, "seconds": 3.0}),
        ("search.trial_finished", {"trial": {"number": 1, "state": "stopped", "score": 3.3, "reason": "place 2 of 2"}}),
        ("search.trial_finished", {"trial": {"number": 2, "state": "failed", "score": None, "error": "out of memory"}}),
        ("training.step", {"step": 30, "steps": 100, "loss": 4.0, "lr": 0.001, "tokens_per_s": 12345.6}),
        ("training.step", {"step": 40, "steps": 100, "loss": 3.14159, "lr": 0.001, "tokens_per_s": 12345.6}),
        ("somebody.else", {"number": "no number", "step": None}),
    ]
    for second, (kind, data) in enumerate(told):
        yield Event(kind, data, time_s=1000.0 + second)


def rendered(view: LiveView, now: float) -> str:
    console = Console(file=io.StringIO(), width=120, record=True, markup=False)
    console.print(view.render(now))
    return console.export_text()


def live() -> LiveView:
    return LiveView(Console(file=io.StringIO(), width=120, record=True, markup=False), Text("en"))


def test_progress_folds_events() -> None:
    progress = Progress()
    for event in story():
        progress.take(event)
    assert progress.best is not None
    assert progress.best.number == 0  # less is better here
    assert progress.trials[1].state == "stopped"
    assert progress.trials[2].reason == "out of memory"
    assert progress.left_s(1005.0 + 6) == 590.0
    assert progress.eta_s(1018.0) == pytest.approx(4.0)  # ten steps took a second, sixty are left, two seconds are over


def test_best_when_more_is_better_and_failed_trials_do_not_count() -> None:
    progress = Progress()
    for number, (score, state) in enumerate([(0.5, "finished"), (0.7, "running"), (0.9, "failed")]):
        progress.take(Event("search.trial_finished", {"trial": {"number": number, "score": score, "state": state}}))
    assert progress.best is not None
    assert progress.best.number == 1


def test_training_of_the_next_trial_starts_a_new_pace() -> None:
    progress = Progress()
    for second, step in [(0, 0), (10, 50), (11, 0)]:
        progress.take(Event("training.step", {"step": step, "steps": 100}, time_s=float(second)))
    assert progress.eta_s(12.0) is None
    progress.take(Event("training.step", {"step": 1, "steps": 100}, time_s=12.0))
    assert progress.eta_s(12.0) == pytest.approx(99.0)


def test_open_ended_training_has_no_eta() -> None:
    progress = Progress()
    for step in (1, 2):
        progress.take(Event("training.step", {"step": step, "steps": None, "loss": 1.0}))
    assert progress.eta_s(1e9) is None


def test_panel_shows_stage_best_budget_speed_and_trials() -> None:
    view = live()
    for event in story():
        view(event)
    text = rendered(view, 1018.0)
    for part in (
        "searching · elapsed 0:18 · budget left 9:43",
        "best so far: bits_per_byte 2.1 (trial 0)",
        "step 40/100 · loss 3.142 · 12,346 tokens/s",
        "lr=0.001 width=128",
        "stopped",
        "25%",
        "failed",
    ):
        assert part in text


def test_panel_before_anything_happened() -> None:
    assert "none yet" in rendered(live(), 5.0)


def test_panel_keeps_the_last_six_trials() -> None:
    view = live()
    for number in range(9):
        view(Event("search.trial_started", {"number": number, "config": {"n": f"t{number}"}}))
    text = rendered(view, 0.0)
    assert "n=t3" in text
    assert "n=t2" not in text


def test_live_view_on_a_terminal_leaves_what_matters_above_the_panel() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, record=True, markup=False)
    view = LiveView(console, Text("zh"))
    with view:
        for event in story():
            view(event)
    text = console.export_text()
    for part in ("理解为", "文本生成", "基线 n-gram：2.5 [2.4, 2.6]", "train 80", "剔除：empty input 2", "few rows"):
        assert part in text


def test_lines_one_a_stage_and_a_trial_none_a_step() -> None:
    lines: list[str] = []
    view = LinesView(lines.append, Text("en"))
    with view:
        for event in story():
            view(event)
    assert "[ 0:01] preparing the data: reading a.txt" in lines
    assert "[ 0:05] searching" in lines
    assert "[ 0:10] trial 0: finished, bits_per_byte 2.1" in lines
    assert "[ 0:13] trial 1: stopped, bits_per_byte 3.3 (place 2 of 2)" in lines
    assert not [line for line in lines if "step" in line]


def test_end_of_the_last_stage_is_no_stage() -> None:
    lines: list[str] = []
    LinesView(lines.append, Text("en"))(Event("pipeline.stage", {"stage": "end"}))
    assert lines == []


def test_quiet_shows_nothing_and_keeps_the_end() -> None:
    view = view_for(Text("en"), quiet=True)
    assert type(view) is QuietView
    view(Event("pipeline.done", {"report": "report.md"}))
    assert view.progress.done == {"report": "report.md"}


# --- several tasks ---------------------------------------------------------------------------------------------------

SORT = {**SPEC, "kind": "classification", "input_fields": ["text"], "metric": "accuracy", "direction": "max"}


def several() -> Iterator[Event]:
    """What is told of each of two tasks."""
    told = [
        ("pipeline.understood", {"spec": {"tasks": {"mails": SORT, "tales": SPEC}}}),
        ("pipeline.prepared", {"task": "mails", "summary": {"rows": {"train": 80}, "warnings": ["few rows"]}}),
        ("pipeline.baseline", {"task": "mails", "name": "majority", "value": 0.5, "ci95": [0.4, 0.6]}),
        ("pipeline.baseline", {"task": "tales", "name": "n-gram", "value": 2.5, "ci95": [2.4, 2.6]}),
        ("pipeline.note", {"message": "no task is named here"}),
        ("search.trial_finished", {"trial": {"number": 0, "state": "finished", "score": 0.4}}),
        ("search.trial_finished", {"trial": {"number": 1, "state": "finished", "score": 0.6}}),
    ]
    for second, (kind, data) in enumerate(told):
        yield Event(kind, data, time_s=1000.0 + second)


def test_each_of_several_tasks_has_lines_that_begin_with_its_name() -> None:
    lines: list[str] = []
    view = LinesView(lines.append, Text("en"))
    for event in several():
        view(event)
    alone = [line for name, spec in (("mails", SORT), ("tales", SPEC)) for line in _said_of(name, spec)]
    assert [line[8:] for line in lines[: len(alone)]] == alone
    assert lines[0].startswith("[ 0:00] mails: ")
    assert lines[len(alone) : len(alone) + 2] == ["[ 0:01] mails: rows: train 80", "        mails: few rows"]
    told = [line[8:] for line in lines]
    assert "mails: baseline majority: 0.5 [0.4, 0.6]" in told
    assert "tales: baseline n-gram: 2.5 [2.4, 2.6]" in told
    assert "no task is named here" in told


def _said_of(name: str, spec: dict[str, object]) -> list[str]:
    """What is said of a task by itself, after its name."""
    lines: list[str] = []
    LinesView(lines.append, Text("en"))(Event("pipeline.understood", {"spec": spec}))
    return [f"{name}: {line[8:]}" for line in lines]


def test_of_several_tasks_the_best_trial_has_the_greatest_mean() -> None:
    progress = Progress()
    for event in several():
        progress.take(event)
    assert progress.best is not None
    assert progress.best.number == 1


def test_of_several_tasks_a_trial_is_told_with_the_name_of_its_score() -> None:
    lines: list[str] = []
    view = LinesView(lines.append, Text("en"))
    for event in several():
        view(event)
    assert lines[-1] == "[ 0:06] trial 1: finished, mean_score 0.6"

"""What is shown while `fit` works: a live panel on a terminal, short lines elsewhere, nothing with -q.

`Progress` folds events into a state and prints nothing; the views only draw it. Events they do not know are ignored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autogpt.cli import show
from autogpt.cli.text import STRINGS, Text
from autogpt.events import Event

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

__all__ = ["LinesView", "LiveView", "Progress", "QuietView", "Trial", "view_for"]

SHOWN_TRIALS = 6
STAGES = frozenset(key.partition(".")[2] for key in STRINGS if key.startswith("stage."))


@dataclass(slots=True)
class Trial:
    """A row of the trials table. `share` is how much of a full trial it has had; `score` its last one."""

    number: int
    config: Mapping[str, Any] = field(default_factory=dict)
    state: str = "running"
    share: float = 0.0
    score: float | None = None
    reason: str = ""


@dataclass(slots=True)
class Progress:
    """Everything said so far, as a state.

    Attributes:
        left: seconds of the budget that were left, and when that was said; None before the first stage.
        started_s: time of the first event.
        steps: length of the training that runs now; 0 while it is open-ended, as it is until the cool-down.
        steps_from: first step seen of the training that runs now, and when; `stepped_s` is the time of the last one.
        done: data of `pipeline.done`.
    """

    left: tuple[float, float] | None = None
    started_s: float | None = None
    stage: str = ""
    metric: str = ""
    direction: str = "max"
    trials: dict[int, Trial] = field(default_factory=dict)
    step: int = 0
    steps: int = 0
    loss: float | None = None
    tokens_per_s: float | None = None
    steps_from: tuple[int, float] | None = None
    stepped_s: float = 0.0
    done: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Fold one event into the state."""
        data = event.data
        if self.started_s is None:
            self.started_s = event.time_s
        match event.kind:
            case "pipeline.stage":
                self.stage = str(data.get("stage", ""))
                if data.get("left_s") is not None:
                    self.left = (data["left_s"], event.time_s)
                self._forget_training()
            case "pipeline.understood":
                spec = data.get("spec", {})
                several = "mean_score" if spec.get("tasks") else ""
                self.metric, self.direction = str(spec.get("metric", several)), str(spec.get("direction", "max"))
            case "search.begun":  # each group of several tasks has a search of its own
                self.metric, self.direction = str(data["metric"]), str(data["direction"])
                self.trials.clear()
            case "pipeline.done":
                self.done = dict(data)
            case "training.step":
                self._take_step(event)
            case "search.trial_started":
                self._take_trial({**event.data, "state": "running", "reason": ""})
            case "search.trial_reported":
                self._take_trial(event.data)
            case "search.trial_finished":
                self._take_trial(event.data.get("trial", {}))

    def _take_step(self, event: Event) -> None:
        last, self.step = self.step, int(event.data.get("step", 0))
        self.steps = int(event.data.get("steps") or 0)
        self.loss, self.tokens_per_s = event.data.get("loss"), event.data.get("tokens_per_s")
        if self.steps_from is None or self.step < last:
            self.steps_from = (self.step, event.time_s)
        self.stepped_s = event.time_s

    def _forget_training(self) -> None:
        self.step = self.steps = 0
        self.steps_from = self.tokens_per_s = self.loss = None

    def _take_trial(self, data: Mapping[str, Any]) -> None:
        trial = self.trials.setdefault(int(data.get("number", -1)), Trial(int(data.get("number", -1))))
        trial.config = data.get("config", trial.config)
        trial.share = data.get("share", trial.share)
        if data.get("score") is not None:
            trial.score = data["score"]
        trial.state = str(data.get("state", trial.state))
        trial.reason = str(data.get("error") or data.get("reason") or "")
        self._forget_training()

    @property
    def best(self) -> Trial | None:
        """The trial with the best last score so far; failed ones do not count."""
        scored = [trial for trial in self.trials.values() if trial.score is not None and trial.state != "failed"]
        if not scored:
            return None
        sign = -1.0 if self.direction == "min" else 1.0
        return max(scored, key=lambda trial: sign * (trial.score or 0.0))

    def left_s(self, now: float) -> float | None:
        """Seconds of the budget that are left at `now`."""
        if self.left is None:
            return None
        return max(0.0, self.left[0] - (now - self.left[1]))

    def eta_s(self, now: float) -> float | None:
        """Seconds until the training that runs now reaches its last step, at its mean pace; None before it shows."""
        if self.steps_from is None or self.step <= self.steps_from[0] or not self.steps:
            return None
        pace = (self.stepped_s - self.steps_from[1]) / (self.step - self.steps_from[0])
        eta = max(0.0, pace * (self.steps - self.step) - (now - self.stepped_s))
        left = self.left_s(now)
        return eta if left is None else min(eta, left)


class QuietView:
    """Shows nothing; keeps the state so that the verb knows how it ended."""

    def __init__(self) -> None:
        self.progress = Progress()

    def __call__(self, event: Event) -> None:
        self.progress.take(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        return None


class LinesView(QuietView):
    """One short line a stage and a trial, with the time since the start; for logs and pipes."""

    def __init__(self, write: Callable[[str], None], text: Text) -> None:
        super().__init__()
        self._write, self._text = write, text

    def __call__(self, event: Event) -> None:
        self.progress.take(event)
        started = self.progress.started_s or event.time_s
        stamp = f"[{show.clock(event.time_s - started):>5}]"
        for line in self._lines(event):
            self._write(f"{stamp} {line}")
            stamp = " " * len(stamp)  # the lines that belong to one event carry its time once

    def _lines(self, event: Event) -> list[str]:
        if event.kind == "pipeline.stage":
            if event.data.get("stage") not in STAGES:
                return []
            stage = self._text.name("stage", str(event.data.get("stage", "")))
            return [f"{stage}: {event.data['message']}" if event.data.get("message") else stage]
        if event.kind == "search.trial_started" and event.data.get("share"):
            reason = show.one_line(str(event.data.get("reason", "")))
            return [self._text("trial_on", number=event.data["number"], reason=reason)]
        if event.kind == "search.trial_finished":
            trial = self.progress.trials[int(event.data.get("trial", {}).get("number", -1))]
            score = f"{self.progress.metric} {show.number(trial.score)}"
            state = self._text.name("state", trial.state)
            line = self._text("trial", number=trial.number, state=state, score=score)
            return [line + (f" ({show.one_line(trial.reason)})" if trial.reason else "")]
        return said(event, self._text)


def said(event: Event, text: Text) -> list[str]:
    """The lines an event is worth, in both views; none for most."""
    data = event.data
    if (task := data.get("task")) and isinstance(task, str):
        own = Event(event.kind, {name: value for name, value in data.items() if name != "task"}, event.time_s)
        return [f"{task}: {line}" for line in said(own, text)]
    match event.kind:
        case "pipeline.understood":
            spec = data.get("spec", {})
            tasks = spec.get("tasks") or {}
            several = [f"{name}: {line}" for name, one in tasks.items() for line in show.understood(one, text)]
            return several or show.understood(spec, text)
        case "pipeline.known_task":
            created = data.get("created", "")
            created = show.when(created) if isinstance(created, int | float) else str(created)
            return [text("known", model=data.get("model", ""), created=created)]
        case "pipeline.prepared":
            return prepared(data.get("summary", {}), text)
        case "pipeline.baseline":
            value = f"{show.number(data.get('value'))} {show.interval(data.get('ci95'))}".rstrip()
            return [text("baseline", name=data.get("name", ""), value=value)]
        case "pipeline.note" | "training.noticed":
            return [str(data.get("message", ""))]
    return []


def prepared(summary: Mapping[str, Any], text: Text) -> list[str]:
    """Rows of each split, what was dropped and why, and what the user should know about the splits."""
    lines = [text("rows", counts=show.counts(summary.get("rows") or {}))]
    if summary.get("drops"):
        lines.append(text("dropped", counts=show.counts(summary["drops"])))
    return lines + [str(warning) for warning in summary.get("warnings") or ()]


class LiveView(QuietView):
    """A panel at the foot of the terminal, redrawn four times a second; what is worth keeping scrolls above it."""

    def __init__(self, console: Console, text: Text) -> None:
        super().__init__()
        self._console, self._text = console, text
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        self.progress.take(event)
        for line in said(event, self._text):
            self._console.print(line)

    def render(self, now: float | None = None) -> Group:
        """The panel as it stands at `now` (seconds since the epoch)."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar

        now = time.time() if now is None else now
        parts: list[Any] = [self._header(now), self._best()]
        if self.progress.steps_from is not None:
            parts.append(self._training(now))
        if self.progress.steps:
            bar = ProgressBar(total=self.progress.steps, completed=self.progress.step, width=40)
            parts.append(Padding(bar, 0, expand=False))  # which ends the line; the bar alone does not
        if self.progress.trials:
            parts.append(self._trials())
        return Group(*parts)

    def _header(self, now: float) -> str:
        text, progress = self._text, self.progress
        stage = text.name("stage", progress.stage) if progress.stage else "…"
        line = f"{stage} · {text('elapsed')} {show.clock(now - (progress.started_s or now))}"
        left = progress.left_s(now)
        return line if left is None else f"{line} · {text('budget_left')} {show.clock(left)}"

    def _best(self) -> str:
        text, best = self._text, self.progress.best
        if best is None:
            return f"{text('best')}: {text('none_yet')}"
        score = f"{self.progress.metric} {show.number(best.score)}".strip()
        return f"{text('best')}: {score} ({text('of_trial', number=best.number)})"

    def _training(self, now: float) -> str:
        text, progress = self._text, self.progress
        parts = [text("step", step=f"{progress.step}/{progress.steps}" if progress.steps else progress.step)]
        if progress.loss is not None:
            parts.append(text("loss", loss=show.number(progress.loss)))
        if progress.tokens_per_s is not None:
            parts.append(text("tokens_per_s", n=f"{progress.tokens_per_s:,.0f}"))
        if (eta := progress.eta_s(now)) is not None:
            parts.append(f"{text('eta')} {show.clock(eta)}")
        return " · ".join(parts)

    def _trials(self) -> Any:
        text = self._text
        last = sorted(self.progress.trials.values(), key=lambda trial: trial.number)[-SHOWN_TRIALS:]
        header = [
            text("column.trial"),
            text("column.state"),
            text("column.share"),
            self.progress.metric or text("metric"),
        ]
        return show.table(
            [*header, text("column.config")],
            [
                (t.number, text.name("state", t.state), f"{t.share:.0%}", t.score, show.configuration(t.config))
                for t in last
            ],
        )


def view_for(text: Text, *, quiet: bool) -> QuietView:
    """The view that fits standard error: live on a terminal, lines in a pipe, none when quiet."""
    from autogpt.cli.common import console, note

    if quiet:
        return QuietView()
    made = console(stderr=True)
    return LiveView(made, text) if made.is_terminal else LinesView(note, text)

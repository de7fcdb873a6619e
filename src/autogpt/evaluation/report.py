"""What a run found, as one record; `report_files` writes it as JSON, Markdown and HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autogpt.evaluation.baselines_types import input_text
from autogpt.evaluation.evaluate import Comparison, Confusion, confusion, ranked_rows
from autogpt.evaluation.metrics import references_of
from autogpt.evaluation.report_text import Outcome, language_of, verdict
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Drop, Entity, Example, MetricValue, Prediction, Scores, Target

__all__ = [
    "ComparisonLine",
    "DropLine",
    "LadderLine",
    "MetricLine",
    "RunReport",
    "SampleLine",
    "TrialLine",
    "TrialPoint",
    "drop_lines",
    "ladder_line",
    "metric_lines",
    "sample_lines",
    "versions",
]

_SHOWN_DROPS = 20
_PACKAGES = (
    "autogpt-lm",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "optuna",
    "scikit-learn",
    "sacrebleu",
    "numpy",
)


class Line(BaseModel):
    """A part of the report; values are stored as they are and escaped only where they are shown."""

    model_config = ConfigDict(extra="ignore", ser_json_inf_nan="null")


class MetricLine(Line):
    """A metric with its 95 % interval."""

    name: str
    value: float
    ci95: tuple[float, float]
    n: int
    higher_is_better: bool = True


class ComparisonLine(Line):
    """The model against a baseline on the same rows; a positive difference means the model is better."""

    difference: float
    ci95: tuple[float, float]
    p_value: float
    n: int


class LadderLine(Line):
    """One baseline: its deciding metric, all its metrics, and how the model compares."""

    name: str
    trivial: bool
    value: float
    ci95: tuple[float, float]
    n: int
    note: str = ""
    metrics: list[MetricLine] = Field(default_factory=list)
    comparison: ComparisonLine | None = None


class TrialPoint(Line):
    """A score on the way: share of the full length, wall-clock seconds into the trial and into the search."""

    share: float
    score: float | None
    seconds: float = 0.0
    at: float = 0.0


class TrialLine(Line):
    """A tried configuration; takes what `search.trials.Trial.to_dict` gives."""

    number: int
    config: dict[str, Any]
    state: Literal["finished", "stopped", "failed"]
    reports: list[TrialPoint] = Field(default_factory=list)
    score: float | None = None
    seconds: float = 0.0
    reason: str = ""
    error: str = ""


class TradeOffLine(Line):
    """A trial that no other one beats in score, size and time at once; takes a `search.pareto.TradeOff`."""

    number: int
    score: float
    parameters: int
    row_ms: float


class SampleLine(Line):
    """A test row as text: what was read, what was expected, what was answered, and what it scored."""

    id: str
    input: str
    expected: str
    answer: str
    score: float


class ConfusionLine(Line):
    """How often `truth` was answered with `predicted` (empty: missed or invented)."""

    truth: str
    predicted: str
    count: int


class DropLine(Line):
    """A row that was left out."""

    id: str
    reason: str
    detail: str = ""


class RunReport(Line):
    """Everything a run has to say. Leaves the process as `report.json`; unknown keys are ignored when read back.

    Attributes:
        description: the user's sentence; its language is the report's.
        task: the TaskSpec as plain JSON.
        dropped: reason → number of rows; `dropped_rows` shows up to 20 of them.
        splits: split → rows.
        trade_offs: the Pareto front of score, size and time per row, the best score first.
        importance: parameter → share in what set the good trials apart, largest first; empty when too few were made.
        chosen: the winner's configuration; `reasons`: option → why "auto" became what it is.
        primary: name of the deciding metric, first of `scores`.
        ladder: baselines on the same rows, trivial ones first.
        verdict, outcome: filled in from scores and ladder when not given.
        stages: stage → seconds; `busy_s`: seconds spent training and evaluating, the rest being overhead.
        next_commands: command lines worth trying, most useful first.
    """

    format: int = 1
    model: str
    run: str = ""
    created: str = ""
    description: str
    task: dict[str, Any]
    dropped: dict[str, int] = Field(default_factory=dict)
    dropped_rows: list[DropLine] = Field(default_factory=list)
    splits: dict[str, int] = Field(default_factory=dict)
    trials: list[TrialLine] = Field(default_factory=list)
    chosen_trial: int | None = None
    importance: dict[str, float] = Field(default_factory=dict)
    trade_offs: list[TradeOffLine] = Field(default_factory=list)
    chosen: dict[str, Any] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)
    primary: str
    scores: list[MetricLine]
    ladder: list[LadderLine] = Field(default_factory=list)
    outcome: Outcome | None = None
    verdict: str = ""
    best: list[SampleLine] = Field(default_factory=list)
    worst: list[SampleLine] = Field(default_factory=list)
    confusions: list[ConfusionLine] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    stages: dict[str, float] = Field(default_factory=dict)
    busy_s: float = 0.0
    budget_s: float = 0.0
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    next_commands: list[str] = Field(default_factory=list)

    def model_post_init(self, context: Any, /) -> None:
        if not self.verdict or self.outcome is None:
            self.outcome, self.verdict = verdict(self.language, self.main, self.ladder)

    @property
    def language(self) -> Literal["zh", "en"]:
        return language_of(self.description)

    @property
    def main(self) -> MetricLine:
        """The deciding metric. Raises StopIteration when `scores` does not hold it."""
        return next(line for line in self.scores if line.name == self.primary)

    @property
    def best_baseline(self) -> LadderLine | None:
        """The baseline that the model beats by least, or loses to by most."""
        rungs = [line for line in self.ladder if line.comparison is not None]
        return min(rungs, key=lambda line: line.comparison.difference if line.comparison else 0.0, default=None)

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())

    @property
    def overhead_share(self) -> float:
        """Share of the time spent neither training nor evaluating; 0 when nothing was timed."""
        return max(0.0, 1 - self.busy_s / self.seconds) if self.seconds and self.busy_s else 0.0


def metric_lines(scores: Scores) -> list[MetricLine]:
    """Scores as lines, the deciding metric first."""
    ordered = sorted(scores.metrics.values(), key=lambda value: value.name != scores.primary)
    return [_metric_line(value) for value in ordered]


def _metric_line(value: MetricValue) -> MetricLine:
    return MetricLine(
        name=value.name, value=value.value, ci95=value.ci95, n=value.n, higher_is_better=value.higher_is_better
    )


def ladder_line(
    name: str, scores: Scores, comparison: Comparison | None, *, trivial: bool = False, note: str = ""
) -> LadderLine:
    """A rung as a line; `comparison` is the model against it."""
    compared = None
    if comparison is not None:
        compared = ComparisonLine(
            difference=comparison.difference, ci95=comparison.ci95, p_value=comparison.p_value, n=comparison.n
        )
    return LadderLine(
        name=name,
        trivial=trivial,
        value=scores.main.value,
        ci95=scores.main.ci95,
        n=scores.main.n,
        note=note,
        metrics=metric_lines(scores),
        comparison=compared,
    )


def drop_lines(drops: Iterable[Drop]) -> tuple[dict[str, int], list[DropLine]]:
    """(reason → count, most frequent first; up to 20 rows, every reason among them where that is possible)."""
    rows = list(drops)
    counts = Counter(drop.reason for drop in rows)
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, int, Drop]] = []
    for i, drop in enumerate(rows):
        ranked.append((seen[drop.reason], i, drop))
        seen[drop.reason] += 1
    shown = sorted(ranked, key=lambda item: item[:2])[:_SHOWN_DROPS]
    lines = [DropLine(id=drop.id, reason=drop.reason, detail=drop.detail) for _, _, drop in shown]
    return dict(counts.most_common()), lines


def sample_lines(
    spec: TaskSpec, examples: Sequence[Example], predictions: Sequence[Prediction], *, count: int = 10
) -> tuple[list[SampleLine], list[SampleLine], list[ConfusionLine]]:
    """(best rows, worst rows, most frequent mistakes), ready for the report."""
    best, worst = ranked_rows(spec, examples, predictions, count)
    lines = [
        [_sample_line(examples[row.index], predictions[row.index], row.score) for row in rows] for rows in (best, worst)
    ]
    mistakes = confusion(spec, examples, predictions, count=count)
    return lines[0], lines[1], [_confusion_line(mistake) for mistake in mistakes]


def _confusion_line(mistake: Confusion) -> ConfusionLine:
    return ConfusionLine(truth=mistake.truth, predicted=mistake.predicted, count=mistake.count)


def _sample_line(example: Example, prediction: Prediction, score: float) -> SampleLine:
    expected = _shown(example.target) if isinstance(example.target, tuple) else " / ".join(references_of(example))
    answer = _shown(prediction.target) or prediction.text
    return SampleLine(id=example.id, input=input_text(example), expected=expected, answer=answer, score=score)


def _shown(target: Target | None) -> str:
    if target is None or isinstance(target, str):
        return target or ""
    return "; ".join(f"{part.type}: {part.text}" if isinstance(part, Entity) else part for part in target)


def versions() -> dict[str, str]:
    """Installed versions of what computes here."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

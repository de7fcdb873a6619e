"""What a run of several tasks found, as one record that leads to each task's own report.

`write_several_report` writes it as JSON, Markdown and HTML.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from autogpt.evaluation.report import LadderLine, Line, MetricLine, RunReport
from autogpt.evaluation.report_files import write_texts
from autogpt.evaluation.report_several_html import several_to_html
from autogpt.evaluation.report_several_markdown import several_to_markdown
from autogpt.evaluation.report_several_text import several_name, several_verdict
from autogpt.evaluation.report_text import Outcome, language_of, verdict

__all__ = [
    "ProbeLine",
    "SeveralReport",
    "TaskLine",
    "several_to_html",
    "several_to_markdown",
    "write_several_report",
]

_GRAVEST_FIRST: tuple[Outcome, ...] = ("worse", "equal", "alone", "better")


class TaskLine(Line):
    """One task of the run in short; the whole of it stands in its own report.

    Attributes:
        metric: the deciding one, on the task's test rows.
        baseline: the one that the model beats by least, or loses to by most, with that comparison.
        verdict: of the task's own report.
        rows: split → rows.
        report: the page of the task's own report, relative to the folder of this one.
        model: what the model is called for this task, such as `desk/mails`.
    """

    name: str
    kind: str
    metric: MetricLine
    baseline: LadderLine | None = None
    verdict: str
    rows: dict[str, int] = Field(default_factory=dict)
    report: str
    model: str

    @property
    def outcome(self) -> Outcome:
        """How the model stands against the baseline, by the rule of a task's own report."""
        return verdict("en", self.metric, [self.baseline] if self.baseline else [])[0]

    @property
    def relative_difference(self) -> float | None:
        """By what share of the baseline's value the model is better; negative: worse. None without a comparison.

        Against a baseline of 0 any difference is infinite.
        """
        if self.baseline is None or self.baseline.comparison is None:
            return None
        difference = self.baseline.comparison.difference
        if self.baseline.value:
            return difference / abs(self.baseline.value)
        return math.copysign(math.inf, difference) if difference else 0.0


class ProbeLine(Line):
    """How a task did when one model for all tasks was compared with one of its own.

    Attributes:
        together, alone: the value of `metric` on validation rows in either model.
        difference: of the two, in the metric's unit; positive where alone is better.
        p_value: of a paired test on the same rows.
        leaves: whether the task therefore leaves the common model.
    """

    task: str
    together: float
    alone: float
    metric: str
    difference: float
    p_value: float
    leaves: bool
    note: str = ""


class SeveralReport(Line):
    """Everything a run of several tasks has to say of them together. Leaves the process as `report.json`.

    Attributes:
        description: the user's sentence; its language is the report's.
        groups: names of the tasks of each model; one group: one model does all.
        grouping: whether tasks are learnt together, apart or in groups, and why.
        probes: the comparison that decided it; empty where nothing was compared.
        added_to: the model that tasks were added to; then `alone` of a probe is that model, `together` the new one.
        mean: the weighted mean of the tasks' metrics on the common scale of `joint.on_common_scale`.
        chosen: the model's configuration; with several groups, group → that of its model.
        reasons: option → why "auto" became what it is.
        verdict, outcome: filled in from tasks, groups and probes when not given; the outcome is the gravest of a task.
        stages: stage → seconds; `busy_s`: seconds spent training and evaluating, the rest being overhead.
        next_commands: command lines worth trying, most useful first.
    """

    format: int = 1
    model: str
    run: str = ""
    created: str = ""
    description: str
    tasks: list[TaskLine]
    groups: list[list[str]]
    grouping: str
    probes: list[ProbeLine] = Field(default_factory=list)
    added_to: str = ""
    mean: MetricLine
    chosen: dict[str, Any] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)
    outcome: Outcome | None = None
    verdict: str = ""
    stages: dict[str, float] = Field(default_factory=dict)
    busy_s: float = 0.0
    budget_s: float = 0.0
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    next_commands: list[str] = Field(default_factory=list)

    def model_post_init(self, context: Any, /) -> None:
        if not self.verdict or self.outcome is None:
            outcomes = {task.outcome for task in self.tasks}
            self.outcome = next((one for one in _GRAVEST_FIRST if one in outcomes), "alone")
            self.verdict = several_verdict(self)

    @property
    def language(self) -> Literal["zh", "en"]:
        return language_of(self.description)

    @property
    def worst(self) -> str | None:
        """The task that stands worst against its best baseline, by relative difference; the first of equal ones.

        None where no task has a comparison.
        """
        compared = [(task.relative_difference, task.name) for task in self.tasks]
        ranked = [(difference, name) for difference, name in compared if difference is not None]
        return min(ranked, key=lambda pair: pair[0], default=(0.0, None))[1]

    @property
    def frame(self) -> RunReport:
        """What the report of a task also has, such as title, verdict, times and versions, to be shown as it is there.

        Names that only a run of several tasks has are in the report's language already.
        """
        mean = self.mean.model_copy(update={"name": several_name(self.language, self.mean.name)})
        return RunReport(
            model=self.model,
            run=self.run,
            created=self.created,
            description=self.description,
            task={},
            primary=mean.name,
            scores=[mean],
            outcome=self.outcome,
            verdict=self.verdict,
            stages={several_name(self.language, stage): spent for stage, spent in self.stages.items()},
            busy_s=self.busy_s,
            budget_s=self.budget_s,
            machine={several_name(self.language, fact): value for fact, value in self.machine.items()},
            versions=self.versions,
            next_commands=self.next_commands,
        )


def write_several_report(folder: Path, report: SeveralReport) -> dict[str, Path]:
    """Write the three files into `folder`, each whole or not at all; returns {"json", "md", "html"} → path."""
    json = report.model_dump_json(indent=2) + "\n"
    return write_texts(folder, {"json": json, "md": several_to_markdown(report), "html": several_to_html(report)})

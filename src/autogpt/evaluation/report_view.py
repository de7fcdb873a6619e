"""What the Markdown and the HTML report share: values turned into plain, unescaped text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autogpt.evaluation.report_text import name_of, number, seconds_text, word

if TYPE_CHECKING:
    from autogpt.evaluation.report import LadderLine, RunReport

__all__ = ["config_text", "cut", "interval", "overhead_text", "ranked_ladder", "task_rows", "trade_off_rows"]

_SHOWN_LABELS = 12


def cut(text: str, most: int) -> str:
    """At most `most` characters; an ellipsis says that something is missing."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def interval(metric: str, ci95: tuple[float, float]) -> str:
    """`0.861 – 0.894`."""
    return f"{number(metric, ci95[0])} – {number(metric, ci95[1])}"


def config_text(config: Mapping[str, Any]) -> str:
    """`lr 0.003 · width 256`."""
    return " · ".join(f"{key} {_short(value)}" for key, value in config.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def overhead_text(report: RunReport) -> str:
    """The sentence about time, budget and overhead."""
    return word(
        report.language,
        "overhead",
        seconds=seconds_text(report.language, report.seconds),
        budget=seconds_text(report.language, report.budget_s) if report.budget_s else "–",
        share=f"{report.overhead_share:.0%}",
    )


def ranked_ladder(report: RunReport) -> list[LadderLine]:
    """The baselines, best first."""
    sign = -1.0 if report.main.higher_is_better else 1.0
    return sorted(report.ladder, key=lambda line: sign * line.value)


def task_rows(report: RunReport) -> list[tuple[str, str]]:
    """The understood task as (heading, value) pairs."""
    text, task = report.language, report.task
    labels = [str(label) for label in task.get("labels") or ()]
    shown = "、".join(labels[:_SHOWN_LABELS]) if text == "zh" else ", ".join(labels[:_SHOWN_LABELS])
    if len(labels) > _SHOWN_LABELS:
        shown += f" … ({len(labels)})"
    better = word(text, "more" if task.get("direction", "max") == "max" else "less")
    rows = [
        (word(text, "kind"), str(task.get("kind", "")).replace("_", " ")),
        (word(text, "input_fields"), ", ".join(map(str, task.get("input_fields") or ())) or "–"),
        (word(text, "output_field"), str(task.get("output_field", ""))),
        (word(text, "labels"), shown),
        (word(text, "languages"), f"{task.get('input_language', '')} → {task.get('output_language', '')}"),
        (word(text, "metric"), f"{name_of(text, report.primary)} ({better})"),
        (word(text, "contradictions"), "; ".join(map(str, task.get("contradictions") or ()))),
    ]
    return [(key, value) for key, value in rows if value]


def trade_off_rows(report: RunReport) -> list[list[str]]:
    """Trial, score, parameters and time of each line of the front; nothing where there is no choice to make."""
    if len(report.trade_offs) < 2:
        return []
    return [
        [str(one.number), number(report.primary, one.score), f"{one.parameters:,}", f"{one.row_ms:.3g}"]
        for one in report.trade_offs
    ]

"""The report as Markdown: the same content as the page, for terminals and code hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autogpt.evaluation.report_search import importance_sentence
from autogpt.evaluation.report_text import name_of, number, p_text, seconds_text, word
from autogpt.evaluation.report_view import (
    config_text,
    cut,
    interval,
    overhead_text,
    ranked_ladder,
    task_rows,
    trade_off_rows,
)

if TYPE_CHECKING:
    from autogpt.evaluation.report import RunReport, SampleLine

__all__ = ["to_markdown"]

_SPECIAL = re.compile(r"([\\`*_\[\]|#])")


def to_markdown(report: RunReport) -> str:
    """The whole report; every value from the data is escaped, so that it is shown and never interpreted."""
    parts = [
        *_head(report),
        *_ladder(report),
        *_task(report),
        *_data(report),
        *_search(report),
        *_samples(report),
        *_end(report),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _e(text: object, most: int = 300) -> str:
    """Escape for Markdown: one line, no markup, no HTML."""
    flat = " ".join(cut(str(text), most).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", flat)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return ["", *(f"| {line} |" for line in lines), ""]


def _head(report: RunReport) -> list[str]:
    text, main = report.language, report.main
    rows = [
        [_e(name_of(text, m.name)), number(m.name, m.value), interval(m.name, m.ci95), str(m.n)] for m in report.scores
    ]
    return [
        f"# {_e(report.model)}",
        "",
        f"> {_e(report.description, 1000)}",
        "",
        f"**{word(text, 'verdict')}**: {_e(report.verdict, 1000)}",
        "",
        f"## {word(text, 'result')}",
        *_table(
            [word(text, "metric"), word(text, "value"), word(text, "interval"), word(text, "rows")],
            rows or [[_e(main.name), "", "", ""]],
        ),
        *(f"- {_e(note, 1000)}" for note in report.notes),
    ]


def _ladder(report: RunReport) -> list[str]:
    text, primary = report.language, report.primary
    own = [
        f"**{word(text, 'this_model')}**",
        f"**{number(primary, report.main.value)}**",
        interval(primary, report.main.ci95),
        "",
        "",
        str(report.main.n),
        "",
    ]
    rows = [own]
    for line in ranked_ladder(report):
        compared = line.comparison
        name = _e(name_of(text, line.name)) + (f" ({word(text, 'trivial')})" if line.trivial else "")
        rows.append(
            [
                name,
                number(primary, line.value),
                interval(primary, line.ci95),
                number(primary, compared.difference, signed=True) if compared else "",
                p_text(compared.p_value) if compared else "",
                str(line.n),
                _e(line.note),
            ]
        )
    keys = ("method", "value", "interval", "difference", "p", "rows", "note")
    return [f"## {word(text, 'ladder')}", *_table([word(text, key) for key in keys], rows)]


def _task(report: RunReport) -> list[str]:
    text = report.language
    lines = [f"## {word(text, 'understood')}"]
    lines += _table([word(text, "field"), word(text, "value")], [[_e(k), _e(v)] for k, v in task_rows(report)])
    evidence = [
        [_e(item.get("field", "")), _e(item.get("value", "")), _e(item.get("source", "")), _e(item.get("reason", ""))]
        for item in report.task.get("evidence") or ()
    ]
    if evidence:
        lines += _table([word(text, key) for key in ("field", "value", "source", "reason")], evidence)
    return lines


def _data(report: RunReport) -> list[str]:
    text = report.language
    lines = [f"## {word(text, 'data')}"]
    splits = [[_e(name_of(text, name)), str(rows)] for name, rows in report.splits.items()]
    lines += _table([word(text, "split"), word(text, "rows")], splits) if splits else []
    lines.append(f"### {word(text, 'dropped')}")
    if not report.dropped:
        return [*lines, "", word(text, "nothing_dropped"), ""]
    lines += _table(
        [word(text, "reason"), word(text, "count")], [[_e(reason), str(n)] for reason, n in report.dropped.items()]
    )
    shown = [[_e(row.id), _e(row.reason), _e(row.detail)] for row in report.dropped_rows]
    return lines + _table([word(text, key) for key in ("row", "reason", "detail")], shown)


def _search(report: RunReport) -> list[str]:
    text, primary = report.language, report.primary
    rows = []
    for trial in report.trials:
        mark = "**" if trial.number == report.chosen_trial else ""
        state = word(text, trial.state) + (
            f": {_e(trial.error or trial.reason)}" if trial.error or trial.reason else ""
        )
        rows.append(
            [
                f"{mark}{trial.number}{mark}",
                state,
                number(primary, trial.score),
                f"{trial.seconds:.0f}",
                _e(config_text(trial.config), 500),
            ]
        )
    keys = ("trial", "state", "score", "seconds", "configuration")
    lines = [f"## {word(text, 'search')}"]
    lines += _table([word(text, key) for key in keys], rows) if rows else []
    lines += _importance(report)
    if offers := trade_off_rows(report):
        lines += [f"### {word(text, 'trade_offs')}", "", word(text, "trade_offs_intro")]
        lines += _table([word(text, key) for key in ("trial", "score", "parameters", "row_ms")], offers)
    if report.chosen or report.reasons:
        lines += [f"### {word(text, 'chosen')}", "", _e(config_text(report.chosen), 1000), ""]
        lines += [f"- {_e(name)}: {_e(reason)}" for name, reason in report.reasons.items()]
    return [*lines, ""]


def _importance(report: RunReport) -> list[str]:
    text, sentence = report.language, importance_sentence(report)
    if not sentence:
        return []
    rows = [[_e(name), f"{share:.0%}"] for name, share in report.importance.items()]
    head = [word(text, "parameter"), word(text, "share")]
    return [f"### {word(text, 'importance')}", "", sentence, *(_table(head, rows) if rows else [""])]


def _samples(report: RunReport) -> list[str]:
    text = report.language
    lines = [f"## {word(text, 'samples')}"]
    for key, samples in (("best", report.best), ("worst", report.worst)):
        if samples:
            lines += [f"### {word(text, key)}", *_sample_table(report, samples)]
    if report.confusions:
        rows = [
            [_e(c.truth or word(text, "nothing")), _e(c.predicted or word(text, "nothing")), str(c.count)]
            for c in report.confusions
        ]
        head = [word(text, key) for key in ("truth", "predicted", "count")]
        lines += [f"### {word(text, 'confusions')}", *_table(head, rows)]
    return lines


def _sample_table(report: RunReport, samples: Sequence[SampleLine]) -> list[str]:
    keys = ("row", "input", "expected", "answer", "score")
    rows = [[_e(s.id), _e(s.input), _e(s.expected), _e(s.answer), f"{s.score:.3f}"] for s in samples]
    return _table([word(report.language, key) for key in keys], rows)


def _end(report: RunReport) -> list[str]:
    text = report.language
    lines = [f"## {word(text, 'time')}"]
    if report.stages:
        rows = [[_e(name_of(text, stage)), seconds_text(text, spent)] for stage, spent in report.stages.items()]
        lines += [*_table([word(text, "stage"), word(text, "time")], rows), overhead_text(report), ""]
    lines += [f"## {word(text, 'machine')}", ""]
    lines += [f"- {_e(name)}: {_e(value)}" for name, value in {**report.machine, **report.versions}.items()]
    if report.next_commands:
        lines += ["", f"## {word(text, 'next')}", "", *(f"    {' '.join(c.split())}" for c in report.next_commands)]
    return lines

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

__all__ = ["begun", "closing", "safe", "table_lines", "to_markdown"]

_OPENING = re.compile(r"^(\d*)([-+~=.)])")
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
        *closing(report),
    ]
    return "\n".join(parts).rstrip() + "\n"


def safe(text: object, most: int = 300) -> str:
    """Escape for Markdown: one line, no markup, no HTML."""
    flat = " ".join(cut(str(text), most).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", flat)


def begun(text: object, most: int = 300) -> str:
    """Escaped to stand where a block begins: a dash, a number or a row of tildes opens no list and no code there."""
    return _OPENING.sub(r"\1\\\2", safe(text, most))


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table as lines, between empty ones; cells are `safe` already."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return ["", *(f"| {line} |" for line in lines), ""]


def _head(report: RunReport) -> list[str]:
    text, main = report.language, report.main
    rows = [
        [safe(name_of(text, m.name)), number(m.name, m.value), interval(m.name, m.ci95), str(m.n)]
        for m in report.scores
    ]
    return [
        f"# {safe(report.model)}",
        "",
        f"> {begun(report.description, 1000)}",
        "",
        f"**{word(text, 'verdict')}**: {safe(report.verdict, 1000)}",
        "",
        f"## {word(text, 'result')}",
        *table_lines(
            [word(text, "metric"), word(text, "value"), word(text, "interval"), word(text, "rows")],
            rows or [[safe(main.name), "", "", ""]],
        ),
        *(f"- {begun(note, 1000)}" for note in report.notes),
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
        name = safe(name_of(text, line.name)) + (f" ({word(text, 'trivial')})" if line.trivial else "")
        rows.append(
            [
                name,
                number(primary, line.value),
                interval(primary, line.ci95),
                number(primary, compared.difference, signed=True) if compared else "",
                p_text(compared.p_value) if compared else "",
                str(line.n),
                safe(line.note),
            ]
        )
    keys = ("method", "value", "interval", "difference", "p", "rows", "note")
    return [f"## {word(text, 'ladder')}", *table_lines([word(text, key) for key in keys], rows)]


def _task(report: RunReport) -> list[str]:
    text = report.language
    lines = [f"## {word(text, 'understood')}"]
    lines += table_lines([word(text, "field"), word(text, "value")], [[safe(k), safe(v)] for k, v in task_rows(report)])
    evidence = [
        [
            safe(item.get("field", "")),
            safe(item.get("value", "")),
            safe(item.get("source", "")),
            safe(item.get("reason", "")),
        ]
        for item in report.task.get("evidence") or ()
    ]
    if evidence:
        lines += table_lines([word(text, key) for key in ("field", "value", "source", "reason")], evidence)
    return lines


def _data(report: RunReport) -> list[str]:
    text = report.language
    lines = [f"## {word(text, 'data')}"]
    splits = [[safe(name_of(text, name)), str(rows)] for name, rows in report.splits.items()]
    lines += table_lines([word(text, "split"), word(text, "rows")], splits) if splits else []
    lines.append(f"### {word(text, 'dropped')}")
    if not report.dropped:
        return [*lines, "", word(text, "nothing_dropped"), ""]
    lines += table_lines(
        [word(text, "reason"), word(text, "count")], [[safe(reason), str(n)] for reason, n in report.dropped.items()]
    )
    shown = [[safe(row.id), safe(row.reason), safe(row.detail)] for row in report.dropped_rows]
    return lines + table_lines([word(text, key) for key in ("row", "reason", "detail")], shown)


def _search(report: RunReport) -> list[str]:
    text, primary = report.language, report.primary
    rows = []
    for trial in report.trials:
        mark = "**" if trial.number == report.chosen_trial else ""
        state = word(text, trial.state) + (
            f": {safe(trial.error or trial.reason)}" if trial.error or trial.reason else ""
        )
        rows.append(
            [
                f"{mark}{trial.number}{mark}",
                state,
                number(primary, trial.score),
                f"{trial.seconds:.0f}",
                safe(config_text(trial.config), 500),
            ]
        )
    keys = ("trial", "state", "score", "seconds", "configuration")
    lines = [f"## {word(text, 'search')}"]
    lines += table_lines([word(text, key) for key in keys], rows) if rows else []
    lines += _importance(report)
    if offers := trade_off_rows(report):
        lines += [f"### {word(text, 'trade_offs')}", "", word(text, "trade_offs_intro")]
        lines += table_lines([word(text, key) for key in ("trial", "score", "parameters", "row_ms")], offers)
    if report.chosen or report.reasons:
        lines += [f"### {word(text, 'chosen')}", "", safe(config_text(report.chosen), 1000), ""]
        lines += [f"- {begun(name)}: {safe(reason)}" for name, reason in report.reasons.items()]
    return [*lines, ""]


def _importance(report: RunReport) -> list[str]:
    text, sentence = report.language, importance_sentence(report)
    if not sentence:
        return []
    rows = [[safe(name), f"{share:.0%}"] for name, share in report.importance.items()]
    head = [word(text, "parameter"), word(text, "share")]
    return [f"### {word(text, 'importance')}", "", sentence, *(table_lines(head, rows) if rows else [""])]


def _samples(report: RunReport) -> list[str]:
    text = report.language
    lines = [f"## {word(text, 'samples')}"]
    for key, samples in (("best", report.best), ("worst", report.worst)):
        if samples:
            lines += [f"### {word(text, key)}", *_sample_table(report, samples)]
    if report.confusions:
        rows = [
            [safe(c.truth or word(text, "nothing")), safe(c.predicted or word(text, "nothing")), str(c.count)]
            for c in report.confusions
        ]
        head = [word(text, key) for key in ("truth", "predicted", "count")]
        lines += [f"### {word(text, 'confusions')}", *table_lines(head, rows)]
    return lines


def _sample_table(report: RunReport, samples: Sequence[SampleLine]) -> list[str]:
    keys = ("row", "input", "expected", "answer", "score")
    rows = [[safe(s.id), safe(s.input), safe(s.expected), safe(s.answer), f"{s.score:.3f}"] for s in samples]
    return table_lines([word(report.language, key) for key in keys], rows)


def closing(report: RunReport) -> list[str]:
    """Where the time went, what the run was made with, and commands to go on with."""
    text = report.language
    lines = [f"## {word(text, 'time')}"]
    if report.stages:
        rows = [[safe(name_of(text, stage)), seconds_text(text, spent)] for stage, spent in report.stages.items()]
        lines += [*table_lines([word(text, "stage"), word(text, "time")], rows), overhead_text(report), ""]
    lines += [f"## {word(text, 'machine')}", ""]
    lines += [f"- {begun(name)}: {safe(value)}" for name, value in {**report.machine, **report.versions}.items()]
    if report.next_commands:
        lines += ["", f"## {word(text, 'next')}", "", *(f"    {' '.join(c.split())}" for c in report.next_commands)]
    return lines

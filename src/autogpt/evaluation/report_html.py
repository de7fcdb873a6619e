"""The report as one HTML page: no script, no outside file, light and dark; every value from the data is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from autogpt.evaluation.report_charts import ladder_chart, trials_chart
from autogpt.evaluation.report_markup import Child, Html, element, table
from autogpt.evaluation.report_search import search_charts
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

__all__ = ["following", "head", "machine", "page", "section", "tile", "time", "to_html"]

_SHOWN_CHARS = 420


def to_html(report: RunReport) -> str:
    """The whole page of a task's report."""
    sections = (head, _tiles, _ladder, _task, _data, _search, _samples, time, machine, following)
    return page(report, *(make(report) for make in sections))


def page(report: RunReport, *sections: Child) -> str:
    """A page in the report's language, with its model as the title.

    A policy in its head forbids scripts and outside resources even if something slipped through.
    """
    style = resources.files("autogpt.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    top = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{report.model} · {word(report.language, 'report')}"),
        Html(f"<style>\n{style}</style>"),
    )
    language = "zh-CN" if report.language == "zh" else "en"
    body = element("body", element("main", *sections))
    return "<!doctype html>\n" + element("html", top, body, lang=language) + "\n"


def head(report: RunReport) -> list[Html]:
    """The name, what was asked for, and the verdict."""
    said = element("p", report.description, class_="said")
    header = element("header", element("h1", report.model, class_="name"), said)
    return [header, element("div", report.verdict, class_=f"verdict {report.outcome}", role="status")]


def _tiles(report: RunReport) -> Html:
    text, main, best = report.language, report.main, report.best_baseline
    tiles = [tile(name_of(text, main.name), number(main.name, main.value), interval(main.name, main.ci95))]
    if best is not None:
        small = name_of(text, best.name)
        tiles.append(tile(word(text, "best_baseline"), number(main.name, best.value), small))
    if report.trials:
        done = sum(trial.state == "finished" for trial in report.trials)
        small = f"{done} {word(text, 'finished')}" if text == "en" else f"{word(text, 'finished')} {done}"
        tiles.append(tile(word(text, "trials"), str(len(report.trials)), small))
    if report.stages:
        small = word(text, "of_budget", budget=seconds_text(text, report.budget_s)) if report.budget_s else ""
        tiles.append(tile(word(text, "took"), seconds_text(text, report.seconds), small))
    return element("div", *tiles, class_="tiles")


def tile(what: str, big: str, small: str) -> Html:
    """A figure with what it is above it and a remark below it."""
    parts = (("what", what), ("big", big), ("small", small))
    return element("div", *(element("div", value, class_=name) for name, value in parts), class_="tile")


def section(heading: str, *children: Child) -> Html:
    """A heading and what stands under it."""
    return element("section", element("h2", heading), *children)


def _ladder(report: RunReport) -> Html:
    text, primary = report.language, report.primary
    better = word(text, "more" if report.main.higher_is_better else "less")
    rows: list[list[Child]] = [
        [
            element("strong", word(text, "this_model"), class_="own"),
            number(primary, report.main.value),
            interval(primary, report.main.ci95),
            "",
            "",
            report.main.n,
            "",
        ]
    ]
    for line in ranked_ladder(report):
        compared = line.comparison
        tag = element("span", word(text, "trivial"), class_="tag") if line.trivial else None
        rows.append(
            [
                [name_of(text, line.name), tag],
                number(primary, line.value),
                interval(primary, line.ci95),
                number(primary, compared.difference, signed=True) if compared else "",
                p_text(compared.p_value) if compared else "",
                line.n,
                element("span", line.note, class_="soft"),
            ]
        )
    keys = ("method", "value", "interval", "difference", "p", "rows", "note")
    metrics: list[list[Child]] = [
        [name_of(text, m.name), number(m.name, m.value), interval(m.name, m.ci95), m.n] for m in report.scores
    ]
    head = [word(text, key) for key in ("metric", "value", "interval", "rows")]
    return section(
        word(text, "ladder"),
        element("p", word(text, "ladder_intro", metric=name_of(text, primary), better=better), class_="soft"),
        ladder_chart(report),
        table([word(text, key) for key in keys], rows, numeric=range(1, 6)),
        [element("h3", word(text, "metrics")), table(head, metrics, numeric=(1, 2, 3), compact=True)]
        if len(metrics) > 1
        else None,
        [element("p", note, class_="soft") for note in report.notes],
    )


def _task(report: RunReport) -> Html:
    text = report.language
    keys = ("field", "value", "source", "reason")
    evidence = [[str(item.get(key, "")) for key in keys] for item in report.task.get("evidence") or ()]
    folded = None
    if evidence:
        summary = element("summary", f"{word(text, 'evidence')} ({len(evidence)})")
        folded = element("details", summary, table([word(text, key) for key in keys], evidence))
    rows = [[element("span", key, class_="soft"), value] for key, value in task_rows(report)]
    return section(word(text, "understood"), table([word(text, "field"), word(text, "value")], rows), folded)


def _data(report: RunReport) -> Html:
    text = report.language
    splits = table(
        [word(text, "split"), word(text, "count")],
        [[name_of(text, name), rows] for name, rows in report.splits.items()],
        numeric=(1,),
    )
    if not report.dropped:
        return section(word(text, "data"), splits, element("p", word(text, "nothing_dropped"), class_="soft"))
    counts = table(
        [word(text, "reason"), word(text, "count")],
        [[reason, count] for reason, count in report.dropped.items()],
        numeric=(1,),
    )
    shown = table(
        [word(text, key) for key in ("row", "reason", "detail")],
        [[element("span", row.id, class_="id"), row.reason, cut(row.detail, 200)] for row in report.dropped_rows],
    )
    return section(
        word(text, "data"),
        element(
            "div",
            element("div", element("h3", word(text, "rows"), style="margin-top:0"), splits),
            element("div", element("h3", word(text, "dropped"), style="margin-top:0"), counts),
            class_="columns",
        ),
        element("details", element("summary", word(text, "examples")), shown),
    )


def _search(report: RunReport) -> Html | None:
    text, primary = report.language, report.primary
    if not report.trials and not report.chosen:
        return None
    rows: list[list[Child]] = []
    for trial in report.trials:
        own = trial.number == report.chosen_trial
        why = trial.error or trial.reason
        rows.append(
            [
                element("strong", str(trial.number), class_="own") if own else trial.number,
                [word(text, trial.state), element("div", cut(why, 160), class_="id") if why else None],
                number(primary, trial.score),
                f"{trial.seconds:.0f}",
                element("span", config_text(trial.config), class_="config"),
            ]
        )
    keys = ("trial", "state", "score", "seconds", "configuration")
    reasons = [[element("span", name, class_="config"), why] for name, why in report.reasons.items()]
    return section(
        word(text, "search"),
        element("p", word(text, "trials_intro", metric=name_of(text, primary)), class_="soft"),
        trials_chart(report),
        search_charts(report),
        table([word(text, key) for key in keys], rows, numeric=(2, 3)) if rows else None,
        _trade_offs(report),
        element("h3", word(text, "chosen")),
        element("p", config_text(report.chosen), class_="config"),
        table([word(text, "field"), word(text, "reason")], reasons) if reasons else None,
    )


def _trade_offs(report: RunReport) -> list[Html]:
    text, rows = report.language, trade_off_rows(report)
    if not rows:
        return []
    head = [word(text, key) for key in ("trial", "score", "parameters", "row_ms")]
    intro = element("p", word(text, "trade_offs_intro"), class_="soft")
    return [element("h3", word(text, "trade_offs")), intro, table(head, rows, numeric=(1, 2, 3), compact=True)]


def _samples(report: RunReport) -> Html | None:
    text = report.language
    if not (report.best or report.worst):
        return None
    confusions = None
    if report.confusions:
        none = word(text, "nothing")
        rows: list[list[Child]] = [[c.truth or none, c.predicted or none, c.count] for c in report.confusions]
        head = [word(text, key) for key in ("truth", "predicted", "count")]
        confusions = [element("h3", word(text, "confusions")), table(head, rows, numeric=(2,), compact=True)]
    return section(
        word(text, "samples"),
        _sample_table(report, "worst", report.worst),
        _sample_table(report, "best", report.best),
        confusions,
    )


def _sample_table(report: RunReport, heading: str, samples: Sequence[SampleLine]) -> list[Html]:
    if not samples:
        return []
    with_input = any(sample.input for sample in samples)
    keys = ["input", "expected", "answer", "score", "row"] if with_input else ["expected", "answer", "score", "row"]

    def cell(sample: SampleLine, key: str) -> Child:
        if key == "score":
            return f"{sample.score:.3f}".replace("-", "−")
        if key == "row":
            return element("div", sample.id, class_="id")
        return element("div", cut(str(getattr(sample, key)), _SHOWN_CHARS), class_="text")

    rows = [[cell(sample, key) for key in keys] for sample in samples]
    head = [word(report.language, key) for key in keys]
    return [element("h3", word(report.language, heading)), table(head, rows, numeric=(keys.index("score"),))]


def time(report: RunReport) -> Html | None:
    """Where the time went, stage by stage; None for a run that measured none."""
    text = report.language
    if not report.stages:
        return None
    rows: list[list[Child]] = []
    for stage, spent in report.stages.items():
        share = spent / report.seconds if report.seconds else 0.0
        meter = element("div", element("div", style=f"width:{100 * share:.1f}%"), class_="meter")
        rows.append([name_of(text, stage), seconds_text(text, spent), f"{share:.0%}", meter])
    head = [word(text, "stage"), word(text, "time"), word(text, "share"), ""]
    return section(word(text, "time"), table(head, rows, numeric=(1, 2)), element("p", overhead_text(report)))


def machine(report: RunReport) -> Html | None:
    """What the run was made with; None where that is not known."""
    facts = [report.machine, report.versions]
    if not any(facts):
        return None
    tables = [
        table((), [[element("span", name, class_="soft"), str(value)] for name, value in group.items()])
        for group in facts
        if group
    ]
    return section(word(report.language, "machine"), element("div", *tables, class_="columns"))


def following(report: RunReport) -> Html | None:
    """Commands to go on with; None where there are none."""
    if not report.next_commands:
        return None
    return section(word(report.language, "next"), element("pre", "\n".join(report.next_commands)))

"""`autogpt fit`: a sentence and a file in, a model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.cli.live import QuietView, view_for
from autogpt.cli.text import Text, language_for

if TYPE_CHECKING:
    from autogpt.config import RunConfig
    from autogpt.model import Model
    from autogpt.model_several import MultitaskModel

__all__ = ["fit", "outcome", "watch"]


def fit(
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="FILE",
            help="Rows to learn from: JSONL, CSV, TSV, TXT, Parquet. Repeat it, or name a YAML of tasks, for several.",
        ),
    ],
    description: Annotated[
        str, typer.Argument(metavar="DESCRIPTION", help="The task in one sentence, Chinese or English.")
    ] = "",
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test", metavar="FILE", help="Rows to be judged on, one file for each --data; or some are sealed."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model; made from the task if not given.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Wall-clock for everything: 90s, 10m, 2h.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="auto, scratch, a catalogue name, a folder or a hub id.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option("--sampler", help="auto, random, bayes, gp, genetic, rl, nsga2 or llm.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh/--no-fresh", help="Start anew, without known models and past searches.")
    ] = False,
    add_to: Annotated[
        str | None, typer.Option("--add-to", metavar="MODEL", help="Teach a model this task beside those that it does.")
    ] = None,
    config: common.ConfigOption = None,
    overrides: common.SetOption = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Describe a task, bring its data, get a trained model."""
    from autogpt.config import parse_budget

    settings = _settings(config, overrides or [], sampler, budget=budget, base=base, add_to=add_to)
    parse_budget(settings.budget, settings.price_per_hour)  # before torch is imported
    rows = [common.existing(file, "--data") for file in data]
    test_rows = [common.existing(file, "--test") for file in test or ()]
    text = Text(language_for(description))

    def work(view: QuietView) -> Model | MultitaskModel:
        from autogpt import pipeline

        return pipeline.fit(
            description, rows, test=test_rows, name=name, config=settings, fresh=fresh, consumers=(view,)
        )

    model, view = watch(work, text, quiet=quiet)
    outcome(model, view, text, as_json=as_json)


def _settings(config: str | None, overrides: list[str], sampler: str | None, **options: str | None) -> RunConfig:
    """The run's configuration from file and options; raises ConfigError for a sampler that does not exist."""
    from autogpt.config import load_run_config
    from autogpt.registry import SAMPLERS

    path = None if config is None else Path(config).expanduser()
    if sampler is not None:
        overrides = [*overrides, f"search.sampler={sampler}"]
    settings = load_run_config(path, overrides, **options)
    SAMPLERS.get(settings.search.sampler)
    return settings


def watch(
    work: Callable[[QuietView], Model | MultitaskModel], text: Text, *, quiet: bool
) -> tuple[Model | MultitaskModel, QuietView]:
    """Run `work` under the view that fits standard error."""
    with view_for(text, quiet=quiet) as view:
        return work(view), view


def outcome(model: Model | MultitaskModel, view: QuietView, text: Text, *, as_json: bool) -> None:
    """Print how it ended: the JSON document, or the model, its score beside the best baseline and what to do next."""
    from autogpt.pipeline import fit_summary

    summary = fit_summary(model)
    if as_json:
        common.emit(summary)
        return
    done = view.progress.done
    metric = summary["metric"]
    score = f"{metric['name']} {show.number(metric['value'])} {show.interval(metric.get('ci95'))}".rstrip()
    took = text("took_detail", time=show.clock(summary.get("seconds") or 0), trials=summary.get("trials") or 0)
    if done.get("overhead") is not None:
        took += ", " + text("overhead", share=f"{done['overhead']:.0%}")
    first, *others = done.get("next") or [f"autogpt models show {summary['model']}"]
    rows = [
        (text("model"), f"{summary['model']}  ({summary['model_dir']})"),
        (text("result"), f"{score} {text('on_rows', n=metric.get('n'))}"),
        *_of_tasks(summary.get("tasks") or {}),
        (text("grouping" if summary.get("tasks") else "beside"), str(summary.get("verdict") or "")),
        (text("report"), str(done.get("report", ""))),
        (text("took"), took if done else ""),
        (text("next"), str(first)),
        *(("", str(command)) for command in others),
    ]
    for line in show.fields(rows, indent=""):
        common.say(line)


def _of_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """A line for each of several tasks: its metric, and how that stands to its best baseline."""
    lines = []
    for name, fit in tasks.items():
        metric = fit["metric"]
        score = f"{metric['name']} {show.number(metric['value'])} {show.interval(metric.get('ci95'))}".rstrip()
        lines.append((name, f"{score}  {fit.get('verdict') or ''}"))
    return lines

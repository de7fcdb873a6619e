"""`autogpt runs`: what was tried, taking it elsewhere, and going on with what was interrupted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.cli.fit import outcome, watch
from autogpt.cli.live import QuietView
from autogpt.cli.text import Text, language_for
from autogpt.errors import BadInput

if TYPE_CHECKING:
    from autogpt.model import Model
    from autogpt.model_several import MultitaskModel
    from autogpt.store.database import RunRow, TrialRow

__all__ = ["app"]

app = typer.Typer(help="List, show, compare, export and resume runs.", no_args_is_help=True, rich_markup_mode=None)


def state_of(row: RunRow) -> str:
    """The run's state; `lost` for one whose process is gone, so that only `resume` can end it."""
    from autogpt.store.leases import is_live

    return "lost" if row.state == "running" and not is_live(row.pid, row.host, row.heartbeat) else row.state


def document(row: RunRow) -> dict[str, Any]:
    """A run as JSON."""
    return {
        "run": row.id,
        "state": state_of(row),
        "description": row.config.get("description", ""),
        "budget_s": row.budget_s,
        "spent_s": round(row.spent_s, 1),
        "created": show.when(row.created),
        "ended": None if row.ended is None else show.when(row.ended),
        "error": row.error or None,
        "folder": str(row.folder),
    }


@app.command("list")
def list_runs(
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """All runs, newest first; -q shows only their ids."""
    from autogpt.config import home
    from autogpt.store.database import Store

    with Store(home()) as store:
        rows = [document(row) for row in store.runs()]
    if as_json:
        common.emit({"runs": rows})
    elif quiet:
        for row in rows:
            common.say(row["run"])
    elif not rows:
        common.note('no runs yet: autogpt fit "…" --data FILE')
    else:
        shown = [
            (r["run"], r["state"], _spent(r), r["created"], show.one_line(r["error"] or r["description"], 60))
            for r in rows
        ]
        common.say_table(show.table(["run", "state", "spent", "created", "task or error"], shown))


def _spent(run: dict[str, Any]) -> str:
    return f"{show.clock(run['spent_s'])} of {show.clock(run['budget_s'])}"


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, from autogpt runs list.")],
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """One run and its trials."""
    from autogpt.config import home
    from autogpt.store.database import Store

    with Store(home()) as store:
        row = store.run(run)
        trials = store.trials(row.id)
    if as_json:
        common.emit({**document(row), "config": row.config, "trials": [trial.to_dict() for trial in trials]})
        return
    about = document(row)
    facts = [
        (name, str(about[name] or ""))
        for name in ("run", "state", "description", "created", "ended", "error", "folder")
    ]
    for line in show.fields([*facts, ("spent", _spent(about))], indent=""):
        common.say(line)
    if trials:
        common.say("")
        common.say_table(_trials(trials))


def _trials(trials: Sequence[TrialRow]) -> Any:
    rows = [
        (
            trial.number,
            trial.state,
            f"{max((report.get('share') or 0.0 for report in trial.reports), default=0.0):.0%}",
            trial.score,
            show.clock(trial.seconds),
            show.configuration(trial.config),
            show.one_line(trial.error or trial.reason, 60),
        )
        for trial in trials
    ]
    return show.table(["trial", "state", "of full", "score", "time", "configuration", "why it ended"], rows)


@app.command("compare")
def compare_runs(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN…", help="Two or more ids, from autogpt runs list.")],
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """What finished runs reached side by side, and where their chosen configurations differ."""
    from autogpt.config import home
    from autogpt.store.database import Store

    if len(runs) < 2:
        raise BadInput(
            "one run cannot be compared", expected="two ids or more", todo="autogpt runs list shows all runs"
        )
    with Store(home()) as store:
        compared = [_compared(store.run(run)) for run in runs]
    if as_json:
        common.emit({"runs": compared})
        return
    facts: list[tuple[str, list[Any]]] = [(key, [one[key] for one in compared]) for key in _COMPARED]
    settings = dict.fromkeys(name for one in compared for name in one["chosen"])
    for name in settings:
        values = [one["chosen"].get(name) for one in compared]
        if any(value != values[0] for value in values):
            facts.append((name, ["" if value is None else show.number(value) for value in values]))
    common.say_table(show.table(["", *runs], [(name, *map(str, values)) for name, values in facts]))
    if len({one["data"] for one in compared}) > 1:
        common.note("their data differ, so their scores cannot be compared")


_COMPARED = ("task", "metric", "score", "ci95", "trials", "seconds", "model")


def _compared(row: RunRow) -> dict[str, Any]:
    """What a run's report says, in short. Raises BadInput for a run without one."""
    import json

    from autogpt.store.artifacts import RunFolder

    try:
        report = json.loads(RunFolder(row.folder).report_json.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"run {row.id} has no report", found=state_of(row), expected="finished runs") from error
    # A report of several tasks has a mean in the place of one task's metrics.
    main = report.get("mean") or next(score for score in report["scores"] if score["name"] == report["primary"])
    return {
        "run": row.id,
        "task": report["description"],
        "data": row.task_key,
        "metric": main["name"],
        "score": round(main["value"], 4),
        "ci95": [round(end, 4) for end in main["ci95"]],
        "verdict": report["verdict"],
        "trials": len(report.get("trials") or ()),
        "winner": report["reasons"].get("winner", ""),
        "seconds": round(sum(report["stages"].values())),
        "model": report["model"],
        "chosen": report["chosen"],
    }


@app.command("export")
def export_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, from autogpt runs list.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file: SQLite if it ends in .db, else an Optuna journal.")
    ],
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """The search of a run as an Optuna study, for optuna-dashboard and other tools.

    The space that was searched depends on the data, so the ranges in the study are those of the values that were tried.
    """
    from autogpt.config import home
    from autogpt.search.importance import SQLITE, export, observed_space
    from autogpt.search.trials import Trial
    from autogpt.store.database import Store

    with Store(home()) as store:
        row = store.run(run)
        trials = [Trial.from_dict(trial.to_dict()) for trial in store.trials(row.id)]
        task, _ = store.task(row.task_key)
    if not trials:
        raise BadInput(f"run {row.id} has no trials", found=state_of(row), expected="a run whose search has begun")
    export(observed_space(trials), trials, task["direction"], file, row.id, began=row.created)
    address = f"sqlite:///{file}" if file.suffix.lower() in SQLITE else str(file)
    if as_json:
        common.emit({"run": row.id, "file": str(file), "study": row.id, "storage": address, "trials": len(trials)})
    elif quiet:
        common.say(str(file))
    else:
        common.say(f"{len(trials)} trials as study {row.id} in {file}")
        common.note(f"look at it with: optuna-dashboard {shlex.quote(address)}")


@app.command("resume")
def resume_run(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="The run's id; the newest unfinished one if not given.")
    ] = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Go on with a run that was interrupted or killed: finished trials are kept, the rest of its budget is used."""
    from autogpt.config import home
    from autogpt.store.database import Store

    with Store(home()) as store:
        row = _unfinished(store.runs()) if run is None else store.run(run)
    text = Text(language_for(str(row.config.get("description", ""))))

    def work(view: QuietView) -> Model | MultitaskModel:
        from autogpt import pipeline

        return pipeline.resume(row.id, consumers=(view,))

    model, view = watch(work, text, quiet=quiet)
    outcome(model, view, text, as_json=as_json)


def _unfinished(rows: Sequence[RunRow]) -> RunRow:
    """The newest run that was interrupted or lost. Raises BadInput when there is none."""
    for row in rows:
        within = "parent" in row.config  # its run takes it up again
        if row.state in ("interrupted", "running") and not within:  # the store refuses one that is really at work
            return row
    raise BadInput("no run to resume", todo="autogpt runs list shows all runs")

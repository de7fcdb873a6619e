"""`autogpt models`: the trained models and the pretrained bases of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.cli.text import Text

if TYPE_CHECKING:
    from autogpt.store.database import ModelRow

__all__ = ["app"]

app = typer.Typer(help="List, show, pull and remove models.", no_args_is_help=True, rich_markup_mode=None)


def document(row: ModelRow) -> dict[str, Any]:
    """A registered model as JSON."""
    return {
        "name": row.name,
        "description": row.description,
        "metric": {"name": row.metric_name, "value": row.metric_value, "ci95": list(row.ci95)},
        "created": show.when(row.created),
        "run": row.run,
        "folder": str(row.folder),
    }


@app.command("list")
def list_models(
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """The trained models, newest first, and the bases that were pulled; -q shows only the models' names."""
    from autogpt.config import home
    from autogpt.models.bases import available
    from autogpt.store.database import Store

    with Store(home()) as store:
        rows = store.models()
    if as_json:
        common.emit({"models": [document(row) for row in rows], "bases": available(home())})
        return
    if quiet:
        for row in rows:
            common.say(row.name)
        return
    if rows:
        shown = [
            (
                r.name,
                r.metric_name,
                r.metric_value,
                show.interval(r.ci95),
                show.when(r.created),
                show.one_line(r.description, 50),
            )
            for r in rows
        ]
        common.say_table(show.table(["model", "metric", "value", "95 % interval", "created", "task"], shown))
    else:
        common.note('no models yet: autogpt fit "…" --data FILE')
    common.note(f"bases: {', '.join(available(home())) or 'none pulled (autogpt models pull smollm2-135m)'}")


@app.command("show")
def show_model(
    model: common.ModelArgument,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """One model: its task, its scores, its folder."""
    from autogpt.model import load, located, tasks_of

    folder, name, task = located(model)
    if tasks_of(folder) and task is None:
        _show_tasks(folder, name, as_json=as_json)
        return
    found = load(model)
    n_bytes = sum(file.stat().st_size for file in found.folder.rglob("*") if file.is_file())
    summary = found.recipe["fit"]
    if as_json:
        common.emit({**summary, "model": found.name, "model_dir": str(found.folder), "bytes": n_bytes})
        return
    metric = summary["metric"]
    score = f"{metric['name']} {show.number(metric['value'])} {show.interval(metric.get('ci95'))}".rstrip()
    baselines = ", ".join(f"{b['name']} {show.number(b['value'])}" for b in summary.get("baselines") or ())
    judged = f"on {metric['n']} rows" if "n" in metric else f"(not finished: {summary['unfinished']})"
    facts = [
        ("sentence", found.spec.description),
        *show.task(found.spec.model_dump(mode="json"), Text("en")),
        ("result", f"{score} {judged}"),
        ("baselines", baselines),
        ("made by", show.configuration(summary.get("best_config") or {})),
        ("folder", f"{found.folder} ({show.size(n_bytes)})"),
        ("run", str(summary.get("run") or "")),
    ]
    for line in show.fields(facts, indent=""):
        common.say(line)


def _show_tasks(folder: Path, name: str | None, *, as_json: bool) -> None:
    """A model of several tasks: what it does, how well, and which tasks share weights."""
    from autogpt.model_several import MultitaskModel

    found = MultitaskModel(folder, name=name)
    summary, n_bytes = found.recipe["fit"], sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if as_json:
        common.emit({**summary, "model": found.name, "model_dir": str(folder), "bytes": n_bytes})
        return
    rows = []
    for task, fit in summary.get("tasks", {}).items():
        metric = fit["metric"]
        rows.append(
            (
                f"{found.name}/{task}",
                fit["task"]["kind"],
                metric["name"],
                metric["value"],
                show.interval(metric.get("ci95")),
            )
        )
    common.say_table(show.table(["task", "kind", "metric", "value", "95 % interval"], rows))
    facts = [
        ("groups", "; ".join(", ".join(group) for group in summary.get("groups") or [found.tasks])),
        ("why", str(summary.get("verdict") or summary.get("unfinished") or "")),
        ("folder", f"{folder} ({show.size(n_bytes)})"),
        ("run", str(summary.get("run") or "")),
    ]
    for line in show.fields(facts, indent=""):
        common.say(line)


@app.command("sessions")
def list_sessions(
    model: common.ModelArgument,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="SESSION", help="Delete it; repeatable.")
    ] = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """What a model has learnt from texts with --adapt, by name. Sessions hold words of these texts."""
    from dataclasses import asdict

    from autogpt.model import load

    kept = load(model).sessions
    for name in remove or ():
        kept.remove(name)
    found = kept.list()
    if as_json:
        common.emit({"sessions": [asdict(one) for one in found], "removed": list(remove or ())})
        return
    if not found:
        common.note(f"no sessions of {model}: autogpt generate {model} --adapt NAME")
        return
    rows = [(one.name, f"{one.tokens:,}", show.size(one.bytes)) for one in found]
    common.say_table(show.table(["session", "tokens learnt from", "size"], rows))


@app.command("pull")
def pull_base(
    name: Annotated[str, typer.Argument(metavar="BASE", help="A catalogue name, such as smollm2-135m.")],
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Fetch a pretrained base, so that fit can start from it, also without a network."""
    from autogpt.config import home
    from autogpt.models.bases import pull

    with common.progress_bar(name, None, quiet=quiet, in_bytes=True) as moved:
        folder = pull(name, home(), moved)
    if as_json:
        common.emit({"base": name, "folder": str(folder)})
    elif not quiet:
        common.say(f"{name}: {folder}")


@app.command("remove")
def remove_models(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", autocompletion=common.complete_model)],
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Forget trained models and delete their folders. Asks nothing; run folders stay."""
    from autogpt.config import home
    from autogpt.store.database import Store

    with Store(home()) as store:
        for name in names:
            store.model(name)  # all or none: a name that is not there is reported before anything is deleted
        removed = [store.remove_model(name) for name in dict.fromkeys(names)]
    if as_json:
        common.emit(
            {"removed": [{"name": r.name, "folder": str(r.folder), "folder_left": r.folder.exists()} for r in removed]}
        )
    elif not quiet:
        for row in removed:
            common.say(f"{row.name} removed" + (f"; its folder stays: {row.folder}" if row.folder.exists() else ""))

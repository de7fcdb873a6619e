"""`autogpt evaluate`: every metric of the task, with intervals, on rows of the user's choice."""

from __future__ import annotations

from typing import Annotated

import typer

from autogpt.cli import common, show

__all__ = ["evaluate"]


def evaluate(
    model: common.ModelArgument,
    data: Annotated[str, typer.Option("--data", metavar="FILE", help="Rows with answers, shaped as in training.")],
    task: common.TaskOption = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Also read the rows in order, learning from each after it was scored.")
    ] = False,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Score a trained model on a file. Every metric of its task, each with a 95 % interval."""
    source = common.existing(data, "--data")

    from autogpt.model import load

    scores = load(model, task).evaluate(source, adapt=adapt)
    if as_json:
        common.emit(scores)
        return
    rows = [
        (name, metric["value"], show.interval(metric.get("ci95")), metric.get("n", scores["n"]))
        for name, metric in scores["metrics"].items()
    ]
    rows += [
        (f"{name}, adapting", metric["value"], show.interval(metric["ci95"]), metric["n"])
        for name, metric in scores.get("adapted", {}).items()
    ]
    common.say_table(show.table(["metric", "value", "95 % interval", "rows"], rows))

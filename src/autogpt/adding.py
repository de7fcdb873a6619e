"""A task added to a model: what the model does already is replayed, and a task that it does worse keeps the old one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from autogpt.bench import Bench, Known, Told, judge_parts
from autogpt.config import RunConfig
from autogpt.data import readers
from autogpt.errors import BadInput, ConfigError, DataError, ModelError, StoreError
from autogpt.evaluation.report_text import language_of
from autogpt.given import Given, tasks_again
from autogpt.model import TASKS, Model, load, located, tasks_of
from autogpt.model_several import MultitaskModel, model_in
from autogpt.run import Run
from autogpt.stages_grouping import Grouping, Probe, compared
from autogpt.store.database import Store
from autogpt.store.keys import slug
from autogpt.training.candidate import Candidate
from autogpt.training.finish import Judgement

__all__ = ["Added", "added", "unharmed", "whole_before"]

REPLAYED_ROWS = 300
"""Training rows of each known task that are learnt again beside the new one's."""


@dataclass(frozen=True, slots=True)
class Added:
    """What a run begins with that adds tasks to a model.

    Attributes:
        given: the tasks of the model, in its order, and the new ones behind them.
        config: of the run, which starts from the model's weights and makes one model of them all.
        like: what the new model is called after.
    """

    given: Given
    config: RunConfig
    like: str


def added(store: Store, given: Given, config: RunConfig) -> Added:
    """What `given` brings, added to what the model `config.add_to` does.

    Raises:
        ModelError: there is no such model, its tasks are of several models, or its shape cannot be trained on here.
        DataError: its rows have changed, are gone, or are given for the new task too; or a task's name is taken.
        ConfigError: an option that asks for another start, or for tasks apart.
    """
    wanted = config.add_to
    _refuse_wishes(config)
    first, (folder, name, task) = _member(wanted), located(wanted)
    known = _told_before(store, first, task or name or first.name, folder)
    names, new = {one.name for one in known.tasks}, _named(given)
    for one, paths in zip(new, given.paths, strict=True):
        if one.name in names:
            raise DataError(
                f"{wanted!r} has a task {one.name!r} already",
                found=paths[0].name,
                todo="rename the file, or name the task in a YAML of tasks",
            )
    ours = {readers.fingerprint([path]) for path in known.files}
    if again := [path.name for path in given.files if readers.fingerprint([path]) in ours]:
        raise DataError(f"{again[0]!r} is a file of a task that {wanted!r} does already", todo="give other rows")
    separator = "；" if language_of(given.description) == "zh" else "; "
    told = Given(
        separator.join((known.description, given.description)),
        (*known.tasks, *new),
        (*known.paths, *given.paths),
    )
    shape = json.loads((first.weights_folder / "config.json").read_text(encoding="utf-8"))
    space = {"sharing": shape["sharing"], **config.search.space} if shape.get("adapters") else config.search.space
    changed = {
        "base": str(first.weights_folder),
        "grouping": "together",
        "search": config.search.model_copy(update={"space": space}),
    }
    return Added(told, config.model_copy(update=changed), name or wanted)


def _refuse_wishes(config: RunConfig) -> None:
    for option, left in (("base", "auto"), ("grouping", "auto")):
        if (value := getattr(config, option)) != left:
            raise ConfigError(
                f"{option} is settled where a task is added to a model",
                found=value,
                todo=f"leave out {option}, or --add-to",
            )


def _member(wanted: str) -> Model:
    """A task of the model, with whose weights training begins."""
    folder, name, task = located(wanted)
    models = [Model(folder / TASKS / one) for one in tasks_of(folder)] or [Model(folder)]
    if task is not None:
        return load(wanted)
    groups: dict[str, list[str]] = {}
    for model in models:
        groups.setdefault(model.recipe["run"], []).append(model.folder.name)
    if len(groups) > 1:
        raise ModelError(
            f"the tasks of {wanted!r} do not share one model",
            found="; ".join(", ".join(group) for group in groups.values()),
            todo=f"name a task whose model is to be added to: --add-to {name or wanted}/{models[0].folder.name}",
        )
    return models[0]


def _told_before(store: Store, member: Model, name: str, folder: Path) -> Given:
    """The tasks of the model, as the run that made it was given them, to be replayed."""
    try:
        row = store.run(str(member.recipe["run"]))
        understood, fingerprint = store.task(row.task_key)
    except (BadInput, StoreError) as error:
        raise ModelError(
            f"it is not known what {name!r} was trained on, and its rows are needed",
            found=f"run {member.recipe['run']} is not in this home",
            todo="train all tasks together with autogpt fit",
        ) from error
    before = tasks_again(row.config, understood)
    if before.fingerprint != fingerprint:
        raise DataError(
            f"the data of {name!r} changed since it was trained, and its rows are needed",
            found=", ".join(str(path) for path in before.files),
            todo="restore the files, or train all tasks together with autogpt fit",
        )
    config = RunConfig.model_validate(row.config["config"])
    known = Known(folder.resolve(), REPLAYED_ROWS, config.data, config.seed)
    tasks = []
    for task in before.tasks:
        splits = known if task.known is None else replace(task.known, model=known.model)
        tasks.append(replace(task, name=task.name or slug(name), known=splits))
    return replace(before, tasks=tuple(tasks))


def _named(given: Given) -> list[Told]:
    """The new tasks; a single one is called after its file."""
    return [
        replace(task, name=task.name or slug(paths[0].name.lstrip(".").split(".")[0]))
        for task, paths in zip(given.tasks, given.paths, strict=True)
    ]


def unharmed(run: Run, bench: Bench, candidate: Candidate, groups: Grouping) -> Grouping:
    """`groups`; where tasks were added, which known ones keep the model that they had, and why.

    A known task keeps it where the validation rows say that the trained model is worse, by a paired test and beyond
    what seeds do, in the metric, or in the loss where the metric is no better. The rows are those that the old model
    was chosen by, so the comparison leans to the old one.
    """
    places = [place for place, part in enumerate(bench.parts) if part.known is not None]
    if not places:
        return groups
    with run.busy():
        after = judge_parts(bench, candidate, candidate.model)
        before = {place: _judged_before(bench, place) for place in places}
    probes = tuple(compared(bench.parts[place], after[place], before[place], len(places)) for place in places)
    kept = tuple(place for place, probe in zip(places, probes, strict=True) if probe.leaves)
    together = tuple(place for place in range(len(bench.parts)) if place not in kept)
    why = _why(probes, language_of(str(run.row.config["description"])))
    run.reasons["grouping"] = why
    run.emit("pipeline.note", message=why)
    return Grouping((together, *((place,) for place in kept)), why, probes, kept=kept)


def whole_before(bench: Bench, place: int) -> Model | MultitaskModel:
    """The model that did a known task before, with all its tasks."""
    known = bench.parts[place].known
    assert known is not None
    return model_in(known.model)


def _judged_before(bench: Bench, place: int) -> Judgement:
    model, part = whole_before(bench, place), bench.parts[place]
    own = model[part.name] if isinstance(model, MultitaskModel) else model
    return part.validator.judge(own.engine, int(own.recipe["max_new_tokens"]))


_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "added": "added: none of the tasks of before is worse",
        "kept": "added; {names} would be worse and keep the model that they had",
        "told": "{name} {before:.4g} before, {after:.4g} now (p={p:.2g}, by the loss {loss_p:.2g})",
    },
    "zh": {
        "added": "已加入：原有任务都没有变差",
        "kept": "已加入；{names} 会变差，保留原来的模型",
        "told": "{name} 之前 {before:.4g}，现在 {after:.4g}（p={p:.2g}，按损失 {loss_p:.2g}）",
    },
}


def _why(probes: tuple[Probe, ...], language: str) -> str:
    words, kept = _WORDS[language], [probe.task for probe in probes if probe.leaves]
    comma, opening, closing = ("；", "（", "）") if language == "zh" else ("; ", " (", ")")
    told = comma.join(
        words["told"].format(
            name=one.task, before=one.alone, after=one.together, p=one.p_value, loss_p=one.loss_p_value
        )
        for one in probes
    )
    said = words["kept"].format(names=", ".join(kept)) if kept else words["added"]
    return f"{said}{opening}{told}{closing}"

"""What a run leaves behind: the model folder, the reports, and the model's name in the store.

A model of one task is a folder as `model` describes it. One of several tasks has the weights in `shared/` and in
`tasks/NAME/` a folder of each task, which points to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from autogpt.adding import whole_before
from autogpt.bench import Bench
from autogpt.delivery_several import deliver_several, gather, write_several
from autogpt.delivery_task import Ended, Place, register, write_recipe, write_task
from autogpt.errors import ModelError
from autogpt.evaluation.final import Examination
from autogpt.model import SHARED, TASKS, Model
from autogpt.model_several import MultitaskModel
from autogpt.models.hub import save_model
from autogpt.run import Run
from autogpt.search.study import Trial
from autogpt.stages_grouping import Grouping
from autogpt.store import keys
from autogpt.store.artifacts import write_atomic
from autogpt.store.database import Store
from autogpt.training.candidate import Candidate
from autogpt.training.loop import averaged

__all__ = ["checked_name", "deliver", "deliver_so_far"]


def checked_name(store: Store, name: str | None, like: str, key: str) -> str:
    """The model's name: the wanted one, or a free one `like` a file's or a model's (`zh_news.train.jsonl` → `zh-news`).

    Raises ModelError when the wanted name belongs to a model of another task; of the same task it is replaced.
    """
    if name is None:
        return store.free_name(like.split(".")[0])
    wanted = keys.slug(name)
    taken = next((model for model in store.models() if model.name == wanted), None)
    if taken is not None and taken.task_key != key:
        raise ModelError(
            f"the name {wanted!r} belongs to a model of another task",
            todo=f"choose another --name, such as {store.free_name(wanted)!r}, or autogpt models remove {wanted}",
        )
    return wanted


def deliver(ended: Ended, examinations: Sequence[Examination], grouping: Grouping) -> Model | MultitaskModel:
    """Write everything and register the model; returns it as a user would load it."""
    run, bench, chosen = ended.run, ended.bench, ended.study.chosen
    assert chosen is not None
    folder, places = run.folder.model, _places(run, bench, run.folder.model)
    save_model(ended.candidate.model, ended.candidate.tokenizer, _weights_folder(bench, folder))
    reports = [write_task(ended, place, found) for place, found in zip(places, examinations, strict=True)]
    document = {**run.row.config, "chosen": dict(chosen.config), "reasons": run.reasons}
    write_atomic(run.folder.config, yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    if len(reports) > 1:
        named = {part.name: report for part, report in zip(bench.parts, reports, strict=True)}
        for place in grouping.kept:
            named |= gather(run, [whole_before(bench, place)], [[bench.parts[place].name]])
        return deliver_several(run, bench, named, grouping, chosen.config, len(ended.study.trials))
    main, model = examinations[0].scores.main, Model(folder, name=str(run.row.config["name"]))
    register(run, model, main, reports[0].next_commands, overhead=reports[0].overhead_share)
    return model


def deliver_so_far(run: Run, bench: Bench, candidate: Candidate, trial: Trial) -> None:
    """Make the averaged weights of a trial, as they are now, a model that can be used if the run ends here.

    Its score is that of the validation rows, and nothing is said about baselines: the sealed rows stay sealed.
    """
    folder = run.folder.so_far
    with averaged(candidate.state) as model:
        save_model(model, candidate.tokenizer, _weights_folder(bench, folder))
    fit = {
        "known_task": False,
        "unfinished": f"trial {trial.number} after {trial.share:.0%} of its length, scored on validation rows",
        "metric": {"name": bench.score.name, "value": trial.score},
        "best_config": dict(trial.config),
        "seconds": round(run.budget.elapsed(), 2),
    }
    for place in _places(run, bench, folder):
        write_recipe(run, bench, candidate, place, trial, fit)
    if len(bench.parts) > 1:
        write_several(run, bench, folder, fit)


def _weights_folder(bench: Bench, folder: Path) -> Path:
    return folder if len(bench.parts) == 1 else folder / SHARED


def _places(run: Run, bench: Bench, folder: Path) -> list[Place]:
    name = str(run.row.config["name"])
    if len(bench.parts) == 1:
        return [Place(0, name, folder, run.folder.path)]
    places = []
    for index, part in enumerate(bench.parts):
        own, reports = folder / TASKS / part.name, run.folder.path / TASKS / part.name
        own.mkdir(parents=True, exist_ok=True)
        reports.mkdir(parents=True, exist_ok=True)
        weights = {"weights": {"folder": f"../../{SHARED}", "task": index}}
        places.append(Place(index, f"{name}/{part.name}", own, reports, weights))
    return places

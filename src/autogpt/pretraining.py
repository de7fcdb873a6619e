"""A base of our own: pretraining on a large corpus in slices of minutes, each going on where the last one stopped.

    encode the corpus (once) → train at a constant rate, with a checkpoint every few minutes
                             → with `cool_down`: fall to rate zero, score both sets of weights, write the model folder

The run lives in `$AUTOGPT_HOME/pretraining/NAME/`. A cool-down never touches its checkpoints: after it the run can go
on at the full rate as if there had been none. Everything that happens is an event; nothing here prints.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from autogpt.config import home
from autogpt.errors import BudgetError, ConfigError, Interrupted
from autogpt.events import Consumer, Event, JsonlConsumer
from autogpt.models.bases import BASE_FILE
from autogpt.models.hub import replaced_folder, save_model
from autogpt.pretraining_card import card, machine_name
from autogpt.pretraining_recipe import Recipe
from autogpt.pretraining_run import PretrainingRun, held, rounded, run_folder, set_up
from autogpt.store.artifacts import require_free, write_json
from autogpt.training.loop import averaged, train
from autogpt.training.optim import Schedule

__all__ = ["pretrain"]

COOLDOWN_SHARE = 0.2
CHECKPOINT_EVERY_S = 180.0
_REPLAN_EVERY_S = 20.0
_LEAST_FREE_BYTES = 2 * 2**30

Events = Iterator[Event]


def pretrain(
    recipe: Recipe,
    *,
    minutes: float,
    cool_down: bool = False,
    out: Path | None = None,
    threads: int | str = "auto",
    skip_damaged: bool = False,
    consumers: Sequence[Consumer] = (),
) -> dict[str, Any]:
    """Train the recipe's base for so many minutes more; the corpus is encoded before and scoring comes after them.

    Args:
        minutes: of training in this slice.
        cool_down: end this slice with a cool-down over its last fifth and write the model folder.
        out: the model folder; `bases/NAME` in the working folder when not given.
        threads: CPU threads; "auto" for all cores.
        skip_damaged: go on without corpus files that cannot be read.
        consumers: are handed every event.

    Returns:
        `name`, `steps`, `tokens`, `epochs` and `minutes` of the whole run, `tokens_per_s` of this slice,
        `bits_per_byte` by language of the `weights` named, `checkpoint`, `model_dir` (None without a cool-down),
        `corpus` (language → counts).

    Raises:
        BadInput: minutes, corpus or recipe cannot be used, or the recipe is not that of the run so far.
        Interrupted: stopped by a signal; the state is kept.
        TrainingError: the loss is not finite; the last checkpoint is kept.
        StoreError: another process works on the run, or the disk is full; the last checkpoint is kept.
    """
    if not minutes > 0:
        raise BudgetError("--minutes", found=f"{minutes:g}", expected="a number above 0")
    out = Path("bases") / recipe.name if out is None else out
    if cool_down and out.exists() and not (out / BASE_FILE).is_file():
        raise ConfigError(
            "--out", found=f"{str(out)!r}, which is no base", expected="a new folder, or a base to replace"
        )
    folder = run_folder(recipe)
    require_free(home(), _LEAST_FREE_BYTES)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder), contextlib.closing(JsonlConsumer(folder / "events.jsonl")) as log:
        events = _slice(recipe, minutes * 60, out if cool_down else None, threads, skip_damaged)
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: dict[str, Any] = end.value
                return result
            except KeyboardInterrupt:
                raise Interrupted(f"stopped; what was done of {recipe.name} is kept") from None
            for consumer in (log, *consumers):
                consumer(event)


class _Stop:
    """Ctrl-C and a polite kill wait for the end of the step, since in the middle of one the state is not whole.

    A second signal stops at once. Outside the main thread signals cannot be taken, and nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _slice(
    recipe: Recipe, seconds: float, out: Path | None, threads: int | str, skip_damaged: bool
) -> Generator[Event, None, dict[str, Any]]:
    run = yield from set_up(recipe, seconds, threads, skip_damaged)
    steps = recipe.epochs * run.batches.steps_per_epoch
    about = {"step": run.step_0, "tokens": run.tokens_0, "seconds": seconds, "tokens_per_step": recipe.tokens_per_step}
    yield Event("pretraining.started", {**about, "machine": machine_name(run.machine), "most_steps": steps})
    began = time.monotonic()
    with _Stop() as stop:
        yield from _train(run, stop, began + seconds * (1 - COOLDOWN_SHARE if out is not None else 1), steps)
        if out is not None:
            left = min(began + seconds - time.monotonic(), COOLDOWN_SHARE * seconds)
            yield from _cool_down(run, stop, time.monotonic() + max(left, 0.5 * COOLDOWN_SHARE * seconds))
    pace = run.pace() * recipe.tokens_per_step
    yield Event("pretraining.scoring", {"documents": {language: len(rows) for language, rows in run.held_out.items()}})
    facts = run.facts()
    if out is None:
        with averaged(run.state) as model:
            found = run.score(rounded(model))
        facts |= {"weights": "averaged", "bits_per_byte": found}
    else:
        facts |= _write(run, out, facts)
    told = {"step": run.state.step, "weights": facts["weights"], "value": facts["bits_per_byte"]}
    yield Event("training.evaluated", told)
    result = {key: facts[key] for key in ("name", "steps", "epochs", "minutes", "bits_per_byte", "weights")}
    result |= {"tokens": facts["tokens_seen"], "tokens_per_s": round(pace), "corpus": facts["corpus"]["languages"]}
    result |= {"checkpoint": str(run.folder), "model_dir": None if out is None else str(out)}
    yield Event("pretraining.done", result)
    return result


def _train(run: PretrainingRun, stop: _Stop, until_s: float, most_steps: int) -> Events:
    """Constant rate until `until_s` on the monotonic clock; the newest state is on disk at the end."""
    saved_s = time.monotonic()
    unsaved = False
    if time.monotonic() < until_s and run.state.step < most_steps:
        for event in train(run.state, run.batches, run.settings, until=most_steps):
            yield event
            unsaved, now = True, time.monotonic()
            if stop.asked or now >= until_s:
                break
            if now - saved_s >= CHECKPOINT_EVERY_S:
                yield run.save()
                saved_s, unsaved = time.monotonic(), False
    if unsaved:
        yield run.save()
    if run.state.step >= most_steps:
        yield Event(
            "pretraining.note", {"message": f"all {run.recipe.epochs} epochs are done; --cool-down ends the run"}
        )
    if stop.asked:
        raise Interrupted(f"stopped at step {run.state.step}, which is saved")


def _cool_down(run: PretrainingRun, stop: _Stop, until_s: float) -> Events:
    """Down to rate zero by `until_s`, planned anew now and then since the machine may become slower or faster."""
    state = run.state
    run.cooled_from = saved_step = state.step
    steps = max(10, int((until_s - time.monotonic()) * run.pace()))
    state.schedule = replace(state.schedule, cooldown_start=state.step, cooldown_steps=steps)
    yield Event("pretraining.cooling", {"step": state.step, "steps": steps})
    began_s = planned_s = time.monotonic()
    for event in train(state, run.batches, run.settings):
        yield event
        now = time.monotonic()
        if stop.asked:
            raise Interrupted(f"stopped while cooling down; the state before it, step {saved_step}, is kept")
        if now - planned_s >= _REPLAN_EVERY_S:
            pace = (state.step - saved_step) / (now - began_s)
            state.schedule = _ending(state.schedule, state.step, max(1, int((until_s - now) * pace)))
            planned_s = now


def _ending(schedule: Schedule, step: int, steps_left: int) -> Schedule:
    """A cool-down that goes on from the rate that `schedule` has at `step`, and is over after `steps_left`."""
    assert schedule.end is not None
    share = max(1, schedule.end - step) / schedule.cooldown_steps  # of the rate that is left
    steps = max(steps_left, round(steps_left / share))
    return replace(schedule, cooldown_start=step + steps_left - steps, cooldown_steps=steps)


def _write(run: PretrainingRun, out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the better of the trained and the averaged weights with card and facts; returns what was decided."""
    models = {"trained": rounded(run.state.model)}
    with averaged(run.state) as model:
        models["averaged"] = rounded(model)
    candidates = {kind: run.score(model) for kind, model in models.items()}
    kind = min(candidates, key=lambda name: sum(candidates[name].values()))
    decided = {"weights": kind, "bits_per_byte": candidates[kind], "candidates": candidates}
    with replaced_folder(out) as temporary:
        save_model(models[kind].to(torch.bfloat16), run.shards.tokenizer, temporary)
        write_json(temporary / BASE_FILE, {**facts, **decided})
        (temporary / "README.md").write_text(card({**facts, **decided}), encoding="utf-8")
    return decided

"""The run of a recipe: corpus, model and checkpoints together, refused where they do not fit each other."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autogpt.config import home
from autogpt.data.batching import Encoded
from autogpt.data.token_shards import ShardBatches, TokenShards
from autogpt.data.token_shards_encode import EncodingPlan, encode_corpus
from autogpt.data.token_shards_read import corpus_files
from autogpt.errors import ConfigError, StoreError
from autogpt.events import Event
from autogpt.generation.engine import Engine
from autogpt.models import sizing
from autogpt.models.gpt import GPT
from autogpt.pretraining_card import HELD_OUT_TOKENS, bits_per_byte, held_out_rows, machine_name
from autogpt.pretraining_recipe import Recipe
from autogpt.store.artifacts import write_json
from autogpt.store.leases import process_exists, this_process
from autogpt.training.loop import TrainSettings, TrainState, load_state, save_state, start
from autogpt.training.machine import Machine, compiling_pays, probe

__all__ = ["PretrainingRun", "held", "rounded", "run_folder", "set_up"]

_RUN_FILE = "run.json"


def run_folder(recipe: Recipe) -> Path:
    """Where the checkpoints of a recipe's run lie."""
    return home() / "pretraining" / recipe.name


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine off the run in `folder`: two would overwrite each other's checkpoints.

    Raises StoreError when one that still lives is at work there.
    """
    file, me = folder / "holder.json", this_process()
    with contextlib.suppress(OSError, ValueError, KeyError):
        holder = json.loads(file.read_text(encoding="utf-8"))
        if holder["host"] == me["host"] and holder["pid"] != me["pid"] and process_exists(int(holder["pid"])):
            raise StoreError(
                f"another process works on the run {folder.name!r}",
                found=f"process {holder['pid']}",
                todo="wait for it or stop it with Ctrl-C",
            )
    write_json(file, me)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@dataclass(slots=True)
class PretrainingRun:
    """What a slice works on.

    Attributes:
        history: the slices before this one: machine, steps, tokens and minutes of each.
        step_0: step at which this slice began; likewise `tokens_0` and `seconds_0`.
        cooled_from: step at which the cool-down began; None at the constant rate.
    """

    recipe: Recipe
    folder: Path
    machine: Machine
    shards: TokenShards
    batches: ShardBatches
    settings: TrainSettings
    state: TrainState
    held_out: dict[str, list[Encoded]]
    history: list[dict[str, Any]]
    step_0: int
    tokens_0: int
    seconds_0: float
    cooled_from: int | None = None

    def slices(self) -> list[dict[str, Any]]:
        """All slices so far, this one at the end unless it has no step yet."""
        state = self.state
        this = {
            "machine": machine_name(self.machine),
            "steps": state.step - self.step_0,
            "tokens": state.tokens - self.tokens_0,
            "minutes": round((state.seconds - self.seconds_0) / 60, 3),
        }
        return [*self.history, this] if this["steps"] else list(self.history)

    def save(self) -> Event:
        """Write a checkpoint; the event tells which."""
        path = save_state(self.state, self.folder, {"slices": self.slices()})
        return Event("pretraining.saved", {"step": self.state.step, "checkpoint": path.name})

    def pace(self) -> float:
        """Steps a second of this slice; of the whole run before its first step."""
        seconds = self.state.seconds - self.seconds_0
        if self.state.step > self.step_0 and seconds:
            return (self.state.step - self.step_0) / seconds
        return self.state.step / self.state.seconds if self.state.seconds else 1.0

    def score(self, model: Any) -> dict[str, float]:
        """Bits per byte of the held-out documents, by language."""
        engine = Engine(model, self.shards.tokenizer, context=self.recipe.context, precision=self.machine.precision)
        return bits_per_byte(engine, self.held_out)

    def facts(self) -> dict[str, Any]:
        """What `base.json` says of the base as it is now, scores apart."""
        state, recipe, config = self.state, self.recipe, self.state.model.config
        slices = self.slices()
        return {
            "name": recipe.name,
            "source": f"pretrained from scratch with {recipe.file}",
            "licence": recipe.licence,
            "languages": list(recipe.languages),
            "parameters": sizing.parameters(config),
            "parameters_without_embeddings": sizing.parameters_without_embeddings(config),
            "shape": {
                "width": config.hidden_size,
                "depth": config.num_hidden_layers,
                "context": recipe.context,
                "vocabulary": config.vocab_size,
                "late_keys": recipe.late_keys,
            },
            "steps": state.step,
            "tokens_seen": state.tokens,
            "epochs": round(state.step / self.batches.steps_per_epoch, 4),
            "minutes": round(sum(part["minutes"] for part in slices), 2),
            "cooldown_steps": 0 if self.cooled_from is None else state.step - self.cooled_from,
            "slices": slices,
            "machine": machine_name(self.machine),
            "held_out": {
                "documents": {language: len(rows) for language, rows in self.held_out.items()},
                "tokens": HELD_OUT_TOKENS,
            },
            "corpus": {"fingerprint": self.shards.fingerprint, "languages": self.shards.counts()},
            "sources": [source.model_dump() for source in recipe.sources],
            "recipe_file": recipe.file,
            "recipe": recipe.identity(),
        }


def set_up(
    recipe: Recipe, seconds: float, threads: int | str, skip_damaged: bool
) -> Generator[Event, None, PretrainingRun]:
    """Encode the corpus where that is not done, build the model, and restore the newest valid checkpoint.

    Args:
        seconds: how long the slice will be.
        threads: CPU threads, or "auto".
        skip_damaged: whether corpus files that cannot be read are left out.

    Raises:
        DataError: no corpus, or a damaged one. ConfigError: recipe or corpus are not those that the run began with.
    """
    machine = probe("auto", threads)
    files = corpus_files(recipe.corpus, [recipe.valid])
    plan = EncodingPlan(recipe.vocabulary, recipe.tokenizer_characters, skip_damaged)
    shards = yield from encode_corpus(files, home() / "cache" / "corpora", plan)
    folder = run_folder(recipe)
    _same_run(recipe, shards, folder)
    batches = ShardBatches(shards, context=recipe.context, tokens_per_step=recipe.tokens_per_step, seed=recipe.seed)
    yield Event(
        "pretraining.prepared",
        {"corpus": shards.counts(), "without_text": shards.without_text, "steps_per_epoch": batches.steps_per_epoch},
    )
    held_out = held_out_rows(recipe.valid, shards.tokenizer, recipe.languages)
    settings = TrainSettings(
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        optimizer=recipe.optimizer,
        warmup_steps=recipe.warmup_steps,
        precision=machine.precision,
        device=machine.device,
        micro_tokens=recipe.micro_tokens,
        compile=compiling_pays(machine.device, seconds) if recipe.compile == "auto" else recipe.compile,
        seed=recipe.seed,
        peak_flops=machine.flops_per_s,
    )
    torch.manual_seed(recipe.seed)
    model: Any = GPT(_shape(recipe, shards.tokenizer))
    state = start(model.to(machine.device), settings)
    found = load_state(state, folder)
    if found is not None and found.passed_over:
        yield Event("pretraining.note", {"message": f"damaged checkpoint passed over: {found.passed_over[0]}"})
    history = list(found.meta.get("slices", [])) if found is not None else []
    where = (state.step, state.tokens, state.seconds)
    return PretrainingRun(recipe, folder, machine, shards, batches, settings, state, held_out, history, *where)


def _shape(recipe: Recipe, tokenizer: Any) -> Any:
    return sizing.shape_for(
        recipe.width,
        depth=recipe.depth,
        vocab_size=len(tokenizer),
        context=max(recipe.context, recipe.positions),
        late_keys=recipe.late_keys,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **recipe.features,
    )


def _same_run(recipe: Recipe, shards: TokenShards, folder: Path) -> None:
    """Remember what the run is at its first slice; afterwards refuse a recipe or a corpus that is another one."""
    now = {**recipe.identity(), "corpus": shards.fingerprint}
    file = folder / _RUN_FILE
    if not file.exists():
        write_json(file, now)
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    for key in sorted(now.keys() | before.keys()):
        if now.get(key) != before.get(key):
            raise ConfigError(
                f"{key} is not what the run {recipe.name!r} began with",
                found=str(now.get(key)),
                expected=str(before.get(key)),
                todo=f"undo the change, or give the recipe another name (this run is in {str(folder)!r})",
            )


def rounded(model: Any) -> Any:
    """A copy of `model` with weights rounded to bfloat16, as they are stored; kept in float32."""
    copy: Any = GPT(model.config)
    copy.load_state_dict({name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()})
    return copy.to(next(model.parameters()).device).eval()

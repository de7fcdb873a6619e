"""A configuration made flesh: model, tokenizer, batches and training state, ready for the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from autogpt.config import TrainingConfig
from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.data.corpus import Corpus, Texts
from autogpt.data.joint_batches import JointBatches
from autogpt.data.joint_corpus import JointCorpus, Mixing
from autogpt.errors import ConfigError, ModelError, TrainingError
from autogpt.models.adapters import add_lora
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.hub import as_gpt, load_model
from autogpt.models.latent import LatentGPT, LatentGPTConfig
from autogpt.models.multitask import MultitaskGPT
from autogpt.models.sizing import shape_of
from autogpt.models.trimming import trim_model
from autogpt.search.gpt_space import weight_of
from autogpt.training.frozen_trunk import Keep, TopObjective, TrunkBatches, freeze_trunk
from autogpt.training.loop import Objective, TrainSettings, TrainState, start
from autogpt.training.machine import Machine
from autogpt.training.mixture import Mixture
from autogpt.training.mixture_batches import LatentBatches
from autogpt.training.multitask import Projected, narrowed_loss, uncertainty_loss
from autogpt.training.objectives import weighted_token_loss
from autogpt.training.preference import dpo_training
from autogpt.training.starts import Start

__all__ = ["Answering", "Candidate", "build", "context_of", "shape_in"]

_MIXING_STEPS = 1000
"""Most steps in which the components of a mixture find their rows (`Mixture.progress`): trials end by the clock."""


@dataclass(slots=True)
class Answering:
    """How a model answers the rows of a task.

    Attributes:
        max_new_tokens: longest answer worth waiting for (99th percentile of the training answers and a margin).
        repetition_penalty: of its greedy answers; tuned when training is over.
        temperature: of its label probabilities (temperature scaling); fitted when training is over.
        adaptation: how it adapts to a text, as plain JSON; tuned when training is over, empty where it does not.
    """

    max_new_tokens: int
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    adaptation: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Candidate:
    """What a trial trains.

    Attributes:
        context: longest sequence it is trained on.
        answering: how it answers, for each task.
        max_steps: optimizer steps of the `epochs` that the configuration allows.
        objective: what is minimised.
    """

    model: Any
    tokenizer: Any
    batches: Batches
    settings: TrainSettings
    state: TrainState
    context: int
    answering: tuple[Answering, ...]
    max_steps: int
    objective: Objective = weighted_token_loss


def context_of(config: Mapping[str, Any], longest: int, limit: int, packed: bool) -> tuple[int, int]:
    """(longest sequence that a model is for, tokens of its longest training row).

    Both are the `context` that the user asks for, but rows are no longer than they need be. Unasked, a multiple of 32
    that the rows need, at most `limit`; half of `limit` for packed text, where short sequences see more steps in the
    same time and the rest of a document follows in the next one.

    Args:
        longest: tokens of the longest rows.
        limit: most tokens of a sequence, unasked.
        packed: whether rows are joined to full sequences.
    """
    asked = config.get("context")
    most = limit if asked is None else int(asked)
    wanted = max(128, limit // 2) if packed else longest + 8
    needed = min(most, max(64, -(-wanted // 32) * 32))
    if asked is None:
        return needed, needed
    return most, most if packed else needed


def shape_in(config: Mapping[str, Any], base: Start | None, *, vocab_size: int, context: int) -> GPTConfig:
    """The shape of a configuration's model: of its own, or that of the base.

    Raises:
        ConfigError: no model can have it, or the base cannot read so long a sequence.
    """
    if base is None:
        return shape_of(config, vocab_size=vocab_size, context=context)
    if config.get("context", 0) > base.positions:
        raise ConfigError(
            f"base {config['start']!r} cannot read so long a sequence",
            found=f"context {config['context']}",
            expected=f"at most {base.positions}",
        )
    return base.shape


def _model(config: Mapping[str, Any], shape: GPTConfig, base: Start | None, seed: int) -> Any:
    torch.manual_seed(seed)
    if isinstance(shape, LatentGPTConfig):
        return LatentGPT(shape)
    return GPT(shape) if base is None else _from_base(config, base)


def _from_base(config: Mapping[str, Any], base: Start) -> Any:
    """The base with what `config` trains of it, and with the rows of its vocabulary that stay."""
    model = load_model(base.folder, dtype=torch.float32)[0]
    if base.vocabulary is not None:
        model = trim_model(model, base.vocabulary)
    model = as_gpt(model)
    if config["method"] == "lora":
        return add_lora(model, rank=config["rank"], alpha=2 * config["rank"], dropout=0.0)
    if config["method"] == "last_k":
        return freeze_trunk(model, _top(config, base))
    return model


def _top(config: Mapping[str, Any], base: Start) -> int:
    return min(int(config["top"]), base.shape.num_hidden_layers)


def _with_trunk(
    plain: tuple[Batches, Sequence[Encoded]], model: Any, corpus: Corpus, base: Start, top: int, precision: str
) -> tuple[Batches, Objective]:
    """Batches that carry the hidden states above the frozen trunk, and their objective; the plain ones where the model
    needs more than those."""
    batches, rows = plain
    try:
        objective = TopObjective(model, top)
    except ModelError:
        return batches, weighted_token_loss
    # The hidden states of the last such trial are at hand, for one that needs the same: two at once could be too much.
    key = (base.folder, top, batches.plan, id(rows))
    known = corpus.shared.pop("trunk", None)
    if known is not None and known[0] == key:
        kept = known[1].rebound(model, top)
    else:
        del known
        keep = Keep(base.store_bytes, precision)
        kept = TrunkBatches(rows, batches.plan, batches.pad_id, model=model, top=top, keep=keep)
    corpus.shared["trunk"] = (key, kept)
    return kept, objective


def _batches(rows: Sequence[Encoded], plan: BatchPlan, pad_id: int, shape: GPTConfig, corpus: Texts) -> Batches:
    """The batches of a model of this shape. Those of a mixture, which take clustering, are shared by all trials."""
    if isinstance(corpus, JointCorpus):
        return JointBatches(rows, plan, pad_id)
    if not isinstance(shape, LatentGPTConfig):
        return Batches(rows, plan, pad_id=pad_id)
    key = ("latents", id(rows), plan, shape.latents)
    if key not in corpus.shared:
        corpus.shared[key] = LatentBatches(rows, plan, pad_id, components=shape.latents)
    found: LatentBatches = corpus.shared[key]
    return found


def _trial_shape(config: Mapping[str, Any], base: Start | None, size: int, context: int, corpus: Texts) -> GPTConfig:
    """`shape_in`, whose error is one trial's mistake, where other values were asked for too."""
    try:
        shape = shape_in(config, base, vocab_size=size, context=context)
    except ConfigError as error:
        raise TrainingError(error.what, found=error.found, expected=error.expected) from error
    if isinstance(shape, LatentGPTConfig):
        if config.get("objective") == "dpo":
            todo = "ask for objective=nll or latents=1"
            raise TrainingError("a latent-variable model does not learn from preference pairs", todo=todo)
        shape.models_prompt = corpus.packed and not corpus.parts[0].spec.input_fields
    return shape


def _learning_rate(config: Mapping[str, Any]) -> float:
    if "lr" in config:
        return float(config["lr"])
    return float(config[{"full": "base_lr", "last_k": "top_lr", "lora": "lora_lr"}[config["method"]]])


def _settings(config: Mapping[str, Any], options: TrainingConfig, machine: Machine, seed: int) -> TrainSettings:
    return TrainSettings(
        learning_rate=_learning_rate(config),
        weight_decay=float(config.get("weight_decay", 0.01)),
        optimizer=config.get("optimizer", "adamw"),
        warmup_steps=options.warmup_steps,
        max_grad_norm=options.max_grad_norm,
        precision=machine.precision,
        device=machine.device,
        seed=seed,
        peak_flops=machine.flops_per_s,
    )


def _rows(config: Mapping[str, Any], corpus: Texts, tokenizer: Any, plan: BatchPlan, size: int) -> Sequence[Encoded]:
    """The training rows; of several tasks, mixed as the configuration says. `size` is the model's vocabulary."""
    prompt_weight = float(config.get("prompt_weight", 0.0))
    if isinstance(corpus, JointCorpus):
        # A configuration of before tasks' weights were searched has none of them.
        factors = tuple(float(config.get(weight_of(name), 1.0)) for name in corpus.names)
        mixing = Mixing(float(config["mixing_temperature"]), float(config["row_balance"]), plan.seed, factors)
        return corpus.mixed(tokenizer, size, plan.context, prompt_weight, mixing)
    (part,) = corpus.parts
    return part.encoded(tokenizer, plan.context, prompt_weight)


def _several_tasks(config: Mapping[str, Any], model: GPT, tasks: int, bos_id: int, context: int) -> MultitaskGPT:
    """A model of so many tasks around the weights of a plain one, whose texts begin with `bos_id`; or of one that does
    the first of them already."""
    options = {
        "sharing": config["sharing"],
        "uncertainty": config["task_losses"] == "uncertainty",
        "max_position_embeddings": max(context, model.config.max_position_embeddings),
    }
    if isinstance(model, MultitaskGPT):
        return model.extended(tasks, **options)
    model.config.bos_token_id = bos_id
    return MultitaskGPT.from_gpt(model, tasks=tasks, **options)


def _objective_of_tasks(config: Mapping[str, Any], step: Callable[[], int]) -> Objective:
    if config["task_losses"] == "uncertainty":
        return uncertainty_loss
    return Projected(step) if config["task_losses"] == "pcgrad" else narrowed_loss


def build(
    config: Mapping[str, Any],
    corpus: Texts,
    *,
    base: Start | None,
    options: TrainingConfig,
    machine: Machine,
    longest_answer: int,
    seed: int,
) -> Candidate:
    """The candidate of `config` at step 0.

    Args:
        base: the pretrained base, or None to start from scratch.
        longest_answer: most tokens that an answer may have, whatever the training rows hold.
        seed: of the weights, the batches and dropout.

    Raises:
        TrainingError: no model can have this shape, or it would not fit this machine, `search.max_memory` or the time
            of the run; nothing was loaded.
    """
    tokenizer = corpus.tokenizer(config["vocabulary"]) if base is None else base.tokenizer
    limit = options.context if base is None else min(options.context, base.positions)
    context, width = context_of(config, corpus.lengths(tokenizer)[0], limit, corpus.packed)
    shape = _trial_shape(config, base, len(tokenizer), context, corpus)
    plan = BatchPlan(tokens_per_step=config["tokens_per_step"], context=context, packed=corpus.packed, seed=seed)
    rows = _rows(config, corpus, tokenizer, plan, shape.vocab_size)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    batches = _batches(rows, plan, pad_id, shape, corpus)
    if base is not None:
        base.check(config, context=width, steps=batches.steps_per_epoch)
    model = _model(config, shape, base, seed)
    if several := len(corpus.parts) > 1:
        model = _several_tasks(config, model, len(corpus.parts), tokenizer.bos_token_id, context)
    model = model.to(machine.device)
    objective: Objective = weighted_token_loss
    if isinstance(corpus, Corpus) and config.get("objective") == "dpo":
        folder, weight = base.folder if base is not None else None, float(config.get("prompt_weight", 0.0))
        batches, objective = dpo_training(
            corpus, tokenizer, plan, model, base=folder, prompt_weight=weight, precision=machine.precision
        )
    elif isinstance(corpus, Corpus) and base is not None and config["method"] == "last_k":
        batches, objective = _with_trunk((batches, rows), model, corpus, base, _top(config, base), machine.precision)
    settings = _settings(config, options, machine, seed)
    state, max_steps = start(model, settings), max(1, config["epochs"] * batches.steps_per_epoch)
    if isinstance(model, LatentGPT):
        objective = Mixture(lambda: state.step / min(max_steps, _MIXING_STEPS))
    if several:
        objective = _objective_of_tasks(config, lambda: state.step)
    return Candidate(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        settings=settings,
        state=state,
        context=context,
        answering=tuple(_answering(part, tokenizer, longest_answer) for part in corpus.parts),
        max_steps=max_steps,
        objective=objective,
    )


def _answering(part: Corpus, tokenizer: Any, longest: int) -> Answering:
    answer = part.lengths(tokenizer)[1]
    return Answering(min(longest, max(4, int(answer * 1.1) + 4)))

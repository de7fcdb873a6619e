"""A configuration made flesh: model, tokenizer, batches and training state, ready for the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autogpt.config import TrainingConfig
from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.data.corpus import Corpus
from autogpt.errors import ModelError
from autogpt.models.adapters import add_lora
from autogpt.models.gpt import GPT
from autogpt.models.hub import as_gpt, load_model
from autogpt.models.sizing import shape_for
from autogpt.models.trimming import trim_model
from autogpt.training.frozen_trunk import Keep, TopObjective, TrunkBatches, freeze_trunk
from autogpt.training.loop import Objective, TrainSettings, TrainState, start
from autogpt.training.machine import Machine
from autogpt.training.objectives import weighted_token_loss
from autogpt.training.preference import dpo_training
from autogpt.training.starts import Start

__all__ = ["Candidate", "build"]


@dataclass(slots=True)
class Candidate:
    """What a trial trains.

    Attributes:
        context: longest sequence it is trained on.
        max_new_tokens: longest answer worth waiting for (99th percentile of the training answers and a margin).
        max_steps: optimizer steps of the `epochs` that the configuration allows.
        repetition_penalty: of its greedy answers; tuned when training is over.
        temperature: of its label probabilities (temperature scaling); fitted when training is over.
        objective: what is minimised.
    """

    model: Any
    tokenizer: Any
    batches: Batches
    settings: TrainSettings
    state: TrainState
    context: int
    max_new_tokens: int
    max_steps: int
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    objective: Objective = weighted_token_loss


def _context(longest: int, limit: int, packed: bool) -> int:
    """Sequence length: what the rows need, a multiple of 32, at most `limit`; half of it for packed text.

    Short sequences of packed text see more steps in the same time; the rest of a document follows in the next one.
    """
    wanted = max(128, limit // 2) if packed else longest + 8
    return min(limit, max(64, -(-wanted // 32) * 32))


def _model(config: Mapping[str, Any], vocabulary: int, context: int, base: Start | None, seed: int) -> Any:
    torch.manual_seed(seed)
    if base is not None:
        return _from_base(config, base)
    shape = shape_for(
        config["width"],
        depth=config["depth"],
        vocab_size=vocabulary,
        context=context,
        mlp="relu2" if config["block"] == "relu2" else "swiglu",
        late_keys=config["late_keys"],
        dropout=config["dropout"],
    )
    return GPT(shape)


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


def _learning_rate(config: Mapping[str, Any]) -> float:
    if "lr" in config:
        return float(config["lr"])
    return float(config[{"full": "base_lr", "last_k": "top_lr", "lora": "lora_lr"}[config["method"]]])


def build(
    config: Mapping[str, Any],
    corpus: Corpus,
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
        TrainingError: it would not fit this machine or the time of the run; nothing was loaded.
    """
    tokenizer = corpus.tokenizer(config["vocabulary"]) if base is None else base.tokenizer
    longest, answer = corpus.lengths(tokenizer)
    limit = options.context if base is None else min(options.context, base.positions)
    context = _context(longest, limit, corpus.packed)
    rows = corpus.encoded(tokenizer, context, float(config.get("prompt_weight", 0.0)))
    plan = BatchPlan(tokens_per_step=config["tokens_per_step"], context=context, packed=corpus.packed, seed=seed)
    batches = Batches(rows, plan, pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
    if base is not None:
        base.check(config, context=context, steps=batches.steps_per_epoch)
    model = _model(config, len(tokenizer), max(context, 128), base, seed).to(machine.device)
    objective: Objective = weighted_token_loss
    if config.get("objective") == "dpo":
        folder, weight = base.folder if base is not None else None, float(config.get("prompt_weight", 0.0))
        batches, objective = dpo_training(
            corpus, tokenizer, plan, model, base=folder, prompt_weight=weight, precision=machine.precision
        )
    elif base is not None and config["method"] == "last_k":
        batches, objective = _with_trunk((batches, rows), model, corpus, base, _top(config, base), machine.precision)
    settings = TrainSettings(
        learning_rate=_learning_rate(config),
        weight_decay=float(config.get("weight_decay", 0.01)),
        warmup_steps=options.warmup_steps,
        max_grad_norm=options.max_grad_norm,
        precision=machine.precision,
        device=machine.device,
        seed=seed,
        peak_flops=machine.flops_per_s,
    )
    return Candidate(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        settings=settings,
        state=start(model, settings),
        context=context,
        max_new_tokens=min(longest_answer, max(4, int(answer * 1.1) + 4)),
        max_steps=max(1, config["epochs"] * batches.steps_per_epoch),
        objective=objective,
    )

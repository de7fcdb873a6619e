"""A configuration made flesh: model, tokenizer, batches and training state, ready for the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autogpt.config import TrainingConfig
from autogpt.data.batching import Batches, BatchPlan
from autogpt.data.corpus import Corpus
from autogpt.models.adapters import add_lora
from autogpt.models.gpt import GPT
from autogpt.models.hub import as_gpt, load_model
from autogpt.models.sizing import shape_for
from autogpt.training.loop import TrainSettings, TrainState, start
from autogpt.training.machine import Machine

__all__ = ["Candidate", "build"]


@dataclass(slots=True)
class Candidate:
    """What a trial trains.

    Attributes:
        context: longest sequence it is trained on.
        max_new_tokens: longest answer worth waiting for (99th percentile of the training answers and a margin).
        max_steps: optimizer steps of the `epochs` that the configuration allows.
        repetition_penalty: of its greedy answers; tuned when training is over.
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


def _context(longest: int, limit: int, packed: bool) -> int:
    """Sequence length: what the rows need, a multiple of 32, at most `limit`; half of it for packed text.

    Short sequences of packed text see more steps in the same time; the rest of a document follows in the next one.
    """
    wanted = max(128, limit // 2) if packed else longest + 8
    return min(limit, max(64, -(-wanted // 32) * 32))


def _model(config: Mapping[str, Any], vocabulary: int, context: int, base: Path | None, seed: int) -> Any:
    torch.manual_seed(seed)
    if base is not None:
        model = as_gpt(load_model(base, dtype=torch.float32)[0])
        if config["method"] == "lora":
            return add_lora(model, rank=config["rank"], alpha=2 * config["rank"], dropout=0.0)
        return model
    modern = config["block"] == "qk_norm_relu2"
    shape = shape_for(
        config["width"],
        depth=config["depth"],
        vocab_size=vocabulary,
        context=context,
        mlp="relu2" if modern else "swiglu",
        qk_norm=modern,
        late_keys=config["late_keys"],
        dropout=config["dropout"],
    )
    return GPT(shape)


def _learning_rate(config: Mapping[str, Any]) -> float:
    if "lr" in config:
        return float(config["lr"])
    return float(config["lora_lr"] if config["method"] == "lora" else config["base_lr"])


def build(
    config: Mapping[str, Any],
    corpus: Corpus,
    *,
    base: Path | None,
    options: TrainingConfig,
    machine: Machine,
    longest_answer: int,
    seed: int,
) -> Candidate:
    """The candidate of `config` at step 0.

    Args:
        base: folder of the pretrained base, or None to start from scratch.
        longest_answer: most tokens that an answer may have, whatever the training rows hold.
        seed: of the weights, the batches and dropout.
    """
    tokenizer = corpus.tokenizer(config["vocabulary"]) if base is None else corpus.base_tokenizer(base)
    longest, answer = corpus.lengths(tokenizer)
    context = _context(longest, options.context, corpus.packed)
    rows = corpus.encoded(tokenizer, context, float(config.get("prompt_weight", 0.0)))
    plan = BatchPlan(tokens_per_step=config["tokens_per_step"], context=context, packed=corpus.packed, seed=seed)
    batches = Batches(rows, plan, pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
    model = _model(config, len(tokenizer), max(context, 128), base, seed).to(machine.device)
    settings = TrainSettings(
        learning_rate=_learning_rate(config),
        weight_decay=float(config.get("weight_decay", 0.01)),
        warmup_steps=options.warmup_steps,
        max_grad_norm=options.max_grad_norm,
        precision=machine.precision,
        device=machine.device,
        seed=seed,
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
    )

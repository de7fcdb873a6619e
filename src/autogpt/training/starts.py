"""Which pretrained bases are worth a trial here, and how each is started from: methods, vocabulary, cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autogpt.config import home
from autogpt.data.batching import Encoded, encode_all
from autogpt.data.corpus import Texts
from autogpt.errors import ModelError, TrainingError
from autogpt.models.bases import available, describe, own_bases, resolve
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.sizing import parameters
from autogpt.models.trimming import FLOOR, Vocabulary, trim_vocabulary
from autogpt.search.gpt_space import METHODS, SCRATCH, Bases
from autogpt.tasks.spec import TaskKind
from autogpt.training.cost import Limits, Rates, Work, free_bytes, probe_rates, replace_shape, verdict
from autogpt.training.machine import Machine

__all__ = ["Start", "bases_of", "choose_bases", "sample_of", "scored_share", "start_from_model"]

LEAST_EPOCHS, LEAST_EPOCHS_OWN = 4.0, 2.0
"""Passes over the data that must fit the time: a trial has about a tenth of it, and must see much of the data. Bases of
our own are small, and know the two languages of this project."""
LEAST_TOKENS_PER_PARAMETER = 5.0
LEAST_TOKENS_BY_KIND = {TaskKind.SUMMARIZATION: 1.5}
"""Of pretraining. After 1.9 the base of our own writes titles far better than what starts from scratch in equal
minutes, tells labels apart as well, and finds entities less well (benchmarks/results/base.md); 20 are usual (Hoffmann
et al. 2022)."""
LARGEST_SHARE_KEPT = 0.7
"""A vocabulary is trimmed when at most this share of it stays: a few rows less are not worth another tokenizer."""
LONGEST_TRIMMED_CHARACTERS = 20_000_000
"""Of larger data the vocabulary is trimmed by an even sample; the rest is written with what stays."""

_LANGUAGE_TOKENS_PER_CHARACTER = {"zh": 0.9, "en": 0.4}
"""Above this a tokenizer spells a language out byte by byte: the base has hardly seen it."""
_SMALL_VOCABULARY = 1.5
"""Times as many of a vocabulary of some thousand entries, in the language it was made for. Judgement, not measured."""
_TOKENS_PER_STEP, _TOP, _RANK = 1024, 1, 16
"""What methods are judged by before a configuration is known: the cheapest of each."""
_RATE_OF_ONE = 135e6
"""Parameters of a base that is best tuned in full at a rate of 1e-4; smaller ones take more, by the root of size."""
_SHARE_FOR_STORE = 0.4
"""Of the free memory; so much may the kept hidden states of a frozen trunk take."""


@dataclass(frozen=True, slots=True)
class Start:
    """A pretrained base as trials start from it.

    Attributes:
        folder: of the base.
        tokenizer: of the base, trimmed where `vocabulary` says so.
        vocabulary: the entries that stay; None for all of them.
        shape: with that vocabulary; of an architecture that is not ours, the nearest of ours.
        methods: what of it may be trained here, the best first.
        limits: what a trial may cost.
        scored: share of the training tokens whose prediction is learnt.
        positions: longest sequence that it reads.
        tokens: padded tokens of the training split, by a sample.
        tasks: that it does already; 0 for a plain model, which is told no task.
        why: the vocabulary is what it is, in words.
    """

    folder: Path
    tokenizer: Any
    vocabulary: Vocabulary | None
    shape: GPTConfig
    methods: tuple[str, ...]
    limits: Limits
    scored: float
    positions: int
    tokens: int = 0
    tasks: int = 0
    why: str = ""

    @property
    def store_bytes(self) -> int:
        """Most bytes of hidden states that are kept."""
        return int(_SHARE_FOR_STORE * (self.limits.bytes or 2**32))

    def check(self, config: Mapping[str, Any], *, context: int, steps: int) -> None:
        """Raises TrainingError with the reason when `config` cannot be trained here in time and memory.

        Args:
            context: tokens of a row.
            steps: of one epoch.
        """
        if config["method"] not in self.methods:
            found = f"method {config['method']}"
            raise TrainingError("left out before it started", found=found, expected=f"one of {', '.join(self.methods)}")
        work = self.work(
            config["method"], config["tokens_per_step"], context, config.get("top", 0), config.get("rank", 0)
        )
        fits, reason = verdict(work, self.limits, steps=steps)
        if not fits:
            raise TrainingError(
                "left out before it started",
                found=reason,
                todo="narrow search.space, or give more (--budget, search.max_memory)",
            )

    def work(self, method: str, tokens: int, context: int, top: int, rank: int) -> Work:
        """What a step of `method` does."""
        return Work(self.shape, tokens, context, self.scored, method, min(top, self.shape.num_hidden_layers), rank)  # type: ignore[arg-type]


def choose_bases(
    option: str,
    corpus: Texts,
    machine: Machine,
    seconds: float,
    reasons: MutableMapping[str, str],
    ceiling: int | None = None,
) -> dict[str, Start]:
    """Name → start of the bases to search over, our own first.

    The reason for each decision goes into `reasons`.

    Args:
        option: auto, scratch, or the one base to use whatever it costs.
        seconds: left for search and training together.
        ceiling: bytes that training may take by the user's will; None for what is free.

    Raises:
        ModelError: the base that was asked for is not there, or does not fit this machine's memory or the ceiling.
    """
    if option == SCRATCH:
        reasons["base"] = "from scratch: asked for"
        return {}
    memory = free_bytes(machine.device)
    if option != "auto":
        folder = resolve(option, home())
        limits = Limits(Rates(0.0, 0.0, 0.0, machine.precision), None, memory, ceiling=ceiling)
        start, reason = _start(folder, corpus, limits)
        if start is None:
            todo = "use a smaller base, or --base scratch"
            raise ModelError(f"base {option!r} cannot be trained on this machine", found=reason, todo=todo)
        reasons["base"] = f"{option}: asked for; {reason}"
        reasons[f"vocabulary {option}"] = start.why
        return {option: start}
    names = available(home())
    if not names:
        reasons["base"] = "from scratch: no base is pulled (autogpt models pull smollm2-135m)"
        return {}
    chosen: dict[str, Start] = {}
    rates: Rates | None = None
    for name in sorted(names, key=lambda name: (name not in own_bases(), name)):
        folder = resolve(name, home())
        unfit = next(filter(None, (_undertrained(folder, part.spec.kind) for part in corpus.parts)), None)
        if (unfit := unfit or _foreign(folder, corpus)) is not None:
            reasons[f"base {name}"] = f"left out: {unfit}"
            continue
        rates = rates or probe_rates(machine)
        epochs = LEAST_EPOCHS_OWN if name in own_bases() else LEAST_EPOCHS
        start, reason = _start(folder, corpus, Limits(rates, seconds, memory, epochs, ceiling))
        reasons[f"base {name}"] = f"{'left out' if start is None else 'searched'}: {reason}"
        if start is not None:
            chosen[name] = start
            reasons[f"vocabulary {name}"] = start.why
    return chosen


def start_from_model(folder: Path, corpus: Texts, limits: Callable[[], Limits]) -> tuple[Start | None, str]:
    """The start from a model that this project trained for another task, with the methods that fit; and why, or why
    there is none.

    Its tokenizer was made for the other task's texts, and it reads no longer sequences than that task needed: where
    either does not do for `corpus`, there is no start.

    Args:
        folder: of a plain model.
        limits: gives what training may take; asked where nothing else speaks against the model, since measuring takes
            seconds.

    Raises:
        ModelError: the folder is no model folder.
    """
    shape, ours, _ = _shape(folder)
    if not ours:
        return None, f"{describe(folder)['architecture']} is no shape that another task's training can start from"
    if (unfit := _foreign(folder, corpus, _SMALL_VOCABULARY)) is not None:
        return None, unfit
    longest, positions = corpus.lengths(corpus.base_tokenizer(folder))[0], shape.max_position_embeddings
    if longest > positions and not corpus.packed:
        return None, f"it reads {positions} tokens, and rows of this data have {longest}"
    return _start(folder, corpus, limits())


def bases_of(starts: Mapping[str, Start], corpus: Texts, *, scratch: bool) -> Bases:
    """`starts` as `space_for` takes them: the methods that any of them allows, the least depth, a rate for their size.

    Where training from scratch is allowed too, the search begins with a base of our own for Chinese and mixed data.
    """
    if not starts:
        return Bases()
    allowed = {method for start in starts.values() for method in start.methods}
    best = next(iter(starts.values())).methods
    chinese = any(part.spec.output_language in ("zh", "mixed") for part in corpus.parts)
    ours = [name for name in starts if name in own_bases()] if chinese else []
    return Bases(
        tuple(starts),
        first=ours[0] if scratch and ours else None,
        methods=(*best, *(method for method in METHODS if method in allowed - set(best))),
        depth=min(start.shape.num_hidden_layers for start in starts.values()),
        positions=max(start.positions for start in starts.values()),
        rate=min(1e-3, 1e-4 * (_RATE_OF_ONE / min(parameters(start.shape) for start in starts.values())) ** 0.5),
    )


def _undertrained(folder: Path, kind: TaskKind) -> str | None:
    """Why a base of our own has not seen enough text to be worth a trial of such a task; None for any other."""
    about = describe(folder)
    if "tokens_seen" not in about:
        return None
    each, least = about["tokens_seen"] / about["parameters"], LEAST_TOKENS_BY_KIND.get(kind, LEAST_TOKENS_PER_PARAMETER)
    if each >= least:
        return None
    return (
        f"it has seen {each:.1f} tokens a parameter, and below {least:g} {kind.value} gains nothing by it;"
        " ask for it with --base"
    )


def _foreign(folder: Path, corpus: Texts, slack: float = 1.0) -> str | None:
    """Why this base does not know the data's language; None when it seems to. `slack` times the limit is allowed."""
    for part in corpus.parts:
        fertility = _tokens(corpus.base_tokenizer(folder), part) / max(1, part.characters)
        limit = round(slack * _LANGUAGE_TOKENS_PER_CHARACTER.get(part.spec.output_language, 0.9), 2)
        if fertility > limit:
            return f"{fertility:.2f} tokens a character of this data (limit {limit}), not its language"
    return None


def sample_of(corpus: Texts) -> Sequence[Any]:
    """Some two hundred rendered training rows, evenly spaced."""
    return corpus.segments[:: max(1, len(corpus.segments) // 200)]


def _tokens(tokenizer: Any, corpus: Texts) -> float:
    """Tokens of the training split, by a sample."""
    rows = sample_of(corpus)
    characters = max(1, sum(len(segment.text) for row in rows for segment in row))
    encoded = encode_all(tokenizer, rows, max_tokens=2**30)
    return sum(len(row.ids) for row in encoded) * corpus.characters / characters


def _start(folder: Path, corpus: Texts, limits: Limits) -> tuple[Start | None, str]:
    """The start with the methods that fit, or None; and why."""
    tokenizer, (shape, ours, tasks), several = corpus.base_tokenizer(folder), _shape(folder), len(corpus.parts) > 1
    if tasks and not several:
        return None, f"it does {tasks} tasks: autogpt fit --add-to teaches it one more"
    if several and not (ours and tokenizer.bos_token_id is not None):
        return None, "several tasks need a base of our own or Llama's shape whose texts begin with a start token"
    rows = encode_all(tokenizer, sample_of(corpus), max_tokens=2**30)
    scored = scored_share(corpus, rows)
    size = shape.vocab_size if len(tokenizer) * LARGEST_SHARE_KEPT <= FLOOR else FLOOR
    positions = _positions(shape, tokenizer, corpus)
    cut = replace_shape(shape, vocab_size=size)
    start = Start(folder, tokenizer, None, cut, (), limits, scored, positions, tasks=tasks)
    padded = round(1.1 * _tokens(tokenizer, corpus))  # a tenth is padding
    steps = max(1, round(padded / _TOKENS_PER_STEP))
    context = min(start.positions, 16 * -(-max(len(row.ids) for row in rows) // 16))
    methods, refusal, acceptance = [], "", ""
    # Several tasks are one model's whole weights, with adapters of their own beside them.
    possible = ("full",) if several else ("full", "last_k", "lora") if ours else ("full", "lora")
    for method in possible:
        fits, reason = verdict(start.work(method, _TOKENS_PER_STEP, context, _TOP, _RANK), limits, steps=steps)
        if fits:
            methods.append(method)
            acceptance = acceptance or reason
        else:
            refusal = reason  # of the last and cheapest one
    if not methods:
        return None, refusal
    start = _trimmed(replace(start, shape=shape, methods=tuple(methods), tokens=padded), corpus)
    return start, f"{methods[0]}: {acceptance}; methods {', '.join(methods)}"


def _positions(shape: GPTConfig, tokenizer: Any, corpus: Texts) -> int:
    """Longest sequence to be read. For a task more, rotary positions may go on beyond those that were trained."""
    most = shape.max_position_embeddings
    if len(corpus.parts) == 1 or shape.position != "rope":
        return most
    return max(most, 32 * -(-(corpus.lengths(tokenizer)[0] + 8) // 32))


def scored_share(corpus: Texts, rows: Sequence[Encoded]) -> float:
    """Share of the tokens of `rows` whose prediction is learnt."""
    if corpus.packed:
        return 1.0
    return float(sum((row.weights > 0).sum() for row in rows) / max(1, sum(len(row.ids) for row in rows)))


def _shape(folder: Path) -> tuple[GPTConfig, bool, int]:
    """The shape of a base from its config.json, whether it is one of ours or Llama's, and how many tasks it does."""
    about = describe(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def field(*names: str, otherwise: int = 0) -> int:
        return next((int(config[name]) for name in names if config.get(name)), otherwise)

    width = field("hidden_size", "n_embd", "d_model", otherwise=768)
    heads = field("num_attention_heads", "n_head", otherwise=max(1, width // 64))
    shape = GPTConfig(
        vocab_size=field("vocab_size", otherwise=int(about["vocabulary"] or 1)),
        hidden_size=heads * max(2, width // heads // 2 * 2),
        num_hidden_layers=field("num_hidden_layers", "n_layer", otherwise=12),
        num_attention_heads=heads,
        num_key_value_heads=field("num_key_value_heads", otherwise=heads),
        intermediate_size=field("intermediate_size", "n_inner", otherwise=4 * width),
        max_position_embeddings=field("max_position_embeddings", "n_positions", otherwise=2**20),
        mlp="relu2" if config.get("mlp") == "relu2" else "swiglu",
        position=config.get("position", "rope"),
        tie_word_embeddings=bool(config.get("tie_word_embeddings", True)),
    )
    return shape, about["architecture"] in ("LlamaForCausalLM", "GPT", "MultitaskGPT"), int(config.get("tasks") or 0)


def _trimmed(start: Start, corpus: Texts) -> Start:
    """`start` with a vocabulary cut to what the data needs, where enough of it can go; `why` says what was decided."""
    full = len(start.tokenizer)
    if full * LARGEST_SHARE_KEPT <= FLOOR:
        return replace(start, why=f"whole: {full} entries, and at least {FLOOR} stay")
    every = max(1, corpus.characters // LONGEST_TRIMMED_CHARACTERS)
    rows = encode_all(start.tokenizer, corpus.segments[::every], max_tokens=2**30)
    used = np.unique(np.concatenate([row.ids for row in rows])).tolist()
    try:
        vocabulary = trim_vocabulary(start.tokenizer, used, floor=FLOOR)
    except ModelError as error:
        return replace(start, why=f"whole: {error}")
    size = len(vocabulary.kept_N)
    if size > LARGEST_SHARE_KEPT * full:
        return replace(start, why=f"whole: {size} of {full} entries are needed")
    shape = replace_shape(start.shape, vocab_size=size)
    saved = parameters(start.shape) - parameters(shape)
    why = f"trimmed from {full} to {size} entries, those that the data uses and the most frequent"
    why += f": {saved / 1e6:.1f} million parameters fewer"
    return replace(start, tokenizer=vocabulary.tokenizer, vocabulary=vocabulary, shape=shape, why=why)

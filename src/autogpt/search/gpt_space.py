"""What is searched for a task on this machine: where to start from, the shape of the GPT, and how it is trained.

By itself the search looks near what did well; a user may ask for much more (`Parameter.allowed`), and for features
that are not searched at all unless they are named (`Space.optional`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autogpt.search.space import Choice, Float, Int, Parameter, Space
from autogpt.tasks.spec import TaskKind, TaskSpec

__all__ = [
    "JOINT_PARAMETERS",
    "LONGEST_CONTEXT",
    "METHODS",
    "SCRATCH",
    "Bases",
    "space_for",
    "space_for_several",
    "weight_of",
    "wishes_of",
]

SCRATCH = "scratch"
METHODS = ("full", "last_k", "lora")
"""What of a base is trained: everything, its last blocks, or low-rank matrices beside its linear layers."""

LONGEST_CONTEXT = 8192
"""Most tokens of a sequence that may be asked for, as in `TrainingConfig.context`."""

_TOPS = (0, 1, 2, 4, 8)

_WIDTHS = (96, 128, 192, 256, 384)
_VOCABULARIES = (1024, 2048, 4096, 8192)
_STEPS = (512, 1024, 2048, 4096)
_CONTEXTS = (128, 256, 512)
_RATES = Float(1e-6, 0.1, log=True)
"""Learning rates that may be asked for: AdamW makes little of lower ones, and higher ones diverge."""

_COPYING = (
    TaskKind.EXTRACTION,
    TaskKind.QUESTION_ANSWERING,
    TaskKind.SUMMARIZATION,
    TaskKind.TRANSLATION,
    TaskKind.INSTRUCTION,
)
"""Kinds whose answers repeat parts of the prompt. Elsewhere late keys gain nothing."""


def _around(values: tuple[int, ...], default: int) -> Choice:
    """`default` and its neighbours: with a dozen trials, far-off sizes would cost more than they find."""
    place = values.index(default)
    return Choice(values[max(0, place - 1) : place + 2])


def _width(characters: int) -> int:
    """More text feeds a wider model; the steps are where the smaller one stops winning in minutes on two cores."""
    return 128 if characters < 250_000 else 192 if characters < 500_000 else 256


def _vocabulary(characters: int) -> int:
    """About one entry for 200 characters: rarer tokens are seen too seldom to learn an embedding."""
    return 2048 if characters < 600_000 else 4096


@dataclass(frozen=True, slots=True)
class Bases:
    """The pretrained starting points of a space.

    Attributes:
        names: those that fit the machine and the budget.
        first: the one that the search begins with; None for from scratch, where that is allowed.
        methods: what of them may be trained, of `METHODS`, the default first.
        depth: blocks of the shallowest one.
        rate: learning rate that full fine-tuning begins with.
        positions: longest sequence that any of them reads.
    """

    names: tuple[str, ...] = ()
    first: str | None = None
    methods: tuple[str, ...] = METHODS
    depth: int = _TOPS[-1]
    rate: float = 1e-4
    positions: int = LONGEST_CONTEXT


def space_for(spec: TaskSpec, characters: int, bases: Bases | None = None, *, scratch: bool = True) -> Space:
    """The space of configurations.

    Args:
        characters: size of the rendered training text.
        bases: pretrained starting points, where there are any.
        scratch: whether training from scratch is allowed.
    """
    bases = bases or Bases()
    starts = ((SCRATCH,) if scratch else ()) + bases.names
    # Minutes allow some thousand steps: small ones are many. Plain text, whose every token teaches, takes larger ones.
    step = 2048 if spec.kind is TaskKind.GENERATION else 1024
    parameters = [
        Parameter("start", Choice(starts), bases.first or starts[0], None, "from scratch, or a pretrained base"),
        Parameter("epochs", Choice((10, 20, 40, 80)), 40, None, "passes over the data at the most", Int(1, 10_000)),
        Parameter("tokens_per_step", _around(_STEPS, step), step, None, "padded tokens of one step", Int(64, 65_536)),
    ]
    if spec.kind is TaskKind.PREFERENCE:
        what = "likelihood of the chosen answers alone, or DPO against the rejected ones"
        parameters.append(Parameter("objective", Choice(("nll", "dpo")), "nll", None, what))
    if scratch:
        parameters += _from_scratch(spec.kind, characters)
    if bases.names:
        parameters += _from_base(bases, probe=spec.is_label_task)
    features = _features(writes=not spec.is_label_task) if scratch else ()
    return Space(tuple(parameters), (_context(bases, scratch=scratch), *features))


def space_for_several(
    specs: Sequence[TaskSpec],
    characters: Sequence[int],
    bases: Bases | None = None,
    *,
    names: Sequence[str] = (),
    scratch: bool = True,
) -> Space:
    """The space for one model that does several tasks: that of the task which asks for most of a model, and how the
    tasks share it. A hidden choice and preference pairs are for single tasks.

    Args:
        specs: the tasks.
        characters: of each task's rendered training text. The vocabulary is for all of it, the width for the largest.
        bases, scratch: as in `space_for`.
        names: of the tasks, in their order, where their weights are searched too (`weight_of`). That of the first one
            is not, unless it is asked for: only the ratios of weights matter.
    """
    hardest = min(specs, key=_rank)
    space = space_for(hardest, sum(characters), bases, scratch=scratch)
    width = _width(max(characters))
    changed = {"width": (_WIDTHS, width), "tokens_per_step": (_STEPS, _JOINT_STEP)}
    kept = []
    for one in space.parameters:
        if one.name in changed:
            values, default = changed[one.name]
            one = replace(one, dimension=_around(values, default), default=default)
        if one.name != "objective":
            kept.append(one)
    weights = [_task_weight(name) for name in names]
    optional = [one for one in space.optional if one.name not in _OF_SINGLE_TASKS]
    return Space((*kept, *_sharing(), *weights[1:]), (*optional, *weights[:1]))


def weight_of(task: str) -> str:
    """The parameter by which a task's weight in the loss is multiplied, such as `weight_of_mails`.

    Names of tasks are slugs of any script, without dots, so it can be said as `--set search.space.weight_of_NAME=2`.
    """
    return f"{_WEIGHT_OF}{task}"


def wishes_of(wishes: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """Those of the wishes for a model of several tasks that one of these tasks can meet.

    Args:
        wishes: `search.space`, which fits a space of these tasks and others.
        tasks: names. Of a single one nothing is left that is about sharing.
    """
    weights = {weight_of(task) for task in tasks}

    def has_effect(name: str) -> bool:
        joint = name in JOINT_PARAMETERS or name.startswith(_WEIGHT_OF)
        return not joint or (len(tasks) > 1 and (name in JOINT_PARAMETERS or name in weights))

    return {name: wish for name, wish in wishes.items() if has_effect(name)}


def _sharing() -> tuple[Parameter, ...]:
    temperatures, balance = Float(1.0, 100.0, log=True), Float(0.0, 1.0)
    return (
        Parameter(
            "sharing",
            Choice(("shared", "own", "attention")),
            "shared",
            None,
            "all weights shared, adapters of each task's own beside them, or attention over all tasks' adapters",
        ),
        Parameter(
            "mixing_temperature",
            Choice((1, 2, 4)),
            2,
            None,
            "1: rows in proportion to each task's; more: the same number of each",
            temperatures,
        ),
        Parameter("row_balance", Choice((0.0, 0.5, 1.0)), 1.0, None, "0: every token counts; 1: every row", balance),
        Parameter(
            "task_losses",
            Choice(("sum", "uncertainty", "pcgrad")),
            "sum",
            None,
            "how losses add up: their sum, weighted by learnt uncertainty, or with conflicting gradients projected",
        ),
    )


def _task_weight(task: str) -> Parameter:
    what = f"times the weight of {task} in the loss; what ranks trials keeps the given ones"
    return Parameter(weight_of(task), Choice((0.5, 1.0, 2.0)), 1.0, None, what, Float(0.01, 100.0, log=True))


JOINT_PARAMETERS = ("sharing", "mixing_temperature", "row_balance", "task_losses")
"""What a space of several tasks has and one of a single task has not, beside the tasks' weights (`weight_of`)."""
_WEIGHT_OF = "weight_of_"
_OF_SINGLE_TASKS = ("latents",)
_JOINT_STEP = 2048
"""Padded tokens of a step that several tasks share; with half as many, each task's part of a gradient is noise
(benchmarks/results/multitask.md)."""


def _rank(spec: TaskSpec) -> int:
    """0 for what asks most of a model: continuing text, then writing what repeats the prompt, then other writing."""
    ranks = (spec.kind is TaskKind.GENERATION, spec.kind in _COPYING, not spec.is_label_task)
    return ranks.index(True) if any(ranks) else len(ranks)


def _from_scratch(kind: TaskKind, characters: int) -> list[Parameter]:
    copies = kind in _COPYING
    own, width, vocabulary = {"start": (SCRATCH,)}, _width(characters), _vocabulary(characters)
    vocabularies = _around(_VOCABULARIES, vocabulary)
    parameters = [
        Parameter("width", _around(_WIDTHS, width), width, own, "hidden size", Int(32, 4096)),
        Parameter("depth", Choice((3, 4, 6)), 4, own, "number of blocks", Int(1, 64)),
        Parameter("block", Choice(("relu2", "llama")), "relu2", own, "kind of feed-forward: ReLU², or Llama's SwiGLU"),
        Parameter("late_keys", Choice((False, True)), copies, own, "half of the key heads made for copying"),
        Parameter("vocabulary", vocabularies, vocabulary, own, "most BPE entries", Int(259, 65_536)),
        Parameter(
            "lr",
            Float(7e-4, 4e-3, log=True),
            2e-3 if width < 256 else 1.5e-3,
            own,
            "peak learning rate",
            allowed=_RATES,
        ),
        Parameter("weight_decay", Float(0.03, 1.0, log=True), 0.1, own, "decay of the matrices", Float(0.0, 10.0)),
        Parameter("dropout", Choice((0.0, 0.1, 0.2, 0.3)), 0.1, own, "share of activations dropped", Float(0.0, 0.9)),
    ]
    if kind is not TaskKind.GENERATION:
        # Long answers teach enough by themselves; where the answer is a label, the prompt's own text teaches more.
        weight, what = 0.0 if kind is TaskKind.EXTRACTION else 0.1, "loss weight of the prompt's tokens"
        parameters.append(Parameter("prompt_weight", Choice((0.0, 0.1, 0.3)), weight, own, what, Float(0.0, 1.0)))
    return parameters


def _context(bases: Bases, *, scratch: bool) -> Parameter:
    most = LONGEST_CONTEXT if scratch else min(LONGEST_CONTEXT, bases.positions)
    contexts = Choice(tuple(tokens for tokens in _CONTEXTS if tokens <= most) or (most,))
    what = "tokens of one sequence; unasked, what the rows need"
    return Parameter("context", contexts, contexts.values[-1], None, what, Int(min(32, most), most))


def _features(*, writes: bool) -> tuple[Parameter, ...]:
    """Of a model from scratch, what is not worth a trial in minutes unless the user wants to know.

    Unasked a model has what `sizing.shape_of` gives it. A default here is the first trial's, where the user's list or
    range holds it.

    Args:
        writes: whether answers are written, not chosen from a set: a mixture of ways to answer is about texts.
    """
    own, flag = {"start": (SCRATCH,)}, Choice((False, True))
    what = "components of a mixture, one of which writes a whole text"
    latents = (Parameter("latents", Choice((1, 2, 4, 8)), 1, own, what),) if writes else ()
    return (
        Parameter("head_size", Choice((32, 64, 128)), 32, own, "width of an attention head"),
        Parameter("query_groups", Choice((1, 2, 4, 8)), 1, own, "query heads that share one key-value head"),
        Parameter("mlp_ratio", Float(1.0, 8.0), 4.0, own, "size of the feed-forward branch over the width"),
        Parameter("position", Choice(("rope", "learned", "sinusoidal")), "rope", own, "how a token knows its place"),
        Parameter("qk_norm", flag, False, own, "RMSNorm on the queries and keys of each head"),
        Parameter("value_embeddings", flag, False, own, "learnt vectors of the tokens in every second layer's values"),
        Parameter("residual_scalars", flag, False, own, "each layer mixes the embeddings in again"),
        Parameter("tie_word_embeddings", flag, True, own, "whether the head shares the embeddings' weights"),
        Parameter("optimizer", Choice(("adamw", "muon")), "adamw", own, "AdamW, or Muon for the blocks' matrices"),
        *latents,
    )


def _from_base(bases: Bases, *, probe: bool) -> list[Parameter]:
    tuned = {"start": bases.names}
    full, last, lora = ({**tuned, "method": (method,)} for method in METHODS)
    # Without blocks only the head is trained, a linear probe: enough to tell labels apart, never to write.
    tops = tuple(top for top in _TOPS if (top or probe) and top <= bases.depth)
    deepest = Int(0 if probe else 1, max(1, bases.depth))
    what = "peak rate of full fine-tuning"
    own = {
        "full": [Parameter("base_lr", Float(1e-5, 1e-3, log=True), bases.rate, full, what, _RATES)],
        "last_k": [
            Parameter("top", Choice(tops), min(2, tops[-1]), last, "blocks trained, from the last one down", deepest),
            Parameter(
                "top_lr", Float(5e-5, 3e-3, log=True), 5e-4, last, "peak learning rate of the last blocks", _RATES
            ),
        ],
        "lora": [
            Parameter("rank", Choice((8, 16, 32)), 16, lora, "rank of the LoRA matrices", Int(1, 512)),
            Parameter("lora_lr", Float(1e-4, 3e-3, log=True), 5e-4, lora, "peak learning rate of LoRA", _RATES),
        ],
    }
    method = Parameter("method", Choice(bases.methods), bases.methods[0], tuned, "what of the base is trained")
    return [method, *(parameter for name in METHODS if name in bases.methods for parameter in own[name])]

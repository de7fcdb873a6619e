"""Learning from a teacher: from its probabilities where the tokenizer is the same, else from the answers it writes.

Token by token (Hinton et al. 2015): the teacher's top-k log-probabilities of each answer token are computed once and
kept with the rows, 8·k bytes a token (32 of them: 256 bytes), so that no teacher is in memory while the student learns.
Sequence by sequence (Kim & Rush 2016): any function that completes prompts writes the answers of unlabelled rows.

Shapes: B rows, T tokens, D hidden width, N chosen tokens, K kept entries of the teacher, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autogpt.data.batching import Batch, Batches, BatchPlan, Encoded
from autogpt.errors import DataError, ModelError
from autogpt.models.fused import loss_rows
from autogpt.tasks.answers import decode_answer, encode_answer
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.templates import render
from autogpt.training.objectives import backbone, tensors_of, token_losses, wide
from autogpt.types import Drop, Example

__all__ = [
    "Complete",
    "Distillation",
    "TaughtBatch",
    "TaughtBatches",
    "TeacherLogs",
    "distillation_losses",
    "teacher_logs",
    "teacher_prompt",
    "written_by_teacher",
]

_TOKENS_PER_PASS = 8192
_PROMPTS_PER_CALL = 64


# --- token by token ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class TeacherLogs:
    """What the teacher thinks of one row's answer tokens, in order.

    Attributes:
        ids: [N, K] the most probable tokens.
        logs: [N, K] their log-probabilities in nats at the temperature they were asked at.
    """

    ids: npt.NDArray[np.int32]
    logs: npt.NDArray[np.float32]


def teacher_logs(
    teacher: Any,
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    k: int = 32,
    temperature: float = 1.0,
    precision: str = "fp32",
) -> list[TeacherLogs]:
    """The teacher's `k` largest log-probabilities at each answer token of each row, in order.

    Args:
        teacher: a causal language model with the tokenizer that encoded the rows; evaluated without dropout, and left
            in the mode that it had.
        k: entries kept of a token, at most the vocabulary.
        temperature: logits are divided by it first; the objective must have the same one.

    Raises:
        ModelError: a row holds a token that the teacher does not have.
    """
    head, training = backbone(teacher).get_output_embeddings(), teacher.training
    vocabulary, device = head.weight.shape[0], head.weight.device
    if (largest := max((int(row.ids.max()) for row in rows), default=0)) >= vocabulary:
        raise ModelError(
            "the teacher has another tokenizer",
            found=f"token {largest}",
            expected=f"tokens below {vocabulary}",
            todo="let it write answers instead (written_by_teacher)",
        )
    k = min(k, vocabulary)
    result = [TeacherLogs(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))] * len(rows)
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place].ids))
    teacher.eval()
    while order:
        width = len(rows[order[0]].ids)
        size = max(1, _TOKENS_PER_PASS // width)
        group, order = order[:size], order[size:]
        ids_BT = torch.full((len(group), width), pad_id, dtype=torch.long)
        chosen_BT = torch.zeros(len(group), width, dtype=torch.bool)
        for place, index in enumerate(group):
            ids_BT[place, : len(rows[index].ids)] = torch.from_numpy(rows[index].ids.astype(np.int64))
            chosen_BT[place, : len(rows[index].ids)] = torch.from_numpy(_taught(rows[index]))
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            hidden_BTD = backbone(teacher).base_model(input_ids=ids_BT.to(device), use_cache=False).last_hidden_state
            hidden_ND = hidden_BTD[:, :-1][chosen_BT[:, 1:].to(device)]
            parts = [
                (wide(head(chunk)) / temperature).log_softmax(-1).topk(k)
                for chunk in hidden_ND.split(loss_rows(vocabulary))
            ]
        counts = chosen_BT.sum(-1).tolist()
        logs = torch.cat([part.values for part in parts]).float().cpu().split(counts)
        ids = torch.cat([part.indices for part in parts]).int().cpu().split(counts)
        for index, row_ids, row_logs in zip(group, ids, logs, strict=True):
            # Copies, or each row would keep the whole pass alive.
            result[index] = TeacherLogs(row_ids.numpy().copy(), row_logs.numpy().copy())
    teacher.train(training)
    return result


def _taught(row: Encoded) -> npt.NDArray[np.bool_]:
    """[T] the tokens that the teacher is asked about: those of answers, but for a first one."""
    mask = row.answer_mask()
    mask[0] = False
    return mask


@dataclass(frozen=True, slots=True, eq=False)
class TaughtBatch(Batch):
    """A batch with the teacher's opinion beside each token.

    Attributes:
        taught_BT: whether the teacher was asked about a token.
        teacher_ids_BTK, teacher_logs_BTK: see `TeacherLogs`; meaningless where nothing was asked.
    """

    taught_BT: torch.Tensor
    teacher_ids_BTK: torch.Tensor
    teacher_logs_BTK: torch.Tensor

    def rows(self, first: int, last: int) -> TaughtBatch:
        """Rows `first` up to, not including, `last`, at the same width."""
        parts = {name: value[first:last] for name, value in tensors_of(self).items()}
        tokens, answer_tokens = int(parts["attention_mask_BT"].sum()), int((parts["weights_BT"] > 0).sum())
        return replace(self, **parts, tokens=tokens, answer_tokens=answer_tokens)

    def to(self, device: torch.device | str) -> TaughtBatch:
        """The same batch on `device`."""
        parts = {name: value.to(device) for name, value in tensors_of(self).items()}
        return replace(self, **parts)


class TaughtBatches(Batches):
    """`Batches` of padded rows that carry `TeacherLogs`. Text that shall be packed is cut into full rows before.

    Args:
        rows: encoded rows; those without any weight are passed over.
        logs: the teacher's, one for each row.
        plan: how to batch; not packed.
        pad_id: token id of padding.
    """

    def __init__(self, rows: Sequence[Encoded], logs: Sequence[TeacherLogs], plan: BatchPlan, pad_id: int) -> None:
        if plan.packed or len(rows) != len(logs):
            raise ValueError(f"{len(logs)} rows of a teacher for {len(rows)} rows, packed: {plan.packed}")
        kept = [place for place, row in enumerate(rows) if (row.weights[1:] > 0).any()]
        self._logs = [logs[place] for place in kept]
        super().__init__([rows[place] for place in kept], plan, pad_id)
        self.skipped = len(rows) - len(kept)

    def _padded(self, rows: npt.NDArray[np.int64]) -> TaughtBatch:
        batch = super()._padded(rows)
        shape = tuple(batch.ids_BT.shape)
        taught = np.zeros(shape, dtype=np.bool_)
        k = self._logs[0].ids.shape[1]
        ids, logs = np.zeros((*shape, k), dtype=np.int32), np.zeros((*shape, k), dtype=np.float32)
        for place, row in enumerate(rows):
            mask = _taught(self._rows[row])
            taught[place, : len(mask)] = mask
            ids[place, : len(mask)][mask], logs[place, : len(mask)][mask] = self._logs[row].ids, self._logs[row].logs
        plain = {field.name: getattr(batch, field.name) for field in fields(batch)}
        return TaughtBatch(
            **plain,
            taught_BT=torch.from_numpy(taught),
            teacher_ids_BTK=torch.from_numpy(ids),
            teacher_logs_BTK=torch.from_numpy(logs),
        )


def distillation_losses(
    logits_NV: torch.Tensor, ids_NK: torch.Tensor, logs_NK: torch.Tensor, temperature: float
) -> torch.Tensor:
    """KL(teacher ‖ student) in nats at each token, [N], both at `temperature`.

    The teacher's tokens outside the top k count as one event, "any other token": what is left of the probability is
    compared with what the student leaves. So a truncated teacher is a lower bound of the exact divergence, least where
    the student agrees, and with K = V it is exact.
    """
    scaled_NV = logits_NV / temperature
    own_NK = scaled_NV.gather(-1, ids_NK) - (total_N1 := scaled_NV.logsumexp(-1, keepdim=True))
    losses_N = (logs_NK.exp() * (logs_NK - own_NK)).sum(-1)
    if ids_NK.shape[1] == logits_NV.shape[1]:
        return losses_N
    left_N = (1 - logs_NK.exp().sum(-1)).clamp_min(0)
    own_left_N = scaled_NV.scatter(-1, ids_NK, -torch.inf).logsumexp(-1) - total_N1[:, 0]
    return losses_N + torch.xlogy(left_N, left_N) - left_N * own_left_N


@dataclass(frozen=True, slots=True)
class Distillation:
    """(1-α) · likelihood + α · T² · KL(teacher ‖ student) (Hinton et al. 2015): an objective over `TaughtBatches`.

    Tokens that the teacher was not asked about, such as a weighted prompt, keep the likelihood alone. Each token counts
    by its weight, as in `weighted_token_loss`; with `alpha=0` the two are the same.

    Attributes:
        alpha: share of the teacher.
        temperature: that of `teacher_logs`.
    """

    alpha: float = 0.5
    temperature: float = 1.0

    def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
        """The weighted sum over tokens; the loop divides by the sum of the weights."""
        if not isinstance(batch, TaughtBatch):
            raise TypeError(f"distillation was given a {type(batch).__name__}, expected a TaughtBatch")
        hidden_BTD = backbone(model).base_model(input_ids=batch.ids_BT, use_cache=False).last_hidden_state[:, :-1]
        weights_BT = batch.weights_BT[:, 1:]
        chosen_BT = weights_BT > 0
        likelihood_N = token_losses(model, hidden_BTD[chosen_BT], batch.ids_BT[:, 1:][chosen_BT])
        total = (likelihood_N * weights_BT[chosen_BT]).sum()
        if self.alpha == 0:
            return total
        both_BT = chosen_BT & batch.taught_BT[:, 1:]
        ids_NK, logs_NK = (part[:, 1:][both_BT] for part in (batch.teacher_ids_BTK, batch.teacher_logs_BTK))
        divergence_N = self._divergences(model, hidden_BTD[both_BT], ids_NK.long(), logs_NK)
        # The likelihood of the tokens that the teacher knows was counted in full above.
        change_N = self.temperature**2 * divergence_N - likelihood_N[both_BT[chosen_BT]]
        return total + self.alpha * (change_N * weights_BT[both_BT]).sum()

    def _divergences(
        self, model: Any, hidden_ND: torch.Tensor, ids_NK: torch.Tensor, logs_NK: torch.Tensor
    ) -> torch.Tensor:
        head = backbone(model).get_output_embeddings()
        size = loss_rows(head.weight.shape[0])
        parts = zip(hidden_ND.split(size), ids_NK.split(size), logs_NK.split(size), strict=True)
        losses = [distillation_losses(wide(head(hidden)), ids, logs, self.temperature) for hidden, ids, logs in parts]
        return torch.cat(losses) if losses else hidden_ND.new_zeros(0)


# --- sequence by sequence ---------------------------------------------------------------------------------------------

Complete = Callable[[Sequence[str]], Sequence[str]]
"""Prompts → completions, one for each, in order: an engine, or a client of an endpoint."""


def teacher_prompt(spec: TaskSpec, example: Example, shots: Sequence[Example] = ()) -> str:
    """What a model that was not trained on the task is asked: the user's sentence, the labels, solved rows, the row.

    Args:
        shots: examples with answers, shown in the form in which the answer is wanted.
    """
    chinese = spec.input_language == "zh"
    lines = [spec.description.strip()]
    if spec.labels:
        lines.append(("标签：" if chinese else "Labels: ") + ("、" if chinese else ", ").join(spec.labels))
    solved = ["".join(segment.text for segment in render(spec, shot, answer=True)) for shot in shots]
    return "\n\n".join([*lines, *solved, "".join(segment.text for segment in render(spec, example, answer=False))])


def written_by_teacher(
    spec: TaskSpec, examples: Sequence[Example], complete: Complete, *, shots: Sequence[Example] = ()
) -> tuple[list[Example], list[Drop]]:
    """(the rows with the teacher's answers, the rows left out and why).

    Answers are read as a model's own are (`decode_answer`). Left out: empty answers, and where the task has labels,
    answers that name none of them: a guess at what the teacher meant would teach noise.

    Args:
        examples: rows without answers (one that is there is replaced).
        complete: is called with up to 64 prompts at a time.
        shots: solved rows put before each prompt.

    Raises:
        DataError: `complete` returned more or fewer texts than it was given prompts.
    """
    written: list[Example] = []
    drops: list[Drop] = []
    for first in range(0, len(examples), _PROMPTS_PER_CALL):
        group = examples[first : first + _PROMPTS_PER_CALL]
        texts = list(complete([teacher_prompt(spec, example, shots) for example in group]))
        if len(texts) != len(group):
            raise DataError("the teacher lost rows", found=f"{len(texts)} texts", expected=f"{len(group)} texts")
        for example, text in zip(group, texts, strict=True):
            answer = text.strip()
            if not answer:
                drops.append(Drop(example.id, "the teacher wrote nothing"))
            elif spec.is_label_task and not any(label.casefold() in answer.casefold() for label in spec.labels):
                drops.append(Drop(example.id, "the teacher named no label", answer[:80]))
            else:
                target = decode_answer(spec, answer, example)
                references = (target,) if isinstance(target, str) else (encode_answer(spec, target),)
                written.append(replace(example, target=target, references=references))
    return written, drops

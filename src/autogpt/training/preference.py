"""Learning from preferences: DPO on pairs of a better and a worse answer, KTO on single answers called good or bad.

Both compare the model's log-probability of a whole answer with that of a reference, the model that training started
from. The reference's numbers are computed once, before the first step, and kept with the rows: no second model is ever
in memory. Both are objectives of the one loop; what is special is the batch, in which two rows stand together.

Shapes: B pairs, T tokens, N pairs of a data set, R single rows. A `PairBatch` holds [B, 2·T], which is [2·B, T] too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from autogpt.data.batching import Batch, BatchPlan
from autogpt.data.corpus import Corpus
from autogpt.training.objectives import backbone, token_losses
from autogpt.training.pairs import Pair, PairBatch, PairBatches, last_answer, preference_pairs

__all__ = ["DPO", "KTO", "dpo_losses", "dpo_training", "kto_losses", "reference_logs", "uniform_logs"]

_TOKENS_PER_PASS = 16384
"""Padded tokens of one forward pass without gradients, as the engine has them."""


# --- the reference ----------------------------------------------------------------------------------------------------


def _measured(
    model: Any, ids_RT: torch.Tensor, answers_RT: torch.Tensor, weights_RT: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probability of each row's answer, its weighted loss), both [R] in nats. One pass; no padding is scored."""
    answers_RT = answers_RT[:, 1:]
    needed_RT = answers_RT if weights_RT is None else answers_RT | (weights_RT[:, 1:] > 0)
    hidden_RTD = backbone(model).base_model(input_ids=ids_RT, use_cache=False).last_hidden_state
    losses_N = token_losses(model, hidden_RTD[:, :-1][needed_RT], ids_RT[:, 1:][needed_RT])
    losses_RT = losses_N.new_zeros(needed_RT.shape).masked_scatter(needed_RT, losses_N)
    logs_R = -(losses_RT * answers_RT).sum(-1)
    return logs_R, (torch.zeros_like(logs_R) if weights_RT is None else (losses_RT * weights_RT[:, 1:]).sum(-1))


def reference_logs(
    model: Any, pairs: Sequence[Pair], *, pad_id: int, precision: str = "fp32", tokens: int = _TOKENS_PER_PASS
) -> torch.Tensor:
    """Log-probability in nats of both answers of each pair under `model` as it is now, [N, 2] on the CPU.

    Without dropout and without gradients; the model comes back in the mode that it had. Rows of similar length share a
    pass of at most `tokens` padded tokens. The time is a forward pass of two rows for each pair.
    """
    rows = [row for pair in pairs for row in (pair.first, pair.second)]
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place].ids))
    result_R = torch.zeros(len(rows))
    device, training = next(model.parameters()).device, model.training
    model.eval()
    while order:
        width = len(rows[order[0]].ids)
        group, order = order[: max(1, tokens // width)], order[max(1, tokens // width) :]
        ids_RT = torch.full((len(group), width), pad_id, dtype=torch.long)
        answers_RT = torch.zeros(len(group), width, dtype=torch.bool)
        for place, index in enumerate(group):
            row = rows[index]
            ids_RT[place, : len(row.ids)] = torch.from_numpy(row.ids.astype(np.int64))
            answers_RT[place, : len(row.ids)] = torch.from_numpy(last_answer(row))
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logs_R, _ = _measured(model, ids_RT.to(device), answers_RT.to(device), None)
        result_R[group] = logs_R.float().cpu()
    model.train(training)
    return result_R.view(-1, 2)


def uniform_logs(pairs: Sequence[Pair], vocabulary: int) -> torch.Tensor:
    """`reference_logs` of a model that finds every token equally likely, [N, 2]: what a fresh model starts as.

    Costs nothing, and unlike one draw of random weights it prefers no answer. With `DPO.per_token` it cancels out:
    the objective is then that of Meng et al. 2024 ("SimPO") without a margin.
    """
    lengths = [(last_answer(pair.first).sum(), last_answer(pair.second).sum()) for pair in pairs]
    return -np.log(vocabulary) * torch.tensor(np.array(lengths, dtype=np.float32).reshape(-1, 2))


# --- losses -----------------------------------------------------------------------------------------------------------


def dpo_losses(policy_B2: torch.Tensor, reference_B2: torch.Tensor, beta: float) -> torch.Tensor:
    """-log σ(β · (log-ratio of the chosen answer - log-ratio of the rejected one)), [B] (Rafailov et al. 2023, eq. 7).

    Args:
        policy_B2, reference_B2: log-probabilities in nats of (chosen, rejected).
    """
    ratios_B2 = policy_B2 - reference_B2
    return -F.logsigmoid(beta * (ratios_B2[:, 0] - ratios_B2[:, 1]))


def kto_losses(
    ratios_B: torch.Tensor, good_B: torch.Tensor, shift: torch.Tensor, beta: float, weights: tuple[float, float]
) -> torch.Tensor:
    """λ_y - v(x, y), [B] (Ethayarajh et al. 2024, eq. 8): good answers shall rise above `shift`, bad ones sink below.

    Args:
        ratios_B: log-probability of each answer less that of the reference.
        good_B: which answers are good.
        shift: z₀, the estimated divergence from the reference; at least 0, without gradient.
        weights: (of good rows, of bad rows).
    """
    values_B = torch.sigmoid(beta * torch.where(good_B, ratios_B - shift, shift - ratios_B))
    good_weight, bad_weight = weights
    return torch.where(good_B, good_weight, bad_weight).to(ratios_B.dtype) * (1 - values_B)


@dataclass(frozen=True, slots=True)
class DPO:
    """Direct preference optimisation (Rafailov et al. 2023): an objective over `PairBatches`.

    Attributes:
        beta: how strongly the model is held to the reference; larger is closer.
        per_token: compare mean log-probabilities of a token, so that length earns nothing (Lambert et al. 2024, "Tülu
            3"); `beta` is then one to two orders of magnitude larger.
        nll_weight: weight of the mean negative log-likelihood of the first row's weighted tokens, which keeps the
            chosen answers likely (Pang et al. 2024). A model that starts from scratch learns to write by it alone.
    """

    beta: float = 0.1
    per_token: bool = False
    nll_weight: float = 0.0

    def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum of the pairs' losses; the loop divides by the sum of `weights_BT`, the number of pairs."""
        pairs = _pairs(batch)
        rows = 2 * len(pairs.good_B)
        ids_RT, answers_RT, weights_RT = (
            part.reshape(rows, -1) for part in (pairs.ids_BT, pairs.answers_BT, pairs.weights_BT)
        )
        logs_R, nll_R = _measured(model, ids_RT, answers_RT, weights_RT if self.nll_weight else None)
        policy_B2, reference_B2 = logs_R.view(-1, 2), pairs.reference_B2.to(logs_R.dtype)
        if self.per_token:
            tokens_B2 = answers_RT.sum(-1).view(-1, 2)
            policy_B2, reference_B2 = policy_B2 / tokens_B2, reference_B2 / tokens_B2
        return dpo_losses(policy_B2, reference_B2, self.beta).sum() + self.nll_weight * nll_R.sum()


@dataclass(frozen=True, slots=True)
class KTO:
    """Kahneman–Tversky optimisation (Ethayarajh et al. 2024): an objective over `PairBatches` of `mismatched_pairs`.

    z₀ is the mean log-ratio of the second rows (a prompt with a stranger's answer), never below 0 and without gradient.
    It is estimated on what one forward pass holds: give steps of at least four rows that fit `micro_tokens`.

    Attributes:
        beta: as in `DPO`.
        good_weight, bad_weight: λ of good and bad rows; their products with the numbers of rows should be near equal.
        nll_weight: weight of the mean negative log-likelihood of the good rows.
    """

    beta: float = 0.1
    good_weight: float = 1.0
    bad_weight: float = 1.0
    nll_weight: float = 0.0

    def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum of the rows' losses; the loop divides by the sum of `weights_BT`, the number of rows."""
        pairs = _pairs(batch)
        ids_B2T, answers_B2T, weights_B2T = (
            part.reshape(len(pairs.good_B), 2, -1) for part in (pairs.ids_BT, pairs.answers_BT, pairs.weights_BT)
        )
        with torch.no_grad():
            other_B, _ = _measured(model, ids_B2T[:, 1], answers_B2T[:, 1], None)
            shift = (other_B - pairs.reference_B2[:, 1]).mean().clamp_min(0)
        weights_BT = weights_B2T[:, 0] if self.nll_weight else None
        logs_B, nll_B = _measured(model, ids_B2T[:, 0], answers_B2T[:, 0], weights_BT)
        ratios_B = logs_B - pairs.reference_B2[:, 0]
        losses_B = kto_losses(ratios_B, pairs.good_B, shift, self.beta, (self.good_weight, self.bad_weight))
        return losses_B.sum() + self.nll_weight * (nll_B * pairs.good_B).sum()


def _pairs(batch: Batch) -> PairBatch:
    if not isinstance(batch, PairBatch):
        raise TypeError(f"a preference objective was given a {type(batch).__name__}, expected a PairBatch")
    return batch


# --- in a run ---------------------------------------------------------------------------------------------------------

FROM_SCRATCH = DPO(beta=5.0, per_token=True, nll_weight=1.0)
FROM_BASE = DPO(beta=0.1, nll_weight=0.2)


def dpo_training(
    corpus: Corpus,
    tokenizer: Any,
    plan: BatchPlan,
    model: Any,
    *,
    base: Path | None,
    prompt_weight: float,
    precision: str,
) -> tuple[PairBatches, DPO]:
    """(the training split as pairs, the objective) of a model at its start weights.

    From a base, the reference is that base, read once a run: its values are shared by all trials that start from it
    (a fresh adapter changes nothing). From scratch it is `uniform_logs`.
    """
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    key = (id(tokenizer), plan.context, prompt_weight)
    if ("pairs", *key) not in corpus.shared:
        pairs = preference_pairs(
            corpus.spec, corpus.dataset.train, tokenizer, context=plan.context, prompt_weight=prompt_weight
        )
        corpus.shared["pairs", *key] = pairs
    pairs = corpus.shared["pairs", *key]
    if base is None:
        return PairBatches(pairs, uniform_logs(pairs, len(tokenizer)), plan, pad_id), FROM_SCRATCH
    if ("reference", base, precision, *key) not in corpus.shared:
        logs_N2 = reference_logs(model, pairs, pad_id=pad_id, precision=precision)
        corpus.shared["reference", base, precision, *key] = logs_N2
    return PairBatches(pairs, corpus.shared["reference", base, precision, *key], plan, pad_id), FROM_BASE

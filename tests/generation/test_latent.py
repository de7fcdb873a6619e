"""How a latent-variable GPT writes and is scored, against its components run one by one without a cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autogpt.data.batching import Encoded
from autogpt.errors import ModelError
from autogpt.generation.latent import nats, row_arguments, write_mixture
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.latent import LatentGPT, LatentGPTConfig

END = 1


def _model(**fields: Any) -> LatentGPT:
    shape = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LatentGPT(LatentGPTConfig(**{**shape, "intermediate_size": 48, "latents": 3, "latent_rank": 2, **fields}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
    return model.eval()


def _prompts(lengths: list[int]) -> tuple[list[list[int]], Tensor, Tensor]:
    """Prompts, and the same padded on the left with their mask."""
    rng, longest = np.random.default_rng(0), max(lengths)
    rows = [rng.integers(2, 40, length).tolist() for length in lengths]
    ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids[place, longest - len(row) :], mask[place, longest - len(row) :] = torch.tensor(row), True
    return rows, ids, mask


def _naive(model: LatentGPT, prompt: list[int], most: int) -> list[int]:
    """Greedy tokens of the mixture: at each step every component reads everything anew."""
    components, written = [model.component(z) for z in range(3)], list[int]()
    weights = model.log_posterior(torch.tensor([prompt]))[0].exp()
    while len(written) < most:
        ids = torch.tensor([prompt + written])
        each = torch.stack([torch.softmax(one(ids).logits[0, -1], -1) for one in components]).detach()
        token = int((weights[:, None] * each).sum(0).argmax())
        if token == END:
            break
        written.append(token)
        weights = weights * each[:, token]
        weights = weights / weights.sum()
    return written


@pytest.mark.parametrize("fields", [{}, {"models_prompt": True}, {"latent_layers": 3, "late_key_heads": 1}])
def test_the_mixture_writes_what_components_weighed_anew_would(fields: dict[str, Any]) -> None:
    model = _model(**fields)
    with torch.no_grad():  # rows that end at different steps leave the batch
        model.lm_head.weight[END] += 0.15
    prompts, ids, mask = _prompts([5, 9, 3, 7])
    found = write_mixture(model, ids, mask, lambda logs: logs.argmax(-1), max_new_tokens=12, eos_id=END)
    assert found == [_naive(model, prompt, 12) for prompt in prompts]


def test_a_drawn_token_of_the_mixture_has_its_exact_probability() -> None:
    model = _model()
    _, ids, mask = _prompts([4])
    seen: list[Tensor] = []

    def first(logs_BV: Tensor) -> Tensor:
        seen.append(logs_BV)
        return torch.full((len(logs_BV),), 5 + len(seen))

    written = write_mixture(model, ids, mask, first, max_new_tokens=3, eos_id=END)
    assert written == [[6, 7, 8]]
    total = sum(float(logs[0, 5 + step]) for step, logs in enumerate(seen, 1))
    whole = torch.cat((ids, torch.tensor(written)), 1)
    weights = torch.tensor([[0.0] * 4 + [1.0] * 3])
    prior, logs = model.joint(whole, torch.tensor([[1] * 4 + [0] * 3]), weights)
    assert total == pytest.approx(float(torch.logsumexp(prior + logs, -1).detach()), abs=1e-4)
    for step in seen:
        assert float(step.exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_rows_are_drawn_from_what_their_prompt_says_whoever_stands_beside_them() -> None:
    model = _model(models_prompt=True)
    prompts, _, _ = _prompts([5, 9])
    seeds = list(range(400))
    drawn = [row_arguments(model, [prompt] * 400, seeds, pad_id=0)["latent"] for prompt in prompts]
    for prompt, latents in zip(prompts, drawn, strict=True):
        shares = torch.bincount(latents, minlength=3) / 400
        torch.testing.assert_close(shares, model.log_posterior(torch.tensor([prompt]))[0].exp(), atol=0.08, rtol=0)
    mixed = row_arguments(model, prompts * 20, [seed for seed in range(20) for _ in prompts], pad_id=0)["latent"]
    assert torch.equal(mixed.view(20, 2), torch.stack([latents[:20] for latents in drawn], 1))


def test_a_latent_may_be_named_and_other_models_have_none() -> None:
    model = _model()
    prompts, ids, _ = _prompts([3, 4])
    assert row_arguments(model, prompts, [0, 0], pad_id=0, latent=2)["latent"].tolist() == [2, 2]
    with pytest.raises(ModelError, match="no such component"):
        model(ids, **row_arguments(model, prompts, [0, 0], pad_id=0, latent=3))
    plain = GPT(GPTConfig(vocab_size=40, hidden_size=32, num_hidden_layers=1))
    assert row_arguments(plain, prompts, [0, 0], pad_id=0) == {}


# --- scores ----------------------------------------------------------------------------------------------------------


def _row(length: int, first_answer: int, seed: int) -> Encoded:
    ids = np.random.default_rng(seed).integers(2, 40, length).astype(np.int32)
    answers = np.arange(length) >= first_answer
    return Encoded(ids, answers.astype(np.float32), "r", 0, answers)


def _naive_nats(model: LatentGPT, row: Encoded, context: int) -> float:
    """Each component scores each token once, with what stands at least half a context before it."""
    ids, logs = row.ids.tolist(), np.zeros(3)
    for z in range(3):
        component = model.component(z)
        scored, first = 1, 0
        while scored < len(ids):
            part = torch.tensor([ids[first : first + context]])
            every = torch.log_softmax(component(part).logits[0].detach(), -1)
            for t in range(scored, min(first + context, len(ids))):
                if row.answers[t]:
                    logs[z] += float(every[t - first - 1, ids[t]])
            scored = first + context
            first = scored - context // 2
    prompt = ids[: min(context, max(1, int(row.answers.argmax())))]
    return -float(np.logaddexp.reduce(model.log_posterior(torch.tensor([prompt]))[0].numpy() + logs))


def test_scores_are_the_exact_marginal_also_of_documents_longer_than_the_context() -> None:
    model = _model()
    rows = [_row(40, 1, 0), _row(9, 4, 1), _row(16, 5, 2), _row(17, 1, 3), _row(33, 20, 4), _row(70, 2, 5)]
    found = nats(model, rows, context=16, pad_id=0)
    assert found == pytest.approx([_naive_nats(model, row, 16) for row in rows], abs=2e-3)
    assert found == pytest.approx([nats(model, [row], context=16, pad_id=0)[0] for row in rows], abs=1e-3)


def test_later_windows_know_what_earlier_ones_say_of_the_latent() -> None:
    """One z explains all windows: the nats are between those of the best component and these with its prior added."""
    model = _model()
    row = _row(64, 1, 8)
    one = nats(model, [row], context=16, pad_id=0)[0]
    each_z = [_of_component(model, row, z) for z in range(3)]
    rarest = float(model.log_posterior(torch.tensor([[int(row.ids[0])]])).min())
    assert min(each_z) <= one <= min(each_z) - rarest


def _of_component(model: LatentGPT, row: Encoded, latent: int) -> float:
    alone = _model()
    alone.load_state_dict(model.state_dict())
    with torch.no_grad():
        alone.model.prior.weight.zero_()
        alone.model.prior.bias.copy_(torch.where(torch.arange(3) == latent, 0.0, -1e4))
    return nats(alone, [row], context=16, pad_id=0)[0]

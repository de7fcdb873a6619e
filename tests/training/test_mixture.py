"""The mixture's objective: exact by enumeration, its gradient by finite differences, its shares by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autogpt.data.batching import Batch, BatchPlan, Encoded
from autogpt.models.latent import LatentGPT, LatentGPTConfig
from autogpt.training.loop import TrainSettings, start, train
from autogpt.training.mixture import Mixture, log_marginal, responsibilities
from autogpt.training.mixture_batches import LatentBatch, LatentBatches

SETTLED: Callable[[], float] = lambda: 1.0  # noqa: E731


def _model(seed: int = 0, **fields: Any) -> LatentGPT:
    shape = {"vocab_size": 7, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 24, "max_position_embeddings": 32}
    torch.manual_seed(seed)
    model = LatentGPT(LatentGPTConfig(**{**shape, "latents": 3, "latent_rank": 2, "latent_scale": 1.0, **fields}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


def _batch(ids: Tensor, prompt: int, *, prompt_weight: float = 0.0, clusters: list[int] | None = None) -> LatentBatch:
    """Rows of which the first `prompt` tokens are x and the rest y."""
    answers = torch.zeros(ids.shape, dtype=torch.bool)
    answers[:, prompt:] = True
    weights = torch.where(answers, 1.0, prompt_weight)
    weights[:, 0] = 0.0
    cluster = torch.tensor(clusters or [-1] * len(ids))
    return LatentBatch(ids, ids, weights, torch.ones_like(ids), ids.numel(), int(answers.sum()), answers, cluster)


def _ids(rows: int = 4, length: int = 6, seed: int = 1) -> Tensor:
    return torch.randint(0, 7, (rows, length), generator=torch.Generator().manual_seed(seed))


# --- the marginal ----------------------------------------------------------------------------------------------------


def test_all_answers_together_have_probability_one_and_each_is_that_of_the_components() -> None:
    model = _model().double().eval()
    answers = torch.tensor(list(itertools.product(range(7), repeat=3)))
    ids = torch.cat((torch.tensor([[3, 5]]).expand(len(answers), -1), answers), 1)
    batch = _batch(ids, 2)
    found = log_marginal(model, batch).detach().exp()
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-9)
    prior = model.log_posterior(ids[:1, :2])[0].exp()
    total = torch.zeros(len(answers), dtype=torch.float64)
    for z in range(3):
        every = torch.softmax(model.component(z)(ids).logits[:, 1:-1].detach(), -1)
        total += prior[z] * every.gather(-1, answers[..., None])[..., 0].prod(-1)
    torch.testing.assert_close(found, total, atol=1e-12, rtol=1e-8)


def test_of_a_plain_batch_every_weighted_token_counts() -> None:
    model, ids = _model().eval(), _ids()
    latent = _batch(ids, 2)
    plain = Batch(ids, ids, latent.weights_BT, latent.attention_mask_BT, 24, 16)
    torch.testing.assert_close(log_marginal(model, plain), log_marginal(model, latent))


# --- the gradient ----------------------------------------------------------------------------------------------------


def _numerically(loss: Callable[[], float], parameter: Tensor, places: list[int], step: float = 1e-6) -> list[float]:
    slopes, flat = [], parameter.detach().view(-1)
    for place in places:
        kept = float(flat[place])
        flat[place] = kept + step
        above = loss()
        flat[place] = kept - step
        slopes.append((above - loss()) / (2 * step))
        flat[place] = kept
    return slopes


@pytest.mark.parametrize("prompt", [1, 3])
def test_the_soft_gradient_is_that_of_the_exact_marginal(prompt: int) -> None:
    model, batch = _model(models_prompt=prompt == 1).double().eval(), _batch(_ids(), prompt)
    loss = Mixture(SETTLED, "soft")(model, batch)
    assert float(loss.detach()) == pytest.approx(-float(log_marginal(model, batch).detach().sum()), rel=1e-12)
    loss.backward()
    trunk = {name for name, _ in model.named_parameters() if "layers.0" in name or "embed" in name}
    for name, parameter in model.named_parameters():
        if name in trunk:  # a change of the trunk moves the prior too, of which the gradient knows nothing
            continue
        assert parameter.grad is not None, name
        places = list(range(0, parameter.numel(), max(1, parameter.numel() // 3)))
        with torch.no_grad():
            found = _numerically(lambda: -float(log_marginal(model, batch).sum()), parameter, places)
        torch.testing.assert_close(parameter.grad.view(-1)[places].tolist(), found, atol=1e-6, rtol=1e-4)


def test_the_gradient_of_the_trunk_is_that_of_the_likelihoods_with_the_prior_held() -> None:
    model, batch = _model().double().eval(), _batch(_ids(), 3)
    Mixture(SETTLED, "soft")(model, batch).backward()
    with torch.no_grad():
        prior = model.joint(batch.ids_BT, ~batch.answers_BT, batch.weights_BT)[0]

    def loss() -> float:
        with torch.no_grad():
            logs = model.joint(batch.ids_BT, ~batch.answers_BT, batch.weights_BT)[1]
            return -float(torch.logsumexp(prior + logs, -1).sum())

    for parameter in (model.model.embed_tokens.weight, model.model.layers[0].mlp.up_proj.weight):
        places = list(range(0, parameter.numel(), parameter.numel() // 5))
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad.view(-1)[places].tolist(), _numerically(loss, parameter, places), atol=1e-6, rtol=1e-4
        )


def test_the_hard_gradient_is_that_of_the_winner_and_a_little_of_the_others() -> None:
    model, batch = _model().double().eval(), _batch(_ids(), 2)
    with torch.no_grad():
        prior, logs = model.joint(batch.ids_BT, ~batch.answers_BT, batch.weights_BT)
        r = responsibilities(logs, prior)
        q = torch.zeros_like(r)
        for row, winner in enumerate(r.argmax(-1).tolist()):
            others = [z for z in range(3) if z != winner]
            q[row, winner] = 0.95
            q[row, others] = 0.05 * r[row, others] / r[row, others].sum()
    Mixture(SETTLED, kind="hard")(model, batch).backward()
    found = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    prior, logs = model.joint(batch.ids_BT, ~batch.answers_BT, batch.weights_BT)
    (-(q * logs).sum() - (r * prior).sum()).backward()
    for a, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(a, parameter.grad, atol=1e-4, rtol=1e-3)


def test_the_gradient_of_drawn_components_is_the_soft_one_on_average() -> None:
    model, batch = _model().double().eval(), _batch(_ids(), 2, prompt_weight=0.1)
    weight = model.model.layers[1].mlp.up_proj.outer

    def gradient(kind: Any) -> Tensor:
        model.zero_grad()
        loss = Mixture(SETTLED, kind)(model, batch)
        assert float(loss.detach()) == pytest.approx(exact, rel=1e-9)
        loss.backward()
        assert weight.grad is not None
        return weight.grad.clone()

    exact = float(Mixture(SETTLED, "soft")(model, batch).detach())
    torch.manual_seed(0)
    drawn = torch.stack([gradient("sampled") for _ in range(300)])
    error = drawn.std(0) / 300**0.5
    assert bool(((drawn.mean(0) - gradient("soft")).abs() <= 5 * error + 1e-9).all())
    assert bool((error > 0).any())


def test_the_balance_pulls_towards_equal_use() -> None:
    """The part that the balance adds is the slope of the divergence, by finite differences."""
    logs = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    prior = torch.log_softmax(torch.zeros(5, 3, dtype=torch.float64), -1)
    with_it, without = (
        Mixture(SETTLED, "soft", balance=weight).shares(logs, prior, None, 0.2)[1] for weight in (1.0, 0.0)
    )

    def divergence() -> float:
        mean = torch.softmax((logs + prior) / 2.5, -1).mean(0)
        return float((mean * (mean * 3).log()).sum())

    slope = torch.tensor(_numerically(divergence, logs, list(range(15)))).view(5, 3)
    torch.testing.assert_close((without - with_it) / (0.5 * 5), slope.double(), atol=1e-7, rtol=1e-4)


# --- shares ----------------------------------------------------------------------------------------------------------


def test_shares_begin_with_the_clusters_and_cool_down() -> None:
    mixture, prior = Mixture(SETTLED, "soft", balance=0.0), torch.log_softmax(torch.zeros(2, 3), -1)
    logs, clusters = torch.tensor([[-3.0, -1.0, -2.0], [0.0, -9.0, -9.0]]), torch.tensor([2, 1])
    first, taught = mixture.shares(logs, prior, clusters, 0.19)
    assert first.tolist() == [[0, 0, 1], [0, 1, 0]]
    torch.testing.assert_close(taught, torch.tensor([[0.025, 0.025, 0.95], [0.025, 0.95, 0.025]]))
    torch.testing.assert_close(mixture.shares(logs, prior, clusters, 0.2)[0], torch.softmax(logs / 2.5, -1))
    for share in (0.4, 1.0):
        torch.testing.assert_close(mixture.shares(logs, prior, clusters, share)[0], torch.softmax(logs, -1))
    torch.testing.assert_close(mixture.shares(logs, prior, torch.tensor([-1, -1]), 0.0)[0], torch.softmax(logs / 4, -1))


def test_dropout_changes_neither_the_value_nor_the_responsibilities() -> None:
    dropping, batch = _model(dropout=0.4), _batch(_ids(), 2)
    plain = _model()
    plain.load_state_dict(dropping.state_dict())
    seen: list[Tensor] = []

    class Watched(Mixture):
        def shares(self, *args: Any) -> tuple[Tensor, Tensor]:
            found = Mixture.shares(self, *args)
            seen.append(found[0])
            return found

    losses = [Watched(SETTLED, "soft")(model.train(), batch) for model in (dropping, plain)]
    assert torch.equal(seen[0], seen[1])
    torch.testing.assert_close(losses[0], losses[1])
    assert dropping.training
    for loss, model in zip(losses, (dropping, plain), strict=True):
        loss.backward()
        assert model.lm_head.weight.grad is not None
    assert dropping.lm_head.weight.grad is not None
    assert not torch.allclose(dropping.lm_head.weight.grad, plain.lm_head.weight.grad, atol=1e-3)


def test_weighted_prompt_tokens_add_their_loss_under_the_responsible_components() -> None:
    model, ids = _model().eval(), _ids()
    bare, weighted = _batch(ids, 3), _batch(ids, 3, prompt_weight=0.1)
    prior, logs = model.joint(ids, ~bare.answers_BT, bare.weights_BT)
    of_prompt = model.joint(ids, ~bare.answers_BT, (~bare.answers_BT).float())[1]
    expected = Mixture(SETTLED, "soft")(model, bare) - 0.1 * (responsibilities(logs, prior) * of_prompt).sum()
    torch.testing.assert_close(Mixture(SETTLED, "soft")(model, weighted), expected, atol=1e-4, rtol=1e-5)


def test_a_batch_in_two_parts_has_the_same_loss_and_gradient() -> None:
    model, batch = _model().eval(), _batch(_ids(), 2, prompt_weight=0.2)
    whole = Mixture(SETTLED, "soft")(model, batch)
    whole.backward()
    gradient = model.model.layers[0].mlp.up_proj.weight.grad
    assert gradient is not None
    gradient = gradient.clone()
    model.zero_grad()
    parts = [Mixture(SETTLED, "soft")(model, batch.rows(*part)) for part in ((0, 1), (1, 4))]
    sum(parts, torch.zeros(())).backward()
    torch.testing.assert_close(whole, sum(parts, torch.zeros(())))
    torch.testing.assert_close(model.model.layers[0].mlp.up_proj.weight.grad, gradient, atol=1e-5, rtol=1e-4)


def test_only_a_latent_model_can_learn_a_mixture() -> None:
    with pytest.raises(TypeError, match="given a Linear, expected a LatentGPT"):
        Mixture(SETTLED, "soft")(torch.nn.Linear(2, 2), _batch(_ids(), 2))


# --- in the loop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["soft", "sampled", "hard"])
def test_two_ways_to_count_are_learnt(kind: Any) -> None:
    """Rows count up or down: after one token the next is a coin's throw, unless z says it, and all later ones are sure.

    To know the direction from the tokens is as likely as to know it from z, so only `hard` must tell them apart here.
    """
    rng, rows = np.random.default_rng(0), []
    for number in range(128):
        step = 1 if number % 2 else -1
        ids = ((rng.integers(7) + step * np.arange(9)) % 7).astype(np.int32)
        answers = np.arange(9) > 0
        rows.append(Encoded(ids, answers.astype(np.float32), str(number), 0, answers))
    steps, plan = 150, BatchPlan(tokens_per_step=512, context=16, packed=False, seed=0)
    batches, settings = LatentBatches(rows, plan, 0, components=2), TrainSettings(3e-3, weight_decay=0.0)
    torch.manual_seed(0)
    shape = {"vocab_size": 7, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LatentGPT(LatentGPTConfig(**shape, intermediate_size=64, latents=2))
    state = start(model, settings)
    state.schedule = replace(state.schedule, cooldown_start=100, cooldown_steps=50)
    objective = Mixture(lambda: state.step / steps, kind=kind)
    events = list(train(state, batches, settings, until=steps, objective=objective))
    assert events[-1].data["loss"] < 1.15 * np.log(2) / 8
    if kind != "hard":
        return
    ids = torch.tensor([[2, 3, 4, 5, 6], [2, 1, 0, 6, 5]])
    prior, logs = model.eval().joint(ids, torch.tensor([[1, 0, 0, 0, 0]] * 2), torch.ones(ids.shape))
    assert set((prior + logs).argmax(-1).tolist()) == {0, 1}
    assert logs.max(-1).values.min() > -0.2  # given z, nothing is left to chance

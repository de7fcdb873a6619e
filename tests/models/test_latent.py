"""The latent-variable GPT against its components as plain GPTs, and against itself with and without a cache."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast

from autogpt.errors import ModelError
from autogpt.models.gpt import GPT
from autogpt.models.hub import load_model, save_model
from autogpt.models.latent import LatentGPT, LatentGPTConfig, LatentGPTModel

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "half of the layers": {"latent_layers": 2},
    "all layers": {"num_hidden_layers": 2, "latent_layers": 2},
    "untied, query norms": {"mlp": "relu2", "qk_norm": True, "tie_word_embeddings": False},
    "late keys": {"late_key_heads": 1, "position": "learned"},
    "value embeddings": {"value_embeddings": True, "residual_scalars": True},
    "gpt-2": {"position": "learned", "mlp": "gelu", "norm": "layer", "bias": True},
}


def latent_gpt(seed: int = 0, **fields: Any) -> LatentGPT:
    """A small one with every weight drawn at random."""
    shape = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    torch.manual_seed(seed)
    model = LatentGPT(LatentGPTConfig(**{**shape, "latents": 3, "latent_rank": 2, "latent_scale": 1.0, **fields}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
            elif "prior" not in name:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def random_ids(rows: int = 2, length: int = 11, seed: int = 1) -> Tensor:
    return torch.randint(0, 320, (rows, length), generator=torch.Generator().manual_seed(seed))


# --- components ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
def test_a_component_is_a_plain_gpt_with_the_same_logits(fields: dict[str, Any]) -> None:
    model, ids = latent_gpt(**fields), random_ids()
    together = model(ids, latent=model.every(2)).logits.view(2, 3, *ids.shape[1:], -1)
    plain = [model.component(z) for z in range(3)]
    assert not torch.allclose(together[:, 0], together[:, 1], atol=1e-2)
    for z, gpt in enumerate(plain):
        assert type(gpt) is GPT
        torch.testing.assert_close(together[:, z], gpt(ids).logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model(ids, latent=torch.full((2,), z)).logits, gpt(ids).logits, atol=1e-5, rtol=1e-4)


def test_a_component_loads_as_a_llama(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model, ids = latent_gpt(vocab_size=len(tokenizer)), random_ids() % len(tokenizer)
    save_model(model.component(1), tokenizer, tmp_path / "one")
    llama = LlamaForCausalLM.from_pretrained(tmp_path / "one")
    expected = model(ids, latent=torch.tensor([1, 1])).logits
    torch.testing.assert_close(llama(ids).logits, expected, atol=1e-5, rtol=1e-4)


def test_one_latent_that_nothing_has_taught_is_the_gpt_itself(make: Callable[..., GPT]) -> None:
    gpt, ids = make(num_hidden_layers=3), random_ids()
    model = LatentGPT(LatentGPTConfig(**{**gpt.config.to_dict(), "latents": 1})).eval()
    missing = model.load_state_dict(gpt.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert torch.equal(model(ids, latent=torch.zeros(2, dtype=torch.long)).logits, gpt(ids).logits)
    assert torch.equal(model.component(0)(ids).logits, gpt(ids).logits)


def test_components_of_a_fresh_model_are_equal_and_the_prior_is_uniform() -> None:
    torch.manual_seed(0)
    model, ids = LatentGPT(LatentGPTConfig(vocab_size=320, hidden_size=32, num_hidden_layers=4)).eval(), random_ids()
    logits = model(ids, latent=model.every(2)).logits.view(2, 4, 11, -1)
    assert torch.equal(logits[:, 0], logits[:, 3])
    torch.testing.assert_close(model.log_posterior(ids).exp(), torch.full((2, 4), 0.25))


def test_components_share_all_but_a_few_weights() -> None:
    model = LatentGPT(LatentGPTConfig(vocab_size=1024, hidden_size=128, num_hidden_layers=4, latents=8))
    plain = sum(p.numel() for p in model.component(0).parameters())
    assert sum(p.numel() for p in model.parameters()) < 1.25 * plain


# --- rows and caches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("every", [True, False])
def test_a_cache_changes_nothing(fields: dict[str, Any], every: bool) -> None:
    model, ids = latent_gpt(**fields), random_ids()
    latent = model.every(2) if every else torch.tensor([2, 0])
    whole = model(ids, latent=latent).logits
    out = model(ids[:, :4], latent=latent, use_cache=True)
    parts = [out.logits]
    for t in range(4, ids.shape[1]):
        out = model(ids[:, t : t + 1], latent=latent, past_key_values=out.past_key_values, use_cache=True)
        parts.append(out.logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)


def test_the_latent_of_another_row_changes_nothing() -> None:
    model, ids = latent_gpt(), random_ids(3)
    first = model(ids, latent=torch.tensor([0, 1, 2])).logits
    second = model(ids, latent=torch.tensor([0, 2, 1])).logits
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1], atol=1e-2)


@pytest.mark.parametrize("fields", [{}, {"late_key_heads": 1}], ids=["llama", "late keys"])
def test_padding_on_the_left_changes_nothing(fields: dict[str, Any]) -> None:
    model, ids, mask = latent_gpt(**fields), random_ids(), torch.ones(2, 11, dtype=torch.long)
    mask[0, :5] = 0
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    padded = model(ids, attention_mask=mask, position_ids=positions, latent=model.every(2)).logits
    alone = model(ids[:1, 5:], latent=model.every(1)).logits
    torch.testing.assert_close(padded[:3, 5:], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(padded[3:], model(ids[1:], latent=model.every(1)).logits, atol=1e-5, rtol=1e-4)
    prompt = model.log_posterior(ids, mask, positions)
    torch.testing.assert_close(prompt[:1], model.log_posterior(ids[:1, 5:]), atol=1e-5, rtol=1e-4)


def test_recomputed_activations_give_the_same_gradient() -> None:
    model, ids = latent_gpt(dropout=0.0), random_ids()
    other = copy.deepcopy(model)
    other.activation_checkpointing_enable()
    for one in (model, other):
        one.train()
        one(ids, latent=one.every(2)).logits.square().mean().backward()
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        if "prior" not in name:
            assert a.grad is not None
            assert b.grad is not None, name
            torch.testing.assert_close(a.grad, b.grad)


# --- a latent that is drawn ------------------------------------------------------------------------------------------


def _greedy(model: GPT, ids: Tensor, **options: Any) -> Tensor:
    found: Any = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=0, **options
    )
    return found


def test_a_given_latent_writes_what_its_component_writes() -> None:
    model, ids = latent_gpt(), random_ids()
    for z in range(3):
        expected = _greedy(model.component(z), ids)
        assert torch.equal(_greedy(model, ids, latent=torch.tensor([z, z])), expected)


def test_a_row_is_written_with_one_drawn_latent_from_end_to_end() -> None:
    model, ids = latent_gpt(), random_ids(1).repeat(24, 1)
    of_components = [tuple(_greedy(model.component(z), ids[:1])[0].tolist()) for z in range(3)]
    assert len(set(of_components)) == 3
    torch.manual_seed(3)
    written = [tuple(row) for row in _greedy(model, ids).tolist()]
    assert set(written) <= set(of_components)
    shares = torch.tensor([written.count(text) / 24 for text in of_components])
    torch.testing.assert_close(shares, model.log_posterior(ids[:1])[0].exp(), atol=0.25, rtol=0)
    torch.manual_seed(3)
    assert [tuple(row) for row in _greedy(model, ids).tolist()] == written


def test_each_of_several_answers_to_a_prompt_has_a_latent_of_its_own() -> None:
    model, ids = latent_gpt(), random_ids(1)
    of_components = {tuple(_greedy(model.component(z), ids)[0].tolist()) for z in range(3)}
    torch.manual_seed(0)
    several = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=True, top_k=1, num_return_sequences=16
    )
    assert len({tuple(row) for row in several.tolist()} & of_components) > 1


def test_whatever_selects_rows_of_the_cache_selects_their_latents() -> None:
    model, ids = latent_gpt(), random_ids(6)
    torch.manual_seed(1)
    out = model(ids, use_cache=True)
    z = out.past_key_values.layers[-1].keys[:, 0, 0, 0]
    assert len(set(z.tolist())) > 1
    torch.testing.assert_close(out.logits, model(ids, latent=z).logits, atol=1e-5, rtol=1e-4)
    order = torch.tensor([4, 0, 5, 1])
    out.past_key_values.batch_select_indices(order)
    token = random_ids(4, 1, seed=9)
    following = model(token, past_key_values=out.past_key_values, use_cache=True).logits
    expected = model(torch.cat((ids[order], token), 1), latent=z[order]).logits[:, -1:]
    torch.testing.assert_close(following, expected, atol=1e-5, rtol=1e-4)
    out.past_key_values.reorder_cache(torch.tensor([3, 2, 1, 0]))
    assert torch.equal(out.past_key_values.layers[-1].keys[:, 0, 0, 0], z[order].flip(0))
    out.past_key_values.crop(-1)
    assert torch.equal(out.past_key_values.layers[-1].keys[:, 0, 0, 0], z[order].flip(0))


def test_where_a_prompt_is_text_the_posterior_is_that_of_the_components() -> None:
    model, ids = latent_gpt(models_prompt=True), random_ids()
    prior = model.model.log_prior(model.model.trunk(ids[:, :1]), torch.ones(2, 1))
    logs = []
    for z in range(3):
        every = torch.log_softmax(model.component(z)(ids).logits[:, :-1], -1)
        logs.append(every.gather(-1, ids[:, 1:, None])[..., 0].sum(-1))
    expected = torch.log_softmax(prior + torch.stack(logs, -1), -1)
    torch.testing.assert_close(model.log_posterior(ids), expected, atol=1e-4, rtol=1e-4)


def test_the_prior_sees_the_prompt_alone_and_teaches_the_trunk_nothing() -> None:
    model, ids = latent_gpt(), random_ids()
    other = ids.clone()
    other[:, 4:] = (other[:, 4:] + 7) % 320
    prompt = torch.zeros(2, 11, dtype=torch.bool)
    prompt[:, :4] = True
    weights = (~prompt).float()
    first, second = (model.joint(rows, prompt, weights)[0] for rows in (ids, other))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)
    first.sum().backward()
    taught = {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert taught <= {"model.prior.weight", "model.prior.bias"}


@pytest.mark.parametrize(("latent", "found"), [([3, 0], "3, 0"), ([0, -1], "0, -1")])
def test_a_component_that_is_not_there_is_refused(latent: list[int], found: str) -> None:
    with pytest.raises(ModelError, match=rf"no such component; found latent \[{found}\]; expected .* 0 to 2"):
        latent_gpt()(random_ids(), latent=torch.tensor(latent))
    with pytest.raises(ModelError, match="no such component"):
        latent_gpt().component(3)


def test_what_cannot_be_done_is_said() -> None:
    model, ids = latent_gpt(), random_ids()
    with pytest.raises(ModelError, match="found 3 latents for 2 rows"):
        model(ids, latent=torch.tensor([0, 1, 2]))
    with pytest.raises(ModelError, match="given no latent"):
        model(ids, use_cache=False)
    with pytest.raises(ModelError, match="given no latent"):
        model.train()(ids, labels=ids)
    with pytest.raises(ModelError, match="no hidden states of its own"):
        model.model(ids)
    cache = model.eval()(ids, latent=torch.tensor([0, 1]), use_cache=True).past_key_values
    with pytest.raises(ModelError, match="given no latent"):
        model(ids[:, :1], past_key_values=cache, use_cache=True)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_brings_the_same_model_back(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model, ids = latent_gpt(vocab_size=len(tokenizer), models_prompt=True), random_ids() % len(tokenizer)
    save_model(model, tokenizer, tmp_path / "m")
    loaded, _ = load_model(tmp_path / "m")
    assert type(loaded) is LatentGPT
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    for one in (loaded, again):
        assert torch.equal(one(ids, latent=model.every(2)).logits, model(ids, latent=model.every(2)).logits)
        assert torch.equal(one.log_posterior(ids), model.log_posterior(ids))
    assert type(AutoConfig.from_pretrained(tmp_path / "m")) is LatentGPTConfig
    assert type(AutoModel.from_pretrained(tmp_path / "m")) is LatentGPTModel

"""The GPT against transformers' Llama with the same weights, against naive versions, and against itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from autogpt.errors import ModelError
from autogpt.models.gpt import GPT, sinusoids
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.sight import Sight

Make = Callable[..., GPT]

SHAPES: list[dict[str, Any]] = [
    {},
    {"position": "learned"},
    {"position": "sinusoidal"},
    {"mlp": "relu2", "qk_norm": True, "tie_word_embeddings": False},
    {"late_key_heads": 1},
    {"late_key_heads": 2, "position": "learned"},
    {"value_embeddings": True, "residual_scalars": True, "num_hidden_layers": 3},
    {"position": "learned", "mlp": "gelu", "norm": "layer", "bias": True},
]
IDS = ["llama", "learned", "sinusoidal", "modern", "late keys", "late keys, learned", "value embeddings", "gpt-2"]


def llama_like(model: GPT) -> LlamaForCausalLM:
    c = model.config
    config = LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.hidden_size,
        num_hidden_layers=c.num_hidden_layers,
        num_attention_heads=c.num_attention_heads,
        num_key_value_heads=c.num_key_value_heads,
        intermediate_size=c.intermediate_size,
        tie_word_embeddings=c.tie_word_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
    )
    llama = LlamaForCausalLM(config).eval()
    llama.load_state_dict(model.state_dict())  # same names: strict
    return llama


def random_ids(rows: int = 3, length: int = 17, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 320, (rows, length), generator=torch.Generator().manual_seed(seed))


# --- equal to Llama --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_logits_equal_llama(make: Make, tied: bool, kv_heads: int) -> None:
    model = make(tie_word_embeddings=tied, num_key_value_heads=kv_heads)
    llama, ids = llama_like(model), random_ids()
    torch.testing.assert_close(model(ids).logits, llama(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_equals_llama(make: Make, side: str) -> None:
    model, ids = make(), random_ids()
    llama, mask = llama_like(model), torch.ones_like(ids)
    mask[0, slice(0, 5) if side == "left" else slice(-5, None)] = 0
    real = mask.bool()
    ours, theirs = model(ids, attention_mask=mask).logits, llama(ids, attention_mask=mask).logits
    assert ours.isfinite().all()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-4)


def test_positions_that_restart_keep_packed_rows_apart_as_in_llama(make: Make) -> None:
    model, ids = make(), random_ids(1, 12)
    positions = torch.cat((torch.arange(5), torch.arange(7)))[None]
    options = {"position_ids": positions, "use_cache": False}
    packed = model(ids, **options).logits
    torch.testing.assert_close(packed, llama_like(model)(ids, **options).logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(packed[:, 5:], model(ids[:, 5:]).logits, atol=1e-5, rtol=1e-4)


def test_loss_and_gradients_equal_llama(make: Make) -> None:
    model = make().train()
    llama, ids = llama_like(model).train(), random_ids()
    labels = ids.clone()
    labels[:, :4] = -100
    ours, theirs = model(ids, labels=labels).loss, llama(ids, labels=labels).loss
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    gradients = {name: parameter.grad for name, parameter in llama.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-3)


def test_bf16_training_is_near_float32(make: Make) -> None:
    """Under autocast the explicit attention and the casting norm are used."""
    model, ids = make().train(), random_ids()
    model(ids, labels=ids).loss.backward()
    exact = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(ids, labels=ids).loss
    loss.backward()
    rounded = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert rounded.dtype == torch.float32
    assert F.cosine_similarity(exact, rounded, dim=0) > 0.995
    assert rounded.norm() / exact.norm() == pytest.approx(1, abs=0.03)


def test_logits_equal_gpt2_with_the_same_weights(make: Make) -> None:
    model = make(position="learned", mlp="gelu", norm="layer", bias=True, num_key_value_heads=4, rms_norm_eps=1e-5)
    c = model.config
    shape = {"n_embd": c.hidden_size, "n_layer": c.num_hidden_layers, "n_head": c.num_attention_heads}
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=c.vocab_size, n_positions=64, n_inner=c.intermediate_size, **shape)
    ).eval()
    ours = model.state_dict()
    theirs = {
        "transformer.wte.weight": ours["model.embed_tokens.weight"],
        "transformer.wpe.weight": ours["model.embed_positions.weight"],
        "lm_head.weight": ours["lm_head.weight"],
    }
    places = {"attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}
    for part in ("weight", "bias"):
        theirs[f"transformer.ln_f.{part}"] = ours[f"model.norm.{part}"]
        for layer in range(c.num_hidden_layers):
            mine, other = f"model.layers.{layer}.", f"transformer.h.{layer}."
            joined = torch.cat([ours[f"{mine}self_attn.{name}_proj.{part}"] for name in "qkv"])
            theirs[f"{other}attn.c_attn.{part}"] = joined.t()  # GPT-2 keeps its matrices transposed
            for name, own in places.items():
                theirs[f"{other}{name}.{part}"] = ours[f"{mine}{own}.{part}"].t()
            theirs[f"{other}ln_1.{part}"] = ours[f"{mine}input_layernorm.{part}"]
            theirs[f"{other}ln_2.{part}"] = ours[f"{mine}post_attention_layernorm.{part}"]
    gpt2.load_state_dict(theirs)
    ids = random_ids()
    torch.testing.assert_close(model(ids).logits, gpt2(ids).logits, atol=1e-5, rtol=1e-4)


def test_shape_is_llamas() -> None:
    assert GPTConfig().is_llama_shaped
    assert GPTConfig(dropout=0.1).is_llama_shaped
    for fields in SHAPES[1:]:
        assert not GPTConfig(**fields).is_llama_shaped


# --- true to itself, whatever the features ---------------------------------------------------------------------------


@pytest.mark.parametrize("fields", SHAPES, ids=IDS)
def test_the_future_changes_nothing(make: Make, fields: dict[str, Any]) -> None:
    model, ids = make(**fields), random_ids()
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 320
    before, after = model(ids).logits, model(changed).logits
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


@pytest.mark.parametrize("fields", SHAPES, ids=IDS)
def test_order_matters(make: Make, fields: dict[str, Any]) -> None:
    model, ids = make(**fields), random_ids(1, 6)
    swapped = ids[:, [1, 0, 2, 3, 4, 5]]
    assert not torch.allclose(model(ids).logits[:, -1], model(swapped).logits[:, -1], atol=1e-3)


@pytest.mark.parametrize("fields", SHAPES, ids=IDS)
def test_generate_with_cache_equals_the_naive_loop(make: Make, fields: dict[str, Any]) -> None:
    model, ids = make(**fields), random_ids(2, 5)
    naive = ids
    with torch.no_grad():
        for _ in range(12):
            naive = torch.cat((naive, model(naive, use_cache=False).logits[:, -1:].argmax(-1)), dim=1)
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(ids)
    assert torch.equal(model.generate(ids, attention_mask=mask, **options), naive)
    assert torch.equal(model.generate(ids, attention_mask=mask, use_cache=False, **options), naive)
    static = {"cache_implementation": "static", "disable_compile": True}
    assert torch.equal(model.generate(ids, attention_mask=mask, **static, **options), naive)


@pytest.mark.parametrize("fields", SHAPES, ids=IDS)
def test_left_padding_does_not_change_what_is_generated(make: Make, fields: dict[str, Any]) -> None:
    model, ids = make(**fields), random_ids(1, 6)
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    alone = model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, 6:]
    padded = torch.stack((torch.cat((torch.zeros(4, dtype=torch.long), ids[0])), random_ids(1, 10, seed=2)[0]))
    mask = torch.ones_like(padded)
    mask[0, :4] = 0
    assert torch.equal(model.generate(padded, attention_mask=mask, **options)[0, 10:], alone)


@pytest.mark.parametrize("fields", SHAPES, ids=IDS)
def test_packed_and_padded_rows_equal_each_row_alone(make: Make, fields: dict[str, Any]) -> None:
    model, ids = make(**fields), random_ids(1, 12)
    positions = torch.cat((torch.arange(5), torch.arange(7)))[None]
    packed = model(ids, position_ids=positions, use_cache=False).logits
    alone = torch.cat((model(ids[:, :5]).logits, model(ids[:, 5:]).logits), dim=1)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-4)
    mask = (torch.arange(12) >= 5).long()[None]
    padded = model(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp_min(0)).logits
    torch.testing.assert_close(padded[:, 5:], alone[:, 5:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_late_keys_equal_attention_written_out(make: Make, kv_heads: int) -> None:
    """Head by head and token by token: late heads find value j by the key of token j - 1."""
    model = make(late_key_heads=kv_heads // 2, num_key_value_heads=kv_heads, position="learned")
    attention, x_TD = model.model.layers[0].self_attn, torch.randn(7, 32, generator=torch.Generator().manual_seed(3))
    q = attention.q_proj(x_TD).view(7, 4, 8)
    k, v = (projection(x_TD).view(7, kv_heads, 8) for projection in (attention.k_proj, attention.v_proj))
    rows = []
    for t in range(7):
        heads = []
        for h in range(4):
            g = h * kv_heads // 4
            keys = [k[max(j - 1, 0) if g < kv_heads // 2 else j, g] for j in range(t + 1)]
            weights = torch.stack([q[t, h] @ key / 8**0.5 for key in keys]).softmax(0)
            heads.append(sum(weight * v[j, g] for j, weight in enumerate(weights)))
        rows.append(torch.cat(heads))
    found = attention(x_TD[None], Sight(None, None, None))[0]
    torch.testing.assert_close(found, attention.o_proj(torch.stack(rows)), atol=1e-5, rtol=1e-4)


def test_one_layer_with_late_keys_copies_what_followed(make: Make) -> None:
    """A layer whose late heads match a token with itself attends to the token behind its earlier occurrence."""
    attention = make(late_key_heads=2, num_key_value_heads=2, num_attention_heads=2, position="learned").model.layers[0]
    attention = attention.self_attn
    with torch.no_grad():
        for weight in (attention.q_proj.weight, attention.k_proj.weight):
            weight.copy_(20 * torch.eye(32))
        attention.v_proj.weight.copy_(torch.eye(32))
        attention.o_proj.weight.copy_(torch.eye(32))
    vectors = torch.nn.functional.normalize(torch.randn(5, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    x_BTD = vectors[[0, 1, 2, 3, 4, 1]][None]
    assert F.cosine_similarity(attention(x_BTD, Sight(None, None, None))[0, -1], vectors[2], dim=0) > 0.95


def test_beams_and_sampling_run(make: Make) -> None:
    model, ids = make(), random_ids(2, 5)
    mask = torch.ones_like(ids)
    options: dict[str, Any] = {"max_new_tokens": 4, "pad_token_id": 0, "attention_mask": mask}
    assert model.generate(ids, num_beams=3, do_sample=False, **options).shape == (2, 9)
    torch.manual_seed(0)
    assert model.generate(ids, do_sample=True, top_p=0.9, **options).shape == (2, 9)


@pytest.mark.parametrize("fields", SHAPES, ids=IDS)
def test_a_cache_continued_by_several_tokens(make: Make, fields: dict[str, Any]) -> None:
    model, ids = make(**fields), random_ids(2, 11)
    whole = model(ids).logits
    first = model(ids[:, :4], use_cache=True)
    rest = model(ids[:, 4:], past_key_values=first.past_key_values, use_cache=True)
    torch.testing.assert_close(torch.cat((first.logits, rest.logits), 1), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fields", SHAPES, ids=IDS)
@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_a_4d_mask_equals_each_document_by_itself(make: Make, kind: str, fields: dict[str, Any]) -> None:
    model, ids = make(**fields), random_ids(1, 11)
    document = torch.tensor([0] * 4 + [1] * 7)
    allowed = (document[:, None] == document[None]).tril()[None, None]
    mask = allowed if kind == "bool" else torch.where(allowed, 0.0, torch.finfo(torch.float32).min)
    positions = torch.cat((torch.arange(4), torch.arange(7)))[None]
    logits = model(ids, attention_mask=mask, position_ids=positions).logits
    alone = torch.cat((model(ids[:, :4]).logits, model(ids[:, 4:]).logits), dim=1)
    torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-4)


def test_a_4d_float_mask_with_bf16_weights(make: Make) -> None:
    model, ids = make().bfloat16(), random_ids(1, 6)
    mask = torch.full((1, 1, 6, 6), torch.finfo(torch.float32).min).triu(1)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, model(ids).logits, atol=0.1, rtol=0.1)


def test_right_padding_in_training_needs_no_mask(make: Make) -> None:
    model, ids = make().train(), random_ids(2, 10)
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    labels = torch.where(mask.bool(), ids, -100)
    torch.testing.assert_close(model(ids, labels=labels).loss, model(ids, attention_mask=mask, labels=labels).loss)


def test_loss_is_the_mean_over_chosen_next_tokens(make: Make) -> None:
    model, ids = make(), random_ids(2, 8)
    labels = ids.clone()
    labels[0, :5] = -100
    out = model(ids, labels=labels)
    naive = [
        -math.log(out.logits[b, t - 1].softmax(-1)[ids[b, t]].item())
        for b in range(2)
        for t in range(1, 8)
        if labels[b, t] != -100
    ]
    assert out.loss.item() == pytest.approx(sum(naive) / len(naive), rel=1e-5)


def test_logits_to_keep_and_the_way_to_chunked_losses(make: Make) -> None:
    model, ids = make(), random_ids()
    whole = model(ids).logits
    torch.testing.assert_close(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    torch.testing.assert_close(model(ids, logits_to_keep=torch.tensor([0, 3])).logits, whole[:, [0, 3]])
    torch.testing.assert_close(model.lm_head(model.model(ids).last_hidden_state), whole)
    assert model.get_output_embeddings() is model.lm_head


def test_hidden_states_tuples_and_embeddings_as_input(make: Make) -> None:
    model, ids = make(), random_ids()
    out = model(ids, output_hidden_states=True)
    assert len(out.hidden_states) == 3
    torch.testing.assert_close(model.lm_head(out.hidden_states[-1]), out.logits)
    torch.testing.assert_close(model(ids, return_dict=False)[0], out.logits)
    torch.testing.assert_close(model(inputs_embeds=model.model.embed_tokens(ids)).logits, out.logits)


def test_gradient_checkpointing_changes_no_gradient(make: Make) -> None:
    model, ids = make().train(), random_ids()
    model(ids, labels=ids).loss.backward()
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model.activation_checkpointing_enable()
    model(ids, labels=ids).loss.backward()
    for before, parameter in zip(plain, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, before)


def test_dropout_only_in_training(make: Make) -> None:
    model, ids = make(dropout=0.5), random_ids()
    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)


def test_sinusoids_by_hand() -> None:
    table = sinusoids(torch.tensor([[0, 3]]), 4)
    assert table[0, 0].tolist() == [0, 0, 1, 1]
    expected = [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    assert table[0, 1].tolist() == pytest.approx(expected, rel=1e-5)


# --- beginnings and errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_fresh_model_starts_as_the_identity_and_knows_nothing(tied: bool) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=320, hidden_size=64, num_hidden_layers=3, tie_word_embeddings=tied)).eval()
    ids = random_ids()
    out = model(ids, labels=ids, output_hidden_states=True)
    torch.testing.assert_close(out.hidden_states[0], out.hidden_states[2])
    assert model(ids, labels=random_ids(seed=2)).loss.item() == pytest.approx(math.log(320), rel=0.1)
    block = model.model.layers[0]
    assert block.self_attn.q_proj.weight.std().item() == pytest.approx(1 / 8, rel=0.1)
    assert block.mlp.down_proj.weight.abs().max() == 0
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 100, "num_attention_heads": 3}, "not a multiple"),
        ({"num_key_value_heads": 3}, "cannot share"),
        ({"hidden_size": 12}, "even head size"),
        ({"dropout": 1.0}, "dropout"),
        ({"mlp": "relu"}, "mlp"),
        ({"position": "alibi"}, "position"),
    ],
)
def test_shapes_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        GPTConfig(**fields)


def test_arguments_that_nobody_reads_are_refused(make: Make) -> None:
    model, ids = make(), random_ids()
    with pytest.raises(TypeError, match="atention_mask"):
        model(ids, atention_mask=torch.ones_like(ids))
    with pytest.raises(ValueError, match="either"):
        model()


def test_a_sequence_longer_than_learned_positions(make: Callable[..., GPT]) -> None:
    model = make(position="learned", max_position_embeddings=16)
    assert model(torch.zeros(1, 16, dtype=torch.long)).logits.shape[1] == 16
    with pytest.raises(ModelError, match="longer than the model; found 17 tokens; expected at most 16"):
        model(torch.zeros(1, 17, dtype=torch.long))

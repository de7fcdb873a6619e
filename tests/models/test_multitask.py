"""The multi-task GPT against plain GPTs with adapters multiplied out by hand, and rows together against rows alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast

from autogpt.data.batching import Batch
from autogpt.errors import ModelError
from autogpt.generation.gpt_step import GPTStep
from autogpt.models.gpt import GPT
from autogpt.models.hub import load_model, save_model
from autogpt.models.multitask import MultitaskGPT, MultitaskGPTConfig, MultitaskGPTModel
from autogpt.training.objectives import weighted_token_loss

BOS, VOCABULARY = 2, 320
SHARINGS: dict[str, dict[str, Any]] = {
    "shared": {"sharing": "shared"},
    "own": {"sharing": "own"},
    "attention": {"sharing": "attention"},
    "fewer adapters": {"sharing": "attention", "adapters": 2},
    "more adapters": {"sharing": "attention", "adapters": 5},
}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "one head for all keys": {"num_key_value_heads": 1, "position": "sinusoidal"},
    "untied, query norms": {"mlp": "relu2", "qk_norm": True, "tie_word_embeddings": False},
    "late keys": {"late_key_heads": 1, "position": "learned"},
    "value embeddings": {"value_embeddings": True, "residual_scalars": True},
    "gpt-2": {"position": "learned", "mlp": "gelu", "norm": "layer", "bias": True},
}


def multitask_gpt(seed: int = 0, **fields: Any) -> MultitaskGPT:
    """A small one with every weight drawn at random."""
    shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64, "bos_token_id": BOS}
    torch.manual_seed(seed)
    own = {"tasks": 3, "sharing": "own", "adapter_rank": 2, "adapter_scale": 1.0}
    model = MultitaskGPT(MultitaskGPTConfig(**{**shape, **own, **fields}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
            else:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def random_rows(tasks: tuple[int, ...] = (1, 0, 2, 0), length: int = 11, seed: int = 1) -> Tensor:
    """A row of each task, without start tokens."""
    ids = torch.randint(BOS + 1, 300, (len(tasks), length), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = VOCABULARY + torch.tensor(tasks)
    return ids


def with_start(rows: Tensor) -> Tensor:
    return torch.cat((torch.full_like(rows[:, :1], BOS), rows[:, 1:]), 1)


def but_start(logits: Tensor) -> Tensor:
    """The logits of all tokens but the start token, which a plain GPT with a tied head has another one of."""
    return logits[..., torch.arange(logits.shape[-1]) != BOS]


def batch_of(ids: Tensor) -> Batch:
    weights = torch.rand(ids.shape, generator=torch.Generator().manual_seed(5)).round(decimals=1)
    weights[:, 0] = 0
    labels = torch.where(weights > 0, ids, -100)
    return Batch(ids, labels, weights.to(torch.float64), torch.ones_like(ids), ids.numel(), int((weights > 0).sum()))


def by_hand(model: MultitaskGPT, weights_K: Sequence[float]) -> GPT:
    """The plain GPT of a mix of tasks: every sum over tasks and adapters written out."""
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gpt, config = GPT(model.config.plain()), model.config
    for name in [name.removesuffix(".outer") for name in weights if name.endswith(".outer")]:
        inner, outer = weights[f"{name}.inner"], weights[f"{name}.outer"]
        for task, own in enumerate(weights_K):
            share = [1.0 if m == task else 0.0 for m in range(len(outer))]
            if config.sharing == "attention":
                keys = weights["model.adapter_mix.keys"][int(name.split(".")[2])]
                scores = [weights["model.adapter_mix.queries"][task] @ key / len(outer) ** 0.5 for key in keys]
                total = sum(score.exp() for score in scores)
                share = [float(score.exp() / total) for score in scores]
            for m, part in enumerate(share):
                weights[f"{name}.weight"] += own * config.adapter_scale * part * outer[m] @ inner
    gpt.load_state_dict({name: weights[name] for name in gpt.state_dict()})
    embeddings = weights["model.task_embeddings.weight"]
    with torch.no_grad():
        gpt.model.embed_tokens.weight[BOS] = sum(
            own * row for own, row in zip(weights_K, embeddings.unbind(), strict=True)
        )
    return gpt.eval()


# --- one task as a plain GPT -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
def test_a_task_is_a_plain_gpt_with_the_same_logits(fields: dict[str, Any], sharing: dict[str, Any]) -> None:
    model, rows = multitask_gpt(**fields, **sharing), random_rows()
    together = model(rows).logits
    same = {"atol": 1e-5, "rtol": 1e-4}
    for row, task in enumerate((1, 0, 2, 0)):
        one = rows[row : row + 1]
        torch.testing.assert_close(together[row : row + 1], model(one).logits, **same)
        for gpt in (model.plain(task), by_hand(model, [float(task == k) for k in range(3)])):
            assert type(gpt) is GPT
            assert GPTStep.fits(gpt)
            torch.testing.assert_close(
                but_start(gpt(with_start(one)).logits), but_start(together[row : row + 1]), **same
            )
    other = random_rows((2, 0, 2, 0))
    assert torch.equal(other[:, 1:], rows[:, 1:])
    assert not torch.allclose(model(other).logits[0], together[0], atol=1e-2)


def test_an_untied_head_keeps_the_logit_of_the_start_token() -> None:
    model, rows = multitask_gpt(tie_word_embeddings=False), random_rows((2,))
    expected = model(rows).logits
    torch.testing.assert_close(model.plain(2)(with_start(rows)).logits, expected, atol=1e-5, rtol=1e-4)
    tied = multitask_gpt()
    assert not torch.allclose(tied.plain(2)(with_start(rows)).logits[..., BOS], tied(rows).logits[..., BOS], atol=1e-2)


def test_a_plain_gpt_shares_what_does_not_differ_and_follows_what_changes() -> None:
    model, rows = multitask_gpt(sharing="attention"), random_rows((1,))
    state = torch.get_rng_state()
    first = model.train().plain(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not first.training
    assert not any(parameter.is_meta for parameter in [*first.parameters(), *first.buffers()])
    theirs = dict(model.named_parameters())
    apart = {name for name, own in first.named_parameters() if own.data_ptr() != theirs[name].data_ptr()}
    adapted = [f"model.layers.{layer}.{part}.weight" for layer in (0, 1) for part in _ADAPTED]
    assert apart == {"model.embed_tokens.weight", *adapted}
    before = first(with_start(rows)).logits
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    after = model.plain(1)(with_start(rows)).logits
    assert not torch.allclose(before, after, atol=1e-2)
    torch.testing.assert_close(but_start(after), but_start(model.eval()(rows).logits), atol=1e-5, rtol=1e-4)


_ADAPTED = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


def test_a_plain_gpt_writes_what_the_model_finds_likeliest_and_loads_as_a_llama(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model, rows = multitask_gpt(sharing="attention"), random_rows((0, 0), 6)
    plain: Any = model.plain(0)
    start = with_start(rows)
    written = plain.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=5, do_sample=False)
    for _ in range(5):
        rows = torch.cat((rows, model(rows).logits[:, -1:].argmax(-1)), 1)
    assert not bool((rows == BOS).any())
    assert torch.equal(written, with_start(rows))
    save_model(plain, tokenizer, tmp_path / "one")
    llama = LlamaForCausalLM.from_pretrained(tmp_path / "one")
    torch.testing.assert_close(llama(start).logits, plain(start).logits, atol=1e-5, rtol=1e-4)


# --- a mix of tasks as a plain GPT -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("weights", [(0.8, 0.3, -0.5), (0.0, 1.5, 0.25), (0.0, 0.0, 0.0)], ids=str)
def test_a_mix_takes_the_weighted_sum_of_what_the_tasks_take(
    weights: tuple[float, ...], fields: dict[str, Any], sharing: dict[str, Any]
) -> None:
    model, rows = multitask_gpt(**fields, **sharing), with_start(random_rows())
    mix = model.mixed(weights)
    assert type(mix) is GPT
    assert not mix.training
    torch.testing.assert_close(mix(rows).logits, by_hand(model, weights)(rows).logits, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(mix(rows).logits, model.plain(0)(rows).logits, atol=1e-2)


@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
def test_the_mix_of_one_task_is_that_task_to_the_last_bit(sharing: dict[str, Any]) -> None:
    """Also where another task is no number: what has no weight is not even multiplied by zero."""
    model = multitask_gpt(**sharing)
    expected = model.plain(1).state_dict()
    with torch.no_grad():
        model.model.task_embeddings.weight[2] = torch.nan
    found = model.mixed([0, 1, 0]).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_mix_needs_a_finite_weight_for_each_task() -> None:
    model = multitask_gpt()
    for weights in ([1.0, 0.0], [1.0, 0.0, float("nan")], [1.0, 0.0, 0.0, 0.0]):
        with pytest.raises(ModelError, match=r"a finite weight for each; .*expected 3 numbers"):
            model.mixed(weights)


# --- from a plain GPT, and fresh -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
def test_every_task_starts_as_the_base(make: Callable[..., GPT], sharing: dict[str, Any]) -> None:
    base, rows = make(bos_token_id=BOS, value_embeddings=True, dropout=0.1), random_rows()
    model = MultitaskGPT.from_gpt(base, tasks=3, **sharing)
    assert (model.config.dropout, model.training) == (0.1, False)
    assert torch.equal(model(rows).logits, base(with_start(rows)).logits)
    assert torch.equal(model.plain(1)(with_start(rows)).logits, base(with_start(rows)).logits)
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
    assert not bool((base.model.embed_tokens.weight == 0).all())


def test_it_has_the_dtype_of_the_base(make: Callable[..., GPT]) -> None:
    base: Any = make(bos_token_id=BOS).bfloat16()
    model = MultitaskGPT.from_gpt(base, tasks=2, sharing="attention")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model(random_rows((1, 0))).logits.dtype == torch.bfloat16
    assert model.plain(1).dtype == torch.bfloat16


@pytest.mark.parametrize(("tasks", "adapters"), [(2, 2), (3, 3), (8, 8), (4, 2), (3, 5), (2, 1)])
def test_a_fresh_task_takes_most_of_its_own_adapter_and_all_learn(tasks: int, adapters: int) -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    config = MultitaskGPTConfig(
        **shape, num_hidden_layers=2, bos_token_id=BOS, tasks=tasks, adapters=adapters, sharing="attention"
    )
    model = MultitaskGPT(config)
    for layer in range(2):
        mix = model.model.adapter_mix(layer, torch.arange(tasks))
        torch.testing.assert_close(mix.sum(-1), torch.ones(tasks))
        own = mix[torch.arange(tasks), torch.arange(tasks) % adapters]
        assert bool((own > 0.5).all())
        assert bool((mix > 0).all())
        assert adapters < 2 or not torch.equal(mix, model.model.adapter_mix(1 - layer, torch.arange(tasks)))
    with torch.no_grad():  # the blocks of a fresh GPT are the identity, through which no gradient comes
        for block in model.model.layers:
            for product in (block.self_attn.o_proj, block.mlp.down_proj):
                product.weight.normal_(std=0.1)
    weighted_token_loss(model, batch_of(random_rows(tuple(range(tasks))))).backward()
    for name, parameter in model.named_parameters():
        if name.endswith(".outer"):
            assert bool((parameter == 0).all())
            assert parameter.grad is not None
            assert bool((parameter.grad.flatten(1).abs().amax(-1) > 0).all()), name
    table = model.model.task_embeddings.weight
    torch.testing.assert_close(table.std(), torch.tensor(0.02), atol=0.005, rtol=0)


# --- gradients -------------------------------------------------------------------------------------------------------


def _gradients(model: MultitaskGPT, ids: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    weighted_token_loss(model, _rows_of(batch_of(random_rows()), ids)).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def _rows_of(batch: Batch, rows: Tensor) -> Batch:
    parts = (batch.ids_BT, batch.labels_BT, batch.weights_BT, batch.attention_mask_BT)
    return Batch(*(part[rows] for part in parts), batch.tokens, batch.answer_tokens)


@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
def test_the_gradient_of_mixed_rows_is_the_sum_over_tasks(sharing: dict[str, Any]) -> None:
    model = multitask_gpt(**sharing, value_embeddings=True, uncertainty=True)
    module: Any = model
    module.double()
    together = _gradients(model, torch.arange(4))
    of_tasks = [_gradients(model, torch.tensor(rows)) for rows in ([1, 3], [0], [2])]
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, sum(one[name] for one in of_tasks), msg=name)
        assert bool((gradient != 0).any()) == (name != "log_variances"), name
    only_first = of_tasks[1]["model.task_embeddings.weight"]
    assert [bool((row != 0).any()) for row in only_first] == [False, True, False]
    if sharing["sharing"] == "own":
        outer = of_tasks[1]["model.layers.0.mlp.up_proj.outer"]
        assert [bool((part != 0).any()) for part in outer] == [False, True, False]


@pytest.mark.parametrize("rows", [(1, 0, 2, 0), (1, 1, 1, 1)], ids=["mixed", "of one task"])
def test_gradients_are_those_of_finite_differences(rows: tuple[int, ...]) -> None:
    model: Any = multitask_gpt(sharing="attention", adapters=4)
    model.double()
    batch = batch_of(random_rows(rows))
    weighted_token_loss(model, batch).backward()
    chosen = ("task_embeddings", "adapter_mix", "1.mlp.up_proj", "0.self_attn.v_proj", "0.mlp.down_proj")
    for name, parameter in model.named_parameters():
        if any(part in name for part in chosen):
            direction = torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
            values = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    parameter.add_(direction, alpha=step)
                    values.append(weighted_token_loss(model, batch))
                    parameter.sub_(direction, alpha=step)
            expected = (values[0] - values[1]) / 2e-5
            torch.testing.assert_close((parameter.grad * direction).sum(), expected, atol=1e-6, rtol=1e-5, msg=name)


def test_labels_and_autocast_mean_the_same() -> None:
    model, rows = multitask_gpt(sharing="attention"), random_rows()
    batch = batch_of(rows)
    exact = weighted_token_loss(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = weighted_token_loss(model, batch)
        rounded.backward()
    torch.testing.assert_close(rounded, exact, rtol=0.01, atol=0)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    out = model(rows, labels=rows)
    expected = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
    torch.testing.assert_close(out.loss, expected)


def test_recomputed_activations_give_the_same_gradient() -> None:
    model, rows = multitask_gpt(sharing="attention"), random_rows()
    other = copy.deepcopy(model)
    other.activation_checkpointing_enable()
    for one in (model, other):
        one.train()
        weighted_token_loss(one, batch_of(rows)).backward()
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert a.grad is not None, name
        assert b.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad, msg=name)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
@pytest.mark.parametrize("shape", ["llama", "value embeddings", "gpt-2"])
def test_a_task_more_leaves_the_others_their_logits(sharing: dict[str, Any], shape: str) -> None:
    model = multitask_gpt(**sharing, **SHAPES[shape])
    more = model.extended(4)
    assert type(more) is MultitaskGPT
    assert more.config.tasks == 4
    rows = random_rows()
    with torch.no_grad():
        assert torch.equal(more(rows).logits, model(rows).logits)
    assert all(a.data_ptr() != b.data_ptr() for a in more.parameters() for b in model.parameters())
    mean_D = model.model.task_embeddings.weight.mean(0)
    torch.testing.assert_close(more.model.task_embeddings.weight[3], mean_D)


def test_a_new_task_begins_with_no_adapter_of_its_own_or_the_same_of_all() -> None:
    own = multitask_gpt(sharing="own").extended(4).plain(3)
    bare = multitask_gpt(sharing="own")
    torch.testing.assert_close(own.model.layers[0].mlp.up_proj.weight, bare.model.layers[0].mlp.up_proj.weight)
    mixing = multitask_gpt(sharing="attention", adapters=5).extended(4)
    torch.testing.assert_close(mixing.model.adapter_mix(0, torch.tensor([3])), torch.full((1, 5), 0.2))


def test_a_model_without_adapters_may_get_some_with_its_tasks() -> None:
    model = multitask_gpt(sharing="shared")
    more = model.extended(4, sharing="attention", uncertainty=True, max_position_embeddings=128)
    rows = random_rows()
    with torch.no_grad():
        torch.testing.assert_close(more(rows).logits, model(rows).logits)
    assert more.config.adapters == 4
    assert more.config.max_position_embeddings == 128
    assert more.log_variances is not None


@pytest.mark.parametrize(("tasks", "options"), [(2, {}), (4, {"sharing": "shared"}), (4, {"sharing": "attention"})])
def test_tasks_and_adapters_are_never_taken_away(tasks: int, options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="keeps its tasks and its adapters"):
        multitask_gpt(sharing="own").extended(tasks, **options)


@pytest.mark.parametrize("sharing", ["shared", "own"])
def test_rows_without_a_task_are_refused(sharing: str) -> None:
    model, rows = multitask_gpt(sharing=sharing), random_rows()
    for first in (BOS, VOCABULARY + 3):
        wrong = rows.clone()
        wrong[1, 0] = first
        with pytest.raises(
            ModelError, match=rf"rows that begin with \[321, {first}, .* from 320 to 322.*plain\(task\)"
        ):
            model(wrong)
    within = rows.clone()
    within[2, 4] = VOCABULARY
    with pytest.raises(ModelError, match="a task token within a row"):
        model(within)
    with pytest.raises(ModelError, match="no token ids"):
        model.model(inputs_embeds=torch.zeros(1, 2, 32))
    cache = model(rows, use_cache=True).past_key_values
    with pytest.raises(ModelError, match=r"a cache of 11 tokens.*plain\(task\)"):
        model(rows[:, :1], past_key_values=cache)
    for task in (-1, 3):
        with pytest.raises(ModelError, match=f"no such task; found task {task}; expected 0 to 2"):
            model.plain(task)


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
def test_a_folder_brings_the_same_model_back(
    sharing: dict[str, Any], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model, rows = multitask_gpt(**sharing, uncertainty=True, bos_token_id=tokenizer.bos_token_id), random_rows()
    save_model(model, tokenizer, tmp_path / "m")
    loaded, _ = load_model(tmp_path / "m")
    assert type(loaded) is MultitaskGPT
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    for one in (loaded, again):
        assert one.config.to_dict() == loaded.config.to_dict()
        for name, tensor in model.state_dict().items():
            assert torch.equal(one.state_dict()[name], tensor), name
        assert torch.equal(one(rows).logits, model(rows).logits)
        assert torch.equal(one.plain(2)(with_start(rows)).logits, model.plain(2)(with_start(rows)).logits)
    assert loaded.config.adapters == model.config.adapters
    assert type(AutoConfig.from_pretrained(tmp_path / "m")) is MultitaskGPTConfig
    assert type(AutoModel.from_pretrained(tmp_path / "m")) is MultitaskGPTModel

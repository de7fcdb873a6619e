"""Candidates: what is trained of a base or from scratch is what the configuration says, or refused before loading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from autogpt.config import TrainingConfig
from autogpt.data.batching import BatchPlan
from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, SealedSplit
from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import TrainingError
from autogpt.models.adapters import trainable_parameters
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.hub import load_model, save_model
from autogpt.models.latent import LatentGPT
from autogpt.models.sizing import shape_for
from autogpt.search.gpt_space import Bases, space_for
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.training import candidate as module
from autogpt.training import starts
from autogpt.training.candidate import Candidate, build, context_of
from autogpt.training.frozen_trunk import TopObjective, TrunkBatches
from autogpt.training.loop import load_state, save_state, train
from autogpt.training.machine import Machine
from autogpt.training.mixture_batches import LatentBatches
from autogpt.training.starts import Start, choose_bases
from autogpt.types import Example

MACHINE = Machine("cpu", 1, "fp32", 1e9, "")
COLOURS = {"red": ["rose", "blood", "tomato"], "green": ["grass", "leaf", "lime"]}


@pytest.fixture(scope="module")
def corpus(colour_spec: TaskSpec) -> Corpus:
    rows = tuple(
        Example(str(i), {"text": f"my {COLOURS[label][i % 3]} {i % 9}"}, label)
        for i, label in enumerate(["red", "green", "green", "red"] * 12)
    )
    return Corpus(colour_spec, Dataset(rows, rows[:4], SealedSplit(rows[:2]), (), {}))


@pytest.fixture
def start(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A small Llama whose vocabulary is trimmed."""
    monkeypatch.setattr(starts, "FLOOR", 0)
    rendered = ["".join(segment.text for segment in row) for row in corpus.segments]
    bulk = [
        f"{a}{b} " * 3 for a in ("north", "south", "under", "over") for b in ("wind", "way", "rain", "side", "line")
    ]
    tokenizer = train_tokenizer([*rendered, *bulk, *(text[::-1] for text in [*rendered, *bulk])], 900)
    torch.manual_seed(0)
    shape = GPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=96,
    )
    model = GPT(shape)
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.3)  # frozen embeddings of a fresh size could not speak
    save_model(model, tokenizer, tmp_path / "base")
    monkeypatch.setattr(starts, "LARGEST_SHARE_KEPT", 0.9)
    return choose_bases(str(tmp_path / "base"), corpus, MACHINE, 60.0, {})[str(tmp_path / "base")]


def _config(corpus: Corpus, method: str, **fields: Any) -> dict[str, Any]:
    space = space_for(corpus.spec, corpus.characters, Bases(("base",), methods=(method,), depth=3), scratch=False)
    return {**space.default, "tokens_per_step": 512, **fields}


def _built(corpus: Corpus, start: Start, method: str, **fields: Any) -> Candidate:
    return build(
        _config(corpus, method, **fields),
        corpus,
        base=start,
        options=TrainingConfig(warmup_steps=2),
        machine=MACHINE,
        longest_answer=8,
        seed=0,
    )


def _losses(candidate: Candidate, until: int) -> list[float]:
    options = {"until": until, "objective": candidate.objective}
    return [event.data["loss"] for event in train(candidate.state, candidate.batches, candidate.settings, **options)]


@pytest.mark.parametrize("method", ["full", "last_k", "lora"])
def test_each_method_learns_and_is_saved_as_one_whole_model(
    corpus: Corpus, start: Start, method: str, tmp_path: Path
) -> None:
    candidate = _built(corpus, start, method, base_lr=5e-3, top_lr=5e-3, lora_lr=5e-3)
    losses = _losses(candidate, 60)
    assert losses[-1] < 0.8 * losses[0]
    candidate.model.eval()
    batch = candidate.batches.batch(0)
    before = candidate.model(batch.ids_BT).logits
    save_model(candidate.model, candidate.tokenizer, tmp_path / "m")
    loaded, tokenizer = load_model(tmp_path / "m")
    assert isinstance(loaded, LlamaForCausalLM)
    assert loaded.config.num_hidden_layers == 3
    assert loaded.config.vocab_size == len(tokenizer) == start.shape.vocab_size
    real = batch.attention_mask_BT.bool()
    torch.testing.assert_close(loaded(batch.ids_BT).logits[real], before[real], atol=1e-4, rtol=1e-4)


def test_what_each_method_trains(corpus: Corpus, start: Start) -> None:
    assert start.vocabulary is not None
    for method, fields in (("full", {}), ("last_k", {"top": 2}), ("lora", {"rank": 8})):
        candidate = _built(corpus, start, method, **fields)
        work = start.work(method, 512, candidate.context, fields.get("top", 0), fields.get("rank", 0))
        assert trainable_parameters(candidate.model) == pytest.approx(work.trained, rel=0.02)
        assert isinstance(candidate.batches, TrunkBatches) == (method == "last_k")
        assert isinstance(candidate.objective, TopObjective) == (method == "last_k")
        rate = {"full": "base_lr", "last_k": "top_lr", "lora": "lora_lr"}[method]
        assert candidate.settings.learning_rate == _config(corpus, method)[rate]


def test_last_blocks_resumed_equal_the_unbroken_run_bit_for_bit(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    unbroken = _built(corpus, start, "last_k", top=1)
    _losses(unbroken, 14)
    first = _built(corpus, start, "last_k", top=1)
    _losses(first, 9)
    save_state(first.state, tmp_path / "c")
    corpus.shared.clear()  # what another process would have
    second = _built(corpus, start, "last_k", top=1)
    assert load_state(second.state, tmp_path / "c") is not None
    _losses(second, 14)
    for (name, a), b in zip(unbroken.model.named_parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_trials_that_need_the_same_hidden_states_share_them(corpus: Corpus, start: Start) -> None:
    first = _built(corpus, start, "last_k", top=1)
    assert _built(corpus, start, "last_k", top=1, top_lr=1e-3).batches is first.batches
    other = _built(corpus, start, "last_k", top=2)
    assert other.batches is not first.batches
    assert corpus.shared["trunk"][1] is other.batches  # the first ones may be freed


def test_what_does_not_fit_is_refused_before_anything_is_loaded(
    corpus: Corpus, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr(module, "load_model", never)
    small = replace(start, limits=replace(start.limits, bytes=100_000))
    with pytest.raises(TrainingError, match=r"left out before it started; found .* of memory"):
        _built(corpus, small, "full")


def test_rows_longer_than_the_base_reads_are_cut_to_what_it_reads(corpus: Corpus, start: Start) -> None:
    candidate = _built(corpus, replace(start, positions=32), "full")
    assert candidate.context == 32
    assert max(candidate.batches.batch(step).ids_BT.shape[1] for step in range(len(candidate.batches))) <= 32
    assert isinstance(candidate.batches.plan, BatchPlan)


# --- from scratch ----------------------------------------------------------------------------------------------------


def _fresh(corpus: Corpus, **wishes: Any) -> Candidate:
    """The first trial from scratch of a user with these wishes."""
    space = space_for(corpus.spec, corpus.characters).narrowed({"vocabulary": 300, "depth": 3, **wishes})
    return build(
        space.default,
        corpus,
        base=None,
        options=TrainingConfig(warmup_steps=2),
        machine=MACHINE,
        longest_answer=8,
        seed=3,
    )


def test_whoever_asks_for_nothing_gets_the_model_of_old_bit_for_bit(corpus: Corpus) -> None:
    """Shape and weights are those of the plain dial, drawn by the seed right before."""
    candidate = _fresh(corpus)
    size = len(candidate.tokenizer)
    shape = shape_for(128, depth=3, vocab_size=size, context=128, mlp="relu2", late_keys=False, dropout=0.1)
    assert candidate.model.config.to_dict() == shape.to_dict()
    torch.manual_seed(3)
    for (name, a), b in zip(candidate.model.named_parameters(), GPT(shape).parameters(), strict=True):
        assert torch.equal(a, b), name
    assert candidate.context == 64
    assert candidate.settings.optimizer == "adamw"


def test_what_the_user_asks_for_is_what_is_trained(corpus: Corpus) -> None:
    wishes = {"width": 64, "head_size": 32, "query_groups": 2, "mlp_ratio": 3, "position": "learned", "qk_norm": True}
    more = {"value_embeddings": True, "residual_scalars": True, "tie_word_embeddings": False}
    candidate = _fresh(corpus, **wishes, **more, optimizer="muon", context=192, lr=0.01)
    config = candidate.model.config
    assert (config.hidden_size, config.num_attention_heads, config.num_key_value_heads) == (64, 2, 1)
    assert (config.intermediate_size, config.position, config.max_position_embeddings) == (192, "learned", 192)
    assert (config.qk_norm, config.tie_word_embeddings) == (True, False)
    assert (config.value_embeddings, config.residual_scalars) == (True, True)
    assert candidate.context == 192
    assert max(candidate.batches.batch(step).ids_BT.shape[1] for step in range(len(candidate.batches))) <= 64
    losses = _losses(candidate, 20)
    assert losses[-1] < 0.8 * losses[0]
    moments = candidate.state.optimizer.state_of(candidate.model.model.layers[0].mlp.up_proj.weight)
    assert set(moments) == {"momentum_buffer"}  # Muon has no second moment


# --- a mixture -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stories(colour_spec: TaskSpec) -> Corpus:
    """Plain text of two kinds."""
    fields = {"input_fields": [], "output_field": "text", "labels": [], "metric": "bits_per_byte", "direction": "min"}
    spec = colour_spec.model_copy(update={"kind": TaskKind.GENERATION, **fields})
    texts = [f"{'up' if i % 2 else 'down'} the hill they went {i} times " * 20 for i in range(24)]
    rows = tuple(Example(str(i), {}, text) for i, text in enumerate(texts))
    return Corpus(spec, Dataset(rows, rows[:4], SealedSplit(rows[:2]), (), {}))


@pytest.fixture(scope="module")
def replies(colour_spec: TaskSpec) -> Corpus:
    """Written answers to a question."""
    fields = {"output_field": "reply", "labels": [], "metric": "rouge_l"}
    spec = colour_spec.model_copy(update={"kind": TaskKind.SUMMARIZATION, **fields})
    rows = tuple(Example(str(i), {"text": f"who is {i}"}, "he is" if i % 2 else "nobody") for i in range(40))
    return Corpus(spec, Dataset(rows, rows[:4], SealedSplit(rows[:2]), (), {}))


def test_one_latent_is_the_model_of_old_and_several_are_a_mixture(replies: Corpus) -> None:
    one, none = _fresh(replies, latents=1), _fresh(replies)
    assert type(one.model) is GPT
    assert one.model.config.to_dict() == none.model.config.to_dict()
    for (name, a), b in zip(one.model.named_parameters(), none.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    several = _fresh(replies, latents=4)
    assert isinstance(several.model, LatentGPT)
    assert (several.model.config.latents, several.model.config.models_prompt) == (4, False)
    assert isinstance(several.batches, LatentBatches)
    assert _fresh(replies, latents=4).batches is several.batches
    losses = _losses(several, 20)
    assert losses[-1] < 0.8 * losses[0]


def test_a_mixture_that_was_saved_goes_on_as_if_it_had_never_stopped(replies: Corpus, tmp_path: Path) -> None:
    unbroken = _fresh(replies, latents=2)
    _losses(unbroken, 14)
    first = _fresh(replies, latents=2)
    _losses(first, 9)
    save_state(first.state, tmp_path / "c")
    replies.shared.clear()  # what another process would have
    second = _fresh(replies, latents=2)
    assert load_state(second.state, tmp_path / "c") is not None
    _losses(second, 14)
    for (name, a), b in zip(unbroken.model.named_parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_title_is_a_condition_and_no_part_of_the_text(stories: Corpus) -> None:
    rows = tuple(replace(row, input={"title": f"of {row.id}"}) for row in stories.dataset.train)
    spec = stories.spec.model_copy(update={"input_fields": ["title"]})
    titled = Corpus(spec, Dataset(rows, rows[:4], SealedSplit(rows[:2]), (), {}))
    assert titled.packed
    assert not _fresh(titled, latents=2).model.config.models_prompt


def test_of_plain_text_a_mixture_reads_one_document_a_row(stories: Corpus) -> None:
    candidate = _fresh(stories, latents=2)
    assert stories.packed
    assert not candidate.batches.plan.packed
    assert candidate.model.config.models_prompt
    start_id = candidate.tokenizer.bos_token_id
    for step in range(len(candidate.batches)):
        batch = candidate.batches.batch(step)
        assert batch.ids_BT.shape[1] <= candidate.batches.plan.context
        assert not (batch.ids_BT[:, 1:] == start_id).any()
    losses = _losses(candidate, 10)
    assert losses[-1] < losses[0]


def test_a_mixture_does_not_learn_from_pairs(replies: Corpus) -> None:
    config = space_for(replies.spec, replies.characters).narrowed({"latents": 2, "vocabulary": 300}).default
    options: dict[str, Any] = {"base": None, "options": TrainingConfig(), "machine": MACHINE}
    with pytest.raises(TrainingError, match="does not learn from preference pairs"):
        build({**config, "objective": "dpo"}, replies, **options, longest_answer=8, seed=0)


def test_a_shape_that_cannot_be_fails_the_trial_with_the_reason(corpus: Corpus) -> None:
    with pytest.raises(TrainingError, match=r"cannot have this shape; found 3 query heads .* expected query_groups"):
        _fresh(corpus, width=96, query_groups=2)


def test_a_base_reads_no_longer_context_than_it_knows(corpus: Corpus, start: Start) -> None:
    assert _built(corpus, start, "full", context=96).context == 96
    with pytest.raises(TrainingError, match="cannot read so long a sequence; found context 128; expected at most 96"):
        _built(corpus, start, "full", context=128)


@pytest.mark.parametrize(
    ("asked", "longest", "packed", "found"),
    [
        ({}, 20, False, (64, 64)),
        ({}, 100, False, (128, 128)),
        ({}, 9000, False, (512, 512)),
        ({}, 9000, True, (256, 256)),
        ({"context": 1024}, 100, False, (1024, 128)),
        ({"context": 1024}, 9000, False, (1024, 1024)),
        ({"context": 48}, 100, False, (48, 48)),
        ({"context": 384}, 9000, True, (384, 384)),
    ],
)
def test_the_context_is_what_is_asked_for_and_rows_are_no_longer_than_they_need_be(
    asked: dict[str, int], longest: int, packed: bool, found: tuple[int, int]
) -> None:
    assert context_of(asked, longest, 512, packed) == found

"""What may be tried: predictions against models that were built, ceilings, and shapes that cannot be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from autogpt.config import SearchConfig, TrainingConfig
from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, SealedSplit
from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import ConfigError
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.hub import save_model
from autogpt.search.gpt_space import space_for
from autogpt.search.space import Space
from autogpt.tasks.spec import TaskSpec
from autogpt.training.admission import Admission, Ceilings, without_impossible
from autogpt.training.candidate import build
from autogpt.training.loop import train
from autogpt.training.machine import Machine
from autogpt.training.starts import Start, bases_of, choose_bases
from autogpt.types import Example

MACHINE = Machine("cpu", 1, "fp32", 1e9, "")
THINGS = ["rose", "blood", "tomato", "ruby", "grass", "leaf", "lime", "moss"]


@pytest.fixture(scope="module")
def corpus(colour_spec: TaskSpec) -> Corpus:
    rows = tuple(
        Example(str(i), {"text": f"a {THINGS[i % 8]} beside the {THINGS[i % 5]} {i}"}, ("red", "green")[i // 4 % 2])
        for i in range(96)
    )
    return Corpus(colour_spec, Dataset(rows, rows[:4], SealedSplit(rows[:2]), (), {}))


@pytest.fixture(scope="module")
def bases(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Start]:
    """A small Llama under the name `base`."""
    tokenizer = train_tokenizer(("".join(segment.text for segment in row) for row in corpus.segments), 400)
    shape = GPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=96,
    )
    folder = tmp_path_factory.mktemp("bases") / "base"
    save_model(GPT(shape), tokenizer, folder)
    return {"base": choose_bases(str(folder), corpus, MACHINE, 60.0, {})[str(folder)]}


def _space(corpus: Corpus, bases: dict[str, Start] | None = None, **wishes: Any) -> Space:
    space = space_for(corpus.spec, corpus.characters, bases_of(bases or {}, corpus, scratch=True))
    return space.narrowed({"vocabulary": [300, 500], **wishes})


def _admission(corpus: Corpus, bases: dict[str, Start] | None = None, **ceilings: int) -> Admission:
    return Admission(corpus, bases or {}, TrainingConfig(), "fp32", Ceilings(**ceilings))


# --- what a configuration needs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"width": 256, "depth": 2, "tokens_per_step": 2048, "block": "llama"},
        {"tie_word_embeddings": False, "query_groups": 4, "prompt_weight": 0.0},
        {"context": 512, "tokens_per_step": 256, "dropout": 0.0},
    ],
)
def test_the_predicted_memory_covers_what_a_step_holds(corpus: Corpus, wishes: dict[str, Any]) -> None:
    """Weights, gradients, moments, average, and all that the forward pass saves, counted on the model that is built."""
    config = _space(corpus, **{"vocabulary": 300, **wishes}).default
    candidate = build(config, corpus, base=None, options=TrainingConfig(), machine=MACHINE, longest_answer=8, seed=0)
    sizes = [candidate.batches.batch(step).ids_BT.numel() for step in range(len(candidate.batches))]
    batch = candidate.batches.batch(sizes.index(max(sizes)))
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        candidate.objective(candidate.model, batch)
    weights = sum(p.nbytes for p in candidate.model.parameters())
    held = 5 * weights + sum(storage.nbytes() for storage in kept.values())
    predicted = _admission(corpus).memory(config)
    assert 0.9 * held < predicted < 2 * held
    next(train(candidate.state, candidate.batches, candidate.settings, objective=candidate.objective))


def test_memory_grows_with_what_it_is_needed_for(corpus: Corpus, bases: dict[str, Start]) -> None:
    admission, plain = _admission(corpus, bases), _space(corpus, vocabulary=300, width=128).default
    least = admission.memory(plain)
    for more in ({"width": 192}, {"depth": 6}, {"tokens_per_step": 4096}, {"vocabulary": 500}, {"context": 32}):
        assert (admission.memory({**plain, **more}) > least) == ("context" not in more)
    tuned = {"start": "base", "tokens_per_step": 512, "method": "full"}
    last = {**tuned, "method": "last_k", "top": 1}
    assert admission.memory(last) != admission.memory(tuned)
    kept = replace(bases["base"], tokens=bases["base"].tokens + 1000)
    more = _admission(corpus, {"base": kept}).memory(last) - admission.memory(last)
    assert more == 1000 * 32 * 2  # hidden states of the rows, in bf16


def test_refusals_name_both_numbers(corpus: Corpus, bases: dict[str, Start]) -> None:
    config = _space(corpus, vocabulary=300, width=128, depth=3).default
    size = sum(
        p.numel()
        for p in build(
            config, corpus, base=None, options=TrainingConfig(), machine=MACHINE, longest_answer=8, seed=0
        ).model.parameters()
    )
    assert _admission(corpus).refusal(config) == ""
    assert _admission(corpus, parameters=size + 5000, memory=10**9).refusal(config) == ""
    refusal = _admission(corpus, parameters=10_000, memory=5_000_000).refusal(config)
    assert refusal.startswith("a model of ")
    assert "search.max_parameters allows 10,000 and training takes about" in refusal
    assert "search.max_memory allows a trial 5 MB" in refusal
    tuned = {"start": "base", "tokens_per_step": 512, "method": "full"}
    assert "search.max_parameters allows 10,000" in _admission(corpus, bases, parameters=10_000).refusal(tuned)
    assert "search.max_memory" in _admission(corpus, bases, memory=100_000).refusal(tuned)
    assert _admission(corpus, bases, parameters=10**6, memory=10**9).refusal(tuned) == ""


def test_an_impossible_shape_is_left_to_its_trial(corpus: Corpus) -> None:
    config = {**_space(corpus).default, "width": 96, "query_groups": 2}
    assert _admission(corpus, parameters=1, memory=1).refusal(config) == ""


def test_workers_share_the_memory() -> None:
    assert Ceilings.of(SearchConfig()) == Ceilings()
    assert not Ceilings().any
    shared = Ceilings.of(SearchConfig(max_memory="2GB", workers=2, max_parameters=7))
    assert (shared.parameters, shared.memory_of_trial) == (7, 10**9)


# --- where nothing fits ----------------------------------------------------------------------------------------------


def test_a_space_with_something_below_the_ceilings_is_searched(corpus: Corpus) -> None:
    space = _space(corpus, depth=[8, 2], width=[256, 64])
    default = _admission(corpus).memory(space.default)
    _admission(corpus).require_any(space)
    _admission(corpus, memory=default).require_any(space)
    admission = _admission(corpus, memory=default // 4)
    admission.require_any(space)
    assert admission.refusal(space.default) != ""
    assert admission.refusal({**space.default, "width": 64, "depth": 2, "tokens_per_step": 512}) == ""


@pytest.mark.parametrize(("ceiling", "most"), [("parameters", 20_000), ("memory", 1_000_000)])
def test_when_nothing_fits_the_smallest_is_named_and_what_would_do(corpus: Corpus, ceiling: str, most: int) -> None:
    space = _space(corpus, query_groups=[1, 2], depth=[2, 3])
    with pytest.raises(ConfigError, match=f"search.max_{ceiling}") as caught:
        _admission(corpus, **{ceiling: most}).require_any(space)
    told = str(caught.value)
    assert "the smallest (start scratch, width 96, depth 2, vocabulary 300, tokens_per_step 512)" in told
    assert "\n" not in told
    # What it says would be enough is: nothing else in the space needs less, and that much lets something in.
    enough = SearchConfig(**{f"max_{ceiling}": told.partition(f"at least search.max_{ceiling}=")[2].partition(",")[0]})
    _admission(corpus, **{ceiling: getattr(enough, f"max_{ceiling}")}).require_any(space)
    with pytest.raises(ConfigError):
        _admission(corpus, **{ceiling: int(0.9 * getattr(enough, f"max_{ceiling}"))}).require_any(space)


def test_the_smallest_is_the_smallest_of_all(corpus: Corpus, bases: dict[str, Start]) -> None:
    """Against every configuration of a small space."""
    wishes = {
        "width": [64, 128],
        "depth": 1,
        "tokens_per_step": [256, 512],
        "head_size": [32, 64],
        "query_groups": [1, 2, 4],
        "tie_word_embeddings": [False, True],
        "prompt_weight": [0.1, 0.0],
    }
    space = _space(corpus, **wishes)
    for ceiling in ("parameters", "memory"):
        admission = _admission(corpus, **{ceiling: 1})
        names = ["vocabulary", *wishes]
        every = (
            {**space.default, **dict(zip(names, values, strict=True))}
            for values in itertools.product(*(space[name].dimension.values for name in names))
        )
        needs = [admission._excess(config) for config in every]
        assert admission._smallest(space)[1] == min(needs)
    assert _admission(corpus, bases, memory=1)._smallest(_space(corpus, bases))[0]["start"] == "base"


# --- shapes that cannot be -------------------------------------------------------------------------------------------


def test_widths_that_go_with_nothing_leave_the_space_unless_they_were_asked_for(corpus: Corpus) -> None:
    space = _space(corpus, head_size=64)
    assert space["width"].dimension.values == (96, 128, 192)
    assert without_impossible(space, {"head_size": 64}, {})["width"].dimension.values == (128, 192)
    asked = _space(corpus, head_size=64, width=[96, 128])
    assert without_impossible(asked, {"head_size": 64, "width": [96, 128]}, {}) is asked
    plain = _space(corpus)
    assert without_impossible(plain, {}, {}) is plain


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"width": 96, "query_groups": 2}, "3 query heads"),
        ({"width": [96, 160], "query_groups": [2, 4]}, "3 query heads"),
        ({"width": 100}, "width 100; expected a multiple of its head size 32"),
    ],
)
def test_what_cannot_be_at_all_is_refused_before_anything_is_trained(
    corpus: Corpus, wishes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"cannot have this shape; found {message}"):
        without_impossible(_space(corpus, **wishes), wishes, {})


def test_a_context_that_the_only_base_cannot_read(corpus: Corpus, bases: dict[str, Start]) -> None:
    wishes = {"start": "base", "context": 128}
    with pytest.raises(ConfigError, match=r"base 'base' cannot read so long a sequence; .* expected at most 96"):
        without_impossible(_space_of_base(corpus, bases, wishes), wishes, bases)
    one_of_them = {"start": "base", "context": [64, 128]}
    without_impossible(_space_of_base(corpus, bases, one_of_them), one_of_them, bases)


def _space_of_base(corpus: Corpus, bases: dict[str, Start], wishes: dict[str, Any]) -> Space:
    return space_for(corpus.spec, corpus.characters, bases_of(bases, corpus, scratch=True)).narrowed(wishes)

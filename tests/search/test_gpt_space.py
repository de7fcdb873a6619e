"""The space of a task: what is searched from scratch, what from a base, and what the user may wish."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from autogpt.config import load_run_config
from autogpt.errors import ConfigError
from autogpt.registry import SAMPLERS
from autogpt.search.gpt_space import (
    JOINT_PARAMETERS,
    METHODS,
    Bases,
    space_for,
    space_for_several,
    weight_of,
    wishes_of,
)
from autogpt.search.portfolio import portfolio_of
from autogpt.search.space import Choice, Float, Space
from autogpt.search.trials import Report, Trial
from autogpt.tasks.spec import TaskKind, TaskSpec


def _spec(kind: TaskKind) -> TaskSpec:
    return TaskSpec(
        description="d", kind=kind, input_fields=["text"], output_field="label", metric="accuracy", direction="max"
    )


def test_without_bases_everything_starts_from_scratch() -> None:
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000)
    assert space.default["start"] == "scratch"
    assert "prompt_weight" in space.default
    assert not {"method", "base_lr", "rank"} & set(space.names)
    for seed in range(20):
        assert space.contains(space.sample(random.Random(seed)))


def test_plain_text_has_no_prompt_to_weigh() -> None:
    assert "prompt_weight" not in space_for(_spec(TaskKind.GENERATION), 100_000).names


def test_each_start_has_its_own_parameters() -> None:
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000, Bases(("smollm2-135m",)))
    seen = [space.sample(random.Random(seed)) for seed in range(60)]
    for config in seen:
        assert ("width" in config) == (config["start"] == "scratch")
        assert ("rank" in config) == (config.get("method") == "lora")
    assert {config["start"] for config in seen} == {"scratch", "smollm2-135m"}


def test_more_text_gives_a_larger_default() -> None:
    widths = [space_for(_spec(TaskKind.GENERATION), n).default["width"] for n in (10_000, 400_000, 5_000_000)]
    assert widths == sorted(set(widths))


def test_a_base_alone_leaves_nothing_of_scratch() -> None:
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000, Bases(("base",)), scratch=False)
    assert space.default["start"] == "base"
    assert "width" not in space.names
    with pytest.raises(ConfigError):
        space.narrowed({"width": 128})


def test_each_method_has_its_own_learning_rate() -> None:
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000, Bases(("base",)), scratch=False)
    own = {"full": {"base_lr"}, "last_k": {"top", "top_lr"}, "lora": {"rank", "lora_lr"}}
    seen = [space.sample(random.Random(seed)) for seed in range(60)]
    assert {config["method"] for config in seen} == set(METHODS)
    for config in seen:
        assert config.keys() & set.union(*own.values()) == own[config["method"]]


def test_methods_and_blocks_that_a_base_allows() -> None:
    spec = _spec(TaskKind.CLASSIFICATION)
    space = space_for(spec, 100_000, Bases(("base",), methods=("last_k", "lora"), depth=3))
    configs = [space.sample(random.Random(seed)) for seed in range(60)]
    assert {config.get("method") for config in configs} == {None, "last_k", "lora"}
    assert {config["top"] for config in configs if "top" in config} == {0, 1, 2}
    writing = space_for(_spec(TaskKind.SUMMARIZATION), 100_000, Bases(("base",), methods=("last_k",)), scratch=False)
    assert all(writing.sample(random.Random(seed))["top"] > 0 for seed in range(20))  # a probe cannot write
    assert "base_lr" not in space.names
    assert space.narrowed({"start": "base"}).default["method"] == "last_k"
    shallow = space_for(spec, 100_000, Bases(("base",), methods=("last_k",), depth=1), scratch=False)
    assert shallow.default["top"] == 1


def test_the_search_may_begin_with_a_base() -> None:
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000, Bases(("base",), first="base"))
    assert space.default["start"] == "base"
    assert {space.sample(random.Random(seed))["start"] for seed in range(20)} == {"scratch", "base"}


# --- what a user may ask for -----------------------------------------------------------------------------------------

OPTIONAL = {
    "context": 384,
    "head_size": 64,
    "query_groups": [1, 2],
    "mlp_ratio": [2, 6],
    "position": "learned",
    "qk_norm": True,
    "value_embeddings": [False, True],
    "residual_scalars": True,
    "tie_word_embeddings": False,
    "optimizer": ["adamw", "muon"],
}


def test_sizes_beyond_what_is_searched_may_be_asked_for() -> None:
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000)
    assert 512 not in space["width"].dimension.values
    wide = space.narrowed({"width": 512, "depth": [1, 12], "vocabulary": 16_384, "dropout": 0.5, "lr": 1e-4})
    assert (wide.default["width"], wide.default["vocabulary"], wide.default["lr"]) == (512, 16_384, 1e-4)
    assert wide["depth"].dimension == Choice((1, 12))
    for wish in ({"width": 16}, {"vocabulary": 100}, {"lr": 7}, {"depth": 0}, {"dropout": 1.0}):
        with pytest.raises(ConfigError, match="expected"):
            space.narrowed(wish)


def test_optional_parameters_are_there_when_they_are_named() -> None:
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000, Bases(("base",)))
    assert {parameter.name for parameter in space.optional} == set(OPTIONAL)
    assert not set(OPTIONAL) & set(space.names)
    named = space.narrowed(OPTIONAL)
    assert set(named.names) == set(space.names) | set(OPTIONAL)
    scratch, base = (named.active({**named.default, "start": start}) for start in ("scratch", "base"))
    assert set(OPTIONAL) - set(scratch) == set()
    assert set(OPTIONAL) & set(base) == {"context"}
    assert named["mlp_ratio"].dimension == Float(2.0, 6.0)
    with pytest.raises(ConfigError, match="did you mean 'query_groups'"):
        space.narrowed({"query_group": 2})


def test_a_mixture_may_be_asked_for_where_texts_are_written() -> None:
    space = space_for(_spec(TaskKind.GENERATION), 100_000)
    assert "latents" not in space.names
    assert space.narrowed({"latents": 4}).default["latents"] == 4
    assert space.narrowed({"latents": [1, 2, 8]}).default["latents"] == 1
    with pytest.raises(ConfigError, match="expected"):
        space.narrowed({"latents": 3})
    with pytest.raises(ConfigError, match="latents"):
        space_for(_spec(TaskKind.CLASSIFICATION), 100_000).narrowed({"latents": 2})


def test_nothing_changes_for_those_who_ask_for_nothing() -> None:
    """The first trial and what is drawn after it, as they were before there was anything to ask for."""
    space = space_for(_spec(TaskKind.CLASSIFICATION), 100_000).narrowed({})
    assert space.default == {
        "start": "scratch",
        "epochs": 40,
        "tokens_per_step": 1024,
        "width": 128,
        "depth": 4,
        "block": "relu2",
        "late_keys": False,
        "vocabulary": 2048,
        "lr": 0.002,
        "weight_decay": 0.1,
        "dropout": 0.1,
        "prompt_weight": 0.1,
    }
    drawn = space.sample(random.Random(0))
    assert set(drawn) == set(space.default)


def test_a_base_bounds_the_context() -> None:
    spec = _spec(TaskKind.CLASSIFICATION)
    space = space_for(spec, 100_000, Bases(("base",), positions=96), scratch=False)
    assert [parameter.name for parameter in space.optional] == ["context"]
    assert space.narrowed({"context": 96}).default["context"] == 96
    with pytest.raises(ConfigError, match="found 128; expected 32 to 96"):
        space.narrowed({"context": 128})
    assert space_for(spec, 100_000, Bases(("base",), positions=96)).narrowed({"context": 128}).default["context"] == 128


# --- several tasks ---------------------------------------------------------------------------------------------------

SHARING = {
    "sharing": "shared",
    "mixing_temperature": 2,
    "row_balance": 1.0,
    "task_losses": "sum",
    "tokens_per_step": 2048,
    "width": 192,
}
"""What tasks that share a model have besides; the width is that of the largest of them, 300,000 characters."""


@pytest.mark.parametrize(
    ("hardest", "others"),
    [
        (TaskKind.GENERATION, [TaskKind.CLASSIFICATION, TaskKind.SUMMARIZATION, TaskKind.DIALOGUE]),
        (TaskKind.EXTRACTION, [TaskKind.CLASSIFICATION, TaskKind.DIALOGUE]),
        (TaskKind.SUMMARIZATION, [TaskKind.DIALOGUE, TaskKind.MULTI_LABEL]),
        (TaskKind.DIALOGUE, [TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL]),
        (TaskKind.PREFERENCE, [TaskKind.CLASSIFICATION]),
        (TaskKind.CLASSIFICATION, [TaskKind.MULTI_LABEL]),
    ],
)
def test_the_task_that_asks_for_most_decides_for_several(hardest: TaskKind, others: list[TaskKind]) -> None:
    alone = space_for(_spec(hardest), 400_000)
    expected = {name: value for name, value in alone.default.items() if name != "objective"} | SHARING
    for kinds in ([hardest, *others], [*others, hardest]):
        space = space_for_several([_spec(kind) for kind in kinds], [100_000, 300_000])
        assert space.default == expected
        for name in set(expected) - set(SHARING):
            assert space[name] == alone[name]


def test_a_hidden_choice_and_preference_pairs_are_for_single_tasks() -> None:
    space = space_for_several([_spec(TaskKind.GENERATION), _spec(TaskKind.PREFERENCE)], [60_000, 40_000])
    assert (
        "objective" not in space_for_several([_spec(TaskKind.PREFERENCE), _spec(TaskKind.CLASSIFICATION)], [1, 1]).names
    )
    assert {parameter.name for parameter in space.optional} == set(OPTIONAL)
    for wish in ({"latents": 2}, {"objective": "dpo"}):
        with pytest.raises(ConfigError):
            space.narrowed(wish)


def test_how_tasks_share_a_model_is_searched_and_may_be_asked_for() -> None:
    space = space_for_several([_spec(TaskKind.GENERATION), _spec(TaskKind.CLASSIFICATION)], [60_000, 40_000])
    drawn = [space.sample(random.Random(seed)) for seed in range(60)]
    assert {config["sharing"] for config in drawn} == {"shared", "own", "attention"}
    assert {config["task_losses"] for config in drawn} == {"sum", "uncertainty", "pcgrad"}
    assert all(space.contains(config) for config in drawn)
    wishes = {"sharing": "own", "mixing_temperature": 7.5, "row_balance": 0.9, "task_losses": "pcgrad"}
    assert space.narrowed(wishes).default == space.default | wishes
    assert space.narrowed({"mixing_temperature": [1, 3]})["mixing_temperature"].dimension in (
        Choice((1, 3)),
        Float(1.0, 3.0, log=True),
    )
    assert set(space.narrowed({"qk_norm": True, "sharing": ["shared", "own"]}).names) == {*space.names, "qk_norm"}
    for wish in ({"mixing_temperature": 0.5}, {"row_balance": 1.5}, {"sharing": "mine"}, {"task_losses": "dpo"}):
        with pytest.raises(ConfigError, match="expected"):
            space.narrowed(wish)


def test_several_tasks_may_start_from_a_base() -> None:
    specs = [_spec(TaskKind.SUMMARIZATION), _spec(TaskKind.CLASSIFICATION)]
    space = space_for_several(specs, [60_000, 40_000], Bases(("base",), methods=("full",)), scratch=False)
    assert space.default["start"] == "base"
    assert space.default["method"] == "full"
    assert set(SHARING) - {"width"} <= set(space.default)
    assert "width" not in space.names


# --- the weights of tasks --------------------------------------------------------------------------------------------

WRITING = [_spec(TaskKind.GENERATION), _spec(TaskKind.CLASSIFICATION), _spec(TaskKind.DIALOGUE)]
NAMES = ["novels", "mails-2", "客服"]


def _weighted(names: Sequence[str] = NAMES) -> Space:
    return space_for_several(WRITING[: len(names)], [60_000] * len(names), names=names)


def test_weights_of_all_tasks_but_the_first_are_searched() -> None:
    plain, space = space_for_several(WRITING, [60_000] * 3), _weighted()
    assert space.default == plain.default | {"weight_of_mails-2": 1.0, "weight_of_客服": 1.0}
    drawn = [space.sample(random.Random(seed)) for seed in range(60)]
    assert {config["weight_of_客服"] for config in drawn} == {0.5, 1.0, 2.0}
    assert all(space.contains(config) for config in drawn)
    assert not any("novels" in name for name in space.names)


def test_a_single_name_has_no_weight_to_compare_with() -> None:
    assert _weighted(["novels"]).names == space_for_several(WRITING[:1], [60_000]).names


@pytest.mark.parametrize("task", NAMES)
def test_the_weight_of_any_task_may_be_asked_for(task: str) -> None:
    config = load_run_config(None, [f"search.space.{weight_of(task)}=7.5"])
    space = _weighted().narrowed(config.search.space)
    assert space.default[weight_of(task)] == 7.5
    assert set(space.names) == {*_weighted().names, weight_of(task)}
    assert _weighted().narrowed({weight_of(task): [1, 4, 16]})[weight_of(task)].dimension == Choice((1, 4, 16))
    for wish in (0, -1, 1e3, "much"):
        with pytest.raises(ConfigError, match="expected"):
            _weighted().narrowed({weight_of(task): wish})


def test_a_weight_of_no_task_is_told_from_a_slip() -> None:
    with pytest.raises(ConfigError, match="did you mean 'weight_of_novels'"):
        _weighted().narrowed({"weight_of_novel": 2})
    with pytest.raises(ConfigError, match="unknown search parameter"):
        space_for(WRITING[0], 60_000).narrowed({"weight_of_novels": 2})


def test_known_configurations_get_the_default_weights() -> None:
    space = _weighted()
    for config in portfolio_of(space):
        assert space.contains(config)
        assert (config["weight_of_mails-2"], config["weight_of_客服"]) == (1.0, 1.0)


@pytest.mark.parametrize("sampler", ["auto", "bayes", "random", "genetic"])
def test_samplers_begin_with_the_default_and_go_on_past_trials_without_weights(sampler: str) -> None:
    """Eight tasks; the history is that of a run which began before weights were searched."""
    specs, names = [*WRITING, *WRITING, *WRITING[:2]], [f"task-{place}" for place in range(8)]
    space = space_for_several(specs, [60_000] * 8, names=names)
    ask = SAMPLERS.get(sampler)(space, 0, direction="max").ask
    assert ask([]) == space.default
    before = {name: value for name, value in space.default.items() if not name.startswith("weight_of_")}
    history = [Trial(number, before, "finished", (Report(1.0, 0.5),)) for number in range(6)]
    assert space.contains(ask(history))


def test_only_what_a_group_can_meet_is_left_of_the_wishes() -> None:
    joint = dict.fromkeys(JOINT_PARAMETERS, "x")
    wishes = {"width": 64, **joint, **{weight_of(task): 2 for task in NAMES}}
    assert wishes_of(wishes, NAMES) == wishes
    assert wishes_of(wishes, NAMES[1:]) == {name: wish for name, wish in wishes.items() if name != "weight_of_novels"}
    assert wishes_of(wishes, NAMES[:1]) == {"width": 64}

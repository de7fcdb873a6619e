"""The space of a task: what is searched from scratch, what from a base, and what the user may wish."""

from __future__ import annotations

import random

import pytest

from autogpt.errors import ConfigError
from autogpt.search.gpt_space import METHODS, Bases, space_for
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

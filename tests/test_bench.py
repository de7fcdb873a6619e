"""What the stages work on: splits, corpus, space and score of one task or of several."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from autogpt.bench import Bench, Told, candidate_of, judge, set_up, set_up_tasks
from autogpt.config import RunConfig, load_run_config
from autogpt.data.corpus import Corpus
from autogpt.data.joint_batches import JointBatches
from autogpt.data.joint_corpus import JointCorpus
from autogpt.data.readers import Table, read
from autogpt.errors import ConfigError, DataError
from autogpt.evaluation.joint import MeanScore
from autogpt.models.gpt import GPT
from autogpt.models.multitask import MultitaskGPT
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.training.multitask import Projected, narrowed_loss, uncertainty_loss

THINGS = {"red": ["rose", "tomato", "ruby"], "green": ["leaf", "moss", "lime"]}
SMALL = "search.space={width: 64, depth: 1, vocabulary: 400, tokens_per_step: 512}"


def _spec(kind: TaskKind, metric: str, **fields: Any) -> TaskSpec:
    direction = "min" if metric == "bits_per_byte" else "max"
    return TaskSpec(description="d", kind=kind, metric=metric, direction=direction, **fields)


COLOURS = _spec(
    TaskKind.CLASSIFICATION, "accuracy", input_fields=["text"], output_field="label", labels=["red", "green"]
)
STORIES = _spec(TaskKind.GENERATION, "bits_per_byte", input_fields=[], output_field="text", layout="text")


def _table(folder: Path, name: str, lines: list[str]) -> Table:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read(path)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Table:
    rows = [f"my old {THINGS[c][i % 3]} {i},{c}" for i in range(60) for c in THINGS]
    return _table(tmp_path_factory.mktemp("colours"), "colours.csv", ["text,label", *rows])


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Table:
    rows = [f"once there was house {i} by tree {7 * i} and a {word}" for i in range(40) for word in ("cat", "dog")]
    return _table(tmp_path_factory.mktemp("stories"), "stories.csv", ["text", *rows])


def _config(*more: str) -> RunConfig:
    return load_run_config(None, ["base=scratch", "training.threads=1", SMALL, *more])


@pytest.fixture(scope="module")
def several(colours: Table, stories: Table) -> Bench:
    tasks = [Told(COLOURS, [colours], "colours", 1.0), Told(STORIES, [stories], "stories", 3.0)]
    return set_up_tasks(_config(), tasks, 60.0)


def test_one_task_has_its_own_metric_and_no_name(colours: Table) -> None:
    bench = set_up(_config(), COLOURS, [colours], 60.0)
    (part,) = bench.parts
    assert (part.name, part.told, part.reason("temperature")) == ("", {}, "temperature")
    assert (bench.score.name, bench.direction, bench.label_losses) == ("accuracy", "max", True)
    assert isinstance(bench.corpus, Corpus)
    assert not {"sharing", "task_losses"} & set(bench.space.names)
    assert bench.train_rows == len(part.dataset.train)
    assert type(candidate_of(bench, _config(), bench.space.default).model) is GPT


def test_a_metric_of_which_less_is_better_turns_the_direction(stories: Table) -> None:
    bench = set_up(_config(), STORIES, [stories], 60.0)
    assert (bench.score.name, bench.direction, bench.label_losses) == ("bits_per_byte", "min", False)


def test_several_tasks_have_the_mean_score_and_a_space_that_shares(several: Bench) -> None:
    assert isinstance(several.corpus, JointCorpus)
    assert isinstance(several.score, MeanScore)
    assert (several.direction, several.label_losses) == ("max", False)
    assert [part.told for part in several.parts] == [{"task": "colours"}, {"task": "stories"}]
    assert several.parts[1].reason("temperature") == "stories.temperature"
    assert {"sharing", "mixing_temperature", "row_balance", "task_losses"} <= set(several.space.names)
    assert several.train_rows == sum(len(part.dataset.train) for part in several.parts)


def test_tests_of_a_task_are_its_second_table(colours: Table, stories: Table, tmp_path: Path) -> None:
    held = _table(tmp_path, "held.csv", ["text,label", *[f"zzz {i},red" for i in range(9)]])
    bench = set_up_tasks(_config(), [Told(COLOURS, [colours, held], "a"), Told(STORIES, [stories], "b")], 60.0)
    assert len(bench.parts[0].dataset.sealed) == 9
    texts = [segment.text for row in bench.corpus.segments for segment in row]
    assert not [text for text in texts if "zzz" in text]


@pytest.mark.parametrize(
    ("losses", "objective"), [("sum", narrowed_loss), ("uncertainty", uncertainty_loss), ("pcgrad", Projected)]
)
def test_a_candidate_of_several_tasks_learns_them_all(losses: str, objective: Any, several: Bench) -> None:
    config = {**several.space.default, "sharing": "own", "task_losses": losses}
    candidate = candidate_of(several, _config(), config)
    assert isinstance(candidate.model, MultitaskGPT)
    assert candidate.model.config.tasks == 2
    assert isinstance(candidate.batches, JointBatches)
    assert candidate.objective is objective or isinstance(candidate.objective, Projected)
    assert len(candidate.answering) == 2
    assert candidate.answering[0].max_new_tokens < candidate.answering[1].max_new_tokens
    batch = candidate.batches.batch(0)
    assert {int(token) - candidate.model.config.vocab_size for token in batch.ids_BT[:, 0]} == {0, 1}
    loss = candidate.objective(candidate.model, batch)
    assert math.isfinite(float(loss.detach()))


def test_the_judgement_is_the_weighted_mean_of_the_tasks(several: Bench) -> None:
    candidate = candidate_of(several, _config(), several.space.default)
    with torch.no_grad():
        for parameter in candidate.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    found = judge(several, candidate, candidate.model)
    each = [
        part.validator.judge(several.engine(candidate, candidate.model, place), answering.max_new_tokens)
        for place, (part, answering) in enumerate(zip(several.parts, candidate.answering, strict=True))
    ]
    assert found.score == pytest.approx((each[0].score + 3 * 2 ** -each[1].score) / 4)
    assert found.loss == pytest.approx(math.sqrt(each[0].loss * each[1].loss))
    assert found.rows is not None
    assert len(found.rows) == sum(len(one.rows) for one in each if one.rows is not None)


def test_another_process_gets_everything_but_the_sealed_rows(several: Bench) -> None:
    apart = several.without_sealed_rows()
    assert [len(part.dataset.sealed) for part in apart.parts] == [0, 0]
    assert all(len(part.dataset.sealed) > 0 for part in several.parts)
    assert apart.corpus.segments == several.corpus.segments
    assert [part.dataset.valid for part in apart.parts] == [part.dataset.valid for part in several.parts]


def test_wishes_are_checked_before_anything_is_built(colours: Table, stories: Table) -> None:
    tasks = [Told(COLOURS, [colours], "a"), Told(STORIES, [stories], "b")]
    bench = set_up_tasks(_config("search.space.sharing=own", "search.space.mixing_temperature=3"), tasks, 60.0)
    assert (bench.space.default["sharing"], bench.space.default["mixing_temperature"]) == ("own", 3)
    for wish in ("search.space.latents=2", "search.space.sharing=mine", "search.sampler=oracle"):
        with pytest.raises(ConfigError):
            set_up_tasks(_config(wish), tasks, 60.0)
    with pytest.raises(ConfigError):
        set_up(_config("search.space.sharing=own"), COLOURS, [colours], 60.0)


def _weight_of_stories(bench: Bench, config: dict[str, Any]) -> float:
    """How much the tokens of a story weigh beside what they do without a weight, in the batches of a trial."""
    candidate = candidate_of(bench, _config(), config)
    assert isinstance(candidate.batches, JointBatches)
    vocabulary, sums = candidate.model.config.vocab_size, [0.0, 0.0]
    for step in range(candidate.batches.steps_per_epoch):
        batch = candidate.batches.batch(step)
        for row, weights in zip(batch.ids_BT.tolist(), batch.weights_BT[:, 1:].sum(1).tolist(), strict=True):
            sums[row[0] - vocabulary] += weights
    return sums[1] / sums[0]


def test_the_weights_of_tasks_are_those_of_the_configuration_times_the_given(several: Bench) -> None:
    default = several.space.default
    assert default["weight_of_stories"] == 1.0
    assert "weight_of_colours" not in default
    before = {name: value for name, value in default.items() if name != "weight_of_stories"}
    plain = _weight_of_stories(several, default)
    assert _weight_of_stories(several, before) == pytest.approx(plain)  # recorded before weights were searched
    assert _weight_of_stories(several, {**default, "weight_of_stories": 2.0}) == pytest.approx(2 * plain, rel=1e-4)
    assert _weight_of_stories(several, {**default, "weight_of_colours": 4.0}) == pytest.approx(plain / 4, rel=1e-4)


def test_what_ranks_trials_has_the_given_weights_alone(several: Bench, colours: Table, stories: Table) -> None:
    config = _config("search.space.weight_of_stories=2", "search.space.weight_of_colours=0.5")
    tasks = [Told(COLOURS, [colours], "colours", 1.0), Told(STORIES, [stories], "stories", 3.0)]
    weighted = set_up_tasks(config, tasks, 60.0)
    assert (weighted.space.default["weight_of_stories"], weighted.space.default["weight_of_colours"]) == (2, 0.5)
    one, other = (candidate_of(bench, config, bench.space.default) for bench in (several, weighted))
    assert judge(weighted, other, other.model).score == judge(several, one, one.model).score


def test_rows_that_are_too_few_are_an_error(colours: Table, tmp_path: Path) -> None:
    few = _table(tmp_path, "few.csv", ["text", *[f"story {i}" for i in range(5)]])
    with pytest.raises(DataError):
        set_up_tasks(_config(), [Told(COLOURS, [colours], "a"), Told(STORIES, [few], "b")], 60.0)


def test_an_error_says_which_task_it_is_about(colours: Table, tmp_path: Path) -> None:
    few = _table(tmp_path, "few.csv", ["text", *[f"story {i}" for i in range(5)]])
    with pytest.raises(DataError, match="stories"):
        set_up_tasks(_config(), [Told(COLOURS, [colours], "colours"), Told(STORIES, [few], "stories")], 60.0)

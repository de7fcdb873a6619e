from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.search.gpt_space import Bases, space_for
from autogpt.search.neighbours import (
    Features,
    PastSearch,
    Proposal,
    distance,
    features_of,
    first_configs,
    past_searches,
)
from autogpt.search.portfolio import PORTFOLIO, portfolio_of
from autogpt.search.samplers.auto import AutoSampler
from autogpt.search.space import Space
from autogpt.search.trials import Report, Trial, same_config
from autogpt.store.artifacts import RunFolder
from autogpt.store.database import Store
from autogpt.tasks.spec import TaskKind, TaskSpec

SPEC = TaskSpec(
    description="d",
    kind=TaskKind.CLASSIFICATION,
    input_fields=["text"],
    output_field="label",
    labels=[str(number) for number in range(10)],
    input_language="zh",
    output_language="zh",
    metric="accuracy",
    direction="max",
    max_input_chars=100,
    max_output_chars=2,
)
SPACE = space_for(SPEC, 100_000)
NEW = Features("classification", ("zh", "zh"), 10, 1000, 100, 2, False, 60.0)
DEFAULT = SPACE.default
WON = {**DEFAULT, "lr": 0.003, "dropout": 0.3, "width": 96, "depth": 6}
OTHER = {**DEFAULT, "lr": 0.001}
WEAK = {**DEFAULT, "epochs": 10}


def bar(metric: str, score: float, comparisons: int) -> float:
    return {"accuracy": 0.1, "bits_per_byte": 0.02 * score}.get(metric, math.inf)


def trial(number: int, config: dict[str, Any], *scores: float) -> Trial:
    """Scored at a ninth, a third and the whole, as far as there are scores."""
    shares = (1 / 9, 1 / 3, 1.0)[: len(scores)]
    state = "finished" if len(scores) == 3 else "stopped"
    return Trial(number, config, state, tuple(map(Report, shares, scores)))


def past(*trials: Trial, run: str = "20260101-a", features: Features = NEW, metric: str = "accuracy") -> PastSearch:
    return PastSearch(run, features, metric, "min" if metric == "bits_per_byte" else "max", trials)


def won(config: dict[str, Any] = WON, **options: Any) -> PastSearch:
    """A search of three trials in which this configuration did best."""
    tried = (trial(0, DEFAULT, 0.2, 0.4, 0.5), trial(1, WEAK, 0.1), trial(2, config, 0.2, 0.5, 0.7))
    return past(*tried, **options)


def proposed(*searches: PastSearch, space: Space = SPACE, features: Features = NEW) -> list[dict[str, Any]]:
    """What neighbours alone give, without the portfolio."""
    return [one.config for one in first_configs(space, features, searches, bar=bar, portfolio=())]


# --- how near a task is ----------------------------------------------------------------------------------------------


def test_distance_by_hand() -> None:
    assert distance(NEW, NEW) == 0
    assert distance(NEW, replace(NEW, labels=100)) == pytest.approx(1)
    assert distance(NEW, replace(NEW, rows=100, budget_s=120.0)) == pytest.approx(1 + math.log10(2))
    assert distance(NEW, replace(NEW, input_chars=1000, answer_chars=20)) == pytest.approx(2)
    assert distance(NEW, replace(NEW, languages=("en", "zh"))) == 0.5
    assert distance(NEW, replace(NEW, languages=("en", "en"), from_base=True)) == 2
    assert distance(NEW, replace(NEW, rows=None)) == 0.5
    assert distance(NEW, replace(NEW, kind="extraction")) == math.inf
    assert distance(replace(NEW, labels=0, input_chars=0), replace(NEW, labels=1, input_chars=1)) == 0


@given(st.data())
def test_distance_is_a_metric(data: st.DataObject) -> None:
    numbers = st.integers(1, 10_000)
    some = st.builds(
        Features,
        st.just("classification"),
        st.tuples(st.sampled_from(["zh", "en"]), st.sampled_from(["zh", "en"])),
        numbers,
        numbers,
        numbers,
        numbers,
        st.booleans(),
        st.floats(1, 1e5),
    )
    one, two, three = data.draw(some), data.draw(some), data.draw(some)
    assert distance(one, one) == 0
    assert distance(one, two) == distance(two, one) >= 0
    assert distance(one, three) <= distance(one, two) + distance(two, three) + 1e-9


def test_features_of_a_spec() -> None:
    stored = json.loads(SPEC.model_dump_json())
    assert features_of(stored, rows=1000, start="scratch", budget_s=60.0) == NEW
    assert features_of(stored, rows=None, start="small", budget_s=60.0).from_base
    sparse = features_of({"kind": "generation", "input_language": None}, rows=1, start=None, budget_s=1.0)
    assert (sparse.languages, sparse.labels, sparse.input_chars, sparse.from_base) == (("en", "en"), 0, 0, False)


def test_features_in_words() -> None:
    assert str(NEW) == "classification, zh, 10 labels, 1,000 rows"
    answers = replace(NEW, kind="question_answering", languages=("en", "zh"), labels=0, rows=None)
    assert str(answers) == "question answering, en to zh"


# --- winners ---------------------------------------------------------------------------------------------------------


def test_the_winner_of_a_similar_task_comes_before_the_portfolio() -> None:
    found = first_configs(SPACE, NEW, [won(run="20260101-xyz")], bar=bar)
    origin = "best of run 20260101-xyz, a similar task: classification, zh, 10 labels, 1,000 rows"
    assert found[0] == Proposal(WON, origin, "20260101-xyz")
    assert [one.config for one in found[1:]] == portfolio_of(SPACE)
    assert {(one.origin, one.run) for one in found[1:]} == {("portfolio", None)}


def test_without_a_past_there_is_the_portfolio() -> None:
    assert [one.config for one in first_configs(SPACE, NEW, (), bar=bar)] == portfolio_of(SPACE)


def test_the_nearest_first_and_of_equals_the_newest() -> None:
    near, far = replace(NEW, rows=1100), replace(NEW, rows=5000)
    first, second, third = ({**DEFAULT, "lr": rate} for rate in (0.001, 0.0012, 0.0014))
    searches = [
        won(second, run="20260101-a", features=near),
        won(third, run="20260303-c", features=far),
        won(first, run="20260202-b", features=near),
        won(WON, run="20260404-d", features=replace(NEW, rows=9000)),
    ]
    assert proposed(*searches) == [first, second, third]


def test_the_same_winner_is_proposed_once_by_the_nearest() -> None:
    far = won(run="20260202-far", features=replace(NEW, rows=2000))
    found = first_configs(SPACE, NEW, [far, won(run="20260101-near")], bar=bar, portfolio=())
    assert [one.run for one in found] == ["20260101-near"]


@pytest.mark.parametrize(
    "features",
    [
        replace(NEW, kind="multi_label"),
        replace(NEW, rows=20_000),
        replace(NEW, languages=("en", "en"), rows=1100),
        replace(NEW, rows=None, labels=50),
    ],
)
def test_tasks_that_are_not_similar_say_nothing(features: Features) -> None:
    assert proposed(won(features=features)) == []
    assert proposed(won(features=replace(NEW, languages=("en", "en")))) == [WON]


def test_what_a_run_does_not_propose() -> None:
    default = trial(0, DEFAULT, 0.2, 0.4, 0.5)
    failed = Trial(3, OTHER, "failed", error="out of memory")
    assert proposed(past(default, trial(1, WON, 0.2, 0.4, 0.7))) == []  # two trials only
    assert proposed(past(default, trial(1, WON, 0.2, 0.4, 0.7), failed)) == []  # two with a score
    assert proposed(past(default, trial(1, WON, 0.1), trial(2, OTHER, 0.1))) == []  # its default was the best
    assert proposed(won({**WEAK, "epochs": 40})) == []  # the default of the new space


def test_a_winner_cut_short_has_to_pass_the_bar() -> None:
    """When no trial came to its end, the best of the furthest has only seeds to thank for a little."""
    default, weak = trial(0, DEFAULT, 0.2, 0.4), trial(1, WEAK, 0.1)
    assert proposed(past(default, weak, trial(2, WON, 0.2, 0.45))) == []
    assert proposed(past(default, weak, trial(2, WON, 0.2, 0.55))) == [WON]
    assert proposed(past(default, weak, trial(2, WON, 0.2, 0.55), metric="rougeL")) == []  # no bar is known


def test_a_winner_of_full_length_need_not_pass_it() -> None:
    default, weak = trial(0, DEFAULT, 0.2, 0.4, 0.5), trial(1, WEAK, 0.1)
    assert proposed(past(default, weak, trial(2, WON, 0.2, 0.4, 0.51))) == [WON]
    assert proposed(past(default, weak, trial(2, WON, 0.2, 0.4, 0.51), metric="rougeL")) == [WON]


def test_less_is_better_where_the_metric_says_so() -> None:
    tried = (trial(0, DEFAULT, 3.0, 2.5), trial(1, WEAK, 3.5))
    assert proposed(past(*tried, trial(2, WON, 3.0, 2.44), metric="bits_per_byte")) == [WON]
    assert proposed(past(*tried, trial(2, WON, 3.0, 2.4505), metric="bits_per_byte")) == []  # 2 % of 2.5
    assert proposed(past(*tried, trial(2, WON, 3.0, 2.56), metric="bits_per_byte")) == []


def test_shapes_are_taken_from_like_budgets_only() -> None:
    for budget_s, expected in ((30.0, WON), (120.0, WON), (121.0, {**WON, "width": 128, "depth": 4})):
        assert proposed(won(features=replace(NEW, budget_s=budget_s))) == [expected]


def test_values_become_the_nearest_that_the_space_allows() -> None:
    narrow = SPACE.narrowed({"lr": [1e-3, 2e-3], "dropout": [0.0, 0.1, 0.2]})
    assert proposed(won(), space=narrow) == [{**WON, "lr": 2e-3, "dropout": 0.2}]


def test_a_base_that_is_not_there_cannot_be_started_from() -> None:
    based = space_for(SPEC, 100_000, Bases(("small", "large"), "small"))
    winner = {**based.default, "method": "lora", "rank": 8, "lora_lr": 1e-3}
    winner = based.active({name: value for name, value in winner.items() if name != "base_lr"})
    search = past(
        trial(0, based.default, 0.2, 0.4, 0.5),
        trial(1, {**based.default, "epochs": 10}, 0.1),
        trial(2, winner, 0.2, 0.5, 0.7),
        features=replace(NEW, from_base=True),
    )
    ours = replace(NEW, from_base=True)
    assert proposed(search, space=based, features=ours) == [winner]
    assert proposed(search, space=space_for(SPEC, 100_000, Bases(("large",), "large")), features=ours) == []
    frozen = space_for(SPEC, 100_000, Bases(("small",), "small", methods=("full", "last_k")))
    assert proposed(search, space=frozen, features=ours) == []
    assert proposed(search, features=ours) == []  # from scratch only
    assert proposed(won(features=ours), space=based, features=ours) == [WON]


# --- the order of the portfolio --------------------------------------------------------------------------------------


def test_what_lost_clearly_elsewhere_goes_last() -> None:
    ours = portfolio_of(SPACE)
    search = past(
        trial(0, DEFAULT, 0.3, 0.4, 0.5),
        trial(1, ours[0], 0.1),  # by more than the bar
        trial(2, ours[1], 0.25),  # by less
        Trial(3, ours[2], "failed", error="out of memory"),
        trial(4, {**ours[3], "epochs": 10}, 0.0),  # not the portfolio's, but a variant of it
        trial(5, ours[4], 0.45),  # stopped although it was ahead
    )
    found = first_configs(SPACE, NEW, [search], bar=bar)
    assert [one.config for one in found] == [ours[1], *ours[3:], ours[0], ours[2]]
    task = "run 20260101-a, a similar task: classification, zh, 10 labels, 1,000 rows"
    assert found[-2].origin == f"portfolio, last: clearly worse than the default in {task}"
    assert found[-1].origin == f"portfolio, last: it failed in {task}"
    assert {one.origin for one in found[:-2]} == {"portfolio"}


def test_members_that_are_one_in_the_space_go_last_once() -> None:
    one, other = {"lr": 1e-3, "vocabulary": 8192}, {"lr": 1e-3, "vocabulary": 9000}
    (config,) = portfolio_of(SPACE, (one, other))
    search = past(trial(0, DEFAULT, 0.3), trial(1, config, 0.1), trial(2, WEAK, 0.1))
    found = first_configs(SPACE, NEW, [search], bar=bar, portfolio=(one, {"lr": 2.5e-3}, other))
    assert [one.config for one in found] == [{**DEFAULT, "lr": 2.5e-3}, config]


def test_a_member_of_the_portfolio_that_won_comes_first() -> None:
    ours = portfolio_of(SPACE)
    lost = past(trial(0, DEFAULT, 0.3), trial(1, ours[2], 0.1), trial(2, WEAK, 0.1), run="20260202-b")
    found = first_configs(SPACE, NEW, [lost, won(ours[2], run="20260101-a")], bar=bar)
    assert [one.config for one in found] == [ours[2], *ours[:2], *ours[3:]]
    assert found[0].run == "20260101-a"


def test_a_task_that_is_not_similar_does_not_change_the_order() -> None:
    search = past(trial(0, DEFAULT, 0.3), trial(1, portfolio_of(SPACE)[0], 0.1), trial(2, WEAK, 0.1))
    far = replace(search, features=replace(NEW, kind="extraction"))
    assert [one.config for one in first_configs(SPACE, NEW, [far], bar=bar)] == portfolio_of(SPACE)


# --- what always holds -----------------------------------------------------------------------------------------------

BASED = space_for(SPEC, 100_000, Bases(("small",), "small"))
SPACES = (
    SPACE,
    BASED,
    space_for(SPEC, 2_000_000),
    SPACE.narrowed({"lr": 1.23456e-3, "width": [96, 128], "block": "llama"}),
    BASED.narrowed({"start": "small", "method": ["full", "lora"]}),
    Space([SPACE["epochs"], SPACE["tokens_per_step"]]),
)
ODD = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.integers(-9, 9999), st.floats())


@st.composite
def searches(draw: st.DrawFn) -> list[PastSearch]:
    """Searches of any of the spaces, some with values that no space ever had."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        space, rng = draw(st.sampled_from(SPACES)), random.Random(draw(st.integers(0, 99)))
        configs = [space.default, *portfolio_of(space)[:2], *(space.sample(rng) for _ in range(3))]
        if draw(st.booleans()):
            configs[-1] = {**configs[-1], draw(st.sampled_from(space.names)): draw(ODD)}
        full = draw(st.integers(1, 3))
        trials = [trial(place, config, *[draw(st.floats(0, 1))] * full) for place, config in enumerate(configs)]
        features = replace(NEW, rows=draw(st.sampled_from([None, 800, 1000, 3000])), budget_s=draw(st.floats(30, 600)))
        found.append(past(*draw(st.permutations(trials)), run=f"2026010{number}-x", features=features))
    return found


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SPACES), searches(), st.randoms(use_true_random=False))
def test_members_of_the_space_each_once_in_whatever_order_the_past_comes(
    space: Space, known: list[PastSearch], rng: random.Random
) -> None:
    found = first_configs(space, NEW, known, bar=bar)
    configs = [one.config for one in found]
    for place, config in enumerate(configs):
        assert same_config(space.validate(config), config)
        assert not any(same_config(config, other) for other in (space.default, *configs[:place]))
    runs = [one.run for one in found if one.run is not None]
    assert len(runs) == len(set(runs)) <= 3
    assert [one.run for one in found[: len(runs)]] == runs
    assert len(configs) - len(runs) <= len(PORTFOLIO)
    # The sampler takes them as they are.
    assert portfolio_of(space, configs) == configs
    rng.shuffle(known)
    assert first_configs(space, NEW, known, bar=bar) == found


def test_the_sampler_tries_them_after_the_default() -> None:
    first = [one.config for one in first_configs(SPACE, NEW, [won()], bar=bar)]
    sampler, history = AutoSampler(SPACE, direction="max", first=first), []
    for number in range(5):
        history.append(trial(number, sampler.ask(history), 0.1, 0.1, 0.1))
    assert [one.config for one in history] == [DEFAULT, *first[:4]]


# --- from a store ----------------------------------------------------------------------------------------------------


def record(
    store: Store, search: PastSearch, *, kind: str = "classification", rows: int | None = 1000, state: str = "finished"
) -> str:
    """The run as the main path leaves it: its task, its trials, and its report where `rows` are given."""
    spec = json.loads(SPEC.model_dump_json()) | {"kind": kind, "metric": search.metric, "direction": search.direction}
    run = store.start_run("topic", spec=spec, fingerprint=search.run, config={}, budget_s=search.features.budget_s)
    for one in search.trials:
        store.record_trial(run.id, one.to_dict())
    if rows is not None:
        RunFolder(run.folder).report_json.write_text(json.dumps({"splits": {"train": rows}}), encoding="utf-8")
    if state != "running":
        store.finish_run(run.id, state)
    return run.id


def test_two_runs_of_a_store(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        far = record(store, won(OTHER), rows=3000)
        near = record(store, won())
        found = past_searches(store, NEW)
        assert [(one.run, one.features.rows) for one in found] == [(near, 1000), (far, 3000)]
        assert found[0] == won(run=near)
        proposals = first_configs(SPACE, NEW, found, bar=bar)
    assert [(one.run, one.config) for one in proposals[:2]] == [(near, WON), (far, OTHER)]
    assert proposals[0].origin == f"best of run {near}, a similar task: classification, zh, 10 labels, 1,000 rows"


def test_runs_of_a_store_that_are_not_asked(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert past_searches(store, NEW) == []
        record(store, won(), kind="multi_label")
        record(store, won(), rows=20_000)
        record(store, won(), state="failed")
        record(store, won(), state="running")
        record(store, past(*won().trials[:2]))
        record(store, past(trial(0, DEFAULT, 0.1), trial(1, WON, 0.2), Trial(2, OTHER, "failed")))
        record(store, won(features=replace(NEW, budget_s=60_000.0)))
        assert past_searches(store, NEW) == []
        unknown = record(store, won(), rows=None)
        assert [(one.run, one.features.rows) for one in past_searches(store, NEW)] == [(unknown, None)]


def test_three_runs_of_many_are_asked(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        ids = [record(store, won(run=str(number)), rows=1000 + 10 * number) for number in range(5)]
        assert [one.run for one in past_searches(store, NEW)] == ids[:3]


def test_rows_are_looked_up_before_a_run_is_too_far(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = record(store, won(features=replace(NEW, budget_s=540.0)))
        assert [one.run for one in past_searches(store, NEW)] == [run]

"""What every registered sampler must keep, beyond `SamplerContract`: any space, any history, any interruption."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Generator, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.errors import TrainingError
from autogpt.events import Event
from autogpt.registry import SAMPLERS
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers import Sampler
from autogpt.search.space import Choice, Config, Float, Int, Parameter, Space
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Direction, Report, Study, Trial
from autogpt.testing import conditional_space, quadratic_space

every_sampler = pytest.mark.parametrize(
    "name",
    # A proposal of a Gaussian process takes a quarter of a second.
    [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in sorted(SAMPLERS)],
)

SCALARS = ("a", "b", "1", None, True, False, 1, 2, 8, 0.1, 0.5)
"""Values of random choices; text, numbers and constants may stand side by side."""


@pytest.fixture(autouse=True, scope="module")
def no_language_model() -> Iterator[None]:
    """What asks a language model has to get on without: nobody listens at its address."""
    with socket.socket() as taken, pytest.MonkeyPatch.context() as patch:
        taken.bind(("127.0.0.1", 0))
        patch.setenv("AUTOGPT_LLM_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        yield


def make(name: str, space: Space, seed: int = 0, direction: Direction = "max") -> Sampler:
    sampler: Sampler = SAMPLERS.get(name)(space, seed, direction=direction)
    return sampler


@st.composite
def dimensions(draw: st.DrawFn) -> Float | Int | Choice:
    kind = draw(st.sampled_from(("float", "int", "choice")))
    log = draw(st.booleans())
    if kind == "float":
        low, high = sorted(draw(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=2)))
        return Float(low, high, log) if log else Float(-high, low)
    if kind == "int":
        low = draw(st.integers(1, 100))
        return Int(low, low + draw(st.sampled_from((0, 1, 2, 9, 10, 11, 500))), log)
    return Choice(tuple(draw(st.lists(st.sampled_from(SCALARS), min_size=1, max_size=5, unique_by=repr))))


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """One to six parameters, each on its own or under values of an earlier choice, which may have a parent itself."""
    parameters: list[Parameter] = []
    for number in range(draw(st.integers(1, 6))):
        dimension = draw(dimensions())
        parents = [parent for parent in parameters if isinstance(parent.dimension, Choice)]
        when = None
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            when = {parent.name: (draw(st.sampled_from(parent.dimension.values)),)}
        default = dimension.sample(random.Random(draw(st.integers(0, 99))))
        parameters.append(Parameter(f"p{number}", dimension, default, when))
    return Space(parameters)


@st.composite
def outcomes(draw: st.DrawFn, number: int, config: Config) -> Trial:
    """Any way for a trial to end."""
    state = draw(st.sampled_from(("finished", "stopped", "failed")))
    scores = draw(st.lists(st.floats(-1e3, 1e3), min_size=0 if state == "failed" else 1, max_size=3))
    reports = tuple(Report(share, score) for share, score in zip((1 / 9, 1 / 3, 1.0), scores, strict=False))
    return Trial(number, config, state, reports)


@every_sampler
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_proposals_are_members_of_any_space_after_any_history(name: str, data: st.DataObject) -> None:
    space, seed = data.draw(spaces()), data.draw(st.integers(0, 2**32))
    direction: Direction = data.draw(st.sampled_from(("max", "min")))
    history: list[Trial] = []
    for number in range(9):
        config = make(name, space, seed, direction).ask(history)
        assert space.validate(config) == config
        assert list(config) == [p.name for p in space.parameters if p.is_active(config)]
        assert json.loads(json.dumps(config)) == config
        history.append(data.draw(outcomes(number, config)))


@every_sampler
@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_the_user_fixed_stays_fixed_although_the_history_is_wider(name: str, data: st.DataObject) -> None:
    space = data.draw(spaces())
    rng = random.Random(data.draw(st.integers(0, 999)))
    wished = space.sample(rng)
    wishes = {key: value for key, value in wished.items() if rng.random() < 0.6}
    for parameter in space.parameters:  # a range for some of the other numbers
        if parameter.name in wished and parameter.name not in wishes and not isinstance(parameter.dimension, Choice):
            wishes[parameter.name] = sorted((wished[parameter.name], parameter.dimension.sample(rng)))
    narrow = space.narrowed(wishes)
    history = [data.draw(outcomes(number, space.sample(rng))) for number in range(5)]
    history += [data.draw(outcomes(number, narrow.sample(rng))) for number in range(5, 10)]
    config = make(name, narrow).ask(history)
    assert narrow.validate(config) == config
    assert space.contains(config)
    for key, wish in wishes.items():
        if key in config:
            assert wish[0] <= config[key] <= wish[1] if isinstance(wish, list) else config[key] == wish


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(sampler: Sampler, *, trials: int, history: tuple[Trial, ...] = ()) -> Study:
    """A search with a race, in which every seventh trial fails: fails, or is judged at 1/9, at 1/3 and at its end."""
    clock = Clock()

    def objective(job: Job) -> Generator[Event, None, Report]:
        yield from ()
        if job.number % 7 == 3:
            raise TrainingError("no memory left")
        clock.now += 1.0
        return Report(job.until, job.config["lr"] * 100 + job.until - len(job.config) / 10)

    search = optimize(
        sampler.space, Inline(objective), sampler, Racing(), Budget(1e9, clock), history=history, limits=Limits(trials)
    )
    while True:
        try:
            next(search)
        except StopIteration as stop:
            study: Study = stop.value
            return study


def _timeless(trial: Trial) -> Trial:
    return replace(trial, seconds=0.0, reports=tuple(replace(report, at=0.0) for report in trial.reports))


@every_sampler
@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_resumed_search_goes_on_as_an_unbroken_one(name: str, direction: Direction) -> None:
    space = conditional_space()
    unbroken = run(make(name, space, 3, direction), trials=20)
    assert {trial.state for trial in unbroken.trials} == {"finished", "stopped", "failed"}
    for cut in (1, 5, 6, 13):
        stored = [Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) for trial in unbroken.trials[:cut]]
        resumed = run(make(name, space, 3, direction), trials=20, history=tuple(stored))
        assert [_timeless(trial) for trial in resumed.trials] == [_timeless(trial) for trial in unbroken.trials]


@every_sampler
def test_more_is_better_is_less_is_better_with_the_signs_changed(name: str) -> None:
    space = conditional_space()
    rng = random.Random(4)
    for seed in range(6):
        history: list[Trial] = []
        for number in range(6 + 2 * seed):
            reports = tuple(Report(share, rng.gauss(0, 1)) for share in (1 / 9, 1 / 3, 1.0)[: 1 + number % 3])
            state = "failed" if number % 5 == 4 else "finished" if len(reports) == 3 else "stopped"
            history.append(Trial(number, space.sample(rng), state, reports))
        mirrored = [
            replace(
                trial,
                reports=tuple(replace(report, score=-report.score, value=-report.value) for report in trial.reports),
            )
            for trial in history
        ]
        assert make(name, space, seed, "max").ask(history) == make(name, space, seed, "min").ask(mirrored)


@every_sampler
def test_a_tiny_space_is_tried_completely_and_nothing_twice(name: str) -> None:
    space = Space(
        [
            Parameter("lr", Choice((1e-4, 1e-3, 1e-2)), 1e-3),
            Parameter("method", Choice(("full", "lora")), "full"),
            Parameter("rank", Int(8, 9), 8, when={"method": ("lora",)}),
        ]
    )
    study = run(make(name, space), trials=50)
    tried = {json.dumps(trial.config, sort_keys=True) for trial in study.trials}
    assert len(tried) == len(study.trials) == 3 * (1 + 2)
    assert study.ended == "every configuration of the space that could be drawn was tried"


@every_sampler
def test_a_space_in_which_nothing_is_free(name: str) -> None:
    space = conditional_space().narrowed({"start": "base", "method": "full", "lr": 1e-3, "tied": True})
    history = [Trial(number, space.default, "finished", (Report(1.0, 0.0),)) for number in range(9)]
    assert make(name, space).ask(history) == space.default
    assert len(run(make(name, space), trials=9).trials) == 1


@every_sampler
def test_the_first_proposals_are_those_of_random_search(name: str) -> None:
    space = quadratic_space()
    history: list[Trial] = []
    for number in range(5):
        config = make(name, space, 7).ask(history)
        assert config == make("random", space, 7).ask(history)
        history.append(Trial(number, config, "finished", (Report(1.0, float(number)),)))


@every_sampler
def test_proposals_do_not_read_or_change_the_global_random_state(name: str) -> None:
    space = conditional_space()
    history = [Trial(n, space.sample(random.Random(n)), "finished", (Report(1.0, float(n)),)) for n in range(9)]
    random.seed(1)
    before = random.getstate()
    first = make(name, space).ask(history)
    assert random.getstate() == before
    random.seed(2)
    assert make(name, space).ask(history) == first


@pytest.mark.parametrize("name", ["genetic", "rl"])
def test_failed_regions_are_left(name: str) -> None:
    space = quadratic_space()
    history: list[Trial] = []
    for number in range(40):
        config = make(name, space).ask(history)
        if config["x"] > 0:
            history.append(Trial(number, config, "failed", error="oom"))
        else:
            history.append(Trial(number, config, "finished", (Report(1.0, 0.0),)))
    assert sum(trial.state == "failed" for trial in history[20:]) <= 5

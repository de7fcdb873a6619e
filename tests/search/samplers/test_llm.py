"""Advice of a language model, from a real server on this machine whose answers are scripted."""

from __future__ import annotations

import json
import logging
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from autogpt.endpoint import Endpoint
from autogpt.errors import ConfigError
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.llm import LLMSampler, answer_in, is_advised, question, schema_of
from autogpt.search.space import Choice, Config, Float, Int, Parameter, Space
from autogpt.search.trials import Direction, Report, Trial
from autogpt.testing import SamplerContract, conditional_space, quadratic_space, said, scripted_llm

Script = Callable[[dict[str, Any]], tuple[int, str]]
"""What the server answers to a request: the status, and what its model writes."""


@dataclass
class Server:
    """A scripted model; `seen` holds what it was asked."""

    endpoint: Endpoint
    script: Script
    seen: list[dict[str, Any]]

    def __call__(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        self.seen.append(body)
        status, content = self.script(body)
        return status, said(content)[1]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server(Endpoint("http://127.0.0.1:1/v1"), nonsense, [])
    with scripted_llm(server) as llm:
        server.endpoint = Endpoint(llm.url, "scripted")
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.script, running.seen = nonsense, []
    return running


def nonsense(request: dict[str, Any]) -> tuple[int, str]:
    return 200, "Try a larger learning rate {or} a smaller one."


def drawn(request: dict[str, Any]) -> tuple[int, str]:
    """A value for each property of the schema, drawn by the request: what an obedient model can answer at most."""
    rng = random.Random(json.dumps(request, sort_keys=True))
    answer: dict[str, Any] = {}
    for name, rule in request["response_format"]["json_schema"]["schema"]["properties"].items():
        if "enum" in rule:
            answer[name] = rng.choice(rule["enum"])
        elif rule["type"] == "integer":
            answer[name] = rng.randint(rule["minimum"], rule["maximum"])
        else:
            answer[name] = rng.uniform(rule["minimum"], rule["maximum"])
    return 200, json.dumps(answer)


def always(content: object, status: int = 200) -> Script:
    return lambda request: (status, content if isinstance(content, str) else json.dumps(content))


def history_of(space: Space, trials: int) -> list[Trial]:
    """`trials` random trials with scores below 1; every fifth has failed, every third was stopped with one above 1."""
    rng, history = random.Random(7), []
    for number in range(trials):
        config = space.sample(rng) if number else space.default
        report = Report(1 / 3, 1.0 + rng.random()) if number % 3 == 1 else Report(1.0, rng.random())
        if number % 5 == 4:
            history.append(Trial(number, config, "failed", error=f"out of memory\nin trial {number}"))
        else:
            history.append(Trial(number, config, "stopped" if number % 3 == 1 else "finished", (report,)))
    return history


def turn(seed: int = 0, after: int = 5) -> int:
    """The first trial from `after` on that is the model's."""
    return next(number for number in range(after, 99) if is_advised(seed, number))


class TestWithAModelThatTalksNonsense(SamplerContract):
    @pytest.fixture(autouse=True)
    def serve(self, server: Server) -> None:
        self.server = server

    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> LLMSampler:
        return LLMSampler(space, seed, direction=direction, endpoint=self.server.endpoint)

    def test_it_is_bayesian_search(self) -> None:
        space = conditional_space()
        for number in range(12):
            history = history_of(space, number)
            assert self.make(space).ask(history) == BayesSampler(space, direction="max").ask(history)
        assert len(self.server.seen) == 2 * sum(is_advised(0, number) for number in range(12))


class TestWithAModelThatAnswers(SamplerContract):
    @pytest.fixture(autouse=True)
    def serve(self, server: Server) -> None:
        self.server = server
        server.script = drawn

    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> LLMSampler:
        return LLMSampler(space, seed, direction=direction, endpoint=self.server.endpoint)

    def test_its_answer_is_the_proposal(self) -> None:
        space = quadratic_space()
        for number in range(12):
            history, before = history_of(space, number), len(self.server.seen)
            proposal = self.make(space).ask(history)
            assert (len(self.server.seen) > before) == is_advised(0, number)
            if is_advised(0, number):
                assert proposal == json.loads(drawn(self.server.seen[-1])[1])
                assert proposal != BayesSampler(space, direction="max").ask(history)


def test_three_of_ten_trials_are_the_models_and_the_seed_says_which() -> None:
    for seed in range(5):
        advised = [number for number in range(101) if is_advised(seed, number)]
        assert len(advised) == 30
        assert 0 not in advised
        assert set(Counter((number - 1) // 10 for number in advised).values()) == {3}
        assert advised == [number for number in range(101) if is_advised(seed, number)]
    assert len({tuple(is_advised(seed, number) for number in range(1, 31)) for seed in range(20)}) == 20


def test_what_the_model_is_told_and_how_it_is_asked(server: Server) -> None:
    space, number = conditional_space(), turn(3, 30)
    server.script = drawn
    history = history_of(space, number)
    LLMSampler(space, 3, direction="min", endpoint=server.endpoint).ask(history)
    request = server.seen[0]
    text = request["messages"][1]["content"]
    assert (request["model"], request["temperature"], request["seed"]) == ("scripted", 0.0, 3)
    assert "as small as possible" in text
    assert "rank | 4 to 64 | 16 | method = lora | " in text
    assert json.dumps(BayesSampler(space, 3, direction="min").ask(history)) in text
    sections = dict(part.split(":\n", 1) for part in text.split("\n\n")[1:])
    best = [json.loads(line) for line in sections["The best trials so far"].splitlines()]
    finished = sorted((trial.score, trial.number) for trial in history if trial.state == "finished")
    assert [row["trial"] for row in best] == [place for _, place in finished[:5]]
    last = [json.loads(line) for line in sections["The last trials"].splitlines()]
    scored = [trial for trial in history if trial.state != "failed"][-20:]
    assert [(row["trial"], row["config"]) for row in last] == [(trial.number, trial.config) for trial in scored]
    assert {row["share"] for row in last} == {0.333, 1.0}
    failed = [json.loads(line) for line in sections["Trials that failed"].splitlines()]
    assert failed[0]["error"] == "out of memory in trial 4"


def test_the_question_of_the_first_trial_and_of_strange_ones_can_be_put() -> None:
    space = conditional_space()
    text = question(space, "max", [], space.default)[1]["content"]
    assert text.count("none") == 3
    outside = Trial(0, {"start": "elsewhere"}, "finished", (Report(1.0, 1.0),))
    silent = Trial(1, space.default, "running")
    endless = Trial(2, space.sample(random.Random(0)), "finished", (Report(1.0, float("inf")),))
    rows = question(space, "max", [outside, silent, endless], space.default)[1]["content"]
    assert "elsewhere" not in rows
    assert '"state": "running"' in rows


def test_a_bad_answer_is_asked_for_once_more_with_the_error(server: Server) -> None:
    space, number = quadratic_space(), turn()
    good = {"x": 1.0, "y": -1.5, "z": 0.25}

    def script(request: dict[str, Any]) -> tuple[int, str]:
        return 200, json.dumps(good if len(request["messages"]) == 4 else {**good, "y": -7.0})

    server.script = script
    assert LLMSampler(space, direction="max", endpoint=server.endpoint).ask(history_of(space, number)) == good
    assert [message["role"] for message in server.seen[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert "search parameter 'y'; found -7.0; expected -5 to 5" in server.seen[1]["messages"][3]["content"]


def test_a_server_without_schemas_still_gives_advice(server: Server) -> None:
    space, number = conditional_space(), turn()
    text = '<think>{"start": 1}</think>Here:\n```json\n{"start": "base", "method": "lora", "rank": 9, "lr": 2e-4, '
    text += '"width": 64, "tied": false}\n```'
    server.script = lambda request: (400, "") if "response_format" in request else (200, text)
    proposal = LLMSampler(space, direction="max", endpoint=server.endpoint).ask(history_of(space, number))
    assert proposal == {"start": "base", "method": "lora", "rank": 9, "lr": 2e-4, "tied": False}


@pytest.mark.parametrize(
    "script", [nonsense, always({}), always("{" * 100_000 + "}"), always("", 500), always("no", 401), always("")]
)
def test_whatever_goes_wrong_is_said_once_and_the_search_goes_on(
    script: Script, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = script
    space = quadratic_space()
    sampler = LLMSampler(space, direction="max", endpoint=server.endpoint)
    with caplog.at_level(logging.WARNING):
        for number in range(25):
            history = history_of(space, number)
            assert sampler.ask(history) == BayesSampler(space, direction="max").ask(history)
    assert len([record for record in caplog.records if record.name.startswith("autogpt")]) == 1


@pytest.mark.parametrize("status", [200, 500])
def test_an_endpoint_that_failed_twice_in_a_row_is_left_alone(status: int, server: Server) -> None:
    server.script = always("" if status == 200 else "broken", status)
    sampler = LLMSampler(quadratic_space(), direction="max", endpoint=server.endpoint)
    for number in range(31):
        sampler.ask(history_of(quadratic_space(), number))
    assert len(server.seen) == 2


def test_an_endpoint_that_fails_now_and_then_is_asked_again(server: Server) -> None:
    replies = iter([(500, "broken"), (200, "nonsense"), (200, "nonsense")] * 20)
    server.script = lambda request: next(replies)
    sampler = LLMSampler(quadratic_space(), direction="max", endpoint=server.endpoint)
    for number in range(31):
        sampler.ask(history_of(quadratic_space(), number))
    assert len(server.seen) == 5 * 1 + 4 * 2, "nine trials, every other one without an answer"


def test_a_refused_connection_does_not_show_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "m", "sk-do-not-show")
    space, number = quadratic_space(), turn()
    sampler = LLMSampler(space, direction="max", endpoint=endpoint)
    assert space.contains(sampler.ask(history_of(space, number)))
    assert "cannot be reached" in caplog.text
    assert "sk-do-not-show" not in caplog.text + repr(vars(sampler))


def test_no_endpoint_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.delenv("AUTOGPT_LLM_URL", raising=False)
    with pytest.raises(ConfigError, match="set AUTOGPT_LLM_URL"):
        LLMSampler(quadratic_space(), direction="max")
    monkeypatch.setenv("AUTOGPT_LLM_URL", "http://192.0.2.1/v1")
    with pytest.raises(ConfigError, match="AUTOGPT_OFFLINE forbids"):
        LLMSampler(quadratic_space(), direction="max")
    monkeypatch.setenv("AUTOGPT_LLM_URL", server.endpoint.url)
    monkeypatch.setenv("AUTOGPT_LLM_MODEL", "named")
    server.script = drawn
    LLMSampler(quadratic_space(), direction="max").ask(history_of(quadratic_space(), turn()))
    assert server.seen[0]["model"] == "named"


def test_the_schema_of_a_space() -> None:
    space = Space(
        [
            Parameter("kind", Choice(("a", None)), "a"),
            Parameter("deep", Int(2, 9), 4, when={"kind": ("a",)}),
            Parameter("lr", Float(1e-5, 1e-2, log=True), 1e-3),
            Parameter("tied", Choice((True, False)), True),
            Parameter("size", Choice((64, 0.5)), 64),
        ]
    )
    assert schema_of(space) == {
        "type": "object",
        "properties": {
            "kind": {"type": ["null", "string"], "enum": ["a", None]},
            "deep": {"type": "integer", "minimum": 2, "maximum": 9},
            "lr": {"type": "number", "minimum": 1e-5, "maximum": 1e-2},
            "tied": {"type": "boolean", "enum": [True, False]},
            "size": {"type": "number", "enum": [64, 0.5]},
        },
        "required": ["kind", "deep", "lr", "tied", "size"],
        "additionalProperties": False,
    }


GOOD: Config = {"start": "scratch", "width": 64, "lr": 1e-3, "tied": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not one JSON object"),
        ("no idea", "not one JSON object"),
        ('{"start": "scratch"} or {"start": "base"}', "not one JSON object"),
        ("}{", "not one JSON object"),
        ('{"width": ' + "[" * 100_000 + "}", "not one JSON object"),
        (json.dumps({**GOOD, "width": {"is": 64}}), "'width' is not a plain value"),
        (json.dumps({**GOOD, "start": ["scratch"]}), "'start' is not a plain value"),
        (json.dumps({**GOOD, "widht": 64}), "did you mean 'width'"),
        (json.dumps({**GOOD, "width": 513}), "'width'; found 513; expected 32 to 512"),
        (json.dumps({**GOOD, "width": 64.5}), "'width'; found 64.5"),
        (json.dumps({**GOOD, "width": 10**400}), "too large"),
        (json.dumps({**GOOD, "lr": float("nan")}), "'lr'; found nan"),
        (json.dumps({**GOOD, "lr": True}), "'lr'; found True"),
        (json.dumps({**GOOD, "tied": 1}), "'tied'; found 1"),
        (json.dumps({**GOOD, "start": "base"}), "'method' is missing"),
        (json.dumps({**conditional_space().default, "rank": 8}), "tried already"),
    ],
)
def test_an_answer_that_is_refused(text: str, expected: str) -> None:
    space = conditional_space()
    with pytest.raises(ConfigError, match=expected) as caught:
        answer_in(text, space, [Trial(0, space.default, "finished", (Report(1.0, 1.0),))])
    assert len(str(caught.value)) < 400


def test_an_answer_in_the_types_of_the_space() -> None:
    text = 'So: {"tied": false, "lr": "3e-4", "rank": 5, "method": "full", "width": 64.0, "start": "scratch"}.'
    config = answer_in(text, conditional_space(), [])
    assert list(config.items()) == [("start", "scratch"), ("width", 64), ("lr", 3e-4), ("tied", False)]
    assert isinstance(config["width"], int)

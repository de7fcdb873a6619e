"""Contract tests that every implementation of a protocol must pass, ours and third parties' alike.

Inherit from a contract in a test module, say how the object is made, and pytest runs the rest:

    class TestMySampler(SamplerContract):
        def make(self, space, seed=0, direction="max"):
            return MySampler(space, seed, direction=direction)

Nothing here imports torch or pytest.
"""

from __future__ import annotations

import json
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from autogpt.events import Event
from autogpt.search.executor import Executor, Job, Objective, Outcome
from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers import Sampler
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.space import Choice, Config, Float, Int, Parameter, Space
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Direction, Report, Study, Trial

__all__ = [
    "ExecutorContract",
    "SamplerContract",
    "ScriptedLLM",
    "conditional_space",
    "quadratic_space",
    "said",
    "scripted_llm",
    "squares",
]


def quadratic_space() -> Space:
    """Three floats in [-5, 5], default 4: for `quadratic`-like objectives with their optimum inside."""
    return Space([Parameter(name, Float(-5.0, 5.0), 4.0) for name in ("x", "y", "z")])


def conditional_space() -> Space:
    """One parameter of each kind and two branches that share nothing but the root."""
    return Space(
        [
            Parameter("start", Choice(("scratch", "base")), "scratch"),
            Parameter("width", Int(32, 512, log=True), 128, when={"start": ("scratch",)}),
            Parameter("method", Choice(("full", "lora")), "full", when={"start": ("base",)}),
            Parameter("rank", Int(4, 64), 16, when={"method": ("lora",)}),
            Parameter("lr", Float(1e-5, 1e-2, log=True), 1e-3),
            Parameter("tied", Choice((True, False)), True),
        ]
    )


class SamplerContract(ABC):
    """What `autogpt.search.samplers.Sampler` promises."""

    @abstractmethod
    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> Sampler:
        """A fresh sampler."""

    def run(self, space: Space, score: Callable[[Config], float], trials: int, seed: int = 0) -> list[Trial]:
        """`trials` trials with a new sampler for each, as after as many restarts."""
        history: list[Trial] = []
        for number in range(trials):
            config = self.make(space, seed).ask(history)
            history.append(Trial(number, config, "finished", (Report(1.0, score(config)),)))
        return history

    def test_first_proposal_is_the_default(self) -> None:
        for space in (quadratic_space(), conditional_space()):
            assert self.make(space).ask([]) == space.default

    def test_changing_a_proposal_changes_nothing_else(self) -> None:
        sampler = self.make(quadratic_space())
        sampler.ask([])["x"] = 0.0
        assert sampler.ask([]) == quadratic_space().default

    def test_proposals_are_members_of_the_space_and_plain_json(self) -> None:
        space = conditional_space()
        for trial in self.run(space, lambda config: config["lr"], 20):
            assert space.validate(trial.config) == trial.config
            assert json.loads(json.dumps(trial.config)) == trial.config

    def test_branches_of_a_condition_are_both_proposed(self) -> None:
        starts = {trial.config["start"] for trial in self.run(conditional_space(), lambda config: 0.0, 25)}
        assert starts == {"scratch", "base"}

    def test_same_seed_and_history_give_the_same_proposal(self) -> None:
        space = conditional_space()
        history = self.run(space, lambda config: config["lr"], 12)
        asked_before = self.make(space)
        for length in range(13):  # one sampler that saw all of it, against a new one for each proposal
            assert asked_before.ask(history[:length]) == self.make(space).ask(history[:length])

    def test_history_from_json_and_in_any_order_gives_the_same_proposal(self) -> None:
        space = conditional_space()
        history = self.run(space, lambda config: config["lr"], 12)
        stored = [Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) for trial in history]
        random.Random(0).shuffle(stored)
        assert self.make(space).ask(stored) == self.make(space).ask(history)

    def test_seeds_differ(self) -> None:
        space = quadratic_space()
        assert self.run(space, lambda config: 0.0, 3, seed=1) != self.run(space, lambda config: 0.0, 3, seed=2)

    def test_asking_does_not_change_the_history(self) -> None:
        history = self.run(quadratic_space(), lambda config: config["x"], 8)
        before = list(history)
        self.make(quadratic_space()).ask(history)
        assert history == before

    def test_failed_and_stopped_trials_are_taken(self) -> None:
        space = conditional_space()
        history: list[Trial] = []
        for number in range(12):
            config = self.make(space).ask(history)
            reports = (Report(1 / 9, float(number)), Report(1 / 3, -float(number)))
            history.append(
                (
                    Trial(number, config, "failed", error="out of memory"),
                    Trial(number, config, "stopped", reports[: 1 + number % 2], reason="place 9"),
                    Trial(number, config, "finished", (*reports, Report(1.0, 1.0))),
                )[number % 3]
            )
            assert space.contains(self.make(space).ask(history))

    def test_only_failed_trials_are_taken(self) -> None:
        space = conditional_space()
        history = [Trial(number, space.sample(random.Random(number)), "failed", error="no") for number in range(10)]
        assert space.contains(self.make(space).ask(history))

    def test_history_from_a_wider_space_is_taken(self) -> None:
        history = self.run(conditional_space(), lambda config: config["lr"], 12)
        narrow = conditional_space().narrowed({"start": "base", "lr": [1e-4, 1e-3]})
        assert narrow.contains(self.make(narrow).ask(history))

    def test_a_space_of_one_configuration(self) -> None:
        space = Space([Parameter("lr", Float(1e-3, 1e-3), 1e-3), Parameter("base", Choice(("a",)), "a")])
        assert {json.dumps(trial.config) for trial in self.run(space, lambda config: 0.0, 8)} == {
            json.dumps(space.default)
        }


class ExecutorContract(ABC):
    """What `autogpt.search.executor.Executor` promises."""

    @abstractmethod
    def make(self, objective: Callable[[], Objective], workers: int) -> Executor:
        """A fresh executor with as many workers, or fewer where it cannot have them; `objective` can be pickled."""

    def outcomes(self, executor: Executor, jobs: Sequence[Job]) -> tuple[list[Outcome], list[Event]]:
        """Runs all jobs, as many at a time as the executor takes."""
        waiting, running, ended, events = list(jobs), 0, [], []
        while waiting or running:
            while waiting and running < executor.workers:
                executor.submit(waiting.pop(0))
                running += 1
            happened = executor.wait()
            if isinstance(happened, Event):
                events.append(happened)
            else:
                ended.append(happened)
                running -= 1
        return ended, events

    def test_each_job_has_one_outcome_after_its_events(self) -> None:
        jobs = [Job(number, {"x": float(number)}, 0.0, 0.5) for number in range(7)]
        with closing(self.make(squares, 2)) as executor:
            ended, events = self.outcomes(executor, jobs)
        assert sorted(outcome.job.number for outcome in ended) == list(range(7))
        assert {outcome.job.number: outcome.report and outcome.report.score for outcome in ended} == {
            number: -float(number * number) for number in range(7)
        }
        assert sorted(event.data["number"] for event in events) == sorted([*range(7)] * 2)

    def test_a_failure_is_the_outcome_of_its_own_job(self) -> None:
        jobs = [Job(number, {"x": x}, 0.0, 1.0) for number, x in enumerate((1.0, -1.0, 2.0))]
        with closing(self.make(squares, 2)) as executor:
            ended, _ = self.outcomes(executor, jobs)
        errors = {outcome.job.number: outcome.error for outcome in ended}
        assert errors == {0: "", 1: "RuntimeError: x is -1.0", 2: ""}
        assert not any(outcome.lost for outcome in ended)

    def test_an_error_that_is_not_the_trials_own_is_raised(self) -> None:
        with closing(self.make(squares, 1)) as executor:
            executor.submit(Job(0, {}, 0.0, 1.0))
            raised = ""
            try:
                while isinstance(executor.wait(), Event):
                    pass
            except Exception as error:
                raised = f"{type(error).__name__}: {error}"
        assert "KeyError" in raised  # a missing key is a fault of the program, not of the trial

    def test_closing_gives_up_what_is_running(self) -> None:
        executor = self.make(squares, 1)
        executor.submit(Job(0, {"x": 1.0}, 0.0, 1.0))
        assert isinstance(executor.wait(), Event)
        executor.close()
        executor.close()

    def test_a_search_finds_the_same_best_trial_as_any_other_executor(self) -> None:
        space = quadratic_space()
        sampler = RandomSampler(space, direction="max")
        search = optimize(space, self.make(squares, 2), sampler, Racing(keep=1.0), Budget(1e9), limits=Limits(8))
        while True:
            try:
                next(search)
            except StopIteration as end:
                study: Study = end.value
                break
        assert [trial.state for trial in study.trials] == ["finished"] * 8
        assert study.best is not None
        assert study.best.score == max(-(float(trial.config["x"]) ** 2) for trial in study.trials)


def squares() -> Objective:
    """An objective whose score is -x², for x that is not -1."""

    def objective(job: Job) -> Generator[Event, None, Report]:
        for step in range(2):
            yield Event("training.step", {"number": job.number, "step": step})
        if job.config["x"] == -1.0:
            raise RuntimeError("x is -1.0")
        return Report(job.until, -(float(job.config["x"]) ** 2))

    return objective


class ScriptedLLM(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint on this machine whose answers a script makes; see `scripted_llm`.

    Attributes:
        url: its address, up to and including the version.
        seen: the requests so far: path, headers (names in lower case) and body.
    """

    def __init__(self, script: Callable[[str, dict[str, Any]], tuple[int, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.script = script
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []


class _Answers(BaseHTTPRequestHandler):
    server: ScriptedLLM

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        status, text = self.server.script(self.path, body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Location", "/v1/elsewhere")  # read with a status of 3xx only
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@contextmanager
def scripted_llm(script: Callable[[str, dict[str, Any]], tuple[int, str]]) -> Iterator[ScriptedLLM]:
    """A running `ScriptedLLM`. `script` makes of a request's path and body (empty for GET) the status and the text of
    the answer."""
    with ScriptedLLM(script) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def said(content: object) -> tuple[int, str]:
    """The reply of an endpoint whose model wrote `content`."""
    return 200, json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]})

"""Bayesian search with advice: a language model behind an endpoint proposes three trials of ten.

Ferreira et al. 2026 (arXiv 2603.24647) found that such a hybrid, which they call Centaur, does better than either alone
when the classical optimizer keeps most of the trials. Theirs shows the state of CMA-ES to the model; ours, whose
optimizer is the TPE of `bayes`, shows what that would try next.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

from autogpt.endpoint import URL, Endpoint
from autogpt.errors import AutoGPTError, ConfigError
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.genetic import members, standings
from autogpt.search.space import Choice, Config, Dimension, Int, Space
from autogpt.search.trials import Direction, Trial, same_config

__all__ = ["LLMSampler", "answer_in", "is_advised", "question", "schema_of"]

_LOG = logging.getLogger(__name__)

BLOCK, ADVISED = 10, 3
"""Of each ten trials after the default, three are the model's: the paper's share, kept in short searches too."""

BEST, LATEST, FAILED = 5, 20, 10
"""Most trials that the model is shown: the best, the last with or without a score, the last that failed."""

WORDS = 200
"""Most characters of an error that are shown to the model, or of its answer in an error."""

FAILURES_BEFORE_GIVING_UP = 2
"""Each may cost the search a time-out."""

ROLE = (
    "You choose the next configuration in a hyperparameter search for a small GPT that is trained for minutes. Answer "
    "with one JSON object that gives each parameter a value from its range, and with nothing else."
)


class LLMSampler:
    """`BayesSampler`, whose proposal a language model may replace in 30 % of the trials.

    Args:
        space: what may be proposed.
        seed: of the Bayesian proposals, of which trials are the model's, and sent to the model.
        direction: whether scores shall be large or small.
        endpoint: where the model answers; None for the one of the environment.
        timeout_s: seconds to wait for it. They are taken from the time of the search.

    The model sees the space as printed, the direction, the best trials, the last ones with their shares and scores, the
    failed ones with the first words of their errors, and the Bayesian proposal: nothing else of the task, no row of the
    data. Its answer is held to a JSON schema where the server can do that. Values of parameters that do not exist next
    to the others are dropped (the schema asks for all, because strict servers know no optional ones). Everything else
    must be right: an unknown or missing name, a value out of its range and a configuration that was tried are refused,
    not mended, for a value that was clipped is no longer what the model thought of. It is then told why and asked once
    more; after that, as whenever the endpoint fails, the Bayesian proposal is taken. The first failure of either kind
    is logged as a warning; after two failures of the endpoint in a row this object does not ask again.

    Which trials are the model's depends on their number and the seed alone. It is asked with temperature 0 and the
    seed, yet few servers give the same answer each time, and not after an update: a search that is resumed goes on as
    an unbroken one only as far as the endpoint repeats itself.

    Raises ConfigError when no endpoint is configured, or as `Endpoint.check` does.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        direction: Direction,
        endpoint: Endpoint | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.space, self.seed, self.direction, self.timeout_s = space, seed, direction, timeout_s
        self._classical = BayesSampler(space, seed, direction=direction)
        found = endpoint or Endpoint.from_environment()
        if found is None:
            raise ConfigError(
                "the sampler llm needs a language model",
                todo=f"set {URL} to an OpenAI-compatible endpoint, such as http://127.0.0.1:8080/v1",
            )
        found.check()
        self._endpoint = found
        self._failures = 0
        self._told: set[str] = set()

    def ask(self, history: Sequence[Trial]) -> Config:
        """The next configuration; asks the endpoint up to twice when it is the model's turn."""
        proposal = self._classical.ask(history)
        if not is_advised(self.seed, len(history)) or self._failures >= FAILURES_BEFORE_GIVING_UP:
            return proposal
        return self._advice(history, proposal) or proposal

    def _advice(self, history: Sequence[Trial], proposal: Config) -> Config | None:
        messages = question(self.space, self.direction, history, proposal)
        reason = ""
        for _ in range(2):
            try:
                answer = self._endpoint.complete(
                    messages,
                    schema=schema_of(self.space),
                    temperature=0.0,
                    timeout_s=self.timeout_s,
                    seed=self.seed % 2**31,  # what every server takes
                )
            except AutoGPTError as error:  # advice is welcome, not needed
                self._failures += 1
                self._tell("endpoint", str(error))
                return None
            self._failures = 0
            try:
                return answer_in(answer, self.space, history)
            except ConfigError as error:
                reason = str(error)
            refusal = f"This cannot be tried: {reason}. Answer with another JSON object, and with nothing else."
            messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": refusal}]
        self._tell("answer", f"two answers of the language model cannot be used; {reason}")
        return None

    def _tell(self, kind: str, what: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            _LOG.warning("%s (the search takes the Bayesian proposal, and says so only once)", what)


def is_advised(seed: int, number: int) -> bool:
    """Whether trial `number` is the model's: three places, drawn by the seed, of each ten after the default."""
    if number == 0:
        return False
    block, place = divmod(number - 1, BLOCK)
    return place in random.Random(f"advice {seed}:{block}").sample(range(BLOCK), ADVISED)


def question(
    space: Space, direction: Direction, history: Sequence[Trial], proposal: Mapping[str, Any]
) -> list[dict[str, str]]:
    """The conversation that asks for the next configuration, from a history in any order."""
    known = members(space, history)
    failed = [trial for trial in known if trial.state == "failed"]
    others = [trial for trial in known if trial.state != "failed"]
    ranks = standings(others, direction)
    scored = [place for place, trial in enumerate(others) if trial.score is not None]
    best = [others[place] for place in sorted(scored, key=lambda place: (ranks[place], place))[:BEST]]
    parts = {
        "Parameters: name | values | default | exists only where | meaning": [" | ".join(row) for row in space.table()],
        "The default as JSON": [json.dumps(space.default)],
        "The best trials so far": [_line(trial) for trial in best],
        "The last trials": [_line(trial) for trial in others[-LATEST:]],
        "Trials that failed": [_line(trial) for trial in failed[-FAILED:]],
        "Bayesian optimization would try next": [json.dumps(dict(proposal))],
    }
    goal = "large" if direction == "max" else "small"
    rules = (
        f"The score shall be as {goal} as possible. The share says how much of its full length a trial ran: weak ones "
        "are stopped early, and scores of different shares do not compare. Propose a configuration that was not tried."
    )
    text = "\n\n".join("\n".join((f"{heading}:", *(lines or ["none"]))) for heading, lines in parts.items())
    return [{"role": "system", "content": ROLE}, {"role": "user", "content": f"{rules}\n\n{text}"}]


def _line(trial: Trial) -> str:
    row: dict[str, Any] = {"trial": trial.number, "config": dict(trial.config), "state": trial.state}
    if trial.score is not None:
        row |= {"share": round(trial.share, 3), "score": float(f"{trial.score:.5g}")}
    if trial.error:
        row["error"] = " ".join(trial.error.split())[:WORDS]
    return json.dumps(row, ensure_ascii=False)


def schema_of(space: Space) -> dict[str, Any]:
    """The JSON schema of an answer: an object with every parameter of the space, also where it will not exist."""
    return {
        "type": "object",
        "properties": {parameter.name: _schema(parameter.dimension) for parameter in space.parameters},
        "required": list(space.names),
        "additionalProperties": False,
    }


def _schema(dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Choice):
        types = sorted({_json_type(value) for value in dimension.values})
        return {"type": types[0] if len(types) == 1 else types, "enum": list(dimension.values)}
    kind = "integer" if isinstance(dimension, Int) else "number"
    return {"type": kind, "minimum": dimension.low, "maximum": dimension.high}


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"


def answer_in(text: str, space: Space, history: Sequence[Trial]) -> Config:
    """The configuration that a model's answer holds, as `space.validate` returns it.

    What a model thinks aloud before `</think>` and words around the object are passed over. Raises ConfigError when
    there is not exactly one JSON object, when it is no configuration of the space, and when it was tried already.
    """
    said = text.rpartition("</think>")[2]
    try:
        answer = json.loads(said[said.find("{") : said.rfind("}") + 1])
    except (ValueError, RecursionError) as error:
        raise ConfigError("the answer is not one JSON object", found=repr(said[:WORDS])) from error
    nested = [name for name, value in answer.items() if isinstance(value, dict | list)]
    if nested:
        raise ConfigError(f"parameter {nested[0]!r} is not a plain value")
    active = space.active(answer)
    # Unknown names stay, to be refused; known ones without effect are what the schema asked for.
    kept = {name: value for name, value in answer.items() if name in active or name not in space.names}
    try:
        config = space.validate(kept)
    except OverflowError as error:
        raise ConfigError("a number of the answer is too large") from error
    if any(same_config(config, trial.config) for trial in history):
        raise ConfigError("this configuration was tried already")
    return config

"""The model that a run ends with: its folder, and everything it can be asked to do.

A model folder is a transformers folder (weights, configuration, tokenizer) with two files of ours beside them:
`task.yaml` (the understood task, which renders the prompts) and `autogpt.json` (how it was made and how it answers).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autogpt.config import EvaluationConfig, home
from autogpt.data.cleaning import to_examples
from autogpt.data.readers import read
from autogpt.errors import DataError, ModelError, TaskError
from autogpt.model_inputs import continues, example_of, examples_of, prompt_of, row_of
from autogpt.registry import did_you_mean
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.types import Example, Message, Prediction, Scores, Target

if TYPE_CHECKING:
    from autogpt.generation.adaptive import Adaptation, Session
    from autogpt.generation.engine import Engine, Prompt
    from autogpt.generation.grammar import Grammar
    from autogpt.generation.sampling import Sampling
    from autogpt.generation.sessions import Sessions

__all__ = ["Model", "load", "located", "plain", "scores_document", "tasks_of"]

TASK_FILE, RECIPE_FILE = "task.yaml", "autogpt.json"
TASKS, SHARED = "tasks", "shared"
"""In the folder of a model of several tasks: a folder of each task, and the weights that they share."""


def plain(target: Target) -> str | list[str] | list[dict[str, Any]]:
    """A target as plain JSON: a string, a list of labels, or a list of entities."""
    if isinstance(target, str):
        return target
    return [asdict(item) if is_dataclass(item) else item for item in target]  # type: ignore[return-value]


def scores_document(model: str, rows: int, scores: Scores) -> dict[str, Any]:
    """Scores as the JSON document that `autogpt evaluate` prints."""
    metrics = {m.name: {"value": m.value, "ci95": list(m.ci95), "n": m.n} for m in scores.metrics.values()}
    return {"model": model, "n": rows, "metric": scores.primary, "metrics": metrics}


class Model:
    """A trained model with its task. Weights are read on first use.

    Args:
        folder: a model folder with `task.yaml` and `autogpt.json`.
        name: what to call it; the folder's recorded name when not given.
    """

    def __init__(self, folder: Path, *, name: str | None = None) -> None:
        self.folder = folder
        try:
            self.spec = TaskSpec.load(folder / TASK_FILE)
            self.recipe: dict[str, Any] = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{str(folder)!r} is not a model made by autogpt",
                found=str(error).splitlines()[0],
                expected=f"a folder with {TASK_FILE} and {RECIPE_FILE}",
            ) from error
        self.name = name or str(self.recipe.get("name", folder.name))

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.spec.kind.value}, {str(self.folder)!r})"

    @property
    def weights_folder(self) -> Path:
        """Where the weights are: in the model's own folder, or beside it where several tasks share them."""
        shared = self.recipe.get("weights")
        return self.folder if shared is None else (self.folder / str(shared["folder"])).resolve()

    @cached_property
    def engine(self) -> Engine:
        """The loaded weights, ready to answer."""
        from autogpt.generation.engine import Engine
        from autogpt.models.hub import load_model
        from autogpt.training.machine import probe

        machine = probe()
        model: Any
        model, tokenizer = load_model(self.weights_folder)
        if (shared := self.recipe.get("weights")) is not None:
            model = model.plain(int(shared["task"]))
        return Engine(model, tokenizer, context=int(self.recipe["context"]), precision=machine.precision)

    def _sampling(self, options: Mapping[str, Any], *, interactive: bool) -> Sampling:
        from autogpt.generation.sampling import Sampling

        base = {name: self.recipe[name] for name in ("max_new_tokens", "repetition_penalty")}
        searches = (options.get("beams") or 1) != 1 or (options.get("contrastive_alpha") or 0) != 0
        if interactive and self.spec.writes_freely and not searches:
            base |= {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.05}
        # The recipe's length is a default: who asks for a longer least length does not have to repeat the most.
        least = options.get("min_new_tokens")
        if options.get("max_new_tokens") is None and isinstance(least, int):
            base["max_new_tokens"] = max(base["max_new_tokens"], least)
        return Sampling(**base).with_options(options)

    def predict(
        self,
        rows: Iterable[Mapping[str, Any] | str],
        *,
        sampling: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """A document for each row, in order: `prediction`, and `scores` (label → probability) for label tasks.

        Greedy unless the options of `Sampling` say otherwise; they are given by name, or all in `sampling`. Raises
        DataError naming the first row that cannot be read, and ConfigError for an unknown option.
        """
        from autogpt.generation.predict import predict

        chosen = self._sampling({**(sampling or {}), **options}, interactive=False)
        examples = examples_of(self.spec, rows)
        if continues(self.spec):
            texts = self.engine.complete([prompt_of(self.spec, e) for e in examples], chosen)
            return [{"prediction": text} for text in texts]
        found = predict(self.engine, self.spec, examples, chosen, with_likelihood=False)
        return [self._document(prediction) for prediction in self._calibrated(found)]

    def _calibrated(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Probabilities of labels at the temperature that was fitted on validation rows; the answers stay."""
        from autogpt.evaluation.calibration import tempered

        return tempered(predictions, float(self.recipe.get("temperature", 1.0)))

    def _document(self, prediction: Prediction) -> dict[str, Any]:
        document: dict[str, Any] = {"prediction": plain(prediction.target)}
        if self.spec.is_label_task:
            document["scores"] = dict(sorted(prediction.scores.items(), key=lambda item: -item[1]))
        return document

    def generate(self, text: str | Mapping[str, Any], *, grammar: Grammar | None = None, **sampling: Any) -> str:
        """The answer to one input as text. Free writing samples; tasks with one right answer are greedy.

        Args:
            grammar: what the answer must look like, see `generation.grammar` (`json_schema`, `regex`, …).
            sampling: any option of `Sampling`.

        Raises:
            TaskError: a grammar for a model that does not write its answers freely.
        """
        if self.spec.is_label_task or self.spec.kind is TaskKind.EXTRACTION:
            self._refuse(grammar)
            answer = self.predict([text], sampling=sampling)[0]["prediction"]
            return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        given: dict[str, Any] = sampling if grammar is None else {**sampling, "grammar": grammar}
        return "".join(self.stream(text, **given)).strip()

    def _refuse(self, grammar: Grammar | None) -> None:
        if grammar is not None:
            raise TaskError(
                f"{self.name} takes no grammar",
                found=f"a {self.spec.kind.value} model",
                expected="one that writes text",
            )

    def stream(
        self,
        text: str | Mapping[str, Any],
        *,
        grammar: Grammar | None = None,
        session: Session | None = None,
        **sampling: Any,
    ) -> Iterator[str]:
        """The answer in pieces of whole characters, as it is written; arguments as in `generate`.

        Args:
            session: learns from the text and, less, from the answer, and writes with what it has learnt; see `session`.
        """
        from autogpt.generation.predict import grammar_of

        chosen, example = self._sampling(sampling, interactive=True), example_of(self.spec, text)
        own = grammar_of(self.spec, example)
        if own is not None:
            self._refuse(grammar)
        words = example.target if continues(self.spec) else " ".join(example.input.values())
        yield from self._written(prompt_of(self.spec, example), chosen, grammar or own, session, str(words or ""))

    def _written(
        self, prompt: Prompt, sampling: Sampling, grammar: Grammar | None, session: Session | None, words: str
    ) -> Iterator[str]:
        """`words` are what the user says in the prompt."""
        if session is None:
            yield from self.engine.stream(prompt, sampling, grammar)
            return
        ids = [self.engine.bos_id, *self.engine.tokenizer.encode(words, add_special_tokens=False)]
        self.adaptation.read(session, ids)
        with self.adaptation.writing([session]):
            yield from self.engine.stream(prompt, sampling, grammar, follower=self.adaptation)

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        grammar: Grammar | None = None,
        session: Session | None = None,
        **sampling: Any,
    ) -> Iterator[str]:
        """The reply to a conversation in pieces; further arguments as in `stream`.

        A session learns from the last message; from earlier ones it has learnt when they came.

        Raises TaskError for a model that was not made to talk.
        """
        if self.spec.kind is TaskKind.DIALOGUE:
            turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
            prompt = prompt_of(self.spec, Example(id="chat", input={}, messages=turns))
            chosen = self._sampling(sampling, interactive=True)
            yield from self._written(prompt, chosen, grammar, session, turns[-1].content)
            return
        if not self.spec.writes_freely:
            raise TaskError(
                f"{self.name} does not chat", found=f"a {self.spec.kind.value} model", todo="use autogpt generate"
            )
        yield from self.stream(messages[-1]["content"], grammar=grammar, session=session, **sampling)

    # ---- adaptation --------------------------------------------------------------------------------------------------

    @cached_property
    def adaptation(self) -> Adaptation:
        """What adapts this model to a text, at the rates that were tuned for it. Raises TaskError for a model that
        does not write freely, ModelError for one of a shape that cannot adapt."""
        from autogpt.generation.adaptive import AdaptationSettings

        if not self.spec.writes_freely:
            raise TaskError(
                f"{self.name} does not adapt",
                found=f"a {self.spec.kind.value} model",
                expected="one that writes freely",
            )
        return self.engine.adaptation(AdaptationSettings.from_dict(self.recipe.get("adaptation") or {}))

    @property
    def sessions(self) -> Sessions:
        """The sessions that are kept for this model."""
        from autogpt.generation.sessions import Sessions, weights_hash
        from autogpt.store.keys import slug

        return Sessions(home() / "sessions" / slug(self.name), weights_hash(self.weights_folder))

    @contextmanager
    def session(self, name: str | None = None) -> Iterator[Session]:
        """A session of adaptation: what its texts taught. With a name it goes on where the last one of that name
        stopped, and is kept when the block ends, also by an exception."""
        if name is None:
            yield self.adaptation.session()
            return
        kept, adaptation = self.sessions, self.adaptation
        session = kept.load(name, adaptation) if name in kept.names() else adaptation.session()
        try:
            yield session
        finally:
            kept.save(name, adaptation, session)

    # ---- scores ------------------------------------------------------------------------------------------------------

    def evaluate(self, data: str | Path, *, adapt: bool = False) -> dict[str, Any]:
        """Every metric of the task on the rows of `data`, with bootstrap intervals.

        Args:
            adapt: also read the rows in order with a session that learns from each after it was scored; `adapted` then
                holds the metrics of likelihood.
        """
        from autogpt.evaluation.evaluate import score
        from autogpt.generation.predict import predict

        examples, _ = to_examples(self.spec, read(Path(data)), need_target=True)
        if not examples:
            raise DataError(f"no usable row in {str(data)!r}", expected=f"{self.spec.output_field!r} in each row")
        sampling = self._sampling({}, interactive=False)
        writes = self.spec.kind is not TaskKind.GENERATION
        predictions = predict(self.engine, self.spec, examples, sampling, with_text=writes)
        scores = score(self.spec, examples, self._calibrated(predictions), resamples=EvaluationConfig().bootstrap)
        document = scores_document(self.name, len(examples), scores)
        return document | {"adapted": self._adapted(examples)} if adapt else document

    def _adapted(self, examples: Sequence[Example]) -> dict[str, Any]:
        from autogpt.data.batching import encode_all
        from autogpt.evaluation.evaluate import score
        from autogpt.generation.adaptive_tuning import read_rows

        rendered = [render(self.spec, example, answer=True) for example in examples]
        rows = encode_all(self.engine.tokenizer, rendered, max_tokens=2**30)
        read = read_rows(self.engine, rows, self.adaptation.settings)
        predictions = [Prediction("", "", nats=n, utf8_bytes=row.utf8_bytes) for n, row in zip(read, rows, strict=True)]
        spec = self.spec.model_copy(update={"metric": "bits_per_byte"})
        metrics: dict[str, Any] = scores_document(self.name, len(rows), score(spec, examples, predictions))["metrics"]
        return {name: metrics[name] for name in ("bits_per_byte",)}

    def score(self, text: str | Mapping[str, Any]) -> float:
        """Bits per byte of the answer in `text` (a row with its answer, or plain text for a writing model)."""
        import math

        from autogpt.generation.predict import likelihoods

        row = row_of(self.spec, text)
        if self.spec.output_field not in row:
            raise DataError("nothing to score", found=f"fields {sorted(row)}", expected=self.spec.output_field)
        example = example_of(self.spec, row)
        if example.target is None and not example.messages:
            raise DataError("nothing to score", expected=f"an answer in {self.spec.output_field!r}")
        ((nats, size),) = likelihoods(self.engine, self.spec, [example])
        return nats / math.log(2) / max(size, 1)

    def save(self, folder: str | Path) -> None:
        """Copy the model folder to `folder`, which must not exist."""
        target = Path(folder)
        if target.exists():
            raise ModelError(f"{str(target)!r} exists already", todo="choose a new folder")
        if "weights" not in self.recipe:
            shutil.copytree(self.folder, target)
            return
        from autogpt.models.hub import save_model

        save_model(self.engine.model, self.engine.tokenizer, target)
        self.spec.save(target / TASK_FILE)
        kept = {name: value for name, value in self.recipe.items() if name != "weights"}
        (target / RECIPE_FILE).write_text(json.dumps(kept, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def located(name_or_dir: str | Path) -> tuple[Path, str | None, str | None]:
    """(folder, name, task) of a model by its registered name, NAME/TASK, or its folder.

    The name is None where the folder tells it, the task where none is named. Raises ModelError with the nearest name
    when there is no such model.
    """
    path = Path(name_or_dir)
    if path.is_dir():
        return path, None, None
    from autogpt.store.database import Store

    name, _, task = str(name_or_dir).partition("/")
    row = Store(home()).model(name)
    return Path(row.folder), row.name, task or None


def tasks_of(folder: Path) -> list[str]:
    """The tasks of a model of several tasks; none for a model of one, and for a folder that is no model."""
    try:
        recipe = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return list(recipe.get("tasks") or []) if isinstance(recipe, dict) else []


def load(name_or_dir: str | Path, task: str | None = None) -> Model:
    """A model by its registered name or its folder.

    Args:
        task: of a model of several tasks, which one; `NAME/TASK` says the same.

    Raises:
        ModelError: there is no such model, with the nearest name; or the model does several tasks and none of them, or
            another one, is named.
    """
    folder, name, own = located(name_or_dir)
    task, tasks = task or own, tasks_of(folder)
    if not tasks and task is None:
        return Model(folder, name=name)
    called = name or str(name_or_dir)
    if not tasks:
        raise ModelError(f"{called} does one task", found=f"task {task!r}", todo=f"use {called} alone")
    if task is None:
        raise ModelError(
            f"{called} does {len(tasks)} tasks",
            expected=f"one of {', '.join(tasks)}",
            todo=f"name it: {called}/{tasks[0]} or --task {tasks[0]}",
        )
    if task not in tasks:
        raise ModelError(
            f"{called} has no task {task!r}", expected=f"one of {', '.join(tasks)}", todo=did_you_mean(task, tasks)
        )
    return Model(folder / TASKS / task, name=f"{called}/{task}" if name else None)

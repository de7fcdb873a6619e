"""The model that a run ends with: its folder, and everything it can be asked to do.

A model folder is a transformers folder (weights, configuration, tokenizer) with two files of ours beside them:
`task.yaml` (the understood task, which renders the prompts) and `autogpt.json` (how it was made and how it answers).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autogpt.config import EvaluationConfig, home
from autogpt.data.cleaning import to_examples
from autogpt.data.readers import Table, read
from autogpt.errors import DataError, ModelError, TaskError
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.types import Example, Message, Prediction, Scores, Target

if TYPE_CHECKING:
    from autogpt.generation.engine import Engine, Prompt
    from autogpt.generation.grammar import Grammar
    from autogpt.generation.sampling import Sampling

__all__ = ["Model", "load", "plain", "scores_document"]

TASK_FILE, RECIPE_FILE = "task.yaml", "autogpt.json"

_WRITES_FREELY = (TaskKind.GENERATION, TaskKind.DIALOGUE, TaskKind.INSTRUCTION, TaskKind.PREFERENCE)
"""Kinds whose single best answer is dull or loops: interactive use samples, evaluation stays greedy."""


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

    @cached_property
    def engine(self) -> Engine:
        """The loaded weights, ready to answer."""
        from autogpt.generation.engine import Engine
        from autogpt.models.hub import load_model
        from autogpt.training.machine import probe

        machine = probe()
        model, tokenizer = load_model(self.folder)
        return Engine(model, tokenizer, context=int(self.recipe["context"]), precision=machine.precision)

    def _sampling(self, options: Mapping[str, Any], *, interactive: bool) -> Sampling:
        from autogpt.generation.sampling import Sampling

        base = {name: self.recipe[name] for name in ("max_new_tokens", "repetition_penalty")}
        searches = (options.get("beams") or 1) != 1 or (options.get("contrastive_alpha") or 0) != 0
        if interactive and self.spec.kind in _WRITES_FREELY and not searches:
            base |= {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.05}
        # The recipe's length is a default: who asks for a longer least length does not have to repeat the most.
        least = options.get("min_new_tokens")
        if options.get("max_new_tokens") is None and isinstance(least, int):
            base["max_new_tokens"] = max(base["max_new_tokens"], least)
        return Sampling(**base).with_options(options)

    def _example(self, text: str | Mapping[str, Any]) -> Example:
        """One input as an example: a mapping of fields, or text for the single input field."""
        return self._examples([text])[0]

    def _row(self, item: str | Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(item, str):
            return item
        fields = self.spec.input_fields
        if self.spec.layout in ("messages", "sharegpt"):
            return {fields[0] if fields else "messages": [{"role": "user", "content": item}]}
        if not fields:
            return {self.spec.output_field: item}
        if len(fields) > 1 and item.lstrip().startswith("{"):
            try:
                parsed = json.loads(item)
            except ValueError as error:
                raise DataError("the input is not JSON", found=item[:40], expected=f"fields {fields}") from error
            if isinstance(parsed, dict):
                return parsed
        optional = self.spec.kind is TaskKind.INSTRUCTION
        if len(fields) > 1 and not optional:
            raise DataError(
                "the model reads several fields",
                found="one text",
                expected=f"a JSON object with {', '.join(fields)}",
            )
        return {fields[0]: item, **dict.fromkeys(fields[1:], "")}

    def _examples(self, items: Iterable[str | Mapping[str, Any]]) -> list[Example]:
        rows = tuple(self._row(item) for item in items)
        if self.spec.kind is TaskKind.GENERATION and not self.spec.input_fields:
            return [
                Example(id=f"input:{i}", input={}, target=str(row.get(self.spec.output_field, "")))
                for i, row in enumerate(rows, 1)
            ]
        table = Table(
            rows=rows,
            ids=tuple(f"input:{i}" for i in range(1, len(rows) + 1)),
            columns=tuple(dict.fromkeys(key for row in rows for key in row)),
            layout=self.spec.layout,
            format="rows",
            encoding="utf-8",
            drops=(),
            source=Path("input"),
        )
        return to_examples(self.spec, table, need_target=False)[0]

    def _prompt(self, example: Example) -> Prompt:
        """The prompt; for plain continuation the text itself is what is continued."""
        if self.spec.kind is TaskKind.GENERATION and not self.spec.input_fields:
            return str(example.target or "")
        return render(self.spec, example, answer=False)

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
        examples = self._examples(rows)
        if self.spec.kind is TaskKind.GENERATION and not self.spec.input_fields:
            texts = self.engine.complete([self._prompt(e) for e in examples], chosen)
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
        given = {} if grammar is None else {"grammar": grammar}
        return "".join(self.stream(text, **given, **sampling)).strip()

    def _refuse(self, grammar: Grammar | None) -> None:
        if grammar is not None:
            raise TaskError(
                f"{self.name} takes no grammar",
                found=f"a {self.spec.kind.value} model",
                expected="one that writes text",
            )

    def stream(
        self, text: str | Mapping[str, Any], *, grammar: Grammar | None = None, **sampling: Any
    ) -> Iterator[str]:
        """The answer in pieces of whole characters, as it is written; arguments as in `generate`."""
        from autogpt.generation.predict import grammar_of

        chosen, example = self._sampling(sampling, interactive=True), self._example(text)
        own = grammar_of(self.spec, example)
        if own is not None:
            self._refuse(grammar)
        yield from self.engine.stream(self._prompt(example), chosen, grammar or own)

    def chat(
        self, messages: Sequence[Mapping[str, str]], *, grammar: Grammar | None = None, **sampling: Any
    ) -> Iterator[str]:
        """The reply to a conversation in pieces; further arguments as in `generate`.

        Raises TaskError for a model that was not made to talk.
        """
        if self.spec.kind is TaskKind.DIALOGUE:
            turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
            example = Example(id="chat", input={}, messages=turns)
            chosen = self._sampling(sampling, interactive=True)
            yield from self.engine.stream(self._prompt(example), chosen, grammar)
            return
        if self.spec.kind not in (TaskKind.INSTRUCTION, TaskKind.GENERATION, TaskKind.PREFERENCE):
            raise TaskError(
                f"{self.name} does not chat", found=f"a {self.spec.kind.value} model", todo="use autogpt generate"
            )
        yield from self.stream(messages[-1]["content"], grammar=grammar, **sampling)

    def evaluate(self, data: str | Path) -> dict[str, Any]:
        """Every metric of the task on the rows of `data`, with bootstrap intervals."""
        from autogpt.evaluation.evaluate import score
        from autogpt.generation.predict import predict

        examples, _ = to_examples(self.spec, read(Path(data)), need_target=True)
        if not examples:
            raise DataError(f"no usable row in {str(data)!r}", expected=f"{self.spec.output_field!r} in each row")
        sampling = self._sampling({}, interactive=False)
        writes = self.spec.kind is not TaskKind.GENERATION
        predictions = predict(self.engine, self.spec, examples, sampling, with_text=writes)
        scores = score(self.spec, examples, self._calibrated(predictions), resamples=EvaluationConfig().bootstrap)
        return scores_document(self.name, len(examples), scores)

    def score(self, text: str | Mapping[str, Any]) -> float:
        """Bits per byte of the answer in `text` (a row with its answer, or plain text for a writing model)."""
        import math

        from autogpt.generation.predict import likelihoods

        row = self._row(text)
        if self.spec.output_field not in row:
            raise DataError("nothing to score", found=f"fields {sorted(row)}", expected=self.spec.output_field)
        example = self._example(row)
        if example.target is None and not example.messages:
            raise DataError("nothing to score", expected=f"an answer in {self.spec.output_field!r}")
        ((nats, size),) = likelihoods(self.engine, self.spec, [example])
        return nats / math.log(2) / max(size, 1)

    def save(self, folder: str | Path) -> None:
        """Copy the model folder to `folder`, which must not exist."""
        target = Path(folder)
        if target.exists():
            raise ModelError(f"{str(target)!r} exists already", todo="choose a new folder")
        shutil.copytree(self.folder, target)


def load(name_or_dir: str | Path) -> Model:
    """A model by its registered name or its folder. Raises ModelError with the nearest name when there is none."""
    path = Path(name_or_dir)
    if path.is_dir():
        return Model(path)
    from autogpt.store.database import Store

    row = Store(home()).model(str(name_or_dir))
    return Model(Path(row.folder), name=row.name)

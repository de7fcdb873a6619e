"""A real model folder whose answers are scripted, so that the verbs are tested without weights."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autogpt.cli.main import run
from autogpt.tasks.spec import TaskKind, TaskSpec

LABELS = ["refund", "delivery", "praise", "other"]
SUMMARY = {
    "model": "topics",
    "run": "20260101-000000-topics",
    "known_task": False,
    "metric": {"name": "accuracy", "value": 0.9, "ci95": [0.85, 0.94], "n": 200},
    "baselines": [
        {"name": "majority", "value": 0.4, "ci95": [0.35, 0.45]},
        {"name": "TF-IDF + logistic regression", "value": 0.8, "ci95": [0.75, 0.85]},
    ],
    "better_than_best_baseline": {"difference": 0.1, "p_value": 0.0004},
    "verdict": "Clearly better than TF-IDF.",
    "trials": 7,
    "best_config": {"lr": 0.001},
    "seconds": 61.0,
}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document it must be."""
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Runs a command line in this process; `stdin` is what is piped in."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*argv: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        code = run([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("AUTOGPT_HOME", str(folder))
    return folder


def spec_of(kind: TaskKind, **fields: Any) -> TaskSpec:
    values: dict[str, Any] = {
        "description": "Sort messages by topic.",
        "kind": kind,
        "input_fields": ["text"],
        "output_field": "label",
        "metric": "accuracy",
        "direction": "max",
    }
    return TaskSpec(**{**values, **fields})


@pytest.fixture
def make_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a model folder of a kind and lets `load` return it with scripted answers; see `Scripted`."""
    from autogpt import model as model_module

    class Scripted(model_module.Model):
        """Answers with the first label, or with the input in capitals, a word at a time; keeps what it was asked."""

        asked: list[Any]

        def predict(self, rows: Iterable[Mapping[str, Any] | str], **options: Any) -> list[dict[str, Any]]:
            given = list(rows)
            self.asked.append((given, options))
            if self.spec.kind is TaskKind.CLASSIFICATION:
                scores = dict(zip(LABELS, (0.7, 0.2, 0.06, 0.04), strict=True))
                return [{"prediction": LABELS[0], "scores": scores} for _ in given]
            if self.spec.kind is TaskKind.MULTI_LABEL:
                return [{"prediction": LABELS[:2], "scores": {"refund": 0.9}} for _ in given]
            if self.spec.kind is TaskKind.EXTRACTION:
                found = {"type": "PER", "text": "Ann", "start": 0, "end": 3}
                return [{"prediction": [found]} for _ in given]
            return [{"prediction": self._said(row)} for row in given]

        @staticmethod
        def _said(row: Mapping[str, Any] | str) -> str:
            return str(row if isinstance(row, str) else row["text"]).upper()

        def stream(self, text: str | Mapping[str, Any], **sampling: Any) -> Iterator[str]:
            self.asked.append((text, sampling))
            for word in self._said(text).split():
                yield word + " "

        def chat(self, messages: Sequence[Mapping[str, str]], **sampling: Any) -> Iterator[str]:
            self.asked.append((list(messages), sampling))
            yield from ("you said ", messages[-1]["content"])
            if messages[-1]["content"] == "stop me":
                raise KeyboardInterrupt

        def evaluate(self, data: str | Path, *, adapt: bool = False) -> dict[str, Any]:
            value = {"value": 0.75, "ci95": [0.7, 0.8], "n": 40}
            metrics = {"accuracy": value, "macro_f1": {**value, "value": 0.5}}
            adapted = {"adapted": {"bits_per_byte": {**value, "value": 1.25}}} if adapt else {}
            return {"model": self.name, "n": 40, "metrics": metrics, **adapted}

    def make(kind: TaskKind = TaskKind.CLASSIFICATION, **fields: Any) -> Scripted:
        folder = tmp_path / "topics"
        folder.mkdir(exist_ok=True)
        spec_of(kind, **fields).save(folder / "task.yaml")
        recipe = {"name": "topics", "context": 64, "max_new_tokens": 16, "fit": {**SUMMARY, "model_dir": str(folder)}}
        (folder / "autogpt.json").write_text(json.dumps(recipe), encoding="utf-8")
        made = Scripted(folder)
        made.asked = []
        monkeypatch.setattr(model_module, "load", lambda name, task=None: made)
        monkeypatch.setattr(model_module, "located", lambda name: (folder, name, None))
        return made

    return make

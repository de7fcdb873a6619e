"""Real tasks with descriptions in both languages: each must be understood from either sentence and its file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from autogpt.tasks.understand import Sample, understand, with_labels

pytestmark = pytest.mark.shared

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
KINDS = {
    "information extraction": "extraction",
    "instruction following": "instruction",
    "question answering": "question_answering",
    "reasoning": "question_answering",
    "agent tool use": "dialogue",
}
METRICS = {
    "classification": "accuracy",
    "information extraction": "entity_f1",
    "question answering": "token_f1",
    "reasoning": "exact_match",
    "summarization": "rougeL",
    "translation": "chrf",
    "instruction following": "rougeL",
    "preference": "preference_accuracy",
}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def layout_of(columns: tuple[str, ...]) -> str:
    if "messages" in columns:
        return "messages"
    if "chosen" in columns:
        return "preference"
    return "alpaca" if "instruction" in columns else "table"


def tasks() -> list[dict[str, Any]]:
    return rows_of(SHARED / "tasks.jsonl") if (SHARED / "tasks.jsonl").is_file() else []


def expected_inputs(task: dict[str, Any]) -> list[str]:
    if task["id"] == "zh_poetry_songci":
        return ["title"]  # the sentence says that a tune name is given
    if task["type"] in ("dialogue", "agent tool use"):
        return ["messages"]
    return [name for name in task["input"].split(", ") if name]


def expected_output(task: dict[str, Any]) -> str:
    if task["type"] in ("dialogue", "agent tool use"):
        return "messages"
    return {"answers[0]": "answers", "chosen over rejected": "chosen"}.get(task["output"], task["output"])


@pytest.mark.parametrize("task", tasks() or [pytest.param(None)], ids=lambda task: task["id"] if task else "none")
def test_understood_from_either_sentence(task: dict[str, Any]) -> None:
    rows = rows_of(SHARED / task["train"])
    some = tuple(random.Random(0).sample(rows, min(1000, len(rows))))
    columns = tuple(rows[0])
    sample = Sample(columns, some, layout_of(columns), task["train"], len(rows))
    for description in (task["description_zh"], task["description_en"]):
        spec = understand(description, sample)
        assert spec.kind.value == KINDS.get(task["type"], task["type"])
        assert (spec.input_fields, spec.output_field) == (expected_inputs(task), expected_output(task))
        assert spec.input_language == task["language"]
        assert spec.output_language == ("zh" if task["id"] == "en_zh_tatoeba" else task["language"])
        assert spec.metric == METRICS.get(task["type"], "bits_per_byte")
        assert spec.contradictions == []
        if task["type"] == "classification":
            everything = {row["label"] for row in rows}
            assert set(spec.labels) <= everything
            assert set(with_labels(spec, (row["label"] for row in rows)).labels) == everything

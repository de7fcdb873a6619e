"""Data files as texts for the hand-written loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autogpt.agent.dataset import load_texts
from autogpt.errors import DataError, TaskError


def rows(path: Path, items: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return path


def test_supervised_rows_hold_the_input_and_the_answer(tmp_path: Path) -> None:
    pairs = [(f"message number {n} about {topic}", topic) for n in range(15) for topic in ("refund", "delivery")]
    path = rows(tmp_path / "a.jsonl", [{"text": text, "label": label} for text, label in pairs])
    dataset = load_texts(path)
    assert dataset.spec.output_field == "label"
    assert len(dataset) == len(pairs)
    for text, (message, label) in zip(dataset, pairs, strict=True):
        assert message in text
        assert text.rstrip().endswith(label)
    assert dataset[0] == dataset.texts[0]
    assert dataset[:2] == dataset.texts[:2]


def test_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "novel.txt"
    path.write_text("\n\n".join(f"第{n}章 他走进了房间，看见了月光。" for n in range(30)), encoding="utf-8")
    dataset = load_texts(path, "续写小说")
    assert "第7章" in "".join(dataset)


def test_unusable_rows_are_kept_with_their_reason(tmp_path: Path) -> None:
    good = [{"text": f"message {n} here", "label": ("a", "b")[n % 2]} for n in range(30)]
    dataset = load_texts(rows(tmp_path / "a.jsonl", [*good, {"text": "", "label": "a"}]))
    assert len(dataset) == 30
    assert [drop.id for drop in dataset.drops] == ["a.jsonl:31"]


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_texts(tmp_path / "none.jsonl")


def test_columns_that_say_nothing_need_a_sentence(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", [{"alpha": f"some words {n}", "beta": f"other words {n}"} for n in range(30)])
    with pytest.raises(TaskError, match=r"do not say what is to be learnt; found alpha, beta; .*`task: …`"):
        load_texts(path)

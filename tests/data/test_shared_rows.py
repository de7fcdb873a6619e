"""The share of rows that two data sets have in common, against a count by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autogpt.data.shared_rows import share_known


def _file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_texts_are_compared_whatever_their_columns_case_and_spaces(tmp_path: Path) -> None:
    ours = _file(tmp_path / "a.jsonl", [{"text": f"The  thing {n}", "label": "red"} for n in range(10)])
    theirs = _file(tmp_path / "b.jsonl", [{"answer": "x", "body": f"the thing {n} "} for n in range(7, 30)])
    assert share_known([ours], [theirs]) == pytest.approx(3 / 10)
    assert share_known([theirs], [ours]) == pytest.approx(3 / 23)
    more = _file(tmp_path / "c.jsonl", [{"body": f"the thing {n}", "answer": "y"} for n in range(2)])
    assert share_known([ours], [theirs, more]) == pytest.approx(5 / 10)
    assert share_known([ours], [ours]) == 1.0


def test_conversations_are_compared_by_their_longest_turn(tmp_path: Path) -> None:
    def talk(*turns: str) -> dict[str, Any]:
        roles = ("user", "assistant", "user", "assistant")
        return {"messages": [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]}

    ours = _file(tmp_path / "a.jsonl", [talk("hello", "how may I help you"), talk("bye", "see you tomorrow then")])
    theirs = _file(tmp_path / "b.jsonl", [talk("good day", "How may I help you"), talk("bye", "farewell")])
    assert share_known([ours], [theirs]) == pytest.approx(1 / 2)

"""`--adapt` on the command line, with a tiny real model: what is learnt is kept, listed, gone on with and removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autogpt.data.tokenizers import train_tokenizer
from autogpt.model import RECIPE_FILE, TASK_FILE
from autogpt.models.gpt import GPT
from autogpt.models.hub import save_model
from autogpt.models.sizing import shape_for
from autogpt.tasks.spec import TaskKind, TaskSpec

TEXT = "the cat sat on the mat and a bird sat on a plane " * 6


@pytest.fixture
def novel(tmp_path: Path, home: Path) -> str:
    torch.manual_seed(0)
    tokenizer = train_tokenizer([TEXT], 300)
    folder = tmp_path / "novel"
    save_model(GPT(shape_for(32, depth=2, vocab_size=len(tokenizer), context=64)), tokenizer, folder)
    told: dict[str, Any] = {"kind": TaskKind.GENERATION, "output_field": "text", "layout": "text", "input_fields": []}
    TaskSpec(description="Continue.", metric="bits_per_byte", direction="min", **told).save(folder / TASK_FILE)
    recipe = {"name": "novel", "context": 64, "max_new_tokens": 8, "repetition_penalty": 1.0, "budget_s": 60.0}
    (folder / RECIPE_FILE).write_text(json.dumps(recipe | {"fit": {}}), encoding="utf-8")
    return str(folder)


def test_a_session_from_first_text_to_removal(cli: Callable[..., Any], novel: str, home: Path) -> None:
    assert "no sessions" in cli("models", "sessions", novel).err
    assert cli("generate", novel, TEXT, "--adapt", "mine").code == 0
    (first,) = cli("models", "sessions", novel, "--json").document["sessions"]
    assert (first["name"], first["tokens"] > 20) == ("mine", True)
    assert cli("generate", novel, TEXT, "--adapt", "mine", "--stream").code == 0
    (again,) = cli("models", "sessions", novel, "--json").document["sessions"]
    assert again["tokens"] > first["tokens"]
    assert "mine" in cli("models", "sessions", novel).out
    assert cli("models", "sessions", novel, "--remove", "mine", "--json").document == {
        "sessions": [],
        "removed": ["mine"],
    }
    gone = cli("models", "sessions", novel, "--remove", "mine")
    assert (gone.code, "no session 'mine'" in gone.err) == (2, True)


def test_once_keeps_nothing(cli: Callable[..., Any], novel: str, home: Path) -> None:
    assert cli("generate", novel, TEXT, "--adapt", "once").code == 0
    assert cli("models", "sessions", novel, "--json").document["sessions"] == []


def test_bad_names_and_files_are_one_clear_line(
    cli: Callable[..., Any], novel: str, home: Path, tmp_path: Path
) -> None:
    bad = cli("generate", novel, TEXT, "--adapt", "../mine")
    assert (bad.code, "a session's name" in bad.err) == (2, True)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n', encoding="utf-8")
    both = cli("generate", novel, "--file", rows, "--adapt", "mine")
    assert (both.code, "--adapt with --file" in both.err) == (2, True)
    cli("generate", novel, TEXT, "--adapt", "mine")
    (file,) = (home / "sessions").rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    broken = cli("generate", novel, TEXT, "--adapt", "mine")
    assert (broken.code, "is damaged" in broken.err) == (2, True)
    assert file.stat().st_size == 100

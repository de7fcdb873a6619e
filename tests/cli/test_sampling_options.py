"""Sampling options and schemas on the command line, down to the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autogpt.tasks.spec import TaskKind

Cli = Callable[..., Any]


def test_set_takes_any_option_as_yaml(cli: Cli, make_model: Callable[..., Any]) -> None:
    model = make_model(TaskKind.SUMMARIZATION, metric="rougeL")
    options = ("--set", "top_k=40", "--set", "min_p=1e-2", "--set", 'stop=["。", "\\n"]', "--set", "logit_bias={7: -1}")
    assert cli("generate", "m", "a b", "--seed", "3", *options).out == "A B\n"
    assert model.asked == [
        ("a b", {"top_k": 40, "min_p": 0.01, "stop": ["。", "\n"], "logit_bias": {7: -1}, "seed": 3})
    ]
    talker = make_model(TaskKind.DIALOGUE, metric="bits_per_byte", direction="min")
    cli("chat", "m", "--set", "presence_penalty=0.5", stdin=b"hi\n")
    assert talker.asked[0][1] == {"presence_penalty": 0.5}


@pytest.mark.parametrize("verb", [("generate", "m", "text"), ("chat", "m")])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "topk=4"), "unknown sampling option 'topk'; did you mean 'top_k'?"),
        (("--set", "top_k"), "expected key=value"),
        (("--set", "top_k="), "found no value"),
        (("--set", "stop=[a"), "expected a YAML value"),
        (("--set", "temperature=1", "--temperature", "0.5"), "--temperature with --set temperature"),
    ],
)
def test_options_that_cannot_be_read(
    cli: Cli, make_model: Callable[..., Any], verb: tuple[str, ...], options: tuple[str, ...], message: str
) -> None:
    make_model(TaskKind.SUMMARIZATION, metric="rougeL")
    done = cli(*verb, *options)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_a_schema_becomes_a_grammar(cli: Cli, make_model: Callable[..., Any], tmp_path: Path) -> None:
    from autogpt.generation.grammar import json_schema

    model = make_model(TaskKind.SUMMARIZATION, metric="rougeL")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema), encoding="utf-8")
    assert cli("generate", "m", "a b", "--schema", path).code == 0
    assert model.asked[-1] == ("a b", {"grammar": json_schema(schema)})
    path.write_text("{", encoding="utf-8")
    assert "expected a JSON schema" in cli("generate", "m", "a b", "--schema", path).err
    path.write_text('{"type": "nonsense"}', encoding="utf-8")
    done = cli("generate", "m", "a b", "--schema", path)
    assert (done.code, "cannot be read" in done.err) == (2, True)
    assert "does not exist" in cli("generate", "m", "a b", "--schema", tmp_path / "none.json").err
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n', encoding="utf-8")
    assert "--schema with --file" in cli("generate", "m", "--file", rows, "--schema", path).err


def test_a_model_of_labels_takes_no_schema(cli: Cli, make_model: Callable[..., Any], tmp_path: Path) -> None:
    make_model()
    path = tmp_path / "schema.json"
    path.write_text("{}", encoding="utf-8")
    done = cli("generate", "m", "a b", "--schema", path)
    assert (done.code, "takes no grammar" in done.err) == (2, True)

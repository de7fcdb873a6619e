"""What the user gave: one task or several read from files, noted as plain JSON, and read again the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from autogpt.config import RunConfig, load_run_config
from autogpt.data import readers
from autogpt.errors import BadInput, ConfigError, DataError
from autogpt.given import files_of, read_tasks, tasks_again
from autogpt.tasks.spec import TaskKind

COLOURS = "Sort short texts by the colour of the thing"
SENTENCE = "Sort short texts by colour; continue the texts"


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    words = {"red": ["rose", "tomato"], "green": ["leaf", "moss"]}
    rows = [{"text": f"my {words[c][i % 2]} {i}", "label": c} for i in range(30) for c in words]
    return _write(tmp_path / "colours.jsonl", rows)


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    rows = [{"text": f"Once there was a house number {i}, and by the house there was a tree."} for i in range(40)]
    return _write(tmp_path / "stories.jsonl", rows)


def test_one_path_several_and_none_are_a_list_of_paths() -> None:
    assert files_of(None) == []
    assert files_of("a.jsonl") == files_of(Path("a.jsonl")) == files_of(["a.jsonl"]) == [Path("a.jsonl")]
    assert files_of(("a", Path("b"))) == [Path("a"), Path("b")]


def test_one_file_is_one_task_without_a_name(colours: Path) -> None:
    given = read_tasks(COLOURS, [colours], [], RunConfig())
    (task,) = given.tasks
    assert (task.name, task.weight, task.spec.kind) == ("", 1.0, TaskKind.CLASSIFICATION)
    assert given.files == [colours]
    assert given.understood == task.spec.model_dump(mode="json")
    assert given.sources == {"files": [str(colours.resolve())]}
    assert given.fingerprint == readers.fingerprint([colours])


def test_several_files_are_several_tasks_with_names(colours: Path, stories: Path) -> None:
    given = read_tasks(SENTENCE, [colours, stories], [], RunConfig())
    assert [task.name for task in given.tasks] == ["colours", "stories"]
    assert [task.spec.kind for task in given.tasks] == [TaskKind.CLASSIFICATION, TaskKind.GENERATION]
    assert [len(task.tables[0].rows) for task in given.tasks] == [60, 40]
    assert list(given.understood["tasks"]) == ["colours", "stories"]
    assert given.understood["tasks"]["stories"]["kind"] == "generation"
    assert given.files == [colours, stories]
    assert given.fingerprint == readers.fingerprint([colours, stories])
    assert given.description == SENTENCE


def test_test_files_and_weights_go_with_their_task(colours: Path, stories: Path, tmp_path: Path) -> None:
    test = _write(tmp_path / "held.jsonl", [{"text": f"held {i}", "label": "red"} for i in range(5)])
    tasks = {
        "a": {"data": str(colours), "test": str(test), "description": COLOURS, "weight": 2},
        "b": {"data": str(stories), "description": "continue the texts"},
    }
    file = tmp_path / "tasks.yaml"
    file.write_text(yaml.safe_dump({"tasks": tasks}), encoding="utf-8")
    given = read_tasks("", [file], [], RunConfig())
    assert [(task.name, task.weight, len(task.tables)) for task in given.tasks] == [("a", 2.0, 2), ("b", 1.0, 1)]
    assert given.files == [colours, test, stories]
    assert given.description == f"{COLOURS}; continue the texts"
    assert given.sources["tasks"]["a"] == {"files": [str(colours.resolve()), str(test.resolve())], "weight": 2.0}


@pytest.mark.parametrize("several", [False, True])
def test_what_was_noted_is_read_again_the_same(several: bool, colours: Path, stories: Path) -> None:
    config = load_run_config(None, ["tasks.stories.weight=3"] if several else [])
    sentence, data = (SENTENCE, [colours, stories]) if several else (COLOURS, [colours])
    given = read_tasks(sentence, data, [], config)
    document = json.loads(json.dumps({"description": given.description, **given.sources}))
    again = tasks_again(document, json.loads(json.dumps(given.understood)))
    assert [(t.spec, t.name, t.weight) for t in again.tasks] == [(t.spec, t.name, t.weight) for t in given.tasks]
    assert [t.tables[0].rows for t in again.tasks] == [t.tables[0].rows for t in given.tasks]
    assert (again.fingerprint, again.description) == (given.fingerprint, given.description)
    assert again.understood == given.understood
    assert again.sources == given.sources


def test_a_changed_file_has_another_fingerprint(colours: Path, stories: Path) -> None:
    given = read_tasks(SENTENCE, [colours, stories], [], RunConfig())
    document, before = {"description": given.description, **given.sources}, given.fingerprint
    with stories.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "one more story"}) + "\n")
    assert tasks_again(document, given.understood).fingerprint != before


def test_corrections_reach_one_task_and_their_names_are_checked(colours: Path, stories: Path) -> None:
    config = load_run_config(None, ["tasks.colours.metric=macro_f1"])
    given = read_tasks(SENTENCE, [colours, stories], [], config)
    assert [task.spec.metric for task in given.tasks] == ["macro_f1", "bits_per_byte"]
    with pytest.raises(ConfigError, match="did you mean 'colours'"):
        read_tasks(SENTENCE, [colours, stories], [], load_run_config(None, ["tasks.colour.metric=macro_f1"]))
    with pytest.raises(ConfigError, match=r"say which: tasks\.colours\.metric"):
        read_tasks(SENTENCE, [colours, stories], [], load_run_config(None, ["task.metric=macro_f1"]))
    (one,) = read_tasks(COLOURS, [colours], [], load_run_config(None, ["task.metric=macro_f1"])).tasks
    assert one.spec.metric == "macro_f1"


def test_bad_input_is_named(colours: Path, stories: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="named twice"):
        read_tasks(SENTENCE, [colours, colours], [], RunConfig())
    with pytest.raises(DataError, match="1 test file for 2 data files"):
        read_tasks(SENTENCE, [colours, stories], [tmp_path / "t.jsonl"], RunConfig())
    with pytest.raises(BadInput, match="nowhere"):
        read_tasks(SENTENCE, [colours, tmp_path / "nowhere.jsonl"], [], RunConfig())

"""The YAML file of tasks: what it may hold, and one clear line for everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autogpt.errors import BadInput, ConfigError, DataError, TaskError
from autogpt.tasks.several import sources
from autogpt.tasks.task_file import TaskSource, is_task_file, read_task_file

GOOD = """\
description: support desk
tasks:
  category: {description: sort support mails into categories, data: mails.jsonl, test: mails.test.jsonl,
             weight: 0.5, task: {metric: macro_f1, labels: [yes please, "no"]}}
  回复: {description: 写回复, data: replies.jsonl}
  plain:
    data: notes.txt
    description:
    test:
    task:
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    for name in ("mails.jsonl", "mails.test.jsonl", "replies.jsonl", "notes.txt"):
        (tmp_path / name).write_text('{"text": "hello"}\n', encoding="utf-8")
    return tmp_path


def written(folder: Path, text: str | bytes, name: str = "tasks.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path, description: str = "") -> tuple[TaskSource, ...]:
    return sources(description, [path], [], {})


def test_all_that_a_file_may_say(desk: Path) -> None:
    assert read(written(desk, GOOD)) == (
        TaskSource(
            "category",
            "sort support mails into categories",
            desk / "mails.jsonl",
            desk / "mails.test.jsonl",
            {"metric": "macro_f1", "labels": ["yes please", "no"]},
            0.5,
        ),
        TaskSource("回复", "写回复", desk / "replies.jsonl"),
        TaskSource("plain", "support desk", desk / "notes.txt"),
    )


def test_the_sentence_of_the_command_line_beats_the_files_but_not_a_tasks_own(desk: Path) -> None:
    found = read(written(desk, GOOD), "take notes")
    assert [source.description for source in found] == ["sort support mails into categories", "写回复", "take notes"]


def test_a_single_task_is_allowed(desk: Path) -> None:
    (found,) = read(written(desk, "tasks: {notes: {data: notes.txt, description: continue the notes}}"))
    assert (found.name, found.weight, found.overrides) == ("notes", 1.0, {})


def test_a_byte_order_mark_and_the_short_suffix_are_read(desk: Path) -> None:
    path = written(desk, b"\xef\xbb\xbf" + GOOD.encode(), "Tasks.YML")
    assert len(read(path)) == 3


def test_anchors_and_merging_are_yaml(desk: Path) -> None:
    text = "tasks:\n  a: &a {data: notes.txt, description: write, weight: 2}\n  b: {<<: *a, data: mails.jsonl}\n"
    assert [(source.name, source.data.name, source.weight) for source in read(written(desk, text))] == [
        ("a", "notes.txt", 2.0),
        ("b", "mails.jsonl", 2.0),
    ]


def test_what_is_a_task_file(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").mkdir()
    assert is_task_file("a/tasks.yaml")
    assert is_task_file(Path("t.YML"))
    assert not is_task_file("tasks.json")
    assert not is_task_file("yaml")
    assert not is_task_file(tmp_path / "rows.yaml")
    assert not is_task_file("x" * 5000)


def test_tests_go_to_the_tasks_that_have_none(desk: Path) -> None:
    path, tests = written(desk, GOOD), [desk / "r.jsonl", desk / "n.jsonl"]
    found = read_task_file(path, "", tests)
    assert [source.test for source in found] == [desk / "mails.test.jsonl", *tests]
    with pytest.raises(DataError, match=r"1 test file for 2 of the tasks in tasks.yaml"):
        read_task_file(path, "", tests[:1])


ONE = "tasks: {a: {description: write, data: notes.txt, %s}}"
BAD: list[tuple[str, type[BadInput], str]] = [
    ("", ConfigError, "found nothing; expected a mapping"),
    ("- a", ConfigError, "the file in tasks.yaml; found list; expected a mapping"),
    ("description: x", ConfigError, "tasks in tasks.yaml; found nothing"),
    ("tasks: {}", ConfigError, "tasks.yaml holds no tasks"),
    ("tasks: [a]", ConfigError, "found list"),
    ("task: {a: 1}", ConfigError, "unknown key 'task' in tasks.yaml; did you mean 'tasks'?"),
    ("tasks: {a: }", ConfigError, "tasks.a in tasks.yaml; found nothing"),
    ("tasks: {a: {description: write}}", ConfigError, "task 'a' in tasks.yaml has no data; add tasks.a.data"),
    ("tasks: {a: {description: write, dta: x}}", ConfigError, "unknown key 'tasks.a.dta'.*did you mean 'data'"),
    ("tasks: {a: {data: notes.txt}}", TaskError, "task 'a' has no description"),
    ("tasks: {a: {data: notes.tx, description: write}}", DataError, "task 'a': no file .*did you mean 'notes.txt'"),
    ("tasks: {a: {data: no/where, description: write}}", DataError, "task 'a': no file .*there is no folder"),
    ("tasks: {a: {data: 3, description: write}}", ConfigError, "tasks.a.data in tasks.yaml; found 3"),
    ('tasks: {a: {data: "n\\0", description: write}}', ConfigError, "expected the path of a file"),
    ("tasks: {a: {data: tasks.yaml, description: write}}", DataError, "names the tasks file itself"),
    ("tasks: {a: {data: ./other.yml, description: write}}", DataError, "names another tasks file"),
    (ONE % "test: tasks.yaml", DataError, "tasks.a.test in tasks.yaml names the tasks file itself"),
    (ONE % "test: none.jsonl", DataError, "task 'a': no file"),
    (ONE % "weight: 0", ConfigError, "tasks.a.weight in tasks.yaml; found 0; expected a number above 0"),
    (ONE % "weight: .nan", ConfigError, "found nan"),
    (ONE % "weight: .inf", ConfigError, "found inf"),
    (ONE % "weight: yes", ConfigError, "found True"),
    (ONE % f"weight: {'9' * 99}{'9' * 99}", ConfigError, "a number of 198 digits"),
    (ONE % "task: macro_f1", ConfigError, "tasks.a.task in tasks.yaml; found str"),
    (ONE % "task: {metrc: x}", TaskError, "unknown option 'tasks.a.metrc'; did you mean 'metric'"),
    (ONE % "task: {kind: clasification}", TaskError, "tasks.a.kind; found .*did you mean 'classification'"),
    (ONE % "task: {1: x}", ConfigError, "a key of tasks.a.task in tasks.yaml; found 1"),
    ("tasks: {a: {description: [x], data: notes.txt}}", ConfigError, "tasks.a.description in tasks.yaml; found"),
    ("tasks: {yes: {description: x, data: notes.txt}}", ConfigError, "found True; expected a word; put it in quotes"),
    ("tasks: {a/b: {}}", ConfigError, "task name 'a/b'.*such as 'a-b'"),
    ("tasks: {.a: {}}", ConfigError, "task name '.a'"),
    ("tasks: {My_Task: {}}", ConfigError, "such as 'my-task'"),
    ('tasks: {"": {}}', ConfigError, "task name ''"),
    ("tasks:\n  a: {}\n  b: {}\n  a: {}\n", ConfigError, "tasks.yaml line 4: 'a' a second time; found the first in li"),
    ("tasks: {a: 1, a: 2}", ConfigError, "line 1: 'a' a second time"),
    ("tasks:\n  a: {\n", ConfigError, "tasks.yaml line 3 is not YAML"),
    ("tasks:\n\tx: 1\n", ConfigError, "tasks.yaml line 2 is not YAML"),
    ("a: 1\n---\nb: 2\n", ConfigError, "tasks.yaml line 2 is not YAML"),
    ("tasks:\n  a: \x01\n", ConfigError, "tasks.yaml line 2 is not YAML; found character 0x0001"),
    ("tasks: !!python/object:os.system {}", ConfigError, "not a plain value"),
    ("tasks: 2024-13-45", ConfigError, "line 1: not a plain value; found '2024-13-45'; put it in quotes"),
    ("tasks: !!int word", ConfigError, "not what its tag says"),
    ("tasks: !!bool word", ConfigError, "not what its tag says"),
    ('tasks: !!float ""', ConfigError, "not what its tag says"),
    ('tasks: "\\ud800"', ConfigError, "half a character"),
    ("tasks: &a {b: *a}", ConfigError, "too many values"),
    ("[" * 3000, ConfigError, "nested too deeply"),
    ("tasks: {" + ", ".join(f"t{n}: {{data: notes.txt}}" for n in range(33)) + "}", ConfigError, "found 33; expected"),
]


@pytest.mark.parametrize(("text", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_files_give_one_line(desk: Path, text: str, error: type[BadInput], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read(written(desk, text))
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_anchors_within_anchors_cannot_fill_the_memory(desk: Path) -> None:
    levels = ["tasks:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="too many values"):
        read(written(desk, "\n".join(levels)))


def test_files_that_are_no_text(desk: Path) -> None:
    with pytest.raises(DataError, match=r"no tasks file '.*none.yaml'"):
        read(desk / "none.yaml")
    with pytest.raises(DataError, match=r"cannot be read.*expected YAML in UTF-8"):
        read(written(desk, "描述".encode("gb18030")))
    with pytest.raises(DataError, match="expected at most 1048576"):
        read(written(desk, b"#" * (2**20 + 1)))


def test_the_same_file_twice(desk: Path) -> None:
    text = "description: x y\ntasks: {a: {data: notes.txt}, b: {data: mails.jsonl, test: ./notes.txt}}"
    with pytest.raises(DataError, match="named twice; found data of task 'a' and test of task 'b'"):
        read(written(desk, text))
    (desk / "link.txt").symlink_to(desk / "notes.txt")
    with pytest.raises(DataError, match="named twice"):
        read(written(desk, "description: x y\ntasks: {a: {data: notes.txt}, b: {data: link.txt}}"))


WORDS = st.sampled_from(
    ["tasks", "description", "data", "test", "weight", "task", "metric", "labels", "kind", "a", "notes.txt", "b-c"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(WORDS, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=6), st.integers()), inner)
    ),
    max_leaves=12,
)
CORRECTIONS = st.sampled_from([{}, {"metric": "chrf"}, {"labels": ["a", 1]}, {"kind": "no kind"}, {"metric": [2]}])
ENTRIES = st.fixed_dictionaries(
    {"data": st.one_of(st.sampled_from(["notes.txt", "mails.jsonl"]), VALUES)},
    optional={
        "description": st.one_of(st.text(min_size=1), VALUES),
        "test": st.one_of(st.just("replies.jsonl"), VALUES),
        "weight": st.one_of(st.floats(0.1, 9), VALUES),
        "task": st.one_of(CORRECTIONS, VALUES),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"description": st.one_of(st.just("write"), VALUES)},
    optional={"tasks": st.dictionaries(st.sampled_from(["a", "b-c", "任务", "x/y"]), ENTRIES, max_size=2)},
)
SIGNS = r"""{ } [ ] : ' " | > - ? # , = ~ \ &x *x <<: !!int !!set !!omap --- ... %YAML data notes.txt tasks: a"""
PIECES = st.sampled_from([*SIGNS.split(" "), *(f"{sign} " for sign in SIGNS.split(" ")), "\n", "\n  ", "\t", "\x85"])
fuzzed = settings(
    deadline=None, derandomize=True, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def gives_tasks_or_one_line(path: Path) -> None:
    found: tuple[TaskSource, ...] = ()
    line = ""
    try:
        found = read(path)
    except BadInput as error:
        line = str(error)
    assert bool(found) != bool(line)
    assert "\n" not in line
    assert all(source.data.exists() and source.description and source.weight > 0 for source in found)


@fuzzed
@given(document=st.one_of(VALUES, DOCUMENTS, DOCUMENTS))
def test_any_document_gives_tasks_or_one_line(desk: Path, document: Any) -> None:
    gives_tasks_or_one_line(written(desk, yaml.safe_dump(document, allow_unicode=True)))


@fuzzed
@given(pieces=st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=30))
def test_any_text_gives_tasks_or_one_line(desk: Path, pieces: list[str]) -> None:
    gives_tasks_or_one_line(written(desk, "".join(pieces).encode("utf-8", "surrogatepass")))


@fuzzed
@given(data=st.binary(max_size=60), place=st.integers(0, len(GOOD.encode())))
def test_any_damage_gives_tasks_or_one_line(desk: Path, data: bytes, place: int) -> None:
    whole = GOOD.encode()
    gives_tasks_or_one_line(written(desk, whole[:place] + data + whole[place + len(data) :]))

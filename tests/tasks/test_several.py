"""Several tasks from one sentence and several files: their names, and which part of the sentence goes to which."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from autogpt.data import readers
from autogpt.errors import BadInput, ConfigError, DataError, TaskError
from autogpt.tasks.several import TaskSource, clauses, is_task_file, sources, understand_all
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import Sample, understand

Make = Callable[..., Sample]


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "hello"}\n', encoding="utf-8")
    return [folder / name for name in names]


NAMES: list[tuple[list[str], list[str]]] = [
    (["mails.train.jsonl", "replies.csv"], ["mails", "replies"]),
    (["Bank Intents.v2.jsonl", "客户 留言.csv"], ["bank-intents", "客户-留言"]),
    (["en/train.jsonl", "zh/train.jsonl"], ["en-train", "zh-train"]),
    (["a/mails.csv", "a/mails.jsonl"], ["mails", "mails-2"]),
    (["x/a/t.csv", "y/a/t.csv", "b.csv"], ["t", "t-2", "b"]),
    (["en/train.csv", "zh/train.csv", "en-train.csv"], ["en-train", "zh-train", "en-train-2"]),
    ([".hidden.jsonl", "+.jsonl"], ["hidden", "model"]),
    ([f"{'x' * 50}.a.csv", f"{'x' * 60}.b.csv"], ["x" * 40, f"{'x' * 36}-2"]),
]


@pytest.mark.parametrize(("paths", "names"), NAMES, ids=range(len(NAMES)))
def test_names_are_those_of_the_files(tmp_path: Path, paths: list[str], names: list[str]) -> None:
    data = files(tmp_path, *paths)
    found = sources("  分类；写回复 ", data, [], {})
    assert [source.name for source in found] == names
    assert [source.data for source in found] == data
    assert {source.description for source in found} == {"分类；写回复"}


def test_a_folder_is_data(tmp_path: Path) -> None:
    files(tmp_path, "mails.2024/a.jsonl", "b.jsonl")
    found = sources("x; y", [tmp_path / "mails.2024", tmp_path / "b.jsonl"], [], {})
    assert [source.name for source in found] == ["mails", "b"]


def test_test_files_go_with_the_data_files(tmp_path: Path) -> None:
    data, tests = files(tmp_path, "a.jsonl", "b.jsonl"), files(tmp_path, "a.test.jsonl", "b.test.jsonl")
    assert [source.test for source in sources("x; y", data, tests, {})] == tests
    for wrong in (tests[:1], [*tests, *data[:1]]):
        with pytest.raises(DataError, match=rf"{len(wrong)} test files? for 2 data files; expected no --test, or one"):
            sources("x; y", data, wrong, {})


def test_a_single_file_is_an_ordinary_run(tmp_path: Path) -> None:
    (found,) = sources("classify", [tmp_path / "none.jsonl"], [tmp_path / "t.jsonl"], {})
    assert found == TaskSource("none", "classify", tmp_path / "none.jsonl", tmp_path / "t.jsonl")


def test_corrections_win_and_reach_their_task_only(tmp_path: Path) -> None:
    files(tmp_path, "a.jsonl", "b.jsonl")
    tasks = {"a": {"data": "a.jsonl", "description": "x", "weight": 3, "task": {"metric": "chrf", "labels": ["u"]}}}
    path = tmp_path / "tasks.yaml"
    path.write_text(json.dumps({"tasks": {**tasks, "b": {"data": "b.jsonl", "description": "y"}}}), encoding="utf-8")
    a, b = sources("", [path], [], {"a": {"metric": "bleu", "description": "z"}, "b": {"weight": 0.5}})
    assert (a.overrides, a.description, a.weight) == ({"metric": "bleu", "labels": ["u"]}, "z", 3.0)
    assert (b.overrides, b.description, b.weight) == ({}, "y", 0.5)


WRONG: list[tuple[list[str], Mapping[str, Any], type[BadInput], str]] = [
    ([], {}, DataError, "no data are given"),
    (["a.jsonl", "a.jsonl"], {}, DataError, r"named twice; found data of task 'a' and data of task 'a-2'"),
    (
        ["a.jsonl", "a.jsonl"],
        {},
        DataError,
        r"expected a file of its own for each; write the columns of each task to a",
    ),
    (
        ["same.yaml"],
        {},
        DataError,
        r"named twice; found data of task 'p' and data of task 'q'; exp.*; write the columns",
    ),
    (["a.jsonl", "./x/../a.jsonl"], {}, DataError, r"named twice"),
    (["a.jsonl", "c.jsonl"], {}, DataError, r"task 'c': no file '.*c.jsonl'; did you mean"),
    (["a.jsonl", "tasks.yaml"], {}, DataError, r"a tasks file comes alone; found a.jsonl, tasks.yaml"),
    (["t.yaml", "u.yaml"], {}, DataError, r"a tasks file comes alone"),
    (["a.jsonl", "b.jsonl"], {"bb": {}}, ConfigError, r"--set tasks.bb: there is no task 'bb'; did you mean 'b'"),
    (["a.jsonl", "b.jsonl"], {"b": "bleu"}, ConfigError, r"--set tasks.b; found 'bleu'; expected tasks.b.KEY=VALUE"),
    (["a.jsonl", "b.jsonl"], {"b": {"metrics": 1}}, TaskError, r"unknown option 'tasks.b.metrics'; did you mean 'met"),
    (
        ["a.jsonl", "b.jsonl"],
        {"b": {"metric": "blue"}},
        TaskError,
        r"tasks.b.metric; found 'blue'; did you mean 'bleu'",
    ),
    (["a.jsonl", "b.jsonl"], {"b": {"weight": -1}}, ConfigError, r"--set tasks.b.weight; found -1; expected a number"),
    (["a.jsonl", "b.jsonl"], {"b": {"description": 3}}, ConfigError, r"--set tasks.b.description; found 3"),
    (
        [f"{n}.jsonl" for n in range(33)],
        {},
        ConfigError,
        r"too many tasks for one model; found 33; expected at most 32",
    ),
]


@pytest.mark.parametrize(("paths", "corrections", "error", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_files_and_corrections_give_one_line(
    tmp_path: Path, paths: list[str], corrections: Mapping[str, Any], error: type[BadInput], message: str
) -> None:
    files(tmp_path, "a.jsonl", "b.jsonl", "x/y.jsonl")
    (tmp_path / "same.yaml").write_text("tasks: {p: {data: a.jsonl}, q: {data: x/../a.jsonl}}", encoding="utf-8")
    with pytest.raises(error, match=message) as caught:
        sources("classify; write", [tmp_path / path for path in paths], [], corrections)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_no_description_and_test_files_that_are_wrong(tmp_path: Path) -> None:
    data = files(tmp_path, "a.jsonl", "b.jsonl")
    with pytest.raises(TaskError, match=r"task 'a' has no description"):
        sources(" ", data, [], {})
    line = r"named twice; found data of task 'a' and test of task 'b'; expected .*; name another test file, or none"
    with pytest.raises(DataError, match=line):
        sources("x", data, [*files(tmp_path, "t.jsonl"), data[0]], {})
    with pytest.raises(DataError, match=r"task 'b': t.yaml is a tasks file"):
        sources("x", data, files(tmp_path, "t.jsonl", "t.yaml"), {})


def tasks_of(description: str, *names: str, **overrides: Mapping[str, Any]) -> list[TaskSource]:
    return [TaskSource(name, description, Path(name), overrides=overrides.get(name, {})) for name in names]


def shown(spec: TaskSpec) -> str:
    """Why a spec has its part of the sentence."""
    (entry,) = [entry for entry in spec.evidence if entry.field == "description"]
    assert entry.source == "sentence"
    assert entry.value == spec.description
    return entry.reason


# parts, each with the made-up sample that it belongs to
TOGETHER: list[tuple[str, list[tuple[str, str]]]] = [
    ("；", [("判断评论是好评还是差评", "zh_columns"), ("识别问题的意图（77 类）", "many_classes")]),
    ("; ", [("classify the category of a message", "service"), ("translate English into Chinese", "pairs")]),
    (", and ", [("classify the topic of news", "en_topic"), ("write a reply to a message", "completion")]),
    ("\n", [("把新闻分成体育、时政等栏目", "zh_topic"), ("总结新闻", "zh_news"), ("闲聊机器人", "zh_chat")]),
    ("；", [("识别意图", "many_classes"), ("抽取人名和地名", "entities"), ("给评论打上多个标签", "tags")]),
    (". ", [("Sort Chinese text by topic", "zh_topic"), ("Sort English text by topic", "en_topic")]),
    ("; ", [("is it about sport or politics", "en_topic"), ("yes or no? judge the review", "label_first")]),
]


@pytest.mark.parametrize(("joint", "pairs"), TOGETHER, ids=range(len(TOGETHER)))
def test_each_part_finds_its_file_in_any_order(sample: Make, joint: str, pairs: list[tuple[str, str]]) -> None:
    description = joint.join(part for part, _ in pairs)
    for order in permutations(pairs):
        names = ["abc"[place] for place in range(len(order))]
        samples = {name: sample(made) for name, (_, made) in zip(names, order, strict=True)}
        specs = understand_all(tasks_of(description, *names), samples)
        assert [spec.description.rstrip(".") for spec in specs] == [part for part, _ in order]
        for spec, (part, made) in zip(specs, order, strict=True):
            alone = understand(part, sample(made))
            assert (spec.kind, spec.input_fields, spec.output_field) == (
                alone.kind,
                alone.input_fields,
                alone.output_field,
            )
            assert f"of the {len(pairs)} that the sentence has: " in shown(spec)


def test_the_file_name_decides_where_the_rows_do_not(sample: Make) -> None:
    samples = {"reply": sample("completion"), "paraphrase": sample("completion")}
    specs = understand_all(tasks_of("paraphrase a text; write a reply", "reply", "paraphrase"), samples)
    assert [spec.description for spec in specs] == ["write a reply", "paraphrase a text"]
    assert "as the name 'reply' does" in shown(specs[0])


def test_a_tie_keeps_the_order_given(sample: Make) -> None:
    samples = {"a": sample("prose"), "b": sample("prose")}
    specs = understand_all(tasks_of("write like Austen; write like Bronte", "a", "b"), samples)
    assert [spec.description for spec in specs] == ["write like Austen", "write like Bronte"]
    assert all(shown(spec).endswith("in the order given; the data do not decide") for spec in specs)


def test_more_than_six_take_their_parts_in_order(sample: Make) -> None:
    parts = [f"write story {n}" for n in ["one", "two", "three", "four", "five", "six", "seven"]]
    names = [f"t{n}" for n in range(7)]
    specs = understand_all(tasks_of("; ".join(parts), *names), {name: sample("prose", 40) for name in names})
    assert [spec.description for spec in specs] == parts
    assert shown(specs[6]) == "part 7 of the 7 that the sentence has: in the order given"


def test_one_sentence_for_all(sample: Make) -> None:
    samples = {"a": sample("en_topic"), "b": sample("mail")}
    specs = understand_all(tasks_of("classify texts", "a", "b"), samples)
    assert [spec.description for spec in specs] == ["classify texts", "classify texts"]
    assert [shown(spec) for spec in specs] == ["as given", "as given"]


def test_a_part_of_one_file_among_other_parts(sample: Make) -> None:
    samples = {"a": sample("en_topic"), "b": sample("label_first"), "c": sample("pairs")}
    whole = "classify texts; translate English into Chinese"
    specs = understand_all(tasks_of(whole, "a", "b", "c"), samples)
    assert [spec.description for spec in specs] == [whole, whole, "translate English into Chinese"]
    assert [spec.kind.value for spec in specs] == ["classification", "classification", "translation"]
    assert "part 2 of the 2" in shown(specs[2])


def test_own_sentences_are_kept_whole_and_corrections_count(sample: Make) -> None:
    tasks = [
        TaskSource("a", "classify texts; use macro F1", Path("a")),
        TaskSource("b", "给留言分类；写回复", Path("b"), overrides={"output_field": "reply"}),
    ]
    samples = {"a": sample("en_topic"), "b": sample("zh_service")}
    specs = understand_all(tasks, samples)
    assert [spec.description for spec in specs] == [task.description for task in tasks]
    assert [(spec.kind.value, spec.output_field, spec.metric) for spec in specs] == [
        ("classification", "label", "macro_f1"),
        ("dialogue", "reply", "bits_per_byte"),
    ]


def test_a_single_task_is_understood_as_ever(sample: Make) -> None:
    (spec,) = understand_all(tasks_of("classify texts; write", "a"), {"a": sample("en_topic")})
    assert spec == understand("classify texts; write", sample("en_topic"))


def test_errors_and_advice_name_the_task(sample: Make) -> None:
    samples = {"a": sample("en_topic"), "b": sample("mail")}
    with pytest.raises(TaskError, match=r"tasks.b.output_field: there is no column 'x'"):
        understand_all(tasks_of("classify texts", "a", "b", b={"output_field": "x"}), samples)
    with pytest.raises(TaskError, match=r"task 'a': the description names nothing.*--set tasks.a.kind="):
        understand_all(tasks_of("x", "a", "b"), samples)
    samples["b"] = sample("source_target")
    spec = understand_all(tasks_of("translate into English", "a", "b"), samples)[1]
    assert "--set tasks.b.output_field=source" in " ".join(spec.contradictions)


def test_what_others_import_from_here() -> None:
    assert clauses("classify; write a reply") == ["classify", "write a reply"]
    assert is_task_file("tasks.yml")


REAL = [
    ("zh_waimai_sentiment", "en_banking77_intent"),
    ("en_sst2_sentiment", "en_banking77_intent"),
    ("zh_waimai_sentiment", "en_sst2_sentiment"),
    ("zh_thucnews_topic", "zh_cold_offensive"),
    ("en_wnut17_ner", "zh_resume_ner"),
]


@pytest.mark.shared
@pytest.mark.parametrize(("one", "two"), REAL)
def test_real_files_against_the_order_of_the_sentence(shared: Path, one: str, two: str) -> None:
    lines = (shared / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    known = {task["id"]: task for task in map(json.loads, lines)}
    samples = {
        name: readers.sample(readers.read(shared / known[task]["train"]), 500)
        for name, task in (("a", two), ("b", one))
    }
    for key, joint in (("description_zh", "；"), ("description_en", "; ")):
        parts = [known[task][key].rstrip("。.") for task in (one, two)]
        a, b = understand_all(tasks_of(joint.join(parts), "a", "b"), samples)
        assert [a.description, b.description] == [parts[1], parts[0]]
        assert a.contradictions == b.contradictions == []


@pytest.mark.shared
def test_the_sentence_of_the_manual_on_real_files(shared: Path) -> None:
    lines = (shared / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    trains = {task["id"]: shared / task["train"] for task in map(json.loads, lines)}
    data = [trains["en_banking77_intent"], trains["zh_waimai_sentiment"]]
    found = sources("分类评论情感；识别银行问题的意图", data, [], {"zh-waimai-sentiment": {"metric": "macro_f1"}})
    assert [source.name for source in found] == ["en-banking77-intent", "zh-waimai-sentiment"]
    samples = {source.name: readers.sample(readers.read(source.data)) for source in found}
    intent, sentiment = understand_all(found, samples)
    assert (intent.description, intent.metric, len(intent.labels)) == ("识别银行问题的意图", "accuracy", 77)
    assert (sentiment.description, sentiment.metric, len(sentiment.labels)) == ("分类评论情感", "macro_f1", 2)

"""Small samples in every shape that users bring, made up here; names say what they are."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from autogpt.tasks.understand import Sample

_EN_SUBJECTS = ("The courier", "My neighbour", "This kettle", "The new update", "Our teacher", "The museum", "A farmer")
_EN_VERBS = ("brought", "lost", "repaired", "ordered", "described", "returned", "painted", "hid")
_EN_OBJECTS = ("the blue umbrella", "a box of apples", "the wrong invoice", "an old bicycle", "two letters", "the map")
_EN_ENDS = ("this morning", "without a word", "after lunch", "for the third time", "near the station", "on Sunday")
_ZH_SUBJECTS = ("快递员", "我的邻居", "这个水壶", "新版本", "语文老师", "博物馆", "一位农民")
_ZH_VERBS = ("送来了", "弄丢了", "修好了", "订购了", "描述了", "退回了", "画了", "藏起了")
_ZH_OBJECTS = ("一把蓝色的伞", "一箱苹果", "错误的发票", "一辆旧自行车", "两封信", "那张地图")
_ZH_ENDS = ("，就在今天早上", "，一句话也没说", "，在午饭以后", "，已经是第三次", "，在车站附近", "，那是星期天")


def english(row: int) -> str:
    """A sentence; different for each of the first 2000 rows."""
    rng = random.Random(row)
    parts = (_EN_SUBJECTS, _EN_VERBS, _EN_OBJECTS, _EN_ENDS)
    return " ".join(rng.choice(part) for part in parts) + f", and it was the {row}th time."


def chinese(row: int) -> str:
    rng = random.Random(row)
    parts = (_ZH_SUBJECTS, _ZH_VERBS, _ZH_OBJECTS, _ZH_ENDS)
    return "".join(rng.choice(part) for part in parts) + f"，这是第{row}次。"


def _text(language: str) -> Callable[[int], str]:
    return english if language == "en" else chinese


def _labels(*names: Any) -> Callable[[int], Any]:
    return lambda row: names[row * 13 % len(names)]


def _document(language: str) -> Callable[[int], str]:
    one, gap = _text(language), " " if language == "en" else ""
    return lambda row: gap.join(one(row * 5 + part) for part in range(5))


def _lead(language: str) -> Callable[[int], str]:
    return lambda row: _document(language)(row)[: 40 if language == "en" else 12]


def _people(row: int) -> str:
    return ("Ada Lovelace", "Bo Li", "Mia Chen")[row % 3]


def _report(row: int) -> str:
    return f"{_people(row)} met the mayor of {('Oslo', 'Lima')[row % 2]} on day {row}."


def _spans(row: int) -> list[dict[str, Any]]:
    text = _report(row)
    names = {"PER": _people(row), "LOC": ("Oslo", "Lima")[row % 2]}
    return [
        {"type": kind, "text": name, "start": text.index(name), "end": text.index(name) + len(name)}
        for kind, name in names.items()
    ]


def _turns(language: str, keys: tuple[str, str], roles: tuple[str, str]) -> Callable[[int], list[dict[str, str]]]:
    one = _text(language)
    return lambda row: [{keys[0]: roles[turn % 2], keys[1]: one(row * 4 + turn)} for turn in range(4)]


def _ask(language: str) -> Callable[[int], str]:
    if language == "en":
        return lambda row: f"Who {_EN_VERBS[row % 8]} {_EN_OBJECTS[row % 6]} in case {row}?"
    return lambda row: f"第{row}次是谁{_ZH_VERBS[row % 8]}{_ZH_OBJECTS[row % 6]}？"


Columns = Mapping[str, Callable[[int], Any]]


def _shapes() -> dict[str, tuple[str, Columns]]:
    """Name → layout and columns, each a function of the row's number."""
    tags = ("price", "quality", "service", "delivery")
    return {
        "en_topic": ("table", {"text": english, "label": _labels("sport", "politics", "science", "travel")}),
        "zh_topic": ("table", {"text": chinese, "label": _labels("体育", "时政", "科技", "旅游")}),
        "label_first": ("table", {"label": _labels("yes", "no"), "id": lambda row: row, "review": english}),
        "zh_columns": ("table", {"编号": lambda row: row, "评论内容": chinese, "情感倾向": _labels("好评", "差评")}),
        "stars": (
            "table",
            {"review": english, "stars": _labels(1, 2, 3, 4, 5), "date": lambda row: f"2024-01-{row % 28 + 1:02}"},
        ),
        "many_classes": ("table", {"text": english, "intent": _labels(*(f"intent_{n}" for n in range(77)))}),
        "service": (
            "table",
            {
                "message": english,
                "category": _labels("refund", "delivery", "account", "other"),
                "reply": lambda row: f"Dear customer, about {english(row * 3)} we are sorry.",
            },
        ),
        "zh_service": (
            "table",
            {
                "message": chinese,
                "category": _labels("退款", "物流", "账户"),
                "reply": lambda row: "您好，" + chinese(row * 3),
            },
        ),
        "zh_service_zh": (
            "table",
            {
                "客户留言": chinese,
                "类别": _labels("退款", "物流", "账户"),
                "客服回复": lambda row: "您好，" + chinese(row * 3),
            },
        ),
        "mail": (
            "table",
            {
                "subject": lambda row: f"Case {row}: {english(row)[:15]}",
                "body": _document("en"),
                "priority": _labels("low", "high", "urgent"),
                "department": _labels("sales", "support"),
            },
        ),
        "tags": ("table", {"review": english, "tags": lambda row: [tag for n, tag in enumerate(tags) if row >> n & 1]}),
        "tags_cell": (
            "table",
            {
                "review": english,
                "labels": lambda row: ";".join(tag for n, tag in enumerate(tags) if (row + 1) >> n & 1),
            },
        ),
        "entities": ("table", {"text": _report, "entities": _spans}),
        "squad": (
            "table",
            {
                "context": _document("en"),
                "question": _ask("en"),
                "answers": lambda row: [_document("en")(row)[4:20], _document("en")(row)[4:12]],
            },
        ),
        "zh_qa": ("table", {"问题": _ask("zh"), "答案": lambda row: chinese(row)[:6], "文章": _document("zh")}),
        "faq": ("table", {"question": _ask("en"), "answer": english}),
        "sums": (
            "table",
            {
                "question": lambda row: f"How much is {row} plus {row * 3}?",
                "steps": lambda row: f"{row}+{row * 3}",
                "answer": lambda row: str(row * 4),
            },
        ),
        "news": ("table", {"id": lambda row: row, "article": _document("en"), "summary": _lead("en")}),
        "zh_news": ("table", {"标题": _lead("zh"), "正文": _document("zh"), "作者": _labels("甲", "乙", "丙")}),
        "pairs": ("table", {"en": english, "zh": chinese}),
        "source_target": ("table", {"source": english, "target": chinese}),
        "columns_ab": ("table", {"a": chinese, "b": english}),
        "chat": ("messages", {"messages": _turns("en", ("role", "content"), ("user", "assistant"))}),
        "zh_chat": (
            "messages",
            {"topic": _labels("酒店", "机票"), "messages": _turns("zh", ("role", "content"), ("user", "assistant"))},
        ),
        "sharegpt": ("sharegpt", {"conversations": _turns("en", ("from", "value"), ("human", "gpt"))}),
        "alpaca": (
            "alpaca",
            {
                "instruction": _ask("en"),
                "input": lambda row: english(row) if row % 2 else "",
                "output": _document("en"),
            },
        ),
        "zh_alpaca": (
            "alpaca",
            {
                "system": lambda row: "你是助手。",
                "instruction": _ask("zh"),
                "input": lambda row: "",
                "output": _document("zh"),
            },
        ),
        "completion": ("prompt_completion", {"prompt": english, "completion": lambda row: english(row + 500)}),
        "completion_labels": ("prompt_completion", {"prompt": chinese, "completion": _labels("投诉", "咨询")}),
        "prose": ("text", {"text": _document("en")}),
        "book": (
            "table",
            {"text": _document("zh"), "title": lambda row: "山中日记", "chapter": lambda row: f"第{row // 50}章"},
        ),
        "poems": (
            "table",
            {
                "title": lambda row: f"《{chinese(row)[:4]}》",
                "text": lambda row: chinese(row) * 2,
                "author": _labels("甲", "乙"),
            },
        ),
        "preference": (
            "preference",
            {"prompt": _ask("en"), "chosen": english, "rejected": lambda row: english(row + 900)},
        ),
        "rewrite": ("table", {"original": english, "rewritten": lambda row: english(row).replace("the", "some")}),
    }


@cache
def make(name: str, rows: int = 200) -> Sample:
    layout, columns = _shapes()[name]
    table = tuple({column: value(row) for column, value in columns.items()} for row in range(rows))
    return Sample(tuple(columns), table, layout, f"{name}.jsonl", rows)


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    """`sample(name, rows=200)`: a made-up sample by its name."""
    return make

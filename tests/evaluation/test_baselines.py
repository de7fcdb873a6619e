from __future__ import annotations

import json
from pathlib import Path

import pytest

from autogpt.evaluation.baselines import Baseline, ladder
from autogpt.evaluation.evaluate import score
from autogpt.evaluation.similarity import TextFeatures, fit_logistic, nearest
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.types import Entity, Example, Message

GREETINGS = ["good morning to you", "hello dear friend", "hi there friend", "good evening dear all"]
FAREWELLS = ["see you tomorrow", "bye bye see you", "goodbye until tomorrow", "farewell and goodbye"]


def spec_of(
    kind: str, *, metric: str | None = None, fields: tuple[str, ...] = ("text",), language: str = "en"
) -> TaskSpec:
    metric = metric or METRICS_OF_KIND[TaskKind(kind)][0]
    return TaskSpec(
        description="x",
        kind=kind,
        input_fields=list(fields),
        output_field="answer",
        labels=[],
        input_language=language,
        output_language=language,
        metric=metric,
        direction=METRIC_DIRECTION[metric],
    )


def by_name(rungs: list[Baseline]) -> dict[str, Baseline]:
    return {rung.name: rung for rung in rungs}


def table(pairs: list[tuple[str, object]]) -> list[Example]:
    return [
        Example(f"f:{i}", {"text": text}, answer, references=(answer,) if isinstance(answer, str) else ())  # type: ignore[arg-type]
        for i, (text, answer) in enumerate(pairs)
    ]


def test_classification() -> None:
    train = table([(t, "greet") for t in GREETINGS] + [(t, "part") for t in FAREWELLS[:3]])
    rows = table([("hello friend", "greet"), ("see you, goodbye", "part")])
    rungs = ladder(spec_of("classification"), train, rows)
    assert [rung.trivial for rung in rungs] == [True, False, False]
    found = by_name(rungs)
    assert [p.target for p in found["majority"].predictions] == ["greet", "greet"]
    assert found["majority"].predictions[0].scores["part"] == pytest.approx(3 / 7)
    for name in ("nearest neighbour", "TF-IDF + logistic regression"):
        assert [p.target for p in found[name].predictions] == ["greet", "part"]
    assert sum(found["TF-IDF + logistic regression"].predictions[0].scores.values()) == pytest.approx(1.0)


def test_multi_label() -> None:
    train = table([(t, ("greet",)) for t in GREETINGS * 4] + [(t, ("part", "polite")) for t in FAREWELLS * 4])
    rows = table([("hello friend", ("greet",)), ("see you, goodbye", ("part", "polite"))])
    found = by_name(ladder(spec_of("multi_label"), train, rows))
    assert found["most frequent set"].trivial
    assert [p.target for p in found["most frequent set"].predictions] == [("greet",)] * 2
    learned = found["TF-IDF + logistic regression"].predictions
    assert [p.target for p in learned] == [("greet",), ("part", "polite")]
    assert set(learned[0].scores) == {"greet", "part", "polite"}


def test_extraction_by_dictionary() -> None:
    def row(text: str, *found: tuple[str, str]) -> Example:
        return Example(
            text, {"text": text}, tuple(Entity(k, t, text.index(t), text.index(t) + len(t)) for k, t in found)
        )

    train = [
        row("Ann May met May Wu", ("PER", "Ann May"), ("PER", "May Wu")),
        row("May is warm", ("DATE", "May")),
        row("in May and in May", ("DATE", "May")),
        row("他在北京大学", ("ORG", "北京大学")),
        row("北京", ("LOC", "北京")),
    ]
    asked = [row("Ann May came"), row("Maybe Ann Mayer"), row("北京大学在北京")]
    found = by_name(ladder(spec_of("extraction"), train, asked))
    assert all(p.target == () for p in found["nothing found"].predictions)
    answers = [p.target for p in found["dictionary"].predictions]
    assert answers[0] == (Entity("PER", "Ann May", 0, 7),)
    assert answers[1] == ()  # never inside a Latin word
    assert answers[2] == (Entity("ORG", "北京大学", 0, 4), Entity("LOC", "北京", 5, 7))


def test_questions() -> None:
    passage = "The town lies by the sea. Its church was built in 1402 by monks. It has a market."
    train = [Example(str(i), {"question": "who?", "context": passage}, t, references=(t,)) for i, t in enumerate("xxy")]
    rows = [Example("q", {"question": "When was the church built?", "context": passage}, "1402", references=("1402",))]
    found = by_name(ladder(spec_of("question_answering", fields=("question", "context")), train, rows))
    assert found["lead sentence"].predictions[0].target == "The town lies by the sea."
    assert found["nearest sentence"].predictions[0].target == "Its church was built in 1402 by monks."
    assert found["most frequent answer"].predictions[0].target == "x"
    alone = ladder(spec_of("question_answering"), table([("1+1", "2"), ("2+2", "4")]), table([("2+2?", "4")]))
    assert {rung.name for rung in alone} == {"nearest neighbour", "most frequent answer"}


def test_summaries_translations_instructions() -> None:
    train = table([("Long text one. More follows.", "Text one"), ("Another thing. And more.", "Another")])
    rows = table([("First sentence here. Second one.", "First")])
    found = by_name(ladder(spec_of("summarization"), train, rows))
    assert found["lead sentence"].predictions[0].target == "First sentence here."
    assert found["lead characters"].predictions[0].target == "First"  # 7 characters, no word cut
    translated = by_name(ladder(spec_of("translation"), table([("one cat", "一只猫"), ("two dogs", "两只狗")]), rows))
    assert translated["copy"].predictions[0].target == "First sentence here. Second one."
    assert translated["copy"].trivial
    again = by_name(
        ladder(
            spec_of("translation"), table([("one cat", "一只猫"), ("two dogs", "两只狗")]), table([("two dogs!", "")])
        )
    )
    assert again["nearest neighbour"].predictions[0].target == "两只狗"
    assert {"copy", "nearest neighbour"} == set(by_name(ladder(spec_of("instruction"), train, rows)))


def test_likelihood_rungs_score_the_bytes_that_a_model_is_scored_on() -> None:
    turns = [(Message("user", f"q{i} 你好"), Message("assistant", f"answer number {i % 3}。")) for i in range(12)]
    examples = [Example(str(i), {}, pair[1].content, messages=pair) for i, pair in enumerate(turns)]
    spec = spec_of("dialogue", fields=("messages",))
    rungs = ladder(spec, examples[:9], examples[9:])
    assert [rung.trivial for rung in rungs] == [True, False]
    for rung in rungs:
        for prediction, example in zip(rung.predictions, examples[9:], strict=True):
            answers = [s.text for s in render(spec, example, answer=True) if s.is_answer]
            assert prediction.utf8_bytes == len("".join(answers).encode())
    values = [score(spec, examples[9:], rung.predictions, resamples=100).main.value for rung in rungs]
    assert values[1] < values[0] / 2


def test_preferences() -> None:
    pairs = [("a very kind and helpful answer", "rude no"), ("kind words", "a rude and much longer answer")] * 8
    examples = [
        Example(str(i), {"prompt": "say"}, chosen, messages=(Message("user", "say"),), rejected=rejected)
        for i, (chosen, rejected) in enumerate(pairs)
    ]
    spec = spec_of("preference", fields=("prompt",))
    found = by_name(ladder(spec, examples[:12], examples[12:]))
    values = {
        name: score(spec, examples[12:], rung.predictions, resamples=100).main.value for name, rung in found.items()
    }
    assert values == {"longer answer": 0.5, "TF-IDF + logistic regression": 1.0}


@pytest.mark.parametrize("kind", [kind.value for kind in TaskKind if kind is not TaskKind.PREFERENCE])
def test_every_kind_has_a_trivial_rung_and_survives_odd_rows(kind: str) -> None:
    target: object = {"multi_label": ("a",), "extraction": ()}.get(kind, "a")
    turns = (Message("user", ""), Message("assistant", "a")) if kind == "dialogue" else ()
    rows = [
        Example(str(i), {"text": text}, target, references=("a",), messages=turns)  # type: ignore[arg-type]
        for i, text in enumerate(["", " ", "\x00", "🙂"])
    ]
    rungs = ladder(spec_of(kind), rows, rows)
    assert rungs[0].trivial
    assert all(len(rung.predictions) == 4 for rung in rungs)
    with pytest.raises(ValueError, match="training rows"):
        ladder(spec_of(kind), [], rows)


def test_long_texts_are_cut_and_the_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autogpt.evaluation.similarity._CHARACTER_BUDGET", 1000)
    train = table([("hello " * 200, "greet"), ("bye " * 200, "part")])
    rung = by_name(ladder(spec_of("classification"), train, train))["nearest neighbour"]
    assert "first 250 characters" in rung.note
    assert [p.target for p in rung.predictions] == ["greet", "part"]


def test_cosine_and_unseen_classes() -> None:
    features = TextFeatures.fit(["红苹果", "青香蕉", "蓝天空"], ["香蕉", "天空很蓝"], chinese=True)
    assert nearest(features) == [1, 2]
    probabilities = fit_logistic(features.train, [0, 2, 2], features.rows)
    assert probabilities.shape == (2, 3)
    assert (probabilities[:, 1] == 0).all()
    assert probabilities.sum(1) == pytest.approx([1.0, 1.0])
    assert fit_logistic(features.train, [1, 1, 1], features.rows).tolist() == [[0.0, 1.0]] * 2


@pytest.mark.shared
def test_tfidf_on_chinese_headlines(root: Path) -> None:
    folder = root.parent / "shared" / "data" / "classification"

    def read(part: str) -> list[Example]:
        lines = (folder / f"zh_thucnews_topic.{part}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [Example(str(i), {"text": row["text"]}, row["label"]) for i, row in enumerate(rows)]

    spec, rows = spec_of("classification", language="zh"), read("test")
    found = by_name(ladder(spec, read("train"), rows))
    values = {name: score(spec, rows, rung.predictions, resamples=200).main.value for name, rung in found.items()}
    assert values["TF-IDF + logistic regression"] >= 0.8
    assert values["majority"] < 0.15 < values["nearest neighbour"]

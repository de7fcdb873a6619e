from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from autogpt.evaluation.metrics import Unmeasured, get_metric
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Example, Message, Prediction


def spec_of(language: str, kind: str = "summarization", metric: str = "rougeL") -> TaskSpec:
    return TaskSpec(
        description="x",
        kind=kind,
        input_fields=["text"],
        output_field="summary",
        output_language=language,
        metric=metric,
        direction="max",
    )


def one(name: str, answer: str, *references: str, language: str = "en") -> float:
    measure = get_metric(name)
    example = Example("1", {"text": "x"}, references[0], references=references)
    rows = measure.rows([Prediction(answer, answer)], [example], spec_of(language))
    return float(measure.value(rows.sum(0)))


ENGLISH = st.text(alphabet="abc aB1.-'\n é", max_size=60)


@settings(max_examples=150, deadline=None)
@given(answer=ENGLISH, references=st.lists(ENGLISH, min_size=1, max_size=3))
def test_english_rouge_equals_rouge_score(answer: str, references: list[str]) -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    expected = scorer.score_multi(references, answer)
    for name in ("rouge1", "rouge2", "rougeL"):
        assert one(name, answer, *references) == pytest.approx(expected[name].fmeasure, abs=1e-9)


def test_english_rouge_on_sentences_equals_rouge_score() -> None:
    answer = "The quick-brown fox (aged 3.5) didn't jump over the lazy dog; the dog slept."
    references = ["A quick brown fox jumps over the lazy dog.", "The dog slept while a fox of 3.5 years jumped."]
    expected = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False).score_multi(references, answer)
    for name in ("rouge1", "rouge2", "rougeL"):
        assert one(name, answer, *references) == pytest.approx(expected[name].fmeasure, abs=1e-12)


def test_chinese_rouge_equals_rouge_score_on_characters_as_words() -> None:
    # The same text with every character turned into an ASCII word gives rouge-score's view of it.
    answer, reference = "基于BERT的文本分类，效果好", "一种基于BERT模型的中文文本分类方法"

    def spaced(text: str) -> str:
        pieces = text.replace("BERT", " bert ").replace("，", " ")
        return " ".join(p if p == "bert" else " ".join(f"u{ord(c):x}" for c in p) for p in pieces.split())

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    expected = scorer.score(spaced(reference), spaced(answer))
    for name in ("rouge1", "rouge2", "rougeL"):
        assert one(name, answer, reference, language="zh") == pytest.approx(expected[name].fmeasure, abs=1e-12)
        assert one(name, answer, reference, language="en") > 0  # a Chinese reference is never measured as English


def test_rouge_of_other_scripts_counts_their_words() -> None:
    assert one("rouge1", "le café fermé", "le café ouvert", language="other") == pytest.approx(2 / 3)
    assert one("rouge1", "２０２４年", "2024年", language="zh") == 1.0  # full-width digits are the same digits


# Known cases of the SQuAD script: articles, punctuation and case do not count; F1 is over bags of words.
@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("The Eiffel Tower!", ("eiffel tower",), 1.0, 1.0),
        ("Denver Broncos", ("Denver Broncos", "The Denver Broncos"), 1.0, 1.0),
        ("in the city of Paris", ("Paris",), 0.0, 0.4),
        ("Santa Clara, California", ("Levi's Stadium in Santa Clara", "Santa Clara"), 0.0, 0.8),
        ("a cat", ("dog",), 0.0, 0.0),
        ("b b b", ("b b c",), 0.0, 2 / 3),
        ("", ("the",), 1.0, 1.0),
        ("word", ("",), 0.0, 0.0),
    ],
)
def test_squad_cases(answer: str, references: tuple[str, ...], exact: float, f1: float) -> None:
    assert one("exact_match", answer, *references) == exact
    assert one("token_f1", answer, *references) == pytest.approx(f1, abs=1e-12)


# Worked by hand from the definition: longest common contiguous run of mixed segments, list of punctuation removed.
@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("《战国无双3》", ("战国无双3",), 1.0, 1.0),
        ("光荣和ω-force", ("光荣",), 0.0, 2 * (2 / 4) * 1 / (2 / 4 + 1)),  # 光 荣 和 ωforce
        ("北京大学", ("北京清华大学",), 0.0, 2 * 2 / (4 + 6)),  # 北京 or 大学, not both: a bag would say 0.8
        ("1998年。", ("于1998年", "1998 年"), 0.0, 1.0),  # segments 1998 年 equal the second reference's
        ("上海", ("南京", "上海市"), 0.0, 2 * 2 / 5),
        ("", ("上海",), 0.0, 0.0),
        ("NBA总冠军", ("nba 总冠军！",), 0.0, 1.0),  # EM keeps the inner space
        ("U.S. army, 1990", ("美国",), 0.0, 0.0),
    ],
)
def test_cmrc_cases(answer: str, references: tuple[str, ...], exact: float, f1: float) -> None:
    assert one("exact_match", answer, *references, language="zh") == exact
    assert one("token_f1", answer, *references, language="zh") == pytest.approx(f1, abs=1e-12)


def test_dialogue_is_measured_against_the_last_assistant_turn() -> None:
    turns = (Message("user", "hi"), Message("assistant", "hello there"), Message("user", "bye"))
    example = Example("1", {}, None, messages=(*turns, Message("assistant", "see you")))
    measure = get_metric("rouge1")
    rows = measure.rows([Prediction("see you soon")], [example], spec_of("en", "dialogue"))
    assert measure.value(rows.sum(0)) == pytest.approx(0.8)


def test_predictions_without_text_are_unmeasured_and_not_zero() -> None:
    with pytest.raises(Unmeasured, match="written answers"):
        get_metric("rougeL").rows([Prediction("", nats=3.0, utf8_bytes=4)], [Example("1", {}, "abc")], spec_of("en"))

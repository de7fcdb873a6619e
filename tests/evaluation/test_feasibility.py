"""Each verdict on data made to deserve it, and on data made so that a careless look would give it wrongly."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autogpt.evaluation.feasibility import Finding, Verdict, assess, leak_evidence
from autogpt.evaluation.learning_curve import CurvePoints, Point, proxy_points
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Example

SIZES = (250, 500, 1000)


def spec_of(kind: str = "classification") -> TaskSpec:
    metric = METRICS_OF_KIND[TaskKind(kind)][0]
    return TaskSpec(
        description="x",
        kind=kind,
        input_fields=[] if kind == "generation" else ["text"],
        output_field="answer",
        metric=metric,
        direction=METRIC_DIRECTION[metric],
    )


def points_of(
    scores: tuple[float, float, float], *, spread: float = 0.004, error: float = 0.02, floor: float = 0.5
) -> CurvePoints:
    points = tuple(Point(rows, value, error, spread) for rows, value in zip(SIZES, scores, strict=True))
    return CurvePoints("accuracy", points, floor, error, "TF-IDF + logistic regression")


def rows_of(count: int, seed: int = 0) -> list[Example]:
    """Ten words of two hundred, of which some stand mostly under one label; none decides alone."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = int(rng.integers(2))
        words = [int(rng.integers(100)) * 2 + (label ^ (rng.random() < 0.3)) for _ in range(10)]
        text = " ".join(f"word{word:03d}" for word in words)
        rows.append(Example(f"f:{seed}:{i}", {"text": text}, ("bad", "good")[label]))
    return rows


def test_more_data() -> None:
    finding = assess(points_of((0.70, 0.75, 0.79)))
    assert finding.verdict is Verdict.MORE_DATA
    assert finding.more_rows == 1000
    mean, low, high = finding.gain
    assert 0 < low < mean < high
    said = re.search(
        r"About 1,000 more examples would change accuracy by \+(\S+) \(80 % interval \+(\S+) to \+(\S+)\)",
        finding.english,
    )
    assert said is not None
    assert [float(value) for value in said.groups()] == pytest.approx(finding.gain, abs=6e-4)
    assert "a simple model's learning curve (TF-IDF + logistic regression: 0.700 with 250 rows, 0.790 with 1,000)" in (
        finding.english
    )
    assert "简单模型的学习曲线" in finding.chinese
    assert finding.text("zh") == finding.chinese
    assert finding.text("en") == finding.english


def test_a_rise_within_noise_is_no_reason_for_more_data() -> None:
    finding = assess(points_of((0.70, 0.72, 0.75), spread=0.04))
    assert finding.verdict is Verdict.UNCLEAR
    assert finding.gain[1] < 0 < finding.gain[2]
    assert "cannot be told" in finding.english


def test_a_noisy_rise_is_said_to_be_rough() -> None:
    finding = assess(points_of((0.55, 0.62, 0.70), spread=0.045))
    assert finding.verdict is Verdict.MORE_DATA
    assert "noisy" in finding.english
    assert "噪声" in finding.chinese


def test_saturated() -> None:
    finding = assess(points_of((0.850, 0.852, 0.851), spread=0.003))
    assert finding.verdict is Verdict.SATURATED
    assert "hardly help" in finding.english
    assert assess(points_of((1.0, 1.0, 1.0), spread=0.0, error=0.0)).verdict is Verdict.SATURATED


def test_a_flat_curve_on_the_floor_is_not_saturated() -> None:
    assert assess(points_of((0.89, 0.89, 0.89), spread=0.0, error=0.03, floor=0.89)).verdict is Verdict.UNCLEAR


def test_nothing_learnable_only_where_noise_could_have_shown_it() -> None:
    assert assess(points_of((0.50, 0.51, 0.495), spread=0.01)).verdict is Verdict.NOT_LEARNABLE
    assert assess(points_of((0.50, 0.51, 0.495), spread=0.06, error=0.07)).verdict is Verdict.UNCLEAR
    assert assess(points_of((0.60, 0.60, 0.60), spread=0.01)).verdict is not Verdict.NOT_LEARNABLE
    below_but_rising = points_of((0.30, 0.38, 0.45), spread=0.01)
    assert assess(below_but_rising).verdict is Verdict.MORE_DATA


def test_looking_up_proves_no_failure() -> None:
    flat = CurvePoints("exact_match", points_of((0.01, 0.01, 0.01)).points, 0.02, 0.005, "nearest neighbour", True)
    finding = assess(flat)
    assert finding.verdict is Verdict.UNCLEAR
    assert "a model that reads may do better" in finding.english


def test_less_is_better() -> None:
    points = tuple(Point(n, value, 0.02, 0.004) for n, value in zip(SIZES, (2.6, 2.4, 2.25), strict=True))
    finding = assess(CurvePoints("bits_per_byte", points, 5.0, 0.01, "byte 9-gram"))
    assert finding.verdict is Verdict.MORE_DATA
    assert finding.gain[2] < 0
    assert "bits per byte (less is better) by −0." in finding.english
    assert "字节 9 元模型" in finding.chinese


def test_the_rows_there_are_decide_what_doubling_means() -> None:
    all_rows = assess(points_of((0.70, 0.75, 0.79)), rows=4321)
    assert all_rows.more_rows == 4321
    assert "About 4,300 more" in all_rows.english
    assert all_rows.gain[0] < assess(points_of((0.70, 0.75, 0.79))).gain[0]


def naive_copies(train: list[str], valid: list[str]) -> list[bool]:
    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(len(text) - 4)} or {text}

    known = [grams(text) for text in train]
    return [any(len(g & k) >= 0.9 * max(len(g), len(k)) for k in known) for g in map(grams, valid)]


def test_near_copies_are_those_of_a_naive_search() -> None:
    rng = np.random.default_rng(0)

    def text(length: int) -> str:
        return "".join(rng.choice(list("ab cde中文"), length)).strip() or "a"

    train = [" ".join(text(int(rng.integers(3, 120))).split()) or "b" for _ in range(150)]
    valid = []
    for i in range(150):
        letters = list(train[i])
        for _ in range(int(rng.integers(0, 4))):
            letters[int(rng.integers(len(letters)))] = "z"
        valid.append(" ".join("".join(letters).split()))
    truth = naive_copies(train, valid)
    assert 0.1 < np.mean(truth) < 0.9
    known, asked = (
        [Example(f"f:{i}", {"text": line}, "same") for i, line in enumerate(lines)] for lines in (train, valid)
    )
    for row, copied in zip(asked, truth, strict=True):
        assert leak_evidence(spec_of("instruction"), known, [row]).copied == copied
    assert leak_evidence(spec_of("instruction"), known, asked).copied == pytest.approx(np.mean(truth))


def test_copies_with_another_answer_or_a_longer_text_do_not_count() -> None:
    rows = rows_of(40)
    spec = spec_of()
    assert leak_evidence(spec, rows, rows).copied == 1
    louder = [replace(row, input={"text": f"  {row.input['text'].upper()} "}) for row in rows]
    assert leak_evidence(spec, rows, louder).copied == 1
    turned = [replace(row, target="good" if row.target == "bad" else "bad") for row in rows]
    assert leak_evidence(spec, rows, turned).copied == 0
    longer = [
        replace(row, input={"text": row.input["text"] + " and much that nobody had written before"}) for row in rows
    ]
    assert leak_evidence(spec, longer, rows).copied == 0


def test_plain_text_is_compared_with_itself() -> None:
    texts = [Example(f"f:{i}", {}, row.input["text"]) for i, row in enumerate(rows_of(30))]
    assert leak_evidence(spec_of("generation"), texts[:20], texts[10:]).copied == 0.5


@pytest.mark.parametrize(
    ("clue", "told"),
    [
        (lambda row: {"text": f"{row.input['text']} {row.target}"}, "“good” → good"),
        (lambda row: {"text": row.input["text"], "kind": {"bad": "7 1", "good": "7 2"}[str(row.target)]}, "→ bad"),
        (lambda row: {"text": row.input["text"] + (" #ad" if row.target == "bad" else "")}, "→ bad"),
        (
            lambda row: {"text": {"bad": "差评", "good": "好评"}[str(row.target)] + "，快递送到了" + row.input["text"]},
            "→ bad",
        ),
    ],
)
def test_a_clue_gives_the_label_away(clue: object, told: str) -> None:
    def leaky(rows: list[Example]) -> list[Example]:
        return [replace(row, input=clue(row)) for row in rows]  # type: ignore[operator]

    train, valid, spec = leaky(rows_of(300)), leaky(rows_of(100, 1)), spec_of()
    evidence = leak_evidence(spec, train, valid)
    assert evidence.giveaway is not None
    assert evidence.giveaway.accuracy == 1
    assert evidence.giveaway.explained == 1
    finding = assess(points_of((0.99, 0.995, 1.0)), leak=evidence)
    assert finding.verdict is Verdict.LEAKED
    assert told in finding.english
    assert "100 % of the validation rows" in finding.english
    assert "答对 100% 的" in finding.chinese


def test_words_that_only_lean_to_a_label_give_nothing_away() -> None:
    evidence = leak_evidence(spec_of(), rows_of(300), rows_of(100, 1))
    assert evidence.copied == 0
    assert evidence.giveaway is not None
    assert evidence.giveaway.explained < 0.5
    assert assess(points_of((0.99, 0.995, 1.0)), leak=evidence).verdict is Verdict.SATURATED


def test_a_look_for_leaks_needs_rows() -> None:
    with pytest.raises(ValueError, match="training and validation rows"):
        leak_evidence(spec_of(), [], rows_of(3))


def look(train: list[Example], valid: list[Example]) -> Finding:
    spec = spec_of()
    return assess(proxy_points(spec, train, valid), leak=leak_evidence(spec, train, valid))


def test_broken_data_from_end_to_end() -> None:
    train, valid = rows_of(600), rows_of(400, 1)
    rng = np.random.default_rng(0)

    def shuffled(rows: list[Example]) -> list[Example]:
        return [replace(row, target=rows[i].target) for row, i in zip(rows, rng.permutation(len(rows)), strict=True)]

    assert look(train, valid).verdict in (Verdict.MORE_DATA, Verdict.UNCLEAR, Verdict.SATURATED)
    nothing = look(shuffled(train), shuffled(valid))
    assert nothing.verdict is Verdict.NOT_LEARNABLE
    assert "learns nothing from this input" in nothing.english
    copied = look(train + [replace(row, id=f"copy of {row.id}") for row in valid], valid)
    assert copied.verdict is Verdict.LEAKED
    assert "100 % of the validation rows are near copies" in copied.english


@pytest.mark.shared
def test_real_rows_are_not_called_broken_and_shuffled_ones_are(shared: Path) -> None:
    lines = (shared / "classification" / "en_sst2_sentiment.train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [Example(str(i), {"text": row["text"]}, row["label"]) for i, row in enumerate(map(json.loads, lines[:1400]))]
    assert look(rows[:1050], rows[1050:]).verdict in (Verdict.MORE_DATA, Verdict.UNCLEAR)
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = [replace(row, target=rows[i].target) for row, i in zip(rows, order, strict=True)]
    assert look(mixed[:1050], mixed[1050:]).verdict is Verdict.NOT_LEARNABLE

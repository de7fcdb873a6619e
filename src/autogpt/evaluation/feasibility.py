"""Whether a task is worth the budget: more rows would help or not, nothing can be learnt, or the answer has leaked.

What is said rests on a cheap model's learning curve (`learning_curve`) and on two looks at the rows themselves: near
copies between training and validation, and a single word or field that gives the label away.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from autogpt.data.keys import Keys
from autogpt.evaluation.baselines_types import input_text
from autogpt.evaluation.learning_curve import CurvePoints, best_value
from autogpt.evaluation.metrics import get_metric
from autogpt.evaluation.report_text import Language, name_of, number
from autogpt.tasks.language import has_han
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Example

__all__ = ["Finding", "Giveaway", "LeakEvidence", "Verdict", "assess", "leak_evidence"]

_WORTHWHILE = 0.01
"""Least gain worth more rows, as a share of the way from guessing to perfect: a hundredth of it."""
_SURE, _UNSURE = 0.8, 0.2
_NEAR_CEILING, _EXPLAINED = 0.05, 0.9
_COPIED_SHARE = 0.2
_SAME_GRAMS, _GRAM, _GRAM_CHARACTERS, _SHORTEST_CUT = 0.9, 5, 3_000_000, 200
_TOKEN_ROWS, _HEAD, _TAIL, _LONGEST_VALUE = 1500, 300, 100, 60
_SHOWN = 3
_LANGUAGES: tuple[Language, ...] = ("en", "zh")
_WORDS = re.compile("[\u3400-\u9fff\uf900-\ufaff]+|[^\\W\u3400-\u9fff\uf900-\ufaff]+|[^\\w\\s]")

Hashes = NDArray[np.uint64]
Facts = dict[Language, dict[str, str]]


class Verdict(StrEnum):
    """What there is to say about a task after a first look."""

    MORE_DATA = "more data helps"
    SATURATED = "saturated"
    NOT_LEARNABLE = "not learnable"
    LEAKED = "looks leaked"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Giveaway:
    """What gives the label away when nothing else is read.

    Attributes:
        clues: label → the word, value or name that stands for it, the most frequent labels first.
        accuracy: share of the validation rows that these clues alone answer rightly.
        majority: share of the most frequent label, which needs no clue.
    """

    clues: tuple[tuple[str, str], ...]
    accuracy: float
    majority: float

    @property
    def explained(self) -> float:
        """Share of the way from the most frequent label to all right."""
        return (self.accuracy - self.majority) / (1 - self.majority) if self.majority < 1 else 0.0


@dataclass(frozen=True, slots=True)
class LeakEvidence:
    """What the rows show.

    Attributes:
        copied: share of validation rows of which a training row is a near copy with the same answer.
        giveaway: the best single clue to each label; None where there are no labels to choose from.
    """

    copied: float
    giveaway: Giveaway | None


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with the sentence that says it.

    Attributes:
        more_rows: the further training rows that `gain` is about: as many as there are.
        gain: mean and 80 % interval of the change in the metric's unit (below 0 is better for bits per byte).
        english, chinese: one sentence each.
    """

    verdict: Verdict
    more_rows: int
    gain: tuple[float, float, float]
    english: str
    chinese: str

    def text(self, language: Language) -> str:
        return self.chinese if language == "zh" else self.english


def assess(measured: CurvePoints, *, rows: int | None = None, leak: LeakEvidence | None = None) -> Finding:
    """What the points, and the look at the rows where there was one, say about the task.

    In this order: leaked (a fifth of the validation rows are near copies, or single clues explain a score that is near
    perfect from the smallest size on); more data helps (scores have risen beyond noise, and with a probability of 0.8
    twice the rows improve the expected score by a hundredth of the way from guessing to perfect); not learnable (see
    `CurvePoints.nothing_learned`); saturated (better than guessing, and that probability at most 0.2); else unclear.
    A learner that only looks answers up proves neither that nothing can be learnt nor saturation.

    Args:
        rows: training rows there are, when the largest point used fewer.

    Raises: ValueError as `fit_learning_curve`; ConfigError for an unknown metric.
    """
    curve = measured.curve()
    more = rows or measured.points[-1].rows
    gain = curve.gain(2 * more, since=more)
    facts = _facts(measured, more, gain, leak)
    if leak is not None and (key := _leak_of(measured, leak)):
        return _finding(Verdict.LEAKED, key, more, gain, facts)
    chance = curve.chance(2 * more, _WORTHWHILE * measured.span, since=more)
    if chance >= _SURE and measured.has_risen():
        return _finding(Verdict.MORE_DATA, "more", more, gain, facts)
    if measured.looks_up:
        return _finding(Verdict.UNCLEAR, "looked up", more, gain, facts)
    if measured.nothing_learned(more):
        return _finding(Verdict.NOT_LEARNABLE, "not learnable", more, gain, facts)
    verdict = Verdict.SATURATED if chance <= _UNSURE and measured.beats_guessing() else Verdict.UNCLEAR
    return _finding(verdict, verdict.value, more, gain, facts)


def _leak_of(measured: CurvePoints, leak: LeakEvidence) -> str:
    """Which sentence says how it leaked; "" when it did not."""
    if leak.copied >= _COPIED_SHARE:
        return "copied"
    near = abs(best_value(measured.metric) - measured.points[0].score) <= _NEAR_CEILING * measured.span
    return "given away" if near and leak.giveaway is not None and leak.giveaway.explained >= _EXPLAINED else ""


def leak_evidence(spec: TaskSpec, train: Sequence[Example], valid: Sequence[Example]) -> LeakEvidence:
    """How much of the validation rows could be answered without understanding anything.

    A near copy shares nine tenths of its character 5-grams with a training row, and that row nine tenths with it; case
    and white space do not count. For one label a row, the clues are, for each label, the word (Chinese: one to four
    characters), the value of a whole field or the label's own name whose presence tells it best (by F1 over at most
    1,500 training rows); they are then judged on the validation rows.

    Does not find: clues in word order, numbers or the order of rows; paraphrases; several labels a row.

    Raises ValueError when either set is empty.
    """
    if not train or not valid:
        raise ValueError("a look for leaks needs training and validation rows")
    known, wanted = _answers(spec, train), _answers(spec, valid)
    texts, asked = [_read(spec, row) for row in train], [_read(spec, row) for row in valid]
    cut = max(_SHORTEST_CUT, _GRAM_CHARACTERS // (len(texts) + len(asked)))
    sources = _near_copies([_grams(text[:cut]) for text in texts], [_grams(text[:cut]) for text in asked])
    copied = sum(any(known[i] == answer for i in found) for answer, found in zip(wanted, sources, strict=True))
    giveaway = _giveaway(train, valid) if spec.kind is TaskKind.CLASSIFICATION else None
    return LeakEvidence(copied / len(valid), giveaway)


def _answers(spec: TaskSpec, rows: Sequence[Example]) -> list[str]:
    """Answers to compare; plain text has none beside itself."""
    keys = Keys(spec, rows)
    return ["" if spec.kind is TaskKind.GENERATION else keys.target(row) for row in rows]


def _read(spec: TaskSpec, row: Example) -> str:
    """What is compared: the input, and where everything is to be written, the text."""
    text = str(row.target or "") if spec.kind is TaskKind.GENERATION else input_text(row)
    return " ".join(text.lower().split())


def _grams(text: str) -> Hashes:
    """Sorted hashes of the different character 5-grams; a shorter text is one gram."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(codes) < _GRAM:
        codes = np.concatenate([codes, np.zeros(_GRAM - len(codes), np.uint64)])
    hashed = np.zeros(len(codes) - _GRAM + 1, np.uint64)
    for start in range(_GRAM):
        hashed = (hashed + codes[start : len(hashed) + start] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    return np.unique(hashed)


def _near_copies(train: Sequence[Hashes], rows: Sequence[Hashes]) -> Iterator[list[int]]:
    """For each row the training texts that share nine tenths of the larger one's grams."""
    sizes = np.array([len(grams) for grams in train])
    grams, owners = np.concatenate(train), np.repeat(np.arange(len(train)), sizes)
    order = np.argsort(grams, kind="stable")
    grams, owners = grams[order], owners[order]
    for own in rows:
        starts, ends = np.searchsorted(grams, own, "left"), np.searchsorted(grams, own, "right")
        # A copy lacks a tenth of the grams at most, so it has one of the rarest tenth and one more: mostly nobody does.
        may_lack = len(own) - int(np.ceil(_SAME_GRAMS * len(own)))
        if not np.sort(ends - starts)[: may_lack + 1].any():
            yield []
            continue
        shared = np.bincount(np.concatenate([owners[a:b] for a, b in zip(starts, ends, strict=True)]), minlength=1)
        found = np.flatnonzero(shared)
        yield found[shared[found] >= _SAME_GRAMS * np.maximum(sizes[found], len(own))].tolist()


def _giveaway(train: Sequence[Example], valid: Sequence[Example]) -> Giveaway:
    some = [train[i] for i in np.linspace(0, len(train) - 1, min(len(train), _TOKEN_ROWS)).astype(int)]
    counts = Counter(str(row.target) for row in some)
    labels = sorted(counts, key=lambda label: (-counts[label], label))
    read = [_clues(row, labels) for row in some]
    single: Counter[str] = Counter()
    together: Counter[tuple[str, str]] = Counter()
    for row, clues in zip(some, read, strict=True):
        single.update(clues)
        together.update((str(row.target), clue) for clue in clues)
    best: dict[str, tuple[float, str]] = {}
    for (label, clue), times in together.items():
        merit = (2 * times / (single[clue] + counts[label]), clue)
        best[label] = max(best.get(label, (0.0, "")), merit)
    clue_of = {label: best[label][1] for label in labels if label in best}
    ranked = sorted(clue_of, key=lambda label: -together[label, clue_of[label]] / single[clue_of[label]])

    def told(clues: set[str], otherwise: str) -> str:
        return next((label for label in ranked if clue_of[label] in clues), otherwise)

    silent = Counter(str(r.target) for r, clues in zip(some, read, strict=True) if not told(clues, ""))
    rest = silent.most_common(1)[0][0] if silent else labels[0]
    right = sum(told(_clues(row, labels), rest) == str(row.target) for row in valid)
    majority = sum(str(row.target) == labels[0] for row in valid)
    shown = tuple((label, clue_of[label]) for label in labels if label in clue_of)
    return Giveaway(shown, right / len(valid), majority / len(valid))


def _clues(row: Example, labels: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for field, value in row.input.items():
        text = value.lower() if len(value) <= _HEAD + _TAIL else f"{value[:_HEAD]} {value[-_TAIL:]}".lower()
        for word in _WORDS.findall(text):
            sizes = range(1, 5) if has_han(word) else (len(word),)
            found.update(word[i : i + size] for size in sizes for i in range(len(word) - size + 1))
        found.update(label.lower() for label in labels if label.lower() in text)
        if len(value) <= _LONGEST_VALUE:
            found.add(f"{field} = {value.strip().lower()}")
    return found


def _finding(verdict: Verdict, key: str, more: int, gain: tuple[float, float, float], facts: Facts) -> Finding:
    texts = [text.format(**facts[language]) for text, language in zip(_SENTENCES[key], _LANGUAGES, strict=True)]
    return Finding(verdict, more, gain, *texts)


def _facts(measured: CurvePoints, more: int, gain: tuple[float, float, float], leak: LeakEvidence | None) -> Facts:
    """What the sentences may name, as text in either language."""
    metric, first, last = measured.metric, measured.points[0], measured.points[-1]
    about = round(more, min(0, 2 - len(str(more))))
    figures = {"first": f"{first.rows:,}", "last": f"{last.rows:,}", "more": f"{about:,}"}
    changes = zip(("gain", "low", "high"), gain, strict=True)
    digits = 1 if best_value(metric) == 100 else 3
    # Adding 0.0 turns a rounded −0.0 into 0.0.
    figures |= {name: number(metric, round(value, digits) + 0.0, signed=True) for name, value in changes}
    scores = {"then": first.score, "now": last.score, "floor": measured.floor}
    figures |= {name: number(metric, value) for name, value in scores.items()}
    wide, less = gain[2] - gain[1] > 2 * abs(gain[0]), not get_metric(metric).higher_is_better
    facts: Facts = {}
    for language in _LANGUAGES:
        name = name_of(language, metric) + (_LESS[language] if less else "")
        facts[language] = {
            **figures,
            "metric": name + " " if language == "zh" and name[-1].isascii() else name,
            "learner": name_of(language, measured.learner),
            "wide": _WIDE[language] if wide else "",
            **(_leak_facts(leak, language) if leak is not None else {}),
        }
    return facts


def _leak_facts(leak: LeakEvidence, language: Language) -> dict[str, str]:
    sign = "%" if language == "zh" else " %"
    shares = {"copied": leak.copied}
    if leak.giveaway is None:
        return {"copied": _percent(leak.copied) + sign}
    clues = [f"“{clue}” → {label}" for label, clue in leak.giveaway.clues]
    shown = ("，" if language == "zh" else ", ").join(clues[:_SHOWN] + ["…"] * (len(clues) > _SHOWN))
    shares |= {"accuracy": leak.giveaway.accuracy, "majority": leak.giveaway.majority}
    return {"clues": shown} | {name: _percent(share) + sign for name, share in shares.items()}


def _percent(share: float) -> str:
    """A share in per cent: 52.3, 100; the latter only for all."""
    return f"{min(100 * share, 99.9 if share < 1 else 100):.1f}".removesuffix(".0")


_WIDE: dict[Language, str] = {"en": "; the scores are noisy, so this is rough", "zh": "；得分噪声较大，仅供参考"}
_LESS: dict[Language, str] = {"en": " (less is better)", "zh": "（越小越好）"}

_SENTENCES: dict[str, tuple[str, str]] = {
    "more": (
        "About {more} more examples would change {metric} by {gain} (80 % interval {low} to {high}), "
        "says a simple model's learning curve ({learner}: {then} with {first} rows, {now} with {last}{wide}).",
        "按简单模型的学习曲线（{learner}：{first} 行时 {then}，{last} 行时 {now}{wide}），"
        "再增加约 {more} 条样例，{metric}将变化 {gain}（80% 区间 {low} 至 {high}）。",
    ),
    "saturated": (
        "More examples of the same kind would hardly help: about {more} more would change {metric} by {gain} (80 % "
        "interval {low} to {high}), says a simple model's learning curve ({learner}: {then} with {first} rows, {now} "
        "with {last}); cleaner answers, further input fields or a model that understands more may do better.",
        "再增加同类样例几乎没有帮助：按简单模型的学习曲线（{learner}：{first} 行时 {then}，{last} 行时 {now}），"
        "再增加约 {more} 条，{metric}仅变化 {gain}（80% 区间 {low} 至 {high}）；"
        "更准确的答案、更多的输入字段或理解力更强的模型可能更有用。",
    ),
    "unclear": (
        "Whether more examples would help cannot be told yet: about {more} more would change {metric} by {gain}, with "
        "an 80 % interval from {low} to {high}, says a simple model's learning curve ({learner}: {then} with "
        "{first} rows, {now} with {last}).",
        "目前还看不出更多样例是否有帮助：按简单模型的学习曲线（{learner}：{first} 行时 {then}，{last} 行时 {now}），"
        "再增加约 {more} 条，{metric}将变化 {gain}，80% 区间为 {low} 至 {high}。",
    ),
    "looked up": (
        "Whether more examples would help cannot be told from a simple method that only looks up what it has seen "
        "({learner}: {metric} {then} with {first} rows, {now} with {last}); a model that reads may do better.",
        "只会查找已见内容的简单方法（{learner}：{metric}在 {first} 行时为 {then}，{last} 行时为 {now}）"
        "无法说明更多样例是否有帮助；能够理解文本的模型可能更好。",
    ),
    "not learnable": (
        "A simple model ({learner}) learns nothing from this input: {metric} {then} with {first} rows and {now} with "
        "{last}, where a trivial method has {floor}; either the input does not hold the answer, or the answers are "
        "wrong, or it takes a model that understands far more.",
        "简单模型（{learner}）从这样的输入中学不到任何东西：{metric}在 {first} 行时为 {then}，{last} 行时为 {now}，"
        "而平凡方法也有 {floor}；要么输入中没有答案，要么答案有误，要么需要理解力强得多的模型。",
    ),
    "copied": (
        "This looks leaked: {copied} of the validation rows are near copies of training rows with the same answer, "
        "so that a score ({metric} {now} for a simple model) says little about new inputs.",
        "数据疑似泄漏：{copied} 的验证行与某一训练行几乎相同且答案一致，"
        "因此得分（简单模型的{metric}为 {now}）不能说明对新输入的效果。",
    ),
    "given away": (
        "This looks leaked: one clue to each label ({clues}) answers {accuracy} of the validation rows rightly, where "
        "the most frequent label has {majority}; make sure that it is known when the model is used.",
        "数据疑似泄漏：每个标签仅凭一个线索（{clues}）就能答对 {accuracy} 的验证行，而最常见的标签只占 {majority}；"
        "请确认使用模型时确实能得到这一线索。",
    ),
}

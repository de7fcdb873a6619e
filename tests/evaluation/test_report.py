from __future__ import annotations

import html
import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from autogpt.evaluation.evaluate import paired_test, score
from autogpt.evaluation.report import (
    LadderLine,
    MetricLine,
    RunReport,
    TrialLine,
    drop_lines,
    ladder_line,
    metric_lines,
    sample_lines,
    versions,
)
from autogpt.evaluation.report_charts import ladder_chart, nice_ticks, trials_chart
from autogpt.evaluation.report_files import write_report
from autogpt.evaluation.report_markdown import to_markdown
from autogpt.evaluation.report_markup import element, table
from autogpt.evaluation.report_text import name_of, number, seconds_text
from autogpt.search.trials import Report, Trial
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Drop, Example, Prediction

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> | [a](javascript:b) `c` & <b>"


def metric_line(value: float, name: str = "accuracy") -> MetricLine:
    return MetricLine(name=name, value=value, ci95=(value - 0.03, value + 0.03), n=200)


def rung(name: str, value: float, *, difference: float, p_value: float, trivial: bool = False) -> LadderLine:
    compared = {"difference": difference, "ci95": (difference - 0.02, difference + 0.02), "p_value": p_value, "n": 200}
    return LadderLine.model_validate(
        {
            "name": name,
            "trivial": trivial,
            "value": value,
            "ci95": (value - 0.03, value + 0.03),
            "n": 200,
            "comparison": compared,
        }
    )


def report_of(description: str = "Sort messages.", **changes: object) -> RunReport:
    reports = (Report(1 / 3, 0.7, 4.0), Report(1.0, 0.8, 12.0))
    trials = [
        Trial(0, {"lr": 0.002}, "finished", reports, 12.5),
        Trial(1, {"lr": 0.1, "start": "scratch"}, "stopped", reports[:1], 4.5, reason="rank 3 of 3"),
        Trial(2, {}, "failed", (), 1.0, error="loss is not finite"),
    ]
    values: dict[str, object] = {
        "model": "messages",
        "description": description,
        "task": {"kind": "classification", "input_fields": ["text"], "output_field": "label", "labels": ["a", "b"]},
        "primary": "accuracy",
        "scores": [metric_line(0.8), metric_line(0.78, "macro_f1")],
        "ladder": [
            rung("majority", 0.3, difference=0.5, p_value=0.0001, trivial=True),
            rung("TF-IDF + logistic regression", 0.7, difference=0.1, p_value=0.002),
        ],
        "trials": [TrialLine.model_validate(trial.to_dict()) for trial in trials],
        "chosen_trial": 0,
        "chosen": {"lr": 0.002},
        "stages": {"prepare": 1.0, "search": 60.0, "evaluate": 9.0},
        "busy_s": 65.0,
        "budget_s": 90.0,
        "splits": {"train": 900, "valid": 100, "test": 200},
        "next_commands": ["autogpt generate messages 'hi'"],
        **changes,
    }
    return RunReport.model_validate(values)


class Tags(HTMLParser):
    """Every tag and attribute of a page, and whether tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def attacked() -> RunReport:
    sample = {"id": ATTACK, "input": ATTACK, "expected": ATTACK, "answer": ATTACK, "score": 0.1}
    return report_of(
        description=ATTACK,
        model=ATTACK,
        task={"kind": ATTACK, "labels": [ATTACK], "evidence": [{"field": ATTACK, "value": ATTACK, "reason": ATTACK}]},
        ladder=[rung(ATTACK, 0.7, difference=0.1, p_value=0.4)],
        dropped={ATTACK: 1},
        dropped_rows=[{"id": ATTACK, "reason": ATTACK, "detail": ATTACK}],
        splits={ATTACK: 3},
        chosen={ATTACK: ATTACK},
        reasons={ATTACK: ATTACK},
        best=[sample],
        worst=[sample],
        confusions=[{"truth": ATTACK, "predicted": ATTACK, "count": 2}],
        notes=[ATTACK],
        stages={ATTACK: 1.0},
        machine={ATTACK: ATTACK},
        versions={ATTACK: ATTACK},
        next_commands=[ATTACK],
    )


def test_nothing_from_the_data_is_interpreted_in_the_page(tmp_path: Path) -> None:
    page = write_report(tmp_path, attacked())["html"].read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(page)
    assert not parser.open
    assert not {"script", "img", "b", "a", "iframe", "link"} & set(parser.tags)
    assert not {name for name in parser.attributes if name.startswith("on")} | {"src", "href"} & parser.attributes
    assert "default-src 'none'" in html.unescape(page)
    assert page.count("&lt;script&gt;alert('x')&lt;/script&gt;") > 15  # shown as text


def test_nothing_from_the_data_is_interpreted_in_markdown(tmp_path: Path) -> None:
    text = write_report(tmp_path, attacked())["md"].read_text(encoding="utf-8")
    outside_code = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not [line for line in outside_code if "<script" in line or "](javascript" in line.replace("\\]", "")]
    widths = [line.replace("\\|", "").count("|") for line in outside_code if "onerror" in line and line.startswith("|")]
    assert widths
    assert set(widths) <= {3, 4, 5, 6, 8}  # cells of the tables; a pipe in the data adds none


@pytest.mark.parametrize("said", ["- reply politely", "3. sort", "~~~", "+ add", "# first"])
def test_what_a_sentence_begins_with_opens_no_block_in_markdown(said: str) -> None:
    markdown = to_markdown(report_of(said, notes=[said], reasons={said: "why"}))
    blocks = [token.type for token in MarkdownIt("commonmark").enable("table").parse(markdown)]
    usual = to_markdown(report_of("Sort.", notes=["Sort."], reasons={"Sort": "why"}))
    assert blocks == [token.type for token in MarkdownIt("commonmark").enable("table").parse(usual)]


def test_json_holds_everything_and_reads_back(tmp_path: Path) -> None:
    report = report_of()
    paths = write_report(tmp_path, report)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
    assert RunReport.model_validate_json(paths["json"].read_text(encoding="utf-8")) == report
    assert json.loads(paths["json"].read_text(encoding="utf-8"))["verdict"] == report.verdict


@pytest.mark.parametrize(
    ("ladder", "outcome", "words"),
    [
        ([("x", 0.7, 0.1, 0.001, False)], "better", "better than everything"),
        ([("x", 0.79, 0.01, 0.6, False)], "equal", "A GPT is not worth it here"),
        ([("x", 0.9, -0.1, 0.001, False), ("y", 0.2, 0.6, 0.001, True)], "worse", "x is better: 0.900"),
        ([("lead sentence", 0.9, -0.1, 0.001, True)], "worse", "Do not use this model"),
        ([("lead sentence", 0.79, 0.01, 0.5, True)], "equal", "trivial method lead sentence"),
        ([("untuned smollm2-135m", 0.79, 0.01, 0.5, False)], "equal", "no measurable difference to the base"),
        ([("untuned smollm2-135m", 0.9, -0.1, 0.001, False)], "worse", "Training did harm"),
        ([], "alone", "no baseline"),
    ],
)
def test_verdicts_are_honest(ladder: list[tuple[str, float, float, float, bool]], outcome: str, words: str) -> None:
    lines = [rung(n, v, difference=d, p_value=p, trivial=t) for n, v, d, p, t in ladder]
    report = report_of(ladder=lines)
    assert report.outcome == outcome
    assert words in report.verdict
    chinese = report_of("把消息分类", ladder=lines)
    assert chinese.outcome == outcome
    assert "准确率 0.800" in chinese.verdict


def test_chinese_descriptions_get_a_chinese_report(tmp_path: Path) -> None:
    paths = write_report(tmp_path, report_of("把客服消息分类"))
    page, text = paths["html"].read_text(encoding="utf-8"), paths["md"].read_text(encoding="utf-8")
    assert 'lang="zh-CN"' in page
    for words in ("与基线方法的对比", "多数类", "TF-IDF + 逻辑回归", "没有丢弃任何行"):
        assert words in page
        assert words in text


def test_charts_are_well_formed_and_to_scale() -> None:
    report = report_of()
    bars = ElementTree.fromstring(ladder_chart(report))
    widths = [float(node.attrib["width"]) for node in bars if node.tag == "rect"]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] / widths[1] == pytest.approx(0.8 / 0.7, rel=0.01)
    chart = trials_chart(report)
    assert chart is not None
    lines = [node for node in ElementTree.fromstring(chart) if node.tag == "polyline"]
    assert len(lines) == 2  # the failed trial reported nothing
    assert lines[-1].attrib["class"] == "line own"
    assert trials_chart(report_of(trials=[])) is None


def test_less_is_better_puts_the_smallest_bar_first() -> None:
    line = MetricLine(name="bits_per_byte", value=1.2, ci95=(1.1, 1.3), n=20, higher_is_better=False)
    lower = rung("byte 9-gram", 1.9, difference=0.7, p_value=0.001)
    report = report_of(primary="bits_per_byte", scores=[line], ladder=[lower])
    widths = [float(n.attrib["width"]) for n in ElementTree.fromstring(ladder_chart(report)) if n.tag == "rect"]
    assert widths == sorted(widths)


def test_ticks_are_round_and_cover() -> None:
    assert nice_ticks(0.0, 1.0, 5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0.0, 43.0, 5) == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    assert nice_ticks(0.61, 0.64, 5)[0] <= 0.61
    assert len(nice_ticks(3.0, 3.0, 5)) == 2


def test_lines_come_from_scores_comparisons_drops_and_rows() -> None:
    spec = TaskSpec(
        description="x",
        kind="classification",
        input_fields=["text"],
        output_field="label",
        metric="accuracy",
        direction="max",
    )
    examples = [Example(f"f:{i}", {"text": f"t{i}"}, "a") for i in range(6)]
    good, bad = [Prediction("a", "a", {"a": 0.9 - i / 10}) for i in range(6)], [Prediction("b")] * 6
    scores = score(spec, examples, good, resamples=100)
    assert [line.name for line in metric_lines(scores)] == ["accuracy", "macro_f1"]
    compared = paired_test(spec, examples, good, bad, resamples=100)
    line = ladder_line("b", score(spec, examples, bad, resamples=100), compared, trivial=True)
    assert line.comparison is not None
    assert (line.value, line.comparison.difference) == (0.0, 1.0)
    best, worst, mistakes = sample_lines(spec, examples, [*good[:5], Prediction("b", "b", {"a": 0.1})], count=2)
    assert [s.id for s in best] == ["f:0", "f:1"]
    assert (worst[0].input, worst[0].expected, worst[0].answer) == ("t5", "a", "b")
    assert [(m.truth, m.predicted) for m in mistakes] == [("a", "b")]
    counts, shown = drop_lines([Drop(str(i), "exact duplicate") for i in range(30)] + [Drop("z", "empty input")])
    assert counts == {"exact duplicate": 30, "empty input": 1}
    assert len(shown) == 20
    assert shown[1].id == "z"
    assert {"torch", "numpy"} <= set(versions())


def test_overhead_and_small_words() -> None:
    report = report_of()
    assert report.overhead_share == pytest.approx(1 - 65 / 70)
    assert seconds_text("en", 598) == "9 min 58 s"
    assert seconds_text("zh", 0.61) == "0.6 秒"
    assert number("bleu", -24.06, signed=True) == "−24.1"
    assert name_of("zh", "untuned smollm2-135m") == "未微调的 smollm2-135m"
    assert name_of("zh", "byte 9-gram") == "字节 9 元模型"


def test_elements_escape_text_and_attributes_but_not_elements() -> None:
    inner = element("i", "a < b")
    assert element("p", inner, None, ["x & y", 3], class_='"') == '<p class="&quot;"><i>a &lt; b</i>x &amp; y3</p>'
    assert '<th class="n">n</th>' in table(["a", "n"], [["x", 1]], numeric=(1,))

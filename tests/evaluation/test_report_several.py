from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from autogpt.evaluation.report import LadderLine, MetricLine, RunReport
from autogpt.evaluation.report_files import write_report
from autogpt.evaluation.report_html import to_html
from autogpt.evaluation.report_several import (
    ProbeLine,
    SeveralReport,
    TaskLine,
    several_to_html,
    several_to_markdown,
    write_several_report,
)
from autogpt.evaluation.report_several_chart import tasks_chart
from autogpt.evaluation.report_several_text import several_name
from autogpt.evaluation.report_several_view import chosen_rows, link, plain
from autogpt.search.gpt_space import Bases, space_for, space_for_several
from autogpt.tasks.spec import METRICS_OF_KIND, TaskKind, TaskSpec

ATTACK = (
    "<script>alert('x')</script>\"><img src=x onerror=alert(1)> | [a](javascript:b) `c` & <b>\n# d \u202eevil\u200f"
)


def task(
    name: str,
    value: float,
    against: tuple[float, float, float] | None = None,
    *,
    metric: str = "accuracy",
    trivial: bool = False,
    **changes: object,
) -> TaskLine:
    """A task; `against`: the baseline's value, what the model is better by, and p."""
    room = 2.0 if metric in ("bleu", "chrf") else 0.02
    rung = None
    if against is not None:
        other, difference, p_value = against
        compared = {"difference": difference, "ci95": (difference - room, difference + room), "p_value": p_value}
        rung = {
            "name": "TF-IDF + logistic regression",
            "trivial": trivial,
            "value": other,
            "ci95": (other - room, other + room),
            "n": 200,
            "comparison": {**compared, "n": 200},
        }
    values: dict[str, object] = {
        "name": name,
        "kind": "classification",
        "metric": MetricLine(
            name=metric,
            value=value,
            ci95=(value - room, value + room),
            n=200,
            higher_is_better=metric != "bits_per_byte",
        ),
        "baseline": rung,
        "verdict": f"What the report of {name} says.",
        "rows": {"train": 900, "valid": 100, "test": 200},
        "report": f"tasks/{name}/report.html",
        "model": f"desk/{name}",
        **changes,
    }
    return TaskLine.model_validate(values)


MAILS = task("mails", 0.91, (0.88, 0.03, 0.002))
REPLIES = task("replies", 24.1, (25.0, -0.9, 0.03), metric="bleu", kind="dialogue")
STORIES = task("stories", 1.42, (1.44, 0.02, 0.4), metric="bits_per_byte", kind="generation")
NEWS = task("news", 0.5)
TASKS = [MAILS, REPLIES, STORIES, NEWS]


def probe(name: str, together: float, alone: float, p_value: float, *, leaves: bool = False) -> ProbeLine:
    return ProbeLine(
        task=name,
        together=together,
        alone=alone,
        metric="accuracy",
        difference=alone - together,
        p_value=p_value,
        leaves=leaves,
        note="loss −0.01",
    )


def report_of(description: str = "Sort mails; write replies.", **changes: object) -> SeveralReport:
    values: dict[str, Any] = {
        "model": "desk",
        "run": "r1",
        "description": description,
        "tasks": TASKS,
        "groups": [[line.name for line in TASKS]],
        "grouping": "together: every task has the lower loss so",
        "probes": [probe("mails", 0.80, 0.81, 0.31), probe("news", 0.5, 0.45, 0.2)],
        "mean": MetricLine(name="mean_score", value=0.634, ci95=(0.62, 0.648), n=800),
        "chosen": {"start": "scratch", "sharing": "own", "mixing_temperature": 2, "lr": 0.0015},
        "reasons": {"precision": "bf16 is faster here"},
        "stages": {"prepare": 2.0, "grouping": 30.0, "search": 60.0, "evaluate": 9.0},
        "busy_s": 95.0,
        "budget_s": 120.0,
        "machine": {"platform": "Linux"},
        "versions": {"numpy": "2.0"},
        "next_commands": ["autogpt generate desk/mails '…'"],
        **changes,
    }
    return SeveralReport.model_validate(values)


APART: dict[str, object] = {
    "groups": [["mails", "stories"], ["replies"], ["news"]],
    "grouping": "in groups: replies, news better alone",
    "probes": [probe("mails", 0.8, 0.79, 0.5), probe("news", 0.4, 0.52, 0.0004, leaves=True)],
    "chosen": {"mails, stories": {"lr": 0.0015, "width": 256}, "replies": {"lr": 0.002}, "news": {"lr": 0.001}},
}


class Page(HTMLParser):
    """Tags, attributes, links and text of a page, and whether tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def every_string(value: str) -> SeveralReport:
    """A report whose every text from outside is `value`."""
    probes = [probe(value, 0.5, 0.6, 0.01, leaves=True).model_copy(update={"note": value, "metric": value})]
    rung = LadderLine.model_validate({**MAILS.model_dump()["baseline"], "name": value, "note": value})
    line = MAILS.model_copy(
        update={"name": value, "kind": value, "verdict": value, "rows": {value: 3}, "model": value, "baseline": rung}
    )
    return report_of(
        model=value,
        description=value,
        tasks=[line],
        probes=probes,
        groups=[[value], [value]],
        grouping=value,
        chosen={value: {value: value}},
        reasons={value: value},
        stages={value: 1.0},
        machine={value: value},
        versions={value: value},
        next_commands=[value],
    )


def test_the_verdict_names_counts_the_worst_task_and_what_was_decided() -> None:
    assert report_of().verdict == (
        "One model does 4 tasks: mean score 0.634. It is better than every baseline on 1 (mails), not measurably "
        "different from the best baseline on 1 (stories), worse than the best baseline on 1 (replies), without a "
        "baseline on 1 (news). Against its best baseline replies stands worst: BLEU 24.1, and 25.0 for TF-IDF + "
        "logistic regression (difference −0.9, p = 0.030, 200 rows). All tasks share one model: in equal time, none "
        "of them did better alone (mails: accuracy 0.800 together, 0.810 alone, p = 0.310; news: "
        "accuracy 0.500 together, 0.450 alone, p = 0.200)."
    )
    assert report_of("给邮件分类；写回复").verdict == (
        "一个模型完成 4 个任务：平均得分 0.634。该模型在 1 个任务上优于所有基线（mails），在 1 个任务上与最强基线没有"
        "可测量的差别（stories），在 1 个任务上不如最强基线（replies），在 1 个任务上没有可比较的基线（news）。"
        "相对最强基线，“replies”最差：BLEU 24.1，“TF-IDF + 逻辑回归”为 25.0（差值 −0.9，p = 0.030，200 行）。"
        "所有任务共用一个模型：在相同时间内，没有任务分训更好（“mails”的准确率合训 0.800，分训 0.810，p = 0.310；"
        "“news”的准确率合训 0.500，分训 0.450，p = 0.200）。"
    )


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (
            "Sort mails.",
            (
                "3 models do 4 tasks (mails, stories; replies; news)",
                "They are better",
                "The tasks are learnt in 3 groups: in equal time, 1 of 2 did better alone",
                "(news: accuracy 0.400 together, 0.520 alone, p < 0.001; mails: ",
            ),
        ),
        (
            "给邮件分类",
            (
                "3 个模型完成 4 个任务（mails、stories；replies；news）",
                "这些模型在",
                "任务分为 3 组学习：在相同时间内，2 个任务中有 1 个分训更好",
            ),
        ),
    ],
)
def test_several_models_are_told_by_their_tasks(description: str, words: tuple[str, ...]) -> None:
    report = report_of(description, **APART)
    assert all(one in report.verdict for one in words)
    page, text = several_to_html(report), several_to_markdown(report)
    for one in ("mails, stories", "in groups: replies, news better alone"):
        assert one in Page(page).text
        assert one in text
    assert ("Model 1: mails, stories" if report.language == "en" else "模型 1：mails、stories") in text
    assert [name for name, _ in chosen_rows(report)] == ["mails, stories", "replies", "news"]


def test_without_a_probe_the_grouping_tells_why() -> None:
    report = report_of(probes=[], grouping="together: asked for")
    assert report.verdict.endswith("All tasks share one model: together: asked for")
    assert "was not compared" in Page(several_to_html(report)).text
    alone = report_of(probes=[], groups=[[line.name] for line in TASKS], grouping="apart: asked for")
    assert alone.verdict.endswith("Every task has a model of its own: apart: asked for")
    assert "没有比较" in several_to_markdown(report_of("分类", probes=[]))


def test_a_long_list_of_tasks_keeps_the_verdict_short() -> None:
    lines = [task("n" * 200 + str(i), 0.9, (0.5, 0.4, 0.001)) for i in range(30)]
    probes = [probe(line.name, 0.5, 0.6, 0.3) for line in lines]
    report = report_of(tasks=lines, groups=[[line.name] for line in lines], probes=probes)
    assert len(report.verdict) < 1500
    assert "on 30 (" in report.verdict
    assert report.verdict in several_to_markdown(report)
    assert Page(several_to_html(report)).tags.count("a") == 60


@pytest.mark.parametrize(
    ("tasks", "worst", "outcome"),
    [
        (TASKS, "replies", "worse"),
        ([MAILS, STORIES], "stories", "equal"),
        ([MAILS, NEWS], "mails", "alone"),
        ([MAILS], "mails", "better"),
        ([NEWS], None, "alone"),
        ([], None, "alone"),
        # 0.1 of 0.2 is more than 2 of 24
        ([task("a", 22.0, (24.0, -2.0, 0.001), metric="bleu"), task("b", 0.1, (0.2, -0.1, 0.2))], "b", "worse"),
        ([task("a", 0.4, (0.5, -0.1, 0.2)), task("b", 0.8, (1.0, -0.2, 0.2))], "a", "equal"),
        ([task("a", 0.0, (0.0, 0.0, 1.0)), task("b", 0.1, (0.0, 0.1, 0.2))], "a", "equal"),
        ([task("a", 0.1, (0.9, -0.8, 0.001)), task("b", -0.1, (0.0, -0.1, 0.2))], "b", "worse"),
    ],
)
def test_the_worst_task_is_the_first_of_the_smallest_relative_differences(
    tasks: list[TaskLine], worst: str | None, outcome: str
) -> None:
    report = report_of(tasks=tasks)
    assert (report.worst, report.outcome) == (worst, outcome)
    assert f'<div class="verdict {outcome}" role="status">' in several_to_html(report)


def test_json_holds_everything_and_reads_back(tmp_path: Path) -> None:
    for report in (report_of(), report_of("分类", **APART), every_string(ATTACK)):
        paths = write_several_report(tmp_path, report)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
        read = paths["json"].read_text(encoding="utf-8")
        assert SeveralReport.model_validate_json(read) == report
        assert json.loads(read)["verdict"] == report.verdict
        assert json.loads(read)["format"] == 1


def test_links_lead_to_the_reports_of_the_tasks(tmp_path: Path) -> None:
    names = ["mails", "回复 #1?", "50% (a)", "a_b|c"]
    report = report_of(tasks=[task(name, 0.9, (0.5, 0.4, 0.001)) for name in names])
    for line in report.tasks:
        own = tmp_path / "tasks" / line.name
        own.mkdir(parents=True)
        scores = [line.metric]
        write_report(own, RunReport(model=line.model, description="x", task={}, primary="accuracy", scores=scores))
    paths = write_several_report(tmp_path, report)
    links = Page(paths["html"].read_text(encoding="utf-8")).links
    assert [unquote(one) for one in dict.fromkeys(links)] == [line.report for line in report.tasks]
    tokens = MarkdownIt("commonmark").enable("table").parse(paths["md"].read_text(encoding="utf-8"))
    inner = [child for token in tokens for child in token.children or ()]
    links += [str(token.attrs["href"]) for token in inner if token.type == "link_open"]
    assert len(links) == 3 * len(names)  # twice in the page
    assert all((tmp_path / unquote(one)).is_file() for one in links)


@pytest.mark.parametrize(
    "report", ["/etc/passwd", "//host/x.html", "../x/report.html", "a/../../x.html", "", ".", "tasks/.."]
)
def test_no_link_leaves_the_folder(report: str) -> None:
    assert link(report, ".html") == ""
    page = Page(several_to_html(report_of(tasks=[task("a", 0.9, report=report)])))
    assert not page.links
    assert "a" in page.text
    assert "](" not in several_to_markdown(report_of(tasks=[task("a", 0.9, report=report)]))


def test_a_scheme_is_only_a_name_of_a_file() -> None:
    assert link("javascript:alert(1)", ".html") == "javascript%3Aalert%281%29.html"
    assert link('tasks/a"b/report.html?x#y', ".md").startswith("tasks/a%22b/report.md") is True


def test_nothing_from_the_data_is_interpreted() -> None:
    report = every_string(ATTACK)
    page = several_to_html(report)
    found = Page(page)
    assert not {"script", "img", "b", "iframe", "link"} & set(found.tags)
    assert not {name for name in found.attributes if name.startswith("on")} | {"src"} & found.attributes
    assert "default-src 'none'" in html.unescape(page)
    assert page.count("&lt;script&gt;alert('x')&lt;/script&gt;") > 15
    for text in (page, several_to_markdown(report)):
        assert not re.search("[\u200f\u202e]", text)
        assert "�evil�" in text


@settings(max_examples=60, deadline=None)
@given(
    (st.text(max_size=60) | st.text("<>&|`~*_[]()#!-+=1.\\\n\r\t\"' \u202e\u2067\x00ab", max_size=60)).filter(str.strip)
)
def test_any_text_is_shown_and_never_interpreted(value: str) -> None:
    # Facts of the machine are no foreign text, and have no place in what is compared.
    ours: dict[str, object] = {"stages": {"search": 1.0}, "machine": {}, "versions": {"numpy": "2"}}
    report = every_string(value).model_copy(update=ours)
    usual = every_string("x" if report.language == "en" else "字").model_copy(update=ours)
    page, reference = Page(several_to_html(report)), Page(several_to_html(usual))
    assert page.tags == reference.tags
    assert set(page.links) == {"tasks/mails/report.html"}
    shown, plainly = several_to_markdown(report), several_to_markdown(usual)
    assert _structure(shown) == _structure(plainly)
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069\x00\x1b]", shown + page.text)


def _structure(markdown: str) -> list[str]:
    """Blocks outside code, with cells and links; no word of the text."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    kinds = []
    for token in tokens:
        kinds.append(f"{token.type} {token.tag}")
        kinds += [child.type for child in token.children or () if child.type not in ("text", "text_special")]
    return [kind for kind in kinds if not kind.startswith("code_block")]


def test_directions_and_controls_become_visible_marks_everywhere() -> None:
    assert plain({"a\u202eb": ["c\x1b", {"d": "e\u2069"}, 3], "f": None}) == {
        "a�b": ["c�", {"d": "e�"}, 3],
        "f": None,
    }
    assert plain("שלום\t你好\n") == "שלום\t你好\n"


def test_every_word_is_translated() -> None:
    page, text = Page(several_to_html(report_of("给邮件分类"))).text, several_to_markdown(report_of("给邮件分类"))
    english = several_to_markdown(report_of())
    words: Mapping[str, str] = {
        "各任务": "Tasks",
        "合训还是分训": "Together or apart",
        "入选配置": "Chosen configuration",
        "分类 · 训练 900": "classification · training 900",
        "文本生成": "text generation",
        "相对最差": "stands worst",
        "平均得分": "mean score",
        "留在共用模型": "stays",
        "各任务另有适配器": "adapters of each task's own",
    }
    for chinese, other in words.items():
        assert chinese in page
        assert chinese in text
        assert other in english
    heads = re.findall(r"^(?:#+ .*|\| .*? \|)$", text, re.MULTILINE)
    assert not [head for head in heads if re.search(r"Task|Model|Metric|Option|Stage|Decision", head)]


def test_options_and_kinds_are_explained_in_both_languages() -> None:
    specs = [
        TaskSpec(
            description="x",
            kind=kind,
            input_fields=["text"],
            output_field="y",
            metric=METRICS_OF_KIND[kind][0],
            direction="max",
        )
        for kind in TaskKind
    ]
    bases = Bases(("base",))
    spaces = [
        space_for_several(specs, [10_000] * len(specs), bases),
        *(space_for(spec, 10_000, bases) for spec in specs),
    ]
    options = {one.name: one for space in spaces for one in (*space.parameters, *space.optional)}
    chosen = {name: one.default for name, one in options.items()}
    for description, most_letters in (("x", 10**6), ("中文", 0)):
        [(_, rows)] = chosen_rows(report_of(description, chosen=chosen))
        assert len(rows) == len(options)
        for name, value, meaning in rows:
            assert value
            assert meaning
            if most_letters:
                assert meaning == options[name].explanation
            else:
                assert re.search("[\u4e00-\u9fff]", meaning) or meaning.startswith("AdamW")
    assert all(re.search("[\u4e00-\u9fff]", several_name("zh", kind.value)) for kind in TaskKind)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("Sort mails.", ["Tasks were added to desk: 1 of the 2 that it did before", "| Before |", "keeps its model"]),
        ("分类邮件", ["任务加入了 desk：2 个原有任务中有 1 个会变差", "| 之前 |", "保留原来的模型"]),
    ],
)
def test_a_model_that_tasks_were_added_to_is_compared_with_what_was_before(description: str, words: list[str]) -> None:
    probes = [
        ProbeLine(task=name, together=0.8, alone=0.9, metric="accuracy", difference=0.1, p_value=0.01, leaves=leaves)
        for name, leaves in (("mails", True), ("news", False))
    ]
    report = report_of(description, added_to="desk", probes=probes)
    shown = several_to_markdown(report)
    for one in words:
        assert one in shown
        assert Page(several_to_html(report)).text.count(one.strip("| ")) > 0
    assert "| Together |" not in shown
    assert "| 合训 |" not in shown


@pytest.mark.parametrize("description", ["Sort mails.", "分类邮件"])
def test_the_weight_of_a_task_is_explained(description: str) -> None:
    [(_, [[option, value, meaning]])] = chosen_rows(report_of(description, chosen={"weight_of_mails": 0.5}))
    assert (option, value) == ("weight_of_mails", "0.5")
    assert "mails" in meaning


def test_the_chart_is_to_scale_and_better_is_to_the_right() -> None:
    chart = tasks_chart(report_of())
    assert chart is not None
    picture = ElementTree.fromstring(chart)
    dots = [(node.attrib["class"], float(node.attrib["cx"])) for node in picture.iter("circle")]
    assert [style for style, _ in dots] == ["dot own", "dot learned"] * 3 + ["dot own"]
    places = [x for _, x in dots]
    mails, replies, stories = (places[0], places[1]), (places[2], places[3]), (places[4], places[5])
    assert mails[0] > mails[1]
    assert replies[0] < replies[1]
    assert stories[0] > stories[1]  # fewer bits
    common = [0.91, 0.88, 0.241, 0.25, 2**-1.42, 2**-1.44, 0.5]
    unit = (places[0] - places[2]) / (common[0] - common[2])
    assert [(x - places[0]) / unit for x in places] == pytest.approx([c - common[0] for c in common], abs=1e-3)
    texts = [node.text for node in picture.iter("text")]
    assert {"accuracy 0.910", "BLEU 24.1", "25.0", "bits per byte 1.420"} <= set(texts)
    assert tasks_chart(report_of(tasks=[])) is None
    assert tasks_chart(report_of(tasks=[task("a", 0.0, (0.0, 0.0, 1.0))])) is not None


def test_the_page_has_the_head_of_a_tasks_report() -> None:
    report = report_of()
    own = RunReport(model="desk", description="x", task={}, primary="accuracy", scores=[MAILS.metric])
    heads = [re.search(r"<head>.*</head>", page, re.DOTALL) for page in (several_to_html(report), to_html(own))]
    assert heads[0] is not None
    assert heads[1] is not None
    assert heads[0].group() == heads[1].group()


def test_only_what_is_there_is_shown() -> None:
    bare = SeveralReport(
        model="m", description="x", tasks=[NEWS], groups=[["news"]], grouping="", mean=NEWS.metric, verdict="v"
    )
    page = several_to_html(bare)
    assert "Chosen configuration" not in page
    assert Page(page).tags.count("svg") == 1
    assert "## Chosen" not in several_to_markdown(bare)

from __future__ import annotations

import math
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from autogpt.evaluation.report import MetricLine, RunReport, TradeOffLine, TrialLine
from autogpt.evaluation.report_axes import Axis, axis_of
from autogpt.evaluation.report_files import write_report
from autogpt.evaluation.report_html import to_html
from autogpt.evaluation.report_markdown import to_markdown
from autogpt.evaluation.report_parallel import Lines, parallel_chart
from autogpt.evaluation.report_search import (
    importance_chart,
    importance_sentence,
    progress_chart,
    slices_chart,
    tried,
)
from autogpt.search.importance import importance, observed_space
from autogpt.search.space import Choice, Float, Int
from autogpt.search.trials import Report, Trial
from autogpt.testing import conditional_space

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> | `c` & <b>"


def raced(count: int, *, sign: float = 1.0) -> list[Trial]:
    """A search with branches, early stops and a failure; `sign` −1 makes less better."""
    rng, space = random.Random(count), conditional_space()
    trials = []
    for number in range(count):
        config = space.sample(rng)
        final = 2 - abs(math.log10(config["lr"]) + 3) + (0.5 if config["start"] == "base" else 0.0)
        began = 31.0 * number
        reports = [
            Report(share, sign * final * (0.6 + 0.4 * share), 30 * share, at=began + 30 * share)
            for share in (1 / 9, 1 / 3, 1.0)
        ]
        if number == 3:
            trials.append(Trial(number, config, "failed", tuple(reports[:1]), 4.0, error="loss is not finite"))
        elif final < 1.2:
            trials.append(Trial(number, config, "stopped", tuple(reports[:1]), 4.0, reason="place 3 of 3"))
        else:
            trials.append(Trial(number, config, "finished", tuple(reports), 31.0))
    return trials


def report_of(trials: list[Trial], *, description: str = "Sort messages.", less: bool = False) -> RunReport:
    name = "bits_per_byte" if less else "accuracy"
    main = MetricLine(name=name, value=0.8, ci95=(0.7, 0.9), n=200, higher_is_better=not less)
    scored = [trial for trial in trials if trial.score is not None]
    best = max(scored, key=lambda trial: (trial.share, (trial.score or 0) * (-1 if less else 1)), default=None)
    return RunReport(
        model="messages",
        description=description,
        task={"kind": "classification"},
        primary=name,
        scores=[main],
        trials=[TrialLine.model_validate(trial.to_dict()) for trial in trials],
        chosen_trial=best.number if best else None,
        chosen=dict(best.config) if best else {},
        importance=importance(observed_space(trials), trials, "min" if less else "max"),
    )


def lines_of(report: RunReport) -> Lines:
    direction = "max" if report.main.higher_is_better else "min"
    return Lines(tried(report), direction, report.chosen_trial, report.language, report.primary, report.primary)


def parsed(chart: str | None) -> ElementTree.Element:
    assert chart is not None
    return ElementTree.fromstring(chart)


def styled(root: ElementTree.Element, style: str) -> list[ElementTree.Element]:
    """Elements that have all classes of `style`."""
    return [node for node in root.iter() if set(style.split()) <= set(node.attrib.get("class", "").split())]


def points(node: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in node.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


# --- best score over time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("less", [False, True])
def test_the_step_line_is_the_running_best(less: bool) -> None:
    trials = raced(20, sign=-1.0 if less else 1.0)
    report = report_of(trials, less=less)
    root = parsed(progress_chart(report))
    (step,) = styled(root, "step")
    heights = [y for _, y in points(step)]
    assert heights == sorted(heights, reverse=not less)  # a picture's y grows downwards
    said = [point.score for trial in trials if trial.state != "failed" for point in trial.reports]
    running: list[float] = []
    for score in said:
        if not running or (score < running[-1] if less else score > running[-1]):
            running.append(score)
    assert len(set(heights)) == len(running) == len(styled(root, "dot own"))
    assert len(styled(root, "dot")) == len(said)
    seconds = [x for x, _ in points(step)]
    assert seconds == sorted(seconds)


def test_scores_stand_where_they_came_and_those_of_failed_trials_do_not() -> None:
    trials = [
        Trial(0, {}, "failed", (Report(1.0, 0.99, 10.0, at=10.0),), 10.0, error="oom"),
        Trial(1, {}, "finished", (Report(0.5, 0.5, 5.0, at=15.0), Report(1.0, 0.8, 10.0, at=40.0)), 10.0),
        Trial(2, {}, "finished", (Report(1.0, 0.7, 10.0, at=30.0),), 10.0),
    ]
    root = parsed(progress_chart(report_of(trials)))
    places = sorted(float(dot.attrib["cx"]) for dot in styled(root, "dot"))
    assert places[2] == pytest.approx(930)  # second 40 of 40
    assert (places[1] - places[0]) / (places[2] - places[1]) == pytest.approx(1.5, abs=0.01)
    assert len(styled(root, "dot own")) == 3  # trial 1 at 0.5, trial 2, and trial 1 again after it was gone on with
    assert progress_chart(report_of(trials[:1])) is None


# --- importance ------------------------------------------------------------------------------------------------------


def test_bars_are_to_scale_and_say_from_how_many_trials() -> None:
    report = report_of(raced(30)).model_copy(update={"importance": {"lr": 0.6, "start": 0.3, "x": 0.096, "y": 0.004}})
    root = parsed(importance_chart(report))
    widths = [float(node.attrib["width"]) for node in styled(root, "bar")]
    assert [width / widths[0] for width in widths] == pytest.approx([1.0, 0.5, 0.16], abs=0.001)
    assert "others (1): at most 1% each" in [node.text for node in root.iter("text")]
    assert "from 29 trials" in importance_sentence(report)  # one failed
    assert "a hint" in importance_sentence(report)
    assert "a hint" not in importance_sentence(report_of(raced(60)))


def test_too_few_trials_are_said_and_an_old_report_says_nothing() -> None:
    few = report_of(raced(6))
    assert few.importance == {}
    assert importance_sentence(few).startswith("5 trials with a score are too few")
    assert importance_chart(few) is None
    assert slices_chart(few) is None
    old = report_of(raced(30)).model_copy(update={"importance": {}})
    assert importance_sentence(old) == ""
    assert importance_sentence(report_of([])) == ""


# --- slices ----------------------------------------------------------------------------------------------------------


def test_slices_show_every_trial_that_has_the_parameter() -> None:
    trials = raced(30)
    report = report_of(trials)
    names = list(report.importance)[:3]
    root = parsed(slices_chart(report))
    assert [node.text for node in styled(root, "label")] == names
    assert len(styled(root, "dot")) == sum(name in trial.config for name in names for trial in trials)
    without = [trial for trial in trials if trial.state != "finished"]
    assert len(styled(root, "dim")) == sum(name in trial.config for name in names for trial in without)
    chosen = next(trial for trial in trials if trial.number == report.chosen_trial)
    assert len(styled(root, "own")) == sum(name in chosen.config for name in names)


# --- parallel coordinates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("less", [False, True])
def test_each_scored_trial_is_a_line_with_the_best_on_top(less: bool) -> None:
    trials = raced(25, sign=-1.0 if less else 1.0)
    report = report_of(trials, less=less)
    root = parsed(parallel_chart(lines_of(report)))
    rays = [node for node in styled(root, "ray") if "key" not in node.attrib["class"]]
    assert len(rays) == sum(trial.state != "failed" for trial in trials)
    assert "own" in rays[-1].attrib["class"]  # drawn above the others
    names = [node.text for node in styled(root, "name")]
    assert names == [*observed_space([t for t in trials if t.state != "failed"]).names, report.primary]
    assert {len(points(ray)) for ray in rays} == {len(names)}
    assert points(rays[-1])[-1][1] == min(points(ray)[-1][1] for ray in rays)


def test_parameters_with_one_value_and_searches_of_two_are_left_out() -> None:
    reports = (Report(1.0, 0.5),)
    trials = [Trial(n, {"lr": 0.1 * (n + 1), "fixed": 3}, "finished", reports, 1.0) for n in range(3)]
    root = parsed(parallel_chart(lines_of(report_of(trials))))
    assert [node.text for node in styled(root, "name")] == ["lr", "accuracy"]
    assert parallel_chart(lines_of(report_of(trials[:2]))) is None
    same = [Trial(n, {"fixed": 3}, "finished", reports, 1.0) for n in range(3)]
    assert parallel_chart(lines_of(report_of(same))) is None


# --- axes ------------------------------------------------------------------------------------------------------------


def test_places_on_axes() -> None:
    log = axis_of(Float(1e-4, 1e-2, log=True))
    assert log.fraction(1e-3) == pytest.approx(0.5)
    assert log.fraction(1e-4) + log.fraction(1e-2) == pytest.approx(1.0)
    assert Axis((), 1.0, 3.0, flipped=True).fraction(3.0) == pytest.approx(1 - Axis((), 1.0, 3.0).fraction(3.0))
    assert [axis_of(Choice(("a", True, 1))).fraction(value) for value in ("a", True, 1)] == [1 / 6, 0.5, 5 / 6]
    assert axis_of(Int(5, 5)).fraction(5) == 0.5


@pytest.mark.parametrize(
    ("axis", "chars", "expected"),
    [
        (Axis((), 1e-5, 1e-3, log=True), 40, ["1e-5", "3e-5", "1e-4", "3e-4", "0.001"]),
        (Axis((), 1e-5, 1e-3, log=True), 24, ["1e-5", "1e-4", "0.001"]),
        (Axis((), 0.0, 1.0), 40, ["0", "0.5", "1"]),
        (Axis((), 0.0011, 0.0019, log=True), 40, ["0.0011", "0.0019"]),
        (Axis((), 7.0, 7.0), 40, ["7"]),
        (Axis(("scratch", "base")), 10, ["scra…", "base"]),
    ],
)
def test_ticks_are_round_and_fit(axis: Axis, chars: int, expected: list[str]) -> None:
    assert [shown for _, shown in axis.ticks(chars)] == expected


# --- the pages -------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Counts tags and checks that they are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [0, 1, 2, 5, 12, 40])
@pytest.mark.parametrize("description", ["Sort messages.", "把消息分类"])
def test_pages_of_any_search_are_well_formed(tmp_path: Path, count: int, description: str) -> None:
    report = report_of(raced(count), description=description)
    paths = write_report(tmp_path, report)
    page = paths["html"].read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(page)
    assert not parser.open
    # The ladder; trials and progress; the parallel lines; bars and slices, once there are ten scored trials.
    assert parser.tags.count("svg") == 1 + 2 * (count > 0) + (count >= 5) + 2 * (count >= 12)
    text = paths["md"].read_text(encoding="utf-8")
    heading = "### Which parameters mattered" if description.isascii() else "### 哪些参数起了作用"
    assert (heading in text) == (count > 0)
    assert all(f"| {name.replace('_', chr(92) + '_')} |" in text for name in report.importance)
    assert RunReport.model_validate_json(paths["json"].read_text(encoding="utf-8")) == report


def test_names_and_values_from_outside_are_shown_and_never_interpreted(tmp_path: Path) -> None:
    rng = random.Random(0)
    trials = [
        Trial(n, {ATTACK: rng.random(), "b": ATTACK * (n % 2)}, "finished", (Report(1.0, rng.random()),), 1.0)
        for n in range(20)
    ]
    report = report_of(trials)
    assert ATTACK in report.importance
    parser = Tags()
    parser.feed(write_report(tmp_path, report)["html"].read_text(encoding="utf-8"))
    assert not parser.open
    assert not {"script", "img", "b"} & set(parser.tags)


def test_scores_that_are_missing_leave_gaps_not_errors(tmp_path: Path) -> None:
    report = report_of(raced(20))
    for line in report.trials[:4]:
        for point in line.reports:
            point.score = None
    assert [trial.reports for trial in tried(report)[:4]] == [()] * 4
    write_report(tmp_path, report)


# --- trade-offs -------------------------------------------------------------------------------------------------------


def test_the_front_is_a_table_where_there_is_a_choice() -> None:
    best = TradeOffLine(number=3, score=0.91, parameters=4_200_000, row_ms=5.25)
    small = TradeOffLine(number=7, score=0.88, parameters=900_000, row_ms=1.5)
    report = report_of(raced(12)).model_copy(update={"trade_offs": [best, small]})
    for page in (to_html(report), to_markdown(report)):
        assert "What a better score costs" in page
        assert page.index("4,200,000") < page.index("900,000")
    alone = report.model_copy(update={"trade_offs": [best]})
    assert "What a better score costs" not in to_html(alone) + to_markdown(alone)

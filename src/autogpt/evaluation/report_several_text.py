"""The words of the overview of several tasks in English and Chinese, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autogpt.evaluation.report_text import Language, name_of, number, p_text, word
from autogpt.evaluation.report_view import cut

if TYPE_CHECKING:
    from autogpt.evaluation.report_several import ProbeLine, SeveralReport

__all__ = ["of_sharing", "said", "several_name", "several_verdict"]

_SHOWN_NAMES, _NAME_CHARS, _SHOWN_PROBES, _GROUPS_CHARS, _GROUPING_CHARS = 4, 40, 3, 200, 300
"""What the verdict has room for; the tables show everything."""

_WORDS: dict[str, tuple[str, str]] = {
    "tasks": ("Tasks", "各任务"),
    "task": ("Task", "任务"),
    "tasks_intro": (
        "Each task on its own test rows, against the baseline that the model beats by least or loses to by most. "
        "A name leads to the task's own report.",
        "各任务在自己的测试数据上与最强基线（领先最少或落后最多者）的对比。任务名链接到该任务自己的报告。",
    ),
    "best_rung": ("Best baseline", "最强基线"),
    "lead": ("Lead", "模型领先"),
    "its_value": ("Its value", "基线数值"),
    "stands_worst": ("stands worst", "相对最差"),
    "chart_intro": (
        "The model (highlighted) and each task's best baseline with their 95 % intervals, on the common scale; numbers "
        "are in each metric's own unit.",
        "模型（高亮）与各任务最强基线及其 95% 置信区间，横轴为统一尺度；图中数字为各指标的原单位。",
    ),
    "scale_intro": (
        "The mean score is the weighted mean of the tasks on a common scale from 0 to 1: shares as they are, BLEU and "
        "chrF divided by 100, b bits per byte as 2⁻ᵇ; {more}.",
        "平均得分为各任务在 0 到 1 的统一尺度上的加权平均：比率保持原值，BLEU 和 chrF 除以 100，每字节 b 比特记为 2⁻ᵇ；"
        "{more}。",
    ),
    "common_scale": ("common scale", "统一尺度"),
    "verdicts": ("Task by task", "逐个任务的结论"),
    "sharing": ("Together or apart", "合训还是分训"),
    "models": ("Models", "模型"),
    "one_model": ("in one model", "同一个模型"),
    "many_models": ("in {m} models", "共 {m} 个模型"),
    "ahead": ("better than every baseline", "优于所有基线"),
    "of_tasks": ("of {n} tasks", "共 {n} 个任务"),
    "no_probe": (
        "One model for all tasks was not compared with models of their own.",
        "没有比较合训一个模型与各训一个模型。",
    ),
    "probe_intro": (
        "In equal time, one model learnt all tasks and each task had a model of its own; both answered the same "
        "validation rows.",
        "在相同时间内，一个模型合训全部任务，每个任务又各训一个模型；两者回答相同的验证数据。",
    ),
    "together": ("Together", "合训"),
    "alone": ("Alone", "分训"),
    "alone_better": ("Alone is better by", "分训领先"),
    "decision": ("Decision", "决定"),
    "leaves": ("a model of its own", "单独一个模型"),
    "stays": ("stays", "留在共用模型"),
    "group": ("Model {n}: {names}", "模型 {n}：{names}"),
    "option": ("Option", "选项"),
    "meaning": ("What it is", "含义"),
    "reasons": ("Why it was chosen so", "选择的原因"),
    "by_several": ("{m} models do {n} tasks ({groups}): {mean}.", "{m} 个模型完成 {n} 个任务（{groups}）：{mean}。"),
    "by_one": ("One model does {n} tasks: {mean}.", "一个模型完成 {n} 个任务：{mean}。"),
    "is": ("It is {parts}.", "该模型{parts}。"),
    "are": ("They are {parts}.", "这些模型{parts}。"),
    "is_better": ("better than every baseline on {n} ({names})", "在 {n} 个任务上优于所有基线（{names}）"),
    "is_equal": (
        "not measurably different from the best baseline on {n} ({names})",
        "在 {n} 个任务上与最强基线没有可测量的差别（{names}）",
    ),
    "is_worse": ("worse than the best baseline on {n} ({names})", "在 {n} 个任务上不如最强基线（{names}）"),
    "is_alone": ("without a baseline on {n} ({names})", "在 {n} 个任务上没有可比较的基线（{names}）"),
    "worst_task": (
        "Against its best baseline {task} stands worst: {ours}, and {value} for {name} (difference {difference}, {p}, "
        "{n} rows).",
        "相对最强基线，“{task}”最差：{ours}，“{name}”为 {value}（差值 {difference}，{p}，{n} 行）。",
    ),
    "all_share": ("All tasks share one model", "所有任务共用一个模型"),
    "all_apart": ("Every task has a model of its own", "每个任务单独一个模型"),
    "in_groups": ("The tasks are learnt in {m} groups", "任务分为 {m} 组学习"),
    "because_none": (
        "{shape}: in equal time, none of them did better alone ({numbers}).",
        "{shape}：在相同时间内，没有任务分训更好（{numbers}）。",
    ),
    "because_some": (
        "{shape}: in equal time, {n} of {all} did better alone, by metric or loss ({numbers}).",
        "{shape}：在相同时间内，{all} 个任务中有 {n} 个分训更好（按指标或损失；{numbers}）。",
    ),
    "as_said": ("{shape}: {grouping}", "{shape}：{grouping}"),
    "compared": (
        "{task}: {metric} {together} together, {alone} alone, {p}",
        "“{task}”的{metric}合训 {together}，分训 {alone}，{p}",
    ),
}

_OF_ADDED: dict[str, tuple[str, str]] = {
    "sharing": ("What it did before", "原有的任务"),
    "probe_intro": (
        "The model that did a task before and the new one answered the same validation rows.",
        "原来的模型与新模型回答相同的验证数据。",
    ),
    "together": ("Now", "现在"),
    "alone": ("Before", "之前"),
    "alone_better": ("Before was better by", "之前领先"),
    "leaves": ("keeps its model", "保留原来的模型"),
    "stays": ("the new model", "用新模型"),
    "because_none": (
        "Tasks were added to {model}: none of those that it did before is worse ({numbers}).",
        "任务加入了 {model}：原有任务都没有变差（{numbers}）。",
    ),
    "because_some": (
        "Tasks were added to {model}: {n} of the {all} that it did before would be worse, and keep their model "
        "({numbers}).",
        "任务加入了 {model}：{all} 个原有任务中有 {n} 个会变差，保留原来的模型（{numbers}）。",
    ),
    "compared": (
        "{task}: {metric} {together} now, {alone} before, {p}",
        "“{task}”的{metric}现在 {together}，之前 {alone}，{p}",
    ),
}
"""What is said in place of the same of `_WORDS` where tasks were added to a model."""

_NAMES: dict[str, tuple[str, str]] = {
    "mean_score": ("mean score", "平均得分"),
    "start": ("start", "启动"),
    "grouping": ("together or apart", "合训还是分训"),
    "groups": ("training of the groups", "各组训练"),
    "platform": ("platform", "平台"),
    "threads": ("threads", "线程与精度"),
    "classification": ("classification", "分类"),
    "multi_label": ("multi-label classification", "多标签分类"),
    "extraction": ("extraction", "信息抽取"),
    "question_answering": ("question answering", "问答"),
    "summarization": ("summarization", "摘要"),
    "translation": ("translation", "翻译"),
    "dialogue": ("dialogue", "对话"),
    "instruction": ("instruction following", "指令"),
    "generation": ("text generation", "文本生成"),
    "preference": ("preference", "偏好"),
}


def said(language: Language, key: str, **values: object) -> str:
    """A heading or sentence of this report, or of a task's where this one has none of its own.

    Raises KeyError for an unknown key.
    """
    if key not in _WORDS:
        return word(language, key, **{name: str(value) for name, value in values.items()})
    return _WORDS[key][language == "zh"].format(**values)


def several_name(language: Language, name: str) -> str:
    """Name of a kind of task, a stage or the mean score, or what `name_of` knows of the reports of tasks."""
    return _NAMES[name][language == "zh"] if name in _NAMES else name_of(language, name)


def several_verdict(report: SeveralReport) -> str:
    """What the models do, how the tasks stand, which one worst, and what was decided about sharing, in sentences."""
    language = report.language
    parts = [_model_sentence(report), *_standing_sentences(report), _sharing_sentence(report)]
    return ("" if language == "zh" else " ").join(parts)


def _model_sentence(report: SeveralReport) -> str:
    language, mean = report.language, report.mean
    groups = [_names(language, group) for group in report.groups]
    facts = {
        "n": len(report.tasks),
        "m": len(report.groups),
        "groups": cut(("；" if language == "zh" else "; ").join(groups), _GROUPS_CHARS),
        "mean": f"{several_name(language, mean.name)} {number(mean.name, mean.value)}",
    }
    return said(language, "by_several" if len(report.groups) > 1 else "by_one", **facts)


def _standing_sentences(report: SeveralReport) -> list[str]:
    language, parts = report.language, []
    for outcome in ("better", "equal", "worse", "alone"):
        names = [task.name for task in report.tasks if task.outcome == outcome]
        if names:
            parts.append(said(language, f"is_{outcome}", n=len(names), names=_names(language, names)))
    joined = ("，" if language == "zh" else ", ").join(parts)
    told = [said(language, "are" if len(report.groups) > 1 else "is", parts=joined)] if parts else []
    worst = next((task for task in report.tasks if task.name == report.worst), None)
    if worst is None or worst.baseline is None or worst.baseline.comparison is None:
        return told
    metric, rung, compared = worst.metric, worst.baseline, worst.baseline.comparison
    facts = {
        "task": cut(worst.name, _NAME_CHARS),
        "ours": f"{name_of(language, metric.name)} {number(metric.name, metric.value)}",
        "value": number(metric.name, rung.value),
        "name": name_of(language, rung.name),
        "difference": number(metric.name, compared.difference, signed=True),
        "p": p_text(compared.p_value),
        "n": compared.n,
    }
    return [*told, said(language, "worst_task", **facts)]


def _sharing_sentence(report: SeveralReport) -> str:
    language, probes = report.language, report.probes
    shape = "all_share" if len(report.groups) <= 1 else "in_groups"
    if len(report.groups) > 1 and all(len(group) == 1 for group in report.groups):
        shape = "all_apart"
    facts: dict[str, object] = {"shape": said(language, shape, m=len(report.groups))}
    if not probes:
        return said(language, "as_said", **facts, grouping=cut(report.grouping, _GROUPING_CHARS))
    telling = sorted(probes, key=lambda probe: (not probe.leaves, -probe.difference))
    numbers = [_compared(report, probe) for probe in telling[:_SHOWN_PROBES]]
    if len(telling) > _SHOWN_PROBES:
        numbers.append("…")
    facts |= {"n": sum(probe.leaves for probe in probes), "all": len(probes)}
    facts["numbers"] = ("；" if language == "zh" else "; ").join(numbers)
    facts["model"] = cut(report.added_to, _NAME_CHARS)
    return of_sharing(report, "because_some" if facts["n"] else "because_none", **facts)


def of_sharing(report: SeveralReport, key: str, **values: object) -> str:
    """`said` of how tasks share models, in the words for a model that tasks were added to where it is one."""
    if report.added_to and key in _OF_ADDED:
        return _OF_ADDED[key][report.language == "zh"].format(**values)
    return said(report.language, key, **values)


def _compared(report: SeveralReport, probe: ProbeLine) -> str:
    language = report.language
    facts = {
        "task": cut(probe.task, _NAME_CHARS),
        "metric": name_of(language, probe.metric),
        "together": number(probe.metric, probe.together),
        "alone": number(probe.metric, probe.alone),
        "p": p_text(probe.p_value),
    }
    return of_sharing(report, "compared", **facts)


def _names(language: Language, names: Sequence[str]) -> str:
    shown = [cut(name, _NAME_CHARS) for name in names[:_SHOWN_NAMES]] + ["…"] * (len(names) > _SHOWN_NAMES)
    return ("、" if language == "zh" else ", ").join(shown)

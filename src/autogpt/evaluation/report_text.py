"""The words of the report in English and Chinese: headings, names, numbers, and the verdict in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from autogpt.tasks.language import has_han

__all__ = ["Language", "Outcome", "language_of", "name_of", "number", "seconds_text", "verdict", "word"]

Language: TypeAlias = Literal["zh", "en"]
Outcome: TypeAlias = Literal["better", "equal", "worse", "alone"]
_ALPHA = 0.05

_WORDS: dict[str, tuple[str, str]] = {
    "report": ("Report", "报告"),
    "verdict": ("Verdict", "结论"),
    "result": ("Result", "结果"),
    "ladder": ("The ladder of baselines", "与基线方法的对比"),
    "ladder_intro": (
        "All methods answer the same test rows, which no trial has read. Bars: {metric} with 95 % interval; {better}.",
        "所有方法回答同一批测试数据，搜索过程从未读取过这些数据。条形：{metric}及其 95% 置信区间；{better}。",
    ),
    "more": ("more is better", "越大越好"),
    "less": ("less is better", "越小越好"),
    "method": ("Method", "方法"),
    "interval": ("95 % interval", "95% 区间"),
    "difference": ("Model is better by", "模型领先"),
    "p": ("p", "p 值"),
    "rows": ("Rows", "行数"),
    "note": ("Note", "说明"),
    "this_model": ("this model", "本模型"),
    "trivial": ("trivial", "平凡"),
    "metrics": ("All metrics", "全部指标"),
    "metric": ("Metric", "指标"),
    "value": ("Value", "数值"),
    "understood": ("What was understood", "对任务的理解"),
    "field": ("Field", "项目"),
    "evidence": ("Evidence", "依据"),
    "source": ("Source", "来源"),
    "reason": ("Reason", "原因"),
    "split": ("Split", "划分"),
    "data": ("Data", "数据"),
    "dropped": ("Dropped rows", "丢弃的行"),
    "nothing_dropped": ("No row was dropped.", "没有丢弃任何行。"),
    "count": ("Count", "数量"),
    "examples": ("Examples", "示例"),
    "detail": ("Detail", "细节"),
    "search": ("Search", "搜索"),
    "trials_intro": (
        "Validation {metric} over the seconds of each trial; the chosen one is highlighted.",
        "各次试验的验证集{metric}随训练时间（秒）的变化；高亮者为入选配置。",
    ),
    "progress": ("Best score over the search", "搜索过程中的最佳得分"),
    "progress_intro": (
        "Best validation {metric} so far ({better}), over the seconds of the search. Dots are all scores, at whatever "
        "share of a trial's full length; a number names the trial that set a new best.",
        "截至各时刻的最佳验证集{metric}（{better}），横轴为搜索用时（秒）。"
        "圆点为全部得分，不论当时训练到完整长度的多少；数字为刷新最佳得分的试验编号。",
    ),
    "axis_search_seconds": ("seconds of the search", "搜索用时（秒）"),
    "importance": ("Which parameters mattered", "哪些参数起了作用"),
    "importance_intro": (
        "Share of each parameter in what set the good trials apart from the others (PED-ANOVA), from {n} trials. "
        "Each parameter is judged alone.",
        "各参数在区分优劣试验中所占的份额（PED-ANOVA），依据 {n} 次试验。每个参数单独评估。",
    ),
    "importance_hint": ("With so few trials this is a hint, not a finding.", "试验次数少，此结果仅供参考，不是定论。"),
    "importance_few": (
        "{n} trials with a score are too few to say which parameters mattered; it takes {needed}.",
        "有得分的试验只有 {n} 次，不足以判断哪些参数起了作用；至少需要 {needed} 次。",
    ),
    "importance_rest": ("others ({n}): at most {share} each", "其余 {n} 个参数：各不超过 {share}"),
    "parameter": ("Parameter", "参数"),
    "slices": ("What values did well", "哪些取值表现好"),
    "slices_intro": (
        "Validation {metric} at {share} of a trial's full length, one dot a trial ({better}); the chosen one is "
        "highlighted.",
        "训练到完整长度的 {share} 时的验证集{metric}，每点为一次试验（{better}）；高亮者为入选配置。",
    ),
    "slices_without": (
        "Hollow, below the axis: without a score there, because stopped before or failed.",
        "坐标轴下方的空心点：因提前停止或失败而没有该处得分。",
    ),
    "parallel": ("All trials side by side", "全部试验一览"),
    "parallel_intro": (
        "One line a trial ({n} with a score), through the values of its parameters to its {metric} at {share} of the "
        "full length. Colour: rank by that score, the best on top; thick: the chosen one. Parameters "
        "that had one value only are left out.",
        "每条线为一次试验（共 {n} 次有得分），依次经过各参数的取值，止于训练到完整长度的 {share} 时的{metric}。"
        "颜色为按该得分的名次，最好的在最上；粗线为入选配置；只有一个取值的参数未列出。",
    ),
    "parallel_without": (
        "Lines pass below an axis whose parameter a trial does not have, and below the last one when the trial was "
        "stopped before.",
        "试验没有某个参数时，线从该轴下方经过；提前停止而没有该处得分时，从最后一轴下方经过。",
    ),
    "rank_best": ("best", "最好"),
    "rank_worst": ("worst", "最差"),
    "trial": ("Trial", "试验"),
    "state": ("State", "状态"),
    "finished": ("finished", "完成"),
    "stopped": ("stopped", "提前停止"),
    "failed": ("failed", "失败"),
    "score": ("Score", "得分"),
    "seconds": ("Seconds", "秒"),
    "configuration": ("Configuration", "配置"),
    "trade_offs": ("What a better score costs", "更高得分的代价"),
    "trade_offs_intro": (
        "Of the trials that came furthest, those that no other one beats in score, size and time at once.",
        "在走得最远的试验中，没有其他试验能同时在得分、大小和速度上胜过它们。",
    ),
    "parameters": ("Parameters", "参数量"),
    "row_ms": ("ms a row", "毫秒/行"),
    "chosen": ("Chosen configuration", "入选配置"),
    "samples": ("Samples", "样例"),
    "best": ("Best rows", "最好的样例"),
    "worst": ("Worst rows", "最差的样例"),
    "row": ("Row", "行"),
    "input": ("Input", "输入"),
    "expected": ("Expected", "期望"),
    "answer": ("Answer", "回答"),
    "confusions": ("Most frequent mistakes", "最常见的错误"),
    "truth": ("Truth", "真实"),
    "predicted": ("Predicted", "预测"),
    "nothing": ("(nothing)", "（无）"),
    "time": ("Time", "时间"),
    "stage": ("Stage", "阶段"),
    "share": ("Share", "占比"),
    "total": ("total", "合计"),
    "overhead": (
        "{seconds} of a budget of {budget}; {share} of the time was neither training nor evaluation.",
        "预算 {budget}，实际用时 {seconds}；其中 {share} 既非训练也非评测。",
    ),
    "machine": ("Machine and versions", "机器与版本"),
    "next": ("Try next", "下一步"),
    "best_baseline": ("best baseline", "最强基线"),
    "trials": ("trials", "试验次数"),
    "took": ("took", "用时"),
    "of_budget": ("of a budget of {budget}", "预算 {budget}"),
    "notes": ("Notes", "备注"),
    "axis_seconds": ("seconds of the trial", "试验用时（秒）"),
    "kind": ("Task", "任务"),
    "input_fields": ("Input", "输入字段"),
    "output_field": ("Output", "输出字段"),
    "labels": ("Labels", "标签"),
    "languages": ("Languages", "语言"),
    "contradictions": ("Contradictions", "矛盾之处"),
}

_NAMES: dict[str, tuple[str, str]] = {
    "accuracy": ("accuracy", "准确率"),
    "macro_f1": ("macro F1", "宏平均 F1"),
    "micro_f1": ("micro F1", "微平均 F1"),
    "entity_f1": ("entity F1", "实体 F1"),
    "exact_match": ("exact match", "完全匹配率"),
    "token_f1": ("token F1", "词级 F1"),
    "rouge1": ("ROUGE-1", "ROUGE-1"),
    "rouge2": ("ROUGE-2", "ROUGE-2"),
    "rougeL": ("ROUGE-L", "ROUGE-L"),
    "bleu": ("BLEU", "BLEU"),
    "chrf": ("chrF", "chrF"),
    "bits_per_byte": ("bits per byte", "每字节比特数"),
    "preference_accuracy": ("preference accuracy", "偏好准确率"),
    "majority": ("majority", "多数类"),
    "nearest neighbour": ("nearest neighbour", "最近邻"),
    "TF-IDF + logistic regression": ("TF-IDF + logistic regression", "TF-IDF + 逻辑回归"),
    "most frequent set": ("most frequent set", "最常见标签组"),
    "most frequent answer": ("most frequent answer", "最常见答案"),
    "nothing found": ("nothing found", "空答案"),
    "dictionary": ("dictionary", "词典匹配"),
    "lead sentence": ("lead sentence", "首句"),
    "lead characters": ("lead characters", "开头若干字"),
    "nearest sentence": ("nearest sentence", "最相近句"),
    "copy": ("copy of the input", "照抄输入"),
    "byte frequencies": ("byte frequencies", "字节频率"),
    "longer answer": ("longer answer", "选较长者"),
    "train": ("training", "训练"),
    "valid": ("validation", "验证"),
    "test": ("test", "测试"),
    "understand": ("understand", "理解任务"),
    "prepare": ("prepare", "准备数据"),
    "baselines": ("baselines", "基线"),
    "feasibility": ("feasibility", "可行性"),
    "search": ("search", "搜索"),
    "finish": ("finish", "续训优胜者"),
    "evaluate": ("evaluate", "评测"),
    "report": ("report", "报告"),
}

_UNITS = {"bits_per_byte": 3, "bleu": 1, "chrf": 1}


class _Measured(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def ci95(self) -> tuple[float, float]: ...
    @property
    def n(self) -> int: ...


class _Compared(Protocol):
    @property
    def difference(self) -> float: ...
    @property
    def ci95(self) -> tuple[float, float]: ...
    @property
    def p_value(self) -> float: ...


class _Rung(_Measured, Protocol):
    @property
    def trivial(self) -> bool: ...
    @property
    def comparison(self) -> _Compared | None: ...


def language_of(description: str) -> Language:
    """The language a report is written in: that of the description."""
    return "zh" if has_han(description) else "en"


def word(language: Language, key: str, **values: str) -> str:
    """A heading or sentence of the report. Raises KeyError for an unknown key."""
    return _WORDS[key][language == "zh"].format(**values)


def name_of(language: Language, name: str) -> str:
    """A metric's, baseline's, split's or stage's name; one that is not known is returned as it is."""
    if name in _NAMES:
        return _NAMES[name][language == "zh"]
    if language == "zh" and name.startswith("untuned "):
        return f"未微调的 {name.removeprefix('untuned ')}"
    if language == "zh" and name.startswith("byte ") and name.endswith("-gram"):
        return f"字节 {name.removeprefix('byte ').removesuffix('-gram')} 元模型"
    return name


def number(metric: str, value: float | None, *, signed: bool = False) -> str:
    """A metric's value with the digits it deserves: 0.873, 24.1 (BLEU, chrF), 1.234 (bits per byte)."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.{_UNITS.get(metric, 3)}f}".replace("-", "−")


def seconds_text(language: Language, seconds: float) -> str:
    """`0.6 s`, `42 s` or `9 min 58 s`."""
    minute, second = (" 分", " 秒") if language == "zh" else (" min", " s")
    if seconds < 9.95:
        return f"{seconds:.1f}{second}"
    whole = round(seconds)
    return f"{whole}{second}" if whole < 60 else f"{whole // 60}{minute} {whole % 60:02d}{second}"


def p_text(p_value: float) -> str:
    """`p = 0.032`, or `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def verdict(language: Language, main: _Measured, ladder: Sequence[_Rung]) -> tuple[Outcome, str]:
    """Whether the model was worth it, in one sentence, judged against the baseline it beats by least.

    better / worse: the paired test against that baseline has p < 0.05; equal: it has not; alone: nothing to compare.
    """
    compared = [(rung.comparison, rung) for rung in ladder if rung.comparison is not None]
    ours = f"{name_of(language, main.name)} {number(main.name, main.value)}"
    if not compared:
        return "alone", (
            f"{ours}，没有可比较的基线。" if language == "zh" else f"{ours}; there was no baseline to compare with."
        )
    comparison, rung = min(compared, key=lambda pair: pair[0].difference)
    outcome: Outcome = "equal"
    if comparison.p_value < _ALPHA and comparison.difference:
        outcome = "better" if comparison.difference > 0 else "worse"
    facts = {
        "ours": ours,
        "name": name_of(language, rung.name),
        "value": number(main.name, rung.value),
        "difference": number(main.name, abs(comparison.difference)),
        "p": p_text(comparison.p_value),
        "n": str(rung.n),
    }
    kind = "untuned" if rung.name.startswith("untuned ") else "trivial" if rung.trivial else "learned"
    return outcome, _VERDICTS[outcome, kind if outcome != "better" else "any"][language == "zh"].format(**facts)


_VERDICTS: dict[tuple[Outcome, str], tuple[str, str]] = {
    ("better", "any"): (
        "The model is better than everything it was compared with: {ours}, against {value} for {name}, "
        "the strongest of them (difference {difference}, {p}, {n} rows).",
        "模型优于所有对比方法：{ours}，其中最强的“{name}”为 {value}（相差 {difference}，{p}，{n} 行）。",
    ),
    ("equal", "learned"): (
        "No measurable gain over {name}: {ours} against {value} ({p}, {n} rows). "
        "A GPT is not worth it here unless its other abilities are needed; "
        "more data or a larger budget may change that.",
        "与“{name}”相比没有可测量的提升：{ours}，对方为 {value}（{p}，{n} 行）。"
        "除非需要 GPT 的其他能力，否则这里不值得用 GPT；更多数据或更大的预算可能改变这一结论。",
    ),
    ("equal", "trivial"): (
        "The model is not measurably better than the trivial method {name}: {ours} against {value} ({p}, {n} rows). "
        "Do not use it yet; give it more data or a larger budget.",
        "模型与平凡方法“{name}”没有可测量的差别：{ours}，对方为 {value}（{p}，{n} 行）。"
        "目前还不能使用，请提供更多数据或更大的预算。",
    ),
    ("equal", "untuned"): (
        "Training made no measurable difference to the base model: {ours} against {value} for {name} ({p}, {n} rows).",
        "训练没有给基础模型带来可测量的变化：{ours}，“{name}”为 {value}（{p}，{n} 行）。",
    ),
    ("worse", "learned"): (
        "{name} is better: {value}, against {ours} for the model (difference {difference}, {p}, {n} rows). "
        "A GPT is not worth it here at this budget.",
        "“{name}”更好：{value}，而模型的{ours}（相差 {difference}，{p}，{n} 行）。在这个预算下，这里不值得用 GPT。",
    ),
    ("worse", "trivial"): (
        "The trivial method {name} is better: {value}, against {ours} for the model "
        "(difference {difference}, {p}, {n} rows). Do not use this model.",
        "平凡方法“{name}”更好：{value}，而模型的{ours}（相差 {difference}，{p}，{n} 行）。请不要使用这个模型。",
    ),
    ("worse", "untuned"): (
        "{name} is better than the trained model: {value}, against {ours} "
        "(difference {difference}, {p}, {n} rows). Training did harm; use the base as it is.",
        "“{name}”比训练后的模型更好：{value}，而模型的{ours}（相差 {difference}，{p}，{n} 行）。"
        "训练有害，请直接使用基础模型。",
    ),
}

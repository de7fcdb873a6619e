"""What the Markdown and the HTML of the overview of several tasks share: values turned into plain, unescaped text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from autogpt.evaluation.report_several_text import of_sharing, said, several_name
from autogpt.evaluation.report_text import name_of, number, p_text
from autogpt.evaluation.report_view import config_text, interval
from autogpt.search.gpt_space import Bases, space_for, space_for_several, weight_of
from autogpt.tasks.spec import TaskKind, TaskSpec

if TYPE_CHECKING:
    from autogpt.evaluation.report_several import SeveralReport, TaskLine

__all__ = [
    "PROBE_HEAD",
    "TASK_HEAD",
    "chosen_rows",
    "group_lines",
    "link",
    "plain",
    "probe_rows",
    "rows_text",
    "task_cells",
]

TASK_HEAD = ("task", "metric", "value", "interval", "best_rung", "its_value", "lead", "p", "rows")
PROBE_HEAD = ("task", "metric", "together", "alone", "alone_better", "p", "decision", "note")
"""Keys of `said`: the heads of the tables of tasks and of probes."""

_OPTIONS_ZH = {
    "start": "从头训练，或从预训练模型开始",
    "epochs": "最多读多少遍数据",
    "tokens_per_step": "每步的词元数（含填充）",
    "objective": "只学选中的回答，或用 DPO 与被拒的回答对比",
    "width": "隐藏层宽度",
    "depth": "层数",
    "block": "前馈层的种类：ReLU² 或 Llama 的 SwiGLU",
    "late_keys": "一半的键头专用于复制",
    "vocabulary": "BPE 词表的最大条目数",
    "lr": "最高学习率",
    "weight_decay": "矩阵的权重衰减",
    "dropout": "随机丢弃的激活比例",
    "prompt_weight": "提示部分词元的损失权重",
    "method": "训练预训练模型的哪些部分",
    "base_lr": "全量微调的最高学习率",
    "top": "从最后一层往前训练的层数",
    "top_lr": "最后几层的最高学习率",
    "rank": "LoRA 矩阵的秩",
    "lora_lr": "LoRA 的最高学习率",
    "sharing": "共用全部权重，或各任务另有适配器，或对所有任务的适配器做注意力",
    "mixing_temperature": "1：按各任务的行数比例取样；越大：各任务取得越接近一样多",
    "row_balance": "0：每个词元同等重要；1：每一行同等重要",
    "task_losses": "各任务损失如何相加：直接求和，按学到的不确定性加权，或投影掉相互冲突的梯度",
    "context": "一个序列的词元数；未指定时按数据所需",
    "head_size": "一个注意力头的宽度",
    "query_groups": "共用一个键值头的查询头数",
    "mlp_ratio": "前馈层宽度与隐藏层宽度之比",
    "position": "词元如何得知自己的位置",
    "qk_norm": "对每个头的查询和键做 RMSNorm",
    "value_embeddings": "每隔一层在值中加入学到的词元向量",
    "residual_scalars": "每层再次混入词嵌入",
    "tie_word_embeddings": "输出层是否共用词嵌入的权重",
    "optimizer": "AdamW，或对各层矩阵用 Muon",
    "latents": "混合模型的分量数，每篇文本由其中一个写成",
}

_T = TypeVar("_T")
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(value: _T) -> _T:
    """`value` with a visible mark (U+FFFD) for each character in its texts that shows nothing but turns the direction
    of writing or controls a terminal; a name that holds one cannot reorder the sentence around it."""
    cleaned: Any = value
    if isinstance(value, str):
        cleaned = _UNSEEN.sub("\ufffd", value)
    elif isinstance(value, Mapping):
        cleaned = {plain(key): plain(inner) for key, inner in value.items()}
    elif isinstance(value, list | tuple):
        cleaned = type(value)(plain(inner) for inner in value)
    return cleaned


def link(report: str, ending: str) -> str:
    """The address of a task's report with another `ending`, as a relative link; empty where it leaves the folder.

    No scheme, host, query or quote survives: every part of the path is percent-encoded.
    """
    path = PurePosixPath(report)
    if path.is_absolute() or ".." in path.parts or not path.name:
        return ""
    return "/".join(quote(part, safe="") for part in path.with_suffix(ending).parts)


def task_cells(report: SeveralReport, task: TaskLine) -> list[str]:
    """The columns of `TASK_HEAD` but the first."""
    language, metric, rung = report.language, task.metric, task.baseline
    compared = rung.comparison if rung else None
    return [
        name_of(language, metric.name),
        number(metric.name, metric.value),
        interval(metric.name, metric.ci95),
        name_of(language, rung.name) if rung else "–",
        number(metric.name, rung.value) if rung else "",
        number(metric.name, compared.difference, signed=True) if compared else "",
        p_text(compared.p_value) if compared else "",
        str(metric.n),
    ]


def rows_text(report: SeveralReport, task: TaskLine) -> str:
    """`classification · training 900 · test 200`."""
    kind = several_name(report.language, task.kind).replace("_", " ")
    return " · ".join([kind, *(f"{name_of(report.language, split)} {rows}" for split, rows in task.rows.items())])


def group_lines(report: SeveralReport) -> list[str]:
    """The tasks of each model, a line each; none where one model does all."""
    if len(report.groups) < 2:
        return []
    between = "、" if report.language == "zh" else ", "
    return [
        said(report.language, "group", n=n, names=between.join(group)) for n, group in enumerate(report.groups, start=1)
    ]


def probe_rows(report: SeveralReport) -> list[list[str]]:
    """The columns of `PROBE_HEAD`, a row for each probe."""
    language = report.language
    return [
        [
            probe.task,
            name_of(language, probe.metric),
            number(probe.metric, probe.together),
            number(probe.metric, probe.alone),
            number(probe.metric, probe.difference, signed=True),
            p_text(probe.p_value),
            of_sharing(report, "leaves" if probe.leaves else "stays"),
            probe.note,
        ]
        for probe in report.probes
    ]


def chosen_rows(report: SeveralReport) -> list[tuple[str, list[list[str]]]]:
    """(model, rows of option, value and what the option is); the model is empty where one does all tasks."""
    weight = "任务 {} 在损失中的权重倍数" if report.language == "zh" else "times the weight of {} in the loss"
    weights = {weight_of(task.name): weight.format(task.name) for task in report.tasks}
    meanings = (_OPTIONS_ZH if report.language == "zh" else _options_en()) | weights
    nested = len(report.groups) > 1 and all(isinstance(config, Mapping) for config in report.chosen.values())
    configs: Mapping[str, Mapping[str, Any]] = report.chosen if nested else {"": report.chosen}
    return [
        (
            name,
            [[option, config_text({"": value}).strip(), meanings.get(option, "")] for option, value in config.items()],
        )
        for name, config in configs.items()
        if config
    ]


@cache
def _options_en() -> dict[str, str]:
    """Option → what it is, in the words of the table of the search space."""
    specs = [
        TaskSpec(
            description="", kind=kind, input_fields=["text"], output_field="answer", metric="accuracy", direction="max"
        )
        for kind in (TaskKind.CLASSIFICATION, TaskKind.INSTRUCTION, TaskKind.GENERATION, TaskKind.PREFERENCE)
    ]
    bases = Bases(("base",))
    spaces = [
        space_for_several(specs, [1_000_000] * len(specs), bases),
        *(space_for(spec, 1_000_000, bases) for spec in specs),
    ]
    return {one.name: one.explanation for space in spaces for one in (*space.parameters, *space.optional)}

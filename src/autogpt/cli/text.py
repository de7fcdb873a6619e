"""What the command line says, in English and Chinese. One table, so that no sentence has two homes.

Errors are not here: they come from `autogpt.errors` and are the same for everyone, so that they can be searched for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["STRINGS", "Text", "language_for"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")

STRINGS: Mapping[str, tuple[str, str]] = {
    # stages of the main path
    "stage.understand": ("understanding the task", "理解任务"),
    "stage.recall": ("looking for this task among known ones", "查找是否做过此任务"),
    "stage.prepare": ("preparing the data", "准备数据"),
    "stage.baselines": ("scoring baselines", "评估基线"),
    "stage.feasibility": ("looking at what the data promises", "评估数据的潜力"),
    "stage.grouping": ("comparing one model for all tasks with one for each", "比较合训一个模型与各训一个模型"),
    "stage.groups": ("training a model for each group of tasks", "为每组任务训练模型"),
    "stage.transfer": ("comparing with a start from a like task's model", "比较是否从相似任务的模型起步"),
    "stage.search": ("searching", "搜索"),
    "stage.finish": ("finishing the best model", "完成最佳模型的训练"),
    "stage.evaluate": ("evaluating on the sealed test rows", "在封存的测试集上评估"),
    "stage.report": ("writing the report", "撰写报告"),
    # the understood task
    "understood": ("Understood", "理解为"),
    "task": ("task", "任务"),
    "reads": ("reads", "输入"),
    "answers": ("answers", "输出"),
    "labels": ("labels", "标签"),
    "entity_types": ("types", "类型"),
    "more": ("… {n} in all", "… 共 {n} 个"),
    "language": ("language", "语言"),
    "metric": ("metric", "指标"),
    "higher": ("more is better", "越大越好"),
    "lower": ("less is better", "越小越好"),
    "but": ("but", "矛盾"),
    "whole_text": ("the text itself", "文本本身"),
    "change": ("wrong? --set task.kind=…", "不对？用 --set task.kind=… 更改"),
    "kind.classification": ("classification", "分类"),
    "kind.multi_label": ("multi-label classification", "多标签分类"),
    "kind.extraction": ("extraction", "信息抽取"),
    "kind.question_answering": ("question answering", "问答"),
    "kind.summarization": ("summarization", "摘要"),
    "kind.translation": ("translation", "翻译"),
    "kind.dialogue": ("dialogue", "对话"),
    "kind.instruction": ("instruction following", "指令"),
    "kind.generation": ("text generation", "文本生成"),
    "kind.preference": ("preference", "偏好"),
    "lang.zh": ("Chinese", "中文"),
    "lang.en": ("English", "英文"),
    "lang.mixed": ("mixed", "中英混合"),
    "lang.other": ("other", "其他"),
    # live view
    "known": (
        "This task is known: model {model} of {created}. --fresh starts anew.",
        "此任务已做过：模型 {model}（{created}）。--fresh 从头开始。",
    ),
    "baseline": ("baseline {name}: {value}", "基线 {name}：{value}"),
    "rows": ("rows: {counts}", "数据行：{counts}"),
    "dropped": ("dropped: {counts}", "剔除：{counts}"),
    "trial": ("trial {number}: {state}, {score}", "试验 {number}：{state}，{score}"),
    "trial_on": ("trial {number} goes on: {reason}", "试验 {number} 继续：{reason}"),
    "state.running": ("running", "进行中"),
    "state.finished": ("finished", "完成"),
    "state.stopped": ("stopped", "提前停止"),
    "state.failed": ("failed", "失败"),
    "best": ("best so far", "目前最佳"),
    "of_trial": ("trial {number}", "试验 {number}"),
    "none_yet": ("none yet", "暂无"),
    "elapsed": ("elapsed", "已用"),
    "budget_left": ("budget left", "剩余预算"),
    "eta": ("this training done in", "本次训练还需"),
    "column.trial": ("trial", "试验"),
    "column.state": ("state", "状态"),
    "column.share": ("of full", "进度"),
    "column.config": ("configuration", "配置"),
    "step": ("step {step}", "步 {step}"),
    "loss": ("loss {loss}", "损失 {loss}"),
    "tokens_per_s": ("{n} tokens/s", "{n} 词元/秒"),
    # after fit
    "model": ("model", "模型"),
    "result": ("result", "结果"),
    "on_rows": ("on {n} unseen rows", "{n} 行未见数据"),
    "report": ("report", "报告"),
    "took": ("took", "用时"),
    "took_detail": ("{time}, {trials} trials", "{time}，{trials} 次试验"),
    "overhead": ("{share} outside training and evaluation", "训练与评估之外占 {share}"),
    "next": ("next", "接下来"),
    "grouping": ("together or apart", "合训或分训"),
    "beside": ("beside baselines", "与基线相比"),
    # chat
    "chat.hello": (
        "Chatting with {model}. /clear forgets, /save FILE keeps, /exit or Ctrl-D leaves; Ctrl-C stops a reply.",
        "正在与 {model} 对话。/clear 清空，/save 文件 保存，/exit 或 Ctrl-D 退出；Ctrl-C 停止回复。",
    ),
    "chat.cleared": ("conversation cleared", "已清空对话"),
    "chat.saved": ("saved to {path}", "已保存到 {path}"),
    "chat.unknown": (
        "unknown command {command}; there are /clear, /save FILE and /exit",
        "没有命令 {command}；可用 /clear、/save 文件、/exit",
    ),
    "chat.stopped": ("(stopped)", "（已停止）"),
    # write
    "write.bar": ("writing", "写作中"),
    "write.resumed": ("going on: {written} of {words} were written", "继续写作：已写 {written} / {words}"),
    "write.half_line": (
        "the journal's last line was half-written and is dropped; its sentence is written again",
        "日志最后一行没有写完，已舍去，该句会重新写出",
    ),
    "write.planned": ("“{title}”, {n} chapters", "《{title}》，共 {n} 章"),
    "write.cast": ("cast: {names}", "人物：{names}"),
    "write.short": (
        "chapter {chapter}, scene {scene} ends short: {reason}",
        "第 {chapter} 章第 {scene} 场提前结束：{reason}",
    ),
    "write.book": ("book", "作品"),
    "write.length": ("length", "长度"),
    "write.words": ("{n} of {ordered} words", "{n} / {ordered} 词"),
    "write.characters": ("{n} of {ordered} Chinese characters", "{n} / {ordered} 字"),
    "write.repeats": ("repeated 8-grams", "重复的 8 元组"),
    "write.promises": ("promised appearances", "约定出场"),
    "write.rewrites": ("rewrites", "重写"),
    "write.files": ("files", "文件"),
    # keys
    "keys.made": (
        "key {name}: role {role}, models: {models}, expires: {until}",
        "密钥 {name}：角色 {role}，模型：{models}，到期：{until}",
    ),
    "keys.once": (
        "It is shown this once; only its digest is kept.",
        "密钥只显示这一次；保存下来的只有它的摘要。",
    ),
    "keys.all": ("all", "全部"),
    "keys.never": ("never", "永不"),
    "keys.none": ("no keys yet: autogpt keys create NAME", "还没有密钥：autogpt keys create NAME"),
    "keys.revoked": ("{name} was revoked at {when}", "{name} 已于 {when} 吊销"),
}
"""key → (English, Chinese). Both have the same placeholders."""


def language_for(description: str = "", environ: Mapping[str, str] | None = None) -> str:
    """`zh` when the description contains Han characters or the locale is Chinese, else `en`."""
    if _HAN.search(description):
        return "zh"
    env = os.environ if environ is None else environ
    locale = env.get("LC_ALL") or env.get("LC_MESSAGES") or env.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"


class Text:
    """The strings of one language: `text("stage.search")`. A key that does not exist is a KeyError."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, key: str, **values: Any) -> str:
        return STRINGS[key][1 if self.language == "zh" else 0].format(**values)

    def name(self, group: str, value: str) -> str:
        """The string `group.value`, or `value` itself when the table has none (a kind or state that is new)."""
        return self(f"{group}.{value}") if f"{group}.{value}" in STRINGS else value

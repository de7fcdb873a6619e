"""The report of a book: lengths, repeats, promises, rewrites and speed, as JSON and as a page to read."""

from __future__ import annotations

from typing import Any

from autogpt.writing.forms import form_named, heading
from autogpt.writing.manuscript import Manuscript
from autogpt.writing.names import mentions
from autogpt.writing.order import Order
from autogpt.writing.repeats import N, Repeats, distinct_n, longest_repeat, rep_n
from autogpt.writing.units import ends_sentence, length, units

__all__ = ["report_markdown", "report_of"]


def report_of(order: Order, book: Manuscript, writer: str) -> dict[str, Any]:
    """The figures as plain JSON.

    Keys: `words` (ordered and written, in words or Chinese characters), `chapters` (heading, words, whether it ends
    with a finished sentence, names promised and those of them that appeared), `repeats` (share of repeated 8-grams and
    of 4-grams, longest repeat, distinct 1- to 3-grams), `rewrites` by reason, `short_scenes`, `seconds`, `tokens`,
    `tokens_per_s`. Seconds and tokens are those of writing, refused drafts among them, over all sessions.
    """
    plan = book.plan
    if plan is None:
        raise ValueError("a book without a plan has no report")
    form = form_named(order.form)
    chapters, promised, appeared = [], 0, 0
    for number, (planned, chapter) in enumerate(zip(plan.chapters, book.chapters, strict=False), 1):
        texts = [book.scene_text(scene) for scene in chapter.scenes]
        pairs = [(name, text) for scene, text in zip(planned.scenes, texts, strict=False) for name in scene.names]
        kept = [name for name, text in pairs if mentions(name, text)]
        promised, appeared = promised + len(pairs), appeared + len(kept)
        chapters.append(
            {
                "heading": heading(form, plan.language, number, chapter.title or "", classical=plan.classical),
                "words": sum(map(length, texts)),
                "ordered": sum(scene.words for scene in planned.scenes),
                "ends_whole": not texts or not texts[-1] or ends_sentence(texts[-1]),
                "promised": sorted({name for name, _ in pairs}),
                "appeared": sorted(set(kept)),
            }
        )
    text = book.text()
    return {
        "title": plan.title,
        "form": order.form,
        "writer": writer,
        "premise": order.premise,
        "plan": {"source": plan.source, "said": plan.said, "cast": list(plan.cast)},
        "language": plan.language,
        "words": {"ordered": order.words, "written": length(text)},
        "chapters": chapters,
        "promises": {"made": promised, "kept": appeared},
        "repeats": _repeats(text, plan.language),
        "rewrites": dict(sorted(book.rewrites.items())),
        "short_scenes": [
            {"chapter": c, "scene": s, "because": scene.short}
            for c, chapter in enumerate(book.chapters, 1)
            for s, scene in enumerate(chapter.scenes, 1)
            if scene.short
        ],
        "seconds": round(book.seconds, 1),
        "tokens": book.tokens,
        "tokens_per_s": round(book.tokens / book.seconds, 1) if book.seconds else None,
    }


def _repeats(text: str, language: str) -> dict[str, Any]:
    row = units(text)
    counted = Repeats()
    counted.add(text)
    longest = longest_repeat(row)
    return {
        "ngram": N,
        "share": round(counted.share, 6),
        "rep_4": round(rep_n(row, 4), 6),
        "longest": {"units": len(longest), "text": ("" if language == "zh" else " ").join(longest)},
        "distinct": {str(n): round(distinct_n(row, n), 4) for n in (1, 2, 3)},
    }


def report_markdown(report: dict[str, Any]) -> str:
    """The report as Markdown, in the book's language."""
    zh = report["language"] == "zh"
    words, repeats, promises = report["words"], report["repeats"], report["promises"]
    unit = "字" if zh else "words"

    def t(english: str, chinese: str) -> str:
        return chinese if zh else english

    lines = [
        f"# {t('Report', '报告')}: {report['title']}",
        "",
        f"- {t('writer', '作者模型')}: {report['writer']}",
        f"- {t('length', '长度')}: {words['written']} / {words['ordered']} {unit}",
        f"- {t('promised appearances kept', '约定出场的兑现')}: {promises['kept']} / {promises['made']}",
        f"- {t('repeated 8-grams', '重复的 8 元组')}: {repeats['share']:.2%}; rep-4 {repeats['rep_4']:.2%}; "
        f"{t('longest repeat', '最长重复')}: {repeats['longest']['units']} {unit} “{repeats['longest']['text'][:80]}”",
        "- distinct-n: " + ", ".join(f"{n}: {share:.3f}" for n, share in repeats["distinct"].items()),
        f"- {t('seconds', '秒')}: {report['seconds']}, {t('tokens/s', '词元/秒')}: {report['tokens_per_s']}",
    ]
    if report["plan"]["said"]:
        lines.append(f"- {t('plan', '大纲')}: {report['plan']['said']}")
    lines += ["", f"## {t('Rewrites', '重写')}", ""]
    lines += [f"- {reason}: {count}" for reason, count in report["rewrites"].items()] or [t("none", "无")]
    if report["short_scenes"]:
        lines += ["", f"## {t('Scenes that ended short', '提前结束的场景')}", ""]
        lines += [f"- {one['chapter']}.{one['scene']}: {one['because']}" for one in report["short_scenes"]]
    lines += ["", f"## {t('Chapters', '章节')}", ""]
    lines += [
        f"| | {unit} | {t('ordered', '约定')} | {t('promised', '约定出场')} | {t('missing', '缺席')} |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for one in report["chapters"]:
        missing = [name for name in one["promised"] if name not in one["appeared"]]
        head = one["heading"].replace("|", "\\|")
        lines.append(
            f"| {head} | {one['words']} | {one['ordered']} | {', '.join(one['promised'])} | {', '.join(missing)} |"
        )
    return "\n".join(lines) + "\n"

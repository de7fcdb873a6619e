"""Whose words they are: faults of speech in the prose of classical Chinese novels, where each speech has its speaker.

Such prose writes `宝玉笑道：“…”`: a name, a verb of saying, a colon, the words in quotation marks. Later prose leaves
speeches without a speaker and sets them off with a comma, so none of this is asked of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from autogpt.tasks.language import has_han
from autogpt.writing.names import given_name, speakers
from autogpt.writing.units import length

__all__ = ["NO_SPEAKER", "TWICE", "names_twice", "narrates", "speech_fault"]

NO_SPEAKER, TWICE = "speech without a speaker", "speaker answers himself"
_SAYING = "道说问答叹骂喊叫云曰念唱写"
_ENDS = "。！？…─—，、~"
_UNQUOTED = re.compile(rf"[{_SAYING}][：:](?![“「『])")
_IN_PERSON = re.compile("[你我咱您]")
"""Of whom a narrator does not speak."""
_LONGEST_TERM = 6
"""Characters that may stand in quotation marks as a word rather than as speech."""
_NARRATION = re.compile(
    r"(?:说着|说毕|说罢|说完|听了|听说|正说|一面说|一语未了|话说|却说|且说|于是|当下|只见|忽见|忽听|那时|这里|次日)"
)


def narrates(text: str) -> bool:
    """Whether a sentence begins as narration does, so that a quote which is still open was over before it."""
    return _NARRATION.match(text) is not None


def names_twice(text: str, known: Collection[str]) -> bool:
    """Whether narration names somebody twice in one clause, as nobody does who is told of: `宝玉先往宝玉处来`."""
    told = _outside(text)
    names = "|".join(sorted({given_name(name) for name in known if has_han(name)}))
    return bool(names) and re.search(rf"({names})[^，。！？；：、“”]{{1,8}}\1", told) is not None


def speech_fault(text: str, scene: str, *, inside: bool) -> str:
    """Why the speech in a sentence cannot stand; empty when it can.

    Args:
        text: the sentence.
        scene: what stands before it.
        inside: whether a quote of the scene is still open.
    """
    if not inside and (_UNQUOTED.search(_outside(text)) or _IN_PERSON.search(_outside(text))):
        return NO_SPEAKER
    for found in re.finditer("“([^”]*)", text):
        before, words = text[: found.start()], found[1]
        if inside and "”" not in before and not before.endswith(("：", ":")):
            return NO_SPEAKER
        closed = found.end() < len(text)
        if closed and before.endswith(("：", ":")) and words[-1:] not in _ENDS:
            return NO_SPEAKER  # the speech would go on outside its quotation marks
        if before.endswith(("：", ":", "，")):
            if before[:-1][-1:] not in _SAYING or not before[:-1]:
                return NO_SPEAKER
        elif length(words) > _LONGEST_TERM or re.search("[。！？]", words) or not before:
            return NO_SPEAKER
    said = speakers(text[: text.find("“") + 1]) if "“" in text else []
    last = speakers(scene[scene.rfind("”", 0, -1) + 1 :]) if scene.endswith("”") else []
    return TWICE if said and last and said[-1] == last[-1] else ""


def _outside(text: str) -> str:
    """`text` without what stands in quotation marks; the marks stay."""
    return re.sub("“[^”]*", "“", text)

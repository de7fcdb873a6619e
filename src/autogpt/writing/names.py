"""Names of persons and places in running text, by rules for Chinese and English; no model and no list of names.

Chinese: who says something (`宝玉笑道：`), and a usual surname with one or two more characters that returns.
English: capitalised words that are never written small, and who says something (`said Alice`, `ROMEO:`). The rules
miss names that are neither; they are made for texts in which the same persons return.
"""

from __future__ import annotations

import re
from collections import Counter

from autogpt.tasks.language import has_han

__all__ = ["given_name", "looks_mistaken", "mentions", "persons", "places", "places_of", "speakers"]

_SURNAMES = frozenset(
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏窦章云苏潘葛范彭郎鲁韦昌马苗凤方俞任袁柳"
    "鲍史唐费廉薛雷贺倪汤滕殷罗毕郝邬安常乐傅皮卞齐康伍余顾孟黄穆萧尹姚邵汪祁毛禹狄米贝臧计成戴宋茅庞熊纪舒屈项祝董梁杜"
    "阮蓝闵席季麻强贾路娄江童颜郭梅盛林刁钟徐邱骆高夏蔡田樊胡凌霍虞万柯管卢莫房丁邓洪包左石崔吉龚程邢裴陆荣翁甄曲封"
    "储段富焦谷车侯宁仇武符刘景龙叶司黎白赖卓乔闻温庄晏柴阎文尚欧利关"
)
_DOUBLE = ("欧阳", "司马", "上官", "诸葛", "夏侯", "皇甫", "尉迟", "公孙", "慕容", "令狐", "司徒", "南宫", "东方")
_FUNCTION = frozenset(
    "的了着是在有不也都就又还才便只把被给和与同跟及或但却而且因为所以如若虽然这那此其之者何谁哪么吗呢吧啊呀哪得地个们他她它你我您"
    "自己一二三四五六七八九十两几多少来去到从向往对于上下中里外前后起出进过回说道问答笑哭想看听见知叫忙急正方将要会能可再最很太"
    "更大小人家事日时今明昨年月等些样话处边头面儿没无未非莫别曾已连越般当作做成使令让请由并即则乃矣焉乎哉"
)
_SAID = "说道|笑道|问道|答道|叹道|哭道|忙道|想道|骂道|喊道|回道|叫道|冷笑道|喝道|劝道|点头道|道|说|问|答"
_BEFORE_SAID = (
    "(?:听了，|听说，|见了，|忙|又|便|也|因|听了|听说|见了|见|笑着|"
    "笑|只得|方|连忙|急|且|一面|冷笑|点头|低声|大声|轻声|不禁)*"
)
_SAYS = re.compile(rf"(?:^|[。！？；，：”』\s])([\u4e00-\u9fff]{{2,4}}?){_BEFORE_SAID}(?:{_SAID})[：:，,“「]")
_HAN_RUN = re.compile(r"[\u4e00-\u9fff]+")
_TITLED = re.compile(
    r"([\u4e00-\u9fff]{1,2}(?:夫人|太太|奶奶|姑娘|老爷|先生|小姐|公子|妈妈|嬷嬷|和尚|道士|师父|大人|将军|队长|医生|老师))"
)
_PLACE_ZH = re.compile(
    r"(?:到|在|往|入|出|至|进|回|离|赴|过)((?:(?![的了着是在有不也都就这那其一])[\u4e00-\u9fff]){1,3}"
    r"(?:府|园|院|楼|亭|寺|庙|庵|城|山|村|镇|街|馆|阁|港|岛|湾|州|县|观|桥|宫|殿|轩|斋|店|厅))"
)
_PLACE_ENDS = "府园院楼亭寺庙庵城山村镇街馆阁港岛湾州县观桥宫殿轩斋店厅国"
_CUE = re.compile(r"(?:^|\n)([A-Z][A-Za-z'’]+(?: [A-Z][A-Za-z'’]+){0,2}):(?=\s*\n| )")
_CUE_ZH = re.compile(r"(?:^|\n)([\u4e00-\u9fff]{2,4})[：:]")
_SAID_EN = r"(?:said|replied|asked|cried|answered|whispered|shouted|exclaimed|added|thought|began|remarked)"
_SAYS_EN = re.compile(rf"\b{_SAID_EN} ((?:Mr|Mrs|Miss|Dr)\.? [A-Z]\w+|[A-Z][a-z]+)|\b([A-Z][a-z]+) {_SAID_EN}\b")
_CAPITAL = re.compile(
    r"(?:(?:Mr|Mrs|Miss|Dr|Sir|Lady|Lord|King|Queen|Captain)\.? )?[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})?\b(?!['’](?!s\b))"
)
_ACTS = re.compile(r"(?:,| and [A-Z]| (?:is|was|has|had|[a-z]{2,}s)\b)")
"""What follows a name at the beginning of a sentence in a premise, and seldom another word there."""
_PLACE_EN = re.compile(
    r"\b(?:in|at|to|from|near|of|into|toward|towards) ((?:the )?[A-Z][a-z]{2,}(?: (?:[A-Z][a-z]{2,}))?)"
)
_NEVER_NAMES = """
    The A An And But Or If Of In On At To For From With As By It He She They We You I His Her Their My Your Our
    This That These Those There Then When Where What Who Why How Not No Yes Oh Ah So Now Here Come Let Well Nay
    Ay O All One Two Good Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April
    May June July August September October November December Chapter Act Scene Enter Exit Exeunt God Lord Sir
    Madam Is Was Are Be Do Did Will Would Shall Should Can Could Must Have Had Has Thou Thy Thee Which While Yet
    Nor Upon After Before Once Some Every Each Such Both Chorus Another Never Ever Still Just Only Even Like
    More Most Give Take Tell Speak Hear Look See Go Say
"""
_NEVER = frozenset(_NEVER_NAMES.split())


def persons(text: str, *, least: int = 1) -> Counter[str]:
    """How often each person is named in `text`; those named fewer than `least` times are left out.

    A person who says something counts with every mention, one with surname only when the name comes back. In English a
    capitalised word at the beginning of a sentence alone is no evidence.
    """
    found = _chinese(text) if has_han(text) else _english(text)
    return Counter({name: count for name, count in found.items() if count >= least})


def _plausible(name: str) -> bool:
    return not any(char in _FUNCTION for char in name)


def _chinese(text: str) -> Counter[str]:
    said = {found for found in (*_SAYS.findall(text), *_CUE_ZH.findall(text)) if _plausible(found)}
    titled = {found for found in _TITLED.findall(text) if _plausible(found)}
    surnamed: Counter[str] = Counter()
    for run in _HAN_RUN.findall(text):
        for at in range(len(run)):
            size = 2 if run.startswith(_DOUBLE, at) else 1
            if size == 1 and run[at] not in _SURNAMES:
                continue
            for more in (2, 1):
                name = run[at : at + size + more]
                if len(name) == size + more and _plausible(name):
                    surnamed[name] += 1
    likely = {name for name, count in surnamed.items() if count >= 2 and (len(name) > 2 or count >= 4)}
    short = len(text) < 400  # a premise: nothing comes back in a sentence or two
    likely |= {name for name in surnamed if short and name[-1] not in _PLACE_ENDS and _stands_alone(name, text, short)}
    named = said | titled | {n for n in likely if _stands_alone(n, text, short)}
    counts = Counter({name: text.count(name) for name in named})
    for name in list(counts):  # 玉 of 宝玉, and 林黛 of 林黛玉
        longer = [other for other in counts if name != other and name in other]
        if any(counts[other] >= 0.7 * counts[name] for other in longer):
            del counts[name]
    return counts


def _stands_alone(name: str, text: str, short: bool = False) -> bool:
    """Whether the name is met between what may stand beside a name: punctuation or a word that is no part of one.

    In a short text a name of three characters needs that on its left side only.
    """
    beside = "与和同跟在是的，。！？；：、“”‘’（）《》和因便忙笑道说问也又听见对向把被把让叫去来" + "\n 　"
    for found in re.finditer(re.escape(name), text):
        before = text[found.start() - 1] if found.start() else "\n"
        after = text[found.end()] if found.end() < len(text) else "\n"
        if before in beside and (after in beside or (short and len(name) >= 3)):
            return True
    return False


def _english(text: str) -> Counter[str]:
    said = {a or b for a, b in _SAYS_EN.findall(text)} | set(_CUE.findall(text))
    small = set(re.findall(r"\b[a-z][a-z'’]+\b", text))
    inner: Counter[str] = Counter()
    short = len(text) < 400
    for found in _CAPITAL.finditer(text):
        before = text[: found.start()].rstrip(" ")
        name = found.group().removesuffix("'s").removesuffix("’s")
        first, _, rest = name.partition(" ")
        if first in _NEVER and rest:
            name, first = rest, rest
        opens = not before or before[-1] in ".!?\n\"“‘'’:"
        if opens and short and _ACTS.match(text[found.end() :]):
            opens = False
        if first in _NEVER or name in _NEVER or first.lower() in small or opens:
            continue
        inner[name] += 1
    places = set(places_of(text))
    named = {n for n in said if n not in _NEVER} | {n for n in inner if n not in places}
    counts = Counter({name: len(re.findall(rf"\b{re.escape(name)}\b", text)) for name in named})
    for name in list(counts):
        longer = [other for other in counts if name != other and name in other.split()]
        if any(counts[other] >= counts[name] for other in longer):
            del counts[name]
    return counts


def speakers(text: str) -> list[str]:
    """Who says something in Chinese prose, in order: `宝玉笑道：` has 宝玉; words that are no names are left out."""
    return [found for found in _SAYS.findall(text) if _plausible(found)]


def given_name(name: str) -> str:
    """A Chinese name of three characters without its usual surname; any other as it is."""
    return name[1:] if has_han(name) and len(name) == 3 and name[0] in _SURNAMES else name


def places_of(text: str) -> list[str]:
    """English places as they stand: a capitalised word after a preposition of place, more often than elsewhere."""
    found = Counter(place.removeprefix("the ") for place in _PLACE_EN.findall(text))
    return [
        place
        for place, count in found.items()
        if place.split()[0] not in _NEVER and 2 * count > len(re.findall(rf"\b{re.escape(place)}\b", text))
    ]


def places(text: str) -> Counter[str]:
    """How often each place is named: Chinese by its ending (府, 园 …) after a verb of place, English by preposition."""
    names = set(_PLACE_ZH.findall(text)) if has_han(text) else set(places_of(text))
    return Counter({name: text.count(name) for name in names if name})


def mentions(name: str, text: str) -> bool:
    """Whether `text` names a person: by the whole name, or without the surname where two characters are left of it.

    English by the last or first word of a longer name, whole words only, whatever the case (a cue is in capitals).
    """
    if has_han(name):
        return name in text or given_name(name) in text
    parts = [name, *(part for part in name.split() if len(part) > 3)]
    return any(re.search(rf"\b{re.escape(part)}\b", text, re.IGNORECASE) for part in parts)


def looks_mistaken(text: str, known: frozenset[str]) -> str:
    """A name in `text` that is almost one of `known` and none itself: 贾宝珠 for 贾宝玉; empty where there is none.

    Chinese: three characters, the surname and one more the same. English: five letters at least, one of them other.
    """
    for name in sorted(known):
        if has_han(name) and len(name) == 3:
            for found in re.finditer(rf"{name[0]}(?:{name[1]}[\u4e00-\u9fff]|[\u4e00-\u9fff]{name[2]})", text):
                other = str(found.group())
                if other not in known and _plausible(other) and _stands_alone(other, text):
                    return other
        elif name.isascii() and len(name) >= 5 and " " not in name:
            for other in sorted(map(str, set(re.findall(r"\b[A-Z][a-z]{4,}\b", text)))):
                if other not in known and other[0] == name[0] and _one_letter_off(other, name):
                    return other
    return ""


def _one_letter_off(one: str, other: str) -> bool:
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1

"""Building HTML without a chance to forget escaping: every string is escaped unless it was built here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Child", "Html", "element", "table"]

_VOID = frozenset({"meta", "line", "rect", "circle", "polyline"})


class Html(str):
    """Markup that is known to be safe because `element` made it."""

    __slots__ = ()


Child: TypeAlias = "str | int | Html | Iterable[Child] | None"


def element(tag: str, *children: Child, **attributes: object) -> Html:
    """`<tag attributes>children</tag>`. Text and attribute values are escaped; None is left out.

    `class_` becomes class, and an underscore inside an attribute's name a hyphen.
    """
    names = {name: "class" if name == "class_" else name.replace("_", "-") for name in attributes}
    written = "".join(
        f' {names[name]}="{escape(str(value), quote=True)}"' for name, value in attributes.items() if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}/>" if tag != "meta" else f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{''.join(_flat(children))}</{tag}>")


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            yield child
        elif isinstance(child, (str, int)):
            yield escape(str(child), quote=False)
        else:
            yield from _flat(child)


def table(
    head: Iterable[Child], rows: Iterable[Iterable[Child]], *, numeric: Iterable[int] = (), compact: bool = False
) -> Html:
    """A table in a box that scrolls sideways; columns in `numeric` are aligned to the right.

    `compact`: as wide as its content, not as the page.
    """
    right = frozenset(numeric)

    def cells(tag: str, row: Iterable[Child]) -> list[Html]:
        return [element(tag, cell, class_="n" if i in right else None) for i, cell in enumerate(row)]

    body = [element("tr", *cells("td", row)) for row in rows]
    built = element(
        "table",
        element("thead", element("tr", *cells("th", head))),
        element("tbody", *body),
        class_="compact" if compact else None,
    )
    return element("div", built, class_="scroll")

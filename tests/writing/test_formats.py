"""Files of a book, read back by others: an XML parser and the container's rules, python-docx, a Fountain parser of the
published syntax written here, and screenplain's."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any
from xml.etree import ElementTree

import pytest

from autogpt.writing.formats import Document, Part, Scene, document_of, markdown, plain_text
from autogpt.writing.formats_docx import docx
from autogpt.writing.formats_epub import epub
from autogpt.writing.formats_fountain import fountain
from autogpt.writing.gates import Piece
from autogpt.writing.manuscript import ChapterText, Manuscript, SceneText
from autogpt.writing.order import Order
from autogpt.writing.plan import Chapter, Plan
from autogpt.writing.plan import Scene as PlannedScene

NOVEL = Document(
    "海 & <山>",
    "zh",
    (
        Part("第一回　甲乙", (Scene("", (("", "宝玉道：“走 & <留>。”"), ("", "# 不是标题。"))),)),
        Part("第二回　丙丁", (Scene("", (("", "1. 星*号*_线_`码`。\x0b"),)),)),
    ),
)
SCRIPT = Document(
    "The Sea",
    "en",
    (
        Part(
            "ACT I",
            (
                Scene(
                    "SCENE I. A ship.",
                    (("ANN", "Go *now*.\nOr stay."), ("", "EVERYBODY LEAVES."), ("Dr Who", "No.")),
                    "A ship",
                ),
                Scene("SCENE II. Verona. A street.", (("宝玉", "好。"), ("", "They go.")), "Verona. A street"),
            ),
        ),
    ),
    by_speeches=True,
)
XHTML = "{http://www.w3.org/1999/xhtml}"
OPF = "{http://www.idpf.org/2007/opf}"
DC = "{http://purl.org/dc/elements/1.1/}"


def test_markdown_reads_back_as_it_was_written() -> None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(markdown(NOVEL))
    found = [(tokens[i - 1].type, plain(token)) for i, token in enumerate(tokens) if token.type == "inline"]
    assert found == [
        ("heading_open", "海 & <山>"),
        ("heading_open", "第一回　甲乙"),
        ("paragraph_open", "宝玉道：“走 & <留>。”"),
        ("paragraph_open", "# 不是标题。"),
        ("heading_open", "第二回　丙丁"),
        ("paragraph_open", "1. 星*号*_线_`码`。\x0b".strip()),
    ]
    assert "**ANN**  \nGo \\*now\\*.  \nOr stay." in markdown(SCRIPT)


def plain(token: Any) -> str:
    return "".join(child.content for child in token.children or [])


def test_plain_text() -> None:
    assert plain_text(NOVEL).startswith("海 & <山>\n\n第一回　甲乙\n\n　　宝玉道：“走 & <留>。”\n\n")
    assert "ANN:\nGo *now*.\nOr stay." in plain_text(SCRIPT)


def test_epub_keeps_the_rules_of_its_container() -> None:
    archive = zipfile.ZipFile(io.BytesIO(epub(NOVEL)))
    first = archive.infolist()[0]
    assert (first.filename, first.compress_type, first.extra) == ("mimetype", zipfile.ZIP_STORED, b"")
    assert archive.read("mimetype") == b"application/epub+zip"
    container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
    root = container.find(".//{urn:oasis:names:tc:opendocument:xmlns:container}rootfile")
    assert root is not None
    package = ElementTree.fromstring(archive.read(root.attrib["full-path"]))
    assert package.attrib["version"] == "3.0"
    identifier = package.find(f".//{DC}identifier")
    assert identifier is not None
    assert identifier.attrib["id"] == package.attrib["unique-identifier"]
    assert [package.findtext(f".//{DC}{name}") for name in ("title", "language")] == ["海 & <山>", "zh"]
    modified = [m.text for m in package.iter(f"{OPF}meta") if m.attrib.get("property") == "dcterms:modified"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", modified[0] or "")
    items = {item.attrib["id"]: item.attrib for item in package.iter(f"{OPF}item")}
    listed = {f"OEBPS/{item['href']}" for item in items.values()}
    assert listed == set(archive.namelist()) - {"mimetype", "META-INF/container.xml", root.attrib["full-path"]}
    assert [i["href"] for i in items.values() if i.get("properties") == "nav"] == ["nav.xhtml"]
    assert all(ref.attrib["idref"] in items for ref in package.iter(f"{OPF}itemref"))


def test_epub_holds_the_text() -> None:
    archive = zipfile.ZipFile(io.BytesIO(epub(NOVEL)))
    nav = ElementTree.fromstring(archive.read("OEBPS/nav.xhtml"))
    links = [(a.attrib["href"], a.text) for a in nav.iter(f"{XHTML}a")]
    assert links == [("chapter-001.xhtml", "第一回　甲乙"), ("chapter-002.xhtml", "第二回　丙丁")]
    page = ElementTree.fromstring(archive.read("OEBPS/chapter-001.xhtml"))
    assert [p.text for p in page.iter(f"{XHTML}p")] == ["宝玉道：“走 & <留>。”", "# 不是标题。"]
    script = zipfile.ZipFile(io.BytesIO(epub(SCRIPT))).read("OEBPS/chapter-001.xhtml")
    assert [s.text for s in ElementTree.fromstring(script).iter(f"{XHTML}span")] == ["ANN", "Dr Who", "宝玉"]


def test_docx_opens_in_another_library() -> None:
    library = pytest.importorskip("docx")
    opened = library.Document(io.BytesIO(docx(NOVEL)))
    assert [(p.style.name, p.text) for p in opened.paragraphs] == [
        ("Title", "海 & <山>"),
        ("Heading 1", "第一回　甲乙"),
        ("Normal", "宝玉道：“走 & <留>。”"),
        ("Normal", "# 不是标题。"),
        ("Heading 1", "第二回　丙丁"),
        ("Normal", "1. 星*号*_线_`码`。"),
    ]
    assert opened.core_properties.title == "海 & <山>"
    speech = library.Document(io.BytesIO(docx(SCRIPT))).paragraphs[3]
    assert (speech.text, speech.runs[0].bold) == ("ANN\nGo *now*.\nOr stay.", True)


def parsed(text: str) -> list[tuple[str, ...]]:
    """A small parser of what https://fountain.io/syntax says of title page, sections, scenes, cues and action."""
    head, _, body = text.partition("\n\n")
    found: list[tuple[str, ...]] = [("title", head.removeprefix("Title: "))]
    for block in re.split(r"\n\s*\n", body.strip()):
        first, *rest = block.split("\n")
        if first.startswith("#"):
            found.append(("section", first.lstrip("# ")))
        elif re.match(r"\.[^.]", first):
            found.append(("scene", first[1:]))
        elif re.match(r"(?i)(int|ext|est|i/e)[. ]", first):
            found.append(("scene", first))
        elif rest and (first.startswith("@") or (first == first.upper() and re.search("[A-Z]", first))):
            found.append(("speech", first.removeprefix("@"), "\n".join(rest).replace("\\*", "*").replace("\\_", "_")))
        else:
            found.append(("action", block.replace("\n!", "\n").removeprefix("!")))
    return found


def test_fountain_reads_back_as_it_was_written() -> None:
    assert parsed(fountain(SCRIPT)) == [
        ("title", "The Sea"),
        ("section", "ACT I"),
        ("scene", "A SHIP #1.1#"),
        ("speech", "ANN", "Go *now*.\nOr stay."),
        ("action", "EVERYBODY LEAVES."),
        ("speech", "Dr Who", "No."),
        ("scene", "EXT. VERONA. A STREET #1.2#"),
        ("speech", "宝玉", "好。"),
        ("action", "They go."),
    ]


def test_fountain_in_another_parser() -> None:
    parsers = pytest.importorskip("screenplain.parsers.fountain")
    play = parsers.parse(io.StringIO(fountain(SCRIPT)))
    kinds = [type(paragraph).__name__ for paragraph in play]
    assert kinds == ["Section", "Slug", "Dialog", "Action", "Dialog", "Slug", "Dialog", "Action"]
    speeches = [paragraph for paragraph in play if type(paragraph).__name__ == "Dialog"]
    assert [str(speech.character) for speech in speeches] == ["ANN", "Dr Who", "宝玉"]
    assert [str(line) for _, line in speeches[0].blocks] == ["Go *now*.", "Or stay."]


@pytest.mark.parametrize(
    ("language", "cues", "enter", "leave"),
    [
        ("en", ("ANN", "BEN", "ANN", "CY"), "Enter ANN, BEN and CY.", "Exeunt."),
        ("en", ("ANN",), "Enter ANN.", "Exit."),
        ("zh", ("宝玉", "黛玉"), "宝玉、黛玉上。", "众人下。"),
    ],
)
def test_scenes_of_a_script_begin_and_end_with_a_direction(
    language: str, cues: tuple[str, ...], enter: str, leave: str
) -> None:
    book = Manuscript()
    pieces = tuple(Piece("Go.", True, "", cue) for cue in cues)
    scene = PlannedScene(cues, 50)
    book.plan = Plan("T", language, cues, cues, (Chapter("", "", (scene,)),))
    book.chapters = [ChapterText("", [SceneText("A ship", list(pieces), done=True)])]
    (part,) = document_of(Order("p", "script", 1, 50), book).parts
    blocks = part.scenes[0].blocks
    assert (blocks[0], blocks[-1]) == (("", enter), ("", leave))
    assert [cue for cue, _ in blocks[1:-1]] == list(cues)

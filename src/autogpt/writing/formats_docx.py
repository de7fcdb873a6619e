"""A book as DOCX, with the standard library: WordprocessingML in a zip, after ECMA-376 (Office Open XML).

Title, headings and paragraphs with the styles that word processors know, so that their outline works. No page numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autogpt.writing.formats_epub import xml_text, zipped

if TYPE_CHECKING:
    from autogpt.writing.formats import Document

__all__ = ["docx"]

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"
_MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_TYPES = f"""{_HEAD}<Types xmlns="{_PACKAGE}/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/word/document.xml" ContentType="{_MAIN}.document.main+xml"/>
<Override PartName="/word/styles.xml" ContentType="{_MAIN}.styles+xml"/>
<Override PartName="/docProps/core.xml" ContentType="application/vnd.openxmlformats-package.core-properties+xml"/>
</Types>
"""
_LINKS = f"""{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">
<Relationship Id="rId1" Type="{_OFFICE}/relationships/officeDocument" Target="word/document.xml"/>
<Relationship Id="rId2" Type="{_PACKAGE}/relationships/metadata/core-properties" Target="docProps/core.xml"/>
</Relationships>
"""
_DOCUMENT_LINKS = f"""{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">
<Relationship Id="rId1" Type="{_OFFICE}/relationships/styles" Target="styles.xml"/>
</Relationships>
"""


def _style(identity: str, name: str, paragraph: str, run: str) -> str:
    return (
        f'<w:style w:type="paragraph" w:styleId="{identity}"><w:name w:val="{name}"/><w:basedOn w:val="Normal"/>'
        f"<w:qFormat/><w:pPr>{paragraph}</w:pPr><w:rPr>{run}</w:rPr></w:style>\n"
    )


_CENTRED = '<w:spacing w:before="240" w:after="240"/><w:jc w:val="center"/>'
_STYLES = (
    f'{_HEAD}<w:styles xmlns:w="{_W}">\n'
    '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/><w:qFormat/>'
    '<w:pPr><w:spacing w:after="80" w:line="320" w:lineRule="auto"/></w:pPr>'
    '<w:rPr><w:rFonts w:eastAsia="SimSun"/><w:sz w:val="22"/></w:rPr></w:style>\n'
    + _style("Title", "Title", _CENTRED, '<w:b/><w:sz w:val="44"/>')
    + _style(
        "Heading1", "heading 1", "<w:keepNext/>" + _CENTRED + '<w:outlineLvl w:val="0"/>', '<w:b/><w:sz w:val="32"/>'
    )
    + _style(
        "Heading2", "heading 2", "<w:keepNext/>" + _CENTRED + '<w:outlineLvl w:val="1"/>', '<w:b/><w:sz w:val="26"/>'
    )
    + "</w:styles>\n"
)


def _run(text: str, *, bold: bool = False) -> str:
    look = "<w:rPr><w:b/></w:rPr>" if bold else ""
    lines = "<w:br/>".join(f'<w:t xml:space="preserve">{xml_text(line)}</w:t>' for line in text.split("\n"))
    return f"<w:r>{look}{lines}</w:r>"


def _paragraph(runs: str, *, style: str = "", indent: bool = False) -> str:
    look = f'<w:pStyle w:val="{style}"/>' if style else ""
    look += '<w:ind w:firstLineChars="200" w:firstLine="440"/>' if indent else ""
    return f"<w:p>{f'<w:pPr>{look}</w:pPr>' if look else ''}{runs}</w:p>\n"


def docx(document: Document) -> bytes:
    """The DOCX file, with the same bytes for the same book."""
    body = [_paragraph(_run(document.title), style="Title")]
    for part in document.parts:
        if part.heading:
            body.append(_paragraph(_run(part.heading), style="Heading1"))
        for scene in part.scenes:
            if scene.heading:
                body.append(_paragraph(_run(scene.heading), style="Heading2"))
            for cue, text in scene.blocks:
                if cue:
                    body.append(_paragraph(_run(cue + "\n", bold=True) + _run(text)))
                else:
                    body.append(_paragraph(_run(text), indent=document.language == "zh"))
    page = (
        '<w:sectPr><w:pgSz w:w="11906" w:h="16838"/><w:pgMar w:top="1440" w:right="1440" w:bottom="1440" w:left="1440" \
w:header="720" w:footer="720" w:gutter="0"/></w:sectPr>'
    )
    text = f'{_HEAD}<w:document xmlns:w="{_W}"><w:body>\n{"".join(body)}{page}</w:body></w:document>\n'
    core = (
        f'{_HEAD}<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{xml_text(document.title)}</dc:title>'
        f"<dc:language>{document.language}</dc:language></cp:coreProperties>\n"
    )
    return zipped(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": _LINKS,
            "docProps/core.xml": core,
            "word/_rels/document.xml.rels": _DOCUMENT_LINKS,
            "word/document.xml": text,
            "word/styles.xml": _STYLES,
        }
    )

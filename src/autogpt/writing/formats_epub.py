"""A book as EPUB 3, with the standard library: a zip of XHTML chapters, a package document and a navigation document.

After EPUB 3.3 (W3C 2023): `mimetype` is the first entry and stored, `META-INF/container.xml` names the package, the
package lists every file, and the navigation document is marked as such. Without cover and fonts.
"""

from __future__ import annotations

import io
import re
import time
import uuid
import zipfile
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from autogpt.writing.formats import Document, Part

__all__ = ["epub", "xml_text", "zipped"]

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""
_STYLE = """body { margin: 5%; line-height: 1.6; }
h1, h2, h3 { text-align: center; }
p { margin: 0; text-indent: 2em; }
p.speech { margin: 0.8em 0; text-indent: 0; }
span.cue { font-weight: bold; }
"""


def xml_text(text: str) -> str:
    """`text` as character data of XML 1.0; characters that XML cannot hold are left out."""
    return escape(_NOT_XML.sub("", text))


def zipped(files: dict[str, str], *, stored: tuple[str, ...] = ()) -> bytes:
    """A zip archive of texts in their order, with the same bytes for the same texts; `stored` are not compressed."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, text.encode())
    return made.getvalue()


def _page(title: str, language: str, body: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="{language}" \
xml:lang="{language}">
<head><title>{xml_text(title)}</title><link rel="stylesheet" type="text/css" href="style.css"/></head>
<body>
{body}</body>
</html>
"""


def _chapter(part: Part, title: str, language: str) -> str:
    body = [f"<h2>{xml_text(part.heading)}</h2>"] if part.heading else []
    for scene in part.scenes:
        if scene.heading:
            body.append(f"<h3>{xml_text(scene.heading)}</h3>")
        for cue, text in scene.blocks:
            said = xml_text(text).replace("\n", "<br/>\n")
            body.append(
                f'<p class="speech"><span class="cue">{xml_text(cue)}</span><br/>\n{said}</p>'
                if cue
                else f"<p>{said}</p>"
            )
    return _page(part.heading or title, language, "\n".join(body) + "\n")


def epub(document: Document) -> bytes:
    """The EPUB file. Its identifier is made from its text, so the same book has the same one."""
    language = document.language if document.language in ("zh", "en") else "und"
    chapters = {
        f"chapter-{number:03d}.xhtml": _chapter(part, document.title, language)
        for number, part in enumerate(document.parts, 1)
    }
    names = [part.heading or document.title for part in document.parts]
    entries = "".join(
        f'<li><a href="{file}">{xml_text(name)}</a></li>\n' for file, name in zip(chapters, names, strict=True)
    )
    nav = f'<nav epub:type="toc" id="toc"><h1>{xml_text(document.title)}</h1>\n<ol>\n{entries}</ol></nav>\n'
    identifier = uuid.uuid5(uuid.NAMESPACE_URL, document.title + "".join(chapters.values()))
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": _CONTAINER,
            "OEBPS/content.opf": _package(document.title, language, str(identifier), list(chapters)),
            "OEBPS/nav.xhtml": _page(document.title, language, nav),
            "OEBPS/style.css": _STYLE,
            **{f"OEBPS/{file}": text for file, text in chapters.items()},
        },
        stored=("mimetype",),
    )


def _package(title: str, language: str, identifier: str, files: list[str]) -> str:
    items = "\n".join(
        f'<item id="c{number}" href="{file}" media-type="application/xhtml+xml"/>'
        for number, file in enumerate(files, 1)
    )
    spine = "\n".join(f'<itemref idref="c{number}"/>' for number in range(1, len(files) + 1))
    modified = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="{language}">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{identifier}</dc:identifier>
<dc:title>{xml_text(title)}</dc:title>
<dc:language>{language}</dc:language>
<meta property="dcterms:modified">{modified}</meta>
</metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="css" href="style.css" media-type="text/css"/>
{items}
</manifest>
<spine>
<itemref idref="nav"/>
{spine}
</spine>
</package>
"""

"""Writes the package tree into CONTRIBUTING.md: one line a file, taken from the first sentence of its docstring.

`python scripts/tree.py` rewrites the part between the two `tree` markers; `--check` only compares, and ends with 1 when
the page is behind the code.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- tree: written by scripts/tree.py -->", "<!-- end of tree -->"


def first_sentence(file: Path) -> str:
    """The first sentence of a module's docstring on one line; empty when it has none."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


def lines(folder: Path, depth: int = 0) -> list[str]:
    """One line for each Python file and package below `folder`: files first, then packages, each in name order."""
    rows: list[str] = []
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py" or depth == 0:
            rows.append(f"{'  ' * depth}{file.name:<{24 - 2 * depth}}{first_sentence(file)}".rstrip())
    for package in sorted(path for path in folder.iterdir() if path.is_dir() and any(path.rglob("*.py"))):
        init = package / "__init__.py"
        about = first_sentence(init) if init.exists() else ""
        rows.append(f"{'  ' * depth}{package.name + '/':<{24 - 2 * depth}}{about}".rstrip())
        rows.extend(lines(package, depth + 1))
    return rows


def render() -> str:
    """The whole section, markers included."""
    tree = "\n".join(["src/autogpt/", *("  " + line for line in lines(ROOT / "src" / "autogpt"))])
    return f"{BEGIN}\n```text\n{tree}\n```\n{END}"


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"{PAGE.name} has no lines {BEGIN!r} and {END!r}", file=sys.stderr)
        return 1
    current = before + render() + after
    if "--check" in arguments:
        if current != page:
            print(f"{PAGE.name} is behind the code; run: python scripts/tree.py", file=sys.stderr)
        return int(current != page)
    PAGE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

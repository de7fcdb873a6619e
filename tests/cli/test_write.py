"""`autogpt write`: bad input, resuming, and what it prints, against an endpoint whose model is a script."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autogpt.tasks.spec import TaskKind
from autogpt.testing import said, scripted_llm

Cli = Callable[..., Any]


def novelist(path: str, body: dict[str, Any]) -> tuple[int, str]:
    """Plans two chapters, takes no notes, and writes sentences of drawn words that begin with Ann."""
    question = body["messages"][0]["content"]
    if "Outline" in question:
        scene = {"names": ["Ann"], "place": "Hull", "goal": "She leaves."}
        chapters = [{"title": f"Part {n}", "summary": "s", "scenes": [scene]} for n in range(3)]
        return said(json.dumps({"title": "The Sea", "characters": ["Ann"], "chapters": chapters}))
    if "Extract" in question:
        return said("{}")
    draw = random.Random(question + str(body.get("seed")))
    words = [["".join(draw.choices("abcdefghilmnorstu", k=draw.randint(3, 8))) for _ in range(9)] for _ in range(6)]
    return said(" ".join(f"Ann {' '.join(row)}." for row in words))


@pytest.fixture
def url() -> Iterator[str]:
    pytest.importorskip("openai")
    with scripted_llm(novelist) as server:
        yield server.url


def order(url: str, out: Path, *more: str) -> list[str]:
    first = ["write", "m", "--endpoint", url, "--premise", "Ann leaves Hull."]
    return [*first, "--chapters", "2", "--words", "200", "--out", str(out), *more]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--chapters", "0"], "--chapters; found 0; expected 1 to 999"),
        (["--chapters", "10000"], "--chapters; found 10000"),
        (["--chapters", "10", "--words", "400"], "--words is too few for so many chapters"),
        (["--form", "novle"], "did you mean 'novel'?"),
        (["--set", "temprature=1"], "did you mean 'temperature'?"),
        (["--endpoint", "http://127.0.0.1:1/v1"], "--premise is empty"),
        (["--premise", "x", "--endpoint", "nonsense"], "is no address of an endpoint"),
        (["--resume"], "there is no book to resume"),
        (["--premise", "x"], "no model 'm'"),
    ],
)
def test_bad_input(cli: Cli, home: Path, tmp_path: Path, argv: list[str], message: str) -> None:
    done = cli("write", "m", "--out", tmp_path / "book", *argv)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert message in done.err
    assert not (tmp_path / "book").exists()


def test_out_must_be_a_folder(cli: Cli, home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "found the file" in cli("write", "m", "--out", tmp_path / "file").err
    assert "--out is missing" in cli("write", "m").err


def test_a_model_that_does_not_write(cli: Cli, tmp_path: Path, make_model: Any) -> None:
    make_model(TaskKind.CLASSIFICATION, labels=["a", "b"])
    done = cli("write", "topics", "--out", tmp_path / "book")
    assert done.code == 2
    assert "topics does not write free text; found a classification model" in done.err


def test_a_book_is_written_resumed_and_refused(cli: Cli, home: Path, tmp_path: Path, url: str) -> None:
    out = tmp_path / "book"
    done = cli(*order(url, out, "--json"))
    assert done.code == 0, done.err
    assert done.document["promises"] == {"made": 2, "kept": 2}
    assert "The Sea" in done.err
    assert {Path(name).name for name in done.document["files"]} == {"book.md", "book.txt", "book.epub", "book.docx"}
    text = (out / "book.md").read_text(encoding="utf-8")
    assert text.startswith("# The Sea\n\n## Chapter 1: Part 0\n\n")

    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (out / "journal.jsonl").write_bytes(b"".join(lines[:9]) + lines[9][:20])
    again = cli("write", "m", "--endpoint", url, "--out", out, "--resume")
    assert again.code == 0, again.err
    assert "going on:" in again.err
    assert "half-written" in again.err
    assert "of 200 words" in again.out
    assert (out / "book.md").read_text(encoding="utf-8").startswith("# The Sea\n\n## Chapter 1: Part 0\n\n")

    other = cli(*order(url, out, "--words", "300"))
    assert other.code == 2
    assert "its order (words) differs" in other.err
    (out / "journal.jsonl").write_bytes(b"".join([*lines[:3], b"{}\n", *lines[4:]]))
    damaged = cli(*order(url, out))
    assert damaged.code == 2
    assert "damaged at line 4" in damaged.err


def test_adaptation_is_one_of_the_settings_of_a_book(cli: Cli, home: Path, tmp_path: Path, url: str) -> None:
    out = tmp_path / "book"
    assert cli(*order(url, out, "--no-adapt")).code == 0
    first = json.loads((out / "journal.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["settings"]["adapt"] is False
    assert cli("write", "m", "--endpoint", url, "--out", out, "--resume").code == 0
    other = cli(*order(url, out, "--adapt"))
    assert other.code == 2
    assert "its settings (adapt) differs" in other.err


def test_quiet_says_the_result_only(cli: Cli, home: Path, tmp_path: Path, url: str) -> None:
    done = cli(*order(url, tmp_path / "book", "-q"))
    assert (done.code, done.err) == (0, "")
    assert "report.md" in done.out


def test_an_endpoint_that_is_not_there(cli: Cli, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    done = cli(*order("http://127.0.0.1:9/v1", tmp_path / "book"))
    assert done.code == 1
    assert "cannot be reached" in done.err

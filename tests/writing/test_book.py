"""Whole books by a small deterministic writer: structure, gates, resuming after any cut and after kills, adaptation."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autogpt.errors import ConfigError, DataError
from autogpt.testing import said, scripted_llm
from autogpt.writing.journal import JOURNAL, read_journal
from autogpt.writing.manuscript import Manuscript
from autogpt.writing.repeats import rep_n
from autogpt.writing.units import ends_sentence, length, units

FAULTS = ("\ufffd乱码。", "没有完", "好了好了好了好了好了好了。", "（未完。", "第三回 如此。", "hello there. ")
Write = Callable[..., list[Any]]


def report_of(events: list[Any]) -> dict[str, Any]:
    assert events[-1].kind == "writing.done"
    found: dict[str, Any] = events[-1].data["report"]
    return found


def text_of(folder: Path) -> str:
    return (folder / "book.txt").read_text(encoding="utf-8")


def test_a_book_has_what_was_ordered(write: Write, make_writer: Any, tmp_path: Path) -> None:
    events = write(make_writer(), chapters=3, words=1500)
    report = report_of(events)
    assert abs(report["words"]["written"] - 1500) < 60
    assert [abs(c["words"] - c["ordered"]) < 40 for c in report["chapters"]] == [True] * 3
    assert report["promises"]["kept"] == report["promises"]["made"] > 0
    text = text_of(tmp_path / "book")
    body = [line for line in text.splitlines() if line.startswith("　　")]
    assert sum(map(length, body)) == report["words"]["written"]
    assert all(chapter["ends_whole"] for chapter in report["chapters"])
    assert [f"第{n}回" in text for n in "一二三"] == [True] * 3
    for name in ("book.md", "book.epub", "book.docx", "report.md", "report.json", "ledger.json", JOURNAL):
        assert (tmp_path / "book" / name).stat().st_size > 0
    assert not (tmp_path / "book" / "book.fountain").exists()


@pytest.mark.parametrize("seed", [0, 1])
def test_faults_are_refused_and_counted(write: Write, make_writer: Any, tmp_path: Path, seed: int) -> None:
    events = write(make_writer(FAULTS, 0.4), "book", f"seed={seed}")
    report = report_of(events)
    assert {"garbage", "loop", "stray bracket", "wrong script"} <= set(report["rewrites"])
    refused = [event for event in events if event.kind == "writing.refused"]
    assert len(refused) == sum(report["rewrites"].values())
    text = text_of(tmp_path / "book")
    assert not any(fault.strip("。 ") in text for fault in FAULTS if fault != "没有完")
    for part in text.split("\n\n"):
        assert part.count("“") == part.count("”")
    assert rep_n(units(text), 8) < 0.01


def test_a_writer_that_says_one_thing_only_comes_to_an_end(write: Write, make_writer: Any) -> None:
    report = report_of(write(make_writer(("林黛玉在园中坐下看书写字。",), 1.0), chapters=1, words=200))
    assert report["words"]["written"] < 40
    assert report["short_scenes"][0]["because"] == "said before"
    assert report["promises"]["kept"] < report["promises"]["made"]


def test_a_promised_name_makes_a_scene_be_written_anew(write: Write, make_writer: Any) -> None:
    events = write(make_writer(names=("王熙凤", "林黛玉")), "book", "scene_rewrites=2", chapters=1, words=300)
    report = report_of(events)
    assert report["rewrites"]["promised name missing"] >= 2
    assert report["promises"] == {"made": 2, "kept": 1}


def test_every_cut_of_the_journal_leads_to_the_same_book(write: Write, make_writer: Any, tmp_path: Path) -> None:
    """Cut after each line, and in the middle of each line: as after a kill at that moment."""
    settings = ("formats=txt",)
    write(make_writer(FAULTS, 0.3), "whole", *settings, chapters=1, words=200)
    whole = (tmp_path / "whole" / JOURNAL).read_bytes()
    expected = text_of(tmp_path / "whole")
    lines = whole.splitlines(keepends=True)
    for count in range(1, len(lines)):
        folder = tmp_path / f"cut-{count}"
        folder.mkdir()
        half = lines[count][: len(lines[count]) // 2]
        (folder / JOURNAL).write_bytes(b"".join(lines[:count]) + half)
        for state in (tmp_path / "whole").glob("state-*"):
            (folder / state.name).write_bytes(state.read_bytes())
        report = report_of(write(make_writer(FAULTS, 0.3), folder.name, *settings, chapters=1, words=200))
        assert text_of(folder) == expected
        first = json.loads((tmp_path / "whole" / "report.json").read_text(encoding="utf-8"))
        assert report["rewrites"] == first["rewrites"]


KILLED = """
import runpy, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from autogpt.writing.book import write_book
from autogpt.writing.order import Order, read_settings
writer = runpy.run_path(sys.argv[1])["ChainWriter"](("没有完", "hello."), 0.3)
order = Order("林黛玉与贾宝玉、薛宝钗住在园中。", "novel", 2, 3000)
for event in write_book(order, writer, Path(sys.argv[2]), read_settings(["formats=txt"])):
    print(event.kind, flush=True)
"""


def test_killed_at_random_moments_it_ends_with_the_same_text(write: Write, make_writer: Any, tmp_path: Path) -> None:
    import autogpt

    source = str(Path(autogpt.__file__).parent.parent)
    write(make_writer(("没有完", "hello."), 0.3), "whole", "formats=txt", chapters=2, words=3000)
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).with_name("conftest.py")), str(folder), source]
    draw, kills = random.Random(5), 0
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(draw.randint(5, 80)):
                if not process.stdout.readline():
                    break
            else:
                time.sleep(draw.random() * 0.01)
                process.send_signal(signal.SIGKILL)
            process.stdout.read()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 2
    assert text_of(folder) == text_of(tmp_path / "whole")


def test_a_finished_book_is_not_written_again(write: Write, make_writer: Any, tmp_path: Path) -> None:
    write(make_writer(), chapters=1, words=200)
    writer = make_writer()
    events = write(writer, chapters=1, words=200)
    assert writer.prompts == []
    assert [event.kind for event in events if event.kind == "writing.sentence"] == []
    assert events[-1].kind == "writing.done"


def test_another_order_or_writer_is_refused(write: Write, make_writer: Any) -> None:
    write(make_writer(), chapters=1, words=200)
    with pytest.raises(ConfigError, match=r"order \(words\) differs"):
        write(make_writer(), chapters=1, words=300)
    other = make_writer()
    other.identity = "other"
    with pytest.raises(ConfigError, match="its writer differs"):
        write(other, chapters=1, words=200)
    with pytest.raises(ConfigError, match=r"its settings \(seed\) differs"):
        write(make_writer(), "book", "seed=1", chapters=1, words=200)


def test_a_lost_state_is_an_error(write: Write, make_writer: Any, tmp_path: Path) -> None:
    write(make_writer(), chapters=2, words=400)
    for path in (tmp_path / "book").glob("state-*"):
        path.write_bytes(b"other")
    with pytest.raises(DataError, match=r"state .* is missing or damaged"):
        write(make_writer(), chapters=2, words=400)


def test_scenes_know_earlier_passages_and_the_heading(write: Write, make_writer: Any) -> None:
    writer = make_writer()
    write(writer, "book", "scene_words=150", chapters=2, words=900)
    assert any("林黛玉与贾宝玉、薛宝钗住在园中" in prompt and "第二回" in prompt for prompt in writer.prompts)


@pytest.mark.parametrize("form", ["article", "ad"])
def test_forms_without_a_cast(write: Write, make_writer: Any, form: str) -> None:
    report = report_of(write(make_writer(), form=form, chapters=1, words=150))
    assert abs(report["words"]["written"] - 150) < 40


# ---- through an endpoint ---------------------------------------------------------------------------------------------


def sea_story(path: str, body: dict[str, Any]) -> tuple[int, str]:
    """An endpoint whose model plans, writes speeches and takes notes, each from the words of the question."""
    question = body["messages"][0]["content"]
    draw = random.Random(question + str(body.get("seed")))
    if "Outline this work" in question:
        scene = {"names": ["Ann", "Ben"], "place": "a ship", "goal": "They quarrel."}
        chapters = [{"title": f"Storm {n}", "summary": "A storm.", "scenes": [scene]} for n in range(12)]
        return said(json.dumps({"title": "The Sea", "characters": ["Ann", "Ben"], "chapters": chapters}))
    if "Extract persons" in question:
        return said("not JSON at all")
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 8))) for _ in range(120)]
    lines = [" ".join(words[i : i + 12]).capitalize() + "." for i in range(0, 120, 12)]
    return said("\n\n".join(f"{('Ann', 'Ben')[i % 2]}: {line}" for i, line in enumerate(lines)) + "\n\nAnn: cut off he")


def test_a_script_through_an_endpoint(write: Write, tmp_path: Path) -> None:
    from autogpt.endpoint import Endpoint
    from autogpt.writing.writers import EndpointWriter

    pytest.importorskip("openai")
    with scripted_llm(sea_story) as server:
        writer = EndpointWriter(Endpoint(server.url, "m"))
        order = {"premise": "Ann and Ben quarrel at sea.", "form": "script", "chapters": 2, "words": 400}
        events = write(writer, **order)
        report = report_of(events)
        assert report["plan"]["source"] == "asked"
        assert report["promises"] == {"made": 4, "kept": 4}
        assert abs(report["words"]["written"] - 400) < 60
        assert any(
            "notes on a scene could not be used" in e.data["message"] for e in events if e.kind == "writing.note"
        )
        text = (tmp_path / "book" / "book.fountain").read_text(encoding="utf-8")
        assert "\nANN\n" in text
        assert "cut off" not in text
        asked = len(server.seen)
        lines = (tmp_path / "book" / JOURNAL).read_bytes().splitlines(keepends=True)
        kinds = [record["kind"] for record in read_journal(tmp_path / "book" / JOURNAL)[0]]
        after = kinds.index("answer") + 3
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / JOURNAL).write_bytes(b"".join(lines[:after]))
        write(writer, "again", **order)
        assert (tmp_path / "again" / "book.fountain").read_text(encoding="utf-8") == text
        assert len(server.seen) - asked < asked, "the plan and the first answer are in the journal"


def test_a_plan_that_cannot_be_used_is_made_by_the_program(write: Write) -> None:
    from autogpt.endpoint import Endpoint
    from autogpt.writing.writers import EndpointWriter

    pytest.importorskip("openai")

    def no_plan(path: str, body: dict[str, Any]) -> tuple[int, str]:
        question = body["messages"][0]["content"]
        return said("I cannot.") if "Outline" in question else sea_story(path, body)

    with scripted_llm(no_plan) as server:
        writer = EndpointWriter(Endpoint(server.url, "m"))
        report = report_of(write(writer, premise="Ann and Ben quarrel.", form="script", chapters=1, words=100))
    assert report["plan"]["source"] == "own"
    assert "could not be used" in report["plan"]["said"]


def test_the_manuscript_of_the_journal_is_the_book(write: Write, make_writer: Any, tmp_path: Path) -> None:
    report = report_of(write(make_writer()))
    book = Manuscript.rebuilt(read_journal(tmp_path / "book" / JOURNAL)[0][1:])
    assert book.finished
    assert book.written == length(book.text()) == report["words"]["written"]
    assert book.repeats.share == pytest.approx(rep_n(units(book.text()), 8))
    assert all(ends_sentence(book.scene_text(scene)) for chapter in book.chapters for scene in chapter.scenes)

"""The benchmark of coherence in small: measures against hand examples and naive versions; texts are written once."""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path

import pytest
import torch
from bench_coherence import ARMS, LABELS, interval, kept, main, summary, table, write
from coherence_measures import Names, chosen, cosines_of, names_of, quarters, repeats_of, segments

from autogpt.data.tokenizers import train_tokenizer
from autogpt.model import RECIPE_FILE, TASK_FILE
from autogpt.models.gpt import GPT
from autogpt.models.hub import save_model
from autogpt.models.sizing import shape_for
from autogpt.tasks.spec import TaskKind, TaskSpec

NOVEL = "".join(f"宝玉笑道：“好{i}。”贾琏又说道：“是。”黛玉因问道：“谁{i}？”林黛玉说，贾琏便来。\n" for i in range(12))
PLAY = "".join(f"ROMEO:\nGood night to the duke {i}.\n\nDUKE:\nIs Rome near, Romeo? In Rome?\n\n" for i in range(24))


def test_names_are_those_that_speak_in_the_training_text() -> None:
    names = Names(NOVEL)
    assert names.of("只见贾琏与林黛玉走来，宝玉不在。") == {"贾琏", "黛玉", "宝玉"}
    assert names.of("好是谁说") == set()
    english = Names(PLAY)
    assert english.of("ROMEO:\nThe road leads Romeo to Rome.") == {"romeo", "rome"}
    assert english.of("The duke and romeo; Duke's men. Good night") == {"duke"}


def test_shares_of_names_by_hand() -> None:
    names = Names(NOVEL)
    rows = [
        {"lead": "宝玉来了", "text": "贾琏一二" + "三四五六" + "宝玉七八" + "黛玉九十"},
        {"lead": "黛玉来了", "text": "一二三四" + "贾琏五六" + "三四五六" + "贾琏七八"},
        {"lead": "无人来了", "text": "一二三四" * 4},
    ]
    first, second, third = names_of(rows, names)
    # Introduced are 宝玉 and 贾琏, of which one comes back here, one in the second text and none in the third.
    assert (first["names_back"], first["names_by_chance"], first["new_names"]) == (0.5, 0.25, 250.0)
    assert (second["names_back"], second["names_by_chance"], second["new_names"]) == (0.0, 0.5, 0.0)
    assert math.isnan(third["names_back"])
    assert math.isnan(third["names_by_chance"])


def test_quarters_and_segments_are_cut_as_said() -> None:
    text = "".join(chr(0x4E00 + i) for i in range(1203))
    assert "".join(quarters(text)) == text
    assert {len(part) for part in quarters(text)} <= {300, 301}
    assert segments(text) == [text[:500], text[500:1000]]
    assert chosen("abcdefghij", 5) == [0, 2, 4, 6, 8]
    assert chosen("abc", 5) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(4))
def test_repeats_equal_naive_ones(seed: int) -> None:
    draws = random.Random(seed)
    text = "".join(draws.choice("天地人，") for _ in range(90))
    found = repeats_of(text)
    letters = [char for char in text if char != "，"]
    grams = [letters[i : i + 4] for i in range(len(letters) - 3)]
    assert found["rep4"] == pytest.approx(sum(gram in grams[:i] for i, gram in enumerate(grams)) / len(grams))
    pairs = {(letters[i], letters[i + 1]) for i in range(len(letters) - 1)}
    assert found["distinct2"] == pytest.approx(len(pairs) / (len(letters) - 1))
    pieces = [(a, b) for a in range(len(text)) for b in range(a + 1, len(text) + 1)]
    assert found["longest"] == max(b - a for a, b in pieces if text.find(text[a:b], a + 1) >= 0)


def test_what_is_said_again_is_more_alike_than_what_is_not() -> None:
    draws = random.Random(1)
    train = ["".join(chr(0x4E00 + draws.randrange(300)) for _ in range(500)) for _ in range(9)]
    same = {"lead": train[0][:100], "text": train[0] * 3}
    other = {"lead": train[1][:100], "text": "".join(train[2:5])}
    one, two = cosines_of([same, other], train)
    assert one["adjacent"] == pytest.approx(1.0, abs=1e-5)
    assert one["first"] == pytest.approx(one["last"], abs=1e-6)
    assert max(two["adjacent"], two["first"], one["adjacent_by_chance"]) < 0.2 < one["first"]


def test_intervals_are_over_beginnings_and_paired() -> None:
    values = {"off": (1.0, 2.0, 9.0), "on": (2.0, 3.0, 10.0)}
    found = {
        (arm, seed, i): dict.fromkeys(LABELS, value + seed - 1.5)
        for arm, row in values.items()
        for seed in (1, 2)
        for i, value in enumerate(row)
    }
    one = summary(found)["rep4"]
    assert one["difference"] == [1.0, 1.0, 1.0]
    assert one["held-out"] is None
    assert one["off"] is not None
    assert one["off"] == [4.0, 1.0, 9.0]
    assert interval([math.nan]) is None
    assert (
        "| rep-4, % | 400.0 (100.0 to 900.0) | 500.0 (200.0 to 1000.0) | **+100.0** (+100.0 to +100.0) |  |"
        in table({"measures": summary(found)})
    )


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    tokenizer = train_tokenizer([PLAY], 300)
    model = tmp_path / "tiny"
    save_model(GPT(shape_for(32, depth=2, vocab_size=len(tokenizer), context=64)), tokenizer, model)
    spec = {"kind": TaskKind.GENERATION, "output_field": "text", "layout": "table", "input_fields": []}
    TaskSpec(description="Continue.", metric="bits_per_byte", direction="min", **spec).save(model / TASK_FILE)
    recipe = {"name": "tiny", "context": 64, "max_new_tokens": 8, "repetition_penalty": 1.0}
    (model / RECIPE_FILE).write_text(json.dumps(recipe), encoding="utf-8")
    passages = [PLAY[at : at + 400] for at in range(0, 1200, 400)]
    texts = tmp_path / "texts.jsonl"
    options = argparse.Namespace(model=model, texts=texts, prompts=2, seeds=1, tokens=40, batch=1, threads=1)
    rows = write(options, passages)
    assert [(row["arm"], row["prompt"]) for row in rows] == [(arm, i) for i in (0, 1) for arm in ARMS]
    assert all(row["tokens"] == 40 and len(row["nats"]) == 4 for row in rows)
    assert rows[0]["text"] != rows[1]["text"]
    assert "\n".join(passages).startswith(rows[2]["lead"] + rows[2]["text"])
    whole = texts.read_bytes()
    texts.write_bytes(whole[: whole.rfind(b'{"arm"') + 30])
    assert len(kept(texts)) == 5
    again = write(options, passages)
    assert [row["text"] for row in again] == [row["text"] for row in rows]
    assert write(options, passages) == again == kept(texts)
    with pytest.raises(SystemExit, match="another length"):
        write(argparse.Namespace(**{**vars(options), "tokens": 9}), passages)
    held, out = tmp_path / "held.jsonl", tmp_path / "out.jsonl"
    held.write_text("".join(json.dumps({"text": one}) + "\n" for one in passages), encoding="utf-8")
    given = [str(model), str(held), "--train", str(held), "--texts", str(texts), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["bench", *given, "--prompts", "2", "--seeds", "1", "--tokens", "40"])
        main()
    assert json.loads(out.read_text(encoding="utf-8"))["texts"] == {"off": 2, "on": 2, "held-out": 2}
    assert "| nats a token | " in capsys.readouterr().out

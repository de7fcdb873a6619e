"""Encoding a corpus of shards, and batches of it: against the texts themselves, and a slow and obvious packing."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from autogpt.data import token_shards_encode
from autogpt.data.token_shards import ShardBatches, TokenShards, pack
from autogpt.data.token_shards_encode import EncodingPlan, encode_corpus, sample_texts
from autogpt.data.token_shards_read import DocumentReader, corpus_files
from autogpt.errors import ConfigError, DataError
from autogpt.events import Event

BOS, PAD = 0, 2
ENGLISH = [
    "the",
    "river",
    "runs",
    "past",
    "an",
    "old",
    "mill",
    "where",
    "people",
    "once",
    "made",
    "flour",
    "and",
    "paper",
]
CHINESE = ["河水", "流过", "旧磨坊", "人们", "曾经", "在那里", "磨面", "造纸", "春天", "花开", "了"]
PLAN = EncodingPlan(vocabulary=300, sample_characters=4000)


def document(number: int) -> dict[str, str]:
    rng = random.Random(number)
    if number % 2:
        return {"text": f"{number} " + " ".join(rng.choices(ENGLISH, k=rng.randint(1, 60))), "lang": "en"}
    return {"text": f"{number} " + "".join(rng.choices(CHINESE, k=rng.randint(1, 40))), "lang": "zh"}


def write_zst(path: Path, rows: Sequence[dict[str, str]], frames: int = 1) -> Path:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    size = -(-len(lines) // frames)
    packed = [
        zstandard.ZstdCompressor().compress("".join(lines[at : at + size]).encode())
        for at in range(0, len(lines), size)
    ]
    path.write_bytes(b"".join(packed))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for shard in range(3):
        rows = [document(number) for number in range(shard * 40, shard * 40 + 40)]
        write_zst(folder / f"part-{shard}.jsonl.zst", rows, frames=shard + 1)
    return folder


def run(files: Sequence[Path], folder: Path, plan: EncodingPlan = PLAN) -> tuple[TokenShards, list[Event]]:
    events: list[Event] = []
    work = encode_corpus(files, folder, plan)
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return end.value, events


# --- encoding --------------------------------------------------------------------------------------------------------


def test_documents_come_back_with_their_lengths(corpus: Path, tmp_path: Path) -> None:
    shards, _ = run(corpus_files([corpus]), tmp_path / "cache")
    rows = [document(number) for number in range(120)]
    assert len(shards) == 120
    for number, row in enumerate(rows):
        ids = shards.tokens(number, 0, int(shards.lengths[number])).tolist()
        assert (ids[0], ids[-1]) == (shards.tokenizer.bos_token_id, shards.tokenizer.eos_token_id)
        assert shards.tokenizer.decode(ids[1:-1]) == row["text"]
    for language in ("zh", "en"):
        texts = [row["text"] for row in rows if row["lang"] == language]
        counts = shards.counts()[language]
        assert counts["documents"] == 60
        assert counts["utf8_bytes"] == len("".join(texts).encode())
        assert counts["characters"] == len("".join(texts))
    assert sum(counts["tokens"] for counts in shards.counts().values()) == shards.lengths.sum()


def test_tokens_stay_on_the_disk_as_small_integers(corpus: Path, tmp_path: Path) -> None:
    shards, _ = run(corpus_files([corpus]), tmp_path / "cache")
    piece = shards.tokens(50, 0, 5)
    assert isinstance(piece, np.memmap)
    assert piece.dtype == np.uint16


def test_large_vocabularies_take_four_bytes(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {f"w{number}": number for number in range(70_000)}
    words |= {"<|bos|>": 70_000, "<|eos|>": 70_001, "<|pad|>": 70_002, "<unk>": 70_003, "mill": 70_004}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|pad|>"}
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    monkeypatch.setattr(token_shards_encode, "train_tokenizer", lambda *_, **__: made)
    shards, _ = run(corpus_files([corpus]), tmp_path / "cache")
    ids = np.concatenate([shards.tokens(number, 0, int(shards.lengths[number])) for number in range(120)])
    assert ids.dtype == np.uint32
    assert (ids == 70_004).sum() == sum(document(number)["text"].split().count("mill") for number in range(120))


def test_a_second_run_encodes_nothing(corpus: Path, tmp_path: Path) -> None:
    first, told = run(corpus_files([corpus]), tmp_path / "cache")
    again, silent = run(corpus_files([corpus]), tmp_path / "cache")
    assert {event.kind for event in told} >= {"data.tokenizer_trained", "data.shard_encoding"}
    assert silent == []
    assert again.fingerprint == first.fingerprint
    (corpus / "part-1.jsonl.zst").unlink()
    assert run(corpus_files([corpus]), tmp_path / "cache")[0].fingerprint != first.fingerprint


def test_an_interrupted_run_goes_on_at_the_shard(corpus: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    work = encode_corpus(corpus_files([corpus]), cache, PLAN)
    for event in work:
        if event.kind == "data.shard_encoding" and event.data["number"] == 2:
            break
    work.close()
    done = [path for path in cache.glob("tokens-*/*") if not path.name.startswith(".")]
    assert len(done) == 1
    assert list(cache.glob("tokens-*/.*")) == []
    _, events = run(corpus_files([corpus]), cache)
    assert {event.data["number"] for event in events if event.kind == "data.shard_encoding"} == {2, 3}
    assert not [event for event in events if event.kind.startswith("data.tokenizer")]


def break_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def break_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(bytes(data))


def break_line(path: Path) -> None:
    rows = zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=2**20).decode().splitlines()
    rows[6] = rows[6][:-9]
    path.write_bytes(zstandard.ZstdCompressor().compress("\n".join(rows).encode()))


def break_text(path: Path) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(b'{"text": "fine"}\n{"text": 7}\n'))


def break_unicode(path: Path) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(b'{"text": "\\ud800"}\n'))


@pytest.mark.parametrize("breaks", [break_end, break_middle, break_line, break_text, break_unicode])
def test_a_damaged_shard_is_named_and_may_be_left_out(corpus: Path, tmp_path: Path, breaks: Any) -> None:
    broken = corpus / "part-0.jsonl.zst"
    breaks(broken)
    files, cache = corpus_files([corpus]), tmp_path / "cache"
    with pytest.raises(DataError, match=r"corpus shard part-0\.jsonl\.zst is damaged") as caught:
        run(files, cache)
    assert "\n" not in str(caught.value)
    shards, events = run(files, cache, EncodingPlan(300, 4000, skip_damaged=True))
    left_out = [event.data["shard"] for event in events if event.kind == "data.shard_left_out"]
    assert set(left_out) == {"part-0.jsonl.zst"}
    assert shards.files == ("part-1.jsonl.zst", "part-2.jsonl.zst")
    assert len(shards) == 80
    with pytest.raises(DataError, match="no file of the corpus can be read"):
        run([broken], cache, EncodingPlan(300, 4000, skip_damaged=True))


def test_a_broken_line_is_counted_from_one(corpus: Path) -> None:
    break_line(corpus / "part-0.jsonl.zst")
    with pytest.raises(DataError, match="line 7 is no document"):
        list(DocumentReader(corpus / "part-0.jsonl.zst"))


def test_a_damaged_cache_is_said(corpus: Path, tmp_path: Path) -> None:
    run(corpus_files([corpus]), tmp_path / "cache")
    offsets = next((tmp_path / "cache").glob("tokens-*/*/offsets.npy"))
    np.save(offsets, np.load(offsets)[:-1])
    with pytest.raises(DataError, match=r"is damaged.*delete that folder"):
        run(corpus_files([corpus]), tmp_path / "cache")


def test_documents_without_text_are_counted_and_languages_guessed(tmp_path: Path) -> None:
    rows = [
        {"text": "  \n"},
        {"text": "河水流过旧磨坊。"},
        {"text": "The mill is at the river."},
        {"text": "Москва река"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n", encoding="utf-8")
    shards, _ = run([file], tmp_path / "cache")
    assert shards.without_text == 1
    assert {language: counts["documents"] for language, counts in shards.counts().items()} == dict.fromkeys(
        ("zh", "en", "other"), 1
    )


def test_a_long_text_file_is_cut_at_line_ends(tmp_path: Path) -> None:
    lines = [f"line {number} about the mill and the river" for number in range(8000)]
    file = tmp_path / "book.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    documents = list(DocumentReader(file))
    assert "\n".join(document.text for document in documents) == "\n".join(lines)
    assert 1 < len(documents) == -(-len("\n".join(lines)) // 100_000)
    assert {document.language for document in documents} == {"en"}


def test_which_files_are_a_corpus(corpus: Path, tmp_path: Path) -> None:
    (corpus / "valid.jsonl").write_text("{}", encoding="utf-8")
    (corpus / "README.md").write_text("about", encoding="utf-8")
    part = corpus / "part-1.jsonl.zst"
    found = corpus_files([part, corpus], [tmp_path / "corpus" / "." / "valid.jsonl"])
    assert [path.name for path in found] == ["part-1.jsonl.zst", "part-0.jsonl.zst", "part-2.jsonl.zst"]
    with pytest.raises(DataError, match="cannot be used"):
        corpus_files([corpus / "README.md"])
    with pytest.raises(DataError, match="no corpus"):
        corpus_files([tmp_path / "elsewhere"])
    with pytest.raises(DataError, match="no documents in"):
        corpus_files([part], [part])


def test_the_tokenizers_sample_is_even_over_languages_and_files(tmp_path: Path) -> None:
    """Nine tenths of the text is Chinese and a hundredth is in another language; windows of two lengths alternate."""
    files = []
    for shard in range(3):
        rows = [{"text": "河水山"[shard] * 2100, "lang": "zh"} for _ in range(90)]
        rows += [{"text": "rst"[shard] * 2100, "lang": "en"} for _ in range(10)]
        rows += [{"text": "?" * 2000, "lang": "fr"}]
        random.Random(shard).shuffle(rows)
        files.append(write_zst(tmp_path / f"{shard}.jsonl.zst", rows))
    work = sample_texts(files, 30_000)
    while True:
        try:
            next(work)
        except StopIteration as end:
            pieces, damaged = end.value
            break
    taken = Counter("".join(pieces))
    assert damaged == {}
    assert taken["?"] == 0
    for letter in "河水山rst":
        assert abs(taken[letter] - 5000) <= 2000


# --- packing ---------------------------------------------------------------------------------------------------------


def naive_packing(lengths: list[int], width: int) -> list[list[int]]:
    """Rows as lists of piece lengths: look through everything, each time."""
    left, rows = sorted(lengths), []
    while left:
        row, gap = [], width
        while gap > 1 and left:
            fitting = [length for length in left if length <= gap]
            piece = max(fitting) if fitting else min(left)
            left.remove(piece)
            if piece > gap:
                left.append(piece - gap + 1)
            row.append(min(piece, gap))
            gap -= row[-1]
        rows.append(row)
    return rows


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 12).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(2, w), max_size=40))))
def test_packing_is_the_obvious_one(case: tuple[int, list[int]]) -> None:
    width, lengths = case
    lengths.sort()
    packing = pack(lengths, width)
    rows = [
        (packing.take[first:end] + 1).tolist()
        for first, end in zip(packing.starts[:-1].tolist(), packing.starts[1:].tolist(), strict=True)
    ]
    assert rows == naive_packing(lengths, width)
    assert packing.rows == len(rows)
    for rank, length in enumerate(lengths):  # the pieces of a rest tile it
        mine = sorted((s, t) for r, s, t in zip(packing.rank, packing.skip, packing.take, strict=True) if r == rank)
        assert [skip for skip, _ in mine] == np.cumsum([0, *(take for _, take in mine)]).tolist()[:-1]
        assert sum(take for _, take in mine) == length - 1


def made_shards(tmp_path: Path, lengths: Sequence[Sequence[int]]) -> TokenShards:
    """Shards whose every token but the start token is another number, so that a piece tells where it comes from."""
    folders, number = [], 10
    for index, documents in enumerate(lengths):
        folder = tmp_path / f"made-{index}"
        folder.mkdir(parents=True)
        tokens = []
        for length in documents:
            tokens.append([BOS, *range(number, number + length - 1)])
            number += length - 1
        np.save(folder / "tokens.npy", np.concatenate(tokens).astype(np.uint32))
        np.save(folder / "offsets.npy", np.cumsum([0, *documents]))
        for name in ("utf8_bytes", "characters", "languages"):
            np.save(folder / f"{name}.npy", np.zeros(len(documents), dtype=np.int64))
        (folder / "shard.json").write_text(json.dumps({"file": folder.name, "without_text": 0}), encoding="utf-8")
        folders.append(folder)
    return TokenShards(folders, SimpleNamespace(bos_token_id=BOS, pad_token_id=PAD))


LENGTHS = [[3, 40, 17, 16, 2, 9, 100, 33], [12, 5, 47, 2, 31, 18, 8, 64, 3, 3]]


@pytest.fixture
def made(tmp_path: Path) -> TokenShards:
    return made_shards(tmp_path, LENGTHS)


def batches(shards: TokenShards, seed: int = 5, tokens_per_step: int = 48) -> ShardBatches:
    return ShardBatches(shards, context=16, tokens_per_step=tokens_per_step, seed=seed)


def epoch(made: ShardBatches, number: int) -> Iterator[Any]:
    for place in range(made.steps_per_epoch):
        yield made.batch(number * made.steps_per_epoch + place)


def pieces_of(rows: torch.Tensor) -> list[list[int]]:
    """What stands between the start tokens, padding left out."""
    found: list[list[int]] = []
    for row in rows.tolist():
        for token in row:
            if token == BOS:
                found.append([])
            elif token != PAD:
                found[-1].append(token)
    return [piece for piece in found if piece]


@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_an_epoch_holds_every_token_once(made: TokenShards, number: int) -> None:
    seen = [piece for batch in epoch(batches(made), number) for piece in pieces_of(batch.ids_BT)]
    tokens = sorted(token for piece in seen for token in piece)
    content = sum(sum(documents) - len(documents) for documents in LENGTHS)
    assert tokens == list(range(10, 10 + content))
    ends = set((np.cumsum([length - 1 for documents in LENGTHS for length in documents]) + 9).tolist())
    for piece in seen:  # a run of one document
        assert piece == list(range(piece[0], piece[-1] + 1))
        assert not ends & set(piece[:-1])


def test_documents_that_fit_a_row_stay_whole_and_long_ones_fill_rows(made: TokenShards) -> None:
    seen = {piece[0]: len(piece) for batch in epoch(batches(made), 0) for piece in pieces_of(batch.ids_BT)}
    first, cut = 10, 0
    for length in (length for documents in LENGTHS for length in documents):
        sizes = [size for start, size in seen.items() if first <= start < first + length - 1]
        assert sizes.count(15) >= (length - 1) // 15
        cut += len(sizes) - -(-(length - 1) // 15)
        first += length - 1
    assert cut <= 2  # only where nothing fitted a gap


def test_rows_start_with_the_start_token_and_only_the_last_may_be_padded(made: TokenShards) -> None:
    for number in range(3):
        all_batches = list(epoch(batches(made), number))
        rows = torch.cat([batch.ids_BT for batch in all_batches])
        assert (rows[:, 0] == BOS).all()
        assert not (rows[:-1] == PAD).any()
        weights = torch.cat([batch.weights_BT for batch in all_batches])
        labels = torch.cat([batch.labels_BT for batch in all_batches])
        mask = torch.cat([batch.attention_mask_BT for batch in all_batches])
        assert torch.equal(weights, ((rows != BOS) & (rows != PAD)).float())
        assert torch.equal(labels, torch.where(weights > 0, rows, -100))
        assert torch.equal(mask, (rows != PAD).long())
        assert sum(batch.tokens for batch in all_batches) == int((rows != PAD).sum())
        assert sum(batch.answer_tokens for batch in all_batches) == int(weights.sum())
        assert {batch.ids_BT.shape for batch in all_batches[:-1]} == {(3, 16)}


def test_few_slots_are_lost(tmp_path: Path) -> None:
    """Against the least number of rows that could hold so many tokens and start tokens."""
    rng = random.Random(0)
    shards = made_shards(tmp_path, [[rng.randint(3, 200) for _ in range(400)]])
    made = ShardBatches(shards, context=64, tokens_per_step=64, seed=0)
    starts = sum(-(-(length - 1) // 63) for length in shards.lengths.tolist())
    least = -(-(int(shards.lengths.sum()) - 400 + starts) // 64)
    assert made.rows_per_epoch <= 1.01 * least


def test_a_batch_depends_on_seed_and_step_alone(made: TokenShards) -> None:
    steps = list(range(3 * batches(made).steps_per_epoch))
    in_order = {step: batch.ids_BT for step, batch in zip(steps, map(batches(made).batch, steps), strict=True)}
    random.Random(1).shuffle(steps)
    again = batches(made)
    assert all(torch.equal(again.batch(step).ids_BT, in_order[step]) for step in steps)
    assert not all(torch.equal(batches(made, seed=6).batch(step).ids_BT, in_order[step]) for step in steps)


def test_epochs_differ_in_order_neighbours_and_cuts(made: TokenShards) -> None:
    rows = [
        {tuple(row) for batch in epoch(batches(made), number) for row in batch.ids_BT.tolist()} for number in (0, 1)
    ]
    assert rows[0] != rows[1]
    cuts = [
        {piece[0] for number in epochs for batch in epoch(batches(made), number) for piece in pieces_of(batch.ids_BT)}
        for epochs in ((0,), range(4))
    ]
    assert cuts[0] < cuts[1]


def test_smaller_steps_hold_the_same_rows(made: TokenShards) -> None:
    large, small = batches(made, tokens_per_step=96), batches(made, tokens_per_step=1)
    assert (
        small.steps_per_epoch
        == small.rows_per_epoch
        == large.rows_per_epoch
        == len(torch.cat([b.ids_BT for b in epoch(large, 0)]))
    )
    assert torch.equal(torch.cat([b.ids_BT for b in epoch(large, 1)]), torch.cat([b.ids_BT for b in epoch(small, 1)]))


def test_what_cannot_be_packed(made: TokenShards, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="context is too short"):
        ShardBatches(made, context=1, tokens_per_step=8, seed=0)
    with pytest.raises(ValueError, match="step is -1"):
        batches(made).batch(-1)
    file = tmp_path / "empty.jsonl"
    file.write_text(json.dumps({"text": " "}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="no document with text"):
        batches(run([file], tmp_path / "cache")[0])


def test_a_document_of_rows_only_has_no_rest(tmp_path: Path) -> None:
    made = batches(made_shards(tmp_path, [[31, 46]]), tokens_per_step=16)
    assert made.rows_per_epoch == 5
    assert sorted(piece[0] for batch in epoch(made, 0) for piece in pieces_of(batch.ids_BT)) == [10, 25, 40, 55, 70]

"""A corpus of many documents → a tokenizer and token shards on disk: once, shard by shard, going on where it stopped.

    shards = yield from encode_corpus(files, folder, EncodingPlan(vocabulary=16384))      # yields events

Nothing is held in memory but a block of a few hundred documents and the tokenizer's sample. What is written:

    folder/tokenizer-KEY/           the tokenizer; KEY tells the files and the plan apart
    folder/tokens-TOKENIZER/SHARD/  one encoded file (see `token_shards`); SHARD is the digest of its content

Each folder is written beside its place and renamed, so that it is whole or not there.

What this file does not do: cleaning and deduplication.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from autogpt.data.token_shards import LANGUAGES, TokenShards
from autogpt.data.token_shards_read import Document, DocumentReader
from autogpt.data.tokenizers import encode_texts, train_tokenizer
from autogpt.errors import DataError, StoreError
from autogpt.events import Event
from autogpt.store.artifacts import sync

__all__ = ["EncodingPlan", "encode_corpus", "sample_texts"]

_BLOCK_CHARACTERS = 1_000_000
"""Text that is encoded at a time."""
_WINDOW = 2_000
"""Characters of one piece of the tokenizer's sample."""
_LEAST_SHARE = 0.05
"""Languages with a smaller share of the characters are not drawn for the tokenizer's sample."""
_FORMAT = 1
"""Changes when the files below are laid out or made in another way."""


@dataclass(frozen=True, slots=True)
class EncodingPlan:
    """How a corpus is encoded.

    Attributes:
        vocabulary: entries of the tokenizer, control tokens included.
        sample_characters: text that the tokenizer learns from, in equal parts from each language that matters.
        skip_damaged: leave out a file that cannot be read to its end, with an event, instead of raising.
    """

    vocabulary: int
    sample_characters: int = 16_000_000
    skip_damaged: bool = False


def sample_texts(
    files: Sequence[Path], characters: int, *, skip_damaged: bool = False
) -> Generator[Event, None, tuple[list[str], dict[str, str]]]:
    """What a tokenizer learns from: pieces spread evenly over all files, as much of each language.

    Every file is read twice, once to count. Returns (pieces of text, damaged file → reason).
    """
    damaged: dict[str, str] = {}
    length: Counter[str] = Counter()
    for path in files:
        counted: Counter[str] = Counter()
        try:
            for document in DocumentReader(path):
                counted[document.language] += len(document.text)
        except DataError as error:
            if not skip_damaged:
                raise
            damaged[path.name] = str(error)
            yield Event("data.shard_left_out", {"shard": path.name, "reason": str(error)})
            continue
        length.update(counted)
        yield Event("data.shard_read", {"shard": path.name, "characters": dict(length)})
    drawn = [language for language in LANGUAGES if length[language] >= _LEAST_SHARE * length.total() > 0]
    shares = {language: min(1.0, characters / len(drawn) / length[language]) for language in drawn}
    passed: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    pieces: list[str] = []
    for document in chain.from_iterable(DocumentReader(path) for path in files if path.name not in damaged):
        language = document.language
        for start in range(0, len(document.text) if language in shares else 0, _WINDOW):
            piece = document.text[start : start + _WINDOW]
            passed[language] += len(piece)
            if taken[language] < shares[language] * passed[language]:
                taken[language] += len(piece)
                pieces.append(piece)
    return pieces, damaged


def encode_corpus(files: Sequence[Path], folder: Path, plan: EncodingPlan) -> Generator[Event, None, TokenShards]:
    """Train the tokenizer and encode each file, where that is not done yet; yields events, returns the open shards.

    Every document becomes the start token, its text and the end token. Documents without a visible character are left
    out and counted.

    Args:
        files: as `corpus_files` lists them; their contents, in this order, identify the corpus.
        folder: where everything is kept.

    Raises:
        DataError: a file is damaged (unless `plan.skip_damaged`), or no file is left.
    """
    digests = {path: _digest(path) for path in files}
    key = _key(_FORMAT, plan.vocabulary, plan.sample_characters, *digests.values())
    place = folder / f"tokenizer-{key}"
    if not place.is_dir():
        yield from _train(files, place, plan)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(place)
    tokens = folder / f"tokens-{_digest(place / 'tokenizer.json')[:16]}"
    opened: list[Path] = []
    for number, path in enumerate(files, start=1):
        target = tokens / digests[path][:16]
        try:
            if not target.is_dir():
                for done in _encode_file(DocumentReader(path), tokenizer, target):
                    progress = {"shard": path.name, "number": number, "shards": len(files), "share": done}
                    yield Event("data.shard_encoding", progress)
        except DataError as error:
            if not plan.skip_damaged:
                raise
            yield Event("data.shard_left_out", {"shard": path.name, "reason": str(error)})
            continue
        opened.append(target)
    if not opened:
        raise DataError("no file of the corpus can be read", found=f"{len(files)} damaged files", todo="restore them")
    return TokenShards(opened, tokenizer)


def _train(files: Sequence[Path], place: Path, plan: EncodingPlan) -> Iterator[Event]:
    began = time.perf_counter()
    pieces, damaged = yield from sample_texts(files, plan.sample_characters, skip_damaged=plan.skip_damaged)
    if len(damaged) == len(files):
        raise DataError("no file of the corpus can be read", found=f"{len(files)} damaged files", todo="restore them")
    characters = sum(map(len, pieces))
    yield Event("data.tokenizer_training", {"characters": characters, "vocabulary": plan.vocabulary})
    tokenizer = train_tokenizer(pieces, plan.vocabulary, most_characters=characters)
    with _renamed(place) as temporary:
        tokenizer.save_pretrained(temporary)
    seconds = round(time.perf_counter() - began, 1)
    yield Event("data.tokenizer_trained", {"vocabulary": len(tokenizer), "characters": characters, "seconds": seconds})


def _encode_file(reader: DocumentReader, tokenizer: Any, target: Path) -> Iterator[float]:
    """Write one encoded file; yields how much of it has been read, 0 to 1."""
    size = max(1, reader.path.stat().st_size)
    columns: dict[str, list[int]] = {name: [] for name in ("lengths", "utf8_bytes", "characters", "languages")}
    dropped = 0
    with _renamed(target) as temporary:
        with _GrowingArray(temporary / "tokens.npy", np.uint16 if len(tokenizer) <= 2**16 else np.uint32) as tokens:
            for block in _blocks(reader):
                usable = [document for document in block if document.text.strip()]
                dropped += len(block) - len(usable)
                rows = encode_texts(tokenizer, [document.text for document in usable])
                lengths = [len(row) + 2 for row in rows]
                framed = ((tokenizer.bos_token_id, *row, tokenizer.eos_token_id) for row in rows)
                tokens.append(np.fromiter(chain.from_iterable(framed), dtype=tokens.dtype, count=sum(lengths)))
                columns["lengths"] += lengths
                columns["utf8_bytes"] += [document.utf8_bytes for document in usable]
                columns["characters"] += [len(document.text) for document in usable]
                columns["languages"] += [LANGUAGES.index(document.language) for document in usable]
                yield min(1.0, reader.read_bytes / size)
        np.save(temporary / "offsets.npy", np.cumsum([0, *columns["lengths"]], dtype=np.int64))
        np.save(temporary / "utf8_bytes.npy", np.array(columns["utf8_bytes"], dtype=np.int64))
        np.save(temporary / "characters.npy", np.array(columns["characters"], dtype=np.int64))
        np.save(temporary / "languages.npy", np.array(columns["languages"], dtype=np.uint8))
        about = {"file": reader.path.name, "documents": len(columns["lengths"]), "without_text": dropped}
        (temporary / "shard.json").write_text(json.dumps(about), encoding="utf-8")


class _GrowingArray:
    """A one-dimensional `.npy` file that is written piece by piece; its header is right once it is closed.

    NumPy leaves room in the header for the longest first axis, so that its size does not change with the length.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self.dtype, self.length = np.dtype(dtype), 0
        self._file = path.open("w+b")
        self._header()

    def _header(self) -> None:
        about = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, about)

    def append(self, values: npt.NDArray[Any]) -> None:
        self._file.write(values.tobytes())
        self.length += len(values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.seek(0)
        self._header()
        self._file.close()


def _blocks(reader: Iterable[Document]) -> Iterator[list[Document]]:
    block: list[Document] = []
    characters = 0
    for document in reader:
        block.append(document)
        characters += len(document.text)
        if characters >= _BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


@contextlib.contextmanager
def _renamed(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `folder` when all went well; else nothing is left of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.writing")
    temporary.mkdir()
    try:
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        if not folder.exists():  # another process may have been quicker with the same content
            temporary.rename(folder)
            sync(folder.parent)
    except OSError as error:
        raise StoreError(
            f"the corpus cache {str(folder.parent)!r} cannot be written",
            found=error.strerror or str(error),
            todo="free some space on that disk, or point AUTOGPT_HOME at a larger one",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

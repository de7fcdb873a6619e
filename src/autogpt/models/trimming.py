"""A base's vocabulary cut down to what the data needs: fewer rows to embed, to train and to choose the next token from.

A base is trained for everything; a task uses a few thousand of its tokens. Cut away are entries that the data does not
use and that are rare; what is left gives the same logits as before, and every text can still be written: the alphabet
of bytes stays, and byte pairs are joined as far as the kept entries go. Works for byte-level BPE (Radford et al. 2019)
held by the `tokenizers` library, which nearly all open bases use.

What this file does not do: SentencePiece and WordPiece vocabularies, adding tokens, merging the removed embeddings into
those that replace them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, pre_tokenizers
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from autogpt.errors import ModelError

__all__ = ["Vocabulary", "trim_model", "trim_vocabulary"]

FLOOR = 8192
"""Entries that stay at least: new texts use words that the data does not have, and common ones should stay whole."""

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Part of a larger vocabulary.

    Attributes:
        tokenizer: writes and reads with the kept entries alone; control tokens and chat template are the full one's.
        kept_N: for each new id the one in the full vocabulary, ascending.
        full_size: entries of the full vocabulary.
    """

    tokenizer: PreTrainedTokenizerFast
    kept_N: npt.NDArray[np.int64]
    full_size: int


def trim_vocabulary(tokenizer: Any, used: Iterable[int], *, floor: int = FLOOR) -> Vocabulary:
    """The entries `used`, all control and other added tokens, every byte and every single character, and of the others
    the most frequent ones (the first that were joined when the vocabulary was learnt) up to `floor` entries.

    A text that became `used` entries alone still does: whatever is joined on the way to one is kept too. Any other text
    is cut into the same tokens if all that is joined on the way was kept, else into more of them.

    Args:
        tokenizer: of the base; it is not changed.
        used: ids of the entries that the data uses, in any order, repeated or not.
        floor: entries that stay at least, as far as there are so many.

    Raises:
        ModelError: the tokenizer is no byte-level BPE of the `tokenizers` library.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelError(
            "this vocabulary cannot be trimmed", found=type(tokenizer).__name__, expected="a fast tokenizer"
        )
    state = json.loads(backend.to_str())
    _check_byte_level(state)
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in state["model"]["merges"]]
    ids: dict[str, int] = state["model"]["vocab"]
    names = {token: name for name, token in ids.items()}
    parents = _parents(merges)
    kept = _closed({names[token] for token in set(used) if token in names} | set(_always(ids)), parents)
    added = {entry["content"]: entry["id"] for entry in state["added_tokens"]}
    # A vocabulary's ids are in the order in which its entries were learnt: the most frequent first.
    size = len(kept | added.keys())
    for name in sorted(parents.keys() - kept, key=lambda name: ids[name]):
        if size >= floor:
            break
        fresh = _closed({name}, parents) - kept - added.keys()
        kept |= fresh
        size += len(fresh)
    chosen = {**{name: ids[name] for name in kept if name in ids}, **added}
    kept_N = np.array(sorted(set(chosen.values())), dtype=np.int64)
    new_ids = {int(old): new for new, old in enumerate(kept_N)}
    return Vocabulary(_rebuilt(tokenizer, _remapped(state, merges, new_ids)), kept_N, len(tokenizer))


def _check_byte_level(state: Mapping[str, Any]) -> None:
    model, before = state["model"], json.dumps(state.get("pre_tokenizer"))
    affixes = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if model["type"] != "BPE" or '"ByteLevel"' not in before or affixes:
        raise ModelError("this vocabulary cannot be trimmed", found=model["type"], expected="a byte-level BPE")


def _always(ids: Mapping[str, int]) -> Iterator[str]:
    """The alphabet of bytes, and entries that are one character of any script."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bytes_of = _byte_of_letter()
    for name in ids:
        if name in alphabet:
            yield name
        elif len(name) <= 4 and all(letter in bytes_of for letter in name):
            try:
                single = len(bytes(bytes_of[letter] for letter in name).decode("utf-8")) == 1
            except UnicodeDecodeError:
                continue
            if single:
                yield name


def _byte_of_letter() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: printable ones themselves, the rest shifted."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _parents(merges: Iterable[tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
    """What each entry may be joined from."""
    parents: dict[str, list[tuple[str, ...]]] = {}
    for merge in merges:
        parents.setdefault("".join(merge), []).append(merge)
    return parents


def _closed(names: set[str], parents: Mapping[str, list[tuple[str, ...]]]) -> set[str]:
    """`names` and everything that may be joined on the way to them.

    Joins inside a token never depend on what stands around it, since nothing is joined across its ends; so these are
    enough for `names` to come out of the smaller vocabulary wherever they came out of the full one.
    """
    closed, open_ = set(names), list(names)
    while open_:
        for merge in parents.get(open_.pop(), ()):
            for part in merge:
                if part not in closed:
                    closed.add(part)
                    open_.append(part)
    return closed


def _remapped(state: dict[str, Any], merges: list[tuple[str, ...]], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """The tokenizer's document with the kept entries alone, under their new ids."""
    model = state["model"]
    vocabulary = {name: new_ids[token] for name, token in model["vocab"].items() if token in new_ids}
    kept = [list(merge) for merge in merges if {*merge, "".join(merge)} <= vocabulary.keys()]
    added = [{**entry, "id": new_ids[entry["id"]]} for entry in state["added_tokens"]]
    return {
        **state,
        "model": {**model, "vocab": vocabulary, "merges": kept},
        "added_tokens": added,
        "post_processor": _processor(state.get("post_processor"), new_ids),
        "truncation": None,
        "padding": None,
    }


def _processor(processor: Any, new_ids: Mapping[int, int]) -> Any:
    """A post-processor under the new ids; each kind keeps them in a place of its own."""
    if not processor:
        return processor
    changed = dict(processor)
    if changed["type"] == "Sequence":
        changed["processors"] = [_processor(one, new_ids) for one in changed["processors"]]
    elif changed["type"] == "TemplateProcessing":
        changed["special_tokens"] = {
            name: {**entry, "ids": [new_ids[token] for token in entry["ids"]]}
            for name, entry in changed["special_tokens"].items()
        }
    else:
        for end in ("sep", "cls"):
            if end in changed:
                changed[end] = [changed[end][0], new_ids[changed[end][1]]]
    return changed


def _rebuilt(tokenizer: Any, state: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    special = {name: getattr(tokenizer, name) for name in _SPECIAL if getattr(tokenizer, name, None) is not None}
    trimmed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        clean_up_tokenization_spaces=False,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        **special,
    )
    trimmed.chat_template = tokenizer.chat_template
    wrong = [entry for entry in state["added_tokens"] if trimmed.convert_tokens_to_ids(entry["content"]) != entry["id"]]
    if wrong:
        raise ModelError("this vocabulary cannot be trimmed", found=f"{wrong[0]['content']!r} would change its place")
    return trimmed


def trim_model(model: PreTrainedModel, vocabulary: Vocabulary) -> PreTrainedModel:
    """`model`, changed in place, with the embeddings and the head's rows (and bias) of the kept entries alone.

    A tied head stays tied. Logits of the kept entries are what they were. The ids of control tokens in its
    configuration are the new ones. To be done before adapters are added and before an optimizer is made.

    Raises:
        ModelError: the model has fewer rows than the full vocabulary needs.
    """
    embeddings: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    rows_N = torch.from_numpy(vocabulary.kept_N).to(embeddings.weight.device)
    if int(rows_N[-1]) >= embeddings.weight.shape[0]:
        raise ModelError(
            "tokenizer and model do not match",
            found=f"a vocabulary of {vocabulary.full_size} for {embeddings.weight.shape[0]} embeddings",
            todo="choose another base",
        )
    tied = head is not None and head.weight is embeddings.weight
    # Value embeddings of our GPT are tables over the vocabulary too.
    for table in (embeddings, *getattr(model.base_model, "value_embeds", nn.ModuleDict()).values()):
        table.weight = _rows(table.weight, rows_N)
        table.num_embeddings = len(rows_N)
    if embeddings.padding_idx is not None:
        embeddings.padding_idx = _new_id(embeddings.padding_idx, vocabulary)
    if head is not None:
        head.weight = embeddings.weight if tied else _rows(head.weight, rows_N)
        head.out_features = len(rows_N)
        if getattr(head, "bias", None) is not None:
            head.bias = _rows(head.bias, rows_N)
    model.config.vocab_size = len(rows_N)
    for settings in (model.config, model.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            old = getattr(settings, name, None)
            if isinstance(old, list):
                setattr(settings, name, [new for one in old if (new := _new_id(one, vocabulary)) is not None])
            elif old is not None:
                setattr(settings, name, _new_id(old, vocabulary))
    return model


def _rows(table: nn.Parameter, rows_N: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(table.detach()[rows_N].clone(), requires_grad=table.requires_grad)


def _new_id(old: int, vocabulary: Vocabulary) -> int | None:
    """The new id; None for an entry that is gone."""
    place = int(np.searchsorted(vocabulary.kept_N, old))
    return place if place < len(vocabulary.kept_N) and vocabulary.kept_N[place] == old else None

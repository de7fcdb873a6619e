"""Examples → training, validation and a sealed test split that share no text. Torch-free.

What may not straddle splits is kept together as a group: the same input; for question answering the same context; for
conversations the same opening; for plain text the same text. Groups are drawn by the seed, so the same file, seed and
options give the same splits. Consecutive passages of one novel are different groups: validation and test passages then
stand between training passages of the same book, which measures how well its style is learnt, not how well the model
would do on another book. For that, give a test file.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autogpt.config import DataConfig
from autogpt.data.cleaning import to_examples
from autogpt.data.keys import Keys
from autogpt.data.readers import Table
from autogpt.errors import AutoGPTError, DataError
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Drop, Example

__all__ = ["MIN_ROWS", "Dataset", "SealedSplit", "prepare", "with_fewer_rows"]

MIN_ROWS = 20
"""Fewest usable rows that anything is trained on."""

_MOST_VALID_FRACTION = 0.2
"""Small data gives more than its share to validation, but not more than this."""


class SealedSplit:
    """The test split: it can be counted, and opened once, when everything is decided."""

    __slots__ = ("_examples", "_opened")

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = tuple(examples)
        self._opened = False

    def __len__(self) -> int:
        return len(self._examples)

    def __repr__(self) -> str:
        return f"SealedSplit({len(self)} rows, {'opened' if self._opened else 'sealed'})"

    @property
    def opened(self) -> bool:
        """Whether the rows have been handed out."""
        return self._opened

    def open(self) -> tuple[Example, ...]:
        """The rows. Raises AutoGPTError the second time: a test split is scored once."""
        if self._opened:
            raise AutoGPTError(
                "the test split was opened twice",
                expected="one evaluation after all choices are made",
                todo="keep what open() returned",
            )
        self._opened = True
        return self._examples


@dataclass(frozen=True, slots=True)
class Dataset:
    """What training, search and evaluation are given.

    Attributes:
        train, valid: in file order.
        sealed: the test split; a file given as test is kept as it is, duplicates included.
        drops: every row left out of any split, with its reason.
        summary: `rows` (split → count), `labels` (split → label → count, most frequent first; label tasks only),
            `labels_once` (labels dropped since they occur once), `drops` (reason → count), `input_chars` and
            `output_chars` (p50, p90, p99, max), `groups` (what was kept together), `test` (`file` or `held out`) and
            `warnings` (sentences).
    """

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    sealed: SealedSplit
    drops: tuple[Drop, ...]
    summary: Mapping[str, Any]


def prepare(spec: TaskSpec, table: Table, test: Table | None, config: DataConfig, seed: int) -> Dataset:
    """Cleaned rows in three splits without leakage; every row is in exactly one split or among the drops.

    Exact duplicates (normalised input and answer) are kept once; of rows that give one text several labels, those of
    the most frequent label stay. Classification is stratified: a label with two rows or more is in training and
    validation, with three or more in a test split of ours too, unless the split's size limit forbids it. With a test
    file, training rows whose input is in it are dropped.

    Raises:
        DataError: a column is missing, fewer than 20 usable rows, one class only, nothing left to train on, or a test
            file whose labels are all unknown.
    """
    examples, dropped = to_examples(spec, table, need_target=True)
    drops = [*table.drops, *dropped]
    _require(len(examples), f"{table.source.name} has too few usable rows", drops)
    keys = Keys(spec, examples)
    given, examples = _given_test(spec, test, examples, drops, keys)
    examples = _distinct(spec, examples, drops, keys)
    examples, once = _without_rare_labels(spec, examples, drops)
    _require(len(examples), "too few rows are left to train on", drops)
    _check_labels(spec, examples, given)
    rng = random.Random(seed)
    if given is None:
        share = min(config.test_fraction, config.test_max_rows / len(examples))
        sealed, examples = _hold_out(spec, examples, share, keys, rng, smallest=3)
    else:
        sealed = list(given)
    if config.max_rows is not None and len(examples) > config.max_rows:
        examples, rest = _hold_out(spec, examples, config.max_rows / len(examples), keys, rng, smallest=1)
        drops.extend(Drop(example.id, "over data.max_rows") for example in rest)
    wanted = max(config.valid_fraction, min(_MOST_VALID_FRACTION, config.valid_min_rows / len(examples)))
    share = min(wanted, config.valid_max_rows / len(examples))
    valid, train = _hold_out(spec, examples, share, keys, rng, smallest=2)
    if not train or not valid or not sealed:
        raise DataError(
            "the rows cannot be split",
            found=f"{len(examples)} rows that all have the {keys.together}",
            expected="several groups",
        )
    summary = {
        **_counts(spec, {"train": train, "valid": valid, "test": sealed}),
        "labels_once": once,
        "drops": dict(Counter(drop.reason for drop in drops).most_common()),
        **_lengths([*train, *valid]),
        "groups": keys.together,
        "test": "held out" if given is None else "file",
        "warnings": _warnings(spec, train, sealed, keys),
    }
    return Dataset(tuple(train), tuple(valid), SealedSplit(sealed), tuple(drops), summary)


def with_fewer_rows(spec: TaskSpec, dataset: Dataset, rows: int, seed: int) -> Dataset:
    """The same with about so many training rows or all, drawn as splits are: labels in proportion, groups whole."""
    train = dataset.train
    share = rows / len(train)
    kept, _ = _hold_out(spec, train, share, Keys(spec, list(train)), random.Random(seed), smallest=1)
    return replace(dataset, train=tuple(kept))


def _require(count: int, what: str, drops: Sequence[Drop]) -> None:
    if count >= MIN_ROWS:
        return
    reasons = ", ".join(
        f"{number} × {reason}" for reason, number in Counter(drop.reason for drop in drops).most_common(3)
    )
    raise DataError(
        what,
        found=f"{count} (left out: {reasons})" if reasons else str(count),
        expected=f"at least {MIN_ROWS}",
        todo="add rows",
    )


def _given_test(
    spec: TaskSpec, test: Table | None, examples: list[Example], drops: list[Drop], keys: Keys
) -> tuple[list[Example] | None, list[Example]]:
    """The user's test rows, and the training rows whose input is not among them."""
    if test is None:
        return None, examples
    given, dropped = to_examples(spec, test, need_target=True)
    if not given:
        reasons = ", ".join(sorted({drop.reason for drop in dropped}))
        raise DataError(f"{test.source.name} has no usable row", found=reasons, expected="rows with input and answer")
    taken = {example.id for example in examples} | {drop.id for drop in drops}
    if any(example.id in taken for example in given):  # both files have the same name
        given = [replace(example, id=f"test/{example.id}") for example in given]
        dropped = [replace(drop, id=f"test/{drop.id}") for drop in dropped]
    drops.extend([*test.drops, *dropped])
    seen = {keys.input(example) for example in given}
    kept = [example for example in examples if keys.input(example) not in seen]
    drops.extend(Drop(example.id, "input also in test") for example in examples if keys.input(example) in seen)
    return given, kept


def _distinct(spec: TaskSpec, examples: Sequence[Example], drops: list[Drop], keys: Keys) -> list[Example]:
    """Examples without exact duplicates, and, for classification, with one label a text."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        votes[keys.input(example)][keys.target(example)] += 1
    kept: list[Example] = []
    seen: set[tuple[str, str]] = set()
    for example in examples:
        text, answer = keys.input(example), keys.target(example)
        winner = votes[text].most_common(1)[0][0]  # the first seen wins a tie
        if spec.kind is TaskKind.CLASSIFICATION and answer != winner:
            drops.append(Drop(example.id, "conflicting label", f"{answer}, {winner} elsewhere"))
        elif (text, answer) in seen:
            drops.append(Drop(example.id, "duplicate"))
        else:
            seen.add((text, answer))
            kept.append(example)
    return kept


def _without_rare_labels(spec: TaskSpec, examples: list[Example], drops: list[Drop]) -> tuple[list[Example], list[str]]:
    if spec.kind is not TaskKind.CLASSIFICATION:
        return examples, []
    counts = Counter(str(example.target) for example in examples)
    once = {label for label, count in counts.items() if count == 1}
    drops.extend(Drop(row.id, "label occurs once", str(row.target)) for row in examples if row.target in once)
    return [row for row in examples if row.target not in once], sorted(once)


def _check_labels(spec: TaskSpec, examples: Sequence[Example], given: Sequence[Example] | None) -> None:
    if not spec.is_label_task:
        return
    known = {label for example in examples for label in _labels_of(example)}
    if len(known) < 2:
        raise DataError(
            f"column {spec.output_field!r} has one class only",
            found=repr(next(iter(known), "")),
            expected="at least two labels",
            todo="add rows of another class",
        )
    asked = {label for example in given or () for label in _labels_of(example)}
    if asked and not asked & known:
        raise DataError(
            "no label of the test file occurs in the training file",
            found=", ".join(sorted(asked)[:3]),
            expected=f"such as {', '.join(sorted(known)[:3])}",
            todo="check both files' label columns",
        )


def _labels_of(example: Example) -> tuple[str, ...]:
    target = example.target
    if isinstance(target, str):
        return (target,)
    return tuple(part for part in target or () if isinstance(part, str))


def _hold_out(
    spec: TaskSpec, examples: Sequence[Example], share: float, keys: Keys, rng: random.Random, *, smallest: int
) -> tuple[list[Example], list[Example]]:
    """(held out, the rest), both in file order; about `share` of the rows in whole groups, at least one group.

    For classification each label gives its share; a label with at least `smallest` rows gives one or more of them.
    """
    if share >= 1:
        return list(examples), []
    strata: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        strata[str(example.target) if spec.kind is TaskKind.CLASSIFICATION else ""].append(place)
    wanted = max(round(share * len(examples)), 1)
    picked: set[int] = set()
    quotas = _quotas({label: len(places) for label, places in strata.items()}, wanted, smallest)
    for label in sorted(strata):
        picked |= _draw(strata[label], quotas[label], lambda place: keys.group(examples[place]), rng)
    held = [example for place, example in enumerate(examples) if place in picked]
    return held, [example for place, example in enumerate(examples) if place not in picked]


def _quotas(sizes: Mapping[str, int], wanted: int, smallest: int) -> dict[str, int]:
    """Rows each label gives, `wanted` in all: one each where the label can spare it, the rest by largest remainder."""
    total = sum(sizes.values())
    order = sorted(sizes, key=lambda label: (-sizes[label], label))
    quotas = {label: int(wanted * sizes[label] / total) for label in order}
    given = sum(quotas.values())
    for label in order:
        if quotas[label] == 0 and sizes[label] >= smallest and (len(sizes) <= wanted or given < wanted):
            quotas[label] = 1
            given += 1
    by_remainder = sorted(order, key=lambda label: -(wanted * sizes[label] / total % 1))
    for spared in sorted({smallest, 2}, reverse=True):  # labels that can spare a row first, then any with two
        for label in by_remainder:
            if given < wanted and quotas[label] + spared <= sizes[label]:
                quotas[label] += 1
                given += 1
    return quotas


def _draw(places: Sequence[int], quota: int, key: Callable[[int], str], rng: random.Random) -> set[int]:
    """Places of whole groups, drawn until `quota` rows are there; groups far larger than what is missing wait."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place in places:
        groups[key(place)].append(place)
    names = list(groups)
    rng.shuffle(names)
    picked: set[int] = set()
    for name in names:
        missing = quota - len(picked)
        if missing <= 0:
            break
        if len(groups[name]) <= max(missing * 1.5, 1) and len(picked) + len(groups[name]) < len(places):
            picked.update(groups[name])
    if quota and not picked and len(groups) > 1:  # all groups are large: the smallest does
        picked.update(groups[min(names, key=lambda name: len(groups[name]))])
    return picked


def _counts(spec: TaskSpec, splits: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    counts: dict[str, Any] = {"rows": {name: len(rows) for name, rows in splits.items()}}
    if spec.is_label_task:
        labels = {name: Counter(label for row in rows for label in _labels_of(row)) for name, rows in splits.items()}
        counts["labels"] = {name: dict(counter.most_common()) for name, counter in labels.items()}
    return counts


def _lengths(examples: Sequence[Example]) -> dict[str, dict[str, int]]:
    def quantiles(sizes: list[int]) -> dict[str, int]:
        sizes.sort()
        at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        return {name: sizes[min(int(share * len(sizes)), len(sizes) - 1)] for name, share in at.items()}

    def asked(example: Example) -> int:
        if example.messages:
            return sum(len(message.content) for message in example.messages[:-1])
        return sum(map(len, example.input.values()))

    def answered(example: Example) -> int:
        target = example.target
        return len(target) if isinstance(target, str) else sum(len(str(part)) for part in example.references)

    return {
        "input_chars": quantiles([asked(row) for row in examples]),
        "output_chars": quantiles([answered(row) for row in examples]),
    }


def _warnings(spec: TaskSpec, train: Sequence[Example], test: Sequence[Example], keys: Keys) -> list[str]:
    """What is legal but likely to be a mistake, in sentences."""
    found: list[str] = []
    if not spec.is_label_task:
        return found
    counts = Counter(label for example in train for label in _labels_of(example))
    if unknown := sorted({label for example in test for label in _labels_of(example)} - set(counts)):
        found.append(f"{len(unknown)} labels of the test rows never occur in training: {', '.join(unknown[:5])}")
    top, number = counts.most_common(1)[0]
    if number > 0.95 * len(train) and spec.kind is TaskKind.CLASSIFICATION:
        found.append(f"{number / len(train):.1%} of the training rows have the label {top!r}")
    spellings: dict[str, set[str]] = defaultdict(set)
    for label in counts:
        spellings[re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", label)).casefold()].add(label)
    for variants in spellings.values():
        if len(variants) > 1:
            found.append(f"labels that differ in spelling only: {', '.join(sorted(variants))}")
    if sum(keys.target(example) == keys.input(example) for example in train) * 2 > len(train):
        found.append(f"column {spec.output_field!r} repeats the input in most rows")
    return found

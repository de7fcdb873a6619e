"""What a user gives a model, as examples and prompts of its task: a mapping of fields, or a text for the only field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from autogpt.data.cleaning import to_examples
from autogpt.data.readers import Table
from autogpt.errors import DataError
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.types import Example, Segment

__all__ = ["Given", "continues", "example_of", "examples_of", "prompt_of", "row_of"]

Given: TypeAlias = str | Mapping[str, Any]


def continues(spec: TaskSpec) -> bool:
    """Whether the input is the beginning of the text itself."""
    return spec.kind is TaskKind.GENERATION and not spec.input_fields


def row_of(spec: TaskSpec, item: Given) -> Mapping[str, Any]:
    """`item` as a row. Raises DataError for a text where the task reads several fields."""
    if not isinstance(item, str):
        return item
    fields = spec.input_fields
    if spec.layout in ("messages", "sharegpt"):
        return {fields[0] if fields else "messages": [{"role": "user", "content": item}]}
    if not fields:
        return {spec.output_field: item}
    if len(fields) > 1 and item.lstrip().startswith("{"):
        try:
            parsed = json.loads(item)
        except ValueError as error:
            raise DataError("the input is not JSON", found=item[:40], expected=f"fields {fields}") from error
        if isinstance(parsed, dict):
            return parsed
    optional = spec.kind is TaskKind.INSTRUCTION
    if len(fields) > 1 and not optional:
        raise DataError(
            "the model reads several fields", found="one text", expected=f"a JSON object with {', '.join(fields)}"
        )
    return {fields[0]: item, **dict.fromkeys(fields[1:], "")}


def example_of(spec: TaskSpec, item: Given) -> Example:
    """One input as an example."""
    return examples_of(spec, [item])[0]


def examples_of(spec: TaskSpec, items: Iterable[Given]) -> list[Example]:
    """Inputs as examples, answers left out. Raises DataError naming the first row that cannot be read."""
    rows = tuple(row_of(spec, item) for item in items)
    if continues(spec):
        return [
            Example(id=f"input:{i}", input={}, target=str(row.get(spec.output_field, "")))
            for i, row in enumerate(rows, 1)
        ]
    table = Table(
        rows=rows,
        ids=tuple(f"input:{i}" for i in range(1, len(rows) + 1)),
        columns=tuple(dict.fromkeys(key for row in rows for key in row)),
        layout=spec.layout,
        format="rows",
        encoding="utf-8",
        drops=(),
        source=Path("input"),
    )
    return to_examples(spec, table, need_target=False)[0]


def prompt_of(spec: TaskSpec, example: Example) -> str | Sequence[Segment]:
    """The prompt; for plain continuation the text itself is what is continued."""
    return str(example.target or "") if continues(spec) else render(spec, example, answer=False)

"""The record itself: readable YAML and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.tasks.understand import Sample, understand

ROWS = tuple({"评论": f"第{n}条", "类别": "好评" if n % 2 else "差评"} for n in range(30))


def test_yaml_round_trip(tmp_path: Path) -> None:
    spec = understand("判断评论的类别", Sample(("评论", "类别"), ROWS, "table"))
    path = tmp_path / "task.yaml"
    spec.save(path)
    assert TaskSpec.load(path) == spec
    text = path.read_text(encoding="utf-8")
    assert "kind: classification" in text
    assert "好评" in text


def test_unknown_keys_are_refused() -> None:
    spec = understand("判断评论的类别", Sample(("评论", "类别"), ROWS, "table"))
    with pytest.raises(ValidationError):
        TaskSpec.model_validate({**spec.model_dump(), "labls": []})


def test_each_kind_has_metrics_with_a_direction() -> None:
    assert set(METRICS_OF_KIND) == set(TaskKind)
    assert {name for names in METRICS_OF_KIND.values() for name in names} == set(METRIC_DIRECTION)

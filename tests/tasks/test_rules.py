"""The rules load, compile and keep their scale."""

from __future__ import annotations

from autogpt.tasks.rules import kind_rules, metric_rules
from autogpt.tasks.spec import METRIC_DIRECTION, TaskKind


def test_every_kind_has_rules_in_both_languages() -> None:
    for kind in TaskKind:
        patterns = [pattern.pattern for other, _, pattern in kind_rules() if other is kind]
        assert any(any("a" <= sign <= "z" for sign in pattern) for pattern in patterns)
        assert any(any("一" <= sign <= "鿿" for sign in pattern) for pattern in patterns)


def test_weights_keep_their_scale() -> None:
    assert all(0 < weight <= 5.5 for _, weight, _ in kind_rules())


def test_no_part_is_left_open_and_nothing_matches_the_empty_sentence() -> None:
    for _, _, pattern in kind_rules():
        assert "<" not in pattern.pattern.replace("(?<", "").replace("?<", "")
        assert pattern.search("") is None


def test_metrics_are_known() -> None:
    assert {name for name, _ in metric_rules()} <= {*METRIC_DIRECTION, "f1"}

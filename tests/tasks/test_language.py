"""Languages by script and function words."""

from __future__ import annotations

import pytest

from autogpt.tasks.language import language_of, language_of_text


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat sat on the mat.", "en"),
        ("positive", "en"),
        ("这家店的服务很好", "zh"),
        ("用BERT和CRF做中文命名实体识别", "zh"),
        ("PTFE fibre 静电", "zh"),
        ("She bought a 豆腐 at the market yesterday", "en"),
        ("これはペンです。", "other"),
        ("이것은 펜입니다", "other"),
        ("Это ручка", "other"),
        ("Le chat est sur la table et il dort dans le salon", "other"),
        ("Der Hund ist nicht mit den Katzen auf das Haus", "other"),
        ("123 + 45 = ?", None),
        ("", None),
    ],
)
def test_one_text(text: str, language: str | None) -> None:
    assert language_of_text(text) == language


def test_a_column_is_what_most_of_it_is() -> None:
    assert language_of(["你好吗"] * 9 + ["OK"]) == "zh"
    assert language_of(["你好吗", "how are you"]) == "mixed"
    assert language_of(["12", "34"]) is None
    assert language_of([]) is None

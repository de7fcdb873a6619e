"""Column names: whole names, last words, Chinese endings."""

from __future__ import annotations

import pytest

from autogpt.tasks.lexicon import Role, language_named, name_tokens, roles_of, words_for


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("text", Role.TEXT),
        ("Label ", Role.LABEL),
        ("customer_message", Role.MESSAGE),
        ("customerMessage", Role.MESSAGE),
        ("news-category", Role.LABEL),
        ("answers", Role.ANSWER),
        ("新闻类别", Role.LABEL),
        ("客服回复", Role.REPLY),
        ("文章摘要", Role.SUMMARY),
        ("user_id", Role.META),
        ("source_lang", Role.META),
        ("rejected", Role.REJECTED),
    ],
)
def test_role(name: str, role: Role) -> None:
    assert role in roles_of(name)


def test_whole_names_are_surer_than_parts() -> None:
    assert roles_of("summary")[Role.SUMMARY] > roles_of("news_summary")[Role.SUMMARY]
    assert Role.META not in roles_of("label")
    assert Role.LABEL not in roles_of("message_id")
    assert roles_of("zzz") == {}
    assert roles_of("???") == {}


def test_every_role_has_names() -> None:
    from autogpt.tasks import lexicon

    assert {role for roles in lexicon._roles().values() for role in roles} == set(Role)


def test_tokens() -> None:
    assert name_tokens("Ｔext_Zh") == ["text", "zh"]
    assert name_tokens("原文.en") == ["原文", "en"]


@pytest.mark.parametrize(
    ("name", "language"), [("en", "en"), ("text_zh", "zh"), ("英文", "en"), ("french", "other"), ("text", None)]
)
def test_language(name: str, language: str | None) -> None:
    assert language_named(name) == language


def test_words_for_a_column() -> None:
    assert {"reply", "回复"} <= words_for("reply")
    assert "留言" in words_for("message")
    assert "message" in words_for("客户留言")
    assert "x" not in words_for("x")

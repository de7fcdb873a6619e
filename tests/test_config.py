"""Options: where a value comes from, and how a wrong one is met."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from autogpt import config
from autogpt.config import (
    RunConfig,
    apply_overrides,
    format_bytes,
    home,
    load_run_config,
    offline,
    parse_budget,
    parse_bytes,
)
from autogpt.errors import BudgetError, ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("45", 45),
        (" 2 M ", 120),
    ],
)
def test_budgets(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10x", "m10", "-5m", "10m!", "1:30", "s"])
def test_budgets_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BudgetError, match="expected a time such as 90s, 10m"):
        parse_budget(text)


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("budget: 5m\nseed: 7\nsearch:\n  sampler: random\n  max_trials: 3\n", encoding="utf-8")
    resolved = load_run_config(
        file, ["search.max_trials=4", "search.space={lr: [1.0e-4, 1.0e-2]}"], budget="20m", base=None
    )
    assert (resolved.budget, resolved.seed, resolved.base) == ("20m", 7, RunConfig().base)
    assert (resolved.search.sampler, resolved.search.max_trials) == ("random", 4)
    assert resolved.search.space == {"lr": [1e-4, 1e-2]}
    assert resolved.search.share == RunConfig().search.share


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("", encoding="utf-8")
    assert load_run_config(file) == RunConfig()


def test_overrides_leave_the_original_alone() -> None:
    values = {"search": {"sampler": "bayes"}}
    assert apply_overrides(values, ["search.sampler=random"]) == {"search": {"sampler": "random"}}
    assert values == {"search": {"sampler": "bayes"}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.smapler=random", "unknown option 'search.smapler'.*did you mean 'sampler'"),
        ("serch.sampler=random", "unknown option 'serch'.*did you mean 'search'"),
        ("search.max_trials=0", "option 'search.max_trials'.*found 0.*greater than or equal to 1"),
        ("seed=x", "option 'seed'.*found 'x'.*integer"),
        ("seed", "--set cannot be read; found 'seed'; expected key=value"),
        ("=1", "--set cannot be read"),
        ("budget.x=1", "--set budget.x; found budget is not a section"),
        ("task={", "--set task.*expected a YAML value"),
    ],
)
def test_wrong_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_run_config(None, [override], budget="10m")


@pytest.mark.parametrize(
    ("content", "message"),
    [("- a\n", "found list; expected a mapping"), ("a: [", "cannot be read"), ("sed: 1\n", "did you mean 'seed'")],
)
def test_wrong_files(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_run_config(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config file.*nothing\.yaml"):
        load_run_config(tmp_path / "nothing.yaml")


def test_home_and_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOGPT_HOME", str(tmp_path / "mine"))
    assert home() == tmp_path / "mine"
    assert not home().exists()
    monkeypatch.delenv("AUTOGPT_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert home() == tmp_path / "autogpt"
    for value, expected in (("", False), ("0", False), ("1", True)):
        monkeypatch.setenv("AUTOGPT_OFFLINE", value)
        assert offline() is expected


def test_every_option_is_explained() -> None:
    sections = [getattr(config, name) for name in config.__all__ if name.endswith("Config")]
    silent = [
        f"{section.__name__}.{name}"
        for section in sections
        for name, field in section.model_fields.items()
        if not field.description
        and not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("2usd", 3600.0), ("$0.50", 900.0), ("1.5元", 2700.0), ("¥1", 1800.0), ("10m", 600.0)]
)
def test_budgets_in_money(text: str, seconds: float) -> None:
    assert parse_budget(text, 2.0) == pytest.approx(seconds)


def test_money_without_a_price() -> None:
    with pytest.raises(BudgetError, match=r"no price is known; found '2usd'; say what .* price_per_hour=1.20"):
        parse_budget("2usd")


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ("2GB", 2_000_000_000),
        ("800 MB", 800_000_000),
        ("1.5GiB", 1_610_612_736),
        ("64kb", 64_000),
        ("500_000_000", 500_000_000),
        ("7b", 7),
        (500, 500),
        (2.9, 2),
    ],
)
def test_sizes(size: object, found: int) -> None:
    assert parse_bytes(size) == found
    assert load_run_config(None, [f"search.max_memory={size}"]).search.max_memory == found


@pytest.mark.parametrize("size", ["much", "2 G", "-3MB", "1e9", "GB", "true", "[1]"])
def test_sizes_that_cannot_be_read(size: str) -> None:
    with pytest.raises(ConfigError, match=r"'search.max_memory' .* expected bytes such as 2GB, 800MB or 500000000"):
        load_run_config(None, [f"search.max_memory={size}"])


@pytest.mark.parametrize(
    ("size", "text"),
    [(3, "3 B"), (61_412_345, "61.4 MB"), (999_999_999, "1000 MB"), (2 * 10**9, "2 GB"), (123_456, "123 kB")],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert format_bytes(size) == text
    assert parse_bytes(text) == pytest.approx(size, rel=0.005)


def test_ceilings_are_none_unless_given() -> None:
    search = RunConfig().search
    assert (search.max_row_ms, search.max_memory, search.max_parameters) == (None, None, None)
    assert load_run_config(None, ["search.max_row_ms=0.5"]).search.max_row_ms == 0.5
    with pytest.raises(ConfigError, match=r"search.max_row_ms.*greater than 0"):
        load_run_config(None, ["search.max_row_ms=0"])

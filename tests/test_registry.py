"""Registries: every built-in name leads somewhere, unknown names are met with the nearest known one."""

from __future__ import annotations

from importlib import metadata

import pytest

from autogpt import registry
from autogpt.errors import ConfigError
from autogpt.registry import METRICS, READERS, SAMPLERS, Registry, did_you_mean

BUILT_IN = [(table, name) for table in (SAMPLERS, READERS, METRICS) for name in table]


@pytest.mark.parametrize(("table", "name"), BUILT_IN, ids=lambda value: getattr(value, "kind", value))
def test_every_built_in_name_leads_somewhere(table: Registry, name: str) -> None:
    assert callable(table.get(name))


def test_every_metric_of_every_kind_is_registered() -> None:
    from autogpt.tasks.spec import METRICS_OF_KIND

    assert {name for names in METRICS_OF_KIND.values() for name in names} == set(METRICS)


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown sampler 'bays'; did you mean 'bayes'\?"):
        SAMPLERS.get("bays")
    with pytest.raises(ConfigError, match="known: auto, bayes, genetic, gp, llm, nsga2, random, rl"):
        SAMPLERS.get("zzz")


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    table = Registry("thing", {"json": "json:dumps", "broken": "no.such.module:at_all"})
    assert list(table) == ["broken", "json"]
    assert table.get("json")([1]) == "[1]"


def test_a_name_is_given_once() -> None:
    table = Registry("thing", {"a": "json:dumps"})
    with pytest.raises(ConfigError, match="registered already"):
        table.register("a", "json:loads")


def test_other_distributions_enter_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("theirs", "json:loads", "autogpt.things")
    groups: list[str] = []

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        groups.append(group)
        return [point]

    monkeypatch.setattr(registry.metadata, "entry_points", entry_points)
    table = Registry("thing", {"ours": "json:dumps"})
    assert list(table) == ["ours", "theirs"]
    assert table.get("theirs")("[1]") == [1]
    assert groups == ["autogpt.things"]


def test_did_you_mean() -> None:
    assert did_you_mean("metrc", ["metric", "kind"]) == "did you mean 'metric'?"
    assert did_you_mean("zzz", ["metric", "kind"]) == "known: kind, metric"

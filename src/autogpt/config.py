"""Every option, its default and its explanation. Torch-free.

`RunConfig` is what `--config FILE` holds and what `--set a.b=c` changes. Unknown keys are refused with the nearest
known one. "auto" is a value: whoever resolves it records the choice with its reason. Only wiring code (`pipeline`,
`cli`) sees the whole of it; every other function is handed its own section.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from autogpt.errors import BudgetError, ConfigError
from autogpt.registry import did_you_mean

__all__ = [
    "AdaptationConfig",
    "DataConfig",
    "EvaluationConfig",
    "RunConfig",
    "SearchConfig",
    "TrainingConfig",
    "apply_overrides",
    "format_bytes",
    "home",
    "load_run_config",
    "offline",
    "parse_budget",
    "parse_bytes",
]


class Section(BaseModel):
    """A part of the configuration; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class DataConfig(Section):
    """How rows become splits."""

    valid_fraction: float = Field(0.1, gt=0, lt=0.5, description="share of the training rows held out for validation")
    valid_min_rows: int = Field(
        100, ge=0, description="small data gives up to a fifth of its rows to validation until it has this many"
    )
    valid_max_rows: int = Field(1000, ge=20, description="most rows of the validation split")
    test_fraction: float = Field(0.15, gt=0, lt=0.5, description="share sealed as test when no --test file is given")
    test_max_rows: int = Field(2000, ge=20, description="most rows of a test split that we make ourselves")
    max_rows: int | None = Field(None, ge=20, description="use at most this many training rows, drawn by the seed")


class SearchConfig(Section):
    """How configurations are proposed and how weak trials are stopped."""

    sampler: str = Field(
        "auto",
        description="auto (what did well elsewhere, then bayes), random, bayes, gp, genetic, rl, nsga2 (small and fast "
        "models too) or llm (needs AUTOGPT_LLM_URL)",
    )
    max_trials: int = Field(30, ge=1, description="most trials, whatever the budget")
    share: Annotated[float, Field(gt=0, lt=0.9)] | Literal["auto"] = Field(
        "auto",
        description="share of the time left for the search, the rest trains its winner; auto: 0.1 to 4m, 0.45 from 20m",
    )
    rungs: list[float] | Literal["auto"] = Field(
        "auto", description="shares of a trial's full length at which it is scored and may be stopped, such as [0.3, 1]"
    )
    stopping: str = Field("halving", description="how weak trials are stopped: halving, hyperband, median or none")
    keep: float = Field(1 / 3, gt=0, le=1, description="share of the trials that pass a rung")
    spare: float = Field(
        0.3, gt=0, le=1, description="a slow starter with a better chance to end in the lead goes on; 1 spares nobody"
    )
    prefer: Literal["score", "small", "fast"] = Field(
        "score", description="small, fast: the smallest or fastest trial that is not significantly worse than the best"
    )
    max_parameters: int | None = Field(None, ge=1, description="most parameters of a model; larger ones are not tried")
    max_row_ms: float | None = Field(
        None, gt=0, description="most milliseconds to answer a validation row, in batches; a slower trial fails"
    )
    max_memory: int | None = Field(
        None,
        ge=1,
        description="most bytes that training takes beside the libraries, all workers together, such as 2GB or 800MB",
    )
    max_tokens: int | None = Field(None, ge=1, description="no trial starts after so many training tokens in all")
    workers: int = Field(
        1, ge=1, description="trials at a time, each in a process of its own with its share of the cores"
    )
    space: dict[str, Any] = Field(
        default_factory=dict,
        description="fix a parameter (lr: 1e-3) or range it (lr: [1e-4, 1e-2]), also beyond what is searched unasked",
    )

    @field_validator("max_memory", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        if value is None:
            return value
        try:
            return parse_bytes(value)
        except ConfigError as error:
            raise PydanticCustomError("bytes", "{expected}", {"expected": error.expected}) from error


class TrainingConfig(Section):
    """The training loop, where the search does not decide."""

    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: the faster one in a short probe")
    threads: int | Literal["auto"] = Field("auto", description="CPU threads; auto: the cores this process may use")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm at which gradients are clipped")
    warmup_steps: int = Field(20, ge=0, description="steps in which the learning rate rises")
    cooldown_share: float = Field(0.3, ge=0, le=1, description="share of the steps in which the winner cools down")
    context: int = Field(512, ge=32, le=8192, description="most tokens of one training sequence")
    patience: int = Field(4, ge=1, description="validations without gain after which the cool-down starts")


class EvaluationConfig(Section):
    """What is measured, on how many rows, and how sure we want to be."""

    bootstrap: int = Field(2000, ge=100, description="bootstrap resamples for intervals and paired tests")
    search_rows: int = Field(256, ge=20, description="validation rows that score a trial")
    base_rows: int = Field(100, ge=20, description="most test rows on which the untuned base is scored")
    max_new_tokens: int = Field(256, ge=1, description="most tokens of one generated answer")


class AdaptationConfig(Section):
    """How a model that writes freely adapts to a text (`--adapt`)."""

    mode: Literal["exact", "suffix"] = Field(
        "exact",
        description="where fast weights are: behind the last attention, or in the last quarter of the blocks too",
    )


class RunConfig(Section):
    """A whole run."""

    budget: str = Field("10m", description="for everything, report included: 90s, 10m, 2h, or money (price_per_hour)")
    price_per_hour: float | None = Field(
        None, gt=0, description="what an hour of this machine costs; a budget may then be money, such as 2.50usd"
    )
    base: str = Field("auto", description="auto, scratch, a catalogue name, a folder or a hub id")
    seed: int = Field(0, ge=0, description="seed of splits, search and training")
    tensorboard: bool = Field(True, description="write TensorBoard files when the package is installed")
    task: dict[str, Any] = Field(default_factory=dict, description="overrides of the understood task: kind, metric, …")
    tasks: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="the same of each of several tasks: name → overrides"
    )
    grouping: Literal["auto", "together", "apart"] = Field(
        "auto",
        description="several tasks: one model for all, one for each, or (auto) apart what a short comparison says is "
        "better alone",
    )
    transfer: Literal["auto", "never"] = Field(
        "auto",
        description="whether a model of a like task is probed as a start, from 2m on; auto: it is, and is taken where "
        "it is better",
    )
    add_to: str = Field(
        "",
        description="a model to add the tasks to: its name, a folder, or NAME/TASK where its tasks have several models",
    )
    data: DataConfig = Field(default_factory=DataConfig)
    search: SearchConfig = Field(default_factory=SearchConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    adaptation: AdaptationConfig = Field(default_factory=AdaptationConfig)


def home() -> Path:
    """`$AUTOGPT_HOME`, or the platform's user data folder. Not created here."""
    if value := os.environ.get("AUTOGPT_HOME"):
        return Path(value).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".local" / "share") / "autogpt"


def offline() -> bool:
    """Whether `AUTOGPT_OFFLINE` forbids the network."""
    return os.environ.get("AUTOGPT_OFFLINE", "") not in ("", "0")


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


_MONEY = re.compile(r"(?:[$€¥£](\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)(?:usd|eur|cny|rmb|gbp|元|美元|欧元|[$€¥£]))")


def parse_budget(text: str, price_per_hour: float | None = None) -> float:
    """Seconds of a budget such as `90s`, `10m`, `1h30m`; a bare number is seconds.

    With a price, also of money such as `2.50usd`, in whatever currency the price is. Raises BudgetError.
    """
    compact = text.strip().lower().replace(" ", "")
    if (money := _MONEY.fullmatch(compact)) is not None:
        if price_per_hour is None:
            todo = "say what an hour of this machine costs: --set price_per_hour=1.20"
            raise BudgetError("--budget is money, and no price is known", found=repr(text), todo=todo)
        return float(money[1] or money[2]) / price_per_hour * 3600.0
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        compact += "s"
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise BudgetError("--budget cannot be read", found=repr(text), expected="a time such as 90s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


_BYTES = {"": 1, "b": 1, **{f"{c}b": 1000**k for k, c in enumerate("kmgt", 1)}}
_BYTES |= {f"{c}ib": 1024**k for k, c in enumerate("kmgt", 1)}


def parse_bytes(size: Any) -> int:
    """Bytes of a size such as `2GB`, `800 MB`, `1.5GiB` or a plain number, rounded down.

    kB, MB, GB and TB are powers of 1000, KiB to TiB powers of 1024; case does not matter. Raises ConfigError.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", re.sub(r"\s|_", "", str(size).lower()))
    if isinstance(size, bool) or found is None or found[2] not in _BYTES:
        raise ConfigError("a size cannot be read", found=repr(size), expected="bytes such as 2GB, 800MB or 500000000")
    return int(float(found[1]) * _BYTES[found[2]])


def format_bytes(size: int) -> str:
    """`size` bytes as `parse_bytes` reads them, to about three digits: 61.4 MB."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.{0 if size >= 100 * factor else 3}{'f' if size >= 100 * factor else 'g'}} {unit}"
    return f"{size} B"


def _config_error(error: ValidationError, source: str) -> ConfigError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section: Any = RunConfig
        for part in first["loc"][:-1]:
            section = section.model_fields[str(part)].annotation
        known = list(section.model_fields)
        return ConfigError(f"unknown option {path!r} in {source}", todo=did_you_mean(str(first["loc"][-1]), known))
    return ConfigError(f"option {path!r} in {source}", found=repr(first.get("input")), expected=first["msg"])


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested `values` with each `a.b=c` of `overrides` set; `c` is read as YAML."""
    result: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()
    }
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path.strip():
            raise ConfigError(
                "--set cannot be read", found=repr(override), expected="key=value, such as search.sampler=random"
            )
        node = result
        *parents, leaf = path.strip().split(".")
        for parent in parents:
            child = node.setdefault(parent, {})
            if not isinstance(child, dict):
                raise ConfigError(f"--set {path}", found=f"{parent} is not a section", expected="section.key=value")
            node = child
        try:
            node[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {path}", found=repr(text), expected="a YAML value") from error
    return result


def load_run_config(path: Path | None = None, overrides: Iterable[str] = (), **options: Any) -> RunConfig:
    """The resolved configuration: defaults, then the file, then the options given, then `--set`.

    Args:
        path: a YAML file that states only what differs from the defaults.
        overrides: `key=value` strings.
        options: top-level options; None means not given.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"no config file {str(path)!r}", todo="check --config") from error
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"config file {str(path)!r} cannot be read", found=str(error), expected="YAML") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise ConfigError(f"config file {str(path)!r}", found=type(loaded).__name__, expected="a mapping")
        values.update(loaded or {})
    values.update({key: value for key, value in options.items() if value is not None})
    try:
        return RunConfig.model_validate(apply_overrides(values, overrides))
    except ValidationError as error:
        raise _config_error(error, str(path) if path else "the options") from error

"""`load_config` for the hand-written training loop that the articles behind this project show; nothing else joins it.

A whole run is configured by `autogpt.config`; this file only reads the small `config.yaml` of such a loop:

    model_name: smollm2-135m       # catalogue name (pulled before), folder or hub id; needed
    dataset_path: data/train.jsonl # any file that `autogpt data inspect` reads; needed
    model_path: model              # where the trained model goes
    batch_size: 8                  # texts a step
    learning_rate: 0.0005
    epochs: 3
    max_tokens: 512                # longer texts are cut
    seed: 0                        # of the order of the texts
    task: ""                       # the task in one sentence; helps to read the columns rightly
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean

__all__ = ["DEFAULTS", "LoopConfig", "MissingKeyError", "load_config"]

DEFAULTS: Mapping[str, Any] = {
    "model_path": "model",
    "batch_size": 8,
    "learning_rate": 5e-4,
    "epochs": 3,
    "max_tokens": 512,
    "seed": 0,
    "task": "",
}
_NEEDED = ("model_name", "dataset_path")
_POSITIVE_INTS = ("batch_size", "epochs", "max_tokens")


class MissingKeyError(ConfigError, AttributeError):
    """A key that the loop reads and the config file does not have. Also an AttributeError, so that `hasattr` works."""


class LoopConfig:
    """The keys of a config file as attributes; cannot be changed. Keys we do not know are kept as they stand."""

    def __init__(self, values: Mapping[str, Any], source: str = "the config") -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_source", source)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle ask for such names before __init__ has run
            raise AttributeError(name)
        values: dict[str, Any] = self._values
        if name not in values:
            hint = f"add a line `{name}: …`" if name in _NEEDED else did_you_mean(name, [*values, *_NEEDED])
            raise MissingKeyError(f"{self._source} has no key {name!r}", todo=hint)
        return values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"the configuration is frozen; set {name!r} in {self._source}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __repr__(self) -> str:
        return f"LoopConfig({', '.join(f'{key}={value!r}' for key, value in self._values.items())})"


def load_config(path: str | Path | None = None) -> LoopConfig:
    """The configuration of a hand-written training loop, from YAML or JSON.

    Args:
        path: the file; by default `$AUTOGPT_CONFIG`, else `config.yaml` in the working folder.

    Returns:
        A frozen object with the file's keys as attributes, `DEFAULTS` where the file is silent. `model_name` is the
        pulled folder when the file holds a catalogue name, so that the Auto classes of transformers can load it.

    Raises:
        ConfigError: no such file, not a mapping, or a number that cannot be one. A key that is needed and missing is
            reported when it is read.
    """
    file = Path(path or os.environ.get("AUTOGPT_CONFIG") or "config.yaml").expanduser()
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no config file {str(file)!r}", todo="write one, name it in AUTOGPT_CONFIG, or call load_config(path)"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"config file {str(file)!r} cannot be read", found=str(error), expected="YAML or JSON"
        ) from error
    if not isinstance(loaded, dict | None):
        raise ConfigError(
            f"config file {str(file)!r}", found=type(loaded).__name__, expected="lines such as `epochs: 3`"
        )
    values = {**DEFAULTS, **{str(key): value for key, value in (loaded or {}).items()}}
    _check_numbers(values, str(file))
    if "model_name" in values:
        values["model_name"] = _resolved(str(values["model_name"]))
    return LoopConfig(values, str(file))


def _check_numbers(values: dict[str, Any], source: str) -> None:
    """Make numbers of the number keys in place: YAML reads `5e-4` as text."""
    for name in (*_POSITIVE_INTS, "seed", "learning_rate"):
        kind = float if name == "learning_rate" else int
        value = values[name]
        try:
            if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
                raise ValueError
            values[name] = kind(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"{name} in {source}", found=repr(value), expected="a number") from error
        if not values[name] >= 0 or (values[name] == 0 and name != "seed"):  # not: NaN is no rate either
            raise ConfigError(f"{name} in {source}", found=repr(value), expected="a number above 0")


def _resolved(model_name: str) -> str:
    """The folder of a catalogue name; anything else as it is."""
    if Path(model_name).is_dir():
        return model_name
    from autogpt.config import home
    from autogpt.models.bases import CATALOGUE, resolve

    return str(resolve(model_name, home())) if model_name in CATALOGUE else model_name

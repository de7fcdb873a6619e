"""Describe a text task in one sentence, bring your data, get your own small GPT: searched, trained, honestly evaluated.

    import autogpt

    model = autogpt.fit("Sort customer messages into categories", "messages.jsonl", budget="10m")
    model.generate("My parcel has not arrived.")
    autogpt.load("customer-messages").evaluate("more.jsonl")

Importing this package imports neither torch nor transformers: public names are loaded on first use. After the import,
models made here load with `transformers.AutoModelForCausalLM.from_pretrained(folder)` (see `autogpt.models.auto`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autogpt.errors import (
    AutoGPTError,
    BadInput,
    BudgetError,
    ConfigError,
    DataError,
    EndpointError,
    Interrupted,
    ModelError,
    NoModelError,
    StoreError,
    StoreUnavailable,
    TaskError,
    TrainingError,
)
from autogpt.models.auto import install as _install

if TYPE_CHECKING:
    from autogpt.model import Model, load
    from autogpt.pipeline import fit
    from autogpt.tasks.spec import TaskSpec
    from autogpt.tasks.understand import understand

    __version__: str

__all__ = [
    "AutoGPTError",
    "BadInput",
    "BudgetError",
    "ConfigError",
    "DataError",
    "EndpointError",
    "Interrupted",
    "Model",
    "ModelError",
    "NoModelError",
    "StoreError",
    "StoreUnavailable",
    "TaskError",
    "TaskSpec",
    "TrainingError",
    "__version__",
    "fit",
    "load",
    "understand",
]

_LAZY = {
    "Model": "autogpt.model",
    "TaskSpec": "autogpt.tasks.spec",
    "fit": "autogpt.pipeline",
    "load": "autogpt.model",
    "understand": "autogpt.tasks.understand",
}
"""Public name → module that defines it."""


def __getattr__(name: str) -> Any:
    """Called for names that are not there yet; what it finds is kept."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("autogpt-lm")
    elif name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
    else:
        raise AttributeError(f"module 'autogpt' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_install()

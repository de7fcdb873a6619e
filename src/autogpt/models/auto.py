"""Makes the Auto classes of `transformers` know our models after `import autogpt`, without importing anything heavy.

`import autogpt` must not import torch, and `transformers` loads its parts when they are first used. So `install` puts a
finder in front of the import system that waits for these modules:

- `transformers.models.auto.configuration_auto` and `…modeling_auto`, the tables from model type to class *name*: right
  after each has been executed, our names are added to its table, which imports nothing;
- `transformers.models.autogpt` and the like, from where the tables then fetch our classes when a folder asks for them:
  each is served from a file of `autogpt.models`, and only then is that file imported.

Where the tables were imported before us, the classes are registered directly through the public `register` methods. The
finder stays, so that a reload of the tables does not lose our names. It declines every other module.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["install"]

_OURS = {
    "autogpt": ("autogpt.models.gpt", "GPT"),
    "autogpt_latent": ("autogpt.models.latent", "LatentGPT"),
    "autogpt_multitask": ("autogpt.models.multitask", "MultitaskGPT"),
}
"""Model type → the file of its classes, and what their names begin with."""
_SERVED = {f"transformers.models.{model_type}": file for model_type, (file, _) in _OURS.items()}
_CONFIGURATIONS = "transformers.models.auto.configuration_auto"
_MODELS = "transformers.models.auto.modeling_auto"
_ADDED = {
    _CONFIGURATIONS: {"CONFIG_MAPPING_NAMES": "Config"},
    _MODELS: {"MODEL_MAPPING_NAMES": "Model", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": ""},
}
"""Module → table in it → what the names of our classes in it end with."""


def install() -> None:
    """Take care that our models are known, now or as soon as `transformers` is used. May be called again."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # A reload of this module makes a new class; the finder of the old one goes, so that there is never a second.
        sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__qualname__ != _Finder.__qualname__]
        sys.meta_path.insert(0, _Finder())
    # A thread that began to import a table before now may have passed the place of our finder, also while the table is
    # not in sys.modules yet: each is waited for. The models first: while they are executed, they walk through the table
    # of configurations.
    models, configurations = _imported(_MODELS), _imported(_CONFIGURATIONS)
    if configurations is not None:
        _add_names(configurations)
    if models is not None:
        _add_names(models)
        from autogpt.models.hub import register

        register()


def _imported(name: str) -> ModuleType | None:
    """The module if it has been imported, waiting for a thread that is in the middle of it; never imports it."""
    # The import system's own way to wait. `import_module` waits too, but only for what is in sys.modules; from the
    # search for the file until the module's creation, it would import it.
    importlib._bootstrap._lock_unlock_module(name)  # type: ignore[attr-defined]
    return sys.modules.get(name)


def _add_names(module: ModuleType) -> None:
    for table, ending in _ADDED[module.__name__].items():
        for model_type, (_, name) in _OURS.items():
            getattr(module, table)[model_type] = name + ending


class _Finder(importlib.abc.MetaPathFinder):
    """See the module's docstring."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in _SERVED:
            return importlib.machinery.ModuleSpec(fullname, _Served())
        if fullname not in _ADDED:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                _call_after_execution(spec)
                return spec
        return None


def _call_after_execution(spec: importlib.machinery.ModuleSpec) -> None:
    """Let the spec's loader, which belongs to this one import, add our names once the module has been executed."""
    loader = spec.loader
    if loader is None:
        return
    execute = loader.exec_module

    def execute_and_add(module: ModuleType) -> None:
        if module.__name__ == _MODELS and (configurations := _imported(_CONFIGURATIONS)) is not None:
            # The models are a reversed copy of this table; another thread may be on its way to complete it.
            _add_names(configurations)
        execute(module)
        _add_names(module)

    loader.exec_module = execute_and_add  # type: ignore[method-assign]


class _Served(importlib.abc.Loader):
    """Fills a module of `_SERVED` with our classes."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        ours = importlib.import_module(_SERVED[module.__name__])
        for name in ours.__all__:
            setattr(module, name, getattr(ours, name))

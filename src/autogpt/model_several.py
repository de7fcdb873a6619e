"""A model that does several tasks: one set of weights, and for each task a `Model` of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autogpt.errors import ModelError
from autogpt.model import RECIPE_FILE, Model, load, tasks_of

__all__ = ["MultitaskModel", "model_in"]


class MultitaskModel:
    """What a fit of several tasks returns.

        desk = autogpt.fit("sort mails into categories; write a reply", ["mails.jsonl", "replies.jsonl"])
        desk["mails"].predict(rows)
        desk.generate("My parcel has not arrived.", task="replies")

    Args:
        folder: of the whole model.
        name: what to call it; the folder's recorded name when not given.

    Attributes:
        tasks: their names.
    """

    def __init__(self, folder: Path, *, name: str | None = None) -> None:
        self.folder, self.tasks = folder, tuple(tasks_of(folder))
        if not self.tasks:
            raise ModelError(
                f"{str(folder)!r} is not a model of several tasks", expected=f"{RECIPE_FILE} that names them"
            )
        self.recipe: dict[str, Any] = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
        self.name = name or str(self.recipe.get("name", folder.name))
        self._models: dict[str, Model] = {}

    def __repr__(self) -> str:
        return f"MultitaskModel({self.name!r}, {', '.join(self.tasks)}, {str(self.folder)!r})"

    def __getitem__(self, task: str) -> Model:
        """The model of one task, loaded once. Raises ModelError for another name, with the nearest one."""
        if task not in self._models:
            model = load(self.folder, task)
            model.name = f"{self.name}/{task}"
            self._models[task] = model
        return self._models[task]

    def predict(self, rows: Iterable[Mapping[str, Any] | str], *, task: str, **options: Any) -> list[dict[str, Any]]:
        """`Model.predict` of one task."""
        return self[task].predict(rows, **options)

    def generate(self, text: str | Mapping[str, Any], *, task: str, **options: Any) -> str:
        """`Model.generate` of one task."""
        return self[task].generate(text, **options)

    def evaluate(self, data: Mapping[str, str | Path]) -> dict[str, Any]:
        """Task → its metrics on its file, as `Model.evaluate` gives them."""
        return {task: self[task].evaluate(file) for task, file in data.items()}

    def save(self, folder: str | Path) -> None:
        """Copy the model folder, all tasks, to `folder`, which must not exist."""
        target = Path(folder)
        if target.exists():
            raise ModelError(f"{str(target)!r} exists already", todo="choose a new folder")
        shutil.copytree(self.folder, target)


def model_in(folder: Path, name: str | None = None) -> Model | MultitaskModel:
    """What a fit left in `folder`: a model of one task or of several."""
    return MultitaskModel(folder, name=name) if tasks_of(folder) else Model(folder, name=name)

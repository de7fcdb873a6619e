"""A model of several tasks against the plain model of each: the same answers, from one set of weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import ModelError
from autogpt.model import RECIPE_FILE, SHARED, TASK_FILE, TASKS, Model, load, located, tasks_of
from autogpt.model_several import MultitaskModel, model_in
from autogpt.models.gpt import GPT
from autogpt.models.hub import save_model
from autogpt.models.multitask import MultitaskGPT
from autogpt.models.sizing import shape_for
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.training.machine import Machine

TEXTS = ["the cat sat on the mat", "a bird and a plane", "one tree by the house", "my old red rose"]
ROWS = [{"text": text} for text in TEXTS]


def _spec(kind: TaskKind, **fields: Any) -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    values = {"input_fields": ["text"], "output_field": "label", **fields}
    return TaskSpec(description="a test", kind=kind, metric=metric, direction=METRIC_DIRECTION[metric], **values)


SPECS = {
    "animals": _spec(TaskKind.CLASSIFICATION, labels=["cat", "bird"]),
    "titles": _spec(TaskKind.SUMMARIZATION),
    "sizes": _spec(TaskKind.CLASSIFICATION, labels=["small", "large", "huge"]),
}


def _recipe(folder: Path, **fields: Any) -> None:
    recipe = {"context": 64, "max_new_tokens": 6, "repetition_penalty": 1.0, "temperature": 1.0, "budget_s": 60.0}
    (folder / RECIPE_FILE).write_text(json.dumps({**recipe, **fields}), encoding="utf-8")


@pytest.fixture(autouse=True)
def _whole_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 the weights of an untrained model answer otherwise from one place in memory than from another."""
    monkeypatch.setattr("autogpt.training.machine.probe", lambda: Machine("cpu", 1, "fp32", 1e9, ""))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of three tasks in `desk`, and in `alone` a plain model of each."""
    folder = tmp_path_factory.mktemp("built")
    tokenizer = train_tokenizer(TEXTS * 4, 350)
    torch.manual_seed(0)
    gpt = GPT(shape_for(32, depth=2, vocab_size=len(tokenizer), context=64))
    gpt.config.bos_token_id = tokenizer.bos_token_id
    model = MultitaskGPT.from_gpt(gpt, tasks=3, sharing="own")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    save_model(model, tokenizer, folder / "desk" / SHARED)
    for place, (name, spec) in enumerate(SPECS.items()):
        own, alone = folder / "desk" / TASKS / name, folder / "alone" / name
        own.mkdir(parents=True)
        save_model(model.plain(place), tokenizer, alone)
        spec.save(own / TASK_FILE)
        spec.save(alone / TASK_FILE)
        weights = {"folder": f"../../{SHARED}", "task": place}
        _recipe(own, name=f"desk/{name}", weights=weights, fit={"known_task": False})
        _recipe(alone, name=name)
    _recipe(folder / "desk", name="desk", tasks=list(SPECS), fit={"known_task": False})
    return folder


@pytest.fixture(scope="module")
def desk(built: Path) -> MultitaskModel:
    return MultitaskModel(built / "desk")


@pytest.mark.parametrize("task", SPECS)
def test_each_task_answers_as_the_plain_model_that_it_multiplies_out_to(
    task: str, desk: MultitaskModel, built: Path
) -> None:
    plain = load(built / "alone" / task)
    found, expected = desk[task].predict(ROWS), plain.predict(ROWS)
    assert [one["prediction"] for one in found] == [one["prediction"] for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.get("scores", {}) == pytest.approx(other.get("scores", {}), abs=1e-4)
    assert desk.predict(ROWS, task=task) == found
    assert desk.generate(TEXTS[0], task=task) == plain.generate(TEXTS[0])


def test_tasks_do_not_answer_alike(desk: MultitaskModel, built: Path, tmp_path: Path) -> None:
    """Else it would not matter which task a row is of: the same labels asked of another task score differently."""
    other = tmp_path / "desk"
    shutil.copytree(built / "desk", other)
    SPECS["animals"].save(other / TASKS / "sizes" / TASK_FILE)
    found, expected = (
        [one["scores"]["cat"] for one in model.predict(ROWS)] for model in (desk["animals"], load(other, "sizes"))
    )
    assert found != pytest.approx(expected, abs=1e-3)


def test_a_task_is_loaded_once_and_called_by_both_names(desk: MultitaskModel) -> None:
    assert (desk.name, desk.tasks) == ("desk", tuple(SPECS))
    assert desk["titles"] is desk["titles"]
    assert desk["titles"].name == "desk/titles"
    assert repr(desk).startswith("MultitaskModel('desk', animals, titles, sizes, ")
    named = MultitaskModel(desk.folder, name="office")
    assert (named.name, named["sizes"].name) == ("office", "office/sizes")
    assert desk["sizes"].weights_folder == (desk.folder / SHARED).resolve()


def test_each_file_is_scored_by_its_task(desk: MultitaskModel, built: Path, tmp_path: Path) -> None:
    files = {}
    for task, labels in (("animals", ["cat", "bird"]), ("sizes", ["small", "huge"])):
        rows = [{"text": TEXTS[i % 4] + f" {i}", "label": labels[i % 2]} for i in range(12)]
        files[task] = tmp_path / f"{task}.jsonl"
        files[task].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = desk.evaluate(files)
    assert list(found) == ["animals", "sizes"]
    for task, file in files.items():
        alone = load(built / "alone" / task).evaluate(file)
        assert found[task]["metrics"] == alone["metrics"]
        assert found[task]["model"] == f"desk/{task}"


def test_a_copy_needs_nothing_of_the_original(desk: MultitaskModel, tmp_path: Path) -> None:
    desk.save(tmp_path / "copy")
    copy = MultitaskModel(tmp_path / "copy")
    assert copy.predict(ROWS, task="animals") == desk.predict(ROWS, task="animals")
    assert copy["animals"].weights_folder == tmp_path / "copy" / SHARED
    with pytest.raises(ModelError, match="exists already"):
        desk.save(tmp_path / "copy")


def test_a_copy_of_one_task_needs_nothing_of_the_original(desk: MultitaskModel, tmp_path: Path) -> None:
    desk["animals"].save(tmp_path / "copy")
    for found, expected in zip(load(tmp_path / "copy").predict(ROWS), desk["animals"].predict(ROWS), strict=True):
        assert found["scores"] == pytest.approx(expected["scores"], abs=1e-4)


def test_what_a_folder_holds_is_told(desk: MultitaskModel, built: Path, tmp_path: Path) -> None:
    assert tasks_of(desk.folder) == list(SPECS)
    assert tasks_of(built / "alone" / "sizes") == tasks_of(tmp_path) == tasks_of(tmp_path / "none") == []
    assert isinstance(model_in(desk.folder), MultitaskModel)
    assert isinstance(model_in(built / "alone" / "sizes", "other"), Model)
    assert model_in(built / "alone" / "sizes", "other").name == "other"
    with pytest.raises(ModelError, match="is not a model of several tasks"):
        MultitaskModel(built / "alone" / "sizes")
    with pytest.raises(ModelError, match="is not a model made by autogpt"):
        model_in(tmp_path)


# --- loading one task ------------------------------------------------------------------------------------------------


def test_a_task_is_loaded_by_its_name_or_its_folder(desk: MultitaskModel) -> None:
    expected = desk["sizes"].predict(ROWS)
    for model in (
        load(desk.folder, "sizes"),
        load(str(desk.folder), task="sizes"),
        load(desk.folder / TASKS / "sizes"),
    ):
        assert model.predict(ROWS) == expected
        assert model.name == "desk/sizes"


def test_a_task_must_be_named_and_be_there(desk: MultitaskModel, built: Path) -> None:
    with pytest.raises(ModelError, match=r"does 3 tasks; expected one of animals, titles, sizes"):
        load(desk.folder)
    for ask in (lambda: load(desk.folder, "size"), lambda: desk["size"]):
        with pytest.raises(ModelError, match=r"has no task 'size'; expected one of .*; did you mean 'sizes'"):
            ask()
    with pytest.raises(ModelError, match=r"does one task; found task 'sizes'"):
        load(built / "alone" / "sizes", "sizes")


def test_a_folder_tells_its_own_name(desk: MultitaskModel) -> None:
    assert located(desk.folder) == (desk.folder, None, None)
    assert located(str(desk.folder)) == (desk.folder, None, None)

"""The public model, one tiny real one of each sort: predict, generate, stream, chat, evaluate, score, save."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import ConfigError, DataError, ModelError, TaskError
from autogpt.generation.grammar import json_schema, one_of
from autogpt.model import RECIPE_FILE, TASK_FILE, Model, load, tasks_of
from autogpt.models.gpt import GPT
from autogpt.models.hub import save_model
from autogpt.models.sizing import shape_for
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec

TEXTS = ["the cat sat on the mat", "今天天气很好", "a bird and a plane", "User: hi\nAssistant: hello\n"]


def _model(folder: Path, kind: TaskKind, **fields: Any) -> Model:
    """An untrained model of `kind`, saved as a run saves it."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS * 4, 400)
    model = GPT(shape_for(32, depth=2, vocab_size=len(tokenizer), context=96))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_model(model, tokenizer, folder)
    metric = METRICS_OF_KIND[kind][0]
    values = {"input_fields": ["text"], "output_field": "out", **fields}
    spec = TaskSpec(description="a test", kind=kind, metric=metric, direction=METRIC_DIRECTION[metric], **values)
    spec.save(folder / TASK_FILE)
    recipe = {"name": "tiny", "context": 96, "max_new_tokens": 8, "repetition_penalty": 1.0, "budget_s": 60.0}
    (folder / RECIPE_FILE).write_text(json.dumps(recipe), encoding="utf-8")
    return Model(folder)


def test_labels_come_with_probabilities_in_the_order_of_the_rows(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.CLASSIFICATION, labels=["cat", "bird", "天气"])
    rows = [{"text": f"{word} {i}", "other": 1} for i, word in enumerate(["the cat", "今天", "a", "the mat"] * 3)]
    found = model.predict(rows)
    assert len(found) == len(rows)
    for i, document in enumerate(found):
        assert sum(document["scores"].values()) == pytest.approx(1.0, abs=1e-4)
        assert document["prediction"] == max(document["scores"], key=document["scores"].get)
        assert model.predict([rows[i]])[0]["scores"] == pytest.approx(document["scores"], abs=1e-4)
    assert model.generate("the cat 0") == found[0]["prediction"]


def test_a_fitted_temperature_changes_how_sure_it_is_and_nothing_else(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.CLASSIFICATION, labels=["cat", "bird", "天气"])
    rows = [{"text": text, "out": ["cat", "bird"][i % 2]} for i, text in enumerate(TEXTS * 5)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plain, measured = model.predict(rows), model.evaluate(data)
    model.recipe["temperature"] = 2.0
    for before, after in zip(plain, model.predict(rows), strict=True):
        roots = {label: share**0.5 for label, share in before["scores"].items()}
        assert after["prediction"] == before["prediction"]
        assert after["scores"] == pytest.approx({k: v / sum(roots.values()) for k, v in roots.items()}, abs=1e-5)
    again = model.evaluate(data)
    for name in ("accuracy", "macro_f1"):
        assert again["metrics"][name] == measured["metrics"][name]


def test_entities_are_spans_of_the_text(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.EXTRACTION, labels=["THING"])
    text = "the cat sat on the mat"
    (document,) = model.predict([{"text": text}])
    for entity in document["prediction"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]


def test_a_stream_joins_to_what_generate_gives(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.SUMMARIZATION)
    pieces = list(model.stream("the cat sat", seed=3))
    assert "".join(pieces).strip() == model.generate("the cat sat", seed=3)
    assert model.generate("the cat sat", temperature=1.0, seed=1) == model.generate(
        "the cat sat", temperature=1.0, seed=1
    )


def test_plain_continuation_goes_on_from_the_text(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.GENERATION, input_fields=[], output_field="text", layout="text")
    assert isinstance(model.generate("the cat", max_new_tokens=5), str)
    assert set(model.predict(["the cat", "今天"])[0]) == {"prediction"}
    bits = model.score("the cat sat on the mat")
    ids = torch.tensor([[0, *model.engine.encode_prompts(["the cat sat on the mat"])[0][1:], model.engine.eos_id]])
    ids[0, 0] = model.engine.bos_id
    with torch.no_grad():
        logs = model.engine.model(ids).logits[0].log_softmax(-1)
    nats = -float(logs[:-1].gather(1, ids[0, 1:, None]).sum())
    assert bits == pytest.approx(nats / 0.6931471805599453 / 22, rel=1e-3)


def test_a_conversation_is_answered_and_a_classifier_does_not_chat(tmp_path: Path) -> None:
    talker = _model(
        tmp_path / "a", TaskKind.DIALOGUE, input_fields=["messages"], output_field="messages", layout="messages"
    )
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "x"},
    ]
    assert isinstance("".join(talker.chat(turns)), str)
    sorter = _model(tmp_path / "b", TaskKind.CLASSIFICATION, labels=["a", "b"])
    with pytest.raises(TaskError, match="does not chat"):
        list(sorter.chat(turns))


def test_evaluation_gives_every_metric_with_its_interval(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.CLASSIFICATION, labels=["cat", "bird"])
    data = tmp_path / "rows.jsonl"
    rows = [{"text": f"row {i}", "out": ["cat", "bird"][i % 2]} for i in range(30)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    document = model.evaluate(data)
    assert document["n"] == 30
    assert set(document["metrics"]) == {"accuracy", "macro_f1"}
    right = sum(answer["prediction"] == row["out"] for answer, row in zip(model.predict(rows), rows, strict=True))
    assert document["metrics"]["accuracy"]["value"] == pytest.approx(right / 30)
    low, high = document["metrics"]["accuracy"]["ci95"]
    assert low <= right / 30 <= high


def test_a_row_without_the_input_is_named(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.CLASSIFICATION, labels=["cat", "bird"])
    with pytest.raises(DataError):
        model.predict([{"text": "fine"}, {"txt": "no"}])


def test_saving_copies_and_never_overwrites(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.CLASSIFICATION, labels=["cat", "bird"])
    model.save(tmp_path / "copy")
    assert load(tmp_path / "copy").predict(["the cat"]) == model.predict(["the cat"])
    with pytest.raises(ModelError, match="exists"):
        model.save(tmp_path / "copy")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model"):
        load(tmp_path)
    with pytest.raises(ModelError):
        load("no-such-model")


def test_a_model_of_one_task_has_no_other(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.CLASSIFICATION, labels=["cat", "bird"])
    assert tasks_of(model.folder) == []
    assert model.weights_folder == model.folder
    with pytest.raises(ModelError, match=r"does one task; found task 'sort'; use .* alone"):
        load(tmp_path / "m", "sort")


@pytest.mark.parametrize("name", ["desk/mails", "desk", "desk/"])
def test_of_a_name_and_a_task_the_name_is_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOGPT_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="'desk'"):
        load(name)


def test_every_sampling_option_is_taken_by_name(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.GENERATION, input_fields=[], output_field="text", layout="text")
    options: list[dict[str, Any]] = [
        {"min_p": 0.1, "typical_p": 0.9, "top_k": 20},
        {"frequency_penalty": 1.0, "presence_penalty": 1.0, "no_repeat_ngram": 2, "dry_multiplier": 0.8},
        {"beams": 3, "length_penalty": 0.5},
        {"contrastive_alpha": 0.6, "top_k": 4},
        {"logit_bias": {5: 1.0}, "stop": "zz", "min_new_tokens": 3, "logprobs": 1},
    ]
    for given in options:
        text = model.generate("the cat", **given)
        assert text == "".join(model.stream("the cat", **given)).strip()
        assert text == "".join(model.chat([{"role": "user", "content": "the cat"}], **given)).strip()
        assert set(model.predict(["the cat"], **given)[0]) == {"prediction"}
        assert model.predict(["the cat"], **given) == model.predict(["the cat"], sampling=given)
    assert model.predict(["the cat"], max_new_tokens=2) != model.predict(["the cat"], max_new_tokens=8)
    for call in (model.generate, model.predict):
        with pytest.raises(ConfigError, match="did you mean 'top_k'"):
            call("the cat", topk=3)


def test_an_empty_prompt_is_continued(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.GENERATION, input_fields=[], output_field="text", layout="text")
    assert model.generate("", min_new_tokens=6) == "".join(model.stream("", min_new_tokens=6)).strip()
    assert model.predict([""], min_new_tokens=6)[0]["prediction"]


def test_a_grammar_holds_what_is_generated(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.SUMMARIZATION)
    grammar = json_schema({"enum": ["a", 1, None]})
    assert json.loads(model.generate("the cat", grammar=grammar, max_new_tokens=20)) in ("a", 1, None)
    talker = _model(
        tmp_path / "a", TaskKind.DIALOGUE, input_fields=["messages"], output_field="messages", layout="messages"
    )
    said = "".join(talker.chat([{"role": "user", "content": "hi"}], grammar=one_of(["yes", "no"])))
    assert said in ("yes", "no")
    sorter = _model(tmp_path / "b", TaskKind.CLASSIFICATION, labels=["a", "b"])
    with pytest.raises(TaskError, match="takes no grammar"):
        sorter.generate("x", grammar=grammar)


def test_a_session_learns_is_kept_and_is_the_models_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGPT_HOME", str(tmp_path / "home"))
    model = _model(tmp_path / "m", TaskKind.GENERATION, input_fields=[], output_field="text", layout="text")
    text = "the cat sat on the mat and a bird sat on a plane " * 8
    plain = model.generate("the cat", temperature=0.0)
    with model.session("novel") as session:
        "".join(model.stream(text, session=session, max_new_tokens=4))
    assert session.tokens > 50
    (told,) = Model(tmp_path / "m").sessions.list()
    assert (told.name, told.tokens) == ("novel", session.tokens)
    with model.session("novel") as again:
        assert torch.equal(again.state.bias, session.state.bias)
    assert model.generate("the cat", temperature=0.0) == plain  # the model itself learns nothing
    with suppress(ZeroDivisionError), model.session("novel") as failing:
        model.adaptation.read(failing, [5, 6, 7, 8, 9])
        raise ZeroDivisionError
    assert model.sessions.list()[0].tokens == session.tokens + 4
    with (tmp_path / "m" / "model.safetensors").open("ab") as file:  # other weights
        file.write(b" ")
    with pytest.raises(ModelError, match="belongs to another model"), model.session("novel"):
        pass


def test_adapting_lowers_the_bits_of_a_text_that_repeats_itself(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.GENERATION, input_fields=[], output_field="text", layout="text")
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"text": "the cat sat on the mat " * 12}) + "\n", encoding="utf-8")
    data.write_text(data.read_text() * 6, encoding="utf-8")
    found = model.evaluate(data, adapt=True)
    assert found["adapted"]["bits_per_byte"]["value"] < 0.95 * found["metrics"]["bits_per_byte"]["value"]
    assert found["metrics"] == model.evaluate(data)["metrics"]


def test_a_classifier_does_not_adapt(tmp_path: Path) -> None:
    model = _model(tmp_path / "m", TaskKind.CLASSIFICATION, labels=["cat", "bird"])
    with pytest.raises(TaskError, match="does not adapt"), model.session():
        pass

"""`load_config` of the hand-written loop."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from autogpt.errors import ConfigError
from autogpt.utils import DEFAULTS, LoopConfig, MissingKeyError, load_config


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_with_defaults_and_unknown_keys(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "dataset_path: 数据.jsonl\nepochs: 7\nlearning_rate: 5e-5\nbeam: 4\n"))
    assert (config.dataset_path, config.epochs, config.beam) == ("数据.jsonl", 7, 4)
    assert config.learning_rate == 5e-5  # which YAML reads as text
    assert config.batch_size == DEFAULTS["batch_size"]


def test_json(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, '{"batch_size": 2, "model_path": "out"}', "c.json")).batch_size == 2


def test_path_from_the_environment_then_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOGPT_CONFIG", raising=False)
    written(tmp_path, "epochs: 1\n")
    assert load_config().epochs == 1
    monkeypatch.setenv("AUTOGPT_CONFIG", str(written(tmp_path, "epochs: 2\n", "other.yaml")))
    assert load_config().epochs == 2


def test_a_missing_key_is_reported_when_it_is_read(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "epochs: 1\n"))
    with pytest.raises(MissingKeyError, match=r"no key 'dataset_path'; add a line `dataset_path: …`"):
        _ = config.dataset_path
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        _ = config.batchsize
    assert not hasattr(config, "dataset_path")


def test_frozen_and_copyable(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "epochs: 1\n"))
    with pytest.raises(AttributeError, match="frozen"):
        config.epochs = 2
    assert copy.deepcopy(config).epochs == pickle.loads(pickle.dumps(config)).epochs == 1
    assert "epochs=1" in repr(config)
    assert set(config) >= set(DEFAULTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "found list; expected lines"),
        ("a: [", "cannot be read"),
        ("epochs: many\n", "epochs in .*found 'many'; expected a number"),
        ("epochs: 0\n", "expected a number above 0"),
        ("batch_size: 2.5\n", "batch_size"),
        ("learning_rate: -1\n", "above 0"),
        ("epochs: true\n", "epochs"),
        ("learning_rate: .nan\n", "learning_rate"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "none.yaml")


def test_a_folder_or_hub_id_stays_as_it_is(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, f"model_name: {tmp_path}\n")).model_name == str(tmp_path)
    assert load_config(written(tmp_path, "model_name: someone/some-model\n")).model_name == "someone/some-model"


def test_a_catalogue_name_becomes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autogpt.models import bases

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bases, "resolve", lambda name, home: tmp_path / "bases" / name)
    config = load_config(written(tmp_path, "model_name: smollm2-135m\n"))
    assert config.model_name == str(tmp_path / "bases" / "smollm2-135m")


def test_the_object_alone() -> None:
    assert LoopConfig({"model_name": "m"}).model_name == "m"

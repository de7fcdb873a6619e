"""Model folders: round trips, what other programs see of them, atomic replacement, and clear words for broken ones."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from autogpt.errors import ModelError, StoreError
from autogpt.models import hub
from autogpt.models.adapters import add_lora
from autogpt.models.gpt import GPT
from autogpt.models.hub import as_gpt, as_llama, load_model, save_model

Make = Callable[..., GPT]
Fresh = Callable[..., subprocess.CompletedProcess[str]]

OTHER_SHAPES: list[dict[str, Any]] = [
    {"mlp": "relu2"},
    {"qk_norm": True, "tie_word_embeddings": False},
    {"position": "learned"},
    {"position": "sinusoidal"},
]
IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


@pytest.fixture
def saved(make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    save_model(make(), tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama_shape_is_saved_as_llama(
    make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, tied: bool
) -> None:
    model = make(tie_word_embeddings=tied, rope_theta=5000.0, dropout=0.1)
    save_model(model, tokenizer, tmp_path / "m")
    loaded, _ = load_model(tmp_path / "m")
    assert isinstance(loaded, LlamaForCausalLM)
    assert not loaded.training
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits, atol=1e-5, rtol=1e-4)
    assert ("lm_head.weight" in load_file(tmp_path / "m" / "model.safetensors")) == (not tied)


@pytest.mark.parametrize("fields", OTHER_SHAPES)
def test_other_shapes_come_back_as_they_were(
    make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, fields: dict[str, Any]
) -> None:
    model = make(**fields)
    save_model(model, tokenizer, tmp_path / "m")
    loaded, _ = load_model(tmp_path / "m")
    assert isinstance(loaded, GPT)
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "attention_mask": torch.ones_like(IDS)}
    assert torch.equal(loaded.generate(IDS, **options), model.generate(IDS, pad_token_id=0, **options))


def test_the_tokenizer_comes_back(saved: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    _, loaded = load_model(saved)
    for text in ("The capital  of France\n", "你好，世界 🙂", "  <|eos|> x", ""):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert loaded(text, add_special_tokens=False).input_ids == ids
        assert loaded.decode(ids) == tokenizer.decode(ids)
    assert (loaded.bos_token_id, loaded.eos_token_id) == (tokenizer.bos_token_id, tokenizer.eos_token_id)


def test_what_is_in_a_folder(saved: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    names = {path.name for path in saved.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {path.suffix for path in saved.iterdir()} <= {".json", ".safetensors", ".jinja"}
    for name in ("config.json", "generation_config.json"):
        written = json.loads((saved / name).read_text(encoding="utf-8"))
        assert written["eos_token_id"] == tokenizer.eos_token_id
        assert written["bos_token_id"] == tokenizer.bos_token_id
        assert written["pad_token_id"] == tokenizer.pad_token_id
    assert "local" not in (saved / "tokenizer_config.json").read_text(encoding="utf-8")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in saved.iterdir()}
    assert len(modes) == 1
    assert os.listdir(saved.parent) == ["model"]


def test_a_fresh_process_with_only_transformers(
    saved: Path, make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, fresh: Fresh
) -> None:
    """It loads a Llama shape, and refuses any other, which needs `import autogpt`."""
    save_model(make(mlp="relu2"), tokenizer, tmp_path / "other")
    script = (
        "import sys, torch\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "print(type(model).__name__, 'autogpt' in sys.modules)\n"
        "print(tokenizer('Paris', add_special_tokens=False).input_ids)\n"
        "print(model(torch.tensor([[5, 6, 7, 8, 9, 10]])).logits.flatten()[:4].tolist())\n"
        "AutoModelForCausalLM.from_pretrained(sys.argv[2])"
    )
    done = fresh(script, saved, tmp_path / "other")
    assert done.returncode == 1
    assert "model type `autogpt`" in done.stderr
    kind, ids, logits = done.stdout.splitlines()
    assert kind == "LlamaForCausalLM False"
    assert json.loads(ids) == tokenizer("Paris", add_special_tokens=False).input_ids
    model, _ = load_model(saved)
    assert json.loads(logits) == pytest.approx(model(IDS).logits.flatten()[:4].tolist(), abs=1e-5)


def test_saving_does_not_change_the_model_in_memory(
    make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config, training = model.config.to_dict(), model.training
    save_model(model, tokenizer, tmp_path / "m")
    assert model.config.to_dict() == config
    assert model.training == training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_adapters_are_merged_when_saved(make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    adapted = add_lora(make(), rank=4, alpha=8).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    save_model(adapted, tokenizer, tmp_path / "m")
    loaded, _ = load_model(tmp_path / "m")
    assert isinstance(loaded, LlamaForCausalLM)
    torch.testing.assert_close(loaded(IDS).logits, adapted(IDS).logits, atol=1e-4, rtol=1e-4)


def test_dtype(make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save_model(make().bfloat16(), tokenizer, tmp_path / "m")
    assert load_model(tmp_path / "m")[0].dtype == torch.bfloat16
    assert load_model(tmp_path / "m", dtype=torch.float32)[0].dtype == torch.float32


def test_llama_and_gpt_share_weights(make: Make) -> None:
    model = make().train()
    llama = as_llama(model)
    back = as_gpt(llama)
    assert isinstance(back, GPT)
    assert (llama.training, back.training) == (True, True)
    for mine, other in zip(model.parameters(), back.parameters(), strict=True):
        assert mine.data_ptr() == other.data_ptr()
    assert back.lm_head.weight is back.model.embed_tokens.weight
    torch.testing.assert_close(back(IDS).logits, model(IDS).logits)
    torch.testing.assert_close(llama(IDS).logits, model(IDS).logits, atol=1e-5, rtol=1e-4)


def test_what_is_no_plain_llama_stays_what_it_is(make: Make) -> None:
    shape = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    other = Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=2, intermediate_size=32))
    assert as_gpt(other) is other
    scaled = as_llama(make())
    scaled.config.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    assert as_gpt(scaled) is scaled
    with pytest.raises(ModelError, match="no Llama-shaped"):
        as_llama(make(mlp="relu2"))


# --- atomic ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_replaced(make: Make, tokenizer: PreTrainedTokenizerFast, saved: Path) -> None:
    (saved / "stale.txt").write_text("x", encoding="utf-8")
    other = make(seed=1)
    save_model(other, tokenizer, saved)
    assert not (saved / "stale.txt").exists()
    torch.testing.assert_close(load_model(saved)[0](IDS).logits, other(IDS).logits, atol=1e-5, rtol=1e-4)
    assert os.listdir(saved.parent) == ["model"]


def test_a_full_disk_leaves_what_was_there(
    make: Make, tokenizer: PreTrainedTokenizerFast, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (saved / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", full)
    with pytest.raises(StoreError, match="No space left"):
        save_model(make(seed=1), tokenizer, saved)
    assert (saved / "model.safetensors").read_bytes() == before
    assert os.listdir(saved.parent) == ["model"]


def test_a_crash_between_the_two_renames_is_mended(saved: Path) -> None:
    saved.rename(hub._previous(saved))
    assert load_model(saved)[0](IDS).logits.isfinite().all()
    assert os.listdir(saved.parent) == ["model"]


def test_a_rename_that_fails_puts_the_former_folder_back(
    make: Make, tokenizer: PreTrainedTokenizerFast, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fails_for_the_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".writing"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new)
    with pytest.raises(StoreError, match="Permission denied"):
        save_model(make(seed=1), tokenizer, saved)
    assert load_model(saved)[0](IDS).logits.isfinite().all()
    assert os.listdir(saved.parent) == ["model"]


# --- broken folders --------------------------------------------------------------------------------------------------


def drop_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8") and None


def cut(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
        (write("config.json", "{"), "cannot be loaded"),
        (write("config.json", '{"model_type": "nonsense"}'), "cannot be loaded"),
        (write("tokenizer.json", "{}"), "cannot be loaded"),
        (write("model.safetensors.index.json", "[]"), "damaged weight index"),
        (
            write("model.safetensors.index.json", '{"weight_map": {"a": "model-2.safetensors"}}'),
            "no model-2.safetensors",
        ),
        (cut, "cannot be loaded"),
        (drop_weight, "up_proj"),
    ],
)
def test_a_broken_folder(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)


def test_a_tokenizer_larger_than_the_embeddings(make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save_model(make(vocab_size=len(tokenizer) - 1), tokenizer, tmp_path / "m")
    with pytest.raises(ModelError, match=f"do not match; found a vocabulary of {len(tokenizer)} for") as caught:
        load_model(tmp_path / "m")
    assert "\n" not in str(caught.value)
    save_model(make(vocab_size=len(tokenizer) + 9), tokenizer, tmp_path / "m")  # rows to spare do no harm
    assert load_model(tmp_path / "m")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        load_model(tmp_path / "none")


def test_code_in_a_folder_is_not_run(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (saved / "evil.py").write_text(f"open({str(saved / 'ran')!r}, 'w')", encoding="utf-8")
    with pytest.raises(ModelError):
        load_model(saved)
    assert not (saved / "ran").exists()

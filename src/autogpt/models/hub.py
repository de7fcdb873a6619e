"""Model folders: saved whole or not at all, loaded with a clear word when something is wrong.

A folder holds safetensors weights, `config.json`, `generation_config.json` and the tokenizer's files, and no code. A
GPT whose shape is Llama's is saved as `LlamaForCausalLM`, so that any engine loads it; any other loads with the Auto
classes of `transformers` after `import autogpt`.

What this file does not do: other weight formats, remote code, quantised weights.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from autogpt.errors import ModelError, StoreError
from autogpt.models.adapters import merge
from autogpt.models.gpt import GPT, GPTModel
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.latent import LatentGPT, LatentGPTConfig, LatentGPTModel
from autogpt.models.multitask import MultitaskGPT, MultitaskGPTConfig, MultitaskGPTModel
from autogpt.store.artifacts import sync

__all__ = [
    "as_gpt",
    "as_llama",
    "check_vocabulary",
    "load_model",
    "quiet",
    "register",
    "replaced_folder",
    "save_model",
    "write_model",
]

_SHARED_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "max_position_embeddings",
    "tie_word_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)

_LOADING_OPTIONS = ("is_local", "local_files_only", "name_or_path", "trust_remote_code")
"""How a tokenizer was loaded, which `transformers` writes among its settings."""


def register() -> None:
    """Make the Auto classes of `transformers` know GPT folders. May be called again. See also `models.auto`."""
    from transformers import AutoModel

    AutoConfig.register("autogpt", GPTConfig, exist_ok=True)
    AutoModel.register(GPTConfig, GPTModel, exist_ok=True)
    AutoModelForCausalLM.register(GPTConfig, GPT, exist_ok=True)
    AutoConfig.register("autogpt_latent", LatentGPTConfig, exist_ok=True)
    AutoModel.register(LatentGPTConfig, LatentGPTModel, exist_ok=True)
    AutoModelForCausalLM.register(LatentGPTConfig, LatentGPT, exist_ok=True)
    AutoConfig.register("autogpt_multitask", MultitaskGPTConfig, exist_ok=True)
    AutoModel.register(MultitaskGPTConfig, MultitaskGPTModel, exist_ok=True)
    AutoModelForCausalLM.register(MultitaskGPTConfig, MultitaskGPT, exist_ok=True)


def as_llama(model: PreTrainedModel) -> LlamaForCausalLM:
    """A Llama around the weights of a GPT, computing the same. Raises ModelError when the shape is not Llama's."""
    if not isinstance(model, GPT) or not model.config.is_llama_shaped:
        raise ModelError("this model is no Llama-shaped GPT", expected="rope, swiglu, no qk_norm, no late keys")
    fields = {name: getattr(model.config, name) for name in _SHARED_FIELDS}
    rope = {"rope_type": "default", "rope_theta": model.config.rope_theta}
    config = LlamaConfig(**fields, rope_parameters=rope, dtype=model.dtype)
    return _with_weights_of(model, LlamaForCausalLM, config)


def as_gpt(model: PreTrainedModel) -> PreTrainedModel:
    """A GPT around the weights of a plain Llama, which trains faster; any other model comes back itself."""
    config = model.config
    if not isinstance(model, LlamaForCausalLM) or config.rope_parameters["rope_type"] != "default":
        return model
    plain = not (config.attention_bias or config.mlp_bias or config.attention_dropout) and config.hidden_act == "silu"
    if not plain or config.head_dim * config.num_attention_heads != config.hidden_size:
        return model
    fields = {name: getattr(config, name) for name in _SHARED_FIELDS}
    gpt = GPTConfig(**fields, rope_theta=config.rope_parameters["rope_theta"], dtype=model.dtype)
    return _with_weights_of(model, GPT, gpt)


def _with_weights_of(model: PreTrainedModel, kind: type[Any], config: Any) -> Any:
    """A model of another class around the same parameters; its buffers are made anew."""
    with torch.device("meta"):
        other = kind(config)
    other.load_state_dict(model.state_dict(keep_vars=True), assign=True)
    other.tie_weights()
    for module in other.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.empty_like(buffer, device=model.device))
                other._init_weights(module)
    other.generation_config = GenerationConfig.from_model_config(config)
    return other.train(model.training)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps progress bars and advice of `transformers` off the terminal for a while; errors still raise."""
    bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; on leaving it is on disk and takes the place of `folder`, on an error it is gone.

    The former folder is moved aside before and removed after. A crash between leaves it beside as `.NAME.previous`,
    from where the next `load_model` or `save_model` takes it back.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _restore(folder)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.writing")
    temporary.mkdir()
    try:
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            sync(path)
        previous = _previous(folder)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        try:
            temporary.rename(folder)
        except OSError:
            _restore(folder)
            raise
        sync(folder.parent)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _restore(folder: Path) -> None:
    """Finish what a crash in `replaced_folder` left half done: put the former folder back where there is none."""
    folder = folder.absolute()
    if not folder.exists():
        with contextlib.suppress(FileNotFoundError):
            _previous(folder).rename(folder)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model folder, atomically, in place of one that is there. The model in memory is not changed.

    LoRA adapters are merged into a copy first; a Llama-shaped GPT is written as `LlamaForCausalLM`. Weights keep their
    dtype. The special token ids written are the tokenizer's.

    Raises:
        StoreError: the folder cannot be written (no space, no permission); what was there before is still there.
    """
    plain = merge(model)
    if isinstance(plain, GPT) and plain.config.is_llama_shaped:
        plain = as_llama(plain)
    try:
        with replaced_folder(Path(folder)) as temporary:
            write_model(plain, tokenizer, temporary)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"model folder {str(folder)!r} cannot be written",
            found=str(error),
            todo="check free space and permissions; nothing was changed",
        ) from error


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a plain model and its tokenizer into `folder` as they are, not atomically; `save_model` does the rest."""
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: getattr(tokenizer, name) for name in names if getattr(tokenizer, name) is not None}
    GenerationConfig(**ids).save_pretrained(folder)
    config = folder / "config.json"
    _rewrite_json(config, {**json.loads(config.read_text(encoding="utf-8")), **ids})
    settings = folder / "tokenizer_config.json"
    kept = json.loads(settings.read_text(encoding="utf-8"))
    _rewrite_json(settings, {key: value for key, value in kept.items() if key not in _LOADING_OPTIONS})
    for weights in folder.glob("*.safetensors"):  # written readable by the owner alone, whatever the umask says
        weights.chmod(stat.S_IMODE(config.stat().st_mode))


def _rewrite_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_model(folder: Path, *, dtype: torch.dtype | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model (evaluation mode) and tokenizer of a folder. Nothing is fetched and no code of the folder is run.

    Args:
        folder: a folder with config.json, safetensors weights and a tokenizer.
        dtype: of the weights in memory; None for the one they are stored in.

    Raises:
        ModelError: the folder is missing, incomplete, damaged or not a causal language model.
    """
    folder = Path(folder)
    _restore(folder)
    _check_files(folder)
    register()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype or "auto", use_safetensors=True, output_loading_info=True, **options
            )
            model, info = loaded
    except Exception as error:  # transformers raises nearly every type for a damaged folder
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"model folder {str(folder)!r} cannot be loaded", found=reason, todo="save, pull or train it again"
        ) from error
    lacking = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if lacking:
        raise ModelError(
            f"model folder {str(folder)!r} is incomplete",
            found=f"{len(lacking)} weights missing or of another shape, {lacking[0]} the first",
            todo="save, pull or train it again",
        )
    check_vocabulary(model, tokenizer, f"model folder {str(folder)!r}")
    return model.eval(), tokenizer


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Raises ModelError when the tokenizer writes ids that the model has no embedding for; `where` names the two."""
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"tokenizer and model of {where} do not match",
            found=f"a vocabulary of {len(tokenizer)} for {rows} embeddings",
            expected="an embedding for each token",
            todo="take the tokenizer that the model was trained with",
        )


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"no model folder {str(folder)!r}", todo="check the path; `autogpt models list` shows models")
    names = {path.name for path in folder.iterdir()}
    wanted = {"config.json"}
    if "model.safetensors.index.json" in names:
        try:
            index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
            wanted |= set(index["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"model folder {str(folder)!r} has a damaged weight index", found=str(error)) from error
    else:
        wanted.add("model.safetensors")
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}:
        wanted.add("tokenizer.json")
    if missing := sorted(wanted - names):
        raise ModelError(
            f"model folder {str(folder)!r} is incomplete",
            found=f"no {', '.join(missing)}",
            expected="config.json, safetensors weights and a tokenizer",
        )

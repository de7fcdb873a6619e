"""One size dial, and what a size costs: parameters, operations, bytes. Plain arithmetic on a `GPTConfig`.

Follows nanochat's dial (depth from width by a fixed aspect ratio) and the usual accounting of 6 operations per weight
and token of training (Kaplan et al. 2020), attention added (Chowdhery et al. 2022). Each function is tested against
the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from autogpt.errors import ConfigError
from autogpt.models.gpt_config import GATE_INPUTS, GPTConfig
from autogpt.models.latent_config import LatentGPTConfig
from autogpt.models.multitask_config import MultitaskGPTConfig

__all__ = [
    "activation_bytes",
    "flops_per_token",
    "head_flops",
    "parameters",
    "parameters_without_embeddings",
    "shape_for",
    "shape_of",
]

WIDTH_PER_LAYER = 64
SMALLEST_WIDTH = 32
_MLPS = {"relu2": "relu2", "llama": "swiglu"}
_FEATURES = ("position", "qk_norm", "value_embeddings", "residual_scalars", "tie_word_embeddings", "dropout")
"""Parameters of a search that are fields of `GPTConfig`, under the same name."""


def shape_for(
    width: int,
    *,
    depth: int | None = None,
    vocab_size: int,
    context: int,
    mlp: str = "swiglu",
    late_keys: bool = False,
    head_size: int | None = None,
    **features: Any,
) -> GPTConfig:
    """The GPT of a given width.

    Heads are 64 wide (32 below a width of 256), the feed-forward size is 8/3 of the width for SwiGLU and 4 times for
    ReLU², both in multiples of 32 (the tile of matrix units), and from 8 heads on two query heads share one key head.

    Args:
        width: hidden size; rounded to the nearest multiple of the head size.
        depth: layers; None for one per 64 of width, at least 2.
        vocab_size: tokens in the vocabulary.
        context: most tokens of a sequence.
        mlp: "swiglu" or "relu2".
        late_keys: whether half of the key heads hold late keys (`GPTConfig.late_key_heads`).
        head_size: width of a head; None for the rule above.
        features: any other field of `GPTConfig`, such as `qk_norm=True` or `eos_token_id=1`.

    Raises:
        ConfigError: for a width below 32 or a depth below 1.
    """
    if width < SMALLEST_WIDTH or (depth is not None and depth < 1):
        raise ConfigError(
            "a model cannot have this shape",
            found=f"width {width}, depth {depth}",
            expected=f"a width of at least {SMALLEST_WIDTH} and a depth of at least 1",
        )
    head_size = head_size or _head_size(width)
    heads = max(1, round(width / head_size))
    hidden_size = heads * head_size
    wanted = hidden_size * 4 if mlp == "relu2" else hidden_size * 8 / 3
    own = {"num_key_value_heads": heads // _query_groups(heads), "intermediate_size": _tiles(wanted), **features}
    return GPTConfig(
        hidden_size=hidden_size,
        num_hidden_layers=depth or max(2, round(hidden_size / WIDTH_PER_LAYER)),
        num_attention_heads=heads,
        late_key_heads=max(1, own["num_key_value_heads"] // 2) if late_keys else 0,
        vocab_size=vocab_size,
        max_position_embeddings=context,
        mlp=mlp,  # type: ignore[arg-type]  # checked by GPTConfig
        **own,
    )


def _head_size(width: int) -> int:
    return 64 if width >= 256 else 32


def _query_groups(heads: int) -> int:
    """Query heads that share one key-value head."""
    return 2 if heads >= 8 and heads % 2 == 0 else 1


def _tiles(wanted: float) -> int:
    """The feed-forward size, up to the next tile of matrix units."""
    return -(-int(wanted) // 32) * 32


def shape_of(config: Mapping[str, Any], *, vocab_size: int, context: int) -> GPTConfig:
    """The GPT of a configuration of the search that starts from scratch; what it does not name is as in `shape_for`.

    A latent-variable GPT (`LatentGPTConfig`) where it names more than one of `latents`.

    Args:
        config: `width`, `depth`, `block`, `late_keys`, `dropout`, and of the optional parameters (`gpt_space`) those
            that the user asked for. Others are not looked at.
        vocab_size: entries of its tokenizer.
        context: most tokens of a sequence; models are made for 128 at the least.

    Raises:
        ConfigError: no model can have this combination.
    """
    width = config["width"]
    head_size = config.get("head_size", _head_size(width))
    if width % head_size:
        expected = f"a multiple of its head size {head_size}"
        raise ConfigError("a model cannot have this shape", found=f"width {width}", expected=expected)
    heads, groups = width // head_size, config.get("query_groups")
    features = {name: config[name] for name in _FEATURES if name in config}
    if groups is not None:
        if heads % groups:
            found = f"{heads} query heads (width {width}, head size {head_size}), {groups} for each key-value head"
            raise ConfigError("a model cannot have this shape", found=found, expected="query_groups that divide them")
        features["num_key_value_heads"] = heads // groups
    if "mlp_ratio" in config:
        features["intermediate_size"] = _tiles(config["mlp_ratio"] * width)
    named = {"mlp": _MLPS[config["block"]], "late_keys": config["late_keys"], "head_size": head_size}
    try:
        plain = shape_for(
            width, depth=config["depth"], vocab_size=vocab_size, context=max(context, 128), **named, **features
        )
        return plain if config.get("latents", 1) == 1 else _with_latents(plain, config["latents"])
    except StrictDataclassError as error:
        raise ConfigError("a model cannot have this shape", found=" ".join(str(error).split())) from error


def _with_latents(plain: GPTConfig, latents: int) -> LatentGPTConfig:
    fields = {name: value for name, value in plain.to_dict().items() if name not in ("model_type", "architectures")}
    return LatentGPTConfig(**fields, latents=latents)


def _layer_weights(config: GPTConfig) -> int:
    """Weights in the matrix products of one layer."""
    d = config.hidden_size
    attention = 2 * d * d + 2 * d * config.kv_size
    return attention + (3 if config.mlp == "swiglu" else 2) * d * config.intermediate_size


def _norm_weights(config: GPTConfig) -> int:
    return config.hidden_size * (2 if config.norm == "layer" else 1)


def parameters_without_embeddings(config: GPTConfig) -> int:
    """Parameters of all layers and norms: everything but token and task embeddings, learned positions and the head."""
    norms = 2 * _norm_weights(config) + (2 * config.head_dim if config.qk_norm else 0)
    if config.bias:
        inner = (2 if config.mlp == "swiglu" else 1) * config.intermediate_size
        norms += 3 * config.hidden_size + 2 * config.kv_size + inner
    with_values = sum(map(config.has_value_embedding, range(config.num_hidden_layers)))
    gates = with_values * min(GATE_INPUTS, config.hidden_size) * (config.kv_size // config.head_dim)
    scalars = 2 * config.num_hidden_layers if config.residual_scalars else 0
    shared = config.num_hidden_layers * (_layer_weights(config) + norms) + _norm_weights(config) + gates + scalars
    if isinstance(config, LatentGPTConfig):
        return shared + _latent_weights(config)
    return shared + (_task_weights(config) if isinstance(config, MultitaskGPTConfig) else 0)


def _low_rank_weights(config: GPTConfig, layers: int, rank: int, outer: int) -> int:
    """Of low-rank parts with `outer` outer matrices each, in the products q, v, up and down of so many layers."""
    inputs = 3 * config.hidden_size + config.intermediate_size
    outputs = 2 * config.hidden_size + config.kv_size + config.intermediate_size
    return layers * rank * (inputs + outer * outputs)


def _latent_weights(config: LatentGPTConfig) -> int:
    """What the components of a mixture have beside their shared weights, and the prior."""
    d, M, layers = config.hidden_size, config.latents, config.latent_layers or 0
    gains = (2 * layers + 1) * M * d
    return _low_rank_weights(config, layers, config.latent_rank, M) + gains + M * (d + 1)


def _task_weights(config: MultitaskGPTConfig) -> int:
    """What the tasks have beside their shared weights and embeddings: adapters, their mix, variances."""
    M, layers = config.adapters or 0, config.num_hidden_layers
    mix = M * (config.tasks + layers * M) if config.sharing == "attention" else 0
    own = _low_rank_weights(config, layers, config.adapter_rank, M) if M else 0
    return own + mix + (config.tasks if config.uncertainty else 0)


def parameters(config: GPTConfig) -> int:
    """All parameters; a tied head counts once."""
    tables = config.vocab_size * (1 if config.tie_word_embeddings else 2)
    if config.position == "learned":
        tables += config.max_position_embeddings
    if isinstance(config, MultitaskGPTConfig):
        tables += config.tasks
    with_values = sum(map(config.has_value_embedding, range(config.num_hidden_layers)))
    return (
        parameters_without_embeddings(config)
        + tables * config.hidden_size
        + with_values * config.vocab_size * config.kv_size
    )


def flops_per_token(config: GPTConfig, context: int) -> int:
    """Floating-point operations of training on one token, forward and backward, in rows of `context` tokens.

    Counts the matrix products (a multiplication and an addition each): 6 per weight, the head's included, and
    attention over the whole row, as if it were not causal. Element-wise work is not counted.

    Of a latent-variable model each token trains one component, after a forward pass of all of them says which
    (`training.mixture`). Of a multi-task model each token passes one adapter.
    """
    d, layers = config.hidden_size, config.num_hidden_layers
    body = 6 * layers * _layer_weights(config) + 12 * layers * context * d
    if isinstance(config, LatentGPTConfig):
        last, M = config.latent_layers or 0, config.latents
        own = _low_rank_weights(config, last, config.latent_rank, 1)
        read = layers - last + M * last
        body += 6 * own + 2 * (read * _layer_weights(config) + M * own) + 4 * read * context * d
    if isinstance(config, MultitaskGPTConfig) and config.adapters:
        body += 6 * _low_rank_weights(config, layers, config.adapter_rank, 1)
    return body + head_flops(config)


def head_flops(config: GPTConfig) -> int:
    """The part of `flops_per_token` that falls to the head, for a token whose prediction is learnt."""
    passes = 6 + (2 * config.latents if isinstance(config, LatentGPTConfig) else 0)
    return passes * config.vocab_size * config.hidden_size


def activation_bytes(config: GPTConfig, tokens: int) -> int:
    """Bytes that the layers keep for the backward pass of `tokens` tokens in bf16 autocast on a CPU, without dropout.

    Rows are taken to be as long as `max_position_embeddings`. Logits are not included.
    """
    d = config.hidden_size
    residual = 2 * 4 * d  # the float32 input of both norms
    products = 2 * (2 * d + 2 * d)  # the bf16 input of the products after both norms, the queries, the heads' output
    keys = 2 * 2 * config.kv_size
    probabilities = 2 * config.num_attention_heads * config.max_position_embeddings
    feed_forward = 2 * (4 if config.mlp == "swiglu" else 3) * config.intermediate_size
    layer = residual + products + keys + probabilities + feed_forward
    if isinstance(config, MultitaskGPTConfig) and config.adapters:
        layer += 2 * 4 * config.adapter_rank  # the bf16 input of the outer matrices
    if not isinstance(config, LatentGPTConfig):
        return tokens * (config.num_hidden_layers * layer + 6 * d)
    own = 2 * (2 * d + 4 * config.latent_rank)  # the bf16 input of both norms' gains and of the outer matrices
    return tokens * (config.num_hidden_layers * layer + (config.latent_layers or 0) * own + 6 * d + 2 * d)

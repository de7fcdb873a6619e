"""Four functions with hand-written gradients, because that is where small models spend their time on a CPU.

At widths of a few hundred, the matrix products of a training step take less time than the element-wise work between
them, and PyTorch's general versions go over the data more often than needed. Each function here equals a line of plain
PyTorch (the first line of its docstring), saves less for the backward pass, and is tested against that line.

What they do not do: second derivatives (an error says so); work under `torch.compile`, which makes its own gradients
and is given plain lines.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["causal_attention", "cross_entropy", "dropout", "loss_rows", "rms_norm", "rotate"]

LONGEST_EXPLICIT_TOKENS = 512
"""Rows up to this length train faster with explicit attention probabilities; longer ones with the tiled kernel."""

LOGITS_PER_CHUNK = 8 * 2**20
"""Most logits that a loss holds at once (32 MB in fp32): larger chunks fall out of the cache, and larger blocks are not
kept for the next step."""

LEAST_PROBABILITY = 2.0**-126
"""The least normal number of float32 and of bf16: probabilities below it are counted as it."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`F.rms_norm(x, weight.shape, weight, eps)`, computed in float32; under autocast returned in autocast's dtype.

    Casting here, once, spares each of the products that follow its own cast.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    if torch.compiler.is_compiling():
        return F.rms_norm(_wide(x), weight.shape, _wide(weight), eps).to(dtype)
    if not torch.is_grad_enabled():  # the bookkeeping of a gradient takes as long as the norm of a single token
        return _normalised(x, weight, eps, dtype)[0]
    return _RMSNorm.apply(x, weight, eps, dtype)


def _normalised(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The norm, and 1/rms of each row."""
    wide = _wide(x)
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = torch.rsqrt(norm.square_().div_(x.shape[-1]).add_(eps))
    return (wide * inverse).mul_(weight).to(dtype), inverse


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        y, inverse = _normalised(x, weight, eps, dtype)
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # With r = 1/rms: dx = r * w * g - x * r^3 * mean(w * g * x); dw = sum over rows of g * x * r.
        x, weight, inverse = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            wide, wide_weight = _wide(x), _wide(weight)
            grad = grads[0].to(wide.dtype)
            product = grad * wide
            along = (product @ wide_weight)[..., None].mul_(inverse.pow(3)).div_(x.shape[-1])
            grad_x = (grad * wide_weight).mul_(inverse).addcmul_(wide, along, value=-1).to(x.dtype)
            grad_weight = None
            if ctx.needs_input_grad[1]:
                grad_weight = (inverse.flatten() @ product.flatten(0, -2)).to(weight.dtype)
        return grad_x, grad_weight, None, None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`cat((a * cos - b * sin, b * cos + a * sin), -1)` for the halves a, b of x's last dimension (rotary positions).

    Args:
        x: [B, T, H, K].
        cos: [B or 1, T, 1, K/2]; no gradient flows to it.
        sin: the same.
    """
    if torch.compiler.is_compiling():
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return _Rotate.apply(x, cos, sin) if torch.is_grad_enabled() else _rotated(x, cos, sin, 1)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _rotated(grads[0], cos, sin, -1), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    c, d = y.chunk(2, dim=-1)
    torch.mul(a, cos, out=c)
    c.addcmul_(b, sin, value=-direction)
    torch.mul(b, cos, out=d)
    d.addcmul_(a, sin, value=direction)
    return y


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)`.

    Except when training in bf16 on a CPU, where the backward pass of that kernel takes three (256 tokens a row) to ten
    (64 tokens) times as long as plain products with the probabilities kept, which take 2 * B * H * T * T bytes. Query
    heads that share a key head are laid one below the other, so that keys and values are not repeated. Scores are
    rounded to bf16 before the softmax.

    Args:
        q: [B, H, T, K].
        k: [B, G, T, K] with H a multiple of G.
        v: the same as k.
    """
    explicit = (
        q.device.type == "cpu"
        and q.dtype == k.dtype == v.dtype == torch.bfloat16
        and q.shape[2] <= LONGEST_EXPLICIT_TOKENS
        and torch.is_grad_enabled()
        and (q.requires_grad or k.requires_grad or v.requires_grad)
    )
    if explicit:
        return _plain_attention(q, k, v)[0] if torch.compiler.is_compiling() else _CausalAttention.apply(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


def _plain_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Causal attention, and what its gradient needs: scaled queries, keys, values, probabilities, heads flattened."""
    B, H, T, K = q.shape
    G = k.shape[1]
    scaled, k, v = (q * K**-0.5).reshape(B * G, -1, K), k.reshape(B * G, T, K), v.reshape(B * G, T, K)
    future = torch.full((T, T), float("-inf"), dtype=q.dtype, device=q.device).triu(1).repeat(H // G, 1)
    probabilities = torch.softmax(torch.baddbmm(future, scaled, k.transpose(1, 2)), -1)
    return torch.bmm(probabilities, v).view(B, H, T, K), (scaled, k, v, probabilities)


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y, kept = _plain_attention(q, k, v)
        ctx.scale = q.shape[-1] ** -0.5
        ctx.save_for_backward(*kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, probabilities = ctx.saved_tensors
        B, H, T, K = grads[0].shape
        grad = grads[0].reshape(q.shape)
        grad_v = torch.bmm(probabilities.transpose(1, 2), grad)
        grad_p = torch.bmm(grad, v.transpose(1, 2))
        grad_s = torch.ops.aten._softmax_backward_data(grad_p, probabilities, -1, probabilities.dtype)
        grad_q = torch.bmm(grad_s, k).mul_(ctx.scale)
        grad_k = torch.bmm(grad_s.transpose(1, 2), q)
        return grad_q.view(B, H, T, K), grad_k.view(B, -1, T, K), grad_v.view(B, -1, T, K)


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """`(F.cross_entropy(F.linear(hidden, weight), targets, reduction="none") * weights).sum()`, at least float32.

    The gradients are made along with the loss, chunk by chunk, so that the logits are never held whole and gone over
    three times only: product, softmax, products. Under autocast logits and probabilities are in its dtype, so that the
    loss of a token is off by up to 2^-9 (an unbiased rounding error), and at most 87 nats.

    Args:
        hidden: [N, D].
        weight: [V, D], the output head's.
        targets: [N] ids.
        weights: [N]; no gradient flows to them.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    return _CrossEntropy.apply(hidden, weight, targets, weights, dtype)


def loss_rows(vocabulary: int) -> int:
    """Tokens whose logits a loss holds at a time."""
    return max(64, LOGITS_PER_CHUNK // max(1, vocabulary))


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype
    ) -> Tensor:
        wide = torch.promote_types(dtype, torch.float32)
        head, total = weight.to(dtype), torch.zeros((), dtype=wide, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros(weight.shape, dtype=wide, device=weight.device) if ctx.needs_input_grad[1] else None
        rows = loss_rows(len(weight))
        with torch.autocast(hidden.device.type, enabled=False):
            for first in range(0, len(hidden), rows):
                part = slice(first, first + rows)
                h, share = hidden[part].to(dtype), weights[part].to(wide)
                p = torch.softmax(h @ head.T, -1)
                of_target = (torch.arange(len(h), device=p.device), targets[part])
                total -= (share * p[of_target].to(wide).clamp_min(LEAST_PROBABILITY).log()).sum()
                p[of_target] -= 1
                if grad_hidden is not None:
                    grad_hidden[part] = (p @ head) * share[:, None]
                if grad_weight is not None:
                    grad_weight += p.T @ (h * share[:, None]).to(dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtype = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grads[0].to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = (grad_weight * grads[0]).to(ctx.dtype)
        return grad_hidden, grad_weight, None, None, None


def dropout(x: Tensor, share: float) -> Tensor:
    """`F.dropout(x, share)`, with eight decisions from each random number.

    On a CPU PyTorch draws one random number an element on one thread, which took a seventh of a training step. A byte
    decides here, so `share` is rounded to a 256th. Draws from the global generator, as PyTorch's own does.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return F.dropout(x, share)
    level, count = round(share * 256), x.numel()
    words = torch.randint(-(2**63), 2**63 - 1, ((count + 7) // 8,), dtype=torch.int64)
    kept = words.view(torch.uint8)[:count].view(x.shape) >= level
    return x * kept.to(x.dtype).mul_(256 / (256 - level))

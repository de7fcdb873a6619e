"""Each fused function against the line of PyTorch that its docstring names, values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autogpt.models import fused

Function = Callable[..., Tensor]


def compare(ours: Function, theirs: Function, tensors: list[Tensor], tolerance: float) -> None:
    generator = torch.Generator().manual_seed(1)
    results = []
    for function in (ours, theirs):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        y = function(*leaves)
        y.backward(torch.randn(y.shape, generator=generator.manual_seed(1)).to(y.dtype))
        results.append((y, *(leaf.grad for leaf in leaves)))
    for mine, other in zip(*results, strict=True):
        assert mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, atol=tolerance, rtol=tolerance)


def randn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("shape", [(2, 5, 16), (2, 5, 3, 16)])
def test_rms_norm(shape: tuple[int, ...]) -> None:
    plain = lambda x, w: F.rms_norm(x, w.shape, w, 1e-5)  # noqa: E731
    compare(lambda x, w: fused.rms_norm(x, w, 1e-5), plain, [3 * randn(*shape), randn(16, seed=1)], 1e-5)


def test_rms_norm_by_finite_differences() -> None:
    x, weight = randn(3, 8).double().requires_grad_(), randn(8, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: fused.rms_norm(x, w, 1e-5), (x, weight))


def test_rms_norm_in_bf16_computes_in_float32() -> None:
    x, weight = randn(4, 64, dtype=torch.bfloat16), randn(64, seed=1, dtype=torch.bfloat16)
    exact = F.rms_norm(x.float(), (64,), weight.float(), 1e-6)
    assert torch.equal(fused.rms_norm(x, weight, 1e-6), exact.bfloat16())


def test_rms_norm_under_autocast_gives_what_the_next_product_wants() -> None:
    x, weight = randn(4, 64).requires_grad_(), randn(64, seed=1).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fused.rms_norm(x, weight, 1e-6)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()  # in autocast too, as some loops do: still float32 inside
    inside = x.grad
    x.grad = None
    fused.rms_norm(x, weight, 1e-6).square().sum().backward()
    assert inside is not None
    assert x.grad is not None
    assert (inside - x.grad).norm() < 0.01 * x.grad.norm()


def test_a_frozen_weight_gets_no_gradient() -> None:
    x, weight = randn(4, 8).requires_grad_(), randn(8)
    fused.rms_norm(x, weight, 1e-6).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def test_rotate() -> None:
    angles = randn(1, 5, 1, 4, seed=2)
    cos, sin = angles.cos(), angles.sin()

    def plain(x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    compare(lambda x: fused.rotate(x, cos, sin), plain, [randn(2, 5, 3, 8)], 1e-6)


@pytest.mark.parametrize("kv_heads", [6, 2, 1])
@pytest.mark.parametrize("length", [1, 7, 33])
def test_explicit_causal_attention(kv_heads: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    explicit = fused._CausalAttention.apply
    plain = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)  # noqa: E731
    tensors = [randn(2, 6, length, 8), randn(2, kv_heads, length, 8, seed=1), randn(2, kv_heads, length, 8, seed=2)]
    compare(explicit, plain, tensors, 1e-5)


def test_bf16_attention_is_as_near_to_float32_as_the_kernels() -> None:
    q, k, v = (randn(2, 4, 64, 32, dtype=torch.bfloat16, seed=seed).requires_grad_() for seed in range(3))
    grad = randn(2, 4, 64, 32, seed=3)

    def gradient(function: Function, dtype: torch.dtype) -> Tensor:
        leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in (q, k, v)]
        function(*leaves).backward(grad.to(dtype))
        return torch.cat([leaf.grad.float().flatten() for leaf in leaves if leaf.grad is not None])

    kernel = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
    exact = gradient(kernel, torch.float32)
    ours = (gradient(fused.causal_attention, torch.bfloat16) - exact).norm()
    theirs = (gradient(kernel, torch.bfloat16) - exact).norm()
    assert ours < 2 * theirs


def test_the_kernel_is_used_where_it_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(fused._CausalAttention, "apply", lambda q, k, v: used.append(q.shape[2]) or q)
    for dtype in (torch.bfloat16, torch.float32):
        for length in (8, fused.LONGEST_EXPLICIT_TOKENS + 1):
            q = randn(1, 1, length, 8, dtype=dtype).requires_grad_()
            fused.causal_attention(q, q, q)
            with torch.no_grad():
                fused.causal_attention(q, q, q)
    assert used == [8]


def plain_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="none") * weights).sum()


@pytest.mark.parametrize("per_chunk", [fused.LOGITS_PER_CHUNK, 64 * 40])
def test_cross_entropy(per_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "LOGITS_PER_CHUNK", per_chunk)  # the second: three chunks, the last one smaller
    targets, weights = torch.randint(40, (150,)), torch.rand(150)
    targets[1] = targets[0]
    ours = lambda h, w: fused.cross_entropy(h, w, targets, weights)  # noqa: E731
    plain = lambda h, w: plain_cross_entropy(h, w, targets, weights)  # noqa: E731
    compare(ours, plain, [randn(150, 16), randn(40, 16, seed=1)], 1e-5)


def test_cross_entropy_by_finite_differences() -> None:
    hidden, weight = randn(5, 4).double().requires_grad_(), randn(7, 4, seed=1).double().requires_grad_()
    targets, weights = torch.tensor([0, 6, 3, 3, 1]), torch.tensor([1.0, 0.5, 2.0, 1.0, 0.1]).double()
    assert torch.autograd.gradcheck(lambda h, w: 3 * fused.cross_entropy(h, w, targets, weights), (hidden, weight))


def test_cross_entropy_in_bf16_is_near_float32() -> None:
    hidden, weight = randn(512, 64, dtype=torch.bfloat16), 0.3 * randn(1000, 64, seed=1)
    targets, weights = torch.randint(1000, (512,)), torch.ones(512)
    exact, ours = [], []
    for found, function in ((exact, plain_cross_entropy), (ours, fused.cross_entropy)):
        leaves = [hidden.detach().clone().requires_grad_(), weight.clone().requires_grad_()]
        if function is plain_cross_entropy:
            leaves[0] = leaves[0].detach().float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=function is fused.cross_entropy):
            loss = function(*leaves, targets, weights)
        (loss / 512).backward()
        assert [leaf.grad is not None and leaf.grad.dtype == leaf.dtype for leaf in leaves] == [True, True]
        found += [loss / 512, *(leaf.grad for leaf in leaves)]
    assert ours[0].item() == pytest.approx(exact[0].item(), rel=1e-3)
    for mine, other in zip(ours[1:], exact[1:], strict=True):
        assert (mine.float() - other).norm() < 0.01 * other.norm()


def test_cross_entropy_of_nothing_and_of_a_frozen_head() -> None:
    hidden, weight = randn(3, 4).requires_grad_(), randn(5, 4)
    assert fused.cross_entropy(hidden[:0], weight, torch.zeros(0, dtype=torch.long), torch.zeros(0)).item() == 0
    fused.cross_entropy(hidden, weight, torch.tensor([0, 1, 2]), torch.ones(3)).backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_second_derivatives_are_refused() -> None:
    x = randn(2, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(fused.rms_norm(x, torch.ones(4), 1e-6).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()

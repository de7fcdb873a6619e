"""Tokens a second, and the share of the GPU's matrix peak, of training a 124M GPT with 1,024 tokens of context in bf16.

    python benchmarks/gpu/mfu.py --out benchmarks/results/mfu.jsonl

Ours and transformers' GPT-2, both through torch.compile, in turns; the peak is that of a bf16 product of 8,192 square
matrices, measured in the same process. FLOPs are 6 per weight and token, the head's included, and attention as if it
were not causal (Chowdhery et al. 2022).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

WIDTH, DEPTH, HEADS, CONTEXT, VOCABULARY = 768, 12, 12, 1024, 50304


def peak_flops() -> float:
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = [seconds(lambda: a @ b) for _ in range(20)]
    return 2 * 8192**3 / statistics.median(times[5:])


def seconds(work: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def our_model() -> torch.nn.Module:
    from autogpt.models.gpt import GPT
    from autogpt.models.gpt_config import GPTConfig

    return GPT(
        GPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            mlp="relu2",
            max_position_embeddings=CONTEXT,
        )
    )


def gpt2() -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    return GPT2LMHeadModel(shape)


def stepper(model: torch.nn.Module, rows: int) -> Callable[[], None]:
    model = model.to("cuda").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), fused=True)
    compiled = torch.compile(model)
    ids = torch.randint(0, VOCABULARY, (rows, CONTEXT), device="cuda")

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            logits = compiled(input_ids=ids, use_cache=False).logits
        F.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU found: this measures one")
    torch.set_float32_matmul_precision("high")
    peak = peak_flops()
    for name, make in (("ours", our_model), ("GPT-2 of transformers", gpt2)):
        model = make()
        weights = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2 and "wpe" not in n)
        step = stepper(model, options.rows)
        for _ in range(4):
            step()
        times = [seconds(step) for _ in range(20)]
        rate = options.rows * CONTEXT / statistics.median(times)
        row = {
            "system": name,
            "gpu": torch.cuda.get_device_name(),
            "weights": weights,
            "tokens_per_s": round(rate),
            "of_peak": round(rate * (6 * weights + 12 * DEPTH * CONTEXT * WIDTH) / peak, 4),
            "peak_tflops": round(peak / 1e12, 1),
            "peak_gb": round(torch.cuda.max_memory_allocated() / 2**30, 1),
            "torch": torch.__version__,
        }
        torch.cuda.reset_peak_memory_stats()
        print(json.dumps(row), flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

"""Tokens a second of training from scratch: ours beside transformers' Trainer and plain GPT-2 loops, in one run.

    python benchmarks/bench_training.py --shape 14m --repeats 5 --out benchmarks/results/training_14m.jsonl
    python benchmarks/bench_training.py --table benchmarks/results/training_14m.jsonl

Each measurement is a process of its own, so that peak memory and thread settings are its own; the systems take turns,
so that a busy moment of the machine hits all of them. A process warms up, then times single steps on random tokens; the
row holds their median and the rate of a bf16 matrix product (2048 to 4096 wide) measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from turns import measured_in_turns, read_rows

SHAPES = {  # width, depth, heads, rows of a step
    "14m": (384, 6, 6, 16),
    "30m": (512, 8, 8, 8),
}
CONTEXT, VOCABULARY = 256, 8192
SYSTEMS = ("ours", "ours compiled", "Trainer fp32", "Trainer bf16", "GPT-2 loop fp32 compiled")


def peak_flops() -> float:
    """Operations a second of the best bf16 matrix product among a few sizes, median of several."""
    import torch

    best = 0.0
    for size in (2048, 3072, 4096):
        a, b = (torch.randn(size, size).bfloat16() for _ in range(2))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - began)
        best = max(best, 2 * size**3 / statistics.median(times))
    return best


def _llama(shape: str, kind: Any) -> Any:
    from transformers import LlamaConfig

    width, depth, heads, _ = SHAPES[shape]
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=-(-width * 8 // 3 // 32) * 32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return kind(config)


def _gpt2(shape: str) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    width, depth, heads, _ = SHAPES[shape]
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=width, n_layer=depth, n_head=heads, use_cache=False
    )
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    return GPT2LMHeadModel(config)


def ours(shape: str, compiled: bool) -> Callable[[], None]:
    """One step of our loop on packed rows."""
    import numpy as np

    from autogpt.data.batching import Batches, BatchPlan, Encoded
    from autogpt.models.gpt import GPT
    from autogpt.models.gpt_config import GPTConfig
    from autogpt.training.loop import TrainSettings, start, train

    width, depth, heads, rows = SHAPES[shape]
    config = GPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=-(-width * 8 // 3 // 32) * 32,
        max_position_embeddings=CONTEXT,
    )
    ids = np.random.default_rng(0).integers(3, VOCABULARY, 200 * CONTEXT, dtype=np.int32)
    weights = np.ones(len(ids), dtype=np.float32)
    document = Encoded(ids, weights, "random", utf8_bytes=len(ids), answers=weights > 0)
    batches = Batches([document], BatchPlan(rows * CONTEXT, CONTEXT, packed=True, seed=0), pad_id=0)
    settings = TrainSettings(1e-3, precision="bf16", micro_tokens=rows * CONTEXT, compile=compiled)
    steps = train(start(GPT(config), settings), batches, settings)
    return lambda: next(steps) and None


def trainer(shape: str, precision: str, steps: int) -> list[float]:
    """Seconds of each step of transformers' Trainer with its defaults, the optimizer's step included."""
    import torch
    from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    *_, rows = SHAPES[shape]
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())

    ids = torch.randint(3, VOCABULARY, (rows * (steps + 1), CONTEXT))
    data = [{"input_ids": row, "labels": row} for row in ids]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=rows,
            max_steps=steps,
            bf16=precision == "bf16",
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        Trainer(_llama(shape, LlamaForCausalLM), arguments, train_dataset=data, callbacks=[Clock()]).train()
    return [after - before for before, after in pairwise(times)]


def plain_loop(shape: str) -> Callable[[], None]:
    """A GPT-2 with learned positions in a bare fp32 loop under torch.compile, as nanoGPT trains on a CPU."""
    import torch

    *_, rows = SHAPES[shape]
    model = _gpt2(shape).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    forward = torch.compile(model)
    ids = torch.randint(3, VOCABULARY, (rows, CONTEXT))

    def step() -> None:
        forward(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(system: str, shape: str, steps: int) -> dict[str, Any]:
    """Run in a process of its own."""
    import torch

    torch.manual_seed(0)
    peak, began = peak_flops(), time.perf_counter()
    first_s = 0.0
    if system.startswith("Trainer"):
        times = trainer(shape, system.split()[1], steps + 3)[2:]
    else:
        step = plain_loop(shape) if system.startswith("GPT-2") else ours(shape, "compiled" in system)
        step()
        first_s = time.perf_counter() - began
        for _ in range(2):
            step()
        times = []
        for _ in range(steps):
            before = time.perf_counter()
            step()
            times.append(time.perf_counter() - before)
    width, depth, _, rows = SHAPES[shape]
    inner = -(-width * 8 // 3 // 32) * 32
    weights = depth * (4 * width**2 + 3 * width * inner) + VOCABULARY * width
    tokens_per_s = rows * CONTEXT / statistics.median(times)
    return {
        "system": system,
        "shape": shape,
        "threads": torch.get_num_threads(),
        "tokens_per_s": round(tokens_per_s, 1),
        "of_bf16_peak": round((6 * weights + 12 * depth * CONTEXT * width) * tokens_per_s / peak, 4),
        "peak_gflops": round(peak / 1e9, 1),
        "first_step_s": round(first_s, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "torch": torch.__version__,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Medians over the repeats, and the ratio to each system of the median of ours."""
    lines = [
        "| shape | system | tokens/s | of the bf16 peak | peak MB | first step s | ours / it | compiled / it | runs |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for shape in dict.fromkeys(row["shape"] for row in rows):
        of_shape = [row for row in rows if row["shape"] == shape]
        names = list(dict.fromkeys(row["system"] for row in of_shape))
        rates = {
            name: statistics.median(row["tokens_per_s"] for row in of_shape if row["system"] == name) for name in names
        }
        for name in names:
            own = [row for row in of_shape if row["system"] == name]
            keys = ("of_bf16_peak", "peak_mb", "first_step_s")
            middle = {key: statistics.median(row[key] for row in own) for key in keys}
            ratios = [f"{rates[us] / rates[name]:.2f}" if us in rates else "–" for us in ("ours", "ours compiled")]
            lines.append(
                f"| {shape} | {name} | {rates[name]:.0f} | {middle['of_bf16_peak']:.0%} | {middle['peak_mb']:.0f} | "
                f"{middle['first_step_s']:.1f} | {ratios[0]} | {ratios[1]} | {len(own)} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="14m")
    parser.add_argument("--systems", nargs="*", default=SYSTEMS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="timed steps of a measurement")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print the table of this results file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(read_rows(options.table)))
        return
    if options.one:
        print(json.dumps(measure(options.one, options.shape, options.steps)))
        return
    command = ["--shape", options.shape, "--steps", str(options.steps)]
    rows = measured_in_turns(__file__, command, options.systems, options.repeats, options.out)
    print(table(rows))


if __name__ == "__main__":
    main()

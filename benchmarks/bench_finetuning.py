"""Tokens a second of fine-tuning a pretrained base: ours beside TRL's SFTTrainer, in one run.

    python -m venv BENCH && BENCH/bin/pip install "trl==1.16.0" -e .     # trl is no dependency of the project
    BENCH/bin/python benchmarks/bench_finetuning.py BASE_FOLDER --repeats 5 --out benchmarks/results/finetuning.jsonl
    BENCH/bin/python benchmarks/bench_finetuning.py BASE_FOLDER --rows instruction.jsonl ...
    BENCH/bin/python benchmarks/bench_finetuning.py --table benchmarks/results/finetuning.jsonl

Each measurement is a process of its own; the systems take turns. Data: 4 x 256 random tokens a step, nothing padded;
or, with `--rows`, real rows with instruction, input and output, cut at 256 tokens: the trainer pads four rows to the
longest, ours fills about as many tokens with rows of like length, and only real tokens are counted. TRL gets its faster
settings (no gradient checkpointing). A row of the results holds the median over windows of three steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from turns import measured_in_turns, read_rows

ROWS, CONTEXT, RANK, TOP = 4, 256, 16, 6
SYSTEMS = ("ours LoRA", "ours last 6", "ours full", "TRL LoRA fp32", "TRL LoRA bf16", "TRL full bf16")
REFERENCE = {"TRL LoRA fp32": "ours LoRA", "TRL LoRA bf16": "ours LoRA", "TRL full bf16": "ours full"}
REFERENCE |= {"ours LoRA": "ours last 6"}
WARM_UP, WINDOW = 3, 3


def _texts(file: Path) -> Iterator[str]:
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield "\n".join(filter(None, (row["instruction"], row.get("input", ""), row["output"])))


def token_rows(folder: Path, file: Path | None, count: int) -> list[list[int]]:
    """Rows of token ids: random ones of full length, or those of a file."""
    import numpy as np
    from transformers import AutoTokenizer

    if file is None:
        return np.random.default_rng(0).integers(100, 40000, (count, CONTEXT)).tolist()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text).input_ids[:CONTEXT] for text in itertools.islice(_texts(file), count)]


def ours(system: str, folder: Path, rows: list[list[int]], steps: int) -> Iterator[tuple[float, int]]:
    """Seconds and real tokens of each step of our loop; for the last blocks, of the second epoch on."""
    import numpy as np
    import torch

    from autogpt.data.batching import Batches, BatchPlan, Encoded
    from autogpt.models.adapters import add_lora
    from autogpt.models.hub import as_gpt, load_model
    from autogpt.training.frozen_trunk import Keep, TopObjective, TrunkBatches, freeze_trunk
    from autogpt.training.loop import TrainSettings, start, train
    from autogpt.training.machine import probe
    from autogpt.training.objectives import weighted_token_loss

    machine = probe()
    model: Any = as_gpt(load_model(folder, dtype=torch.float32)[0])
    encoded = []
    for i, row in enumerate(rows):
        weights = np.ones(len(row), dtype=np.float32)
        encoded.append(Encoded(np.array(row, dtype=np.int32), weights, str(i), len(row), weights > 0))
    plan, objective = BatchPlan(ROWS * CONTEXT, CONTEXT, packed=False, seed=0), weighted_token_loss
    batches = Batches(encoded, plan, pad_id=0)
    if system == "ours LoRA":
        model = add_lora(model, rank=RANK, alpha=2 * RANK)
    elif system == "ours last 6":
        model = freeze_trunk(model, TOP)
        batches = TrunkBatches(encoded, plan, 0, model=model, top=TOP, keep=Keep(2 * 2**30, machine.precision))
        objective = TopObjective(model, TOP)
    settings = TrainSettings(1e-4, precision=machine.precision)
    state = start(model, settings)
    first = batches.steps_per_epoch if system == "ours last 6" else 0
    before, tokens = time.perf_counter(), 0
    for _ in train(state, batches, settings, until=first + steps, objective=objective):
        now = time.perf_counter()
        if state.step > first:
            yield now - before, state.tokens - tokens
        before, tokens = now, state.tokens


def trl(system: str, folder: Path, rows: list[list[int]], steps: int) -> Iterator[tuple[float, int]]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    _, method, precision = system.split()
    marks: list[tuple[float, int]] = []
    seen = 0

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            marks.append((time.perf_counter(), seen))

    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as out:
        arguments = SFTConfig(
            out,
            use_cpu=True,
            bf16=precision == "bf16",
            max_steps=steps,
            per_device_train_batch_size=ROWS,
            max_length=CONTEXT,
            gradient_checkpointing=False,
            learning_rate=1e-4,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            arguments,
            train_dataset=Dataset.from_list([{"input_ids": row} for row in rows]),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=lora if method == "LoRA" else None,
            callbacks=[Clock()],
        )
        collate = trainer.data_collator

        def counted(examples: list[dict[str, Any]]) -> Any:
            nonlocal seen
            seen += sum(len(example["input_ids"]) for example in examples)
            return collate(examples)

        trainer.data_collator = counted
        trainer.train()
    for (before, a), (after, b) in itertools.pairwise(marks):
        yield after - before, b - a


def measure(system: str, folder: Path, file: Path | None, steps: int) -> dict[str, Any]:
    """Run in a process of its own."""
    import torch

    torch.manual_seed(0)
    total = WARM_UP + steps
    rows = token_rows(folder, file, (total + 2) * ROWS * (1 if file is None else 4))
    if system == "ours last 6":
        rows = rows[: 4 * ROWS]
    done = list((ours if system.startswith("ours") else trl)(system, folder, rows, total))[WARM_UP - 1 :]
    windows = [done[i : i + WINDOW] for i in range(0, len(done) - WINDOW + 1, WINDOW)]
    rates = [sum(tokens for _, tokens in window) / sum(s for s, _ in window) for window in windows]
    return {
        "system": system,
        "data": "packed" if file is None else file.stem,
        "threads": torch.get_num_threads(),
        "tokens_per_s": round(statistics.median(rates), 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "torch": torch.__version__,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Medians over the repeats, and the ratio to the system of ours that does the same."""
    lines = ["| data | system | real tokens/s | peak MB | ratio | runs |", "| --- | --- | ---: | ---: | --- | ---: |"]
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        names = list(dict.fromkeys(row["system"] for row in of_data))
        rates = {name: statistics.median(r["tokens_per_s"] for r in of_data if r["system"] == name) for name in names}
        for name in names:
            own = [row for row in of_data if row["system"] == name]
            us = REFERENCE.get(name)
            ratio = f"{us} is {rates[us] / rates[name]:.2f} × it" if us in rates else "–"
            peak = statistics.median(row["peak_mb"] for row in own)
            lines.append(f"| {data} | {name} | {rates[name]:.0f} | {peak:.0f} | {ratio} | {len(own)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, nargs="?", help="folder of the base")
    parser.add_argument("--rows", type=Path, help="real rows instead of random tokens")
    parser.add_argument("--systems", nargs="*", default=SYSTEMS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a measurement")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print the table of this results file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(read_rows(options.table)))
        return
    if options.one:
        print(json.dumps(measure(options.one, options.base, options.rows, options.steps)))
        return
    command = [str(options.base), "--steps", str(options.steps)]
    command += ["--rows", str(options.rows)] if options.rows else []
    rows = measured_in_turns(__file__, command, options.systems, options.repeats, options.out)
    print(table(rows))


if __name__ == "__main__":
    main()

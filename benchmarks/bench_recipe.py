"""What each part of the training recipe gains at a fixed CPU time, and how long a plain AdamW GPT takes for the same.

    python benchmarks/bench_recipe.py ablation TEXTS... --seconds 20 --out benchmarks/results/recipe.jsonl
    python benchmarks/bench_recipe.py race TEXTS... --seconds 60 --out benchmarks/results/time_to_quality.jsonl
    python benchmarks/bench_recipe.py table RESULTS

TEXTS are `*.train.jsonl` files of rows with `text`; the `*.test.jsonl` beside each is held out, and scored in bits per
byte. Two single-threaded processes share the machine; seconds are of a process's own CPU time, and scoring does not
count.

ablation: the default recipe against the same with one thing changed. A run takes its full rate for 80 % of the seconds
and is then cooled down; the weights at the end of the full rate, plain and averaged, are scored too.

race: a GPT of Llama's shape by `transformers` in a plain loop (AdamW, bf16 autocast, warm-up and cosine, the best of
four rates on each corpus) trains for the seconds. Ours of the same size, tokenizer and rows a step is cooled down from
several points of one run, and the CPU seconds at which it has the plain one's score are interpolated.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from turns import read_rows

from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.data.tokenizers import encode_texts, train_tokenizer
from autogpt.models.gpt import GPT
from autogpt.models.sizing import shape_for
from autogpt.training.loop import TrainSettings, TrainState, averaged, start, train

WIDTH, DEPTH, CONTEXT, VOCABULARY, TOKENS = 192, 4, 128, 4096, 1024
HELD_OUT_BYTES = 30_000
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
COOL = 0.2
POINTS = (0.15, 0.25, 0.4, 0.6, 0.8)
"""Shares of the race's seconds from which ours is cooled down."""

SHAPES: dict[str, dict[str, Any]] = {
    "default": {},
    "QK-norm": {"qk_norm": True},
    "ReLU²": {"mlp": "relu2"},
    "QK-norm and ReLU²": {"qk_norm": True, "mlp": "relu2"},
    "value embeddings": {"value_embeddings": True},
    "residual scalars": {"residual_scalars": True},
    "untied head": {"tie_word_embeddings": False},
    "late keys": {"late_keys": True},
    "dropout 0.1": {"dropout": 0.1},
}
SETTINGS: dict[str, dict[str, Any]] = {"Muon": {"optimizer": "muon"}, "no weight decay": {"weight_decay": 0.0}}
ORDINARY = "no zero initialisation"
VARIANTS = (*SHAPES, *SETTINGS, ORDINARY)
OURS: dict[str, dict[str, Any]] = {"shape": {}, "settings": {}}


@lru_cache(maxsize=1)
def corpus(file: Path) -> tuple[Any, list[Encoded], torch.Tensor, int]:
    """Tokenizer, training rows, held-out tokens [N], and their bytes."""

    def texts(path: Path) -> list[str]:
        return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]

    train_texts, test = texts(file), "\n\n".join(texts(Path(str(file).replace(".train.", ".test."))))
    test = test.encode()[:HELD_OUT_BYTES].decode(errors="ignore")
    tokenizer = train_tokenizer(train_texts, VOCABULARY)
    rows = []
    for number, ids in enumerate(encode_texts(tokenizer, train_texts)):
        array = np.array([tokenizer.bos_token_id, *ids, tokenizer.eos_token_id], dtype=np.int32)
        ones = np.ones(len(array), dtype=np.float32)
        rows.append(Encoded(array, ones, str(number), len(train_texts[number].encode()), ones > 0))
    held_out = torch.tensor([tokenizer.bos_token_id, *encode_texts(tokenizer, [test])[0]])
    return tokenizer, rows, held_out, len(test.encode())


@torch.no_grad()
def bits_per_byte(model: Any, held_out: torch.Tensor, size: int) -> float:
    """In windows of the training length that overlap by one token, in float32."""
    model.eval()
    rows = held_out[: (len(held_out) - 1) // CONTEXT * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)
    nats = 0.0
    for part in rows.split(32):
        logits = model(input_ids=part[:, :-1], use_cache=False).logits
        nats += torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
    model.train()
    return nats / math.log(2) / (size * (rows.numel() - len(rows)) / (len(held_out) - 1))


def our_state(variant: str, seed: int, tokenizer: Any) -> tuple[TrainState, TrainSettings]:
    torch.manual_seed(seed)
    shape = shape_for(
        WIDTH, depth=DEPTH, vocab_size=len(tokenizer), context=CONTEXT, **{**OURS["shape"], **SHAPES.get(variant, {})}
    )
    model = GPT(shape)
    if variant == ORDINARY:
        for block in model.model.layers:
            for layer in (block.self_attn.o_proj, block.mlp.down_proj):
                torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    settings = TrainSettings(2e-3, precision="bf16", seed=seed)
    settings = replace(settings, **{**OURS["settings"], **SETTINGS.get(variant, {})})
    return start(model, settings), settings


def train_for(state: TrainState, batches: Batches, settings: TrainSettings, seconds: float) -> None:
    """Steps at the full rate for so much CPU time."""
    end = time.process_time() + seconds
    for _ in train(state, batches, settings):
        if time.process_time() >= end:
            return


def cool(state: TrainState, batches: Batches, settings: TrainSettings, seconds: float) -> None:
    steps = max(1, round(seconds * state.step / state.seconds))
    state.schedule = replace(state.schedule, cooldown_start=state.step, cooldown_steps=steps)
    for _ in train(state, batches, settings):
        pass


def ablate(file: Path, variant: str, seed: int, seconds: float) -> dict[str, Any]:
    tokenizer, rows, held_out, size = corpus(file)
    batches = Batches(rows, BatchPlan(TOKENS, CONTEXT, packed=True, seed=seed), pad_id=0)
    state, settings = our_state(variant, seed, tokenizer)
    train_for(state, batches, settings, (1 - COOL) * seconds)
    plain = bits_per_byte(state.model, held_out, size)
    with averaged(state) as model:
        average = bits_per_byte(model, held_out, size)
    cool(state, batches, settings, COOL * seconds)
    found = {"bpb": bits_per_byte(state.model, held_out, size), "bpb_full_rate": plain, "bpb_averaged": average}
    return {**found, "steps": state.step, "parameters": state.model.num_parameters()}


def reference(file: Path, rate: float, seed: int, seconds: float) -> dict[str, Any]:
    """The plain loop; its cosine ends when the time does."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer, rows, held_out, size = corpus(file)
    stream = torch.cat([torch.from_numpy(row.ids).long() for row in rows])
    torch.manual_seed(seed)
    shape = shape_for(WIDTH, depth=DEPTH, vocab_size=len(tokenizer), context=CONTEXT)
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = LlamaConfig(
        **{name: getattr(shape, name) for name in names},
        num_key_value_heads=shape.num_key_value_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    began, step = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        for group in optimizer.param_groups:
            falling = 0.1 + 0.45 * (1 + math.cos(math.pi * spent / seconds))
            group["lr"] = rate * min((step + 1) / 20, falling)
        places = torch.randint(len(stream) - CONTEXT, (TOKENS // CONTEXT,))
        ids = torch.stack([stream[place : place + CONTEXT] for place in places.tolist()])
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
    return {"bpb": bits_per_byte(model, held_out, size), "steps": step, "rate": rate}


def curve(file: Path, seed: int, seconds: float) -> dict[str, Any]:
    """CPU seconds and score of runs of ours that are cooled down from several points of one."""
    tokenizer, rows, held_out, size = corpus(file)
    batches = Batches(rows, BatchPlan(TOKENS, CONTEXT, packed=True, seed=seed), pad_id=0)
    state, settings = our_state("default", seed, tokenizer)
    spent, points = 0.0, []
    for share in POINTS:
        train_for(state, batches, settings, (1 - COOL) * share * seconds - spent)
        spent = (1 - COOL) * share * seconds
        branch = copy.deepcopy(state)
        began = time.process_time()
        cool(branch, batches, settings, COOL * share * seconds)
        points.append((spent + time.process_time() - began, bits_per_byte(branch.model, held_out, size)))
    return {"points": [(round(s, 2), round(bpb, 4)) for s, bpb in points], "steps": state.step}


def seconds_to(target: float, points: Sequence[tuple[float, float]]) -> float | None:
    """Interpolated in log time; None when the score is never reached, the first point when it is better already."""
    before: tuple[float, float] | None = None
    for second, bpb in points:
        if bpb <= target:
            if before is None:
                return second
            share = (before[1] - target) / (before[1] - bpb)
            return math.exp(math.log(before[0]) + share * math.log(second / before[0]))
        before = (second, bpb)
    return None


def _one(job: tuple[str, Path, Any, int, float]) -> dict[str, Any]:
    what, file, option, seed, seconds = job
    torch.set_num_threads(1)
    row = {"what": what, "corpus": file.name.split(".")[0], "seed": seed, "seconds": seconds}
    if what == "ablation":
        return {**row, "variant": option, **ablate(file, option, seed, seconds)}
    if what == "curve":
        return {**row, **curve(file, seed, seconds)}
    return {**row, **reference(file, option, seed, seconds)}


def _is_of(job: tuple[str, Path, Any, int, float], row: dict[str, Any]) -> bool:
    what, file, option, seed, seconds = job
    made = (row["what"], row["corpus"], row["seed"], row["seconds"])
    return made == (what, file.name.split(".")[0], seed, seconds) and option in (
        None,
        row.get("rate"),
        row.get("variant"),
    )


def run(jobs: Sequence[tuple[str, Path, Any, int, float]], out: Path) -> list[dict[str, Any]]:
    """The rows of the jobs; those that the file holds already are not made again."""
    known, context = read_rows(out) if out.exists() else [], multiprocessing.get_context("spawn")
    rows = [row for job in jobs for row in known if _is_of(job, row)]
    jobs = [job for job in jobs if not any(_is_of(job, row) for row in known)]
    with ProcessPoolExecutor(2, mp_context=context) as pool, out.open("a", encoding="utf-8") as file:
        for done in as_completed([pool.submit(_one, job) for job in jobs]):
            rows.append(done.result())
            file.write(json.dumps(rows[-1], ensure_ascii=False) + "\n")
            file.flush()
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def race(files: Sequence[Path], seeds: int, seconds: float, out: Path) -> None:
    tried = run([("tuning", file, rate, 100, seconds) for file in files for rate in RATES], out)
    rates = {}
    for file in files:
        own = [row for row in tried if row["corpus"] == file.name.split(".")[0]]
        rates[file] = min(own, key=lambda row: row["bpb"])["rate"]
    jobs: list[tuple[str, Path, Any, int, float]] = []
    for seed, file in itertools.product(range(seeds), files):
        jobs += [("reference", file, rates[file], seed, seconds), ("curve", file, None, seed, seconds)]
    run(jobs, out)


def _mean(values: Iterable[float]) -> str:
    held = list(values)
    error = statistics.stdev(held) / math.sqrt(len(held)) if len(held) > 1 else math.nan
    return f"{statistics.mean(held):.3f} ± {error:.3f}"


def ablation_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Change of bits per byte against the default with the same corpus and seed, mean and standard error over seeds."""
    corpora = list(dict.fromkeys(sorted(row["corpus"] for row in rows)))
    score = {(row["corpus"], row["variant"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    lines = [f"| change | {' | '.join(corpora)} | steps |", "| --- |" + " ---: |" * (len(corpora) + 1)]
    for variant in (known for known in VARIANTS if any(row["variant"] == known for row in rows)):
        cells, ratios = [], []
        for name in corpora:
            pairs = [(score[name, variant, seed], score[name, "default", seed]) for seed in seeds]
            gaps = (a["bpb"] - b["bpb"] if variant != "default" else a["bpb"] for a, b in pairs)
            cells.append(_mean(gaps))
            ratios += [a["steps"] / b["steps"] for a, b in pairs]
        lines.append(f"| {variant} | {' | '.join(cells)} | {statistics.mean(ratios):.2f} × |")
    for label, key in (("no cool-down", "bpb_full_rate"), ("no cool-down, averaged weights", "bpb_averaged")):
        cells = []
        for name in corpora:
            own = [score[name, "default", seed] for seed in seeds]
            cells.append(_mean(row[key] - row["bpb"] for row in own))
        lines.append(f"| {label} (at {1 - COOL:.0%} of the time) | {' | '.join(cells)} | – |")
    return lines


def race_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| corpus | CPU seconds | seeds | plain GPT, bits per byte | ours, seconds to it | ratio |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    raced = [row for row in rows if row["what"] != "tuning"]
    for limit, name in sorted({(row["seconds"], row["corpus"]) for row in raced}, reverse=True):
        own = {(r["what"], r["seed"]): r for r in raced if (r["seconds"], r["corpus"]) == (limit, name)}
        pairs = [(own["reference", s], own["curve", s]) for what, s in own if what == "reference"]
        needed = [seconds_to(plain["bpb"], ours["points"]) or math.inf for plain, ours in pairs]
        middle, plain = statistics.median(needed), _mean(plain["bpb"] for plain, _ in pairs)
        lines.append(f"| {name} | {limit:.0f} | {len(pairs)} | {plain} | {middle:.1f} | {limit / middle:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ablation", "race", "table"))
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", nargs="*", default=VARIANTS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "table":
        rows = read_rows(options.files[0])
        print("\n".join((ablation_table if rows[0]["what"] == "ablation" else race_table)(rows)))
        return
    if options.what == "race":
        race(options.files, options.seeds, options.seconds, options.out)
        return
    jobs = [
        ("ablation", file, variant, seed, options.seconds)
        for file in options.files
        for seed in range(options.seeds)
        for variant in options.variants
    ]
    run(jobs, options.out)


if __name__ == "__main__":
    main()

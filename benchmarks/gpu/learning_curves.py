"""Learning curves of small GPTs: validation loss over tokens, for five widths and three learning rates each.

    python benchmarks/gpu/learning_curves.py ../shared/corpus --out benchmarks/results/learning_curves.jsonl

Reads JSONL (also zstd) documents with a `text`. A curve that is in the output file already is not taken again, so the
command may be stopped at any time. Runs on a CPU too, only slowly.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from autogpt.data.batching import Batches, BatchPlan, Encoded, encode_all
from autogpt.data.token_shards_read import DocumentReader, corpus_files
from autogpt.data.tokenizers import train_tokenizer
from autogpt.generation.engine import Engine
from autogpt.models.gpt import GPT
from autogpt.models.sizing import parameters_without_embeddings, shape_for
from autogpt.training.loop import TrainSettings, averaged, start, train
from autogpt.types import Segment

WIDTHS = (96, 128, 192, 256, 384)
RATES = (7e-4, 1.5e-3, 3e-3)
DOCUMENTS, VALIDATION, CONTEXT, VOCABULARY = 8000, 100, 256, 8192


def texts(folder: Path) -> list[str]:
    found: list[str] = []
    for file in corpus_files([folder], []):
        found += [document.text for document in islice(DocumentReader(file), DOCUMENTS - len(found))]
        if len(found) >= DOCUMENTS:
            break
    return found


def curve(
    rows: list[Encoded], held: list[Encoded], tokenizer: Any, width: int, rate: float, budget: float
) -> list[Any]:
    """(tokens, nats a byte of the held-out documents) at nine points, for `budget` seconds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = GPT(shape_for(width, vocab_size=len(tokenizer), context=CONTEXT)).to(device)
    settings = TrainSettings(rate, precision="bf16", device=device)
    state = start(model, settings)
    batches = Batches(rows, BatchPlan(8192, CONTEXT, packed=True, seed=0), pad_id=tokenizer.pad_token_id)
    points, due = [], [budget * 2.0 ** (-k) for k in range(8, -1, -1)]
    size = sum(row.utf8_bytes for row in held)
    for _ in train(state, batches, settings):
        if due and state.seconds >= due[0]:
            due.pop(0)
            with averaged(state) as model_now:
                nats = sum(Engine(model_now, tokenizer, context=CONTEXT, precision="bf16").nats(held))
            points.append((state.tokens, round(nats / size, 5)))
        if not due:
            break
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0, help="training time of a curve")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    documents = texts(options.corpus)
    tokenizer = train_tokenizer(documents, VOCABULARY)
    encoded = encode_all(tokenizer, [[Segment(text, is_answer=True)] for text in documents], max_tokens=2**30)
    held, rows = encoded[:VALIDATION], encoded[VALIDATION:]
    for width in WIDTHS:
        for rate in RATES:
            if any((row["width"], row["learning_rate"]) == (width, rate) for row in done):
                continue
            began = time.perf_counter()
            shape = shape_for(width, vocab_size=len(tokenizer), context=CONTEXT)
            row = {
                "width": width,
                "depth": shape.num_hidden_layers,
                "parameters_without_embeddings": parameters_without_embeddings(shape),
                "learning_rate": rate,
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
                "curve": curve(rows, held, tokenizer, width, rate, options.seconds),
                "seconds": round(time.perf_counter() - began, 1),
            }
            print(json.dumps(row), flush=True)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

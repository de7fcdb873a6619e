"""What adapting to a text gains, teacher-forced: nats over bytes by position, against what else could be done.

    python benchmarks/bench_adaptive.py MODEL_DIR NAME=TEXT.jsonl … [--tokens 16000] [--each-row] [--out FILE.jsonl]
    python benchmarks/bench_adaptive.py --table FILE.jsonl

TEXT.jsonl holds rows with a `text`; all of them joined are one document, or with
`--each-row` each is one. Every arm reads the same tokens in the same
chunks with the same context, and scores each chunk before it learns from it:

    static     the model as it is
    cache      a neural cache (Grave et al. 2017) over the last 2,000 hidden states, λ and θ the best of twelve on the
               first 2,000 tokens of the document
    adaptive   fast weights with the default settings, as `--adapt` has them
    elsewhere  control: fast weights learnt from the *next* document, then kept as they are
    full       dynamic evaluation of all weights (Krause et al. 2018), a step on each chunk, each gradient over the root
               of its running mean square; the rate is the best of three on the first 2,000 tokens

The gain is that in perplexity per token over static, beyond the first 2,000 tokens.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bench_main_path import commit, machine
from transformers.cache_utils import DynamicCache
from turns import read_rows

from autogpt.generation.adaptive import Adaptation, AdaptationSettings
from autogpt.generation.fast_weights import FastRates
from autogpt.generation.reading import Reader, shortened
from autogpt.models.hub import load_model

BUCKETS = (0, 1000, 2000, 4000, 8000, 16000, 10**9)
CACHE_TOKENS, PROBE_TOKENS = 2000, 2000
SHARES, SHARPNESS = (0.05, 0.1, 0.2, 0.3), (0.1, 0.3, 0.6)
RATES = (3e-5, 1e-4, 3e-4)


def static(adaptation: Adaptation, ids: Sequence[int]) -> torch.Tensor:
    still = Adaptation(adaptation.reader, AdaptationSettings(FastRates(step=0.0)))
    return still.read(still.session(), ids)


def adaptive(adaptation: Adaptation, ids: Sequence[int]) -> torch.Tensor:
    return adaptation.read(adaptation.session(), ids)


def elsewhere(adaptation: Adaptation, ids: Sequence[int], other: Sequence[int]) -> torch.Tensor:
    session = adaptation.session()
    adaptation.read(session, other)
    return Adaptation(adaptation.reader, AdaptationSettings(FastRates(step=0.0))).read(session, ids)


def cached(adaptation: Adaptation, ids: Sequence[int]) -> torch.Tensor:
    """Nats under the mixture p = (1 - λ) p_model + λ softmax(θ h·h_i) over what followed earlier states h_i."""
    weights, states, logs = adaptation.weights, list[torch.Tensor](), list[torch.Tensor]()
    with weights.attached(), torch.no_grad():
        for seen, targets in adaptation.chunks(ids, None):
            states.append(weights.norm.forward(seen.stream_STD)[0])
            logs.append(-weights.nats(weights.fresh(), seen, targets)[0])
    states_TD, log_T, targets_T = torch.cat(states), torch.cat(logs), torch.tensor(ids[1:])
    width = states_TD.shape[1]

    def mixed(share: float, sharp: float, end: int) -> torch.Tensor:
        nats = []
        for begin in range(0, end, 64):
            stop, first = min(begin + 64, end), max(0, begin - CACHE_TOKENS)
            if begin == 0:
                nats.append(-log_T[:stop])
                continue
            match = (states_TD[begin:stop] @ states_TD[first:begin].T) * (sharp / math.sqrt(width))
            same = targets_T[begin:stop, None] == targets_T[None, first:begin]
            found = (match.softmax(-1) * same).sum(-1)
            nats.append(-torch.log((1 - share) * log_T[begin:stop].exp() + share * found))
        return torch.cat(nats)

    probe = min(PROBE_TOKENS, len(log_T))
    choices = [(share, sharp) for share in SHARES for sharp in SHARPNESS]
    best = min(choices, key=lambda choice: float(mixed(*choice, probe).mean()))
    return mixed(*best, len(log_T))


def full(adaptation: Adaptation, ids: Sequence[int]) -> torch.Tensor:
    """Dynamic evaluation of a copy of the model, at the rate that is best on the first tokens."""
    probe = list(ids[: PROBE_TOKENS + 1])
    rate = min(RATES, key=lambda rate: float(_all_weights(adaptation, probe, rate).mean()))
    return _all_weights(adaptation, ids, rate)


def _all_weights(adaptation: Adaptation, ids: Sequence[int], rate: float) -> torch.Tensor:
    reader = adaptation.reader
    model = copy.deepcopy(reader.model)
    squares = [torch.zeros_like(parameter) for parameter in model.parameters()]
    nats = []
    chunk, held, cache = adaptation.settings.chunk, list[int](), DynamicCache(config=model.config)
    for steps, begin in enumerate(range(0, len(ids) - 1, chunk), 1):
        targets = list(ids[begin + 1 : begin + 1 + chunk])
        inputs = list(ids[begin : begin + len(targets)])
        if len(held) + len(inputs) > reader.context:
            held, cache = shortened(held, reader.context), DynamicCache(config=model.config)
            with torch.no_grad():
                model(input_ids=torch.tensor([held]), past_key_values=cache, logits_to_keep=1)
        logits = model(input_ids=torch.tensor([inputs]), past_key_values=cache, use_cache=True).logits[0]
        losses = F.cross_entropy(logits.float(), torch.tensor(targets), reduction="none")
        nats.append(losses.detach())
        gradients = torch.autograd.grad(losses.mean(), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient, square in zip(model.parameters(), gradients, squares, strict=True):
                square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                parameter.sub_(rate * gradient / ((square / (1 - 0.999**steps)).sqrt() + 1e-8))
            for layer in cache.layers:  # what was read stays as it was read
                layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
        held += inputs
    return torch.cat(nats)


def documents(options: argparse.Namespace, tokenizer: Any) -> dict[str, list[list[int]]]:
    """Name → token ids of its documents: one of all rows joined, or one of each row."""
    found = {}
    for item in options.texts:
        name, _, path = item.partition("=")
        texts = [row["text"] for row in read_rows(Path(path))]
        parts = texts if options.each_row else ["\n".join(texts)]
        found[name] = [[tokenizer.bos_token_id, *tokenizer.encode(part)[: options.tokens]] for part in parts]
    return found


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    model, tokenizer = load_model(options.model, dtype=torch.float32)
    recipe = options.model / "autogpt.json"
    context = int(json.loads(recipe.read_text())["context"]) if recipe.exists() else options.context
    adaptation = Adaptation(Reader(model, context, tokenizer.pad_token_id, torch.device("cpu")))
    texts = documents(options, tokenizer)
    names = list(texts)
    share = adaptation.weights.numbers / sum(parameter.numel() for parameter in model.parameters())
    arms: dict[str, Callable[[list[int], list[int]], torch.Tensor]] = {
        "static": lambda ids, other: static(adaptation, ids),
        "adaptive": lambda ids, other: adaptive(adaptation, ids),
    }
    if not options.each_row:
        arms |= {
            "cache": lambda ids, other: cached(adaptation, ids),
            "elsewhere": lambda ids, other: elsewhere(adaptation, ids, other),
            "full": lambda ids, other: full(adaptation, ids),
        }
    with options.out.open("a", encoding="utf-8") as file:
        for place, name in enumerate(names):
            other = texts[names[(place + 1) % len(names)]][0]
            for arm, run in arms.items():
                if (options.arms and arm not in options.arms) or (arm == "elsewhere" and len(names) < 2):
                    continue
                began = time.perf_counter()
                nats = [run(ids, other) for ids in texts[name]]
                row: dict[str, Any] = {"model": options.name or options.model.name, "text": name, "arm": arm}
                row |= {"documents": len(nats), "tokens": _sums([torch.ones(len(one)) for one in nats])}
                row |= {"seconds": round(time.perf_counter() - began, 2), "adapted": round(share, 5)}
                sizes = [torch.tensor([len(tokenizer.decode([t]).encode()) for t in ids[1:]]) for ids in texts[name]]
                row |= {"nats": _sums(nats), "bytes": _sums(sizes), "commit": commit(), "machine": machine()}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                print(
                    name,
                    arm,
                    f"{sum(row['nats']) / sum(row['tokens']):.4f} nats a token, {row['seconds']} s",
                    flush=True,
                )


def _sums(values: Sequence[torch.Tensor]) -> list[float]:
    """By position, over all documents."""
    pairs = itertools.pairwise(BUCKETS)
    sums = [round(sum(float(one[begin:end].sum()) for one in values), 3) for begin, end in pairs]
    return sums[: max(index for index, begin in enumerate(BUCKETS[:-1]) if any(begin < len(one) for one in values)) + 1]


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| model | text | arm | bits per byte | gain in all | beyond 2,000 tokens | by position | seconds |",
        "| --- | --- | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    base: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["model"], row["text"])
        if row["arm"] == "static":
            base[key] = row
        columns = list(zip(row["nats"], base[key]["nats"], row["tokens"], strict=True))
        late = f"{_gain(columns[2:]):.1f} %" if len(columns) > 2 else ""
        bits = sum(row["nats"]) / math.log(2) / sum(row["bytes"])
        by = " ".join(f"{_gain([column]):.1f}" for column in columns)
        cells = (*key, row["arm"], f"{bits:.3f}", f"{_gain(columns):.1f} %", late, by, f"{row['seconds']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _gain(columns: Sequence[tuple[float, float, float]]) -> float:
    """Percent by which perplexity falls, of (nats, nats of the static model, tokens)."""
    mine, theirs, tokens = (sum(part) for part in zip(*columns, strict=True))
    return 100 * (1 - math.exp((mine - theirs) / max(1.0, tokens)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("texts", nargs="*", metavar="NAME=TEXT.jsonl")
    parser.add_argument("--tokens", type=int, default=16_000)
    parser.add_argument("--context", type=int, default=256, help="of a model without a recipe")
    parser.add_argument("--each-row", action="store_true", help="a row is a document; static and adaptive only")
    parser.add_argument("--arms", nargs="*", help="only these")
    parser.add_argument("--name", help="of the model in the table, when not its folder's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        print("\n".join(table(read_rows(options.table))))
    else:
        measure(options)


if __name__ == "__main__":
    main()

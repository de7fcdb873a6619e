"""Tokens a second of writing: our engine beside transformers' own `generate`, on the very same model, in one process.

    python benchmarks/bench_decode.py
    python benchmarks/bench_decode.py --batches 1 8 --tokens 256 --repeats 5 --threads 1

Both write greedily from the same random prompts, with random weights, and never end before the last token. They take
turns, so that a busy moment of the machine hits both; the table has medians, the ratio is that of the pairs' medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autogpt.data.tokenizers import train_tokenizer
from autogpt.generation.decode import Decoding, Job
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

__all__ = ["Timing", "measured", "model_of", "table"]

PROMPT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each repeat, of both systems in turn.

    Attributes:
        batch: rows written at once.
        tokens: tokens of each row.
        theirs, ours: seconds, one of each from every turn.
        alike: share of the rows whose tokens are the same.
    """

    batch: int
    tokens: int
    theirs: tuple[float, ...]
    ours: tuple[float, ...]
    alike: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is: the median over turns."""
        return statistics.median(a / b for a, b in zip(self.theirs, self.ours, strict=True))


def model_of(width: int, depth: int, vocabulary: int, context: int) -> GPT:
    """A GPT with every weight drawn at random."""
    torch.manual_seed(0)
    heads = max(1, width // 64)
    shape = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    model = GPT(
        GPTConfig(
            **shape,
            vocab_size=vocabulary,
            intermediate_size=-(-width * 8 // 3 // 32) * 32,
            max_position_embeddings=context,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def _theirs(model: Any, ids_BT: torch.Tensor, tokens: int) -> list[list[int]]:
    out = model.generate(
        ids_BT,
        attention_mask=torch.ones_like(ids_BT),
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=None,
        pad_token_id=0,
    )
    return out[:, ids_BT.shape[1] :].tolist()


def _ours(engine: Engine, ids_BT: torch.Tensor, tokens: int) -> list[list[int]]:
    # The end token is one that the model never writes: forbidding it would cost a pass over the scores.
    rows: list[list[int]] = [[] for _ in ids_BT]
    for step in Decoding(engine._reader, engine.tokenizer, Job(ids_BT.tolist()), Sampling(max_new_tokens=tokens)):
        for written in step:
            rows[written.row].append(written.token)
    return rows


def measured(model: GPT, batch: int, tokens: int, repeats: int) -> Timing:
    """Time both in turn, after one warming-up of each."""
    tokenizer = train_tokenizer([], 259)
    tokenizer.eos_token_id = model.config.vocab_size + 1
    engine = Engine(model, tokenizer)
    ids_BT = torch.randint(0, model.config.vocab_size, (batch, PROMPT_TOKENS))
    runs: list[Callable[[int], list[list[int]]]] = [
        lambda count: _theirs(model, ids_BT, count),
        lambda count: _ours(engine, ids_BT, count),
    ]
    theirs, ours = (run(tokens) for run in runs)
    seconds: list[list[float]] = [[], []]
    for turn in range(repeats):
        for place in (0, 1) if turn % 2 == 0 else (1, 0):
            began = time.perf_counter()
            runs[place](tokens)
            seconds[place].append(time.perf_counter() - began)
    alike = sum(a == b for a, b in zip(theirs, ours, strict=True)) / batch
    return Timing(batch, tokens, tuple(seconds[0]), tuple(seconds[1]), alike)


def table(timings: Sequence[Timing]) -> str:
    """The timings as a Markdown table."""
    lines = [
        "| rows | tokens | transformers, tokens/s | ours, tokens/s | ratio | rows alike |",
        "|-----:|-------:|-----------------------:|---------------:|------:|-----------:|",
    ]
    for each in timings:
        count = each.batch * each.tokens
        rates = (count / statistics.median(each.theirs), count / statistics.median(each.ours))
        lines.append(
            f"| {each.batch} | {each.tokens} | {rates[0]:.0f} | {rates[1]:.0f} | {each.ratio:.2f} | {each.alike:.0%} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=4096)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    model = model_of(given.width, given.depth, given.vocabulary, 2 * (PROMPT_TOKENS + given.tokens))
    print(table([measured(model, batch, given.tokens, given.repeats) for batch in given.batches]))


if __name__ == "__main__":
    main()

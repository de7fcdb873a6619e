"""Whether a mixture of components learns more than one GPT of the same size: on a toy with an oracle, and on real text.

    python benchmarks/bench_latent.py toy --steps 400 --seeds 3 --out benchmarks/results/latent_toy.jsonl
    python benchmarks/bench_latent.py text TEXTS.train.jsonl --minutes 4 --seeds 3 --out benchmarks/results/latent.jsonl
    python benchmarks/bench_latent.py table RESULTS

toy: sequences of 64 tokens, each from one of four Markov chains over 16 tokens. The oracle knows the four transition
matrices and mixes them exactly; nobody can have a lower mean NLL. A GPT, and mixtures of both objectives, are trained
for as many steps; the GPT also for as many CPU seconds as the mixture took.

text: TEXTS hold rows with `text` (continued from nothing) or `messages` (the first reply is written for the first
question); the `*.test.jsonl` beside them is scored. M = 1 has its feed-forward branch widened until it has no fewer
parameters than the mixture, and trains for as many seconds. Told are the exact marginal NLL in bits per byte with the
learnt and with a uniform prior, the NLL of single components and of the best one for each row (an oracle's choice), the
usage perplexity exp H(mean r) and the information I(z; y|x) in nats; and how alike (pairwise BLEU, less is more
diverse) and how good (BLEU of all against the reference, and of the best of them) M continuations of a prompt are: one
of each component for the mixture, sampled at several temperatures for both. Scoring is not counted as time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sacrebleu
import torch
from turns import read_rows

from autogpt.data.batching import Batches, BatchPlan, Encoded, encode_all
from autogpt.data.tokenizers import train_tokenizer
from autogpt.generation.decode import Decoding, Job
from autogpt.generation.reading import Reader
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.latent import LatentGPT, LatentGPTConfig
from autogpt.models.sizing import parameters, shape_for
from autogpt.training.loop import Objective, TrainSettings, start, train
from autogpt.training.machine import probe
from autogpt.training.mixture import Mixture, MixtureKind
from autogpt.training.mixture_batches import LatentBatches
from autogpt.training.objectives import weighted_token_loss
from autogpt.types import Segment

CHAINS, TOKENS, LENGTH, TRAINED, HELD_OUT = 4, 16, 64, 4096, 1024
COOL = 0.3
WIDTH, DEPTH, CONTEXT, VOCABULARY, STEP = 192, 4, 128, 2048, 1024
PROMPTS, NEW_TOKENS = 48, 48
TEMPERATURES = (0.5, 0.7, 0.85, 1.0)


@dataclass
class Result:
    """A trained model and what it took."""

    model: Any
    steps: int
    seconds: float


def trained(
    model: Any,
    batches: Batches,
    objective: Objective | MixtureKind,
    *,
    rate: float,
    steps: int = 0,
    seconds: float = 0.0,
) -> Result:
    """`model` after so many steps or CPU seconds, the last `COOL` of them with a falling rate."""
    precision = probe(threads=1).precision
    settings = TrainSettings(learning_rate=rate, weight_decay=0.1, precision=precision)
    state = start(model, settings)
    began = time.process_time()

    def done() -> float:
        return state.step / steps if steps else (time.process_time() - began) / seconds

    chosen = Mixture(done, kind=objective) if isinstance(objective, str) else objective
    for _ in train(state, batches, settings, objective=chosen):
        if state.schedule.cooldown_start is None and done() >= 1 - COOL:
            left = max(1, round(state.step * COOL / (1 - COOL)))
            state.schedule = replace(state.schedule, cooldown_start=state.step, cooldown_steps=left)
        if seconds and done() >= 1.05:
            break
    model.eval()
    return Result(model, state.step, time.process_time() - began)


# --- the toy ----------------------------------------------------------------------------------------------------------


def chains(seed: int) -> tuple[list[Encoded], np.ndarray, float]:
    """(training rows, held-out sequences [N, 64], the oracle's nats a token on them)."""
    rng = np.random.default_rng(seed)
    matrices = rng.dirichlet(np.full(TOKENS, 0.5), (CHAINS, TOKENS))
    which = rng.integers(CHAINS, size=TRAINED + HELD_OUT)
    ids = np.zeros((len(which), LENGTH), dtype=np.int32)
    ids[:, 0] = rng.integers(TOKENS, size=len(which))
    for t in range(1, LENGTH):
        cumulated = matrices[which, ids[:, t - 1]].cumsum(-1)
        ids[:, t] = np.minimum((cumulated < rng.random((len(which), 1))).sum(-1), TOKENS - 1)
    answers = np.arange(LENGTH) > 0
    rows = [Encoded(row, answers.astype(np.float32), str(i), 0, answers) for i, row in enumerate(ids[:TRAINED])]
    held = ids[TRAINED:]
    logs = np.log(matrices[:, held[:, :-1], held[:, 1:]]).sum(-1)
    oracle = -(np.logaddexp.reduce(logs, 0) - np.log(CHAINS)).mean() / (LENGTH - 1)
    return rows, held, float(oracle)


def toy(options: argparse.Namespace) -> None:
    """One row for each seed and system."""
    for seed in range(options.seeds):
        rows, held, oracle = chains(seed)
        ids, taken = torch.from_numpy(held.astype(np.int64)), 0.0
        for system in ("mixture soft", "mixture sampled", "mixture hard", "gpt", "gpt, as many seconds"):
            result = _toy_model(system, rows, seed, options.steps, taken)
            nll, used = toy_nll(result.model, ids)
            taken = result.seconds if system == "mixture soft" else taken
            one = {"part": "toy", "seed": seed, "system": system, "oracle": round(oracle, 4), "nll": round(nll, 4)}
            one |= {"above_percent": round(100 * (nll / oracle - 1), 2), "usage": used, "steps": result.steps}
            one |= {"cpu_s": round(result.seconds, 1), "parameters": sum(p.numel() for p in result.model.parameters())}
            keep(one, options.out)


def _toy_model(system: str, rows: list[Encoded], seed: int, steps: int, seconds: float) -> Result:
    """A mixture of width 32, or a GPT whose feed-forward branch is wider, so that it has more parameters."""
    plan = BatchPlan(tokens_per_step=2048, context=LENGTH, packed=False, seed=seed)
    shape: dict[str, Any] = {"vocab_size": TOKENS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"max_position_embeddings": LENGTH, "mlp": "relu2"}
    torch.manual_seed(seed)
    if not system.startswith("mixture"):
        model: Any = GPT(LatentGPTConfig(**shape, intermediate_size=96).plain())
        timed = {"seconds": seconds} if "seconds" in system else {"steps": steps}
        return trained(model, Batches(rows, plan, 0), weighted_token_loss, rate=3e-3, **timed)
    model = LatentGPT(LatentGPTConfig(**shape, intermediate_size=64, latents=CHAINS))
    kind: Any = system.rpartition(" ")[2]
    return trained(model, LatentBatches(rows, plan, 0, components=CHAINS), kind, rate=3e-3, steps=steps)


@torch.no_grad()
def toy_nll(model: Any, ids: torch.Tensor) -> tuple[float, float | None]:
    """(nats a token, exactly; usage perplexity of a mixture)."""
    if isinstance(model, LatentGPT):
        first = torch.zeros_like(ids)
        first[:, 0] = 1
        joint = sum(model.joint(ids, first, torch.ones(ids.shape)))
        r = torch.softmax(joint, -1).mean(0)
        used = float(torch.exp(-torch.xlogy(r, r).sum()))
        return -float(torch.logsumexp(joint, -1).mean()) / (LENGTH - 1), round(used, 3)
    logs = torch.log_softmax(model(ids).logits[:, :-1].float(), -1).gather(-1, ids[:, 1:, None])
    return -float(logs.sum()) / len(ids) / (LENGTH - 1), None


# --- real text --------------------------------------------------------------------------------------------------------


def segments_of(file: Path, most: int) -> list[tuple[Segment, ...]]:
    """Rows of `text` or of the first question and reply of `messages`, as prompt and answer."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines()[:most]:
        row = json.loads(line)
        if "text" in row:
            rows.append((Segment(row["text"], is_answer=True),))
        else:
            first, second = row["messages"][0]["content"], row["messages"][1]["content"]
            rows.append((Segment(first + "\n", is_answer=False), Segment(second, is_answer=True)))
    return rows


def text(options: argparse.Namespace) -> None:
    """One row for each seed and M."""
    train_rows = segments_of(options.texts, 10**6)
    test_rows = segments_of(Path(str(options.texts).replace(".train.", ".test.")), options.test_rows)
    tokenizer = train_tokenizer(("".join(s.text for s in row) for row in train_rows), VOCABULARY)
    rows, test = (encode_all(tokenizer, part, max_tokens=CONTEXT) for part in (train_rows, test_rows))
    for seed, latents in itertools.product(range(options.seeds), options.latents):
        torch.manual_seed(seed)
        model, batches = _text_model(len(tokenizer), latents, max(options.latents), rows, seed)
        objective: Any = options.kind if latents > 1 else weighted_token_loss
        result = trained(model, batches, objective, rate=2e-3, seconds=60 * options.minutes)
        one: dict[str, Any] = {"part": "text", "data": options.texts.name.partition(".")[0], "seed": seed}
        one |= {"latents": latents, "minutes": options.minutes, "steps": result.steps}
        one |= {"parameters": sum(p.numel() for p in model.parameters())} | scores(model, test)
        one["writing"] = writing(model, tokenizer, test, test_rows, max(options.latents))
        keep(one, options.out)


def _text_model(vocabulary: int, latents: int, most: int, rows: list[Encoded], seed: int) -> tuple[GPT, Batches]:
    """The model, M = 1 as large as the largest mixture; both read one document or answer a row."""
    plan = BatchPlan(tokens_per_step=STEP, context=CONTEXT, packed=False, seed=seed)
    fields = {"depth": DEPTH, "vocab_size": vocabulary, "context": CONTEXT, "mlp": "relu2", "dropout": 0.1}
    plain = shape_for(WIDTH, **fields).to_dict()
    del plain["model_type"]
    prompts = bool(rows[0].answers[: len(rows[0].ids)][1])
    if latents > 1:
        config = LatentGPTConfig(**plain, latents=latents, models_prompt=prompts)
        return LatentGPT(config), LatentBatches(rows, plan, 0, components=latents)
    goal = parameters(LatentGPTConfig(**plain, latents=most))
    while parameters(config := LatentGPTConfig(**plain).plain()) < goal:
        plain["intermediate_size"] += 8
    return GPT(config), Batches(rows, plan, 0)


@torch.no_grad()
def scores(model: GPT, rows: list[Encoded]) -> dict[str, Any]:
    """What the test rows say: bits per byte of y, exact, and what z does."""
    size, plan = sum(row.utf8_bytes for row in rows) * np.log(2), BatchPlan(8192, CONTEXT, packed=False, seed=0)
    if not isinstance(model, LatentGPT):
        batches = Batches(rows, plan, 0)
        lost = sum(float(weighted_token_loss(model, batches.batch(step))) for step in range(len(batches)))
        return {"bits_per_byte": round(lost / size, 4)}
    batches = LatentBatches(rows, plan, 0, components=1)
    parts = []
    for step in range(len(batches)):
        batch: Any = batches.batch(step)
        prompt = batch.answers_BT.cumsum(-1) == 0
        prompt[:, 0] = True
        parts.append(model.joint(batch.ids_BT, prompt, batch.weights_BT))
    prior, logs = (torch.cat(part) for part in zip(*parts, strict=True))
    r = torch.softmax(prior + logs, -1)
    mean = r.mean(0)
    uniform = torch.logsumexp(logs, -1) - np.log(logs.shape[1])
    information = (torch.special.entr(prior.exp()).sum(-1) - torch.special.entr(r).sum(-1)).mean()
    return {
        "bits_per_byte": round(-float(torch.logsumexp(prior + logs, -1).sum()) / size, 4),
        "uniform_prior": round(-float(uniform.sum()) / size, 4),
        "single_z": round(-float(logs.mean(-1).sum()) / size, 4),
        "best_z": round(-float(logs.max(-1).values.sum()) / size, 4),
        "usage": round(float(torch.exp(torch.special.entr(mean).sum())), 3),
        "information": round(float(information), 3),
    }


def writing(
    model: GPT, tokenizer: Any, rows: list[Encoded], shown: list[tuple[Segment, ...]], several: int
) -> list[dict[str, Any]]:
    """Of each way to write several continuations of a prompt: how alike they are, how good all and the best are.

    A prompt is what stands before the answer, or the first eight tokens of a text that has none.
    """
    prompts = [row.ids[: max(8, int(row.answers.argmax()))].astype(np.int64) for row in rows[:PROMPTS]]
    references = [row[-1].text for row in shown[:PROMPTS]]
    ways: list[tuple[str, float, bool]] = [(f"temperature {t}", t, False) for t in TEMPERATURES]
    if isinstance(model, LatentGPT):
        ways = [("one of each component, greedy", 0.0, True), ("one of each component, 0.7", 0.7, True), *ways]
    found = []
    for name, temperature, each in ways:
        texts = []
        for number, prompt in enumerate(prompts):
            written = _several(model, tokenizer, prompt, several, (temperature, each), number)
            head = prompt.tolist() if not shown[number][:-1] else []
            texts.append([tokenizer.decode([*head, *ids], skip_special_tokens=True) for ids in written])
        found.append({"way": name, **quality(texts, references)})
    return found


def _several(
    model: GPT, tokenizer: Any, prompt: np.ndarray, several: int, way: tuple[float, bool], seed: int
) -> list[list[int]]:
    """Continuations of a prompt; of the mixture's exact distribution, or one of each component (`way`'s second)."""
    temperature, each = way
    sampling = Sampling(temperature, max_new_tokens=NEW_TOKENS, latent=None if each else _mixture_of(model))
    given = {"latent": torch.arange(several) % model.config.latents} if each else {}
    job = Job([prompt.tolist()] * several, row_arguments=given, seeds=[seed * several + i for i in range(several)])
    reader = Reader(model, CONTEXT, tokenizer.eos_token_id, torch.device("cpu"))
    texts: list[list[int]] = [[] for _ in range(several)]
    for step in Decoding(reader, tokenizer, job, sampling):
        for one in step:
            texts[one.row].append(one.token)
    return texts


def _mixture_of(model: GPT) -> Literal["mixture"] | None:
    return "mixture" if isinstance(model, LatentGPT) else None


def quality(texts: list[list[str]], references: list[str]) -> dict[str, float]:
    """Pairwise BLEU, mean BLEU and BLEU of the best, all of character level (0 to 100), means over the prompts."""

    def bleu(a: str, b: str) -> float:
        return sacrebleu.sentence_bleu(a, [b], tokenize="char").score

    pairs = [bleu(a, b) for several in texts for a, b in itertools.permutations(several, 2)]
    each = [[bleu(one, right) for one in several] for several, right in zip(texts, references, strict=True)]
    return {
        "pairwise": round(statistics.mean(pairs), 2),
        "mean": round(statistics.mean(itertools.chain(*each)), 2),
        "best": round(statistics.mean(max(scores) for scores in each), 2),
    }


# --- the command line -------------------------------------------------------------------------------------------------


def keep(row: dict[str, Any], out: Path | None) -> None:
    """Print a row, and add it to the file of results."""
    print(json.dumps(row, ensure_ascii=False), flush=True)
    if out:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def system(row: dict[str, Any]) -> tuple[str, str, str]:
    """What is averaged over seeds."""
    return row["part"], row.get("data", ""), str(row.get("system", row.get("latents")))


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds of what both parts measured, one line for each system."""
    lines = []
    for key, group in itertools.groupby(sorted(rows, key=system), system):
        held = list(group)
        numbers = [name for name in held[0] if isinstance(held[0][name], float)]
        means = {name: statistics.mean(row[name] for row in held) for name in numbers}
        lines.append(" | ".join([*key, f"n={len(held)}", *(f"{name} {value:.4g}" for name, value in means.items())]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("toy")
    one.add_argument("--steps", type=int, default=400)
    two = parts.add_parser("text")
    two.add_argument("texts", type=Path)
    two.add_argument("--minutes", type=float, default=4.0)
    two.add_argument("--latents", type=int, nargs="+", default=[1, 4])
    two.add_argument("--kind", choices=("sampled", "soft", "hard"), default="sampled")
    two.add_argument("--test-rows", type=int, default=400)
    for part in (one, two):
        part.add_argument("--seeds", type=int, default=1)
        part.add_argument("--out", type=Path, help="file to which the rows are added")
    parts.add_parser("table").add_argument("results", type=Path)
    options = parser.parse_args()
    if options.part == "table":
        print(table(read_rows(options.results)))
    else:
        {"toy": toy, "text": text}[options.part](options)


if __name__ == "__main__":
    main()

"""Free writing with and without adaptation: coherence measured beside repetition, which can pass for it.

    python benchmarks/bench_coherence.py MODEL_DIR HELD_OUT.jsonl --train TRAIN.jsonl --texts TEXTS.jsonl --out FILE
    python benchmarks/bench_coherence.py --table FILE.jsonl

HELD_OUT.jsonl and TRAIN.jsonl hold rows with a `text`, passages in their order. `--prompts` held-out passages, evenly
spread, are begun (120 tokens) and continued by so many `--tokens` with each seed: `off` by the model as it is, `on`
with adaptation as `--adapt once` has it (the session reads the beginning first, and learns on from what is written).
Both arms draw the same random numbers and write in turn. `held-out` is what stands in the novel itself, as many tokens
long. Texts are added to TEXTS.jsonl batch by batch and not written again: a stopped run goes on where it was, and a
second run only measures.

A text is cut into quarters of equal characters, and into whole segments of 500 characters.

    names back           of the names in the beginning and the first quarter, the share that stands in a later quarter
    … in another text    the same looked for in the texts of all other beginnings: what comes back by chance; the names
                         that come back beyond that are this text's own
    new names            names in the last quarter that stood nowhere before, per 1,000 characters
    neighbours           mean cosine of neighbouring segments, TF-IDF as the baselines have it, fitted on TRAIN
    … in another text    segments with the next segment of the next beginning's text: what any two have in common
    beginning to first   cosine of the beginning and the first segment; and the last one
    rep-4, distinct-n    of characters (Chinese) or words; longest repeat: characters of the longest run said twice
    nats, all and last   nats a token by the model as it is, of the text and of its last quarter

Names are those that `writing.names` finds at least ten times in TRAIN and that say something there three times (in
English also those never written small); surname or not is the same name. Not seen are names that the model makes up or
that only the held-out text has, persons called by a pronoun or a title, two persons of one name, and whether a name
that comes back does anything that makes sense. Cosines see shared words, not sense.

Means are over beginnings, after the mean over seeds; intervals are percentile bootstrap over beginnings, paired for the
difference. Held-out texts overlap one another, so their interval is too narrow.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_main_path import commit, machine
from coherence_measures import chosen, measured
from turns import read_rows

from autogpt.evaluation.metrics import MeanOfRows
from autogpt.evaluation.resampling import bootstrap_values, percentile_interval
from autogpt.generation.adaptive import Adaptation, AdaptationSettings
from autogpt.generation.fast_weights import FastRates
from autogpt.generation.sampling import Sampling
from autogpt.model import Model
from autogpt.model_inputs import example_of, prompt_of
from autogpt.tasks.language import has_han

ARMS = ("off", "on", "held-out")
BEGINNING_TOKENS = 120
RESAMPLES = 10_000
LABELS = {
    "names_back": "names back, %",
    "names_by_chance": "… in another text, %",
    "names_beyond": "… beyond that, points",
    "new_names": "new names per 1,000 characters",
    "adjacent": "neighbours, cosine",
    "adjacent_by_chance": "… in another text",
    "adjacent_beyond": "… beyond that",
    "first": "beginning to first segment, cosine",
    "last": "beginning to last segment, cosine",
    "rep4": "rep-4, %",
    "longest": "longest repeat, characters",
    "distinct1": "distinct-1",
    "distinct2": "distinct-2",
    "distinct3": "distinct-3",
    "nats": "nats a token",
    "nats_last": "nats a token, last quarter",
}
PERCENT = ("names_back", "names_by_chance", "names_beyond", "rep4")


# ---- writing ---------------------------------------------------------------------------------------------------------


def kept(path: Path) -> list[dict[str, Any]]:
    """Rows of the texts file; a last line that was cut off is removed from it."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    return read_rows(path)


class Writer:
    """A model that continues beginnings, one row a text: text, nats by the model as it is in each quarter, seconds."""

    def __init__(self, model: Model, tokens: int, threads: int) -> None:
        self.model, self.tokens = model, tokens
        self.still = Adaptation(model.adaptation.reader, AdaptationSettings(FastRates(step=0.0)))
        torch.set_num_threads(threads)  # the engine has just taken what it thinks best

    def ids(self, text: str) -> list[int]:
        return list(self.model.engine.tokenizer.encode(text, add_special_tokens=False))

    def beginning(self, text: str) -> str:
        """At most 120 tokens, in English whole words. Rows of nearly one length are read again together, hence fast."""
        ends = range(min(len(text), 8 * BEGINNING_TOKENS), 0, -1)
        whole = (end for end in ends if has_han(text[:end]) or not text[end - 1 : end + 1].isalpha())
        return next((text[:end] for end in whole if len(self.ids(text[:end])) <= BEGINNING_TOKENS), "").rstrip()

    def written(self, arm: str, seed: int, leads: Sequence[str]) -> list[dict[str, Any]]:
        engine, adaptation = self.model.engine, self.model.adaptation
        sampling = Sampling(
            temperature=0.9, top_p=0.95, max_new_tokens=self.tokens, min_new_tokens=self.tokens, seed=seed
        )
        prompts = [prompt_of(self.model.spec, example_of(self.model.spec, lead)) for lead in leads]
        began = time.perf_counter()
        if arm == "off":
            texts = engine.completions(prompts, sampling)
        else:
            sessions = [adaptation.session() for _ in leads]
            for session, lead in zip(sessions, leads, strict=True):
                adaptation.read(session, [engine.bos_id, *self.ids(lead)])
            with adaptation.writing(sessions):
                texts = engine.completions(prompts, sampling, follower=adaptation)
        seconds = (time.perf_counter() - began) / len(leads)
        rows = [self.row(lead, text.text, text.token_ids) for lead, text in zip(leads, texts, strict=True)]
        dropped = [text.prompt_tokens_dropped for text in texts]
        return [row | {"seconds": round(seconds, 3), "dropped": d} for row, d in zip(rows, dropped, strict=True)]

    def rows(self, arm: str, seed: int, texts: Sequence[str]) -> Sequence[dict[str, Any] | None]:
        """What an arm has for the beginnings of these texts."""
        leads = [self.beginning(text) for text in texts]
        if arm != "held-out":
            return self.written(arm, seed, leads)
        return [self.held_out(lead, text[len(lead) :]) for lead, text in zip(leads, texts, strict=True)]

    def held_out(self, lead: str, rest: str) -> dict[str, Any] | None:
        """What follows in the novel; None where that is not long enough."""
        ids = self.ids(rest[: 16 * self.tokens])[: self.tokens]
        if len(ids) < self.tokens:
            return None
        return self.row(lead, self.model.engine.tokenizer.decode(ids), ids)

    def row(self, lead: str, text: str, ids: Sequence[int]) -> dict[str, Any]:
        still = self.still
        nats = still.read(still.session(), [self.model.engine.bos_id, *self.ids(lead), *ids])[-len(ids) :]
        quarters = [round(float(part.mean()), 4) for part in torch.tensor_split(nats, 4)]
        return {"lead": lead, "text": text, "tokens": len(ids), "nats": quarters}


def write(options: argparse.Namespace, passages: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of the texts file, after those that were missing are written."""
    rows = kept(options.texts)
    if any(row["tokens"] != options.tokens for row in rows):
        raise SystemExit(f"{options.texts} holds texts of another length")
    done = {(row["arm"], row["seed"], row["prompt"]) for row in rows}
    places = chosen(passages, options.prompts)
    writer: Writer | None = None
    with options.texts.open("a", encoding="utf-8") as file:
        for seed in range(1, options.seeds + 1):
            for first in range(0, len(places), options.batch):
                for arm in ARMS:
                    batch = range(first, min(first + options.batch, len(places)))
                    missing = [i for i in batch if (arm, seed, i) not in done]
                    if not missing or (arm == "held-out" and seed > 1):
                        continue
                    writer = writer or Writer(Model(options.model), options.tokens, options.threads)
                    found = writer.rows(arm, seed, ["\n".join(passages[places[i] :]) for i in missing])
                    keys = [{"arm": arm, "seed": seed, "prompt": i} for i in missing]
                    new = [key | row for key, row in zip(keys, found, strict=True) if row]
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in new)
                    file.flush()
                    rows += new
                    print(time.strftime("%H:%M:%S"), arm, f"seed {seed}, {len(new)} texts", flush=True)
    return rows


# ---- summing up -----------------------------------------------------------------------------------------------------


def interval(values: Iterable[float]) -> list[float] | None:
    """Mean and 95 % bootstrap interval of one value for each beginning; those without one are left out."""
    table = np.array([[value, 1.0] for value in values if not math.isnan(value)])
    if not len(table):
        return None
    (drawn,) = bootstrap_values(MeanOfRows().value, table, resamples=RESAMPLES, seed=0)
    return [round(number, 5) for number in (float(table[:, 0].mean()), *percentile_interval(drawn))]


def summary(found: Mapping[tuple[str, int, int], Mapping[str, float]]) -> dict[str, dict[str, list[float] | None]]:
    """Measure → arm, and `difference` (on - off of the same beginning and seed) → mean and its interval."""
    result: dict[str, dict[str, list[float] | None]] = {}
    for name in LABELS:
        result[name] = {
            arm: interval(_by_beginning({k: v[name] for k, v in found.items() if k[0] == arm})) for arm in ARMS
        }
        pairs = {k: v[name] - found["off", k[1], k[2]][name] for k, v in found.items() if k[0] == "on"}
        result[name]["difference"] = interval(_by_beginning(pairs))
    return result


def _by_beginning(values: Mapping[tuple[str, int, int], float]) -> list[float]:
    """The mean over seeds of each beginning."""
    together = defaultdict[int, list[float]](list)
    for (_, _, beginning_), value in values.items():
        if not math.isnan(value):
            together[beginning_].append(value)
    return [float(np.mean(one)) for one in together.values()]


def table(row: Mapping[str, Any]) -> list[str]:
    """One model's measures; a difference whose interval leaves out zero is bold."""
    lines = [
        "| measure | without | with adaptation | difference | held-out text |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, label in LABELS.items():
        scale, digits = (
            (100, 1) if name in PERCENT else (1, 1 if name == "longest" else 2 if name == "new_names" else 3)
        )
        cells = []
        for column in ("off", "on", "difference", "held-out"):
            value = row["measures"][name][column]
            sign = "+" if column == "difference" else ""
            mean, low, high = (f"{scale * number:{sign}.{digits}f}" for number in value or (0, 0, 0))
            bold = "**" if value and column == "difference" and value[1] * value[2] > 0 else ""
            cells.append(f"{bold}{mean}{bold} ({low} to {high})" if value else "")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("passages", type=Path, nargs="?", metavar="HELD_OUT.jsonl")
    parser.add_argument("--train", type=Path, help="what the model was trained on: names, and weights of words")
    parser.add_argument("--texts", type=Path, help="written texts, one JSON object a line")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=50, help="texts that are written at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        for row in read_rows(options.table):
            print(
                "\n".join([f"## {row['model']}, {row['prompts']} × {row['seeds']} × {row['tokens']}", "", *table(row)])
            )
        return
    rows = write(options, [row["text"] for row in read_rows(options.passages)])
    train = [row["text"] for row in read_rows(options.train)]
    row: dict[str, Any] = {name: getattr(options, name) for name in ("prompts", "seeds", "tokens")}
    row = {"model": Model(options.model).name, "text": options.passages.name} | row
    row |= {"texts": {arm: sum(one["arm"] == arm for one in rows) for arm in ARMS}}
    row |= {"seconds": {arm: round(sum(one["seconds"] for one in rows if one["arm"] == arm)) for arm in ARMS[:2]}}
    row |= {"dropped": round(float(np.mean([one["dropped"] for one in rows if "dropped" in one])), 2)}
    row |= {"measures": summary(measured(rows, train)), "commit": commit(), "machine": machine()}
    with options.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print("\n".join(table(row)))


if __name__ == "__main__":
    main()

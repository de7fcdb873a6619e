"""The facade, and the hand-written loop as it stands in the articles."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autogpt.agent import Agent
from autogpt.agent.teaching import is_taught
from autogpt.errors import DataError

LOOP = """
from transformers import AutoTokenizer, AutoModelForCausalLM
from autogpt.agent import Agent
from autogpt.utils import load_config
config = load_config()
tokenizer = AutoTokenizer.from_pretrained(config.model_name)
model = AutoModelForCausalLM.from_pretrained(config.model_name)
agent = Agent(config)
dataset = agent.load_dataset(config.dataset_path)
dataloader = agent.create_dataloader(dataset, tokenizer, config.batch_size)
optimizer = agent.create_optimizer(model, config.learning_rate)
for epoch in range(config.epochs):
    for batch in dataloader:
        optimizer.zero_grad()
        inputs = tokenizer(batch["input_text"], return_tensors="pt", padding=True, truncation=True)
        outputs = model(**inputs)
        loss = outputs.loss
        loss.backward()
        optimizer.step()
model.save_pretrained(config.model_path)
"""


@pytest.fixture
def start(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> Path:
    """A folder with an untrained Llama of 0.1 M parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(eos_token="<end>")
    torch.manual_seed(0)
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **shape))
    folder = tmp_path / "start"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_loop_runs_as_written_and_learns(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    lines = [{"text": f"the number {n % 4} is {'even' if n % 2 == 0 else 'odd'}"} for n in range(32)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (tmp_path / "config.yaml").write_text(
        f"model_name: {start}\ndataset_path: train.jsonl\nmodel_path: trained\nbatch_size: 8\n"
        "learning_rate: 5e-3\nepochs: 5\ntask: Continue the text.\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOGPT_CONFIG", raising=False)
    names: dict[str, Any] = {}
    exec(compile(LOOP, "loop", "exec"), names)
    tokenizer, dataset = names["tokenizer"], names["dataset"]
    inputs = tokenizer(list(dataset)[:4], return_tensors="pt", padding=True)
    losses = []
    for folder in (start, tmp_path / "trained"):
        model = AutoModelForCausalLM.from_pretrained(folder)
        losses.append(model(**inputs, labels=inputs["input_ids"]).loss.item())
    assert losses[1] < 0.5 * losses[0]


def test_batches_cover_the_data_each_epoch_in_a_new_order(texts: list[str], make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(eos_token="<end>")
    loader = Agent().create_dataloader(texts, tokenizer, 5)
    epochs = [[text for batch in loader for text in batch["input_text"]] for _ in range(2)]
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        assert sorted(epoch) == sorted(text + "<end>" for text in texts)
    assert len(loader) == 3
    assert is_taught(tokenizer)
    batch = next(iter(loader))["input_text"]
    assert isinstance(batch, list)
    assert all(isinstance(text, str) for text in batch)


def test_the_order_follows_the_seed(texts: list[str], make_tokenizer: Callable[..., Any]) -> None:
    class Config:
        seed = 7

    def order(config: Any) -> list[str]:
        loader = Agent(config).create_dataloader(texts, make_tokenizer(eos_token="<end>"), 4)
        return [text for batch in loader for text in batch["input_text"]]

    assert order(Config()) == order(Config()) != order(None)


def test_an_end_token_is_not_doubled(make_tokenizer: Callable[..., Any]) -> None:
    loader = Agent().create_dataloader(["grass<end>"], make_tokenizer(eos_token="<end>"), 1)
    assert next(iter(loader))["input_text"] == ["grass<end>"]


def test_an_empty_data_set(make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="empty"):
        Agent().create_dataloader([], make_tokenizer(eos_token="<end>"), 1)


def test_optimizer_takes_what_is_trainable(start: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(start)
    model.get_input_embeddings().weight.requires_grad_(False)
    optimizer = Agent().create_optimizer(model, 0.01)
    held = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    assert held == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_same_signatures_as_the_package() -> None:
    from autogpt.model import load
    from autogpt.pipeline import fit

    for ours, theirs in ((Agent().fit, fit), (Agent().load, load)):
        assert inspect.signature(ours) == inspect.signature(theirs)


def test_fit_and_load_hand_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from autogpt import model, pipeline

    seen: list[Any] = []
    monkeypatch.setattr(pipeline, "fit", lambda *args, **options: seen.append((args, options)))
    monkeypatch.setattr(model, "load", lambda name, task: seen.append((name, task)))
    Agent().fit("sort", "a.csv", name="m", fresh=True)
    Agent().load("m", "replies")
    wanted = {"test": None, "name": "m", "config": None, "fresh": True, "consumers": ()}
    assert seen == [(("sort", "a.csv"), wanted), ("m", "replies")]


def test_import_is_light() -> None:
    script = (
        "import sys, autogpt.agent, autogpt.utils; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

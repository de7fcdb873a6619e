"""Label probabilities against a naive walk down the trie, one forward pass a prefix."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from autogpt.generation.choices import ChoiceTrie
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

END = 1


def _naive(model: PreTrainedModel, prompt: list[int], choices: list[list[int]]) -> list[float]:
    """Product over the path of the next-token probability renormalised over the tokens that continue some choice."""
    closed = [[*choice, END] for choice in choices]
    result = []
    for choice in closed:
        probability = 1.0
        for i, token in enumerate(choice):
            allowed = sorted({c[i] for c in closed if c[:i] == choice[:i] and len(c) > i})
            if len(allowed) == 1:
                continue
            with torch.no_grad():
                logits = model(torch.tensor([prompt + choice[:i]])).logits[0, -1]
            probability *= float(logits[allowed].softmax(0)[allowed.index(token)])
        result.append(probability)
    return result


@pytest.fixture(scope="module", params=["transformers", "ours"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 32,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    if request.param == "transformers":
        return LlamaForCausalLM(LlamaConfig(**shape)).eval()
    ours = GPT(GPTConfig(**shape, late_key_heads=1)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return ours


@pytest.mark.parametrize(
    "choices",
    [
        [[5], [6], [7]],
        [[5, 6], [5, 7], [8]],
        [[5], [5, 6], [5, 6, 7], [9, 6]],
        [[4, 5, 6, 7], [4, 5, 6, 8], [4, 5, 9], [10, 11]],
    ],
)
def test_one_pass_equals_the_naive_walk(model: PreTrainedModel, choices: list[list[int]]) -> None:
    prompt = [3, 12, 17, 4]
    trie = ChoiceTrie(choices, END)
    ids = torch.tensor([prompt + trie.tokens])
    length = len(prompt)
    mask = torch.zeros(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool)
    mask[0, 0, :length, :length] = torch.ones(length, length).tril().bool()
    mask[0, 0, length:, :length] = True
    mask[0, 0, length:, length:] = trie.sees()
    positions = torch.cat([torch.arange(length), length + trie.depths()])[None]
    with torch.no_grad():
        logits = model(ids, attention_mask=mask, position_ids=positions).logits[:, length - 1 :]
    found = trie.probabilities(logits[:, :, trie.candidates])[0]
    assert found.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert found.tolist() == pytest.approx(_naive(model, prompt, choices), abs=1e-5)


def test_no_token_is_fed_when_the_first_one_decides() -> None:
    assert ChoiceTrie([[5, 6], [7, 8]], END).size == 0

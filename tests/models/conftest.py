"""Tiny models and a tokenizer for the tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from autogpt.data.tokenizers import train_tokenizer
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

TEXTS = ["The capital of France is Paris.", "你好，世界！今天天气很好。", "def f(x):\n    return 2 * x  # twice"] * 4


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 320)


@pytest.fixture
def make() -> Callable[..., GPT]:
    """A GPT of width 32 with every weight drawn at random: fresh ones start as the identity, which proves nothing."""

    def made(seed: int = 0, **fields: Any) -> GPT:
        shape: dict[str, Any] = {
            "vocab_size": 320,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
        }
        torch.manual_seed(seed)
        model = GPT(GPTConfig(**{**shape, **fields}))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
                else:
                    parameter.uniform_(0.5, 1.5)
        return model.eval()

    return made


Fresh = Callable[..., subprocess.CompletedProcess[str]]

SERVER = """
import json, os, sys
import accelerate, huggingface_hub.hf_api, jinja2.sandbox, PIL.Image, regex, safetensors.torch, scipy.optimize
import tokenizers, torch._dynamo, torch.distributed.fsdp, torch.distributed.tensor, torch.nn.attention.flex_attention
assert not {name.partition('.')[0] for name in sys.modules} & {'transformers', 'autogpt', 'peft'}
for line in sys.stdin:
    script, arguments, told, complained = json.loads(line)
    child = os.fork()
    if not child:
        for number, path in ((0, os.devnull), (1, told), (2, complained)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
        sys.argv = ['-c', *arguments]
        exec(script, {'__name__': '__main__'})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    """Runs a script in a process that has imported nothing of `transformers` and nothing of ours.

    What those two import of others, PyTorch first of all, takes most of such a process's time and is the same for all
    of them: a server imports it once and forks for each script.
    """
    folder, command = tmp_path_factory.mktemp("fresh"), [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        reader, writer = server.stdout, server.stdin

        def run(script: str, *arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
            told, complained = folder / "stdout", folder / "stderr"
            for path in (told, complained):
                path.unlink(missing_ok=True)
            given: Sequence[str] = [os.fspath(argument) for argument in arguments]
            print(json.dumps([script, given, str(told), str(complained)]), file=writer, flush=True)
            code = int(reader.readline())
            return subprocess.CompletedProcess(given, code, _read(told), _read(complained))

        yield run
        writer.close()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")

"""`import autogpt` makes the Auto classes know our models: in both orders, in threads, after reloads, and lightly."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from autogpt.models import auto
from autogpt.models.gpt import GPT
from autogpt.models.hub import save_model

Fresh = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    from autogpt.models.gpt_config import GPTConfig

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    path = tmp_path_factory.mktemp("auto") / "model"
    save_model(GPT(GPTConfig(vocab_size=320, mlp="relu2", **shape)), tokenizer, path)
    return path


LOAD = """
model = AutoModelForCausalLM.from_pretrained(folder)
import torch
ids = torch.tensor([[5, 6, 7]])
out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
assert out.shape == (1, 5), out
assert type(model).__module__ == "autogpt.models.gpt", type(model)
"""

CODES = {
    "autogpt first, every class, and reloads": (
        "import importlib, autogpt, autogpt.models.auto\n"
        "importlib.reload(autogpt)\nimportlib.reload(autogpt.models.auto)\nimportlib.reload(autogpt)\n"
        "assert sum(type(finder).__name__ == '_Finder' for finder in sys.meta_path) == 1\n"
        "from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer\n"
        "assert AutoConfig.from_pretrained(folder).mlp == 'relu2'\n"
        "assert type(AutoModel.from_pretrained(folder)).__name__ == 'GPTModel'\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "assert tokenizer.decode(tokenizer('Paris 你好', add_special_tokens=False).input_ids) == 'Paris 你好'\n"
        f"{LOAD}\n"
        "import transformers.models.auto.configuration_auto, transformers.models.auto.modeling_auto\n"
        "importlib.reload(transformers.models.auto.configuration_auto)\n"
        "importlib.reload(transformers.models.auto.modeling_auto)\n"
        "from transformers.models.auto.modeling_auto import AutoModelForCausalLM" + LOAD
    ),
    "model class first": "from transformers import AutoModelForCausalLM\nimport autogpt" + LOAD,
    # One thread for transformers: two that import it for the first time at once fail also without us.
    "config class first, then threads": (
        "import threading\nfrom transformers import AutoConfig\n"
        "def ours():\n    import autogpt\n"
        "def theirs():\n    from transformers import AutoModelForCausalLM\n"
        "threads = [threading.Thread(target=target) for target in (ours, theirs, ours, ours)]\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\n"
        "assert type(AutoConfig.from_pretrained(folder)).__name__ == 'GPTConfig'\n"
        "from transformers import AutoModelForCausalLM" + LOAD
    ),
    # What one thread meets while another is in the middle of `install`, made to happen every time: the finder is
    # there, the table of configurations not complete; and the search for the models has passed the finder's place.
    "models before the configurations are complete": (
        "import autogpt\n"
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES\n"
        "del CONFIG_MAPPING_NAMES['autogpt']\n"
        "from transformers import AutoModelForCausalLM" + LOAD
    ),
    "installed while another thread looks for the models": (
        "import autogpt, importlib.abc, threading\n"
        "from autogpt.models import auto\n"
        "searching, done = threading.Event(), threading.Event()\n"
        "class Slow(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'transformers.models.auto.modeling_auto' and not searching.is_set():\n"
        "            searching.set()\n"
        "            done.wait(1)\n"
        "sys.meta_path[:] = [Slow()] + [f for f in sys.meta_path if not isinstance(f, auto._Finder)]\n"
        "def theirs():\n    from transformers import AutoModelForCausalLM\n"
        "thread = threading.Thread(target=theirs)\nthread.start()\nsearching.wait()\n"
        "auto.install()\ndone.set()\nthread.join()\n"
        "from transformers import AutoModelForCausalLM" + LOAD
    ),
}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_folders_load_in_a_fresh_process(code: str, folder: Path, fresh: Fresh) -> None:
    done = fresh(f"import sys\nfolder = sys.argv[1]\n{code}\nprint('ok')", folder)
    assert done.stdout == "ok\n", done.stderr
    assert "Exception in thread" not in done.stderr


def test_a_latent_model_loads_in_a_fresh_process(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """One that has imported nothing at all, PyTorch neither."""
    from autogpt.models.latent import LatentGPT, LatentGPTConfig

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    save_model(LatentGPT(LatentGPTConfig(vocab_size=320, latents=3, **shape)), tokenizer, tmp_path / "m")
    code = (
        "import sys\nimport autogpt\nfolder = sys.argv[1]\n"
        "from transformers import AutoConfig, AutoModel, AutoModelForCausalLM\n"
        "assert AutoConfig.from_pretrained(folder).latents == 3\n"
        "assert type(AutoModel.from_pretrained(folder)).__name__ == 'LatentGPTModel'\n"
        + LOAD.replace("autogpt.models.gpt", "autogpt.models.latent")
        + "\nprint('ok')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.stdout == "ok\n", done.stderr


@pytest.mark.parametrize(
    "after", ["", "\nimport transformers", "\nautogpt.ModelError, autogpt.__version__, autogpt.TaskSpec"]
)
def test_the_import_is_light(after: str) -> None:
    script = f"import sys\nimport autogpt{after}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded & {"torch", "peft", "sklearn", "optuna", "autogpt.models.gpt", "autogpt.models.hub"} == set()
    if not after:
        assert loaded & {"transformers", "numpy", "pydantic", "yaml", "sqlalchemy"} == set()


def test_other_modules_are_declined() -> None:
    finder = auto._Finder()
    assert finder.find_spec("transformers", None) is None
    assert finder.find_spec("transformers.models.llama", None) is None


def test_our_names_clash_with_none_of_transformers(make: Callable[..., GPT]) -> None:
    tables = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING_NAMES
    assert [key for key, name in tables.items() if name == "GPTConfig"] == ["autogpt"]

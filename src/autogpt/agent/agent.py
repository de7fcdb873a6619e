"""`Agent`: the package's functions on one object, and what a hand-written PyTorch loop needs.

The loop below runs as written; `config.model_name` is a folder, a hub id or a catalogue name.

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
            outputs.loss.backward()
            optimizer.step()
    model.save_pretrained(config.model_path)

It trains on the whole text, prompt included, at one learning rate and without validation. `fit` does all that properly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autogpt.errors import DataError
from autogpt.events import Consumer

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

    from autogpt.agent.dataset import TextDataset
    from autogpt.config import RunConfig
    from autogpt.model import Model
    from autogpt.model_several import MultitaskModel

__all__ = ["Agent"]


class Agent:
    """The facade.

    Args:
        config: what `load_config()` returned, or any object with the attributes `max_tokens`, `seed` and `task`; those
            it lacks have the defaults of `autogpt.utils.DEFAULTS`. None: the defaults.
    """

    def __init__(self, config: Any = None) -> None:
        self.config = config

    def _setting(self, name: str) -> Any:
        from autogpt.utils import DEFAULTS

        return getattr(self.config, name, DEFAULTS[name])

    def fit(
        self,
        description: str,
        data: str | Path | Sequence[str | Path],
        *,
        test: str | Path | Sequence[str | Path] | None = None,
        name: str | None = None,
        config: RunConfig | None = None,
        fresh: bool = False,
        consumers: Sequence[Consumer] = (),
        **options: Any,
    ) -> Model | MultitaskModel:
        """`autogpt.fit`: describe a task, bring its data, get a trained and evaluated model; or several tasks."""
        from autogpt import pipeline

        fit: Any = pipeline.fit  # whose types tell one file from several
        found: Model | MultitaskModel = fit(
            description, data, test=test, name=name, config=config, fresh=fresh, consumers=consumers, **options
        )
        return found

    def load(self, name_or_dir: str | Path, task: str | None = None) -> Model:
        """`autogpt.load`: a trained model by its name or folder, and of several tasks the one that is named."""
        from autogpt.model import load

        return load(name_or_dir, task)

    def load_dataset(self, path: str | Path) -> TextDataset:
        """The rows of a data file as texts (see `autogpt.agent.dataset.load_texts`); `config.task` describes them."""
        from autogpt.agent.dataset import load_texts

        return load_texts(path, str(self._setting("task") or ""))

    def create_dataloader(self, dataset: Sequence[str], tokenizer: Any, batch_size: int) -> DataLoader[Any]:
        """Batches `{"input_text": list of str}`, shuffled anew each epoch by `config.seed`.

        The texts end with the tokenizer's end token, where it has one, so that the model learns to stop. The tokenizer
        object is taught to return `labels` for these batches, and these only, so that `model(**inputs).loss` exists;
        `autogpt.agent.teaching.unteach(tokenizer)` undoes that.

        Args:
            dataset: what `load_dataset` returned, or any sequence of texts.
            tokenizer: the transformers tokenizer that the loop calls.
            batch_size: texts a step; the last batch of an epoch may be smaller.
        """
        import torch
        from torch.utils.data import DataLoader

        from autogpt.agent.teaching import LoopTexts, teach

        if len(dataset) == 0:
            raise DataError("the data set is empty", expected="at least one text")
        end = tokenizer.eos_token or ""

        def collate(texts: list[str]) -> dict[str, list[str]]:
            return {"input_text": LoopTexts(text if end and text.endswith(end) else text + end for text in texts)}

        teach(tokenizer, int(self._setting("max_tokens")))
        order = torch.Generator().manual_seed(int(self._setting("seed")))
        return DataLoader(
            dataset,  # type: ignore[arg-type]  # any sequence will do
            batch_size=batch_size,
            shuffle=True,
            generator=order,
            collate_fn=collate,
        )

    def create_optimizer(self, model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        """AdamW over the model's trainable parameters, as the training loop of this package uses it."""
        from autogpt.training.optim import adamw

        return adamw(model.parameters(), float(learning_rate))

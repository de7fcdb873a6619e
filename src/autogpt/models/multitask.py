"""The multi-task GPT: one model that does K tasks, told which one by the first token of a row.

All weights are shared but for

- a task embedding: a row begins with the task token, whose id is `vocab_size + task`. It stands in no tokenizer and is
  never predicted. Its embedding takes the place of the start token's (`bos_token_id`); value embeddings are those of
  the start token;
- low-rank adapters (LoRA, Hu et al. 2021) beside the products q, v, up and down of all blocks, where `config.sharing`
  says so: M of them with one inner matrix in common, mixed by weights alpha[k, m] for task k. With "own" adapter k is
  that of task k. With "attention" alpha is, in each block, a softmax over m of a query of the task times a key of the
  adapter. That is AdapterFusion (Pfeiffer et al. 2021) but for three things: there the query is made from the text at
  each token, here it belongs to the task; there the outputs of adapters with a nonlinearity are mixed, here the
  matrices; and there the adapters are trained first, one task at a time, here all is trained at once.

alpha depends on the task alone, not on the text. So all of this can be multiplied out: `plain(task)` is a plain GPT
that computes the same for rows that begin with the start token and have it nowhere else, and can be written with, saved
and read as one.

    model = MultitaskGPT.from_gpt(gpt, tasks=3, sharing="own")
    ids[:, 0] = gpt.config.vocab_size + tasks    # in place of the start token
    model(ids)
    model.plain(2).generate(...)

Shape suffixes as in `gpt`, and K tasks, M adapters, L layers, R rows with a task each.

What this file does not do: write text (`plain` does); rows packed of several texts, or padded on the left; forward
hooks on the attention and feed-forward modules of blocks with adapters, whose `forward` is called directly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from autogpt.errors import ModelError
from autogpt.models.gpt import GPT, GPTModel
from autogpt.models.multitask_config import MultitaskGPTConfig
from autogpt.models.multitask_layers import AdapterMix, TaskBlock, TaskLinear, TaskSight, init_adapters
from autogpt.models.sight import Sight

__all__ = ["MultitaskGPT", "MultitaskGPTConfig", "MultitaskGPTModel"]

_OF_THE_CLASS = {"model_type", "architectures"}
"""What a configuration says of its class and not of its shape."""


class _Pass:
    """One pass through a `MultitaskGPTModel`, on which `GPTModel.forward` runs: it knows the tasks of the rows."""

    def __init__(self, model: MultitaskGPTModel, tasks_B: Tensor) -> None:
        self._model, self._tasks_B = model, tasks_B

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        """Embeddings [B, T, D], the first of each row that of its task."""
        first_B1D = self._model.task_embeddings(self._tasks_B[:, None])
        return torch.cat((first_B1D, self._model.embed_tokens(input_ids[:, 1:])), 1)

    def _value_embeddings(self, input_ids: Tensor) -> dict[int, Tensor]:
        start_B1 = torch.full_like(input_ids[:, :1], self._model.start)
        return self._model._value_embeddings(torch.cat((start_B1, input_ids[:, 1:]), 1))

    def _through_layers(
        self,
        x_BTD: Tensor,
        sight: Sight,
        values: Mapping[int, Tensor],
        past_key_values: Cache | None,
        states: list[Tensor] | None,
    ) -> Tensor:
        model = self._model
        if model.config.adapters:
            tasks_B = self._tasks_B
            alike = len(tasks_B) == 1 or bool((tasks_B == tasks_B[0]).all())
            tasks_R = tasks_B[:1] if alike else tasks_B
            sight = TaskSight(sight.mask, sight.rotation, sight.previous_BS, tasks_R, model.adapter_mix)
        return model._through_layers(x_BTD, sight, values, past_key_values, states)


class MultitaskGPTModel(GPTModel):
    """Token ids, the first of each row a task's, to final hidden states.

    Attributes:
        start: the id of the start token.
        task_embeddings: weight [K, D].
        adapter_mix: says what the tasks take of the adapters; only where there are any.
    """

    config: MultitaskGPTConfig
    config_class = MultitaskGPTConfig

    def __init__(self, config: MultitaskGPTConfig) -> None:
        super().__init__(config)
        start = config.bos_token_id
        if start is None or not 0 <= start < config.vocab_size:
            raise ModelError(
                "a multi-task GPT needs a start token, whose place the task tokens take",
                found=f"bos_token_id {start}",
                expected=f"0 to {config.vocab_size - 1}",
                todo="give `bos_token_id`, that of the tokenizer",
            )
        self.start = start
        self.task_embeddings = nn.Embedding(config.tasks, config.hidden_size)
        if config.adapters:
            self.layers = nn.ModuleList(TaskBlock(config, layer) for layer in range(config.num_hidden_layers))
            self.adapter_mix = AdapterMix(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_adapters(module)

    def forward(self, input_ids: Tensor | None = None, *args: Any, **kwargs: Any) -> BaseModelOutputWithPast:
        """Final hidden states [B, T, D], normalised; see `GPTModel.forward` for the other arguments.

        Args:
            input_ids: [B, T], each row beginning with a task token; rows may be of different tasks.

        Raises:
            ModelError: a row begins with another token, or goes on from a cache.
        """
        past = args[2] if len(args) > 2 else kwargs.get("past_key_values")
        if input_ids is None or input_ids.shape[-1] == 0:
            raise self._refused("no token ids")
        if past is not None and past.get_seq_length():
            raise self._refused(f"a cache of {past.get_seq_length()} tokens")
        tasks_B = input_ids[:, 0] - self.config.vocab_size
        if bool(((tasks_B < 0) | (tasks_B >= self.config.tasks)).any()):
            raise self._refused(f"rows that begin with {input_ids[:, 0].tolist()}")
        if bool((input_ids[:, 1:] >= self.config.vocab_size).any()):
            raise self._refused("a task token within a row")
        run: Any = _Pass(self, tasks_B)
        return GPTModel.forward(run, input_ids, *args, **kwargs)

    def _refused(self, found: str) -> ModelError:
        first, tasks = self.config.vocab_size, self.config.tasks
        return ModelError(
            "a multi-task GPT reads whole rows, each with its task's token in front and nowhere else",
            found=found,
            expected=f"a first id from {first} to {first + tasks - 1}",
            todo="write with `plain(task)`",
        )


class MultitaskGPT(GPT):
    """A MultitaskGPTModel with a head that predicts the next token, never a task token.

    Attributes:
        log_variances: [K] of the tasks' losses, zeros in a fresh model; None without `config.uncertainty`.
    """

    config: MultitaskGPTConfig
    config_class = MultitaskGPTConfig
    model: MultitaskGPTModel
    log_variances: nn.Parameter | None
    _trunk_class = MultitaskGPTModel

    def __init__(self, config: MultitaskGPTConfig) -> None:
        super().__init__(config)
        self.register_parameter(
            "log_variances", nn.Parameter(torch.zeros(config.tasks)) if config.uncertainty else None
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MultitaskGPT) and module.log_variances is not None:
            init.zeros_(module.log_variances)

    @classmethod
    def from_gpt(cls, gpt: GPT, **options: Any) -> Self:
        """A multi-task GPT with a copy of the weights of a plain one, whose logits it gives for every task at first.

        Args:
            gpt: all tasks begin with the embedding of its start token.
            options: fields of `MultitaskGPTConfig` such as `tasks` and `sharing`; others are as those of `gpt`.

        Raises:
            ModelError: `gpt` is no plain GPT, or has no start token.
        """
        if type(gpt) is not GPT:
            raise ModelError(
                "a multi-task GPT starts from a plain GPT", found=type(gpt).__name__, todo="convert it with `as_gpt`"
            )
        fields = {key: value for key, value in gpt.config.to_dict().items() if key not in _OF_THE_CLASS}
        model = cls(MultitaskGPTConfig(**{**fields, **options}))
        module: nn.Module = model
        module.to(device=gpt.device, dtype=gpt.dtype)
        model.load_state_dict(gpt.state_dict(), strict=False)
        with torch.no_grad():
            model.model.task_embeddings.weight.copy_(gpt.model.embed_tokens.weight[model.model.start])
        return model.train(gpt.training)

    @torch.no_grad()
    def extended(self, tasks: int, **options: Any) -> Self:
        """A multi-task GPT that does so many tasks, with a copy of this one's weights; its own tasks come first.

        Those get the logits that they got. A new task begins with the mean of the tasks' embeddings; with "own" its
        adapter is zero, with "attention" it takes the same of every adapter, and there are no more of them.

        Args:
            tasks: as many as there are, or more.
            options: fields of `MultitaskGPTConfig`, as in `from_gpt`. Where all weights are shared, `sharing` may be
                another; fresh adapters are zero.

        Raises:
            ModelError: there would be fewer tasks, or adapters of another kind than there are.
        """
        config = self.config
        sharing, known = options.get("sharing", config.sharing), config.tasks
        if tasks < known or sharing != config.sharing != "shared":
            raise ModelError(
                "a multi-task GPT keeps its tasks and its adapters",
                found=f"{tasks} tasks, sharing {sharing!r}",
                expected=f"{known} tasks or more, sharing {config.sharing!r}",
            )
        adapters = config.adapters if config.sharing == sharing == "attention" else None
        fields = {key: value for key, value in config.to_dict().items() if key not in _OF_THE_CLASS}
        model = type(self)(type(config)(**{**fields, "adapters": adapters, "tasks": tasks, **options}))
        module: nn.Module = model
        module.to(device=self.device, dtype=self.dtype)
        weights = model.state_dict()
        for name, own in self.state_dict().items():
            if name not in weights:
                continue  # log-variances, which the new model has no use for
            weights[name][: len(own)].copy_(own)
        model.model.task_embeddings.weight[known:] = self.model.task_embeddings.weight.mean(0)
        queries = model.model.adapter_mix.queries if config.sharing == "attention" else None
        if queries is not None:
            queries[known:] = 0.0
        return model.train(self.training)

    def plain(self, task: int) -> GPT:
        """A plain GPT, in evaluation mode, that computes the same for one task when a row begins with the start token.

        See `mixed`, of which this is the mix of one task alone.

        Raises:
            ModelError: there is no such task.
        """
        if not 0 <= task < self.config.tasks:
            raise ModelError(
                "the model has no such task", found=f"task {task}", expected=f"0 to {self.config.tasks - 1}"
            )
        return self.mixed([float(place == task) for place in range(self.config.tasks)])

    @torch.no_grad()
    def mixed(self, weights_K: Sequence[float]) -> GPT:
        """A plain GPT, in evaluation mode, that is told a weighted sum of the tasks in place of one.

        Its embedding of the start token is the weighted sum of the tasks' embeddings, and it takes of each adapter the
        weighted sum of what the tasks take: that is how LoRAHub (Huang et al. 2023) composes adapters. Weights may be
        negative and need not add up to 1.

        Made from the weights as they are now. Those that the tasks share are the same memory in both models, so that
        training on changes them here too: a plain model is for use until then. Its embedding of the start token is the
        mix's, also where that token stands within a row; and with a tied head it has another logit than in this model.
        It is never predicted.

        Raises:
            ModelError: there is not one finite weight for each task.
        """
        if len(weights_K) != self.config.tasks or not all(math.isfinite(weight) for weight in weights_K):
            raise ModelError(
                "a mix of tasks needs a finite weight for each",
                found=f"weights {list(weights_K)}",
                expected=f"{self.config.tasks} numbers",
            )
        # Tasks with no weight are left out, so that the mix of a single one is that task to the last bit.
        tasks_R = torch.tensor([task for task, weight in enumerate(weights_K) if weight], dtype=torch.long)
        shares_R = torch.tensor(weights_K, dtype=self.dtype)[tasks_R].to(self.device)
        tasks_R = tasks_R.to(self.device)
        with torch.device("meta"):
            gpt = GPT(self.config.plain())
        weights = self.state_dict()
        for layer, block in enumerate(self.model.layers):
            for name, module in block.named_modules(prefix=f"model.layers.{layer}"):
                if isinstance(module, TaskLinear):
                    mix_RM = self.model.adapter_mix(layer, tasks_R)
                    weights[f"{name}.weight"] = module.merged((shares_R @ mix_RM.to(self.dtype))[None])
        table_VD = weights["model.embed_tokens.weight"].clone()
        table_VD[self.model.start] = shares_R @ self.model.task_embeddings.weight[tasks_R]
        tied = {"lm_head.weight": table_VD} if self.config.tie_word_embeddings else {}
        weights.update({"model.embed_tokens.weight": table_VD, **tied})
        gpt.load_state_dict({key: weights[key] for key in gpt.state_dict()}, assign=True)
        gpt.tie_weights()
        if self.config.position == "rope":
            gpt.model.rotary.inv_freq = self.model.rotary.inv_freq
        return gpt.eval()

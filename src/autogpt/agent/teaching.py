"""How a tokenizer learns to return labels for the batches of our own data loader.

In the loop that `Agent` serves, the model is called with what `tokenizer(batch["input_text"], …)` returns. Without
`labels` a transformers model computes no loss. So the loader hands out its texts as `LoopTexts`, and `teach` makes
*one tokenizer object* add `labels` when, and only when, it is given `LoopTexts`. Every other call of that tokenizer and
every other tokenizer stays as it was; `unteach` undoes it.
"""

from __future__ import annotations

from typing import Any

from autogpt.errors import ConfigError

__all__ = ["IGNORED", "LoopTexts", "is_taught", "teach", "unteach"]

IGNORED = -100
"""Label of tokens that the loss leaves out (the convention of transformers and of torch's cross entropy)."""


class LoopTexts(list[str]):
    """The texts of one batch of our loader: a list of str in every respect but its type."""


def teach(tokenizer: Any, max_tokens: int) -> None:
    """Make this tokenizer object label our batches; teaching it again only changes `max_tokens`.

    It is given a class of its own, a subclass of the one it had, under the same name so that it is saved as before. Its
    calls with `LoopTexts` and `return_tensors` add `labels`: the input ids, `IGNORED` where there is padding. Where it
    has no pad token its end token becomes one, and where it has no maximum length, texts are cut at `max_tokens`.

    Raises ConfigError when it has neither a pad nor an end token.
    """
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ConfigError("the tokenizer has neither a pad nor an end token", todo="set tokenizer.pad_token first")
        tokenizer.pad_token = tokenizer.eos_token
    original = unteach(tokenizer)

    def call(self: Any, text: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(text, LoopTexts):
            return original.__call__(self, text, *args, **kwargs)
        if kwargs.get("truncation") and kwargs.get("max_length") is None:
            kwargs["max_length"] = min(max_tokens, self.model_max_length)
        encoded = original.__call__(self, list(text), *args, **kwargs)
        if kwargs.get("return_tensors") == "pt" and "labels" not in encoded:
            labels = encoded["input_ids"].clone()
            # By the mask, not by the pad id: that may be the end token, which the model shall learn to write.
            labels[encoded["attention_mask"] == 0] = IGNORED
            encoded["labels"] = labels
        return encoded

    tokenizer.__class__ = type(original.__name__, (original,), {"__call__": call, "_untaught": original})


def is_taught(tokenizer: Any) -> bool:
    """Whether `teach` has been at this tokenizer."""
    return "_untaught" in type(tokenizer).__dict__


def unteach(tokenizer: Any) -> type[Any]:
    """Give the tokenizer its own class back and return it. The pad token stays."""
    if is_taught(tokenizer):
        tokenizer.__class__ = type(tokenizer)._untaught
    return type(tokenizer)

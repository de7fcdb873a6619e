"""What a base is pretrained on and how: a recipe file, read and checked. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autogpt.errors import ConfigError, DataError
from autogpt.registry import did_you_mean

__all__ = ["Recipe", "SourceNote", "load_recipe"]

_NOT_OF_THE_RUN = frozenset({"file", "corpus", "valid", "languages", "licence", "sources", "epochs", "positions"})
"""Fields that may differ when a run goes on: where things lie, what the card says, how long it may last."""
_OF_THE_MACHINE = frozenset({"micro_tokens", "compile"})


class SourceNote(BaseModel):
    """A line of the card: some documents of the corpus and their licence."""

    model_config = ConfigDict(extra="forbid")

    what: str
    licence: str


class Recipe(BaseModel):
    """A recipe with its paths resolved; unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="name of the recipe file; set by `load_recipe`")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="of the run and of the model")
    corpus: tuple[Path, ...] = Field(min_length=1, description="files and folders of documents")
    valid: Path = Field(description="held-out documents; never trained on, wherever they lie")
    languages: tuple[Literal["zh", "en", "other"], ...] = Field(("zh", "en"), min_length=1)
    licence: str = Field(description="of the model")
    sources: tuple[SourceNote, ...] = Field((), description="what the corpus holds, for the card")
    vocabulary: int = Field(ge=259, description="entries of the tokenizer")
    tokenizer_characters: int = Field(16_000_000, ge=1000, description="text that the tokenizer learns from")
    width: int = Field(ge=32)
    depth: int = Field(ge=1)
    context: int = Field(ge=16, description="tokens of a row")
    positions: int = Field(1024, ge=16, description="longest row that fine-tuning may use; rotary positions allow more")
    late_keys: bool = True
    features: dict[str, Any] = Field(default_factory=dict, description="further fields of GPTConfig")
    tokens_per_step: int = Field(ge=16)
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup_steps: int = Field(100, ge=0)
    epochs: int = Field(4, ge=1, description="most passes over the corpus at the full rate")
    seed: int = Field(0, ge=0)
    micro_tokens: int = Field(4096, ge=16, description="most tokens of one forward pass")
    compile: Literal["auto"] | bool = Field("auto", description="auto: where it pays within a slice")

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run, as plain JSON."""
        return self.model_dump(mode="json", exclude=set(_NOT_OF_THE_RUN | _OF_THE_MACHINE))


def load_recipe(path: Path, *, size: str | None = None, corpus: Path | None = None) -> Recipe:
    """The recipe of a YAML file.

    Relative paths are looked up from the recipe's folder. `valid` may also be the name of a file in the corpus folder.

    Args:
        size: a key of the recipe's `sizes`, whose fields replace the general ones; None for those as they are.
        corpus: a file or folder of documents in place of the recipe's.

    Raises:
        ConfigError: no such file or size, an unknown field, a value that a field cannot have.
        DataError: the corpus or the held-out documents are not there.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no recipe {str(path)!r}", todo="check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"recipe {str(path)!r} cannot be read", found=str(error), expected="YAML") from error
    if not isinstance(values, dict):
        raise ConfigError(f"recipe {str(path)!r}", found=type(values).__name__, expected="lines such as `width: 384`")
    sizes = values.pop("sizes", None) or {}
    if size is not None:
        if size not in sizes:
            raise ConfigError(f"the recipe has no size {size!r}", todo=did_you_mean(size, list(sizes)))
        values.update(sizes[size] or {})
    if corpus is not None:
        values["corpus"] = [str(corpus.absolute())]
    elif isinstance(values.get("corpus"), str):
        values["corpus"] = [values["corpus"]]
    values["file"] = path.name
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise _recipe_error(error, path) from error
    folders = tuple((path.parent / part).resolve() for part in recipe.corpus)
    return recipe.model_copy(update={"corpus": folders, "valid": _held_out_file(recipe.valid, folders, path)})


def _recipe_error(error: ValidationError, path: Path) -> ConfigError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [*Recipe.model_fields, "sizes"]
        return ConfigError(f"unknown field {field!r} in recipe {path.name}", todo=did_you_mean(field, known))
    if first["type"] == "missing":
        return ConfigError(f"recipe {path.name} lacks the field {field!r}")
    return ConfigError(f"field {field!r} in recipe {path.name}", found=repr(first.get("input")), expected=first["msg"])


def _held_out_file(valid: Path, corpus: tuple[Path, ...], recipe: Path) -> Path:
    for part in corpus:
        if not part.exists():
            raise DataError(f"no corpus {str(part)!r}", todo="check `corpus` in the recipe, or give --corpus FOLDER")
    places = [*(part / valid for part in corpus if part.is_dir()), recipe.parent / valid]
    found = next((place.resolve() for place in places if place.is_file()), None)
    if found is None:
        raise DataError(
            f"no held-out documents {str(valid)!r}",
            expected="`valid`: a file in the corpus folder, or a path from the recipe's folder",
        )
    return found

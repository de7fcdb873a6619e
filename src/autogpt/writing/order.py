"""What is ordered: premise, form, chapters and length, and the settings of how it is written; all of it checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field, ValidationError, field_validator

from autogpt.config import Section, apply_overrides
from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean
from autogpt.writing.forms import form_named

__all__ = ["FORMATS", "Order", "WritingSettings", "read_settings"]

FORMATS = ("md", "txt", "epub", "docx", "fountain")
MOST_CHAPTERS = 999
LEAST_CHAPTER_WORDS = 50


class WritingSettings(Section):
    """How it is written: `--set key=value`."""

    seed: int = Field(0, ge=0, lt=2**31, description="of every draw; the same seed and model, the same book")
    temperature: float = Field(0.8, ge=0, le=2, description="of the sampling")
    top_p: float = Field(0.92, gt=0, le=1, description="share of the probability that is sampled from")
    min_p: float = Field(0.02, ge=0, le=1, description="share of the likeliest token's probability that others need")
    repetition_penalty: float = Field(1.05, ge=1, le=2, description="on tokens that were just written")
    dry_multiplier: float = Field(
        0.8, ge=0, le=100, description="strength of the penalty on going on with a repetition"
    )
    dry_allowed_length: int = Field(3, ge=1, le=1000, description="tokens that may repeat without that penalty")
    min_new_tokens: int = Field(48, ge=0, le=2000, description="tokens before which a model may not end its text")
    adapt: bool = Field(False, description="let a model of ours learn from the premise and its own scenes (--adapt)")
    sentence_tokens: int = Field(160, ge=16, le=2000, description="most tokens of one sentence or speech")
    passage_tokens: int = Field(700, ge=64, le=8000, description="most tokens of one answer of an endpoint")
    scene_words: int | None = Field(None, ge=25, description="about how long a scene is; that of the form if not set")
    paragraph_words: int = Field(160, ge=20, description="a paragraph that is longer ends after its sentence")
    rewrites: int = Field(6, ge=1, le=50, description="how often a refused sentence is written anew")
    scene_rewrites: int = Field(
        1, ge=0, le=10, description="how often a scene without a promised person is written anew"
    )
    max_repeats: float = Field(0.01, gt=0, le=1, description="largest share of repeated 8-grams over the whole book")
    retrieved: int = Field(2, ge=0, le=20, description="earlier passages that are shown while a scene is written")
    formats: tuple[str, ...] = Field(FORMATS, description="files to make; fountain is made for scripts only")

    @field_validator("formats", mode="before")
    @classmethod
    def _known_formats(cls, value: Any) -> Any:
        listed = value.split(",") if isinstance(value, str) else value
        if isinstance(listed, list | tuple):
            for name in listed:
                if name not in FORMATS:
                    raise ValueError(did_you_mean(str(name), list(FORMATS)))
        return listed


def read_settings(overrides: Iterable[str]) -> WritingSettings:
    """The settings that `key=value` strings name. Raises ConfigError with the nearest key or what would be right."""
    values = apply_overrides({}, overrides)
    for key in values:
        if key not in WritingSettings.model_fields:
            raise ConfigError(f"unknown option {key!r}", todo=did_you_mean(key, list(WritingSettings.model_fields)))
    try:
        return WritingSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"option {where!r}", found=repr(first.get("input")), expected=first["msg"]) from error


@dataclass(frozen=True, slots=True)
class Order:
    """What shall be written.

    Attributes:
        premise: what it is about; empty where the writer's own manner is enough.
        form: novel, script, article or ad.
        chapters: chapters, acts or sections, 1 to 999.
        words: length of the whole in words, or in characters of Chinese; at least 50 a chapter.

    Raises ConfigError for what cannot be written.
    """

    premise: str
    form: str
    chapters: int
    words: int

    def __post_init__(self) -> None:
        form_named(self.form)
        if not 1 <= self.chapters <= MOST_CHAPTERS:
            raise ConfigError("--chapters", found=str(self.chapters), expected=f"1 to {MOST_CHAPTERS}")
        if self.words < self.chapters * LEAST_CHAPTER_WORDS:
            raise ConfigError(
                "--words is too few for so many chapters",
                found=f"{self.words} for {self.chapters}",
                expected=f"at least {self.chapters * LEAST_CHAPTER_WORDS}, {LEAST_CHAPTER_WORDS} for each",
            )
        if self.words > 10**7:
            raise ConfigError("--words", found=str(self.words), expected="at most 10000000")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Order:
        return cls(str(values["premise"]), str(values["form"]), int(values["chapters"]), int(values["words"]))

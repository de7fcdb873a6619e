"""Bases as starts: which fit the machine, the time and the language; the vocabulary; and what is refused beforehand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, SealedSplit
from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import ModelError, TrainingError
from autogpt.models import bases
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.hub import save_model
from autogpt.search.gpt_space import Bases, space_for
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.training import starts
from autogpt.training.cost import Rates
from autogpt.training.machine import Machine
from autogpt.training.starts import bases_of, choose_bases
from autogpt.types import Example

MACHINE = Machine("cpu", 1, "fp32", 1e9, "")
THINGS = ["rose", "blood", "tomato", "ruby", "grass", "leaf", "lime", "moss", "sea", "sky", "whale", "night"]


def corpus_of(language: str = "en", rows: int = 60) -> Corpus:
    spec = TaskSpec(
        description="d",
        kind=TaskKind.CLASSIFICATION,
        input_fields=["text"],
        output_field="label",
        labels=["red", "green"],
        output_language=language,
        metric="accuracy",
        direction="max",
    )
    train = tuple(
        Example(str(i), {"text": f"a {THINGS[i % 12]} and {THINGS[i % 7]}"}, ("red", "green")[i % 2])
        for i in range(rows)
    )
    return Corpus(spec, Dataset(train, train[:4], SealedSplit(train[:2]), (), {}))


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with a vocabulary of its own."""
    rendered = ["".join(segment.text for segment in row) for row in corpus_of().segments]
    compounds = [f"{a}{b} " * 3 for a in THINGS for b in THINGS]
    tokenizer = train_tokenizer([*rendered, *compounds], 700)
    torch.manual_seed(0)
    shape = GPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=96,
    )
    folder = tmp_path_factory.mktemp("checkout") / "bases" / "zh-en-tiny"
    save_model(GPT(shape), tokenizer, folder)
    (folder.parent.parent / "pyproject.toml").write_text("", encoding="utf-8")
    return folder


@pytest.fixture
def own(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as a base of our own, on a machine whose rates are known."""
    monkeypatch.setattr(bases, "OWN_BASES", base_folder.parent)
    monkeypatch.setattr(starts, "probe_rates", lambda machine: Rates(1e-9, 0.0, 0.0, "fp32"))
    return base_folder


def test_from_scratch_is_a_choice_and_a_last_resort() -> None:
    reasons: dict[str, str] = {}
    assert choose_bases("scratch", corpus_of(), MACHINE, 60.0, reasons) == {}
    assert "asked for" in reasons["base"]
    assert choose_bases("auto", corpus_of(), MACHINE, 60.0, reasons) == {}
    assert "no base is pulled" in reasons["base"]


def test_a_base_that_is_asked_for_is_taken_whatever_it_costs(base_folder: Path) -> None:
    reasons: dict[str, str] = {}
    chosen = choose_bases(str(base_folder), corpus_of("zh"), MACHINE, 0.01, reasons)
    start = chosen[str(base_folder)]
    assert start.methods == ("full", "last_k", "lora")
    assert (start.folder, start.positions, start.shape.num_hidden_layers) == (base_folder, 96, 3)
    assert "asked for" in reasons["base"]


def test_too_little_memory_is_said_in_one_line(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "free_bytes", lambda device: 100_000)
    with pytest.raises(ModelError, match=r"cannot be trained on this machine; found .* of memory") as caught:
        choose_bases(str(base_folder), corpus_of(), MACHINE, 60.0, {})
    assert "\n" not in str(caught.value)


def test_a_ceiling_on_memory_holds_for_bases_too(own: Path) -> None:
    reasons: dict[str, str] = {}
    assert choose_bases("auto", corpus_of(), MACHINE, 1e9, reasons, 100_000) == {}
    assert "search.max_memory allows a trial 100 kB" in reasons["base zh-en-tiny"]
    with pytest.raises(ModelError, match=r"search.max_memory allows a trial 100 kB"):
        choose_bases(str(own), corpus_of(), MACHINE, 1e9, {}, 100_000)
    start = choose_bases("auto", corpus_of(), MACHINE, 1e9, {}, 10**9)["zh-en-tiny"]
    config = {"method": "full", "tokens_per_step": 2**20}
    with pytest.raises(TrainingError, match=r"left out before it started; found training takes .* search.max_memory"):
        start.check(config, context=64, steps=1)


def test_a_start_knows_how_many_tokens_an_epoch_has(own: Path) -> None:
    corpus = corpus_of()
    start = choose_bases("auto", corpus, MACHINE, 1e9, {})["zh-en-tiny"]
    counted = sum(len(row.ids) for row in corpus.encoded(start.tokenizer, 96, 0.0))
    assert counted <= start.tokens <= 1.2 * counted


def test_time_decides_what_of_a_base_may_be_trained(own: Path) -> None:
    corpus = corpus_of()
    found = {}
    for seconds in (1e9, 1e-9):
        reasons: dict[str, str] = {}
        found[seconds] = choose_bases("auto", corpus, MACHINE, seconds, reasons)
        assert ("searched" in reasons["base zh-en-tiny"]) == bool(found[seconds])
        assert "an epoch takes about" in reasons["base zh-en-tiny"] or "each later one" in reasons["base zh-en-tiny"]
    assert list(found[1e9]) == ["zh-en-tiny"]
    assert found[1e-9] == {}
    # With ever more seconds, first the cheapest method fits, then all. (Adapters of rank 16 are large beside width 32.)
    tried = [choose_bases("auto", corpus, MACHINE, 1.1**k, {}).get("zh-en-tiny") for k in range(-60, 0)]
    methods = [start.methods if start else () for start in tried]
    assert list(dict.fromkeys(methods)) == [(), ("last_k",), ("full", "last_k"), ("full", "last_k", "lora")]


def test_our_own_base_needs_two_epochs_and_others_four(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = starts._start
    monkeypatch.setattr(
        starts, "_start", lambda folder, corpus, limits: seen.append(limits.epochs) or real(folder, corpus, limits)
    )
    choose_bases("auto", corpus_of(), MACHINE, 1e9, {})
    monkeypatch.setattr(starts, "own_bases", dict)
    choose_bases("auto", corpus_of(), MACHINE, 1e9, {})
    assert seen == [2.0, 4.0]


def test_a_base_of_another_language_is_left_out(own: Path) -> None:
    corpus = corpus_of()
    corpus.segments = [tuple(type(s)(f"今{s.text}天🙂气" * 3, s.is_answer) for s in row) for row in corpus.segments]
    reasons: dict[str, str] = {}
    assert choose_bases("auto", corpus, MACHINE, 1e9, reasons) == {}
    assert "not its language" in reasons["base zh-en-tiny"]


@pytest.mark.parametrize(("tokens", "chosen"), [(40, False), (60, True)])
def test_a_base_that_has_hardly_been_trained_waits_to_be_asked_for(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int, chosen: bool
) -> None:
    reasons: dict[str, str] = {}
    (tmp_path / "pyproject.toml").touch()  # bases stand beside it in a checkout
    own = Path(shutil.copytree(own, tmp_path / "bases" / own.name))
    monkeypatch.setattr(bases, "OWN_BASES", tmp_path / "bases")
    facts = {"tokens_seen": tokens * int(bases.describe(own)["parameters"]) // 10}
    (own / "base.json").write_text(json.dumps(facts), encoding="utf-8")
    found = choose_bases("auto", corpus_of("zh"), MACHINE, 1e9, reasons)
    assert (own.name in found) == chosen
    assert chosen or "tokens a parameter" in reasons[f"base {own.name}"]
    assert own.name in choose_bases(own.name, corpus_of("zh"), MACHINE, 1e9, {})


@pytest.mark.parametrize(("language", "first"), [("zh", "zh-en-tiny"), ("mixed", "zh-en-tiny"), ("en", None)])
def test_chinese_and_mixed_data_begin_with_our_own_base(own: Path, language: str, first: str | None) -> None:
    corpus = corpus_of(language)
    chosen = choose_bases("auto", corpus, MACHINE, 1e9, {})
    bases = bases_of(chosen, corpus, scratch=True)
    assert (bases.first, bases.methods, bases.depth) == (first, ("full", "last_k", "lora"), 3)
    assert bases.positions == 96
    assert bases.rate == 1e-3  # the tiniest base takes the largest rate
    assert space_for(corpus.spec, 1000, bases).default["start"] == (first or "scratch")
    assert bases_of(chosen, corpus, scratch=False).first is None
    assert bases_of({}, corpus, scratch=True) == Bases()


# --- the vocabulary --------------------------------------------------------------------------------------------------


def test_a_vocabulary_much_larger_than_the_data_is_trimmed(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: dict[str, str] = {}
    whole = choose_bases(str(base_folder), corpus_of(), MACHINE, 60.0, reasons)[str(base_folder)]
    assert whole.vocabulary is None
    assert reasons[f"vocabulary {base_folder}"].startswith("whole: ")
    monkeypatch.setattr(starts, "FLOOR", 0)
    monkeypatch.setattr(starts, "LARGEST_SHARE_KEPT", 0.95)
    start = choose_bases(str(base_folder), corpus_of(), MACHINE, 60.0, reasons)[str(base_folder)]
    assert start.vocabulary is not None
    assert len(start.tokenizer) == start.shape.vocab_size < len(whole.tokenizer)
    told = reasons[f"vocabulary {base_folder}"]
    assert told.startswith(f"trimmed from {len(whole.tokenizer)} to {len(start.tokenizer)} entries")
    monkeypatch.setattr(starts, "LARGEST_SHARE_KEPT", 0.1)
    choose_bases(str(base_folder), corpus_of(), MACHINE, 60.0, reasons)
    assert "are needed" in reasons[f"vocabulary {base_folder}"]


def test_a_vocabulary_that_cannot_be_trimmed_stays_with_a_reason(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("this vocabulary cannot be trimmed", found="Unigram", expected="a byte-level BPE")

    monkeypatch.setattr(starts, "FLOOR", 0)
    monkeypatch.setattr(starts, "trim_vocabulary", refuse)
    reasons: dict[str, str] = {}
    start = choose_bases(str(base_folder), corpus_of(), MACHINE, 60.0, reasons)[str(base_folder)]
    assert start.vocabulary is None
    assert "found Unigram" in reasons[f"vocabulary {base_folder}"]


# --- what is refused before it starts --------------------------------------------------------------------------------


def test_a_configuration_beyond_the_limits_is_refused_with_the_reason(own: Path) -> None:
    corpus = corpus_of()
    start = choose_bases("auto", corpus, MACHINE, 10.0, {})["zh-en-tiny"]
    config = {"method": "full", "tokens_per_step": 1024}
    start.check(config, context=64, steps=1)
    with pytest.raises(TrainingError, match=r"left out before it started; found an epoch takes .*fewer than 2 passes"):
        start.check(config, context=64, steps=10**6)
    start.check({**config, "method": "last_k", "top": 64}, context=64, steps=1)  # no more than there are


def test_another_architecture_has_no_last_blocks_to_train_alone(base_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for path in base_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["GPT2LMHeadModel"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    start = choose_bases(str(folder), corpus_of(), MACHINE, 60.0, {})[str(folder)]
    assert start.methods == ("full", "lora")
    with pytest.raises(TrainingError, match="method last_k"):
        start.check({"method": "last_k", "tokens_per_step": 1024, "top": 1}, context=64, steps=1)

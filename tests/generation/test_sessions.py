"""Sessions in files: they come back as they were, and belong to one model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autogpt.errors import ConfigError, ModelError
from autogpt.generation.adaptive import Adaptation, AdaptationSettings, Session
from autogpt.generation.engine import Engine
from autogpt.generation.reading import Reader
from autogpt.generation.sessions import Sessions, weights_hash

MakeEngine = Callable[..., Engine]


@pytest.fixture
def adaptation(make_engine: MakeEngine) -> Adaptation:
    engine = make_engine()
    reader = Reader(engine.model, 64, engine.pad_id, engine.device)
    return Adaptation(reader, AdaptationSettings(chunk=8, share=0.2))


def taught(adaptation: Adaptation) -> Session:
    session = adaptation.session()
    adaptation.read(session, [5 + (7 * n) % 90 for n in range(120)])
    session.guard.wrote([1, 2, 3])
    return session


def test_a_session_comes_back_and_goes_on_as_before(adaptation: Adaptation, tmp_path: Path) -> None:
    kept, session = Sessions(tmp_path / "novel", "abc"), taught(adaptation)
    kept.save("kapitel-一", adaptation, session)
    back = kept.load("kapitel-一", adaptation)
    more = [5 + (11 * n) % 80 for n in range(200)]
    assert torch.equal(adaptation.read(session, more), adaptation.read(back, more))
    assert (back.tokens, back.guard.recent) == (session.tokens, [1, 2, 3])
    (told,) = kept.list()
    assert (told.name, told.tokens) == ("kapitel-一", 119)
    assert told.bytes > 1000
    kept.remove("kapitel-一")
    assert kept.list() == []


def test_another_model_or_another_size_is_refused(adaptation: Adaptation, tmp_path: Path) -> None:
    Sessions(tmp_path, "abc").save("mine", adaptation, taught(adaptation))
    with pytest.raises(ModelError, match="belongs to another model"):
        Sessions(tmp_path, "def").load("mine", adaptation)
    smaller = Adaptation(adaptation.reader, AdaptationSettings(share=0.0))
    with pytest.raises(ModelError, match="belongs to another model"):
        Sessions(tmp_path, "abc").load("mine", smaller)


def test_one_of_another_mode_is_refused_and_one_of_its_own_goes_on(adaptation: Adaptation, tmp_path: Path) -> None:
    kept = Sessions(tmp_path, "abc")
    suffix = Adaptation(adaptation.reader, AdaptationSettings(chunk=8, share=0.2, mode="suffix"))
    session = taught(suffix)
    kept.save("inside", suffix, session)
    kept.save("behind", adaptation, taught(adaptation))
    with pytest.raises(ModelError, match=r"another mode.*exact.*suffix"):
        kept.load("behind", suffix)
    with pytest.raises(ModelError, match=r"another mode.*suffix.*exact"):
        kept.load("inside", adaptation)
    back = kept.load("inside", suffix)
    assert back.guard.replay is not None
    more = [5 + (11 * n) % 80 for n in range(200)]
    assert torch.equal(suffix.read(session, more), suffix.read(back, more))


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_a_damaged_file_is_one_clear_line(adaptation: Adaptation, tmp_path: Path, keep: int) -> None:
    kept = Sessions(tmp_path, "abc")
    kept.save("mine", adaptation, taught(adaptation))
    file = tmp_path / "mine.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match="is damaged"):
        kept.load("mine", adaptation)


def test_names_stay_in_their_folder(adaptation: Adaptation, tmp_path: Path) -> None:
    kept = Sessions(tmp_path / "novel", "abc")
    for name in ("", "../other", "a/b", ".hidden", "x" * 101, "a\n"):
        with pytest.raises(ConfigError, match="session's name"):
            kept.save(name, adaptation, adaptation.session())
    kept.save("mine", adaptation, adaptation.session())
    with pytest.raises(ModelError, match="mine"):
        kept.load("mime", adaptation)
    with pytest.raises(ModelError, match="no session"):
        kept.remove("mime")


def test_the_hash_is_of_the_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    (tmp_path / "config.json").write_text("{}")
    first = weights_hash(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    assert weights_hash(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert weights_hash(tmp_path) != first

"""The cache with room against transformers' own, which copies everything at each token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig, Qwen2Config

from autogpt.generation.kv_cache import RoomyCache, roomy_cache
from autogpt.models.gpt_config import GPTConfig


def states(seed: int, rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, rows, 3, tokens, 4, generator=generator)
    return keys, values


def filled(cache: Any, lengths: tuple[int, ...], rows: int = 3) -> Any:
    for seed, length in enumerate(lengths):
        for layer in range(2):
            cache.update(*states(10 * seed + layer, rows, length), layer)
    return cache


def same(ours: Any, theirs: Any) -> None:
    assert ours.get_seq_length() == theirs.get_seq_length()
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        assert torch.equal(mine.keys, other.keys)
        assert torch.equal(mine.values, other.values)


LENGTHS = (5, 1, 1, 1, 4, 1, 9, 1)


def test_updates_equal_transformers_and_rarely_move_anything() -> None:
    ours, theirs = RoomyCache(2, room=8), DynamicCache()
    addresses = set()
    for seed, length in enumerate(LENGTHS):
        for layer in range(2):
            given = states(10 * seed + layer, 3, length)
            for found, expected in zip(ours.update(*given, layer), theirs.update(*given, layer), strict=True):
                assert torch.equal(found, expected)
        addresses.add(ours.layers[0].keys.data_ptr())
    same(ours, theirs)
    assert len(addresses) <= 4
    assert ours.get_mask_sizes(1, 0) == theirs.get_mask_sizes(1, 0)


@pytest.mark.parametrize("index", [[2, 0], [1, 1, 0, 2]])
def test_rows_are_selected_and_repeated_as_in_transformers(index: list[int]) -> None:
    ours, theirs = filled(RoomyCache(2, room=8), LENGTHS), filled(DynamicCache(), LENGTHS)
    for cache in (ours, theirs):
        cache.reorder_cache(torch.tensor(index))
    same(ours, theirs)
    for cache in (ours, theirs):
        cache.batch_select_indices(torch.tensor([1, 0]))
        cache.batch_repeat_interleave(2)
        filled(cache, (1, 2), rows=4)
    same(ours, theirs)


def test_crop_and_reset_equal_transformers() -> None:
    ours, theirs = filled(RoomyCache(2, room=8), LENGTHS), filled(DynamicCache(), LENGTHS)
    for cache in (ours, theirs):
        cache.crop(-4)
        filled(cache, (2,))
    same(ours, theirs)
    for cache in (ours, theirs):
        cache.reset()
        assert cache.get_seq_length() == 0
        filled(cache, (3, 1), rows=2)
    same(ours, theirs)


def test_a_column_in_all_layers_equals_an_update_of_each() -> None:
    ours, theirs = filled(RoomyCache(2, room=8), LENGTHS), filled(DynamicCache(), LENGTHS)
    for seed in range(40):  # the room grows on the way
        slots, views = ours.next_column()
        for layer in range(2):
            keys, values = states(900 + 10 * seed + layer, len(slots[0]), 1)
            slots[2 * layer].copy_(keys)
            slots[2 * layer + 1].copy_(values)
            expected = theirs.update(keys, values, layer)
            assert torch.equal(views[2 * layer], expected[0])
            assert torch.equal(views[2 * layer + 1], expected[1])
        if seed in (10, 20):
            for cache in (ours, theirs):
                cache.reorder_cache(torch.tensor([2, 0, 0]))
        if seed == 30:
            ours.crop(-3)
            theirs.crop(-3)
    same(ours, theirs)
    ours.layers[1].reorder_cache(torch.tensor([0]))
    with pytest.raises(ValueError, match="no column in common"):
        ours.next_column()


def test_first_tokens_are_forgotten_and_last_ones_replaced() -> None:
    ours, theirs = filled(RoomyCache(2, room=8), LENGTHS), filled(DynamicCache(), LENGTHS)
    ours.drop_first(6)
    fresh = filled(RoomyCache(2, room=8), (7,), rows=2)
    ours.replace_last(torch.tensor([2, 0]), fresh)
    for layer, other, new in zip(ours.layers, theirs.layers, fresh.layers, strict=True):
        expected = other.keys[:, :, 6:].clone()
        expected[[2, 0], :, -7:] = new.keys
        assert torch.equal(layer.keys, expected)
    assert ours.get_seq_length() == sum(LENGTHS) - 6
    filled(ours, (1,))
    assert torch.equal(ours.layers[1].values[:, :, -1:], states(1, 3, 1)[1])


def test_only_models_that_see_everything_get_one() -> None:
    small: dict[str, Any] = {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4}
    for config in (GPTConfig(**small), LlamaConfig(**small), Qwen2Config(**small)):
        cache = roomy_cache(config, 16)
        assert cache is not None
        assert len(cache.layers) == 3
    assert roomy_cache(MistralConfig(**small, sliding_window=8), 16) is None

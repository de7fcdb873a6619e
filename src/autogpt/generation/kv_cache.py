"""A key-value cache with room for tokens to come: new ones are written in place, where transformers' copies all of it.

Shapes: B rows, G key-value heads, S tokens held, C tokens there is room for, K head size, R rows that are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, get_layer_types_and_kwargs

__all__ = ["RoomyCache", "RoomyLayer", "roomy_cache"]

_Allocate: TypeAlias = Callable[[tuple[int, int, int, int], Tensor], tuple[Tensor, Tensor]]


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer, at the front of a larger tensor that grows by half when it is full.

    `keys` and `values` are [B, G, S, K] views of that tensor; a change of their numbers in place lasts.

    Args:
        room: tokens there is room for at first.
        allocate: makes room for keys and for values, given their shape and type.
    """

    def __init__(self, room: int, allocate: _Allocate) -> None:
        super().__init__()
        self._first_room, self._allocate = room, allocate
        self.rooms: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add tokens; returns keys and values of all of them, [B, G, S, K]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if self.rooms is None or end > self.rooms[0].shape[2]:
            self._make_room(key_states, end)
        assert self.rooms is not None
        keys, values = self.rooms
        keys[:, :, begin:end] = key_states
        values[:, :, begin:end] = value_states
        self.show(end)
        assert self.keys is not None
        assert self.values is not None
        # The first call's own tensors, so that under autocast a prompt is read in autocast's precision.
        return (key_states, value_states) if begin == 0 else (self.keys, self.values)

    def _make_room(self, like: Tensor, end: int) -> None:
        rows, groups, _, size = like.shape
        # Under autocast keys come in its type, but later ones in that of the weights.
        rounded = like.dtype == torch.bfloat16 and torch.is_autocast_enabled(like.device.type)
        template = torch.empty(0, dtype=torch.float32 if rounded else like.dtype, device=like.device)
        rooms = self._allocate((rows, groups, max(self._first_room, end + end // 2), size), template)
        held = self.get_seq_length()
        for new, old in zip(rooms, (self.keys, self.values), strict=True):
            if held and old is not None:
                new[:, :, :held] = old
        self.rooms = rooms

    def show(self, held: int) -> None:
        """Let `keys` and `values` be the first `held` tokens of the room."""
        assert self.rooms is not None
        self.keys, self.values = (room.narrow(2, 0, held) for room in self.rooms)

    def _take(self, index: Tensor) -> None:
        if self.rooms is not None:
            keys, values = (room.index_select(0, index) for room in self.rooms)
            held, self.rooms = self.get_seq_length(), (keys, values)
            self.show(held)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._take(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self._take(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.rooms is not None:
            rows = torch.arange(self.rooms[0].shape[0], device=self.rooms[0].device)
            self._take(rows.repeat_interleave(repeats))

    def reset(self) -> None:
        super().reset()
        self.rooms = None

    def drop_first(self, count: int) -> None:
        """Forget the first tokens of every row; the others move to the front."""
        if self.rooms is None or count <= 0:
            return
        held = self.get_seq_length() - count
        for room in self.rooms:
            room[:, :, :held] = room[:, :, count : count + held].clone()
        self.show(held)

    def replace_last(self, index: Tensor, keys_RGSK: Tensor, values_RGSK: Tensor) -> None:
        """Write over the last tokens of some rows."""
        count = keys_RGSK.shape[2]
        assert self.keys is not None
        assert self.values is not None
        self.keys[index, :, -count:] = keys_RGSK.to(self.keys.dtype)
        self.values[index, :, -count:] = values_RGSK.to(self.values.dtype)


class RoomyCache(Cache):
    """A cache of `RoomyLayer`s, for models all of whose layers see everything before a token.

    The rooms of layers of one shape lie in one tensor, so that a step finds its place in all layers with two calls.

    Args:
        layers: number of layers.
        room: tokens there is room for at first.

    Attributes:
        roomy: `layers`, by their own type.
    """

    def __init__(self, layers: int, room: int) -> None:
        self._shared: Tensor | None = None
        self._handed: dict[int, tuple[Tensor, Tensor]] = {}
        self.roomy = [RoomyLayer(room, partial(self._allocate, layer)) for layer in range(layers)]
        super().__init__(layers=[*self.roomy])

    def _allocate(self, layer: int, shape: tuple[int, int, int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        if self._shared is None or self._shared.shape[1:] != shape or layer in self._handed:
            self._shared, self._handed = like.new_empty(2 * len(self.roomy), *shape), {}
        self._handed[layer] = self._shared[2 * layer], self._shared[2 * layer + 1]
        return self._handed[layer]

    def next_column(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Make place for one more token of every row, in all layers.

        Returns:
            [B, G, 1, K] where the token's keys and values of layer 0, then of layer 1, … are to be written; and all
            keys and values with them, [B, G, S, K] in the same order.

        Raises:
            ValueError: the layers' rooms do not lie in one tensor.
        """
        if self._shared is None or not self._is_shared():
            raise ValueError("layers of different shapes have no column in common")
        begin = self.roomy[0].get_seq_length()
        if begin == self._shared.shape[3]:
            rows, groups, room, size = self._shared.shape[1:]
            larger = self._shared.new_empty(len(self._shared), rows, groups, room + room // 2 + 1, size)
            larger[:, :, :, :begin] = self._shared
            self._hand_out(larger, begin)
        slots = self._shared.narrow(3, begin, 1).unbind(0)
        views = self._shared.narrow(3, 0, begin + 1).unbind(0)
        for number, layer in enumerate(self.roomy):
            layer.keys, layer.values = views[2 * number], views[2 * number + 1]
        return slots, views

    def _hand_out(self, shared: Tensor, held: int) -> None:
        self._shared = shared
        for number, layer in enumerate(self.roomy):
            layer.rooms = self._handed[number] = shared[2 * number], shared[2 * number + 1]
            layer.show(held)

    def _is_shared(self) -> bool:
        return all(layer.rooms is not None and layer.rooms is self._handed.get(i) for i, layer in enumerate(self.roomy))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Go on with these rows, some of them perhaps several times."""
        if self._shared is None or not self._is_shared():
            for each in cast("list[Any]", self.layers):
                each.reorder_cache(beam_idx)
            return
        self._hand_out(self._shared.index_select(1, beam_idx), self.roomy[0].get_seq_length())
        for each in cast("list[Any]", self.layers[len(self.roomy) :]):  # added by the model itself
            each.reorder_cache(beam_idx)

    def drop_first(self, count: int) -> None:
        """Forget the first tokens of every row."""
        for layer in self.roomy:
            layer.drop_first(count)

    def replace_last(self, index: Tensor, other: RoomyCache) -> None:
        """Rows `index` [R] end in the tokens of `other`'s R rows, in place of what they ended in."""
        for layer, new in zip(self.roomy, other.roomy, strict=True):
            if new.keys is not None and new.values is not None:
                layer.replace_last(index, new.keys, new.values)


def roomy_cache(config: Any, room: int) -> RoomyCache | None:
    """An empty cache for a model of this configuration; None where a layer is not plain, full attention."""
    text = config.get_text_config(decoder=True)
    if set(get_layer_types_and_kwargs(text)[0]) != {"full_attention"}:
        return None
    return RoomyCache(int(text.num_hidden_layers), room)

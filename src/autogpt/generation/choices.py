"""Probabilities over a closed set of answers, exactly and in one forward pass.

The answers' token sequences form a trie. At each branching node the model's next-token distribution is renormalised
over the children, so the product along a path is the probability of that answer under decoding constrained to the set.
The probabilities sum to one and long labels are not at a disadvantage, unlike with summed raw log-probabilities.

All branching nodes ride behind the prompt in one sequence, each seeing the prompt and its own ancestors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

__all__ = ["ChoiceTrie"]


@dataclass(slots=True)
class _Node:
    token: int
    parent: int
    depth: int
    children: dict[int, int] = field(default_factory=dict)


class ChoiceTrie:
    """The trie of the answers' tokens, each sequence closed by `end_id` so that no answer is a prefix of another.

    Attributes:
        tokens: token of each node that must be fed to the model, in order.
        size: how many there are (0 when the first token decides).
        candidates: the tokens that are ever decided between; only their logits are needed.
    """

    def __init__(self, choices: Sequence[Sequence[int]], end_id: int) -> None:
        self._nodes = [_Node(-1, -1, 0)]
        self._leaves: list[int] = []
        for choice in choices:
            node = 0
            for token in (*choice, end_id):
                if token not in self._nodes[node].children:
                    self._nodes.append(_Node(token, node, self._nodes[node].depth + 1))
                    self._nodes[node].children[token] = len(self._nodes) - 1
                node = self._nodes[node].children[token]
            self._leaves.append(node)
        branching = {i for i, node in enumerate(self._nodes) if len(node.children) > 1}
        needed: set[int] = set()
        for index in branching:
            while index:
                needed.add(index)
                index = self._nodes[index].parent
        self._fed = sorted(needed)
        self._column = {node: column for column, node in enumerate(self._fed)}
        self._branching = sorted(branching)
        self.tokens = [self._nodes[i].token for i in self._fed]
        self.size = len(self.tokens)
        self.candidates = sorted({token for i in branching for token in self._nodes[i].children})
        self._place = {token: place for place, token in enumerate(self.candidates)}

    def sees(self) -> torch.Tensor:
        """[size, size] bool: which fed nodes each fed node attends to (its ancestors and itself)."""
        mask = torch.zeros(self.size, self.size, dtype=torch.bool)
        for row, index in enumerate(self._fed):
            while index:
                mask[row, self._column[index]] = True
                index = self._nodes[index].parent
        return mask

    def depths(self) -> torch.Tensor:
        """[size] 0-based distance of each fed node from the end of the prompt."""
        return torch.tensor([self._nodes[i].depth - 1 for i in self._fed], dtype=torch.long)

    def probabilities(self, logits_BNC: torch.Tensor) -> torch.Tensor:
        """[B, number of choices], rows sum to 1.

        Args:
            logits_BNC: logits of the `candidates`, in their order, at the prompt's last token (N index 0) and at each
                fed node (N index 1 + its place in `tokens`).
        """
        logs: dict[int, torch.Tensor] = {0: torch.zeros(logits_BNC.shape[0], device=logits_BNC.device)}
        for index in range(len(self._nodes)):  # parents come before their children
            node = self._nodes[index]
            if not node.children:
                continue
            children = list(node.children.items())
            if len(children) == 1:
                logs[children[0][1]] = logs[index]
                continue
            at = logits_BNC[:, 0 if index == 0 else 1 + self._column[index]].float()
            share = at[:, [self._place[token] for token, _ in children]].log_softmax(-1)
            for position, (_, child) in enumerate(children):
                logs[child] = logs[index] + share[:, position]
        return torch.stack([logs[leaf] for leaf in self._leaves], dim=-1).exp()

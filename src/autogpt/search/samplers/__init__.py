"""How configurations are proposed. A sampler is asked for the next one and told everything that was tried.

It keeps no memory of its own: the same space, seed and history give the same proposal in any process. That is what
makes a search resumable from the database, and what `autogpt.testing.SamplerContract` checks for every sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random  # by name: our module `random` becomes an attribute of this package
from typing import Protocol

from autogpt.search.space import Config, Space
from autogpt.search.trials import Direction, Trial

__all__ = ["Sampler", "rng_for"]


class Sampler(Protocol):
    """Proposes configurations.

    Made as `Sampler(space, seed, direction="min")`; the direction has no default, so that nobody forgets it. Names in
    `autogpt.registry.SAMPLERS`.

    Contract: `ask` returns a configuration that `space.validate` accepts; an empty history gets `space.default`; trials
    of any state, and trials whose configuration lies outside the space (it may have been narrowed since), must not make
    it raise. A proposal may repeat an earlier one: `optimize` replaces it.
    """

    space: Space
    seed: int
    direction: Direction

    def ask(self, history: Sequence[Trial]) -> Config: ...


def rng_for(seed: int, step: int) -> Random:
    """The random numbers of proposal `step`: the same in every process, whatever came before."""
    return Random(f"{seed}:{step}")

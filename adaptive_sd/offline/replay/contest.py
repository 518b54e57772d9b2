"""The policies by name, each with all its settings on the same halves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from adaptive_sd.decision.policy_fit import PolicyFit, fit_policy
from adaptive_sd.offline.replay.adaptive import adaptive, random
from adaptive_sd.offline.replay.agreement import agreement
from adaptive_sd.offline.replay.cascade_routing import cascade_routing
from adaptive_sd.offline.replay.chains import best_pair, frugal, threshold_chain
from adaptive_sd.offline.replay.chances import Chances, fit_chances
from adaptive_sd.offline.replay.dials import Dials, single_stages
from adaptive_sd.offline.replay.halves import Halves
from adaptive_sd.offline.replay.known import known_p
from adaptive_sd.offline.replay.oracle import oracle
from adaptive_sd.offline.replay.over_lams import lams_of
from adaptive_sd.offline.replay.router import router


class Contest:
    """Fits what the policies asked for need, once; deterministic for a seed."""

    def __init__(self, halves: Halves, *, fit_rng: np.random.Generator, seed: int) -> None:
        """`fit_rng` made the halves' predictors: the policy's draws follow theirs, as in `fit`."""
        self.halves = halves
        self._fit_rng = fit_rng
        self._seed = seed
        self._found: dict[str, Dials] = {}

    def dials(self, name: str) -> Dials:
        """All settings of the policy of this name in POLICIES."""
        if name not in self._found:
            self._found[name] = _MAKERS[name](self)
        return self._found[name]

    @cached_property
    def fitted(self) -> PolicyFit:
        return fit_policy(self.halves.fit, rng=self._fit_rng)

    @cached_property
    def chances(self) -> Chances:
        return fit_chances(self.halves.fit, self.halves.test, rng=self.rng(2))

    def rng(self, stream: int) -> np.random.Generator:
        """Draws of one purpose, whatever else was drawn."""
        return np.random.default_rng([self._seed, stream])


_MAKERS: dict[str, Callable[[Contest], Dials]] = {
    "single_stages": lambda c: single_stages(c.halves.fit, c.halves.test, c.halves.names),
    "random": lambda c: random(c.halves, c.fitted.policy, lams_of(c.dials("adaptive"))),
    "threshold_chain": lambda c: threshold_chain(c.halves),
    "best_pair": lambda c: best_pair(c.halves),
    "frugal": lambda c: frugal(c.halves),
    "agreement": lambda c: agreement(c.halves),
    "router": lambda c: router(c.halves, c.chances, rng=c.rng(3)),
    "cascade_routing": lambda c: cascade_routing(c.halves, c.chances, rng=c.rng(4)),
    "known_p": lambda c: known_p(c.halves, c.chances),
    "adaptive": lambda c: adaptive(c.halves, c.fitted),
    "oracle": lambda c: oracle(c.halves),
}
POLICIES = tuple(_MAKERS)

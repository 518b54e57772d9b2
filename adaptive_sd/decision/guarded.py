"""The fitted policy with its guard: chains where these did better out of fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.induced import InducedPolicy, estimated
from adaptive_sd.decision.joined import JoinedPolicy
from adaptive_sd.decision.lams import nearest_lam
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.policies import Choice, Evidence, ThresholdPolicy
from adaptive_sd.errors import ArtifactError
from adaptive_sd.types import Decision

_NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class GuardedPolicy:
    """The induced policy; around some lambdas of its grid a chain of one or two stages.

    A lambda between grid points goes with the nearer one, in log lambda.
    """

    induced: InducedPolicy | JoinedPolicy
    chains: tuple[ThresholdPolicy | None, ...]  # one for each lambda of the grid

    @property
    def stages(self) -> tuple[int, ...]:
        """Those that may run."""
        return self.induced.stages

    @property
    def running(self) -> tuple[int, ...]:
        """Those that run at some lambda, by the induced policy or as a chain."""
        chained = [stage for chain in self.chains if chain for stage in chain.stages]
        return tuple(sorted({*self.induced.running, *chained}))

    @property
    def top(self) -> int:
        """The last of those that run."""
        return self.running[-1]

    @property
    def lam_grid(self) -> NDArray[np.float64]:
        return self.induced.lam_grid

    @property
    def induces(self) -> NDArray[np.bool_]:
        """Whether the induced policy decides, at each lambda of the grid."""
        return np.array([chain is None for chain in self.chains])

    def chain_at(self, lam: float) -> ThresholdPolicy | None:
        """None where the induced policy decides; ConfigError for a lambda outside the grid."""
        return self.chains[nearest_lam(self.lam_grid, lam)]

    def alone_at(self, lam: float) -> int | None:
        """The one stage that answers every prompt at a lambda; None where more is decided."""
        chain = self.chain_at(lam)
        return chain.stages[0] if chain is not None and len(chain.stages) == 1 else None

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        """Raises ConfigError for a lambda outside the grid.

        Where a chain cannot go on as it would, the induced policy decides among what is affordable.
        """
        chain = self.chain_at(lam)
        if chain is None or any(held.stage not in chain.stages for held in evidence.held):
            return self.induced.decide(evidence, lam)
        choice = chain.decide(evidence, lam)
        if choice.decision is Decision.STOP or evidence.affords(choice.stage):
            return choice
        if choice.stage <= evidence.abandoned:  # a cap cut its draft
            return self.induced.decide(evidence, lam)
        return self.induced.decide(evidence, lam)._replace(denied=choice.stage)

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        """See InducedPolicy.draft_costs; a chain asks for no others."""
        return self.induced.draft_costs(evidence)

    def estimates(self, evidence: Evidence) -> tuple[float, ...]:
        """Qualities of the drafts held, from all evidence; the same at every lambda."""
        return tuple(estimated(self.induced, evidence, 0.0).stop_quality[0].tolist())

    def saved(
        self, evidence: Evidence, drafted: Drafted, statistics: NDArray[np.floating], lam: float
    ) -> float:
        """See InducedPolicy.saved; chains abandon nothing."""
        if self.chain_at(lam) is not None:
            return 0.0
        return self.induced.saved(evidence, drafted, statistics, lam)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        stages = np.full((len(self.chains), 2), _NONE)
        thresholds = np.zeros(len(self.chains))
        for place, chain in enumerate(self.chains):
            if chain is not None:
                stages[place, : len(chain.stages)] = chain.stages
                thresholds[place] = chain.thresholds[0] if chain.thresholds else 0.0
        chains = {"chain_stages": stages, "chain_thresholds": thresholds}
        return self.induced.to_arrays() | chains

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """Raises ArtifactError when shapes do not fit; KeyError when an array is missing."""
        stages, thresholds = arrays["chain_stages"], arrays["chain_thresholds"]
        policy = JoinedPolicy if "joined_stage" in arrays else InducedPolicy
        induced = policy.from_arrays(arrays)
        num_lams = len(induced.lam_grid)
        if stages.shape != (num_lams, 2) or thresholds.shape != (num_lams,):
            raise ArtifactError(f"chains have shapes {stages.shape} and {thresholds.shape}.")
        chains = []
        for row, threshold in zip(stages.tolist(), thresholds.tolist(), strict=True):
            found = tuple(int(s) for s in row if s != _NONE)
            if not set(found) <= set(induced.stages) or found != tuple(sorted(set(found))):
                raise ArtifactError(f"a chain has the stages {row}.")
            thresholds_of = (float(threshold),) * (len(found) - 1)
            chains.append(ThresholdPolicy(found, thresholds_of) if found else None)
        return cls(induced, tuple(chains))

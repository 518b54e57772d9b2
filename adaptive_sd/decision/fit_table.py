"""The outcomes that a policy is fitted on and followed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.induced import state_features
from adaptive_sd.errors import DataError

FloatArray = NDArray[np.float64]

MAX_STAGES = 7


@dataclass(frozen=True, slots=True, eq=False)
class FitTable:
    """Every stage's outcome on every prompt.

    `estimates` are the stages' predictors' qualities, out of fold where they are to be fitted on.
    `cost_after[n, k, j]` is the cost of stage k when it verifies stage j's draft; nan where that
    is as `cost[n, k]`. `agreement[n, k, j]`: both gave the same answer.
    """

    quality: FloatArray  # (num_prompts, num_stages)
    cost: FloatArray  # (num_prompts, num_stages)
    estimates: FloatArray  # (num_prompts, num_stages)
    statistics: NDArray[np.float32]  # (num_prompts, num_stages, len(STATE_STATISTICS))
    prompt_features: NDArray[np.float32]  # (num_prompts, num_prompt_features)
    agreement: NDArray[np.bool_]  # (num_prompts, num_stages, num_stages)
    cost_after: FloatArray | None = None  # (num_prompts, num_stages, num_stages)

    def __post_init__(self) -> None:
        num_prompts, num_stages = self.quality.shape
        wanted = {
            "cost": (num_prompts, num_stages),
            "estimates": (num_prompts, num_stages),
            "agreement": (num_prompts, num_stages, num_stages),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} has shape {getattr(self, name).shape}, not {shape}.")
        if not 1 <= num_stages <= MAX_STAGES:
            raise DataError(f"{num_stages} stages; a fit takes 1 to {MAX_STAGES}.")
        if len(self.statistics) != num_prompts or len(self.prompt_features) != num_prompts:
            raise DataError(f"features are not of {num_prompts} prompts.")
        for name, upper in (("quality", 1.0), ("estimates", 1.0), ("cost", np.finfo(float).max)):
            values = getattr(self, name)
            if not ((values >= 0) & (values <= upper)).all():
                row, stage = np.argwhere(~((values >= 0) & (values <= upper)))[0]
                raise DataError(f"{name} of prompt {row}, stage {stage} is {values[row, stage]}.")

    @property
    def num_stages(self) -> int:
        return int(self.quality.shape[1])

    def cost_of(self, stage: int, held: Sequence[int]) -> FloatArray:
        """Cost of running `stage` with these drafts held: the last one is verified."""
        plain = self.cost[:, stage]
        if not held or self.cost_after is None:
            return plain
        after = self.cost_after[:, stage, held[-1]]
        return np.where(np.isnan(after), plain, after)

    def take(self, rows: NDArray[np.int64] | slice) -> FitTable:
        """Some prompts of the table."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {n: None if v is None else v[rows] for n, v in parts.items()}
        return FitTable(**chosen)

    def draw(self, num_prompts: int, *, seed: int) -> FitTable:
        """So many of its prompts, in order; the whole table where it has no more."""
        if len(self.quality) <= num_prompts:
            return self
        drawn = np.random.default_rng([seed, 1]).permutation(len(self.quality))
        return self.take(np.sort(drawn[:num_prompts]))

    def state(self, held: Sequence[int], rows: NDArray[np.int64] | None = None) -> FloatArray:
        """State features with these drafts held, of all prompts or of some rows."""
        chosen = slice(None) if rows is None else rows
        pairs = [(held[j], held[i]) for j in range(len(held)) for i in range(j)]
        later, earlier = [p[0] for p in pairs], [p[1] for p in pairs]
        return state_features(
            self.prompt_features[chosen],
            self.estimates[chosen][:, list(held)],
            self.agreement[chosen][:, later, earlier].astype(np.float64),
            self.statistics[chosen, held[-1]] if held else np.empty((0, 0), dtype=np.float32),
        )

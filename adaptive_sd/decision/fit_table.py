"""The outcomes that a policy is fitted on and followed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import moved
from adaptive_sd.decision.partial import PARTIAL_STATISTICS, WHOLE, Drafted
from adaptive_sd.decision.states import state_features
from adaptive_sd.errors import DataError

FloatArray = NDArray[np.float64]

MAX_STAGES = 7


@dataclass(frozen=True, slots=True, eq=False)
class FitTable:
    """Every stage's outcome on every prompt.

    `estimates` are the stages' predictors' qualities, out of fold where they are to be fitted on.
    `cost_after[n, k, j]` is the cost of stage k when it verifies stage j's draft; nan where that
    is as `cost[n, k]`. `agreement[n, k, j]`: both gave the same answer. Prompts of one `group` have
    one text, so that what was fitted on one has seen the others; None where each is its own.

    `part_cost` is the cost up to each checkpoint, nan where the draft did not come to it;
    `part_cost_after[n, k, j]` the whole cost of stage k when it verifies what stage j's draft was
    there, nan where that is as for the whole draft. All parts are None where none is known.
    """

    quality: FloatArray  # (num_prompts, num_stages)
    cost: FloatArray  # (num_prompts, num_stages)
    estimates: FloatArray  # (num_prompts, num_stages)
    statistics: NDArray[np.float32]  # (num_prompts, num_stages, len(STATE_STATISTICS))
    prompt_features: NDArray[np.float32]  # (num_prompts, num_prompt_features)
    agreement: NDArray[np.bool_]  # (num_prompts, num_stages, num_stages)
    cost_after: FloatArray | None = None  # (num_prompts, num_stages, num_stages)
    group: NDArray[np.int64] | None = None  # (num_prompts,)
    part_cost: FloatArray | None = None  # (num_prompts, num_stages, WHOLE)
    part_cost_after: FloatArray | None = None  # (num_prompts, num_stages, num_stages, WHOLE)
    part_statistics: NDArray[np.float32] | None = None
    """(num_prompts, num_stages, WHOLE, len(PARTIAL_STATISTICS))"""
    shift: FloatArray | None = None
    """(num_prompts, num_stages), added by feedback to log odds of estimates; see HeldDraft."""

    def __post_init__(self) -> None:
        num_prompts, num_stages = self.quality.shape
        wanted: dict[str, tuple[int, ...]] = {
            "cost": (num_prompts, num_stages),
            "estimates": (num_prompts, num_stages),
            "agreement": (num_prompts, num_stages, num_stages),
        }
        if self.part_cost is not None:
            wanted |= {
                "part_cost": (num_prompts, num_stages, WHOLE),
                "part_cost_after": (num_prompts, num_stages, num_stages, WHOLE),
                "part_statistics": (num_prompts, num_stages, WHOLE, len(PARTIAL_STATISTICS)),
            }
        for name, shape in wanted.items():
            if np.shape(getattr(self, name)) != shape:
                raise DataError(f"{name} has shape {np.shape(getattr(self, name))}, not {shape}.")
        if not 1 <= num_stages <= MAX_STAGES:
            raise DataError(f"{num_stages} stages; a fit takes 1 to {MAX_STAGES}.")
        if len(self.statistics) != num_prompts or len(self.prompt_features) != num_prompts:
            raise DataError(f"features are not of {num_prompts} prompts.")
        for name, upper in (("quality", 1.0), ("estimates", 1.0), ("cost", np.finfo(float).max)):
            values = getattr(self, name)
            if not ((values >= 0) & (values <= upper)).all():
                row, stage = np.argwhere(~((values >= 0) & (values <= upper)))[0]
                raise DataError(f"{name} of prompt {row}, stage {stage} is {values[row, stage]}.")
        for name in ("statistics", "prompt_features"):
            if not (finite := np.isfinite(getattr(self, name))).all():
                raise DataError(
                    f"{name} of prompt {np.argwhere(~finite)[0, 0]} are not all finite."
                )
        if self.cost_after is not None and (negative := self.cost_after < 0).any():
            row, stage, _ = np.argwhere(negative)[0]
            raise DataError(f"cost_after of prompt {row}, stage {stage} has a negative value.")

    @property
    def num_stages(self) -> int:
        return int(self.quality.shape[1])

    def cost_of(self, stage: int, held: Sequence[int]) -> FloatArray:
        """Cost of running `stage` with these drafts held: the last one is verified."""
        return self.cost_to(Drafted(stage), Drafted(held[-1]) if held else None)

    def cost_to(self, draft: Drafted, offered: Drafted | None) -> FloatArray:
        """Cost of a draft up to a checkpoint, where `offered` is what its stage may verify.

        Drafts that had ended before a checkpoint are whole. Verifying saves the same share of
        each part.
        """
        plain = self.cost[:, draft.stage]
        whole = self._whole_cost(draft.stage, offered)
        if draft.place == WHOLE:
            return whole
        assert self.part_cost is not None  # else there is no draft of a part
        share = np.divide(whole, plain, out=np.ones_like(plain), where=plain > 0)
        return _known(self.part_cost[:, draft.stage, draft.place] * share, whole)

    def _whole_cost(self, stage: int, offered: Drafted | None) -> FloatArray:
        plain = self.cost[:, stage]
        if offered is None:
            return plain
        if offered.place < WHOLE:
            assert self.part_cost_after is not None
            whole = self._whole_cost(stage, Drafted(offered.stage))
            return _known(self.part_cost_after[:, stage, offered.stage, offered.place], whole)
        if self.cost_after is None:
            return plain
        return _known(self.cost_after[:, stage, offered.stage], plain)

    def least_cost(self, stage: int) -> float:
        """Of a whole draft of the stage, whatever it verified."""
        held = [(), *((earlier,) for earlier in range(stage))]
        return float(min(self.cost_of(stage, each).min() for each in held))

    def costing(self, cost: FloatArray, part_cost: FloatArray | None = None) -> FitTable:
        """With these costs (num_prompts, num_stages) of drafts, whatever they verify.

        `part_cost` (broadcast to its shape) is what they cost up to each checkpoint that they come
        to; by default the same share of the whole as before.
        """
        part, after = self.part_cost, None
        if part is not None:
            if part_cost is None:
                ratio = np.divide(cost, self.cost, out=np.zeros_like(cost), where=self.cost > 0)
                part_cost = part * ratio[..., None]
            part = np.where(np.isnan(part), np.nan, part_cost)
            after = np.full((*part.shape[:2], *part.shape[1:]), np.nan)
        return replace(self, cost=cost, cost_after=None, part_cost=part, part_cost_after=after)

    def told(self, stage: int) -> FloatArray:
        """The stage's estimates by themselves, shifted."""
        if self.shift is None:
            return self.estimates[:, stage]
        return moved(self.estimates[:, stage], self.shift[:, stage])

    def reaches(self, stage: int, place: int) -> NDArray[np.bool_]:
        """Whether the stage's draft of each prompt came to this checkpoint."""
        assert self.part_cost is not None
        return ~np.isnan(self.part_cost[:, stage, place])

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


def _known(values: FloatArray, otherwise: FloatArray) -> FloatArray:
    return np.where(np.isnan(values), otherwise, values)

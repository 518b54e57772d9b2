"""What a caller may say of one answer besides the prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from adaptive_sd.decision.policies import check_lam
from adaptive_sd.engines.sampling import check_sampling
from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form
from adaptive_sd.ladder import LadderStage
from adaptive_sd.prompt import Prompt
from adaptive_sd.types import Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller may say besides the prompt; None leaves the ladder's own choice.

    `max_cost`, in the ladder's unit of cost, and `deadline_s`, seconds from the call, are hard: see
    Allowance. An answer whose estimated quality is below `abstain_below` (0 to 1) is not given.
    Raises ConfigError for values of these three, and of `lam`, that mean nothing.
    """

    lam: float | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    lenience: float = 0.0
    max_cost: float | None = None
    deadline_s: float | None = None
    abstain_below: float | None = None

    def __post_init__(self) -> None:
        if self.lam is not None:
            check_lam(self.lam)
        for name, cap in (("max_cost", self.max_cost), ("deadline_s", self.deadline_s)):
            if cap is not None and not 0 < cap < math.inf:
                raise ConfigError(f"{name} is {cap}; it must be finite and above 0.")
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise ConfigError(f"abstain_below is {self.abstain_below}; it must be 0 to 1.")

    @property
    def as_recorded(self) -> bool:
        """Whether stages are asked as they were when a fit's prompts were recorded."""
        asked = replace(self, lam=None, max_cost=None, deadline_s=None, abstain_below=None)
        return asked == Request()

    def sampling(self, stage: LadderStage, index: int, prompt: Prompt, form: Form) -> Sampling:
        """How `stage`, the ladder's `index`-th, chooses tokens; by its own limit if none is given.

        Where tokens are drawn each stage has draws of its own: were they shared, a draft that makes
        the judge escalate would choose among the next stage's answers. Raises ConfigError.
        """
        limit = stage.token_limit(prompt, form) if self.max_tokens is None else self.max_tokens
        asked = Sampling(limit, self.temperature, self.top_p, self.seed, self.stop, self.lenience)
        check_sampling(asked)
        return replace(asked, seed=_seed_of(index, self.seed)) if self.temperature else asked


def _seed_of(stage: int, seed: int) -> int:
    (drawn,) = np.random.SeedSequence([seed, stage]).generate_state(1, np.uint64)
    return int(drawn) >> 1

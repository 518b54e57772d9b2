"""What the loop needs of a ladder: its stages and its judge."""

from __future__ import annotations

from typing import Protocol

from adaptive_sd.decision.certificates import Certificates
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.forms import Form
from adaptive_sd.prompt import Prompt
from adaptive_sd.types import Acceptance, CostUnit, Draft, Observer, Offer, Progress, Sampling


class LadderStage(Protocol):
    """What the loop needs of a stage."""

    name: str

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        form: Form | None = None,
        draft: Offer | None = None,
        acceptance: Acceptance | None = None,
        observer: Observer | None = None,
    ) -> Draft: ...

    def token_limit(self, prompt: Prompt, form: Form) -> int: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class Judge(Protocol):
    """Estimates quality from evidence and decides; fitted, immutable."""

    @property
    def how_to_calibrate(self) -> str: ...

    @property
    def recommended_lam(self) -> float: ...

    @property
    def lam_origin(self) -> str: ...

    @property
    def cost_unit(self) -> CostUnit: ...

    @property
    def certificates(self) -> Certificates | None: ...

    def begin(self, prompt: PromptView) -> Evidence: ...

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft: ...

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        """Expected loss that abandoning a draft of `stage` saves that has come to a checkpoint."""
        ...

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance: ...

    def cost(self, stage: int, draft: Draft) -> float: ...

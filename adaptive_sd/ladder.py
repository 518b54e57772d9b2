"""What the loop needs of a ladder: its stages and its judge."""

from __future__ import annotations

from typing import Protocol

from adaptive_sd.decision.certificates import Certificates
from adaptive_sd.decision.drift import Reference
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.forms import Form
from adaptive_sd.prompt import Prompt
from adaptive_sd.types import (
    Acceptance,
    CostUnit,
    Draft,
    Observer,
    Offer,
    Progress,
    Sampling,
    Work,
)


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


class PromptJudge(Protocol):
    """Estimates quality from evidence and decides, while one prompt is answered."""

    @property
    def cost_unit(self) -> CostUnit: ...

    def begin(self, prompt: PromptView) -> Evidence: ...

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft: ...

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        """Expected cost of a draft of each stage that may run next."""
        ...

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        """Expected loss that abandoning a draft of `stage` saves that has come to a checkpoint."""
        ...

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance: ...

    def cost(self, stage: int, draft: Draft | Work) -> float:
        """Of a draft of `stage`, or of what one that grows has taken so far."""
        ...


class Judge(PromptJudge, Protocol):
    """Of all prompts; fitted, immutable."""

    @property
    def how_to_calibrate(self) -> str: ...

    @property
    def recommended_lam(self) -> float: ...

    @property
    def lam_origin(self) -> str: ...

    @property
    def agreement_with(self) -> str | None:
        """The stage agreement with which its estimates are; None: they are chances to be right."""
        ...

    @property
    def certificates(self) -> Certificates | None: ...


class LearnableJudge(Judge, Protocol):
    """Fitted, so that an online ladder can learn what its estimates lack."""

    @property
    def fingerprint(self) -> str:
        """Names the fit whose estimates these are."""
        ...

    @property
    def num_stages(self) -> int: ...

    @property
    def top(self) -> int:
        """The last stage that may run."""
        ...

    @property
    def reference(self) -> Reference | None:
        """The first drafts of the fit's prompts, where it is known how they fared."""
        ...

    def estimates(self, evidence: Evidence) -> tuple[float, ...]:
        """Qualities of the drafts held, from all evidence."""
        ...

"""One recorded prompt as the stages and the judge of a cascade: the live loop explains it."""

from __future__ import annotations

import numpy as np

from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.decision.features import FEATURE_DIM, PromptView
from adaptive_sd.decision.partial import CHECKPOINTS, WHOLE, Drafted
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.decision.states import STATE_COLUMNS
from adaptive_sd.forms import Form
from adaptive_sd.offline.replay.field import Subject
from adaptive_sd.prompt import Prompt
from adaptive_sd.stage_record import unit_of
from adaptive_sd.trace import Answer
from adaptive_sd.types import (
    Acceptance,
    CostUnit,
    Draft,
    Observer,
    Offer,
    Progress,
    Sampling,
    Verified,
    Work,
)


def answer_recorded(subject: Subject, row: int, lam: float) -> Answer:
    """What the policy does on prompt `row` of its table."""
    prompt = RecordedPrompt(subject, row)
    stages = [RecordedStage(prompt, k, s.name) for k, s in enumerate(subject.outcomes.stages)]
    name = f"prompt {subject.outcomes.prompt_ids[row]}"
    return Cascade(stages, prompt).answer(name, Request(lam=lam))


class RecordedPrompt:
    """The judge: all that the policy sees is the table's, so no text is needed."""

    how_to_calibrate = ""
    certificates = None

    def __init__(self, subject: Subject, row: int) -> None:
        self.subject = subject
        self.row = row
        self.recommended_lam = subject.recommended_lam
        self.lam_origin = subject.lam_origin
        self.cost_unit: CostUnit = unit_of(subject.outcomes.stages)
        self.agreement_with = subject.agreement_with
        self.drafted: dict[int, int] = {}
        """The earlier stage whose draft each stage was given."""
        self.places: dict[int, int] = {}
        """How far the draft of each stage came that ran."""

    def begin(self, prompt: PromptView) -> Evidence:
        return Evidence(self.subject.table.prompt_features[self.row])

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        """The answer is told by the first stage that gave the same; a policy asks no more of it."""
        table = self.subject.table
        features = np.zeros(FEATURE_DIM, dtype=np.float32)
        features[STATE_COLUMNS] = table.statistics[self.row, stage]
        same = np.flatnonzero(table.agreement[self.row, stage])
        answer = f"as stage {same[0]}" if len(same) else ""
        shift = 0.0 if table.shift is None else float(table.shift[self.row, stage])
        return HeldDraft(stage, float(table.estimates[self.row, stage]), features, answer, shift)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        return self.subject.policy.decide(evidence, lam)

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        return self.subject.policy.draft_costs(evidence)

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        draft = Drafted(stage, CHECKPOINTS.index(progress.num_tokens))
        statistics = self.subject.table.part_statistics
        assert statistics is not None  # else no stage shows its progress
        return self.subject.policy.saved(evidence, draft, statistics[[self.row], *draft], lam)

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        self.drafted[target] = drafted
        return Acceptance()

    def cost(self, stage: int, draft: Draft | Work) -> float:
        earlier = self.drafted.get(stage)
        offered = None if earlier is None else Drafted(earlier, self.places[earlier])
        paid = self.subject.table.cost_to(Drafted(stage, self.places[stage]), offered)
        return float(paid[self.row])

    def place(self, stage: int, observer: Observer | None) -> int:
        """The checkpoint at which the observer ends the draft, or WHOLE."""
        part = self.subject.table.part_cost
        if part is None or observer is None:
            return WHOLE
        for place in np.flatnonzero(~np.isnan(part[self.row, stage])).tolist():
            if not observer(Progress("", CHECKPOINTS[place], ())):
                return int(place)
        return WHOLE

    def number(self, column: str, stage: int) -> float:
        """Of the table; 0 where it has none."""
        values = self.subject.outcomes.columns.get(column)
        value = None if values is None else values[self.row, stage]
        known = isinstance(value, int | float | np.number) and np.isfinite(float(value))
        return float(value) if known else 0.0  # type: ignore[arg-type]


class RecordedStage:
    def __init__(self, prompt: RecordedPrompt, index: int, name: str) -> None:
        self.name = name
        self._prompt = prompt
        self._index = index

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        form: Form | None = None,
        draft: Offer | None = None,
        acceptance: Acceptance | None = None,
        observer: Observer | None = None,
    ) -> Draft:
        """Counts and seconds as recorded, of whole drafts; its text is told elsewhere."""
        recorded, index = self._prompt, self._index
        recorded.places[index] = place = recorded.place(index, observer)
        whole, earlier = place == WHOLE, recorded.drafted.get(index)
        num_tokens = int(recorded.number("tokens_out", index))
        num_drafted = num_accepted = 0
        if whole and earlier is not None and recorded.places[earlier] == WHOLE:
            name = recorded.subject.outcomes.stages[earlier].name
            num_drafted = int(recorded.number(f"drafted_after_{name}", index))
            num_accepted = int(recorded.number(f"accepted_after_{name}", index))
        return Draft(
            text="",
            token_ids=(0,) * (num_tokens if whole else CHECKPOINTS[place]),
            token_logprobs=(),
            token_entropies=(),
            token_margins=(),
            finish_reason="stop" if whole else "cancelled",
            tokens_in=int(recorded.number("tokens_in", index)),
            prefill_s=recorded.number("prefill_s", index),
            decode_s=recorded.number("decode_s", index) if whole else 0.0,
            verified=Verified(num_drafted, num_accepted),
        )

    def token_limit(self, prompt: Prompt, form: Form) -> int:
        return 1  # of no effect: `run` tells what was recorded

    def warm_up(self) -> None: ...

    def close(self) -> None: ...

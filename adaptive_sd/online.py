"""A ladder that learns while it runs: feedback shifts its estimates, a watch looks for drift."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from adaptive_sd.asked import Asked
from adaptive_sd.decision.drift import BASELINE
from adaptive_sd.decision.observed import MIN_PROPENSITY, Observed
from adaptive_sd.decision.policies import FixedPolicy
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.errors import ConfigError
from adaptive_sd.event_log import Event, EventLog
from adaptive_sd.ladder import LearnableJudge
from adaptive_sd.learned import Learned

OnDrift = Literal["warn", "top"]
MIN_EXPLORE, MAX_EXPLORE = MIN_PROPENSITY, 0.5
EXPLORES = f"0, or from {MIN_EXPLORE} to {MAX_EXPLORE}"
"""What chances to explore may be, in words."""


def may_explore(chance: float) -> bool:
    return chance == 0 or MIN_EXPLORE <= chance <= MAX_EXPLORE


def refuse_agreement(agreement_with: str | None) -> None:
    """Raise ConfigError where estimates are of agreement, of which feedback says nothing."""
    if agreement_with is not None:
        raise ConfigError(
            f"the artifact tells agreement with {agreement_with}, and feedback tells what is "
            "right; fit one on graded answers (`adaptive-sd fit`) to learn from feedback."
        )


class Online:
    """What one ladder has learned from its answers and from feedback on them.

    All of it is a function of the events in the file of the traces; nothing else is written, the
    artifact least of all. Several threads and processes may share the file.
    """

    def __init__(
        self,
        judge: LearnableJudge,
        path: Path,
        *,
        lam: float | None = None,
        explore: float = 0.02,
        on_drift: OnDrift = "warn",
        seed: int = 0,
    ) -> None:
        """`path` is the file of the traces; `lam` the ladder's own lambda, None: the judge's.

        Where a draft would be returned the last stage runs all the same with the chance `explore`.
        After a drift it answers all prompts where `on_drift` is "top". Raises ConfigError.
        """
        if not may_explore(explore):
            raise ConfigError(f"explore is {explore}; it must be {EXPLORES}.")
        refuse_agreement(judge.agreement_with)
        self.explore = explore
        self._judge = judge
        self._lam = judge.recommended_lam if lam is None else lam
        self._on_drift = on_drift
        self._log = EventLog(path)
        self._draws = threading.Lock()
        self._learns = threading.Lock()
        """Held while the file is read: no prompt waits for it."""
        self._has_warned = False
        self._learned = self._nothing()
        self._publish()
        self._refresh()
        self._rng = np.random.default_rng([seed, self._learned.last_seq])
        if not self._learned.has_reference:
            warnings.warn(
                f"the artifact does not tell how drafts fare at lambda {self._lam:.3g}: the first "
                f"{BASELINE} answers stand for the fit's prompts.",
                stacklevel=2,
            )

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """Of each stage's log odds."""
        return self._published[0]

    @property
    def has_drifted(self) -> bool:
        return self._published[1]

    def ask(self, *, as_fitted: bool) -> Asked:
        """The judge of one prompt. `as_fitted`: it is asked as the fit's prompts were."""
        with self._draws:
            explores = as_fitted and float(self._rng.random()) < self.explore
        answers = None
        if self.has_drifted and self._on_drift == "top":
            note = "prompts have drifted, so the last stage answers"
            answers = FixedPolicy(self._judge.top, note)
        chance = self.explore if explores else None
        return Asked(self._judge, self.shifts, chance, answers, as_fitted=as_fitted)

    def keep(self, trace_id: str, text: str, observe: Callable[[], Observed]) -> None:
        """Learn from the answer to a prompt of this text: no failure may cost the answer."""
        try:
            self._log.append(trace_id, self._judge.fingerprint, text, observe())
            said = self._learn()
        except Exception as error:
            said = str(error) or repr(error)
        if said:
            warnings.warn(said, stacklevel=2)

    def feedback(self, trace_id: str, *, good: bool) -> None:
        """What a reader says of an answer; the last word counts.

        It warns where nothing is learned of it. Raises DataError for an unknown trace and
        ConfigError where the file cannot be written.
        """
        not_learned = self._log.tell(trace_id, self._judge.fingerprint, good=good)
        if not_learned:
            warnings.warn(not_learned, stacklevel=2)
        self._refresh()

    def _nothing(self) -> Learned:
        return Learned(self._judge.num_stages, self._judge.reference, self._lam)

    def _refresh(self) -> None:
        if said := self._learn():
            warnings.warn(said, stacklevel=2)

    def _learn(self) -> str:
        """Add what came since, from whatever process; what is to be said of a drift, once."""
        with self._learns:
            learned = self._learned
            events = self._since(learned.last_seq)
            if learned.corrects(events):
                learned, events = self._nothing(), self._since(0)
            learned.add(events)
            self._learned = learned
            self._publish()
            warns = learned.has_drifted and not self._has_warned
            self._has_warned |= warns
            return learned.warning() if warns else ""

    def _since(self, seq: int) -> list[Event]:
        return self._log.since(seq, self._judge.fingerprint, self._judge.num_stages)

    def _publish(self) -> None:
        """What prompts are asked with from now on: whole, while more is being learned."""
        self._published = (self._learned.shifts, self._learned.has_drifted)

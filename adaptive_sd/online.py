"""A ladder that learns while it runs: feedback shifts its estimates, a watch looks for drift."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from adaptive_sd.asked import Asked
from adaptive_sd.decision.drift import BASELINE
from adaptive_sd.decision.observed import Observed
from adaptive_sd.decision.policies import FixedPolicy
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.errors import ConfigError
from adaptive_sd.event_log import EventLog
from adaptive_sd.ladder import LearnableJudge
from adaptive_sd.learned import Learned

OnDrift = Literal["warn", "top"]
MAX_EXPLORE = 0.5


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
        if not 0 <= explore <= MAX_EXPLORE:
            raise ConfigError(f"explore is {explore}; it must be from 0 to {MAX_EXPLORE}.")
        self.explore = explore
        self._judge = judge
        self._lam = judge.recommended_lam if lam is None else lam
        self._on_drift = on_drift
        self._log = EventLog(path)
        self._lock = threading.Lock()
        self._has_warned = False
        self._learned = self._nothing()
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
        return self._learned.shifts

    @property
    def has_drifted(self) -> bool:
        return self._learned.has_drifted

    def ask(self, *, may_explore: bool) -> Asked:
        """The judge of one prompt. `may_explore`: it is asked as the fit's prompts were."""
        with self._lock:
            explores = may_explore and float(self._rng.random()) < self.explore
        answers = None
        if self.has_drifted and self._on_drift == "top":
            note = "prompts have drifted, so the largest stage answers"
            answers = FixedPolicy(self._judge.top, note)
        return Asked(self._judge, self.shifts, self.explore if explores else None, answers)

    def keep(self, trace_id: str, observed: Observed) -> None:
        """Learn from an answer; it is there already, so a file that fails is no reason to."""
        try:
            self._log.append(trace_id, self._judge.fingerprint, observed)
            self._refresh()
        except ConfigError as error:
            warnings.warn(str(error), stacklevel=2)

    def feedback(self, trace_id: str, *, good: bool) -> None:
        """What a reader says of an answer; the last word counts.

        Raises DataError for an unknown trace and ConfigError where the file cannot be written.
        """
        self._log.tell(trace_id, good=good)
        self._refresh()

    def _nothing(self) -> Learned:
        return Learned(self._judge.num_stages, self._judge.reference, self._lam)

    def _refresh(self) -> None:
        """Add what came since, from whatever process."""
        with self._lock:
            learned, fit = self._learned, self._judge.fingerprint
            events = self._log.since(learned.last_seq, fit)
            if learned.corrects(events):
                learned, events = self._nothing(), self._log.since(0, fit)
            learned.add(events)
            self._learned = learned
            warns = learned.has_drifted and not self._has_warned
            self._has_warned |= warns
        if warns:
            warnings.warn(learned.warning(), stacklevel=2)

"""What the events of one fit come to: shifts of its estimates, and whether prompts have changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from adaptive_sd.decision.drift import ALARM_RATE, DriftWatch, Reference
from adaptive_sd.decision.recalibration import Label, Recalibration, Shift
from adaptive_sd.event_log import Event


class Learned:
    """A function of events and their order, so that it is the same after a restart.

    The watch sees the first answer to each prompt: a text that is asked again tells nothing new.
    """

    def __init__(self, num_stages: int, reference: Reference | None, lam: float) -> None:
        """Without a reference at `lam` the first drafts of the stream become one."""
        at_lam = reference is not None and bool(np.isclose(reference.lam, lam))
        self._recalibration = Recalibration(num_stages)
        self._watch = DriftWatch(reference if at_lam else None, lam)
        self.last_seq = 0
        self.num_answers = 0
        self._told: set[str] = set()
        self._asked: set[str] = set()

    @property
    def shifts(self) -> tuple[Shift, ...]:
        return self._recalibration.shifts

    @property
    def has_reference(self) -> bool:
        return self._watch.reference is not None

    @property
    def has_drifted(self) -> bool:
        return self._watch.alarm is not None

    def corrects(self, events: Sequence[Event]) -> bool:
        """Whether one of them is a second word on an answer: then all has to be learned again."""
        return any(event.good is not None and event.trace_id in self._told for event in events)

    def add(self, events: Sequence[Event]) -> None:
        """Those after the ones that were added."""
        for event in last_words(events):
            for label in labels_of(event):
                self._recalibration.learn(label)
            if event.good is not None:
                self._told.add(event.trace_id)
                continue
            self.num_answers += 1
            first = event.observed.first
            is_new = event.prompt not in self._asked
            if event.prompt:
                self._asked.add(event.prompt)
            if first is not None and is_new and event.observed.lam == self._watch.lam:
                self._watch.add(first)
        self.last_seq = max((event.seq for event in events), default=self.last_seq)

    def warning(self) -> str:
        """One line on a drift."""
        alarm = self._watch.alarm
        assert alarm is not None
        return (
            f"prompts have changed since about answer {alarm.num_before:,} of "
            f"{alarm.num_seen:,}: {alarm.escalation_rate:.0%} of first drafts escalate, "
            f"{alarm.reference_rate:.0%} did when this was fitted, or their estimates differ "
            f"(false alarms: at most {ALARM_RATE:.0%} ever); record prompts like today's and fit "
            "again, or `adaptive-sd recalibrate --save` with what feedback says."
        )


def last_words(events: Sequence[Event]) -> Iterator[Event]:
    """Without what was said of an answer before something else was said of it."""
    last = {event.trace_id: event.seq for event in events if event.good is not None}
    return (e for e in events if e.good is None or last[e.trace_id] == e.seq)


def labels_of(event: Event) -> Iterator[Label]:
    """By agreement from an answer, told from what was said of it."""
    if event.good is None:
        yield from event.observed.agreements()
    else:
        yield from event.observed.told(event.good)

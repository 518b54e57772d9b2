"""The drift watch: its false-alarm rate, what it finds, and that it is the same from JSON."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.special import betaln

from adaptive_sd.decision.drift import (
    ALARM_RATE,
    BASELINE,
    ChangeTest,
    DriftWatch,
    First,
    Reference,
)


def evidence(sample: list[int], stream: tuple[int, ...]) -> float:
    test = ChangeTest(sample)
    for kind in stream:
        test.add(kind)
    return math.exp(test.log_evidence()[0])


def firsts(count: int, rng: np.random.Generator, shift: float = 0.0) -> list[First]:
    """Most begin with stage 0, which goes on where its score is low; some drafts are abandoned."""
    quality = 1 / (1 + np.exp(-(rng.normal(size=count) * 1.5 + 0.3 + shift)))
    stage = (rng.random(count) < 0.2).astype(int)
    goes_on = (quality < 0.5 + 0.1 * rng.normal(size=count)) & (stage == 0)
    abandoned = rng.random(count) < 0.05
    return [
        First(s, None, True) if a else First(s, q, g)
        for s, q, g, a in zip(
            *(values.tolist() for values in (stage, quality, goes_on, abandoned)), strict=True
        )
    ]


def alarm_after(reference: list[First], stream: list[First]) -> int | None:
    watch = DriftWatch(Reference.of(reference, 1.0), 1.0)
    for first in stream:
        watch.add(first)
    return watch.alarm and watch.alarm.num_seen


@pytest.mark.parametrize("chance", [0.01, 0.1, 0.3, 0.5, 0.8])
def test_evidence_has_a_mean_of_at_most_1_whatever_the_chances_are(chance: float) -> None:
    """Over all samples and all streams: the sample is small, so what is known of it is little."""
    mean = 0.0
    for outcome in itertools.product((0, 1), repeat=9):
        sample, stream = outcome[:4], outcome[4:]
        counts = [sample.count(0), sample.count(1)]
        probability = chance ** sum(outcome) * (1 - chance) ** (9 - sum(outcome))
        mean += probability * evidence(counts, stream)
    assert 0.01 < mean <= 1


def test_evidence_is_that_of_the_beta_distribution() -> None:
    """Of the only change that is looked for before the hundredth draft, whose weight is 1/2."""
    sample, seen = (30, 10), (3, 17)

    def drawn(counts: tuple[int, int]) -> float:
        return float(betaln(counts[0] + 0.5, counts[1] + 0.5) - betaln(0.5, 0.5))

    both = np.add(sample, seen)
    wanted = drawn(sample) + drawn(seen) - math.log(2) - both @ np.log(both / both.sum())
    assert math.log(evidence(list(sample), (0,) * 3 + (1,) * 17)) == pytest.approx(wanted)


def test_alarms_are_rare_while_nothing_changes() -> None:
    """Each stream has a reference of its own, from as few prompts as a fit may have."""
    rng = np.random.default_rng(5)
    alarms = sum(alarm_after(firsts(100, rng), firsts(1000, rng)) is not None for _ in range(100))
    assert alarms <= 3  # the 98 % point of Binomial(100, 0.01)
    assert ALARM_RATE == 0.01


@pytest.mark.parametrize("num_before", [0, 1000])
def test_a_change_is_found_and_placed(num_before: int) -> None:
    rng = np.random.default_rng(6)
    reference = firsts(500, rng)
    watch = DriftWatch(Reference.of(reference, 1.0), 1.0)
    for first in firsts(num_before, rng) + firsts(1000, rng, shift=-1.5):
        watch.add(first)
    assert watch.alarm is not None
    assert num_before < watch.alarm.num_seen < num_before + 300
    assert abs(watch.alarm.num_before - num_before) <= 100
    assert watch.alarm.escalation_rate > watch.alarm.reference_rate + 0.1


def test_escalations_alone_and_scores_alone_are_watched() -> None:
    rng = np.random.default_rng(7)
    usual = firsts(500, rng)
    more = [f._replace(escalates=True) for f in firsts(500, rng)]
    other = [
        f._replace(quality=0.99, escalates=u.escalates)
        for f, u in zip(usual, firsts(500, rng), strict=True)
    ]
    assert alarm_after(usual, more) is not None
    assert alarm_after(usual, other) is not None
    unseen = [f._replace(stage=2) for f in firsts(500, rng)]
    assert alarm_after(usual, unseen) is not None


def test_without_a_reference_the_first_drafts_become_one() -> None:
    rng = np.random.default_rng(8)
    watch = DriftWatch(None, 1.0)
    usual = firsts(BASELINE, rng)
    for first in usual[:-1]:
        watch.add(first)
    assert watch.reference is None
    watch.add(usual[-1])
    assert watch.reference == Reference.of(usual, 1.0)
    for first in firsts(500, rng, shift=-2):
        watch.add(first)
    assert watch.alarm is not None


def test_a_reference_counts_every_first_draft_and_comes_back_from_json() -> None:
    reference = Reference.of(firsts(200, np.random.default_rng(9)), 2.5)
    assert sum(map(sum, reference.scores.values())) == reference.num_firsts == 200
    assert Reference.from_json(json.loads(json.dumps(reference.to_json()))) == reference


def test_a_reference_that_does_not_add_up_is_refused() -> None:
    raw = Reference.of(firsts(50, np.random.default_rng(9)), 1.0).to_json()
    for key, value in (("num_firsts", 49), ("num_escalated", 51), ("num_escalated", -1)):
        with pytest.raises(ValueError, match="a reference of"):
            Reference.from_json(raw | {key: value})

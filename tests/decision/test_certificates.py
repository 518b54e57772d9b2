"""The dial for a target is one that was shown to keep at least that, or there is none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.decision.certificates import Certificate, Certificates
from adaptive_sd.decision.claims import KeptQuality
from adaptive_sd.errors import ArtifactError

KNOWN = Certificates(
    confidence=0.95,
    num_prompts=300,
    max_cost=40.0,
    qualities=(Certificate(0.8, 2.0), Certificate(0.9, 5.0), Certificate(0.95, 30.0)),
    budgets=(Certificate(1.0, 2.0), Certificate(1.5, 5.0)),
)


@given(st.floats(0, 1))
def test_a_quality_is_looked_up_upwards(target: float) -> None:
    if target > 0.95:
        with pytest.raises(ArtifactError, match=r"the highest that is: 0\.95"):
            KNOWN.for_quality(target)
        return
    found = KNOWN.for_quality(target)
    assert found.bound >= target
    assert not any(target <= c.bound < found.bound for c in KNOWN.qualities)


@given(st.floats(0, 3))
def test_a_budget_is_looked_up_downwards(budget: float) -> None:
    if budget < 1:
        with pytest.raises(ArtifactError, match="the least that is: 1"):
            KNOWN.for_budget(budget)
        return
    found = KNOWN.for_budget(budget)
    assert found.bound <= budget
    assert not any(found.bound < c.bound <= budget for c in KNOWN.budgets)


def test_without_any_the_refusal_says_so() -> None:
    none = replace(KNOWN, qualities=(), budgets=())
    with pytest.raises(ArtifactError, match="the highest that is: none"):
        none.for_quality(0.5)
    with pytest.raises(ArtifactError, match="the least that is: none"):
        none.for_budget(1e9)


def test_they_come_back_from_json() -> None:
    document = json.loads(json.dumps(KNOWN.to_json()))
    assert Certificates.from_json(document) == KNOWN
    assert "exchangeable" in document["assumed"]


def test_what_a_lambda_was_shown_to_keep_is_told() -> None:
    assert KNOWN.promised(5.0) == (
        "certified for 0.9 of the best single stage's quality, a mean cost of at most 1.5"
    )
    assert KNOWN.promised(5.1) == "given"


def test_where_quality_is_agreement_every_word_says_so() -> None:
    known = replace(KNOWN, agreement_with="large")
    with pytest.raises(ArtifactError, match=r"^1 agreement with large is not .*`adaptive-sd calib"):
        known.for_quality(1.0)
    told = {known.promised(c.lam) for c in known.qualities}
    assert all("agreement with large" in words and "stage" not in words for words in told)
    assert str(KeptQuality(0.9, "large")) == "0.9 agreement with large"
    assert Certificates.from_json(json.loads(json.dumps(known.to_json()))) == known

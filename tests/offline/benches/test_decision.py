"""Timing the decision of any policy that a fit may leave behind; no time is asserted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.offline.benches.decision import bench_decision


def guarded_by(artifact: Artifact, chain: ThresholdPolicy) -> Artifact:
    """With this chain at every lambda."""
    induced = artifact.policy.induced
    return replace(artifact, policy=GuardedPolicy(induced, (chain,) * len(induced.lam_grid)))


@pytest.mark.parametrize(
    "chain", [ThresholdPolicy((1, 2), (0.5,)), ThresholdPolicy((2,), ()), ThresholdPolicy((0,), ())]
)
def test_a_decision_is_timed_whatever_stage_comes_first(
    artifact: Artifact, chain: ThresholdPolicy
) -> None:
    parts = bench_decision(guarded_by(artifact, chain), 3).parts
    assert list(parts) == ["text", "features", "predictor", "rule", "decision"]

"""One replay: split, fit, follow every policy, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import ConfigError
from adaptive_sd.offline.replay.contest import POLICIES
from adaptive_sd.offline.replay.field import Field
from adaptive_sd.offline.replay.report import ReplayReport
from adaptive_sd.offline.replay.seen import see_with


def replay(
    table: OutcomeTable,
    *,
    policies: Sequence[str] = POLICIES,
    artifact: Artifact | None = None,
    num_seeds: int = 1,
    num_resamples: int = 1000,
    seed: int = 0,
) -> ReplayReport:
    """Deterministic for a seed.

    Everything is chosen on the fit half and measured on the test half; see Field for what an
    artifact is taken for. Raises ConfigError for an unknown policy, DataError for a table that
    cannot be replayed, or not with the artifact.
    """
    check_policies(policies)
    # Many small products: on a busy machine threads wait for each other far longer than they work.
    with threadpool_limits(limits=1):
        return _replay(table, policies, artifact, num_seeds, num_resamples, seed)


def check_policies(names: Sequence[str]) -> None:
    """Raise ConfigError for one that is unknown."""
    for name in names:
        if name not in POLICIES:
            raise ConfigError(f"no policy {name[:40]!r}; known: {', '.join(POLICIES)}.")


def _replay(
    table: OutcomeTable,
    policies: Sequence[str],
    artifact: Artifact | None,
    num_seeds: int,
    num_resamples: int,
    seed: int,
) -> ReplayReport:
    seen = None if artifact is None else see_with(artifact, table)
    report = Field(table, seen, seed=seed).report(policies, num_resamples)
    seeds = {name: [found.area.value] for name, found in report.policies.items()}
    for again in range(seed + 1, seed + num_seeds):
        for name, found in Field(table, seen, seed=again).measure(policies, 0).items():
            seeds[name].append(found.area.value)
    if num_seeds == 1:
        return report
    return replace(report, seeds={name: tuple(areas) for name, areas in seeds.items()})

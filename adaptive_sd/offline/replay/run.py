"""One replay: split, fit, follow every policy, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.data.tasks import prompt_hash
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.offline.replay.contest import POLICIES
from adaptive_sd.offline.replay.field import Field, see_with
from adaptive_sd.offline.replay.halves import prompt_texts
from adaptive_sd.offline.replay.report import ReplayReport


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

    Everything is chosen on the fit half and measured on the test half; `adaptive` of an artifact,
    which was fitted on other prompts, is measured on all prompts, and the others choose by its
    predictors' estimates: nothing is fitted to predict quality then. Raises ConfigError for an
    unknown policy, DataError for a table that cannot be replayed, or not with the artifact.
    """
    for name in policies:
        if name not in POLICIES:
            raise ConfigError(f"no policy {name[:40]!r}; known: {', '.join(POLICIES)}.")
    if artifact is not None:
        check_artifact(artifact, table)
    # Many small products: on a busy machine threads wait for each other far longer than they work.
    with threadpool_limits(limits=1):
        return _replay(table, policies, artifact, num_seeds, num_resamples, seed)


def _replay(
    table: OutcomeTable,
    policies: Sequence[str],
    artifact: Artifact | None,
    num_seeds: int,
    num_resamples: int,
    seed: int,
) -> ReplayReport:
    seen = see_with(artifact, table)
    report = Field(table, seen, seed=seed).report(policies, num_resamples)
    seeds = {name: [found.area.value] for name, found in report.policies.items()}
    for again in range(seed + 1, seed + num_seeds):
        for name, found in Field(table, seen, seed=again).measure(policies, 0).items():
            seeds[name].append(found.area.value)
    if num_seeds == 1:
        return report
    return replace(report, seeds={name: tuple(areas) for name, areas in seeds.items()})


def check_artifact(artifact: Artifact, table: OutcomeTable) -> None:
    """Raises DataError for another ladder's table, and for prompts that the artifact has seen."""
    ours, theirs = ([stage.name for stage in side.stages] for side in (artifact, table))
    if ours != theirs:
        raise DataError(
            f"the artifact is fitted for {', '.join(ours)}; the table has {', '.join(theirs)}."
        )
    fitted = set(artifact.prompt_hashes)
    num_seen = sum(prompt_hash(text) in fitted for text in prompt_texts(table) if text)
    if num_seen:
        raise DataError(
            f"{num_seen} of {len(table.prompt_ids)} prompts of the table are among those that the "
            "artifact was fitted on; replay it on others, or leave out --artifact."
        )

"""From an outcome table to what predictors and policies see: the same features as live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.feature_rows import DraftRows, extract_rows, prompt_rows
from adaptive_sd.decision.features import (
    FEATURE_DIM,
    STATISTIC_NAMES,
    HiddenProjection,
    PromptView,
    fit_projection,
)
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.partial import CHECKPOINTS, PARTIAL_STATISTICS
from adaptive_sd.decision.states import STATE_COLUMNS
from adaptive_sd.offline.answers import answer_faults, canonical_answers, prompt_views
from adaptive_sd.offline.prompts import prompt_groups, prompt_texts
from adaptive_sd.offline.signals import put_signals

FloatArray = NDArray[np.float64]
Projections = tuple[HiddenProjection | None, ...]

_DRAFT_COLUMNS = ("answer", "logprobs", "hidden", "tokens_out")
PROJECTED_STATES = 10_000
"""Of a stage, at most, in its principal components: as doubles more would fill the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class TableEvidence:
    """N prompts, K stages. `agreement[n, k, j]`: stages j and k gave the same answer.

    Prompts of one `group` have one text.
    """

    prompts: tuple[PromptView, ...]
    features: NDArray[np.float32]  # (N, K, FEATURE_DIM)
    prompt_features: NDArray[np.float32]  # (N, num_prompt_features)
    agreement: NDArray[np.bool_]  # (N, K, K)
    group: NDArray[np.int64]  # (N,)


def fit_projections(table: OutcomeTable) -> Projections:
    """For each stage the principal components of its hidden states; None where it has none."""
    hidden = table.columns.get("hidden")
    if hidden is None:
        return (None,) * len(table.stages)
    return tuple(_fit_projection([h for h in column if h is not None]) for column in hidden.T)


def _fit_projection(states: Sequence[NDArray[np.float16]]) -> HiddenProjection | None:
    if len(states) < 2:
        return None
    some = np.unique(np.linspace(0, len(states) - 1, PROJECTED_STATES).astype(np.int64))
    return fit_projection(np.stack([states[n] for n in some]))


def read_evidence(table: OutcomeTable, projections: Projections) -> TableEvidence:
    """What is missing in the table is missing evidence, marked as such in the features.

    A value of a column `signal_NAME` is the statistic NAME, whatever the table has to make it from;
    where it is empty, that is made as live. Signals of other names see signal_columns.
    In tables of others, which do not describe their stages, an answer may be the bare answer.
    """
    columns, shape = table.columns, table.quality.shape
    prompts = prompt_views(table)
    of_prompts = prompt_rows(prompts)
    answers = canonical_answers(table, prompts)
    faults = answer_faults(table, prompts, answers)
    tokens_out = _counts(table, "tokens_out", _counts(table, "signal_tokens_out", np.zeros(shape)))
    tokens_in = _counts(table, "tokens_in", np.zeros(shape))
    features = np.empty((*shape, FEATURE_DIM), dtype=np.float32)

    def lists(stage: int) -> Iterator[Any]:
        for name in ("logprobs", "hidden"):
            yield columns[name][:, stage] if name in columns else None

    for k, projection in enumerate(projections):
        rows = DraftRows(
            answers.lengths[:, k],
            faults[:, k],
            tokens_out[:, k],
            tokens_in[:, k],
            *lists(k),
        )
        features[:, k] = extract_rows(rows, of_prompts, projection)
    for i, name in enumerate(STATISTIC_NAMES):
        signal = f"signal_{name}"
        if signal in columns:
            given = columns[signal].astype(np.float32)
            features[:, :, i] = np.where(np.isfinite(given), given, features[:, :, i])
    put_signals(features, table)
    return TableEvidence(prompts, features, of_prompts, answers.agreement, prompt_groups(table))


def lack_of(table: OutcomeTable) -> str | None:
    """What a table lacks to tell its prompts apart, and what it is good for all the same; one line.

    None where drafts tell something.
    """
    if any(name in _DRAFT_COLUMNS or name.startswith("signal_") for name in table.columns):
        return None
    lacks = "the table has no evidence of drafts (answer, logprobs, tokens_out, signal_NAME)"
    if any(prompt_texts(table)):
        return (
            f"{lacks}: only the prompt decides, so where to begin is all that can be chosen, and "
            "policies that look at drafts come to the same"
        )
    return (
        f"{lacks} and no prompts: nothing tells one prompt from another, so all policies come to "
        "single stages; qualities, costs, single stages and the oracle hold. Export or import it "
        "with these columns to compare policies"
    )


def to_fit_table(
    table: OutcomeTable, evidence: TableEvidence, estimates: NDArray[np.float64]
) -> FitTable:
    """`estimates` (N, K): qualities by the stages' predictors."""
    return FitTable(
        quality=table.quality,
        cost=table.cost,
        estimates=estimates,
        statistics=evidence.features[:, :, STATE_COLUMNS],
        prompt_features=evidence.prompt_features,
        agreement=evidence.agreement,
        cost_after=_cost_after(table),
        group=evidence.group,
        **_parts(table),
    )


def _counts(table: OutcomeTable, name: str, missing: FloatArray) -> FloatArray:
    """Whole numbers, `missing` where the table has none."""
    given = np.trunc(table.columns.get(name, missing).astype(np.float64))
    return np.where(np.isnan(given), missing, given)


def _cost_after(table: OutcomeTable) -> NDArray[np.float64] | None:
    """Cost (N, K, K) of stage k when it verifies stage j's draft; nan where not recorded."""
    names = [f"cost_after_{stage.name}" for stage in table.stages]
    if not any(name in table.columns for name in names):
        return None
    return np.stack([_column(table, name) for name in names], axis=2)


def _column(table: OutcomeTable, name: str) -> FloatArray:
    """nan where the table has none."""
    missing = np.full(table.cost.shape, np.nan)
    return table.columns.get(name, missing).astype(np.float64)


def _parts(table: OutcomeTable) -> dict[str, Any]:
    """What FitTable has of drafts up to each checkpoint; nothing where the table has no costs."""
    if not any(f"cost@{n}" in table.columns for n in CHECKPOINTS):
        return {}

    def at_each(name: str) -> FloatArray:
        return np.stack([_column(table, f"{name}@{n}") for n in CHECKPOINTS], axis=-1)

    statistics = [at_each(f"signal_{name}") for name in PARTIAL_STATISTICS]
    after = [at_each(f"cost_after_{stage.name}") for stage in table.stages]
    return {
        "part_cost": at_each("cost"),
        "part_cost_after": np.stack(after, axis=2),
        "part_statistics": np.nan_to_num(np.stack(statistics, axis=-1)).astype(np.float32),
    }

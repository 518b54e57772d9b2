"""The two halves of a table: one to choose on, one to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.selection import PredictorFit, fit_predictor
from adaptive_sd.errors import DataError
from adaptive_sd.offline.evidence import (
    Projections,
    fit_projections,
    read_evidence,
    to_fit_table,
)
from adaptive_sd.offline.fit import MIN_PROMPTS
from adaptive_sd.offline.prompts import draw_prompts, prompt_groups, prompt_hashes, prompt_keys

_SEEN_AT_ONCE = 2048
"""Prompts: their features are 10 MB, which the allocator uses again."""
_READ_BY_ROUTER = ("prompt", "category")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows of the table. `own`: the table's own column says so."""

    fit: NDArray[np.int64]
    test: NDArray[np.int64]
    own: bool


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Evidence of both halves; estimates are out of fold on `fit`, by its predictors on `test`.

    `predictors` and `projections` are empty where they were fitted elsewhere.
    """

    names: tuple[str, ...]  # of the stages
    fit: FitTable
    test: FitTable
    predictors: tuple[PredictorFit, ...]
    fit_outcomes: OutcomeTable
    test_outcomes: OutcomeTable
    projections: Projections


def split(table: OutcomeTable, *, seed: int) -> Split:
    """By the column `split`, or seeded halves in which equal prompts stay together.

    Raises DataError for another value, and for too few prompts.
    """
    own = table.is_fit()
    rng = np.random.default_rng([seed, 1])  # apart from the fit's draws
    is_fit = draw_prompts(table, 0.5, rng=rng) if own is None else own
    found = Split(np.flatnonzero(is_fit), np.flatnonzero(~is_fit), own is not None)
    if len(found.fit) < MIN_PROMPTS or len(found.test) < 2:
        raise DataError(
            f"{len(found.fit)} graded prompts to fit on and {len(found.test)} to test on"
            f"{'' if found.own else _kept_together(table)}; "
            f"a replay needs {MIN_PROMPTS} and 2. Record more prompts."
        )
    return found


def _kept_together(table: OutcomeTable) -> str:
    num_texts = len(set(prompt_keys(table)))
    if num_texts == len(table.prompt_ids):
        return ""
    return f", since equal texts are kept in one half and only {num_texts} differ"


def num_shared(table: OutcomeTable, parts: Split) -> int:
    """Prompts to test on whose text is also among those to fit on."""
    hashes = prompt_hashes(table)
    fitted = {hashes[n] for n in parts.fit} - {""}
    return sum(hashes[n] in fitted for n in parts.test)


def fit_halves(table: OutcomeTable, parts: Split, *, rng: np.random.Generator) -> Halves:
    """Predictors fitted on the fit half, as `fit` does; their estimates on both."""
    fit, test = table.take(parts.fit), table.take(parts.test)
    projections = fit_projections(fit)
    evidence = read_evidence(fit, projections)
    fits = tuple(
        fit_predictor(evidence.features[:, k], fit.quality[:, k], rng=rng, groups=evidence.group)
        for k in range(len(table.stages))
    )
    seen = np.stack([f.estimates for f in fits], axis=1)
    return Halves(
        names=tuple(stage.name for stage in table.stages),
        fit=to_fit_table(fit, evidence, seen),
        test=see(test, [f.predictor for f in fits], projections),
        predictors=fits,
        fit_outcomes=fit,
        test_outcomes=test,
        projections=projections,
    )


def halves_of(table: OutcomeTable, parts: Split, seen: FitTable) -> Halves:
    """Nothing is fitted: `seen` has the estimates of predictors that were fitted elsewhere."""
    read = replace(table, columns={n: c for n, c in table.columns.items() if n in _READ_BY_ROUTER})
    return Halves(
        names=tuple(stage.name for stage in table.stages),
        fit=seen.take(parts.fit),
        test=seen.take(parts.test),
        predictors=(),
        fit_outcomes=read.take(parts.fit),
        test_outcomes=read.take(parts.test),
        projections=(),
    )


def see(
    table: OutcomeTable,
    predictors: Sequence[FittedPredictor],
    projections: Projections,
    num_at_once: int = _SEEN_AT_ONCE,
) -> FitTable:
    """The table as predictors see it; the features of `num_at_once` prompts are held at a time."""
    parts = []
    for start in range(0, len(table.prompt_ids), num_at_once):
        part = table.take(np.arange(start, min(start + num_at_once, len(table.prompt_ids))))
        evidence = read_evidence(part, projections)
        estimates = [p.predict_many(evidence.features[:, k]) for k, p in enumerate(predictors)]
        parts.append(to_fit_table(part, evidence, np.stack(estimates, axis=1)))
    return replace(joined(parts), group=prompt_groups(table))


def joined(parts: Sequence[FitTable]) -> FitTable:
    """All their prompts, in order."""
    whole: dict[str, Any] = {}
    for field in fields(FitTable):
        values = [getattr(part, field.name) for part in parts]
        whole[field.name] = None if values[0] is None else np.concatenate(values)
    return FitTable(**whole)

"""The two halves of a table: one to choose on, one to measure on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.data.tasks import prompt_hash
from adaptive_sd.decision.induction import FitTable
from adaptive_sd.decision.selection import PredictorFit, fit_predictor
from adaptive_sd.errors import DataError
from adaptive_sd.offline.evidence import (
    Projections,
    fit_projections,
    read_evidence,
    to_fit_table,
)
from adaptive_sd.offline.fit import MIN_PROMPTS

_NAMES = ("fit", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows of the table. `own`: the table's own column says so."""

    fit: NDArray[np.int64]
    test: NDArray[np.int64]
    own: bool


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Evidence of both halves; estimates are out of fold on `fit`, by its predictors on `test`."""

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
    column = table.columns.get("split")
    is_fit = _drawn(table, seed) if column is None else _own(table, column)
    found = Split(np.flatnonzero(is_fit), np.flatnonzero(~is_fit), column is not None)
    if len(found.fit) < MIN_PROMPTS or len(found.test) < 2:
        raise DataError(
            f"{len(found.fit)} graded prompts to fit on and {len(found.test)} to test on; "
            f"a replay needs {MIN_PROMPTS} and 2. Record more prompts."
        )
    return found


def _own(table: OutcomeTable, column: NDArray[np.generic]) -> NDArray[np.bool_]:
    for n, values in enumerate(column.tolist()):
        if values[0] not in _NAMES or any(value != values[0] for value in values):
            raise DataError(
                f"split of prompt {table.prompt_ids[n]!r} is {', '.join(map(repr, values))}; "
                "it must be 'fit' or 'test', the same for all stages."
            )
    return np.asarray(column[:, 0] == "fit")


def _drawn(table: OutcomeTable, seed: int) -> NDArray[np.bool_]:
    keys = [
        (text and prompt_hash(text)) or name
        for text, name in zip(prompt_texts(table), table.prompt_ids, strict=True)
    ]
    _, group = np.unique(np.array(keys, dtype=object), return_inverse=True)
    num_groups = int(group.max(initial=-1)) + 1
    order = np.random.default_rng([seed, 1]).permutation(num_groups)  # apart from the fit's draws
    return np.asarray(order[group] < (num_groups + 1) // 2)


def prompt_texts(table: OutcomeTable) -> list[str]:
    """Each prompt's text, from whichever of its rows has it; "" where none has."""
    column = table.columns.get("prompt")
    if column is None:
        return [""] * len(table.prompt_ids)
    return [next((str(text) for text in row if text), "") for row in column]


def num_shared(table: OutcomeTable, parts: Split) -> int:
    """Prompts to test on whose text is also among those to fit on."""
    hashes = [text and prompt_hash(text) for text in prompt_texts(table)]
    fitted = {hashes[n] for n in parts.fit} - {""}
    return sum(hashes[n] in fitted for n in parts.test)


def fit_halves(table: OutcomeTable, parts: Split, *, rng: np.random.Generator) -> Halves:
    """Predictors fitted on the fit half, as `fit` does; their estimates on both."""
    fit, test = table.take(parts.fit), table.take(parts.test)
    projections = fit_projections(fit)
    fit_evidence, test_evidence = (read_evidence(half, projections) for half in (fit, test))
    fits = tuple(
        fit_predictor(fit_evidence.features[:, k], fit.quality[:, k], rng=rng)
        for k in range(len(table.stages))
    )
    seen = np.stack([f.estimates for f in fits], axis=1)
    unseen = np.stack(
        [f.predictor.predict_many(test_evidence.features[:, k]) for k, f in enumerate(fits)], axis=1
    )
    return Halves(
        names=tuple(stage.name for stage in table.stages),
        fit=to_fit_table(fit, fit_evidence, seen),
        test=to_fit_table(test, test_evidence, unseen),
        predictors=fits,
        fit_outcomes=fit,
        test_outcomes=test,
        projections=projections,
    )


def seen_by(artifact: Artifact, table: OutcomeTable) -> FitTable:
    """The table as an artifact's own predictors see it."""
    evidence = read_evidence(table, artifact.projections)
    estimates = [p.predict_many(evidence.features[:, k]) for k, p in enumerate(artifact.predictors)]
    return to_fit_table(table, evidence, np.stack(estimates, axis=1))


def rows_of(table: FitTable, rows: NDArray[np.int64]) -> FitTable:
    """Some prompts of the table."""
    return FitTable(
        quality=table.quality[rows],
        cost=table.cost[rows],
        estimates=table.estimates[rows],
        features=table.features[rows],
        prompt_features=table.prompt_features[rows],
        agreement=table.agreement[rows],
        cost_after=None if table.cost_after is None else table.cost_after[rows],
    )

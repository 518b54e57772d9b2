"""What requests ask of each stage: as a policy would go on a table, or as traces tell."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.partial import CHECKPOINTS, WHOLE, Drafted
from adaptive_sd.decision.paths import Path, follow
from adaptive_sd.errors import DataError
from adaptive_sd.forms import detect_form
from adaptive_sd.offline.costs import at_rates
from adaptive_sd.offline.prompts import prompt_texts
from adaptive_sd.offline.replay.seen import find_overlap, seen_by
from adaptive_sd.types import Action, CostUnit, Rates

FloatArray = NDArray[np.float64]

LEAST_WAYS = 30
"""Prompts without which nothing is said of a load."""
_RAN = (Action.DRAFT, Action.VERIFY, Action.ABANDON)


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """The ways of prompts through the stages. All are (num_prompts, num_stages).

    `work_s` are the seconds that a stage takes with nothing else to do, nan where it does not run;
    `tokens_out` it writes. `cost` (num_prompts,) is in `unit`. `source` says whose ways they are.
    """

    work_s: FloatArray
    tokens_out: FloatArray
    cost: FloatArray
    unit: CostUnit
    source: str

    @property
    def runs(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.work_s)

    @property
    def escalation_rate(self) -> float:
        """Share of the prompts on which more than one stage ran."""
        return float((self.runs.sum(axis=1) > 1).mean())


def demand_of_table(
    table: OutcomeTable, artifact: Artifact, rates: Sequence[Rates], lam: float, name: str
) -> Demand:
    """The artifact's policy at `lam` on the prompts of a table that it was not fitted on.

    Raises DataError for another ladder's table, one without token counts, and too few prompts.
    """
    rows = find_overlap(artifact, table).measurable
    _check_number(len(rows), name)
    unit = rates[0].unit
    here = at_rates(table, rates).take(rows)  # what verifies is told by the prompts to fit on
    seen = seen_by(artifact, here)
    forms = [detect_form(text) for text in prompt_texts(here)]
    top = Path((Drafted(len(rates) - 1),), len(rates) - 1)  # of forms that the fit knows nothing of
    paths = [
        path if form in artifact.forms else top
        for path, form in zip(follow(artifact.policy, seen, lam), forms, strict=True)
    ]
    cost_to = functools.cache(seen.cost_to)
    work_s, tokens_out = np.full(seen.cost.shape, np.nan), np.zeros(seen.cost.shape)
    written = here.complete("tokens_out").astype(np.float64)
    for n, path in enumerate(paths):
        for draft, offered in zip(path.drafts, (None, *path.drafts), strict=False):
            k = draft.stage
            work_s[n, k] = cost_to(draft, offered)[n]
            tokens_out[n, k] = written[n, k] if draft.place == WHOLE else CHECKPOINTS[draft.place]
    source = f"the policy at lambda {lam:.3g} on {len(rows)} prompts of {name}"
    return Demand(work_s, tokens_out, np.nansum(work_s, axis=1), unit, source)


def demand_of_traces(
    answers: Sequence[Mapping[str, Any]], names: Sequence[str], unit: CostUnit, name: str
) -> Demand:
    """What answers (documents of `answer --json`) took of the stages with these names.

    Where cost is no seconds a stage is taken for as long as it took. Raises DataError where fewer
    than LEAST_WAYS answers are of these stages and in this unit.
    """
    known = set(names)
    ours = [
        answer["trace"]
        for answer in answers
        if answer["cost_unit"] == unit and known.issuperset(s["stage"] for s in answer["trace"])
    ]
    _check_number(len(ours), name)
    work_s = np.full((len(ours), len(names)), np.nan)
    tokens_out, cost = np.zeros(work_s.shape), np.zeros(len(ours))
    for n, steps in enumerate(ours):
        for step in steps:
            cost[n] += step["cost"]
            if step["action"] in _RAN:
                k = names.index(step["stage"])
                work_s[n, k] = step["latency_s"] if unit == "usd" else step["cost"]
                tokens_out[n, k] = step["tokens_out"]
    return Demand(work_s, tokens_out, cost, unit, f"{len(ours)} answers in {name}")


def _check_number(count: int, name: str) -> None:
    if count < LEAST_WAYS:
        raise DataError(
            f"{name}: {count} prompts or answers of this ladder, and {LEAST_WAYS} are needed to "
            "tell what a load asks; give --table with an outcome table of it, or answer more."
        )

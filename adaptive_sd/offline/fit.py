"""From an outcome table to an artifact: predictors, acceptance, continuation values, lambda."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from adaptive_sd.artifact import Artifact, Prior
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.data.tasks import prompt_hash
from adaptive_sd.decision.acceptance import fit_acceptance
from adaptive_sd.decision.calibration import bootstrap_scores, score_estimates, soft_rows
from adaptive_sd.decision.candidates import CANDIDATES, PredictorFit, fit_predictor
from adaptive_sd.decision.features import (
    STATISTIC_NAMES,
    join_features,
    prompt_features,
)
from adaptive_sd.decision.induction import FitTable, InductionFit, fit_induction
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form, canonical_answer, detect_form
from adaptive_sd.types import Acceptance

NUM_FOLDS = 5
_RECOMMENDED_SHARE = 0.98


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage: measured quality and cost, its predictor, and that predictor out of fold."""

    stage: str
    quality: float
    cost: float
    predictor: str
    brier_by_candidate: dict[str, float]
    auc: float | None
    auc_ci: tuple[float, float]
    brier: float
    ece: float
    ece_ci: tuple[float, float]
    share_answered: float
    """Share of prompts whose returned answer is this stage's, at the recommended lambda."""


@dataclass(frozen=True, slots=True)
class FitReport:
    """What the fit found, out of fold; quality and cost at the recommended lambda."""

    num_prompts: int
    num_left_out: int
    stages: tuple[StageReport, ...]
    recommended_lambda: float
    lambda_origin: str
    quality: float
    cost: float

    def as_text(self) -> str:
        lines = [f"{self.num_prompts} prompts fitted, {self.num_left_out} left out"]
        for s in self.stages:
            lines.append(
                f"{s.stage:<20} quality {s.quality:.3f}  cost {s.cost:.3f} s  {s.predictor}: "
                f"AUC {_or_dash(s.auc)} [{s.auc_ci[0]:.3f}, {s.auc_ci[1]:.3f}]  "
                f"Brier {s.brier:.3f}  ECE {s.ece:.3f} [{s.ece_ci[0]:.3f}, {s.ece_ci[1]:.3f}]  "
                f"answers {s.share_answered:.0%}"
            )
        unused = [s.stage for s in self.stages if s.share_answered == 0]
        if unused:
            lines.append(f"never pays at this lambda: {', '.join(unused)}")
        lines.append(
            f"recommended lambda {self.recommended_lambda:.3g} ({self.lambda_origin}): "
            f"quality {self.quality:.3f}, cost {self.cost:.3f} s"
        )
        return "\n".join(lines)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def fit_artifact(table: OutcomeTable, *, seed: int = 0) -> tuple[Artifact, FitReport]:
    """Raises DataError when the table lacks what a live ladder needs or has too few prompts."""
    num_prompts = len(table.prompt_ids)
    if num_prompts < 10 * NUM_FOLDS:
        raise DataError(f"{num_prompts} graded prompts; a fit needs at least {10 * NUM_FOLDS}.")
    for name in ("prompt", "answer", *(f"signal_{n}" for n in STATISTIC_NAMES)):
        if name not in table.columns:
            raise DataError(f"the table has no column {name!r}; make it with `adaptive-sd export`.")
    prompts = [str(p) for p in table.columns["prompt"][:, 0]]
    forms = [detect_form(p) for p in prompts]
    fold = np.random.default_rng(seed).permutation(num_prompts) % NUM_FOLDS
    features = _features(table)
    fits = [
        fit_predictor(features[:, k], table.quality[:, k], fold, seed=seed)
        for k in range(len(table.stages))
    ]
    fitted = _fit_table(table, prompts, forms, fits, fold)
    induction = fit_induction(fitted)
    lam, origin, at = _recommend(induction, table)
    report = _report(table, fits, induction, lam, origin, at, seed)
    artifact = Artifact(
        stages=table.stages,
        predictors=tuple(fit.predictor for fit in fits),
        policy=induction.policy,
        prior=_prior(table, features, fits, fold, seed),
        acceptance=_acceptance(table, forms),
        recommended_lam=lam,
        lam_origin=origin,
        prompt_hashes=tuple(sorted({prompt_hash(p) for p in prompts})),
        data_hash=_data_hash(table),
        metrics=asdict(report),
    )
    return artifact, report


def _features(table: OutcomeTable) -> NDArray[np.float32]:
    """Predictor inputs, shape (N, K, FEATURE_DIM)."""
    statistics = np.stack([table.columns[f"signal_{n}"] for n in STATISTIC_NAMES], axis=-1)
    hidden = table.columns.get("hidden")
    return np.array(
        [
            [
                join_features(
                    statistics[n, k].astype(np.float32),
                    None if hidden is None else hidden[n, k],
                )
                for k in range(statistics.shape[1])
            ]
            for n in range(statistics.shape[0])
        ]
    )


def _fit_table(
    table: OutcomeTable,
    prompts: list[str],
    forms: list[Form],
    fits: list[PredictorFit],
    fold: NDArray[np.int64],
) -> FitTable:
    names = tuple(s.name for s in table.stages)
    answers = np.array(
        [
            [canonical_answer(str(a), form) for a in row]
            for row, form in zip(table.columns["answer"], forms, strict=True)
        ],
        dtype=object,
    )
    agree = (answers[:, :, None] == answers[:, None, :]) & (answers != "")[:, :, None]
    return FitTable(
        names=names,
        quality=table.quality,
        estimate=np.stack([fit.estimates for fit in fits], axis=1),
        cost=table.cost,
        cost_after=_cost_after(table, names),
        agree=agree.astype(bool),
        prompt=np.array([prompt_features(f, len(p)) for f, p in zip(forms, prompts, strict=True)]),
        fold=fold,
    )


def _cost_after(table: OutcomeTable, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Cost (N, K, K) of stage k after stage j's draft; of a fresh answer where not recorded."""
    cost_after = np.repeat(table.cost[:, None, :], len(names), axis=1)
    for j, name in enumerate(names):
        column = table.columns.get(f"cost_after_{name}")
        if column is not None:
            recorded = column.astype(np.float64)
            cost_after[:, j] = np.where(np.isnan(recorded), cost_after[:, j], recorded)
    return cost_after


def _recommend(induction: InductionFit, table: OutcomeTable) -> tuple[float, str, int]:
    """The least lambda whose quality is 98 % of the best single stage's, else the best one."""
    quality = induction.quality.mean(axis=0)
    single = table.quality.mean(axis=0)
    best = table.stages[int(np.argmax(single))].name
    enough = np.flatnonzero(quality >= _RECOMMENDED_SHARE * single.max())
    at = int(enough[0]) if enough.size else int(np.argmax(quality))
    origin = (
        f"the least with out-of-fold quality of {_RECOMMENDED_SHARE:.0%} of {best}'s"
        if enough.size
        else f"the best out-of-fold quality; {_RECOMMENDED_SHARE:.0%} of {best}'s is not reached"
    )
    return float(induction.policy.grid[at]), origin, at


def _prior(
    table: OutcomeTable,
    features: NDArray[np.float32],
    fits: list[PredictorFit],
    fold: NDArray[np.int64],
    seed: int,
) -> Prior:
    """One predictor for drafts of any stage, and a larger stage's chance given its estimate."""
    num_stages = len(table.stages)
    pooled = fit_predictor(
        features.reshape(-1, features.shape[-1]),
        table.quality.reshape(-1),
        np.repeat(fold, num_stages),
        seed=seed,
        candidates={"logistic_statistics": CANDIDATES["logistic_statistics"]},
    )
    estimate = np.clip(pooled.estimates.reshape(-1, num_stages), 1e-4, 1 - 1e-4)
    odds = np.log(estimate / (1 - estimate))
    pairs = [(j, k) for k in range(num_stages) for j in range(k)]
    if not pairs:
        return Prior(pooled.predictor, 0.0, 1.0)
    x, y, weight = soft_rows(
        np.concatenate([odds[:, j] for j, _ in pairs])[:, None],
        np.concatenate([table.quality[:, k] for _, k in pairs]),
    )
    model = LogisticRegression().fit(x, y, sample_weight=weight)
    return Prior(pooled.predictor, float(model.intercept_[0]), float(model.coef_[0, 0]))


def _acceptance(table: OutcomeTable, forms: list[Form]) -> dict[tuple[int, int, Form], Acceptance]:
    found: dict[tuple[int, int, Form], Acceptance] = {}
    form_of = np.array(forms, dtype=object)
    for j, stage in enumerate(table.stages):
        agreed = table.columns.get(f"agreed_after_{stage.name}")
        drafted = table.columns.get(f"drafted_after_{stage.name}")
        if agreed is None or drafted is None:
            continue
        for k in range(j + 1, len(table.stages)):
            for form in sorted(set(forms)):
                rows = (form_of == form) & ~np.isnan(agreed[:, k].astype(float))
                if rows.any():
                    counts = (agreed[rows, k].astype(int), drafted[rows, k].astype(int))
                    found[j, k, form] = fit_acceptance(*counts)
    return found


def _report(
    table: OutcomeTable,
    fits: list[PredictorFit],
    induction: InductionFit,
    lam: float,
    origin: str,
    at: int,
    seed: int,
) -> FitReport:
    rng = np.random.default_rng(seed)
    stages = []
    for k, (stage, fit) in enumerate(zip(table.stages, fits, strict=True)):
        quality = table.quality[:, k]
        scores = score_estimates(fit.estimates, quality)
        intervals = bootstrap_scores(fit.estimates, quality, rng=rng)
        stages.append(
            StageReport(
                stage=stage.name,
                quality=float(quality.mean()),
                cost=float(table.cost[:, k].mean()),
                predictor=fit.chosen,
                brier_by_candidate=fit.brier,
                auc=scores.auc,
                auc_ci=tuple(intervals["auc"]),
                brier=scores.brier,
                ece=scores.ece,
                ece_ci=tuple(intervals["ece"]),
                share_answered=float((induction.stage[:, at] == k).mean()),
            )
        )
    return FitReport(
        num_prompts=len(table.prompt_ids),
        num_left_out=table.num_left_out,
        stages=tuple(stages),
        recommended_lambda=lam,
        lambda_origin=origin,
        quality=float(induction.quality[:, at].mean()),
        cost=float(induction.cost[:, at].mean()),
    )


def _data_hash(table: OutcomeTable) -> str:
    digest = hashlib.sha256("\n".join(table.prompt_ids).encode())
    digest.update(table.quality.tobytes() + table.cost.tobytes())
    return digest.hexdigest()

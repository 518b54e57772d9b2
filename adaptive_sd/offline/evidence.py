"""From an outcome table to what predictors and policies see: the same features as live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.features import (
    FEATURE_DIM,
    STATISTIC_NAMES,
    DraftView,
    HiddenProjection,
    PromptView,
    agree,
    extract_features,
    fit_projection,
    prompt_features,
)
from adaptive_sd.decision.induction import FitTable
from adaptive_sd.forms import Form, canonical_answer, detect_form

Projections = tuple[HiddenProjection | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TableEvidence:
    """N prompts, K stages. `agreement[n, k, j]`: stages j and k gave the same answer.

    `answers[n][k]` are canonical, "" where there is none.
    """

    prompts: tuple[PromptView, ...]
    features: NDArray[np.float32]  # (N, K, FEATURE_DIM)
    prompt_features: NDArray[np.float32]  # (N, num_prompt_features)
    agreement: NDArray[np.bool_]  # (N, K, K)
    answers: tuple[tuple[str, ...], ...]


def fit_projections(table: OutcomeTable) -> Projections:
    """For each stage the principal components of its hidden states; None where it has none."""
    hidden = table.columns.get("hidden")
    if hidden is None:
        return (None,) * len(table.stages)
    return tuple(
        fit_projection(np.stack([h for h in column if h is not None]))
        if sum(h is not None for h in column) > 1
        else None
        for column in hidden.T
    )


def read_evidence(table: OutcomeTable, projections: Projections) -> TableEvidence:
    """What is missing in the table is missing evidence, marked as such in the features.

    A column `signal_NAME` gives the statistic NAME where the table lacks what it is made from.
    In tables of others, which do not describe their stages, an answer may be the bare answer.
    """
    columns = table.columns
    bare = not any(stage.model for stage in table.stages)
    num_prompts, num_stages = table.quality.shape
    texts = columns.get("prompt")
    prompts = tuple(
        PromptView(Form.OPEN) if texts is None else _prompt_view(texts[n, 0])
        for n in range(num_prompts)
    )
    features = np.zeros((num_prompts, num_stages, FEATURE_DIM), dtype=np.float32)
    answers: list[list[str]] = []
    for n, prompt in enumerate(prompts):
        views = [_draft_view(columns, n, k, prompt.form, bare) for k in range(num_stages)]
        answers.append([view.answer for view in views])
        for k, view in enumerate(views):
            features[n, k] = extract_features(view, prompt, projections[k])
    for i, name in enumerate(STATISTIC_NAMES):
        signal = columns.get(f"signal_{name}")
        if signal is not None:
            features[:, :, i] = np.nan_to_num(signal.astype(np.float32))
    return TableEvidence(
        prompts=prompts,
        features=features,
        prompt_features=np.array([prompt_features(prompt) for prompt in prompts]),
        agreement=_agreement(answers),
        answers=tuple(map(tuple, answers)),
    )


def to_fit_table(
    table: OutcomeTable, evidence: TableEvidence, estimates: NDArray[np.float64]
) -> FitTable:
    """`estimates` (N, K): qualities by the stages' predictors."""
    return FitTable(
        quality=table.quality,
        cost=table.cost,
        estimates=estimates,
        features=evidence.features,
        prompt_features=evidence.prompt_features,
        agreement=evidence.agreement,
        cost_after=_cost_after(table),
    )


def _prompt_view(text: object) -> PromptView:
    prompt = str(text or "")
    return PromptView.of(prompt, detect_form(prompt))


def _draft_view(columns: Any, n: int, k: int, form: Form, bare: bool) -> DraftView:
    def value(name: str, missing: Any) -> Any:
        found = columns.get(name)
        given = None if found is None else found[n, k]
        return missing if given is None or (np.isscalar(given) and given != given) else given

    text = str(value("answer", ""))
    answer = canonical_answer(text, form)
    if bare and not answer:  # a letter to a question that looks like one for a number
        answer = text.strip().casefold()
    return DraftView(
        answer=answer,
        tokens_out=int(value("tokens_out", value("signal_tokens_out", 0))),
        tokens_in=int(value("tokens_in", 0)),
        token_logprobs=value("logprobs", ()),
        hidden=value("hidden", None),
    )


def _agreement(answers: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    return np.array([[[agree(a, b) for b in row] for a in row] for row in answers], dtype=np.bool_)


def _cost_after(table: OutcomeTable) -> NDArray[np.float64] | None:
    """Cost (N, K, K) of stage k when it verifies stage j's draft; nan where not recorded."""
    num_prompts, num_stages = table.cost.shape
    after = np.full((num_prompts, num_stages, num_stages), np.nan)
    for j, stage in enumerate(table.stages):
        column = table.columns.get(f"cost_after_{stage.name}")
        if column is not None:
            after[:, :, j] = column.astype(np.float64)
    return None if np.isnan(after).all() else after

"""Evidence of a draft as one vector: named statistics first, then the prompt's hidden state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.faults import FAULT_NAMES, NO_FAULTS, find_faults
from adaptive_sd.forms import Form, canonical_answer, normalise_words
from adaptive_sd.types import Draft

FloatArray = NDArray[np.float32]

_FORMS = tuple(Form)
QUANTILES = (0.05, 0.1, 0.25, 0.5)
_FORM_NAMES = tuple(f"form_{form.value}" for form in _FORMS)
LOGPROB_NAMES = (
    "no_logprobs",
    "logprob_mean",
    "logprob_min",
    *(f"logprob_q{round(100 * q):02d}" for q in QUANTILES),
    "logprob_first",
    "logprob_last",
    "logprob_share_below_1",
)
_ENTROPY_NAMES = ("no_entropies", "entropy_mean", "entropy_max", "entropy_first")
_MARGIN_NAMES = ("no_margins", "margin_mean", "margin_min", "margin_q10", "margin_first")
_SHAPE_NAMES = (
    "log_tokens_out",
    "log_tokens_in",
    "finished_by_length",
    "repeated_4grams",
    "no_answer",
    "log_answer_characters",
    "vote_share",
    "no_hidden",
)
_PROMPT_NAMES = ("prompt_log_characters", "prompt_log_lines", "prompt_digit_share")
STATISTIC_NAMES = (
    *_FORM_NAMES,
    *_PROMPT_NAMES,
    *LOGPROB_NAMES,
    *_ENTROPY_NAMES,
    *_MARGIN_NAMES,
    *_SHAPE_NAMES,
    *FAULT_NAMES,
)
FEATURE_DIM = 256
FEATURE_NAMES = (
    *STATISTIC_NAMES,
    *(f"hidden_{i}" for i in range(FEATURE_DIM - len(STATISTIC_NAMES))),
)
NUM_FORMS = len(_FORM_NAMES)
"""The first of the statistics tell the form."""

PROMPT_FEATURE_NAMES = (*_FORM_NAMES, *_PROMPT_NAMES)
MAX_COMPONENTS = 32


@dataclass(frozen=True, slots=True)
class PromptView:
    """What is known of a prompt before any draft; `words`, normalised, of one about a passage."""

    form: Form
    num_characters: int = 0
    num_lines: int = 0
    num_digits: int = 0
    words: str = ""

    @classmethod
    def of(cls, text: str, form: Form) -> Self:
        num_digits = sum(map(str.isdigit, text))
        words = normalise_words(text) if form is Form.READING else ""
        return cls(form, len(text), text.count("\n") + 1, num_digits, words)


@dataclass(frozen=True, slots=True, eq=False)
class DraftView:
    """What the features need of a draft, live or recorded; `answer` is canonical, "" if none.

    `faults` are those that `find_faults` finds.

    Sequences are empty and `hidden` (the last prompt token's, shape (width,)) is None where the
    engine or the table has no such evidence. `vote_share` of the votes that ended gave the answer;
    0 without votes.
    """

    answer: str = ""
    tokens_out: int = 0
    tokens_in: int = 0
    finished_by_length: bool = False
    token_ids: Sequence[int] = ()
    token_logprobs: Sequence[float] = ()
    token_entropies: Sequence[float] = ()
    token_margins: Sequence[float] = ()
    hidden: NDArray[np.float16] | None = None
    vote_share: float = 0.0
    faults: Sequence[float] = NO_FAULTS

    @classmethod
    def of(cls, draft: Draft, prompt: PromptView) -> Self:
        answer = canonical_answer(draft.text, prompt.form)
        return cls(
            answer=answer,
            tokens_out=draft.tokens_out,
            tokens_in=draft.tokens_in,
            finished_by_length=draft.finish_reason == "length",
            token_ids=draft.token_ids,
            token_logprobs=draft.token_logprobs,
            token_entropies=draft.token_entropies,
            token_margins=draft.token_margins,
            hidden=draft.hidden,
            vote_share=_vote_share(draft, answer, prompt.form),
            faults=find_faults(answer, draft.text, prompt.form, prompt.words),
        )


@dataclass(frozen=True, slots=True, eq=False)
class HiddenProjection:
    """A stage's principal components of hidden states, each scaled to unit variance."""

    mean: FloatArray  # (width,)
    components: FloatArray  # (width, num_components)

    def apply(self, hidden: NDArray[np.float16]) -> FloatArray:
        """Shape (width,) to (num_components,), or row by row."""
        centred: FloatArray = hidden.astype(np.float32) - self.mean
        projected: FloatArray = np.matmul(centred, self.components)
        return projected

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        return {"mean": self.mean, "components": self.components}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        return cls(
            arrays["mean"].astype(np.float32, copy=False),
            arrays["components"].astype(np.float32, copy=False),
        )


def fit_projection(
    hidden: NDArray[np.float16], num_components: int = MAX_COMPONENTS
) -> HiddenProjection:
    """Principal components of hidden states, shape (num_prompts, width); no labels are seen."""
    states = hidden.astype(np.float64)
    mean = states.mean(axis=0)
    covariance = np.atleast_2d(np.cov(states, rowvar=False, bias=True))
    variances, vectors = np.linalg.eigh(covariance)
    kept = min(num_components, len(states) - 1, states.shape[1])
    order = np.argsort(variances)[::-1][:kept]
    order = order[variances[order] > 1e-9 * max(variances.max(), 1e-12)]
    # eigenvectors come with any sign: fix it, so that a fit does not depend on the library
    signs = np.sign(vectors[np.abs(vectors[:, order]).argmax(axis=0), order])
    components = vectors[:, order] * signs / np.sqrt(variances[order])
    return HiddenProjection(mean.astype(np.float32), components.astype(np.float32))


def prompt_features(prompt: PromptView) -> FloatArray:
    """Evidence before the first draft, named by PROMPT_FEATURE_NAMES."""
    return np.array(_prompt_statistics(prompt), dtype=np.float32)


def extract_features(
    view: DraftView,
    prompt: PromptView,
    projection: HiddenProjection | None = None,
) -> FloatArray:
    """Evidence of one draft, shape (256,), named by FEATURE_NAMES.

    Means and quantiles of logprobs, never their sum, which grows with the length. What is
    missing is 0 with an indicator of its own. `projection` maps the hidden state.
    """
    features = np.zeros(FEATURE_DIM, dtype=np.float32)
    features[: len(STATISTIC_NAMES)] = (
        *_prompt_statistics(prompt),
        *_logprob_statistics(view.token_logprobs),
        *_entropy_statistics(view.token_entropies),
        *_margin_statistics(view.token_margins),
        float(np.log1p(view.tokens_out)),
        float(np.log1p(view.tokens_in)),
        float(view.finished_by_length),
        _repetition(view.token_ids),
        float(not view.answer),
        float(np.log1p(len(view.answer))),
        view.vote_share,
        float(view.hidden is None),
        *view.faults,
    )
    if view.hidden is not None and projection is not None:
        projected = projection.apply(view.hidden)
        start = len(STATISTIC_NAMES)
        features[start : start + len(projected)] = projected
    return features


def _prompt_statistics(prompt: PromptView) -> tuple[float, ...]:
    return (
        *(float(prompt.form is form) for form in _FORMS),
        float(np.log1p(prompt.num_characters)),
        float(np.log1p(prompt.num_lines)),
        prompt.num_digits / max(prompt.num_characters, 1),
    )


def _logprob_statistics(logprobs: Sequence[float]) -> tuple[float, ...]:
    if not len(logprobs):
        return (1.0, *(0.0,) * (len(LOGPROB_NAMES) - 1))
    values = np.asarray(logprobs, dtype=np.float64)
    ascending = np.sort(values)
    return (
        0.0,
        float(values.sum()) / len(values),
        float(ascending[0]),
        *(_quantile(ascending, q) for q in QUANTILES),
        float(values[0]),
        float(values[-1]),
        float(np.searchsorted(ascending, -1.0)) / len(values),
    )


def _entropy_statistics(entropies: Sequence[float]) -> tuple[float, ...]:
    if not len(entropies):
        return (1.0, *(0.0,) * (len(_ENTROPY_NAMES) - 1))
    values = np.asarray(entropies, dtype=np.float64)
    return (0.0, float(values.sum()) / len(values), float(values.max()), float(values[0]))


def _margin_statistics(margins: Sequence[float]) -> tuple[float, ...]:
    if not len(margins):
        return (1.0, *(0.0,) * (len(_MARGIN_NAMES) - 1))
    values = np.asarray(margins, dtype=np.float64)
    ascending = np.sort(values)
    mean = float(values.sum()) / len(values)
    return (0.0, mean, float(ascending[0]), _quantile(ascending, 0.1), float(values[0]))


def _quantile(ascending: NDArray[np.float64], q: float) -> float:
    """As numpy's linear quantile, which takes ten times as long for a short draft."""
    position = q * (len(ascending) - 1)
    low = int(position)
    high = min(low + 1, len(ascending) - 1)
    return float(ascending[low] + (position - low) * (ascending[high] - ascending[low]))


def _repetition(token_ids: Sequence[int]) -> float:
    """Share of 4-grams of tokens that came before."""
    num_grams = len(token_ids) - 3
    if num_grams < 1:
        return 0.0
    grams = set(zip(token_ids, token_ids[1:], token_ids[2:], token_ids[3:], strict=False))
    return 1 - len(grams) / num_grams


def _vote_share(draft: Draft, answer: str, form: Form) -> float:
    if draft.votes is None or not answer:
        return 0.0
    votes = [canonical_answer(v.text, form) for v in draft.votes.drafts if v.has_ended]
    return votes.count(answer) / len(votes)


def agree(answer: str, other: str) -> bool:
    """Whether two canonical answers are the same; no answer agrees with none."""
    return answer != "" and answer == other

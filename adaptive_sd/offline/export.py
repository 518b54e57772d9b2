"""From recordings to the outcome table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from adaptive_sd.decision.acceptance import fit_acceptance
from adaptive_sd.decision.features import (
    STATISTIC_NAMES,
    DraftView,
    PromptView,
    extract_features,
)
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form, canonical_answer, detect_form
from adaptive_sd.offline.costs import verified
from adaptive_sd.offline.recording import Outcome, Pair, RecordedStage, Recording
from adaptive_sd.types import Acceptance, Draft, Rates, StageRecord

PairKey = tuple[int, int, Form]

TOKEN_STATISTICS = frozenset(
    name
    for name in STATISTIC_NAMES
    if "entrop" in name or "margin" in name or name in ("finished_by_length", "repeated_4grams")
)
"""Features made from per-token evidence that the table leaves out."""


class Export(NamedTuple):
    """An outcome table, its stages, and the number of prompts that lack answers and are not in it.

    A prompt on which a stage failed is in it: that row has no quality.
    """

    table: pa.Table
    stages: tuple[StageRecord, ...]
    num_unfinished: int


def export_recordings(paths: Sequence[Path], test_paths: Sequence[Path] = ()) -> Export:
    """The outcome table of recordings of one ladder; with `test_paths` it says what is for tests.

    Costs are token counts times the rates of the first recording's machine; prompt tokens that
    were in the KV cache cost nothing; how much of a draft to verify is decided as drafts of
    `paths` were accepted. Raises DataError when the ladders differ, and for a prompt that is in
    two of the recordings.
    """
    acceptance = _acceptance(paths)
    rows: list[dict[str, object]] = []
    num_unfinished = 0
    ladder: list[RecordedStage] = []
    source: dict[str, Path] = {}
    for path in (*paths, *test_paths):
        with Recording(path, read_only=True) as recording:
            found = recording.stages()
            ladder = ladder or found
            alike = [a.same_as(b) for a, b in zip(ladder, found, strict=False)]
            if len(found) != len(ladder) or not all(alike):
                raise DataError(f"{path}: recorded with another ladder than {paths[0]}.")
            split = {"split": "test" if path in test_paths else "fit"} if test_paths else {}
            finished = _finished(recording, len(ladder))
            for prompt_id in finished:
                if other := source.get(prompt_id):
                    raise DataError(
                        f"{path}: prompt {prompt_id!r} is in {other} too; a table has it once."
                    )
                source[prompt_id] = path
            num_unfinished += len(recording.tasks()) - len(finished)
            rows += [row | split for row in _rows(recording, ladder, finished, acceptance)]
    stages = tuple(
        StageRecord(
            *(s.name, s.info.model, s.info.model_hash, s.styles, s.rates, s.info.num_parameters)
        )
        for s in ladder
    )
    if not rows:
        raise DataError(f"{paths[0]}: no prompt has answers of all stages yet.")
    hidden = pa.array([row.pop("hidden") for row in rows], type=pa.list_(pa.float16()))
    logprobs = pa.array([row.pop("logprobs") for row in rows], type=pa.list_(pa.float32()))
    names = dict.fromkeys(name for row in rows for name in row)  # a failed row has few of them
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    table = table.append_column("logprobs", logprobs).append_column("hidden", hidden)
    return Export(table, stages, num_unfinished)


def _acceptance(paths: Sequence[Path]) -> dict[PairKey, Acceptance]:
    """Acceptance for each (drafting stage, target, form) that was recorded."""
    groups: dict[PairKey, list[tuple[int, int]]] = {}
    for path in paths:
        with Recording(path, read_only=True) as recording:
            forms = {task.id: detect_form(task.prompt) for task in recording.tasks()}
            for pair in recording.pairs():
                key = (pair.drafted, pair.target, forms[pair.prompt_id])
                groups.setdefault(key, []).append((pair.num_agreed, pair.num_drafted))
    return {key: fit_acceptance(*np.array(values, np.int64).T) for key, values in groups.items()}


def _finished(recording: Recording, num_stages: int) -> dict[str, list[Outcome]]:
    """The outcomes of each prompt that every stage has answered, or failed on."""
    outcomes: dict[str, list[Outcome]] = {}
    for outcome in recording.outcomes():
        outcomes.setdefault(outcome.prompt_id, []).append(outcome)
    return {i: stages for i, stages in outcomes.items() if len(stages) == num_stages}


def _rows(
    recording: Recording,
    ladder: Sequence[RecordedStage],
    finished: Mapping[str, Sequence[Outcome]],
    acceptance: Mapping[PairKey, Acceptance],
) -> list[dict[str, object]]:
    names = [stage.name for stage in ladder]
    tasks = {task.id: task for task in recording.tasks()}
    views = {i: PromptView.of(t.prompt, detect_form(t.prompt)) for i, t in tasks.items()}
    pairs = {(p.prompt_id, p.drafted, p.target): p for p in recording.pairs()}
    rows = []
    for prompt_id, stages in finished.items():
        task, view = tasks[prompt_id], views[prompt_id]
        for outcome in stages:
            draft, k = outcome.draft, outcome.stage_index
            row: dict[str, object] = {"prompt_id": prompt_id, "stage": names[k], "stage_index": k}
            row |= {"quality": outcome.quality, "dataset": task.dataset, "prompt": task.prompt}
            row |= {"category": task.category} | _row(draft, view, ladder[k].rates)
            for j, earlier in enumerate(names):
                pair = pairs.get((prompt_id, j, k))
                row |= _after(
                    earlier, draft, pair, ladder[k].rates, acceptance, view.form, outcome.style
                )
            rows.append(row)
    return rows


def _row(draft: Draft | None, prompt: PromptView, rates: Rates) -> dict[str, object]:
    """What a draft gives; where the stage failed, readers leave the prompt and its cost out."""
    if draft is None:
        return {"cost": 0.0, "hidden": None, "logprobs": None}
    view = DraftView.of(draft, canonical_answer(draft.text, prompt.form))
    statistics = zip(STATISTIC_NAMES, extract_features(view, prompt), strict=False)
    return {
        "cost": rates.draft_s(draft.tokens_in - draft.num_cached, draft.num_chosen),
        "latency_s": draft.latency_s,
        "prefill_s": draft.prefill_s,
        "decode_s": draft.decode_s,
        "answer": draft.text,
        "tokens_in": draft.tokens_in,
        "num_cached": draft.num_cached,
        "tokens_out": draft.tokens_out,
        **{f"signal_{name}": float(v) for name, v in statistics if name in TOKEN_STATISTICS},
        "logprobs": draft.token_logprobs,
        "hidden": draft.hidden,
    }


def _after(
    earlier: str,
    draft: Draft | None,
    pair: Pair | None,
    rates: Rates,
    acceptance: Mapping[PairKey, Acceptance],
    form: Form,
    style: str,
) -> dict[str, object]:
    """Cost and accepted tokens of this draft had it verified `earlier`'s first; empty if none."""
    if draft is None or pair is None:
        return {
            f"{name}_after_{earlier}": None for name in ("cost", "accepted", "drafted", "agreed")
        }
    counts = (pair.num_drafted, pair.num_agreed, draft.num_chosen)
    known = acceptance.get((pair.drafted, pair.target, form), Acceptance())
    found = verified(*counts, form, style, rates, known)
    cost = rates.draft_s(draft.tokens_in - draft.num_cached, draft.num_chosen, **found._asdict())
    return {
        f"cost_after_{earlier}": cost,
        f"accepted_after_{earlier}": found.num_accepted,
        f"drafted_after_{earlier}": pair.num_drafted,
        f"agreed_after_{earlier}": pair.num_agreed,
    }

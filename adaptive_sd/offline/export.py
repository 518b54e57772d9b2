"""From recordings to the outcome table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from adaptive_sd.decision.features import (
    STATISTIC_NAMES,
    DraftView,
    PromptView,
    extract_features,
)
from adaptive_sd.decision.partial import (
    PARTIAL_STATISTICS,
    checkpoints_before,
    partial_statistics,
)
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.errors import DataError
from adaptive_sd.forms import canonical_answer, detect_form
from adaptive_sd.offline.recording import Outcome, RecordedStage, Recording
from adaptive_sd.offline.verification import (
    Compared,
    PairKey,
    after,
    compare,
    learn_acceptance,
)
from adaptive_sd.types import Acceptance, Draft, Rates, StageRecord

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
    table = pa.table(
        {name: pa.array([row.get(name) for row in rows], _type_of(name)) for name in names}
    )
    table = table.append_column("logprobs", logprobs).append_column("hidden", hidden)
    return Export(table, stages, num_unfinished)


def _acceptance(paths: Sequence[Path]) -> dict[PairKey, Acceptance]:
    """As the recordings to fit on show it."""

    def compared() -> Iterator[tuple[PairKey, Compared]]:
        for path in paths:
            with Recording(path, read_only=True) as recording:
                forms = {task.id: detect_form(task.prompt) for task in recording.tasks()}
                answers = {(o.prompt_id, o.stage_index): o.draft for o in recording.outcomes()}
                for prompt_id, drafted, target, draft in recording.pairs():
                    if (own := answers.get((prompt_id, target))) is not None:
                        yield (drafted, target, forms[prompt_id]), _compare(draft, own)

    return learn_acceptance(compared())


def _compare(draft: DraftTokens, own: Draft) -> Compared:
    return compare(draft, own.token_ids, own.finish_reason == "length")


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
                if pair is None or draft is None:
                    continue
                row[f"draft_ids_after_{earlier}"] = pair.draft.token_ids
                row[f"draft_sureties_after_{earlier}"] = pair.draft.sureties
                row |= after(
                    *(earlier, _compare(pair.draft, draft), view.form, outcome.style),
                    *(draft.tokens_in - draft.num_cached, ladder[k].rates),
                    acceptance.get((j, k, view.form)),
                    *_length(stages[j].draft),
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
        "token_ids": draft.token_ids,
        **{f"signal_{name}": float(v) for name, v in statistics if name in TOKEN_STATISTICS},
        "logprobs": draft.token_logprobs,
        "hidden": draft.hidden,
        **_parts(draft, rates),
    }


def _length(draft: Draft | None) -> tuple[int, list[int]]:
    """Its tokens, and the checkpoints that it came to."""
    assert draft is not None  # what failed was not paired
    return draft.tokens_out, checkpoints_before(draft.num_chosen)


def _parts(draft: Draft, rates: Rates) -> dict[str, float]:
    """What the draft had cost and told at each checkpoint."""
    logprobs = np.array([draft.token_logprobs])
    found: dict[str, float] = {}
    for n in checkpoints_before(draft.num_chosen):
        statistics = partial_statistics(logprobs[:, :n])[0].tolist()
        found[f"cost@{n}"] = rates.draft_s(draft.tokens_in - draft.num_cached, n)
        found |= {
            f"signal_{name}@{n}": value
            for name, value in zip(PARTIAL_STATISTICS, statistics, strict=True)
        }
    return found


def _type_of(column: str) -> pa.DataType | None:
    """None where the values tell it."""
    if column.startswith("signal_") and "@" in column:
        return pa.float32()
    if column.startswith("draft_sureties"):
        return pa.list_(pa.float16())
    return pa.list_(pa.int32()) if column.startswith(("draft_ids", "token_ids")) else None

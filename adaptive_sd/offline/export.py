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
from adaptive_sd.forms import detect_form
from adaptive_sd.judge import cost_of
from adaptive_sd.offline.prefixes import PrefixKey, find_prefixes, with_prefix
from adaptive_sd.offline.recording import Outcome, RecordedStage, Recording
from adaptive_sd.offline.verification import (
    Compared,
    PairKey,
    after,
    compare,
    further_votes,
    learn_acceptance,
    uncached_after,
)
from adaptive_sd.prompt import prompt_hash
from adaptive_sd.stage_record import StageRecord
from adaptive_sd.types import Acceptance, Draft, Rates

TOKEN_STATISTICS = frozenset(
    name
    for name in STATISTIC_NAMES
    if "entrop" in name
    or "margin" in name
    or name in ("finished_by_length", "repeated_4grams", "vote_share")
)
"""Features made from evidence that the table leaves out: of each token, or of each vote."""


class Export(NamedTuple):
    """An outcome table, its stages, and the number of prompts that lack answers and are not in it.

    A prompt on which a stage failed is in it: that row has no quality.
    """

    table: pa.Table
    stages: tuple[StageRecord, ...]
    num_unfinished: int


def export_recordings(paths: Sequence[Path], test_paths: Sequence[Path] = ()) -> Export:
    """The outcome table of recordings of one ladder; with `test_paths` it says what is for tests.

    Costs are token counts times the rates of the first recording's machine, of a warm stage: the
    beginning that all prompts of a style share is in its KV cache and costs nothing. So neither
    interruptions nor the order of the prompts change them. How much of a draft to verify is
    decided as drafts of `paths` were accepted. Raises DataError when the ladders differ, for a
    prompt that is in two of the recordings, and for a text that is to fit on and to test on.
    """
    acceptance, prefixes = _acceptance(paths), find_prefixes([*paths, *test_paths])
    rows: list[dict[str, object]] = []
    num_unfinished = 0
    ladder: list[RecordedStage] = []
    source: dict[str, Path] = {}
    fitted: dict[str, str] = {}
    for path in (*paths, *test_paths):
        with Recording(path, read_only=True) as recording:
            found = recording.stages()
            ladder = ladder or found
            alike = [a.same_as(b) for a, b in zip(ladder, found, strict=False)]
            if len(found) != len(ladder) or not all(alike):
                raise DataError(
                    f"{path}: recorded with another ladder than {paths[0]}; export them apart."
                )
            split = {"split": "test" if path in test_paths else "fit"} if test_paths else {}
            finished = _finished(recording, len(ladder))
            for prompt_id in finished:
                if other := source.get(prompt_id):
                    raise DataError(
                        f"{path}: prompt {prompt_id!r} is in {other} too; a table has it once."
                    )
                source[prompt_id] = path
            tasks = {task.id: task for task in recording.tasks()}
            asked = {prompt_hash(tasks[prompt_id].prompt): prompt_id for prompt_id in finished}
            if path in test_paths:
                _check_unseen(path, asked, fitted)
            else:
                fitted |= asked
            num_unfinished += len(tasks) - len(finished)
            rows += [
                row | split for row in _rows(recording, ladder, finished, prefixes, acceptance)
            ]
    stages = tuple(stage.to_record() for stage in ladder)
    if not rows:
        raise DataError(
            f"{paths[0]}: no prompt has answers of all stages yet; run `adaptive-sd record` again "
            "to go on."
        )
    hidden = pa.array([row.pop("hidden") for row in rows], type=pa.list_(pa.float16()))
    logprobs = pa.array([row.pop("logprobs") for row in rows], type=pa.list_(pa.float32()))
    names = dict.fromkeys(name for row in rows for name in row)  # a failed row has few of them
    table = pa.table(
        {name: pa.array([row.get(name) for row in rows], _type_of(name)) for name in names}
    )
    table = table.append_column("logprobs", logprobs).append_column("hidden", hidden)
    return Export(table, stages, num_unfinished)


def _check_unseen(path: Path, asked: Mapping[str, str], fitted: Mapping[str, str]) -> None:
    """Raise DataError for a text to test on that is fitted on; prompt ids by hash of the text."""
    for digest, prompt_id in asked.items():
        if digest in fitted:
            raise DataError(
                f"{path}: prompt {prompt_id!r} has the text of {fitted[digest]!r}, which is to fit "
                "on; record one of the two sets with --skip for the other."
            )


def _acceptance(paths: Sequence[Path]) -> dict[PairKey, Acceptance]:
    """As the recordings to fit on show it."""

    def compared() -> Iterator[tuple[PairKey, Compared]]:
        for path in paths:
            with Recording(path, read_only=True) as recording:
                forms = {task.id: detect_form(task.prompt) for task in recording.tasks()}
                answers = {(o.prompt_id, o.stage_index): o.draft for o in recording.outcomes()}
                for prompt_id, drafted, target, draft in recording.pairs():
                    own, earlier = (answers.get((prompt_id, k)) for k in (target, drafted))
                    if own is not None and earlier is not None:
                        yield (drafted, target, forms[prompt_id]), _compare(draft, earlier, own)

    return learn_acceptance(compared())


def _compare(draft: DraftTokens, earlier: Draft, own: Draft) -> Compared:
    """`draft` is the `earlier` stage's in the tokens of the stage whose answer is `own`."""
    cut = (d.finish_reason == "length" for d in (earlier, own))
    return compare(draft, own.token_ids, *cut)


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
    prefixes: Mapping[PrefixKey, int],
    acceptance: Mapping[PairKey, Acceptance],
) -> list[dict[str, object]]:
    names, records = [stage.name for stage in ladder], [stage.to_record() for stage in ladder]
    tasks = {task.id: task for task in recording.tasks()}
    views = {i: PromptView.of(t.prompt, detect_form(t.prompt)) for i, t in tasks.items()}
    pairs = {(p.prompt_id, p.drafted, p.target): p for p in recording.pairs()}
    rows = []
    for prompt_id, stages in finished.items():
        task, view = tasks[prompt_id], views[prompt_id]
        for cold in stages:
            k = cold.stage_index
            outcome = with_prefix(cold, ladder[k].info, view.form, prefixes)
            draft = outcome.draft
            row: dict[str, object] = {"prompt_id": prompt_id, "stage": names[k], "stage_index": k}
            row |= {"quality": outcome.quality, "dataset": task.dataset, "prompt": task.prompt}
            row |= {"category": task.category} | _row(draft, view, ladder[k].rates)
            for j, held in enumerate(stages[:k]):
                if draft is None or held.draft is None:
                    continue
                earlier, rates = names[j], ladder[k].rates
                uncached = draft.tokens_in - draft.num_cached
                uncached = uncached_after(records[j], records[k], view.form, uncached)
                if draft.votes is not None:
                    if records[j].shares_prompts(records[k], view.form):
                        further = further_votes(held.draft, draft, view.form)
                        row[f"vote_tokens_after_{earlier}"] = further
                        row[f"cost_after_{earlier}"] = rates.votes_s(uncached, further)
                elif pair := pairs.get((prompt_id, j, k)):
                    row[f"draft_ids_after_{earlier}"] = pair.draft.token_ids
                    row[f"draft_sureties_after_{earlier}"] = pair.draft.sureties
                    seen = _compare(pair.draft, held.draft, draft)
                    row |= after(
                        *(earlier, seen, view.form, outcome.style),
                        *(uncached, rates, acceptance.get((j, k, view.form))),
                        *(held.draft.num_chosen, _checkpoints(held.draft)),
                    )
            rows.append(row)
    return rows


def _row(draft: Draft | None, prompt: PromptView, rates: Rates) -> dict[str, object]:
    """What a draft gives; where the stage failed, readers leave the prompt and its cost out."""
    if draft is None:
        return {"cost": 0.0, "hidden": None, "logprobs": None}
    view = DraftView.of(draft, prompt)
    statistics = zip(STATISTIC_NAMES, extract_features(view, prompt), strict=False)
    return {
        "cost": cost_of(draft, rates),
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
        **({"vote_tokens": [vote.num_chosen for vote in draft.made]} if draft.votes else {}),
        **_parts(draft, rates),
    }


def _checkpoints(draft: Draft) -> list[int]:
    """Those that it came to; votes are not judged while they grow, nor what tells no chances."""
    is_judged = draft.votes is None and len(draft.token_logprobs) > 0
    return checkpoints_before(draft.num_chosen) if is_judged else []


def _parts(draft: Draft, rates: Rates) -> dict[str, float]:
    """What the draft had cost and told at each checkpoint."""
    logprobs = np.array([draft.token_logprobs])
    found: dict[str, float] = {}
    for n in _checkpoints(draft):
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
    of_ints = column.startswith(("draft_ids", "token_ids", "vote_tokens"))
    return pa.list_(pa.int32()) if of_ints else None

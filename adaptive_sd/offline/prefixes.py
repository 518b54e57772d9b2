"""What of its prompts a warm stage finds in its cache, as recordings show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.offline.recording import Outcome, Recording

PrefixKey = tuple[EngineInfo, Form, str]
"""What runs the model, the form of the prompts and the style in which they are asked."""


def find_prefixes(paths: Sequence[Path]) -> dict[PrefixKey, int]:
    """How many prompt tokens a stage has cached that has read its worked examples and no more.

    That is the most common of the recorded counts, and of several the least: the first prompts
    after a start find fewer, those that begin like an earlier one more. Answers whose whole prompt
    was read with another's tell nothing.
    """
    counts: dict[PrefixKey, Counter[int]] = {}
    for path in paths:
        with Recording(path, read_only=True) as recording:
            infos = [stage.info for stage in recording.stages()]
            forms = {task.id: detect_form(task.prompt) for task in recording.tasks()}
            for prompt_id, stage_index, style, num_cached in recording.cached():
                key = (infos[stage_index], forms[prompt_id], style)
                counts.setdefault(key, Counter())[num_cached] += 1
    return {key: min(found, key=lambda n: (-found[n], n)) for key, found in counts.items()}


def with_prefix(
    outcome: Outcome, info: EngineInfo, form: Form, prefixes: Mapping[PrefixKey, int]
) -> Outcome:
    """As if the stage had been warm, whatever it had read before; the last token is always read."""
    if outcome.draft is None:
        return outcome
    cached = min(prefixes.get((info, form, outcome.style), 0), outcome.draft.tokens_in - 1)
    return outcome._replace(draft=replace(outcome.draft, num_cached=cached))

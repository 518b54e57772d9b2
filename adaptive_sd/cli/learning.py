"""`adaptive-sd feedback` and `recalibrate`: what online ladders learn from, and what they did."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.artifact import (
    Artifact,
    fingerprint,
    keep_copy,
    load_artifact,
    recalibrated,
    save_artifact,
)
from adaptive_sd.build import chosen_artifact, ladder_artifact, local_artifact, traces_path
from adaptive_sd.config import chosen_config
from adaptive_sd.decision.recalibration import Shown, shown_by
from adaptive_sd.errors import DataError
from adaptive_sd.event_log import EventLog
from adaptive_sd.learned import Learned, labels_of, last_words
from adaptive_sd.online import refuse_agreement

ConfigOption = Annotated[Path | None, typer.Option(help="Configuration file (TOML).")]


class Word(enum.StrEnum):
    """What a reader says of an answer."""

    GOOD = "good"
    BAD = "bad"


def feedback(
    trace_id: Annotated[str, typer.Argument(help="As `answer --json` prints it.")],
    word: Annotated[Word, typer.Argument(help="Whether the answer was right.")],
    config: ConfigOption = None,
) -> None:
    """Say whether an answer was good; ladders with `online = true` learn from it."""
    artifact = chosen_artifact(chosen_config(config))
    refuse_agreement(artifact.agreement_with)
    log = EventLog(traces_path())
    not_learned = log.tell(trace_id, fingerprint(artifact), good=word is Word.GOOD)
    print(not_learned or f"{trace_id}: {word.value}, will be learned from", file=sys.stderr)


def recalibrate(
    config: ConfigOption = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Folder; else the one of the configuration.")
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Replace the artifact by a recalibrated one.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what feedback says of the estimates of each stage, and of drift.

    Saved, it is a new artifact: what was learned of the old one is in it, and the watch for drift
    begins again, with its first answers as the reference. The default artifact is saved into the
    home folder, from where it is used. What it replaces is kept beside it, as NAME.before. It keeps
    hashes of the prompts that it learned from, so that `replay` does not measure it on them.
    """
    ladder = chosen_config(config)
    folder = artifact or (None if ladder.artifact == "default" else Path(ladder.artifact))
    old = ladder_artifact(ladder) if artifact is None else load_artifact(artifact)
    refuse_agreement(old.agreement_with)
    lam = old.recommended_lam if ladder.lam is None else ladder.lam
    learned = Learned(len(old.stages), old.reference, lam)
    events = EventLog(traces_path()).since(0, fingerprint(old), len(old.stages))
    learned.add(events)
    telling = [(event, list(labels_of(event))) for event in last_words(events)]
    labels = [label for _, told in telling for label in told]
    shown = shown_by(labels, learned.shifts)
    saved = kept = None
    if save:
        if not labels and not learned.has_drifted:
            raise DataError(
                "nothing to save: no feedback on this artifact's answers, no drift; say of answers "
                "whether they are good with `adaptive-sd feedback TRACE_ID good|bad`."
            )
        saved = folder or local_artifact()
        kept = keep_copy(saved)
        hashes = {event.prompt for event, told in telling if told} - {""}
        save_artifact(recalibrated(old, learned.shifts, hashes), saved)
    if as_json:
        drift = {"drifted": learned.has_drifted, "num_answers": learned.num_answers}
        stages = _by_name(old, shown)
        places = {"saved": saved and str(saved), "before": kept and str(kept)}
        document = drift | {"stages": stages} | places
        print(json.dumps(document, indent=2))
        return
    for stage, told in zip(old.stages, shown, strict=True):
        print(f"{stage.name}: {told.as_text()}")
    print(learned.warning() if learned.has_drifted else "no drift is shown")
    if saved is not None:
        print(f"{saved}: recalibrated; used from the next start on", file=sys.stderr)
    if kept is not None:
        print(f"{kept}: as it was before", file=sys.stderr)


def _by_name(artifact: Artifact, shown: tuple[Shown, ...]) -> list[dict[str, object]]:
    return [
        {"stage": stage.name} | told._asdict() | {"shift": told.shift._asdict()}
        for stage, told in zip(artifact.stages, shown, strict=True)
    ]

"""What experiments share: exit codes, the shipped prior, and which prompts they run on."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from adaptive_sd.artifact import Prior, load_artifact
from adaptive_sd.data.tasks import Task
from adaptive_sd.errors import AdaptiveSDError, DataError
from adaptive_sd.prompt import prompt_hash


class FittedPrior(NamedTuple):
    """A prior, and the hashes of the prompts that it was fitted on."""

    prior: Prior
    prompt_hashes: frozenset[str]


class Choice(NamedTuple):
    """Prompts to run, of `num_available`; `num_fitted` others were seen by the fit."""

    tasks: tuple[Task, ...]
    num_asked: int
    num_available: int
    num_fitted: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know of the choice; empty when all is as asked."""
        notes = []
        if self.num_fitted:
            notes.append(
                f"{self.num_fitted} prompts were left out: the artifact was fitted on them."
            )
        if self.num_available < self.num_asked:
            notes.append(
                f"{self.num_asked} samples were asked for and the data set has "
                f"{self.num_available}: all of them were used."
            )
        return tuple(notes)


def read_prior(folder: Path) -> FittedPrior:
    """The prior of an artifact; raises ArtifactError."""
    artifact = load_artifact(folder)
    return FittedPrior(artifact.prior, frozenset(artifact.prompt_hashes))


def choose_tasks(
    tasks: Sequence[Task], num_asked: int, fitted: Collection[str], *, rng: random.Random
) -> Choice:
    """A random choice in the set's own order, without prompts whose hash is in `fitted`.

    Raises DataError when none is left.
    """
    unseen = [task for task in tasks if prompt_hash(task.prompt) not in fitted]
    num_fitted = len(tasks) - len(unseen)
    if not unseen:
        reason = "the artifact was fitted on all of them" if num_fitted else "it is empty"
        raise DataError(f"the data set has no prompt to run on: {reason}; give another --dataset.")
    picked = sorted(rng.sample(range(len(unseen)), min(num_asked, len(unseen))))
    return Choice(tuple(unseen[i] for i in picked), num_asked, len(unseen), num_fitted)


def exit_code_of(work: Callable[[], object]) -> int:
    """Run `work`: 0 ok, 1 failed or bad data, 130 interrupted; an error is one line on stderr."""
    try:
        work()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (AdaptiveSDError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0

"""Which format of a model file pays on this machine: measured speed, and quality given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.grading import grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.judge import cost_of
from adaptive_sd.offline.bootstrap import paired_difference, ratio_of_means
from adaptive_sd.stage import Stage
from adaptive_sd.types import Draft, Rates, Sampling

TOLERANCE = 0.03
"""Quality that a format may give up in the mean over the tasks, as far as these tell."""

LEAST_GAIN = 0.05
"""Share of the cost that a format must save to be worth a file of its own."""

_ROUNDS = 3

OnProgress = Callable[[int, int], None]


class OfForm(NamedTuple):
    """Tasks of one form, and the quality difference on them."""

    num_tasks: int
    difference: Interval


@dataclass(frozen=True, slots=True)
class Measured:
    """One file of a model. Cost in seconds a task: token counts times rates.

    `difference` and `ratio` compare quality and cost with the file as it was fetched, on the same
    tasks, with 95 % intervals; `forms` the quality on the tasks of each form.
    """

    quant: str
    path: Path
    sha256: str
    bytes: int
    rates: Rates
    quality: float
    cost: float
    difference: Interval
    ratio: Interval
    forms: Mapping[Form, OfForm]

    def flaw(self, tolerance: float) -> str | None:
        """Why it is not to be used instead of the file as fetched; None where it may be."""
        if self.difference.value < -tolerance:
            return f"gives up more than {tolerance:g} of quality"
        if self.difference.high < 0:
            return "loses quality beyond chance"
        if self.ratio.value > 1 - LEAST_GAIN:
            return f"saves less than {LEAST_GAIN:.0%}"
        return None


@dataclass(frozen=True, slots=True)
class Tuning:
    """All files measured, the fetched one first; `kept` is the one that pays, None for that one."""

    num_tasks: int
    tolerance: float
    measured: tuple[Measured, ...]
    kept: Measured | None

    def error(self, file: Measured) -> float:
        """How closely its quality difference is known: half its interval, or what none can tell.

        Where n tasks have all gone alike, as many as 3 in n may still go otherwise (the rule of
        three), and an interval made of them does not know.
        """
        low, high = file.difference[1:]
        return max((high - low) / 2, 3 / self.num_tasks)

    def most_lost(self, file: Measured) -> float:
        """The most quality that it may lose, by the low end of that."""
        return max(0.0, -file.difference.low, self.error(file) - file.difference.value)


def tune(
    files: Sequence[tuple[str, Path]],
    tasks: Sequence[Task],
    *,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Tuning:
    """Measure `files`, (quantisation, path) each, the fetched file first.

    The cheapest is kept among those without a flaw: whose mean quality is at most `tolerance` below
    the fetched file's and not shown to be below it, and that save at least LEAST_GAIN of its cost.
    Raises DataError without graded tasks.
    """
    with ExitStack() as stack:
        stages = [stack.enter_context(Stage(str(path))) for _, path in files]
        rates = _measure_rates(stages)
        drafts = _answer(stages, tasks, on_progress)
    grades = [[grade(t, d.text).quality for t, d in zip(tasks, row, strict=True)] for row in drafts]
    rows = [n for n in range(len(tasks)) if all(row[n] is not None for row in grades)]
    if not rows:
        raise DataError("no task could be graded; give tasks with a grader.")
    quality = np.array([[row[n] for n in rows] for row in grades], dtype=np.float64)
    cost = np.array(
        [[cost_of(row[n], r) for n in rows] for r, row in zip(rates, drafts, strict=True)]
    )
    forms = np.array([detect_form(tasks[n].prompt) for n in rows], dtype=object)
    measured = tuple(
        Measured(
            quant=quant,
            path=path,
            sha256=stage.model_hash,
            bytes=path.stat().st_size,
            rates=rates[k],
            quality=float(quality[k].mean()),
            cost=float(cost[k].mean()),
            **_against(quality[[k, 0]], cost[[k, 0]], seed),
            forms=_by_form(quality[[k, 0]], forms, seed),
        )
        for k, ((quant, path), stage) in enumerate(zip(files, stages, strict=True))
    )
    return Tuning(len(rows), tolerance, measured, choose(measured, tolerance))


def choose(measured: Sequence[Measured], tolerance: float) -> Measured | None:
    """The cheapest file without a flaw; None when that is the first."""
    good = [m for m in measured[1:] if m.flaw(tolerance) is None]
    return min(good, key=lambda m: m.cost, default=None)


def _measure_rates(stages: Sequence[Stage]) -> list[Rates]:
    """The best of some rounds in which all have their turn: a busy minute hits all alike."""
    rounds = [[stage.engine.measure_rates() for stage in stages] for _ in range(_ROUNDS)]
    return [_best(seen) for seen in zip(*rounds, strict=True)]


def _best(seen: Sequence[Rates]) -> Rates:
    sizes = [[s for _, s in rates.verify_s] for rates in seen]
    rows = [n for n, _ in seen[0].verify_s]
    return replace(
        seen[0],
        prefill_s=min(rates.prefill_s for rates in seen),
        decode_s=min(rates.decode_s for rates in seen),
        verify_s=tuple(zip(rows, map(min, zip(*sizes, strict=True)), strict=True)),
    )


def _answer(
    stages: Sequence[Stage], tasks: Sequence[Task], on_progress: OnProgress
) -> list[list[Draft]]:
    """Greedy answers in the default styles, by stage and task."""
    drafts: list[list[Draft]] = [[] for _ in stages]
    for n, task in enumerate(tasks):
        form = detect_form(task.prompt)
        for k, stage in enumerate(stages):
            on_progress(n * len(stages) + k, len(tasks) * len(stages))
            sampling = Sampling(max_tokens=stage.token_limit(task.prompt, form))
            drafts[k].append(stage.run(task.prompt, sampling, form=form))
    return drafts


def _against(
    quality: NDArray[np.float64], cost: NDArray[np.float64], seed: int
) -> dict[str, Interval]:
    rng = np.random.default_rng(seed)
    return {
        "difference": paired_difference(*quality, rng=rng),
        "ratio": ratio_of_means(*cost, rng=rng),
    }


def _by_form(
    quality: NDArray[np.float64], forms: NDArray[np.object_], seed: int
) -> dict[Form, OfForm]:
    """`quality` (2, num_tasks): the file's and the fetched one's."""
    found = {}
    for form in sorted(set(forms.tolist())):
        ours, theirs = quality[:, forms == form]
        difference = paired_difference(ours, theirs, rng=np.random.default_rng(seed))
        found[form] = OfForm(len(ours), difference)
    return found

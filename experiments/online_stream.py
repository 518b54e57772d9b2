"""Does an online ladder notice that its prompts change, and does feedback mend its estimates?

python experiments/online_stream.py --table recordings/default-ladder.parquet

A ladder fitted on half of the prompts of some data sets, and a few of the others, answers a stream
of the other half and then of the others, drawn anew for each seed; some answers get feedback. False
alarms are counted with references as artifacts have them: of fits on random halves, on the unseen
other halves; and of the shipped artifact, on longer streams as likely as it leaves them.
Writes online_stream.json, online_stream.png and an entry in log/ below --out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.build import shipped_artifact
from adaptive_sd.data.outcomes import TOKENS, OutcomeTable, read_outcomes
from adaptive_sd.errors import DataError
from adaptive_sd.offline.experiment import exit_code_of
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.prompts import one_of_each
from adaptive_sd.offline.research_log import check_folder
from adaptive_sd.offline.studies.entry import publish_study
from adaptive_sd.offline.studies.plots import plot_stream
from adaptive_sd.offline.studies.stream import (
    Passed,
    false_alarms,
    false_alarms_ahead,
    run_stream,
    subject_of,
)

NUM_EARLY, NUM_LATE = 1000, 2000
NUM_LATE_FITTED = 60
"""Prompts of the late sets that the fit sees, so that it knows their forms."""
NUM_HALVES, NUM_ORDERS = 10, 30
NUM_STREAMS, NUM_ANSWERS = 300, 2000
"""Of the counts of false alarms."""
WINDOW = 250
WAYS: Mapping[str, dict[str, Any]] = {
    "not online": {"told": 0.0},
    "agreement only": {"told": 0.0, "online": True},
    "feedback": {"online": True},
    "feedback, largest after drift": {"online": True, "on_drift": "top"},
}


class Split(NamedTuple):
    """Rows of the table."""

    fit: NDArray[np.int64]
    early: NDArray[np.int64]
    late: NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    options = _parse(arguments)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    check_folder(options.out)
    table = read_outcomes(options.table, without=TOKENS)
    table.columns.pop("split", None)
    rng = np.random.default_rng(options.seed)
    parts = _split(table, options.late.split(","), rng)
    artifact, _ = fit_artifact(table.take(parts.fit), seed=options.seed)
    passed = {}
    for way, how in WAYS.items():
        passed[way] = _pass(artifact, table, parts, options, **how)
        print(f"{way}: {_line(_means(passed[way]))}", file=sys.stderr)  # the rest takes long
    num_false = _false_on_halves(table, options.seed)
    ahead = {"num_streams": NUM_STREAMS, "num_answers": NUM_ANSWERS}
    shipped = shipped_artifact().reference
    assert shipped is not None  # the shipped artifact is a plain fit
    num_ahead = false_alarms_ahead(shipped, rng=rng, **ahead)
    delays = [p.drifted_at - NUM_EARLY for p in passed["feedback"] if p.drifted_at is not None]
    document = {
        "table": options.table.name,
        "late": options.late,
        "told": options.told,
        "num_fitted": len(parts.fit),
        "ways": {way: _means(streams) for way, streams in passed.items()},
        "delays": delays,
        "num_streams": options.num_seeds,
        "false_alarms": [num_false, NUM_HALVES * NUM_ORDERS],
        "false_alarms_ahead": [num_ahead, NUM_STREAMS],
    }
    publish_study(
        options.out,
        "online_stream",
        document,
        plot_stream({way: _gaps(streams) for way, streams in passed.items()}, WINDOW, NUM_EARLY),
        settings={
            "Stream": f"{NUM_EARLY} prompts, then {NUM_LATE} of {options.late}; "
            f"{options.num_seeds} streams, seed {options.seed}",
            "Feedback": f"on {options.told:.0%} of the answers, as graded",
            "Fit": f"{len(parts.fit)} prompts, {NUM_LATE_FITTED} of them of the late sets",
        },
        results={way: _line(_means(streams)) for way, streams in passed.items()},
        observations=[
            f"{len(delays)} of {options.num_seeds} changes noticed, after {sorted(delays)} answers",
            f"{num_false} of {NUM_HALVES * NUM_ORDERS} streams of {len(table.prompt_ids) // 2} "
            f"unseen prompts without a change gave an alarm ({NUM_HALVES} fits on random halves)",
            f"{num_ahead} of {NUM_STREAMS} streams of {NUM_ANSWERS} did with the shipped "
            "artifact's reference, of chances as likely as it leaves them",
        ],
        next_experiments=["the same with real feedback"],
        now=datetime.now(),
    )


def _false_on_halves(table: OutcomeTable, seed: int) -> int:
    """Alarms on NUM_HALVES halves of the table's texts, in NUM_ORDERS orders each."""
    num_alarms = 0
    for half in range(NUM_HALVES):
        print(f"half {half + 1} of {NUM_HALVES}", file=sys.stderr)
        rng = np.random.default_rng([seed, 1, half])
        drawn = one_of_each(table, rng=rng)
        fitted, unseen = np.array_split(np.arange(len(drawn.prompt_ids)), 2)
        artifact, _ = fit_artifact(drawn.take(fitted), seed=seed)
        num_alarms += false_alarms(artifact, drawn.take(unseen), num_orders=NUM_ORDERS, rng=rng)
    return num_alarms


def _split(table: OutcomeTable, late_sets: Sequence[str], rng: np.random.Generator) -> Split:
    dataset = table.columns["dataset"][:, 0]
    is_late = np.isin(dataset.astype(str), late_sets)
    early, late = (rng.permutation(np.flatnonzero(rows)) for rows in (~is_late, is_late))
    if len(late) <= NUM_LATE_FITTED or len(early) < 2:
        raise DataError(f"{len(late)} prompts of {', '.join(late_sets)}; name other data sets.")
    half = len(early) // 2
    fit = np.sort(np.concatenate([early[:half], late[:NUM_LATE_FITTED]]))
    return Split(fit, early[half:], late[NUM_LATE_FITTED:])


def _pass(
    artifact: Artifact,
    table: OutcomeTable,
    parts: Split,
    options: argparse.Namespace,
    *,
    told: float | None = None,
    online: bool = False,
    **how: Any,
) -> list[Passed]:
    """The same streams for every way."""
    subject, passed = subject_of(artifact, table), []
    for seed in range(options.num_seeds):
        rng = np.random.default_rng([options.seed, seed])
        draws = ((parts.early, NUM_EARLY), (parts.late, NUM_LATE))
        rows = np.concatenate([rng.choice(pool, count) for pool, count in draws]).tolist()
        share = options.told if told is None else told
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # alarms are counted below
            path = Path(folder) / "traces.sqlite" if online else None
            print(f"stream {seed + 1}, {how or ''}", file=sys.stderr)
            passed.append(
                run_stream(artifact, subject, rows, told=share, path=path, seed=seed, **how)
            )
    return passed


_EARLY, _END = slice(0, NUM_EARLY), slice(NUM_EARLY + NUM_LATE // 2, None)


def _means(streams: Sequence[Passed]) -> dict[str, float]:
    """Before the change, and on the last half of what comes after it."""
    found = {
        "ece_early": [p.ece(_EARLY) for p in streams],
        "ece_late": [p.ece(_END) for p in streams],
        "gap_late": [p.gap(_END) for p in streams],
        "loss_late": [p.loss(_END) for p in streams],
        "quality_late": [p.quality[_END].mean() for p in streams],
        "cost_late": [p.cost[_END].mean() for p in streams],
    }
    return {name: float(np.mean(values)) for name, values in found.items()}


def _line(means: Mapping[str, float]) -> str:
    return (
        f"calibration error {means['ece_early']:.3f} before the change, {means['ece_late']:.3f} at "
        f"the end, estimates {means['gap_late']:+.3f} there; quality {means['quality_late']:.3f}, "
        f"cost {means['cost_late']:.3f}, loss {means['loss_late']:.3f}"
    )


def _gaps(streams: Sequence[Passed]) -> NDArray[np.float64]:
    starts = range(0, NUM_EARLY + NUM_LATE, WINDOW)
    return np.array(
        [np.mean([p.gap(slice(start, start + WINDOW)) for p in streams]) for start in starts]
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True, help="outcome table of the ladder")
    parser.add_argument(
        "--late",
        default="gsm8k,mbpp,humaneval,nq_open,svamp",
        help="data sets that come after the change",
    )
    parser.add_argument("--told", type=float, default=0.2, help="share of answers with feedback")
    parser.add_argument("--num-seeds", type=int, default=5, help="streams")
    parser.add_argument("--seed", type=int, default=0, help="of the fit and all draws")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""What lambda does to quality, cost and who answers, on recorded outcomes of the ladder.

python experiments/lambda_sweep.py --table recordings/default-ladder.parquet

Writes lambda_sweep.json, lambda_sweep.png and an entry in log/ below --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime

from adaptive_sd.build import DEFAULT_ARTIFACT
from adaptive_sd.offline.experiment import exit_code_of
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.research_log import check_folder
from adaptive_sd.offline.studies.entry import publish_study, study_options
from adaptive_sd.offline.studies.inputs import point_json, point_text, read_study
from adaptive_sd.offline.studies.plots import plot_sweep
from adaptive_sd.offline.studies.sweep import SweepPoint, lams_of, sweep_lambda


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    options = _parse(arguments)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    check_folder(options.out)
    study = read_study(options.table, options.artifact)
    lams = lams_of(study.artifact, options.num_lambdas)
    points = sweep_lambda(
        study.artifact, seen_by(study.artifact, study.table), lams, seed=options.seed
    )
    recommended = study.artifact.recommended_lam
    at = next(point for point in points if point.lam == recommended)
    publish_study(
        options.out,
        "lambda_sweep",
        {
            "table": options.table.name,
            "num_prompts": len(study.table.prompt_ids),
            "stages": study.names,
            "recommended_lambda": recommended,
            "points": [point_json(point) for point in points],
        },
        plot_sweep(points, study.names, recommended),
        settings={
            "Ladder": " -> ".join(study.names),
            "Prompts": f"{len(study.table.prompt_ids)} of {options.table.name}, none fitted on",
            "Lambdas": f"{lams[0]:.3g} to {lams[-1]:.3g}, seed {options.seed}",
        },
        results={
            f"lambda {point.lam:.3g}": f"{point_text(point)}; answers "
            + ", ".join(f"{s:.0%}" for s in point.answer_share)
            for point in points[:: max(1, len(points) // 8)]
        },
        observations=_observe(points, at),
        next_experiments=["python experiments/four_stage.py: is each rung worth its place?"],
        now=datetime.now(),
    )


def _observe(points: Sequence[SweepPoint], at: SweepPoint) -> list[str]:
    best = max(points, key=lambda point: point.quality)
    alike = [point.lam for point in points if point.behind_best.high >= 0]
    cheaper = [p for p in points if p.difference.low >= 0 and p.ratio.high < 1]
    found = (
        f"lambda {cheaper[0].lam:.3g} is cheaper than always-largest with no loss of quality "
        "shown by its interval"
        if cheaper
        else "no lambda is cheaper than always-largest with an interval of quality at or above it"
    )
    return [
        f"recommended lambda {at.lam:.3g}: {point_text(at)}",
        f"most quality at lambda {best.lam:.3g}: {point_text(best)}; {len(alike)} of {len(points)} "
        f"lambdas, within {alike[0]:.3g} to {alike[-1]:.3g}, are not shown to have less",
        found,
    ]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study_options(__doc__, DEFAULT_ARTIFACT)
    parser.add_argument("--num-lambdas", type=int, default=40, choices=range(2, 201), metavar="N")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

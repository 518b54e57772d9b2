"""The shipped ladder on every bundled set, from recorded outcomes, against always-largest.

python experiments/evaluate_all.py --table recordings/default-ladder.parquet

Writes evaluate_all.json, evaluate_all.png and an entry in log/ below --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime

from adaptive_sd.build import DEFAULT_ARTIFACT
from adaptive_sd.offline.experiment import exit_code_of
from adaptive_sd.offline.research_log import check_folder
from adaptive_sd.offline.studies.entry import publish_study, study_options
from adaptive_sd.offline.studies.inputs import point_json, point_text, read_study
from adaptive_sd.offline.studies.plots import plot_sets
from adaptive_sd.offline.studies.sets import SetResult, evaluate_sets


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    options = _parse(arguments)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    check_folder(options.out)
    study = read_study(options.table, options.artifact)
    lam = study.artifact.recommended_lam if options.lam is None else options.lam
    results = evaluate_sets(study.artifact, study.table, lam, seed=options.seed)
    publish_study(
        options.out,
        "evaluate_all",
        {
            "table": options.table.name,
            "stages": study.names,
            "lambda": lam,
            "sets": [
                {**result._asdict(), "ladder": point_json(result.ladder)} for result in results
            ],
        },
        plot_sets(results),
        settings={
            "Ladder": " -> ".join(study.names),
            "Prompts": f"{len(study.table.prompt_ids)} of {options.table.name}, none fitted on",
            "Lambda": f"{lam:.3g}, seed {options.seed}",
        },
        results={result.name: _line(result, study.names) for result in results},
        observations=_observe(results),
        next_experiments=["python experiments/lambda_sweep.py: the same over all lambdas"],
        now=datetime.now(),
    )


def _line(result: SetResult, names: Sequence[str]) -> str:
    shares = zip(names, result.ladder.answer_share, strict=True)
    return (
        f"{result.num_prompts} prompts, {point_text(result.ladder)}; largest "
        f"{result.largest[0]:.3f} at {result.largest[1]:.2f} s; any stage right "
        f"{result.oracle_quality:.3f}; answered by "
        + ", ".join(f"{name} {share:.0%}" for name, share in shares)
    )


def _observe(results: Sequence[SetResult]) -> list[str]:
    worse = [r.name for r in results if r.ladder.difference.high < 0]
    dearer = [r.name for r in results if r.ladder.ratio.low > 1]
    cheaper = [r.name for r in results if r.ladder.ratio.high < 1]
    return [
        f"cheaper than always-largest beyond chance: {', '.join(cheaper) or 'none'}",
        f"dearer beyond chance: {', '.join(dearer) or 'none'}",
        f"quality below always-largest beyond chance: {', '.join(worse) or 'none'}",
    ]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study_options(__doc__, DEFAULT_ARTIFACT)
    parser.add_argument("--lambda", dest="lam", type=float, help="else the recommended one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

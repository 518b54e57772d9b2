"""Ladders of two, three and four stages from one recording: is each rung worth its place?

python experiments/four_stage.py --table recordings/default-ladder.parquet \\
    --votes recordings/votes.parquet

The fourth stage is the largest model answering in steps, `--num-votes` times, by majority, on the
prompts that were recorded so. All ladders are fitted and measured on the same prompts. Writes
four_stage.json, four_stage.png and an entry in log/ below --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes
from adaptive_sd.offline.experiment import exit_code_of
from adaptive_sd.offline.replay.measure import PolicyReport
from adaptive_sd.offline.replay.report import ReplayReport
from adaptive_sd.offline.replay.run import replay
from adaptive_sd.offline.research_log import check_folder
from adaptive_sd.offline.studies.entry import publish_study
from adaptive_sd.offline.studies.ladders import add_vote, quality_at, take_stages
from adaptive_sd.offline.studies.plots import plot_ladders

BUDGETS = (0.25, 0.5, 0.75, 1.0, 1.5)
"""Mean costs, as shares of what the largest stage of the table costs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    options = _parse(arguments)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    check_folder(options.out)
    table, largest = read_outcomes(options.table), ""
    if options.votes is not None:
        largest = table.stages[-1].name
        table = add_vote(table, read_outcomes(options.votes), options.num_votes)
    ladders = _ladders(table)
    reports = {}
    for name, ladder in ladders.items():
        print(f"replaying {name}", file=sys.stderr)
        reports[name] = replay(
            ladder,
            policies=("best_pair", "adaptive"),
            num_resamples=options.bootstrap,
            seed=options.seed,
        )
    longest = list(reports.values())[-1]
    unit = next((s.cost for s in longest.stages if s.stage == largest), longest.stages[-1].cost)
    ours = {name: report.policies["adaptive"] for name, report in reports.items()}
    publish_study(
        options.out,
        "four_stage",
        {
            "table": options.table.name,
            "num_votes": options.num_votes if options.votes else None,
            "cost_unit": unit,
            "ladders": {name: report.to_json(name) for name, report in reports.items()},
        },
        plot_ladders(ours),
        settings={
            "Prompts": f"{longest.num_fit} to fit on, {longest.num_test} to test on",
            "Fourth stage": table.stages[-1].name if options.votes else "none: no --votes",
            "Seed": str(options.seed),
        },
        results={name: _line(reports[name], unit) for name in reports},
        observations=_observe(ours, unit),
        next_experiments=["drop the rungs that bring nothing, and record longer answers"],
        now=datetime.now(),
    )


def _ladders(table: OutcomeTable) -> dict[str, OutcomeTable]:
    """The last stages of the table: two of them, then one more each."""
    names = [stage.name for stage in table.stages]
    return {
        f"{count} stages: {', '.join(names[-count:])}": take_stages(table, names[-count:])
        for count in range(2, len(names) + 1)
    }


def _line(report: ReplayReport, unit: float) -> str:
    ours, pair = report.policies["adaptive"], report.policies["best_pair"]
    cells = []
    for budget in BUDGETS:
        values = [quality_at(policy, budget * unit) for policy in (ours, pair)]
        cells.append(f"{budget:g}: " + " / ".join("-" if v is None else f"{v:.3f}" for v in values))
    return f"quality (adaptive / best pair) by mean cost: {', '.join(cells)}"


def _observe(ours: Mapping[str, PolicyReport], unit: float) -> list[str]:
    lines = []
    for budget in BUDGETS:
        reached = {
            name: quality
            for name, report in ours.items()
            if (quality := quality_at(report, budget * unit)) is not None
        }
        if reached:
            best = max(reached, key=lambda name: reached[name])
            lines.append(f"at {budget:g} of the unit the best ladder has {best}")
    return lines


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True, help="outcome table of the ladder")
    parser.add_argument("--votes", type=Path, help="outcome table of `record --votes`")
    parser.add_argument("--num-votes", type=int, default=3, choices=range(1, 9), metavar="N")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of fits and intervals")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

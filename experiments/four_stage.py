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

from adaptive_sd.data.outcomes import TOKENS, OutcomeTable, read_outcomes
from adaptive_sd.offline.experiment import exit_code_of
from adaptive_sd.offline.replay.dials import Dials
from adaptive_sd.offline.replay.measure import Prompts
from adaptive_sd.offline.research_log import check_folder
from adaptive_sd.offline.studies.entry import publish_study
from adaptive_sd.offline.studies.ladders import (
    LadderRun,
    add_vote,
    lead_at,
    qualities_at,
    run_ladder,
    take_stages,
)
from adaptive_sd.offline.studies.plots import plot_ladders

BUDGETS = (0.25, 0.5, 0.75, 1.0, 1.5)
"""Mean costs, as shares of what the largest stage of the table costs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    options = _parse(arguments)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    check_folder(options.out)
    table, largest = read_outcomes(options.table, without=TOKENS), ""
    if options.votes is not None:
        largest = table.stages[-1].name
        votes = read_outcomes(options.votes, without=(*TOKENS, "logprobs", "hidden"))
        table = add_vote(table, votes, options.num_votes)
    runs = {}
    for name, ladder in _ladders(table).items():
        print(f"replaying {name}", file=sys.stderr)
        runs[name] = run_ladder(ladder, num_resamples=options.bootstrap, seed=options.seed)
    last = list(runs.values())[-1]
    longest = last.report
    unit = next((s.cost for s in longest.stages if s.stage == largest), longest.stages[-1].cost)
    ours = {name: run.dials["adaptive"] for name, run in runs.items()}
    publish_study(
        options.out,
        "four_stage",
        {
            "table": options.table.name,
            "num_votes": options.num_votes if options.votes else None,
            "cost_unit": unit,
            "ladders": {name: run.report.to_json(name) for name, run in runs.items()},
        },
        plot_ladders({name: run.report.policies["adaptive"] for name, run in runs.items()}),
        settings={
            "Prompts": f"{longest.num_fit} to fit on, {longest.num_test} to test on",
            "Fourth stage": table.stages[-1].name if options.votes else "none: no --votes",
            "Seed": str(options.seed),
        },
        results={name: _line(run, unit) for name, run in runs.items()},
        observations=_observe(ours, last.prompts, unit),
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


def _line(run: LadderRun, unit: float) -> str:
    cells = []
    for budget in BUDGETS:
        sides = (run.dials[name] for name in ("adaptive", "best_pair"))
        values = [qualities_at(dials, run.prompts, budget * unit)[0] for dials in sides]
        cells.append(f"{budget:g}: " + " / ".join("-" if v != v else f"{v:.3f}" for v in values))
    return f"quality (adaptive / best pair) by mean cost: {', '.join(cells)}"


def _observe(ours: Mapping[str, Dials], prompts: Prompts, unit: float) -> list[str]:
    """A ladder is named best where the difference to each other is above 0 by its interval."""
    lines = []
    for budget in BUDGETS:
        lead = lead_at(budget * unit, ours, prompts)
        if lead is None or not lead.over:
            continue
        said = "is the best ladder" if lead.is_shown else "is not shown to be the best ladder"
        over = ", ".join(f"{value:+.3f} over {name}" for name, value in lead.over.items())
        lines.append(f"at {budget:g} of the unit {lead.name} {said}: {over}")
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

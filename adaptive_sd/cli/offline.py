"""`adaptive-sd export`, `fit` and `refit`."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.build import local_artifact, open_stages
from adaptive_sd.cli.outputs import check_out, check_table_out
from adaptive_sd.config import default_config

_DECISIONS_TIMED = 1000


def export(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings of the same ladder.")],
    out: Annotated[Path, typer.Option(help="Outcome table to write (.parquet).")],
    test: Annotated[
        list[Path] | None, typer.Option(help="Recording to test on, never to fit on; repeatable.")
    ] = None,
) -> None:
    """Write the outcome table: costs are token counts times the stages' rates."""
    from adaptive_sd.data.outcomes import write_outcomes  # loads pyarrow: not for `answer`
    from adaptive_sd.offline.export import export_recordings

    check_table_out(out, [*recordings, *(test or ())])
    exported = export_recordings(recordings, test or ())
    write_outcomes(exported.table, exported.stages, out)
    print(f"{out}: {exported.table.num_rows} rows", file=sys.stderr)
    if exported.num_unfinished:
        print(
            f"left out: {exported.num_unfinished} prompts that not every stage has answered yet; "
            "run `adaptive-sd record` again to go on.",
            file=sys.stderr,
        )


def fit(
    table: Annotated[Path, typer.Argument(help="Outcome table (Parquet or CSV).")],
    out: Annotated[Path, typer.Option(help="Folder of the artifact.")],
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit predictors and policy, and say how good they are out of fold."""
    from adaptive_sd.artifact import save_artifact
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow, the fit scikit-learn
    from adaptive_sd.offline.benches.decision import bench_decision
    from adaptive_sd.offline.fit import fit_artifact

    check_out(out, [table])
    artifact, report = fit_artifact(read_outcomes(table), seed=seed)
    save_artifact(artifact, out)
    timing = bench_decision(artifact, _DECISIONS_TIMED).parts["decision"]
    if as_json:
        print(json.dumps(report.to_json() | {"decision": asdict(timing)}, indent=2))
        return
    print(report.as_text())
    print(f"a decision: median {timing.median_s * 1e3:.3f} ms, p99 {timing.p99_s * 1e3:.3f} ms")


def refit(
    table: Annotated[Path, typer.Argument(help="Outcome table that the default ladder made.")],
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Fit the default ladder to the speed of this machine, if it is not that of the fit.

    Where it is, an earlier fit for this machine is removed.
    """
    from adaptive_sd.data.outcomes import read_outcomes
    from adaptive_sd.offline.refit import local_rates
    from adaptive_sd.offline.refit import refit as run_refit

    outcomes = read_outcomes(table)
    with contextlib.ExitStack() as stack:
        stages = open_stages(default_config(), offline=offline)
        rates = local_rates(outcomes, [stack.enter_context(stage) for stage in stages])
    run_refit(
        *(outcomes, rates, local_artifact()),
        seed=seed,
        say=lambda line: print(line, file=sys.stderr),
    )

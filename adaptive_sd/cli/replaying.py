"""`adaptive-sd replay`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.cli.explain import explain_prompt
from adaptive_sd.cli.explain import table as as_table
from adaptive_sd.cli.outputs import warn_of_lack
from adaptive_sd.decision.policies import check_lam


def replay(
    table: Annotated[Path, typer.Argument(help="Outcome table (Parquet or CSV).")],
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of an artifact, not fitted on prompts to test on.")
    ] = None,
    policies: Annotated[str, typer.Option(help="all, or names with commas between.")] = "all",
    why: Annotated[
        str | None, typer.Option(help="Explain each decision on the prompt of this id instead.")
    ] = None,
    lam: Annotated[
        float | None,
        typer.Option("--lambda", help="Weight of quality, with --why; else the recommended."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with other splits and fits.")] = 1,
    bootstrap: Annotated[int, typer.Option(min=1, help="Resamples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
) -> None:
    """Compare policies on recorded outcomes: chosen on one half, measured on the other."""
    if lam is not None and why is None:
        raise typer.BadParameter("--lambda is of --why; policies are compared at all lambdas.")
    if lam is not None:
        check_lam(lam)
    if why is not None and (policies, seeds) != ("all", 1):
        raise typer.BadParameter("--why explains one policy; leave out --policies and --seeds.")
    from adaptive_sd.artifact import load_artifact
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow, the fit scikit-learn
    from adaptive_sd.offline.replay.contest import POLICIES
    from adaptive_sd.offline.replay.run import check_policies
    from adaptive_sd.offline.replay.run import replay as run_replay
    from adaptive_sd.offline.replay.seen import unread

    names = POLICIES if policies == "all" else [p.strip() for p in policies.split(",")]
    check_policies(names)
    fitted = None if artifact is None else load_artifact(artifact)
    outcomes = read_outcomes(table, without=unread(fitted))
    if why is not None:
        from adaptive_sd.offline.report.explained import explain_recorded

        found = explain_recorded(outcomes, why, artifact=fitted, lam=lam, seed=seed)
        warn_of_lack(outcomes)
        if as_json:
            print(json.dumps(found.to_json(str(table)), indent=2, allow_nan=False))
        else:
            print(explain_prompt(found))
        return
    report = run_replay(
        outcomes,
        policies=names,
        artifact=fitted,
        num_seeds=seeds,
        num_resamples=bootstrap,
        seed=seed,
    )
    warn_of_lack(outcomes)
    if as_json:
        print(json.dumps(report.to_json(str(table)), indent=2, allow_nan=False))
    else:
        print(as_table(report.as_rows()))
    print(*report.notes(), sep="\n", file=sys.stderr)

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
from adaptive_sd.cli.outputs import check_out, check_table_out, how_to_use, warn_of_lack
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
    target_quality: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Promise this share of the best single stage's quality, as cheaply as can be.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="Promise this mean cost of a prompt, as good as can be."),
    ] = None,
    slo_p95: Annotated[
        float | None,
        typer.Option(min=0, help="Promise this latency of 95 % of the prompts, in seconds."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(min=0.5, max=0.9999, help="With which a promise is to hold; else 0.95."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="The most that a prompt can cost, for promised costs; else the dearest in the "
            "table if all stages run on it.",
        ),
    ] = None,
    onto: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an artifact that knows all stages but one: that one joins it by the "
            "graded prompts of the table (30 to 50 will do), and nothing else is fitted."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit predictors and policy, and say how good they are out of fold.

    With a promise 30 % of the prompts are set aside, to show which settings keep it; refused where
    none is shown to.
    """
    from adaptive_sd.artifact import save_artifact
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow, the fit scikit-learn
    from adaptive_sd.decision.claims import Claim, FastEnough, KeptQuality, MeanCost
    from adaptive_sd.offline.benches.decision import bench_decision
    from adaptive_sd.offline.certify import fit_certified
    from adaptive_sd.offline.fit import fit_artifact
    from adaptive_sd.offline.promise import Promise

    known = ((KeptQuality, target_quality), (MeanCost, budget), (FastEnough, slo_p95))
    claims: list[Claim] = [claim(bound) for claim, bound in known if bound is not None]
    if len(claims) > 1:
        raise typer.BadParameter("give one of --target-quality, --budget and --slo-p95.")
    if not claims and (confidence, max_cost) != (None, None):
        raise typer.BadParameter(
            "--confidence and --max-cost are of a promise; give --target-quality, --budget or "
            "--slo-p95 too."
        )
    if onto is not None:
        if claims:
            raise typer.BadParameter(
                "--onto promises nothing: few prompts show too little; leave out "
                "--target-quality, --budget and --slo-p95."
            )
        _join(table, onto, out, as_json=as_json)
        return
    check_out(out, [table])
    outcomes = read_outcomes(table)
    promise: Promise | None = None
    if claims:
        artifact, report, promise = fit_certified(
            outcomes, claims[0], confidence=confidence or 0.95, max_cost=max_cost, seed=seed
        )
    else:
        artifact, report = fit_artifact(outcomes, seed=seed)
    save_artifact(artifact, out)
    warn_of_lack(outcomes)
    if any(stage.model for stage in artifact.stages):
        print(how_to_use(out, "that this was recorded with"), file=sys.stderr)
    timing = bench_decision(artifact, _DECISIONS_TIMED).parts["decision"]
    if as_json:
        promised = {} if promise is None else {"promise": promise.to_json()}
        print(json.dumps(report.to_json() | {"decision": asdict(timing)} | promised, indent=2))
        return
    print(report.as_text())
    if promise is not None:
        print(promise.as_text())
    print(f"a decision: median {timing.median_s * 1e3:.3f} ms, p99 {timing.p99_s * 1e3:.3f} ms")


def _join(table: Path, onto: Path, out: Path, *, as_json: bool) -> None:
    from adaptive_sd.artifact import load_artifact, save_artifact
    from adaptive_sd.data.outcomes import read_outcomes
    from adaptive_sd.offline.join import join_artifact

    check_out(out, [table, onto])
    artifact, report = join_artifact(load_artifact(onto), read_outcomes(table))
    save_artifact(artifact, out)
    print(json.dumps(report.to_json(), indent=2) if as_json else report.as_text())


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

"""`adaptive-sd bench guarantee`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.cli.bench_draft import JsonOption, OutOption
from adaptive_sd.cli.explain import table as as_table
from adaptive_sd.offline.benches.results import RESULTS, write_results
from adaptive_sd.offline.research_log import check_writable


def guarantee(
    table: Annotated[Path, typer.Argument(help="Outcome table (Parquet or CSV).")],
    target: Annotated[
        list[float] | None,
        typer.Option(min=0, max=1, help="Share of quality to promise; repeatable."),
    ] = None,
    prompts: Annotated[
        list[int] | None, typer.Option(min=1, help="Prompts of one sample; repeatable.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Samples of each size.")] = 300,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999)] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of fit and samples.")] = 0,
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Count broken promises: fit on one half, certify on samples of the other, where all is known.

    Targets are 0.95, 0.98 and 1 and samples have 300 and 1000 prompts, unless others are given.
    Written to --out as JSON and a plot.
    """
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow, the fit scikit-learn
    from adaptive_sd.offline.benches.guarantee import bench_guarantee, population_of, promises_of
    from adaptive_sd.offline.benches.plots import plot_promises  # loads matplotlib

    population = population_of(read_outcomes(table), seed=seed)
    check_writable(out)
    rows = list(
        bench_guarantee(
            population,
            promises_of(population, target or [0.95, 0.98, 1.0]),
            prompts or [300, 1000],
            num_draws=draws,
            level=1 - confidence,
            seed=seed,
        )
    )
    document = {
        "table": table.name,
        "num_prompts": population.num_prompts,
        "num_dials": len(population.alone),
        "confidence": confidence,
        "seed": seed,
        "rows": [row.to_json() for row in rows],
    }
    write_results(out, "guarantee", document, plot_promises(rows, table.stem), now=datetime.now())
    if as_json:
        print(json.dumps(document, indent=2))
        return
    print(f"{population.num_prompts} prompts in all, {len(population.alone)} dials")
    header = ("promise", "prompts", "certified", "bound", "cheaper", "cost", "broken", "allowed")
    cells = [
        (
            row.claim,
            str(row.num_prompts),
            f"{row.num_certified} of {row.num_draws}",
            "" if row.bounds is None else f"{row.bounds[1]:.4g}",
            str(row.num_cheaper),
            "" if row.cost_share is None else f"{row.cost_share:.2f}",
            str(row.num_broken),
            str(row.num_allowed),
        )
        for row in rows
    ]
    print(as_table([header, *cells]))

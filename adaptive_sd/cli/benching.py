"""`adaptive-sd bench`: the project's own measurements."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from adaptive_sd.build import open_cascade, shipped_artifact
from adaptive_sd.cascade import Request
from adaptive_sd.cli.bench_concurrency import concurrency
from adaptive_sd.cli.bench_draft import JsonOption, OutOption, draft
from adaptive_sd.cli.bench_guarantee import guarantee
from adaptive_sd.cli.explain import table
from adaptive_sd.cli.progress import counting_bar
from adaptive_sd.config import chosen_config
from adaptive_sd.data.tasks import load_tasks
from adaptive_sd.errors import DataError
from adaptive_sd.offline.benches import decision as decision_bench
from adaptive_sd.offline.benches.ladder import compare
from adaptive_sd.offline.benches.results import RESULTS, write_results
from adaptive_sd.offline.research_log import check_writable
from adaptive_sd.trace import told_cost

app = typer.Typer(
    help="Measure decisions, the ladder, reuse of drafts, several requests at once, and promises.",
    no_args_is_help=True,
)
app.command("draft")(draft)
app.command("concurrency")(concurrency)
app.command("guarantee")(guarantee)


@app.command("decision")
def decision(
    as_json: JsonOption = False,
    num_calls: Annotated[int, typer.Option(min=100, help="Timed calls.")] = 5000,
) -> None:
    """Time features, predictor and rule for one draft of 128 tokens."""
    result = decision_bench.bench_decision(shipped_artifact(), num_calls)
    if as_json:
        print(json.dumps(asdict(result), indent=2))
        return
    for name, timing in result.parts.items():
        print(f"{name:<10} median {timing.median_s * 1e3:.4f} ms   p99 {timing.p99_s * 1e3:.4f} ms")


@app.command("ladder")
def ladder(
    tasks: Annotated[str, typer.Argument(help="A bundled set or a JSONL file.")] = "demo-mix",
    limit: Annotated[int | None, typer.Option(min=1, help="The first prompts only.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    lam: Annotated[float | None, typer.Option("--lambda", help="Weight of quality.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Answer a task set live with the ladder and with its largest stage; grade and compare.

    Written to --out as JSON and a plot.
    """
    from adaptive_sd.offline.benches.plots import plot_ladder  # loads matplotlib

    request = Request(lam=lam)
    chosen = load_tasks(tasks, limit)
    check_writable(out)
    # a user's ladder learns nothing from answers to benchmarks
    ladder_here = replace(chosen_config(config), online=False)
    with open_cascade(ladder_here) as cascade, counting_bar("answering") as show:
        for stage in cascade.stages:
            stage.warm_up()
        result = compare(
            cascade,
            chosen,
            rng=np.random.default_rng(seed),
            request=request,
            on_progress=show,
        )
    if not result.num_prompts:
        raise DataError(
            f"{tasks}: no answer could be graded, so there is nothing to compare; give a set whose "
            "prompts have a grader other than `judge` and `none`."
        )
    asked = {"tasks": tasks, "limit": limit, "config": config and str(config), "lambda": lam}
    document = asked | {"seed": seed} | asdict(result)
    write_results(out, "ladder", document, plot_ladder(result), now=datetime.now())
    if as_json:
        print(json.dumps(asdict(result), indent=2))
        return
    rows = [
        (name, f"{side.quality:.3f}", f"{side.latency_s:.3f}", told_cost(side.cost))
        for name, side in (("ladder", result.ladder), ("largest", result.largest))
    ]
    print(table([("", "quality", "seconds", "cost"), *rows]))
    print(f"quality difference {result.quality_difference}")
    print(f"seconds ratio      {result.latency_ratio}")
    print(f"cost ratio         {result.cost_ratio}")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in result.share_by_stage.items())
    print(
        f"{result.num_prompts} prompts, escalated {result.escalation_rate:.0%}; answered: {shares}"
    )


@app.command("stopping")
def stopping(as_json: JsonOption = False) -> None:
    """Time the stopping rule for ladders of up to a million stages; linear if s/stage is flat."""
    rows = decision_bench.bench_stopping()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    for row in rows:
        per_stage_ns = row.seconds / row.num_stages * 1e9
        print(f"L = {row.num_stages:>9,}   {row.seconds:.6f} s   {per_stage_ns:8.1f} ns a stage")


@app.command("replay")
def replay(
    max_prompts: Annotated[
        int, typer.Option(min=100, help="The largest table to replay.")
    ] = 1_000_000,
    max_fit_prompts: Annotated[
        int, typer.Option(min=100, help="The largest table to fit; the largest takes minutes.")
    ] = 200_000,
    texts: Annotated[
        bool, typer.Option("--texts", help="Tables with prompts and whole answers too.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the tables.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Replay one fitted policy, then fit, on made-up tables of up to a million prompts.

    They have five stages, token counts, three signals and short answers, or whole ones and prompts
    with --texts. A table of one's own with log-probabilities and hidden states takes more memory.
    """
    from adaptive_sd.offline import scale  # loads pyarrow and scikit-learn

    rows: list[scale.ScaleRow] = []
    for row in scale.bench_replay(max_prompts, max_fit_prompts, texts=texts, seed=seed):
        rows.append(row)
        if not as_json:
            print(
                f"{row.work:<7} {row.num_prompts:>9,} x {row.num_stages}   {row.seconds:8.1f} s   "
                f"{row.cpu_s:8.1f} s of CPU   {row.prompts_per_s:>9,.0f} prompts/s   "
                f"{row.peak_mib:7,.0f} MiB",
                flush=True,
            )
    grown = scale.growths(rows)
    if as_json:
        documents = [asdict(row) | {"prompts_per_s": row.prompts_per_s} for row in rows]
        print(json.dumps({"texts": texts, "rows": documents, "growth": grown}, indent=2))
        return
    for work, power in grown.items():
        print(f"{work}: CPU seconds grow as prompts to the power of {power:.2f} at the large end")

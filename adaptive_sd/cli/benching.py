"""`adaptive-sd bench`: the project's own measurements."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from adaptive_sd.artifact import load_artifact
from adaptive_sd.build import DEFAULT_ARTIFACT
from adaptive_sd.offline import bench

app = typer.Typer(help="Measure what a decision and a stopping rule cost.", no_args_is_help=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("decision")
def decision(
    as_json: JsonOption = False,
    num_calls: Annotated[int, typer.Option(min=100, help="Timed calls.")] = 5000,
) -> None:
    """Time features, predictor and rule for one draft of 128 tokens."""
    result = bench.bench_decision(load_artifact(DEFAULT_ARTIFACT), num_calls)
    if as_json:
        print(json.dumps(asdict(result), indent=2))
        return
    for name, timing in result.parts.items():
        print(f"{name:<10} median {timing.median_s * 1e3:.4f} ms   p99 {timing.p99_s * 1e3:.4f} ms")


@app.command("stopping")
def stopping(as_json: JsonOption = False) -> None:
    """Time the stopping rule for ladders of up to a million stages; linear if s/stage is flat."""
    rows = bench.bench_stopping()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    for row in rows:
        per_stage_ns = row.seconds / row.num_stages * 1e9
        print(f"L = {row.num_stages:>9,}   {row.seconds:.6f} s   {per_stage_ns:8.1f} ns a stage")

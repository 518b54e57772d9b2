"""`adaptive-sd bench concurrency`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer

from adaptive_sd.build import open_stages
from adaptive_sd.cli.explain import table
from adaptive_sd.config import default_config, ladder_of
from adaptive_sd.offline.benches.concurrency import Spread, bench_concurrency
from adaptive_sd.stage import Stage


def concurrency(
    stage: Annotated[
        str | None, typer.Option(help="A stage or a model; else the first stage.")
    ] = None,
    requests: Annotated[int, typer.Option(min=2, help="How many at once.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 128,
    drafts: Annotated[
        bool, typer.Option("--drafts", help="Also at once with a draft each, almost the answer.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Time requests one after the other against all of them in one batch, on one stage."""
    config = default_config()
    if stage is not None:
        config = ladder_of(config, [stage])
    chosen = config.stages[0]

    def open_stage(slots: int) -> Stage:
        return open_stages(replace(config, stages=(replace(chosen, slots=slots),)))[0]

    rates = None
    if drafts:
        with open_stage(1) as measured:
            rates = measured.rates
    result = bench_concurrency(
        lambda slots: open_stage(slots).engine, requests, max_tokens, rates=rates
    )
    if as_json:
        print(json.dumps({"stage": chosen.name, **result.to_json()}, indent=2))
        return
    sides = {"one by one": [r.alone for r in result.rounds]}
    sides["at once"] = [r.together for r in result.rounds]
    if drafts:
        sides["with drafts"] = [r.with_drafts for r in result.rounds if r.with_drafts]
    rows = [
        (
            name,
            str(runs[0].num_tokens),
            f"{Spread.of([run.tokens_per_s for run in runs]):.1f}",
            f"{Spread.of([run.decoded_per_s for run in runs]):.1f}",
        )
        for name, runs in sides.items()
    ]
    print(table([("", "tokens", "tokens/s", "without prompts"), *rows]))
    print(
        f"median and range of {len(result.rounds)} rounds; {requests} requests at once: "
        f"{result.ratio:.2f}x, without prompts {result.decode_ratio:.2f}x, of processor time "
        f"{result.cpu_ratio:.2f}x"
    )
    if result.draft_ratio is not None:
        print(f"with a draft each, over without: {result.draft_ratio:.2f}x")
    print(
        f"{result.equal_share:.0%} of the answers equal; the others diverge at a margin of at most "
        f"{result.largest_margin:.2f}"
    )

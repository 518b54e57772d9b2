"""`adaptive-sd bench concurrency`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer

from adaptive_sd.build import open_stages
from adaptive_sd.cli.explain import table
from adaptive_sd.config import default_config, ladder_of
from adaptive_sd.engines.base import Engine
from adaptive_sd.offline.benches.concurrency import bench_concurrency


def concurrency(
    stage: Annotated[
        str | None, typer.Option(help="A stage or a model; else the first stage.")
    ] = None,
    requests: Annotated[int, typer.Option(min=2, help="How many at once.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Time requests one after the other against all of them in one batch, on one stage."""
    config = default_config()
    if stage is not None:
        config = ladder_of(config, [stage])
    chosen = config.stages[0]

    def open_engine(slots: int) -> Engine:
        return open_stages(replace(config, stages=(replace(chosen, slots=slots),)))[0].engine

    result = bench_concurrency(open_engine, requests, max_tokens)
    if as_json:
        print(json.dumps({"stage": chosen.name, **result.to_json()}, indent=2))
        return
    rows = [
        (name, str(run.num_tokens), f"{run.tokens_per_s:.1f}", f"{run.decoded_per_s:.1f}")
        for name, run in (("one by one", result.alone), ("at once", result.together))
    ]
    print(table([("", "tokens", "tokens/s", "without prompts"), *rows]))
    print(
        f"{requests} requests at once: {result.ratio:.2f}x, without prompts "
        f"{result.decode_ratio:.2f}x, of processor time {result.cpu_ratio:.2f}x"
    )
    print(
        f"{result.equal_share:.0%} of the answers equal; the others part at a margin of at most "
        f"{result.largest_margin:.2f}"
    )

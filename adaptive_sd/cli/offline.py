"""`adaptive-sd record`, `export` and `fit`."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.build import open_stages
from adaptive_sd.cli.progress import counting_bar
from adaptive_sd.config import default_config, ladder_of
from adaptive_sd.data.tasks import Task, load_tasks
from adaptive_sd.offline.record import record as record_tasks
from adaptive_sd.offline.recording import Recording

_DECISIONS_TIMED = 1000

SeedOption = Annotated[int, typer.Option(help="Seed of every random choice.")]


def record(
    tasks: Annotated[list[str], typer.Argument(help="Bundled sets or JSONL files.")],
    out: Annotated[Path, typer.Option(help="SQLite file; an interrupted one is gone on with.")],
    stages: Annotated[str | None, typer.Option(help="Stages, cheapest first.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts of each set.")] = None,
    seed: SeedOption = 0,
    skip: Annotated[
        list[Path] | None, typer.Option(help="JSONL with prompts to leave out.")
    ] = None,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Run every stage on every prompt, grade and store the answers."""
    left_out = {task.id for path in skip or () for task in load_tasks(str(path))}
    chosen = [t for name in tasks for t in _choose(name, limit, seed, left_out)]
    ladder = default_config()
    if stages is not None:
        ladder = ladder_of(ladder, [name.strip() for name in stages.split(",")])
    with Recording(out) as recording, counting_bar("recording") as show:
        opened = open_stages(ladder, offline=offline)
        try:
            record_tasks(chosen, opened, recording, on_progress=show)
        finally:
            for stage in opened:
                stage.close()


def _choose(name: str, limit: int | None, seed: int, left_out: set[str]) -> list[Task]:
    """A seeded choice of `limit` prompts of one set, in their own order."""
    tasks = [task for task in load_tasks(name) if task.id not in left_out]
    if limit is None or limit >= len(tasks):
        return tasks
    picked = sorted(random.Random(seed).sample(range(len(tasks)), limit))
    return [tasks[i] for i in picked]


def export(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings of the same ladder.")],
    out: Annotated[Path, typer.Option(help="Parquet file of the outcome table.")],
    test: Annotated[
        list[Path] | None, typer.Option(help="Recording to test on, never to fit on; repeatable.")
    ] = None,
) -> None:
    """Write the outcome table: costs are token counts times the stages' rates."""
    from adaptive_sd.data.outcomes import write_outcomes  # loads pyarrow: not for `answer`
    from adaptive_sd.offline.export import export_recordings

    table, stages = export_recordings(recordings, test or ())
    write_outcomes(table, stages, out)
    print(f"{out}: {table.num_rows} rows", file=sys.stderr)


def fit(
    table: Annotated[Path, typer.Argument(help="Outcome table (Parquet or CSV).")],
    out: Annotated[Path, typer.Option(help="Folder of the artifact.")],
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit predictors and policy, and say how good they are out of fold."""
    from adaptive_sd.artifact import save_artifact
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow, the fit scikit-learn
    from adaptive_sd.offline.bench import bench_decision
    from adaptive_sd.offline.fit import fit_artifact

    artifact, report = fit_artifact(read_outcomes(table), seed=seed)
    save_artifact(artifact, out)
    timing = bench_decision(artifact, _DECISIONS_TIMED).parts["decision"]
    if as_json:
        print(json.dumps(report.to_json() | {"decision": asdict(timing)}, indent=2))
        return
    print(report.as_text())
    print(f"a decision: median {timing.median_s * 1e3:.3f} ms, p99 {timing.p99_s * 1e3:.3f} ms")

"""`adaptive-sd report`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer


def report(
    table: Annotated[Path, typer.Argument(help="Outcome table (Parquet or CSV).")],
    out: Annotated[Path, typer.Option(help="The page, NAME.html; plots go beside it as PNG.")],
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of an artifact, not fitted on prompts to test on.")
    ] = None,
    lam: Annotated[
        float | None,
        typer.Option("--lambda", min=0, help="Weight of quality of the paths and examples shown."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=1, help="Resamples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
) -> None:
    """Write one self-contained page: frontier, calibration, stopping, examples, settings."""
    from adaptive_sd.artifact import load_artifact
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow, the fit scikit-learn
    from adaptive_sd.offline.replay.seen import unread
    from adaptive_sd.offline.report.gather import make_report
    from adaptive_sd.offline.report.page import draw, render_page
    from adaptive_sd.offline.report.provenance import Settings, hashes, versions
    from adaptive_sd.offline.report.publish import check_out, publish

    check_out(out)
    settings = Settings(table, artifact, out, lam, bootstrap, seed)
    fitted = None if artifact is None else load_artifact(artifact)
    outcomes = read_outcomes(table, without=unread(fitted))
    made_from = hashes(settings, fitted)
    found = make_report(outcomes, artifact=fitted, lam=lam, num_resamples=bootstrap, seed=seed)
    drawings = draw(found)
    page = render_page(
        found,
        drawings,
        settings=settings,
        hashes=made_from,
        versions=versions(),
        made=datetime.now().astimezone(),
    )
    print(*found.replay.notes(), sep="\n", file=sys.stderr)
    for path in publish(out, page, drawings):
        print(path, file=sys.stderr)

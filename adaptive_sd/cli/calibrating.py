"""`adaptive-sd calibrate`."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from adaptive_sd.build import open_stages
from adaptive_sd.cli.ladder_file import write_ladder
from adaptive_sd.cli.outputs import check_out, how_to_use
from adaptive_sd.cli.progress import counting_bar
from adaptive_sd.cli.recording import check_limits, warn_of_other_rates
from adaptive_sd.config import chosen_config
from adaptive_sd.data.graders import Graders
from adaptive_sd.data.prompt_files import read_prompts
from adaptive_sd.data.tasks import Task, check_task
from adaptive_sd.offline.record import record, warm_up
from adaptive_sd.offline.recording import Recording

if TYPE_CHECKING:
    from adaptive_sd.data.outcomes import OutcomeTable

_RECORDING = (".sqlite", ".db")
_TABLE = (".parquet", ".csv")


def calibrate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS",
            help="100 to 500 prompts of yours: .txt, one a line, blank lines skipped; or .jsonl, "
            "their field `prompt`. Or what is there already: a recording (.sqlite, .db) or an "
            "outcome table with answers (.parquet, .csv), whose grades do not count.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the artifact. Beside it, in OUT.sqlite, the stages' answers are kept: "
            "the same command again asks only for what is missing, and fits anew. Without --config "
            "OUT.toml is written too, a configuration with these stages and the artifact."
        ),
    ],
    stages: Annotated[str | None, typer.Option(help="Stages, cheapest first.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    target_quality: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Promise this agreement with the largest stage, as cheaply as can be: 30 % of the "
            "prompts are set aside to show it.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Fit the ladder to your own prompts, without answers to grade by.

    Quality is agreement with the largest stage: the same letter, number or program; of free text
    the token F1. What is estimated and promised is that, not how often an answer is right.
    """
    from adaptive_sd.artifact import save_artifact
    from adaptive_sd.offline.unlabelled.calibrate import calibrate as run_calibrate

    check_out(out, [source, *([config] if config else [])])
    if source.suffix.lower() in (*_RECORDING, *_TABLE):
        if stages or config:
            raise typer.BadParameter(f"{source} has its own stages: leave out --stages, --config.")
        table = _read(source)
    else:
        table = _record(source, out, stages, config, target_quality, offline)
    found = run_calibrate(table, target_quality=target_quality, seed=seed, say=_say)
    save_artifact(found.artifact, out)
    _say(_next_step(out, source, stages, config))
    if as_json:
        print(json.dumps(found.report.to_json() | {"fit": found.fit.to_json()}, indent=2))
        return
    print(found.report.as_text())


def _next_step(out: Path, source: Path, stages: str | None, config: Path | None) -> str:
    """How to answer with the artifact; makes a configuration of stages that have none."""
    path = out.with_name(f"{out.name}.toml")
    is_asked = config is None and source.suffix.lower() not in (*_RECORDING, *_TABLE)
    if is_asked and write_ladder(chosen_config(None, stages), out, path):
        return f'{out}: used by `adaptive-sd answer "..." --config {path}`'
    return how_to_use(out, "of these stages")


def _read(source: Path) -> OutcomeTable:
    """Of what is there already."""
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow

    if source.suffix.lower() in _TABLE:
        return read_outcomes(source, ungraded=True)
    return _export(source)


def _record(
    source: Path,
    out: Path,
    stages: str | None,
    config: Path | None,
    target_quality: float | None,
    offline: bool,
) -> OutcomeTable:
    """Every stage's answers to the prompts, in the recording beside the artifact."""
    from adaptive_sd.offline.unlabelled.agreement import check_stages
    from adaptive_sd.offline.unlabelled.calibrate import check_number  # loads scikit-learn

    tasks = _tasks(source)
    check_number(len(tasks), target_quality)
    ladder = chosen_config(config, stages)
    check_stages(len(ladder.stages))
    check_limits(ladder)
    path = out.with_name(f"{out.name}.sqlite")
    check_out(path, [source, *([config] if config else [])])
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        recording = stack.enter_context(Recording(path))
        opened = [stack.enter_context(stage) for stage in open_stages(ladder, offline=offline)]
        _say(f"{path}: answers of {len(opened)} stages to {len(tasks)} prompts")
        warn_of_other_rates(recording, opened)
        warm_up(tasks, opened, recording)
        with counting_bar("recording") as show:
            record(tasks, opened, recording, graders=Graders(), on_progress=show)
    table = _export(path)
    asked = {task.id for task in tasks}  # an earlier file may have had others
    return table.take(np.flatnonzero([name in asked for name in table.prompt_ids]))


def _tasks(source: Path) -> list[Task]:
    """Each text once, with an id that it keeps wherever it stands."""
    found: dict[str, Task] = {}
    for prompt in read_prompts(source):
        name = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        found[name] = Task(name, "prompts", "", prompt, "", "none")
        check_task(found[name], f"{source}, {prompt!r:.40}")
    return list(found.values())


def _export(path: Path) -> OutcomeTable:
    from adaptive_sd.data.outcomes import read_outcomes, write_outcomes
    from adaptive_sd.offline.export import export_recordings

    exported = export_recordings([path])
    if exported.num_unfinished:
        _say(f"left out: {exported.num_unfinished} prompts that not every stage has answered yet")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        write_outcomes(exported.table, exported.stages, table)
        return read_outcomes(table, ungraded=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr)

"""`adaptive-sd record`."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.build import open_stages
from adaptive_sd.cli.ladder_file import write_ladder
from adaptive_sd.cli.outputs import check_out
from adaptive_sd.cli.progress import counting_bar
from adaptive_sd.config import Config, chosen_config, default_config, ladder_of
from adaptive_sd.data.endpoint import Endpoint
from adaptive_sd.data.graders import Graders
from adaptive_sd.data.grading import Grader
from adaptive_sd.data.hub.sets import HUB_SETS
from adaptive_sd.data.judging import RubricJudge
from adaptive_sd.data.own_grader import load_grader
from adaptive_sd.data.tasks import Task, bundled_names, load_tasks
from adaptive_sd.engines.passes import MAX_BRANCHES
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.models.home import is_offline
from adaptive_sd.offline.record import record as record_tasks
from adaptive_sd.offline.record import regrade, warm_up
from adaptive_sd.offline.recording import Recording
from adaptive_sd.offline.reuse import take_over
from adaptive_sd.offline.votes import record_votes
from adaptive_sd.prompt import prompt_hash
from adaptive_sd.rates import TOLERANCE, differ
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STEP_STYLES

_TASKS_HELP = (
    f"Bundled sets ({', '.join(bundled_names())}), JSONL files, or sets of the public hub: "
    "hub:NAME, with the extra `datasets` "
    "(hub:NAME=FILE reads a local copy in Parquet or JSON). "
    f"Hub names: {', '.join(HUB_SETS)}."
)
_MOST_REASONS = 5


def record(
    tasks: Annotated[list[str], typer.Argument(help=_TASKS_HELP)],
    out: Annotated[
        Path,
        typer.Option(
            help="SQLite file. One that is there is gone on with: what it lacks, and prompts on "
            "which a stage failed."
        ),
    ],
    stages: Annotated[str | None, typer.Option(help="Stages, cheapest first.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts of each set.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of prompts.")] = 0,
    skip: Annotated[
        list[Path] | None, typer.Option(help="JSONL with prompts to leave out, by their text.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Judge of free answers: base URL of an OpenAI-compatible endpoint."),
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="The model behind --judge.")] = None,
    judge_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key of --judge.")
    ] = None,
    judge_stage: Annotated[
        str | None, typer.Option(help="Judge of free answers: a larger local model.")
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(
            help="Grade every answer with your own grader: a Python file, which is run, that "
            "defines grade(task, text) -> float | None, or an installed entry point. Grades that "
            "it gave stay when a later run goes on without it."
        ),
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            help="Earlier recording: answers of the same stages to the same texts are taken over, "
            "also those that votes of the same model (--votes) would elect."
        ),
    ] = None,
    votes: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_BRANCHES, help="Sampled step-by-step answers of the last stage instead."
        ),
    ] = None,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Spread stages and prompts over the machines of a Ray cluster (extra ray).",
        ),
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Of the cluster for --ray; else workers of this machine."),
    ] = None,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Run every stage on every prompt, grade and store the answers.

    The same command again goes on where it was interrupted, and tries again where a stage failed.
    """
    if ray_address is not None and not ray:
        raise typer.BadParameter("--ray-address is of --ray.")
    if ray and (reuse or votes is not None):
        raise typer.BadParameter("--reuse and --votes are not for --ray; record them without.")
    if ray:
        from adaptive_sd.distributed.cluster import load_ray

        load_ray()
    if is_offline(offline):
        os.environ["HF_HUB_OFFLINE"] = "1"  # the hub's own packages read it when imported
    left_out = {prompt_hash(t.prompt) for path in skip or () for t in load_tasks(str(path))}
    chosen = _joined((name, _choose(name, limit, seed, left_out)) for name in tasks)
    files = [Path(name.partition("=")[2] or name) for name in tasks]
    read = [*(skip or ()), *(reuse or ()), *([config] if config else [])]
    check_out(out, [*files, *read, *([Path(grader)] if grader else [])])
    ladder = chosen_config(config, stages)
    check_limits(ladder)
    with ExitStack() as stack:
        graders = Graders(
            judge=_judge(stack, judge, judge_model, judge_key_env, judge_stage, offline),
            own=load_grader(grader) if grader else None,
        )
        recording = stack.enter_context(Recording(out))
        _warn_without_judge(graders, chosen)
        if ray:
            _record_on_ray(chosen, ladder, recording, graders, ray_address, offline)
        else:
            _record_here(chosen, ladder, recording, graders, votes, reuse or (), offline)
        _print_gaps(recording)
    path = out.with_suffix(".toml")
    if stages and not config and votes is None and write_ladder(ladder, None, path):
        print(f"{path}: a configuration of these stages, for the artifact to come", file=sys.stderr)


def _record_here(
    tasks: Sequence[Task],
    ladder: Config,
    recording: Recording,
    graders: Graders,
    votes: int | None,
    reuse: Sequence[Path],
    offline: bool,
) -> None:
    if votes is not None:
        last = replace(ladder.stages[-1], style={f.value: s for f, s in STEP_STYLES.items()})
        ladder = replace(ladder, stages=(last,))
    with ExitStack() as stack:
        opened = [stack.enter_context(stage) for stage in open_stages(ladder, offline=offline)]
        earlier = [stack.enter_context(Recording(path, read_only=True)) for path in reuse]
        if earlier and votes is None:
            num_copied = take_over(tasks, opened, recording, earlier)
            print(f"{num_copied} answers were taken over", file=sys.stderr)
        _grade_again(recording, graders)
        warn_of_other_rates(recording, opened)
        warm_up(tasks, opened, recording)
        with counting_bar("recording") as show:
            if votes is None:
                record_tasks(tasks, opened, recording, graders=graders, on_progress=show)
            else:
                record_votes(
                    *(tasks, opened[0], votes, recording), graders=graders, on_progress=show
                )


def _record_on_ray(
    tasks: Sequence[Task],
    ladder: Config,
    recording: Recording,
    graders: Graders,
    address: str | None,
    offline: bool,
) -> None:
    from adaptive_sd.distributed.placement import placements
    from adaptive_sd.distributed.recording import record as record_on_ray

    _grade_again(recording, graders)
    with counting_bar("recording") as show:
        record_on_ray(
            *(tasks, placements(ladder, offline=offline), recording),
            graders=graders,
            on_progress=show,
            address=address,
        )


def _grade_again(recording: Recording, graders: Graders) -> None:
    with counting_bar("grading again") as show:
        regrade(recording, graders, on_progress=show)


def check_limits(ladder: Config) -> None:
    """Raise ConfigError for a stage with a limit of its own."""
    for stage in ladder.stages:
        if stage.max_tokens is not None:
            raise ConfigError(
                f"stage {stage.name!r} has max_tokens; answers are recorded with the limits of "
                "their styles, and fits know no other: leave it out."
            )


def warn_of_other_rates(recording: Recording, stages: Sequence[Stage]) -> None:
    """Where the machine is much faster or slower than when the recording was begun."""
    for known, stage in zip(recording.stages(), stages, strict=False):
        rates = stage.rates
        if known.info == stage.engine.info and rates is not None and differ(known.rates, rates):
            print(
                f"warning: {known.name} is now faster or slower by more than {TOLERANCE:.0%}; "
                "costs stay those of the first run's rates.",
                file=sys.stderr,
            )


def _print_gaps(recording: Recording) -> None:
    gaps = list(recording.gaps().items())
    for reason, count in gaps[:_MOST_REASONS]:
        print(f"without a grade: {count} answers ({reason})", file=sys.stderr)
    if len(gaps) > _MOST_REASONS:
        rest = sum(count for _, count in gaps[_MOST_REASONS:])
        print(f"without a grade: {rest} answers for other reasons", file=sys.stderr)


def _judge(
    stack: ExitStack,
    url: str | None,
    model: str | None,
    key_env: str | None,
    stage_name: str | None,
    offline: bool,
) -> Grader | None:
    """The judge that the options ask for; the stack closes it."""
    if url is not None and stage_name is not None:
        raise typer.BadParameter("give --judge or --judge-stage, not both.")
    if stage_name is not None:
        (stage,) = open_stages(ladder_of(default_config(), [stage_name]), offline=offline)
        stack.callback(stage.close)
        version = f"{stage_name} {stage.model_hash[:12]}"
        return RubricJudge(version, lambda messages: stage.generate([messages]).outputs[0])
    if url is None:
        return None
    if model is None:
        raise typer.BadParameter("--judge needs --judge-model, the name of the model there.")
    key = os.environ.get(key_env, "") if key_env else None
    if key == "":
        raise ConfigError(
            f"--judge-key-env {key_env}: this environment variable is not set; export it, or leave "
            "the option out where no key is asked for."
        )
    endpoint = stack.enter_context(Endpoint(url, model, key=key))
    return RubricJudge(model, endpoint.ask)


def _warn_without_judge(graders: Graders, tasks: Sequence[Task]) -> None:
    count = sum(map(graders.lacks_judge, tasks))
    if count:
        print(
            f"warning: {count} prompts need a judge, so their answers are not graded; run again "
            "with --judge or --judge-stage to grade what is recorded.",
            file=sys.stderr,
        )


def _joined(sets: Iterable[tuple[str, Sequence[Task]]]) -> list[Task]:
    """All their prompts, each once; an id of two prompts raises DataError naming their sets."""
    found: dict[str, tuple[Task, str]] = {}
    for name, tasks in sets:
        for task in tasks:
            known, where = found.setdefault(task.id, (task, name))
            if known != task:
                raise DataError(
                    f"{name}: id {task.id!r} stands for another prompt in {where}; give every "
                    "prompt an id of its own."
                )
    return [task for task, _ in found.values()]


def _choose(name: str, limit: int | None, seed: int, left_out: set[str]) -> list[Task]:
    """A seeded choice of `limit` prompts of one set, in their own order; none by these hashes."""
    tasks = [task for task in load_tasks(name) if prompt_hash(task.prompt) not in left_out]
    if limit is None or limit >= len(tasks):
        return tasks
    picked = sorted(random.Random(seed).sample(range(len(tasks)), limit))
    return [tasks[i] for i in picked]

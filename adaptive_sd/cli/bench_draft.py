"""`adaptive-sd bench draft`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from adaptive_sd.build import open_cascade
from adaptive_sd.cli.explain import table
from adaptive_sd.cli.progress import counting_bar
from adaptive_sd.config import Config, default_config
from adaptive_sd.data.tasks import load_tasks
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.models.store import resolve
from adaptive_sd.offline.benches.draft import DraftBench
from adaptive_sd.offline.benches.draft_summary import SetSummary, summarise
from adaptive_sd.offline.benches.methods import Method, by_tool, plain, reuse
from adaptive_sd.offline.benches.results import RESULTS, write_results
from adaptive_sd.offline.benches.tools import Tool, ToolSettings
from adaptive_sd.offline.research_log import check_writable

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OutOption = Annotated[Path, typer.Option(help="Folder of the results.")]


def draft(
    tasks: Annotated[list[str], typer.Argument(help="Bundled sets or JSONL files.")],
    limit: Annotated[int | None, typer.Option(min=1, help="The first prompts of each set.")] = None,
    draft_stage: Annotated[
        str | None, typer.Option(help="The drafting stage; else the one below the largest.")
    ] = None,
    lenience: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=20.0,
            help="Also reuse with this lenience (nats); it was not faster in our measurements.",
        ),
    ] = None,
    speculation_python: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Python with xllamacpp: also token-level speculation."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="99th percentile of the largest stage's margin noise, as kernel_noise.py measures "
            "it: answers that diverge at less than twice this count as the same.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the methods' order and intervals.")] = 0,
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Time a smaller stage's draft, verified by the largest stage, against other ways to answer.

    Each prompt is answered by the largest stage plainly, with the draft, with prompt lookup of
    llama-cpp-python and, where asked for, leniently and with token-level speculation. Written to
    --out as JSON and a plot.
    """
    from adaptive_sd.offline.benches.plots import plot_drafts  # loads matplotlib

    chosen = [task for name in tasks for task in load_tasks(name, limit)]
    config = default_config()
    drafted = _index_of(draft_stage, config)
    check_writable(out)
    rng = np.random.default_rng(seed)
    with ExitStack() as stack:
        tools = _open_tools(stack, config, drafted, speculation_python)
        cascade = stack.enter_context(open_cascade(config))
        target = cascade.stages[-1]
        methods: dict[str, Method] = {"plain": plain(target), "reuse": reuse(target)}
        if lenience is not None:
            methods[f"reuse, lenience {lenience:g}"] = reuse(target, lenience)
        methods |= {name: by_tool(tool, target) for name, tool in tools.items()}
        for stage in (cascade.stages[drafted], target):
            stage.warm_up()
        bench = DraftBench(cascade.stages, cascade.judge, drafted, methods)
        with counting_bar("answering") as show:
            runs = bench.run(chosen, rng=rng, on_progress=show)
    for prompt_id, reason in runs.left_out.items():
        print(f"left out {prompt_id}: {reason}", file=sys.stderr)
    failures = {run.task.id: dict(run.failures) for run in runs.answered if run.failures}
    for prompt_id, of_prompt in failures.items():
        for method, reason in of_prompt.items():
            print(f"{method} failed on {prompt_id}: {reason}", file=sys.stderr)
    if not runs.answered:
        raise DataError(f"{', '.join(tasks)}: no prompt was answered.")
    sets = summarise(runs.answered, noise, rng=rng)
    names = (config.stages[drafted].name, config.stages[-1].name)
    document = {
        "tasks": tasks,
        "limit": limit,
        "draft_stage": names[0],
        "target": names[1],
        "tools": {name: tool.version for name, tool in tools.items()},
        "lenience": lenience,
        "noise": noise,
        "seed": seed,
        "left_out": runs.left_out,
        "failures": failures,
        "sets": [asdict(of_set) for of_set in sets],
    }
    plot = plot_drafts(sets, f"{names[1]}, drafts of {names[0]}")
    write_results(out, "draft", document, plot, now=datetime.now())
    if as_json:
        print(json.dumps(document, indent=2))
        return
    print("\n\n".join(_as_text(of_set) for of_set in sets))


def _index_of(name: str | None, config: Config) -> int:
    smaller = [stage.name for stage in config.stages[:-1]]
    if name is None:
        return len(smaller) - 1
    if name not in smaller:
        raise ConfigError(f"--draft-stage {name!r}: choose one of {', '.join(smaller)}.")
    return smaller.index(name)


def _open_tools(
    stack: ExitStack, config: Config, drafted: int, speculation_python: str | None
) -> dict[str, Tool]:
    """Prompt lookup here, and speculation in its own Python; with as many threads as the stage.

    The stack closes them.
    """
    target = config.stages[-1]
    threads = target.threads or len(os.sched_getaffinity(0))
    model = resolve(target.model).path
    lookup = ToolSettings("llama-cpp-python", model, None, target.context, threads)
    tools = {"prompt lookup": stack.enter_context(Tool(lookup))}
    if speculation_python is not None:
        draft_model = resolve(config.stages[drafted].model).path
        settings = ToolSettings("xllamacpp", model, draft_model, target.context, threads)
        tools["speculation"] = stack.enter_context(Tool(settings, speculation_python))
    return tools


def _as_text(of_set: SetSummary) -> str:
    head = ("", "prompts", "seconds", "ratio", "with prompt", "a token")
    counts = ("tokens", "drafted", "accepted", "spans")
    rows = [
        (
            method.name,
            str(method.num_prompts),
            f"{method.seconds:.1f}",
            f"{method.ratio:.2f}",
            f"{method.ratio_with_prompt:.2f}",
            f"{method.ratio_per_token:.2f}",
            *(str(n) for n in (method.num_tokens, method.num_drafted, method.num_accepted)),
            "?" if method.num_spans is None else str(method.num_spans),
            "" if method.quality is None else f"{method.quality:.3f}",
            "" if method.quality_difference is None else f"{method.quality_difference:+.3f}",
            f"{method.identical_share:.0%}",
            "" if method.same_share is None else f"{method.same_share:.0%}",
        )
        for method in of_set.methods
    ]
    lines = [
        f"{of_set.name}: {of_set.num_prompts} prompts, {of_set.num_graded} graded",
        f"drafts {of_set.draft_s:.1f} s ({of_set.num_draft_tokens} tokens), prompts read in "
        f"{of_set.prompt_s:.1f} s; neither is in the seconds below",
        table([(*head, *counts, "quality", "difference", "identical", "same"), *rows]),
    ]
    if of_set.near_tie_share is not None:
        lines.append(
            f"same: equal but for divergences at near ties, which {of_set.near_tie_share:.1%} of "
            "plain's tokens are"
        )
    if (own := of_set.agreeing) is not None:
        lines.append(
            f"its own first 64 tokens as the draft, {own.num_prompts} prompts: verified "
            f"{own.verified_s:.1f} s, generated {own.generated_s:.1f} s, ratio {own.ratio:.2f}; "
            f"{own.num_accepted} of {own.num_drafted} accepted in {own.num_spans} spans"
        )
    return "\n".join(lines)

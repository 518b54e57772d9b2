"""`adaptive-sd doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.cli.explain import table
from adaptive_sd.config import chosen_config
from adaptive_sd.doctor import ModelReport, Report, StageReport, examine, examine_stages


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    context: Annotated[int, typer.Option(min=1, help="Context to plan memory for.")] = 4096,
    slots: Annotated[int, typer.Option(min=1, help="Slots of every stage to plan for.")] = 1,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (TOML): check each of its stages too.")
    ] = None,
    measure: Annotated[
        bool, typer.Option(help="Measure rates again (on an idle machine).")
    ] = False,
) -> None:
    """Show what this machine is, which models it has, how fast they run and what fits."""
    ladder = None if config is None else chosen_config(config)
    report = examine(context=context, slots=slots, again=measure)
    if ladder is not None:
        report = replace(report, stages=examine_stages(ladder))
    print(json.dumps(asdict(report), indent=2) if as_json else _text(report))
    if any(stage.error for stage in report.stages):
        raise typer.Exit(1)


def _text(report: Report) -> str:
    lines = [
        f"python   {report.python}",
        f"cpu      {report.cpu}, {report.num_cores} cores, {' '.join(report.cpu_flags)}",
        f"memory   {report.memory_free_bytes / 1e9:.1f} of {report.memory_bytes / 1e9:.1f} GB free",
        f"home     {report.home}, {report.disk_free_bytes / 1e9:.1f} GB free on its disk",
    ]
    lines += [
        f"{tool.name:<8} {tool.found or 'not here'}   check: {tool.check}" for tool in report.tools
    ]
    if report.models:
        head = ("model", "size", "prefill", "decode", "fits", "state")
        lines.append(table([head, *map(_model_cells, report.models)]))
    lines += map(_stage_line, report.stages)
    return "\n".join([*lines, *(f"advice: {a}" for a in report.advice)])


def _model_cells(model: ModelReport) -> tuple[str, ...]:
    return (
        model.name,
        f"{model.bytes / 1e6:.0f} MB",
        _per_s(model.prefill_per_s),
        _per_s(model.decode_per_s),
        "yes" if model.fits else "no",
        model.state,
    )


def _stage_line(stage: StageReport) -> str:
    found = stage.endpoint
    line = f"stage    {stage.name} ({stage.engine}, {stage.model}): "
    if found is None:
        return line + (stage.error or "here and whole")
    works = {
        "logprobs": found.logprobs,
        "usage": found.usage,
        "tokenizer": found.tokenizer,
        "verification": found.verification,
        "prefix cache": found.prefix_cache,
    }
    words = {True: "yes", False: "no", None: "not told"}
    told = ", ".join(f"{name} {words[value]}" for name, value in works.items())
    context = f", context {found.context}" if found.context else ""
    why = f" (no verification: {found.why_no_verification})" if not found.verification else ""
    server = found.server or "a server that does not name itself"
    return f"{line}answers in {found.first_answer_s:.2f} s; {server}{context}; {told}{why}"


def _per_s(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0f} tok/s"

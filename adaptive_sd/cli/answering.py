"""`adaptive-sd answer`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from adaptive_sd.build import Cascade, open_cascade, traces_path
from adaptive_sd.cascade import Request
from adaptive_sd.cli.explain import abstention, explain, headline
from adaptive_sd.config import Config, chosen_config
from adaptive_sd.data.prompt_files import read_json_prompts
from adaptive_sd.decision.certificates import Certificates
from adaptive_sd.decision.policies import check_lam
from adaptive_sd.errors import ArtifactError, ConfigError
from adaptive_sd.prompt import Prompt
from adaptive_sd.trace import Answer
from adaptive_sd.trace_store import TraceStore

PromptArgument = Annotated[str | None, typer.Argument(help="The prompt; - reads it from stdin.")]


def answer(
    prompt: PromptArgument = None,
    file: Annotated[
        Path | None, typer.Option(help="JSONL file with a `prompt` a line; one JSON line each.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    explained: Annotated[
        bool, typer.Option("--explain", help="Show what each stage did, and why.")
    ] = False,
    stages: Annotated[
        str | None, typer.Option(help="Stages, cheapest first: catalogue names or GGUF paths.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    lam: Annotated[
        float | None, typer.Option("--lambda", help="Weight of quality, in the unit of cost.")
    ] = None,
    target_quality: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of the best single stage's quality (of a ladder calibrated without labels: "
            "agreement with its largest stage), if the fit certified it.",
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Mean cost of a prompt, if the fit certified it.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(help="Most seconds of cost of one answer; hard: the best so far is given."),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(help="Most seconds that one takes; hard: the best so far is given."),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(help="Give no answer whose estimated quality, 0 to 1, is below this."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of an answer.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="Stop string; may be repeated.")] = None,
    lenience: Annotated[
        float,
        typer.Option(
            help="Keep draft tokens that a larger stage finds up to so many nats less likely than "
            "its best (greedy only); 0 is exact. In our measurements it was not faster."
        ),
    ] = 0.0,
    context: Annotated[
        int | None, typer.Option(help="Context of every stage that no server runs, in tokens.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of llama.cpp and transformers stages.")
    ] = None,
    n_gpu_layers: Annotated[
        int | None, typer.Option(help="Layers of llama.cpp stages to put on a GPU.")
    ] = None,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
    keep_prompt: Annotated[bool, typer.Option(help="Store prompt and text in the trace.")] = False,
) -> None:
    """Answer a prompt with the cheapest stage that is good enough."""
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give a prompt or --file with prompts, one of the two.")
    if [lam, target_quality, budget].count(None) < 2:
        raise typer.BadParameter("give one of --lambda, --target-quality and --budget.")
    caps = _caps(max_cost, deadline, abstain_below)
    if lam is not None:
        check_lam(lam)  # before any model is fetched or measured
    certified = target_quality is not None or budget is not None
    if certified and caps != Request():
        raise typer.BadParameter(
            "--max-cost, --deadline and --abstain-below change what was certified; give them "
            "without --target-quality and --budget."
        )
    prompts = read_json_prompts(file) if file else [_read_prompt(prompt or "")]
    ladder = _ladder(config, stages, context, threads, n_gpu_layers)
    with open_cascade(ladder, offline=offline) as cascade:
        if certified and ladder.online:
            raise ConfigError(
                "an online ladder changes what was certified; give --target-quality and --budget "
                "to a configuration without `online`."
            )
        if certified:
            lam = _certified_lam(cascade.judge.certificates, target_quality, budget)
        request = replace(
            caps,
            lam=lam,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=tuple(stop or ()),
            lenience=lenience,
        )
        store = TraceStore(traces_path(), keep_prompts=keep_prompt)
        for text in prompts:
            asked = _with_system(text, system)
            if file or as_json:
                given = cascade.answer(asked, request)
                print(json.dumps(given.to_json(), ensure_ascii=False, indent=None if file else 2))
            else:
                given = _print_text(cascade, asked, request)
                if not explained and (given.degraded or sys.stdout.isatty()):
                    print(headline(given), file=sys.stderr)
            sys.stdout.flush()
            _keep(store, text, given)
            if explained:
                print(explain(given, cascade), file=sys.stderr)


def _caps(max_cost: float | None, deadline_s: float | None, abstain_below: float | None) -> Request:
    try:
        return Request(max_cost=max_cost, deadline_s=deadline_s, abstain_below=abstain_below)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def _certified_lam(
    known: Certificates | None, target_quality: float | None, budget: float | None
) -> float:
    """Of one of the two. Raises ArtifactError where that is not certified."""
    if known is None:
        raise ArtifactError(
            "nothing is certified for this ladder; `adaptive-sd fit TABLE --out FOLDER "
            "--target-quality Q` sets prompts aside and certifies what they show."
        )
    if target_quality is not None:
        return known.for_quality(target_quality).lam
    assert budget is not None
    return known.for_budget(budget).lam


def _keep(store: TraceStore, prompt: str, given: Answer) -> None:
    """The answer is there already: a trace that cannot be kept is no reason to fail."""
    try:
        store.append(prompt, given)
    except ConfigError as error:
        print(f"warning: {error}", file=sys.stderr)


def _print_text(cascade: Cascade, prompt: Prompt, request: Request) -> Answer:
    """Print the answer; on a terminal while it grows."""
    if not sys.stdout.isatty():
        given = cascade.answer(prompt, request)
        print(abstention(given) if given.abstained else given.text)
        return given
    with cascade.stream(prompt, request) as stream:
        for piece in stream:
            print(piece, end="", flush=True)
    assert stream.answer is not None  # the iteration ended without an error
    print(abstention(stream.answer) if stream.answer.abstained else "")
    return stream.answer


def _with_system(prompt: str, system: str | None) -> Prompt:
    if system is None:
        return prompt
    return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]


def _ladder(
    config: Path | None,
    stages: str | None,
    context: int | None,
    threads: int | None,
    gpu_layers: int | None,
) -> Config:
    return chosen_config(config, stages).with_engine_options(
        context=context, threads=threads, gpu_layers=gpu_layers
    )


def _read_prompt(prompt: str) -> str:
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise ConfigError("the prompt is empty; write a question.")
    return text

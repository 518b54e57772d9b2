"""`adaptive-sd demo`: six prompts through the ladder, live, then against always-largest."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from adaptive_sd.build import Cascade, open_cascade
from adaptive_sd.cascade import Request
from adaptive_sd.cli.explain import explain, table
from adaptive_sd.cli.models import fetch
from adaptive_sd.config import default_config
from adaptive_sd.models.catalogue import find, split_format
from adaptive_sd.offline.benches.ladder import run_largest
from adaptive_sd.trace import Answer, told_cost
from adaptive_sd.types import Draft

PROMPTS = (
    "What is the chemical symbol for gold?",
    "Which of these is a renewable source of energy?\nA. coal\nB. natural gas\nC. wind\n"
    "D. petroleum",
    "The Kestrel Bridge was opened in 1934 to replace a ferry that had carried coal across the "
    "estuary since 1871. Its architect, Ines Varga, had first proposed a tunnel, but the soft "
    "clay below the river made that too dear.\n\nWho was the architect of the bridge?",
    "A student pushes against a wall that does not move. What is true?\n"
    "A. The wall pushes back with an equal force.\nB. No force acts.\n"
    "C. The student does work on the wall.\nD. The wall pushes back harder.",
    'def running_maximum(numbers: list[int]) -> list[int]:\n    """For each place, the largest '
    "number up to and including it.\n    >>> running_maximum([3, 1, 4, 1, 5])\n"
    '    [3, 3, 4, 4, 5]\n    """\n',
    "A ticket costs 12 dollars. Mia buys 4 tickets and pays with a 100 dollar note. How much "
    "change does she get in dollars?",
)


def demo(
    lam: Annotated[
        float | None, typer.Option("--lambda", help="Weight of quality, in seconds of cost.")
    ] = None,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Fetch the default ladder's models and answer six prompts with it, explained."""
    request = Request(lam=lam)
    names = [split_format(stage.model)[0] for stage in default_config().stages]
    fetch([find(name) for name in names], offline=offline)
    with open_cascade(default_config(), offline=True) as cascade:
        print(
            "loading models, which read the worked examples of their prompts ...", file=sys.stderr
        )
        for stage in cascade.stages:
            stage.warm_up()
        answers = []
        for number, prompt in enumerate(PROMPTS, start=1):
            answers.append(_show(cascade, number, prompt, request))
        print(f"\nThe same prompts with {cascade.stages[-1].name} alone ...", file=sys.stderr)
        drafts = [run_largest(cascade, prompt, request) for prompt in PROMPTS]
        print(_against_largest(cascade, answers, drafts))


def _show(cascade: Cascade, number: int, prompt: str, request: Request) -> Answer:
    print(f"\n--- {number} of {len(PROMPTS)}\n{_indented(prompt)}", flush=True)
    answer = cascade.answer(prompt, request)
    print(f"answer:\n{_indented(answer.text or '')}\nhow:\n{explain(answer, cascade)}", flush=True)
    return answer


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def _against_largest(cascade: Cascade, answers: list[Answer], drafts: list[Draft]) -> str:
    last = len(cascade.stages) - 1
    costs = [cascade.judge.cost(last, draft) for draft in drafts]
    rows = [("prompt", "answered by", "ladder s", "largest s", "ladder cost", "largest cost")]
    rows += [
        (
            *(str(number), answer.stage, f"{answer.latency_s:.2f}", f"{draft.latency_s:.2f}"),
            *(told_cost(answer.cost), told_cost(cost)),
        )
        for number, (answer, draft, cost) in enumerate(
            zip(answers, drafts, costs, strict=True), start=1
        )
    ]
    ladder_cost, unit = sum(a.cost for a in answers), answers[0].cost_unit
    return (
        f"\n{table(rows)}\n\n{len(answers)} prompts: cost {told_cost(ladder_cost)} {unit} with the "
        f"ladder, {told_cost(sum(costs))} {unit} with {cascade.stages[-1].name} alone: "
        f"{ladder_cost / sum(costs) - 1:+.0%}\n(costs are token counts times rates; seconds were "
        "taken one after the other, with whatever else ran on this machine)"
    )

"""Do the queues of `adaptive-sd plan` wait as a live ladder's do?

python experiments/plan_check.py --load 0.6 --count 200

Two small stages of one thread and one slot each answer prompts one after the other, which tells
what they take; then as many come at random (Poisson), so that the busier stage is busy for the
share --load of the time. Compared with what was foreseen for one replica of each: by the seconds
that answers took one after the other, and by token counts times rates. Prints a table; writes
plan_check.json below --out. On a busy machine the seconds themselves drift: see `drift`, the mean
seconds of work of a request in the second part over the first.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adaptive_sd.build import Cascade, open_cascade
from adaptive_sd.cascade import Request
from adaptive_sd.cli.explain import table
from adaptive_sd.config import default_config, ladder_of
from adaptive_sd.data.tasks import load_tasks
from adaptive_sd.offline.experiment import exit_code_of
from adaptive_sd.offline.research_log import json_bytes, write_whole
from adaptive_sd.offline.sizing.demand import Demand, demand_of_traces
from adaptive_sd.offline.sizing.plan import foresee
from adaptive_sd.offline.sizing.replica import Replica

Document = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    options = _parse(arguments)
    return exit_code_of(lambda: _run(options))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", default="smollm2-135m,qwen2.5-coder-0.5b")
    parser.add_argument("--tasks", default="demo-mix")
    parser.add_argument("--count", type=int, default=200, help="requests in each part")
    parser.add_argument("--load", type=float, default=0.6, help="of the busier stage")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    ladder = ladder_of(default_config(), options.stages.split(","))
    stages = tuple(replace(stage, threads=1, slots=1, max_waiting=1000) for stage in ladder.stages)
    rng = random.Random(options.seed)
    tasks = load_tasks(options.tasks)
    first, second = ([t.prompt for t in rng.choices(tasks, k=options.count)] for _ in range(2))
    request = Request(max_tokens=options.max_tokens)
    with open_cascade(replace(ladder, stages=stages)) as cascade:
        replicas = [Replica(s.name, s.measure_rates()) for s in cascade.stages]
        for stage in cascade.stages:
            stage.warm_up()
        alone = [cascade.answer(prompt, request).to_json() for prompt in first]
        names = [stage.name for stage in stages]
        seconds = _demand([_by_clock(document) for document in alone], names)
        rate = options.load / (np.nansum(seconds.work_s, axis=0) / len(alone)).max()
        print(f"{rate:.3g} requests/s for {options.count / rate:.0f} s", file=sys.stderr)
        live = _live(cascade, second, request, float(rate), rng)
    ones = (1,) * len(stages)
    found: dict[str, Document] = {"measured": live}
    for name, demand in (("by seconds", seconds), ("by rates", _demand(alone, names))):
        plan = foresee(demand, replicas, float(rate), ones, seed=options.seed)
        found[name] = plan.to_json()
    found["drift"] = {"work": live.pop("work_s") / float(np.nansum(seconds.work_s) / len(alone))}
    write_whole(options.out / "plan_check.json", json_bytes(found))
    _print(names, found)


def _live(
    cascade: Cascade, prompts: Sequence[str], request: Request, rate: float, rng: random.Random
) -> Document:
    """Requests that come at random, each answered as soon as the stages can."""

    def answer(prompt: str) -> Document:
        return cascade.answer(prompt, request).to_json()

    with ThreadPoolExecutor(len(prompts)) as callers:
        start_s = time.perf_counter()
        asked = []
        for prompt in prompts:
            time.sleep(rng.expovariate(rate))
            asked.append(callers.submit(answer, prompt))
        came_s = time.perf_counter() - start_s
        answers = [one.result() for one in asked]
    latency_s = np.array([answer["latency_s"] for answer in answers])
    names = [stage.name for stage in cascade.stages]
    work = _demand([_by_clock(document) for document in answers], names)
    return {
        "rps": len(prompts) / came_s,
        "escalation_rate": work.escalation_rate,
        "stages": [
            {"name": name, "share": float(share), "utilisation": float(busy_s / came_s)}
            for name, share, busy_s in zip(
                names, work.runs.mean(axis=0), np.nansum(work.work_s, axis=0), strict=True
            )
        ],
        "latency_s": float(latency_s.mean()),
        "latency_p50_s": float(np.quantile(latency_s, 0.5)),
        "latency_p95_s": float(np.quantile(latency_s, 0.95)),
        "work_s": float(np.nansum(work.work_s) / len(answers)),
    }


def _by_clock(document: Document) -> Document:
    """With the seconds that each step took in the place of its cost."""
    steps = [step | {"cost": step["latency_s"]} for step in document["trace"]]
    return document | {"trace": steps}


def _demand(documents: Sequence[Document], names: Sequence[str]) -> Demand:
    return demand_of_traces(documents, names, "s", "the answers")


def _print(names: Sequence[str], found: Mapping[str, Document]) -> None:
    ways = ("measured", "by seconds", "by rates")
    rows = [("", *ways)]
    for k, name in enumerate(names):
        rows.append(
            (f"busy {name}", *(f"{found[w]['stages'][k]['utilisation']:.0%}" for w in ways))
        )
    for key in ("rps", "escalation_rate", "latency_s", "latency_p50_s", "latency_p95_s"):
        rows.append((key, *(f"{found[way][key]:.3g}" for way in ways)))
    print(table(rows))
    print(f"work of a request in the second part over the first: {found['drift']['work']:.2f}")


if __name__ == "__main__":
    sys.exit(main())

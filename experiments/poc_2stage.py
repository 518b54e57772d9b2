"""A cascade of two models on a few prompts: latency, quality and early stops, and a lambda sweep.

python experiments/poc_2stage.py --model1 smollm2-135m --model2 qwen2.5-coder-0.5b \\
    --dataset mmlu-subset --num-samples 10 --lambda 1.0

Writes poc_results.json, tradeoff.png and an entry in log/ below --out.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from adaptive_sd.build import DEFAULT_ARTIFACT, open_stages
from adaptive_sd.config import default_config, ladder_of
from adaptive_sd.data.tasks import load_tasks
from adaptive_sd.offline.experiment import (
    Choice,
    FittedPrior,
    choose_tasks,
    exit_code_of,
    read_prior,
)
from adaptive_sd.offline.research_log import check_folder, json_bytes, publish
from adaptive_sd.offline.two_stage.measure import measure
from adaptive_sd.offline.two_stage.plot import plot_tradeoff
from adaptive_sd.offline.two_stage.report import Settings, to_json, to_log_entry
from adaptive_sd.offline.two_stage.rule import TwoStageRule
from adaptive_sd.stage import Stage


def _open_models(names: Sequence[str]) -> Sequence[Stage]:
    """As rungs of the default ladder, so asked in the styles that were measured to be best."""
    return open_stages(ladder_of(default_config(), names))


def _open_prior() -> FittedPrior:
    return read_prior(DEFAULT_ARTIFACT)


def main(
    arguments: Sequence[str] | None = None,
    *,
    open_models: Callable[[Sequence[str]], Sequence[Stage]] = _open_models,
    open_prior: Callable[[], FittedPrior] = _open_prior,
    now: Callable[[], datetime] = datetime.now,
) -> int:
    """Exit code: 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    options = _parse(arguments)
    settings = Settings(
        *(options.model1, options.model2, options.dataset),
        *(options.num_samples, options.lam, options.seed),
    )

    def work() -> None:
        choice, rule = _measure(settings, options.out, open_models, open_prior)
        _write(settings, choice, rule, options.out, now())

    return exit_code_of(work)


def _measure(
    settings: Settings,
    out: Path,
    open_models: Callable[[Sequence[str]], Sequence[Stage]],
    open_prior: Callable[[], FittedPrior],
) -> tuple[Choice, TwoStageRule]:
    """All that can be refused is refused before a model runs."""
    tasks = load_tasks(settings.dataset)
    stages = open_models((settings.model1, settings.model2))
    fitted = open_prior()
    check_folder(out)
    rng = random.Random(settings.seed)
    choice = choose_tasks(tasks, settings.num_samples, fitted.prompt_hashes, rng=rng)
    measured = measure(stages, choice.tasks, seed=settings.seed, on_progress=_show)
    return choice, TwoStageRule(measured, fitted.prior)


def _write(
    settings: Settings, choice: Choice, rule: TwoStageRule, out: Path, when: datetime
) -> None:
    entry = to_log_entry(settings, choice, rule, when=when)
    files = {
        "poc_results.json": json_bytes(to_json(settings, choice, rule)),
        "tradeoff.png": plot_tradeoff(rule, settings.lam),
    }
    paths = publish(out, files, "poc", entry)
    print(*(f"{name}: {value}" for name, value in entry.results.items()), sep="\n")
    print(*entry.observations, sep="\n")
    print(f"written: {', '.join(map(str, paths))}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model1", required=True, help="the cheaper model, which drafts")
    parser.add_argument("--model2", required=True, help="the model to escalate to")
    parser.add_argument("--dataset", default="mmlu-subset", help="a bundled set or a JSONL file")
    parser.add_argument("--num-samples", type=_count, default=10)
    parser.add_argument(
        "--lambda",
        dest="lam",
        type=_weight,
        default=1.0,
        help="worth of one more right answer, in units of model 1's mean cost",
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses the prompts")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the results")
    options = parser.parse_args(arguments)
    if not options.model1 or not options.model2 or options.model1 == options.model2:
        parser.error("--model1 and --model2 must name two different models")
    return options


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _weight(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number of at least 0")
    return value


def _show(phase: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{phase}: {done}/{total}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

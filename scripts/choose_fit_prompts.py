"""Chooses the prompts that the shipped artifact is fitted on, mixed over nine public sets.

python scripts/choose_fit_prompts.py ../shared/data/tasks --out results/fit.jsonl

None is in a bundled set, which are for reports, or among the files of `--skip`, such as those the
prompt styles were chosen on. The order is mixed, so that any first part is a fair selection.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict
from pathlib import Path

from adaptive_sd.data.tasks import Task, bundled_names, load_tasks
from adaptive_sd.prompt import prompt_hash

SETS = {
    "mmlu.test": 60,
    "arc_easy.test": 40,
    "gsm8k.train": 60,
    "svamp.test": 20,
    "mbpp.train": 40,
    "humaneval.test": 35,
    "squad.dev": 60,
    "nq_open.dev": 40,
    "boolq.val": 30,
}
MAX_CHARACTERS = 2500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--skip", type=Path, nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    skipped = [*bundled_names(), *map(str, arguments.skip)]
    left_out = {prompt_hash(task.prompt) for name in skipped for task in load_tasks(name)}
    rng = random.Random(arguments.seed)
    chosen: list[Task] = []
    for name, count in SETS.items():
        tasks = load_tasks(str(arguments.folder / f"{name}.jsonl"))
        free = [t for t in tasks if prompt_hash(t.prompt) not in left_out]
        free = [t for t in free if len(t.prompt) <= MAX_CHARACTERS]
        chosen += rng.sample(free, min(count, len(free)))
    rng.shuffle(chosen)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(task), ensure_ascii=False) for task in chosen)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


main()

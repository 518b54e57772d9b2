"""Chooses the bundled task sets from public ones; run once, its output is committed.

python scripts/bundle_data.py ../shared/data/tasks
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

_OUT = Path(__file__).parents[1] / "adaptive_sd" / "data" / "bundled"
_MAX_CHARACTERS = 2500
_SUBSETS = {
    "mmlu-subset": ("mmlu.val", 100),
    "gsm8k-subset": ("gsm8k.test", 80),
    "humaneval-subset": ("humaneval.test", 50),
    "squad-subset": ("squad.dev", 90),
}
_TUNING = {"mmlu": 20, "gsm8k": 14, "humaneval": 10, "squad": 12}
"""The prompts that follow the subsets': for choosing a model's format, in no report."""

_KEPT_EXTRA = ("n_choices", "n_steps", "answers", "labels", "test", "entry_point")


def main() -> None:
    source, tuning = Path(sys.argv[1]), []
    for name, (file, count) in _SUBSETS.items():
        lines = (source / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
        tasks = [t for t in map(json.loads, lines) if len(t["prompt"]) <= _MAX_CHARACTERS]
        random.Random(2026).shuffle(tasks)
        for task in tasks:
            task["extra"] = {k: v for k, v in task["extra"].items() if k in _KEPT_EXTRA}
        _write(name, tasks[:count])
        tuning += tasks[count : count + _TUNING[name.removesuffix("-subset")]]
    _write("tuning", tuning)


def _write(name: str, tasks: list[dict[str, object]]) -> None:
    with (_OUT / f"{name}.jsonl").open("w", encoding="utf-8") as out:
        for task in tasks:
            out.write(json.dumps(task, ensure_ascii=False) + "\n")


main()

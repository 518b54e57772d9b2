"""Measures the prompt styles of each form that has several, on every stage of the ladder.

python experiments/choose_styles.py ../shared/data/tasks --out results/styles.json

ladder.toml takes the best. Quality and seconds (token counts times rates) on the same prompts for
each style. The prompts used are written beside the results, so that recordings can leave them out
(`record --skip`). Started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from adaptive_sd.config import default_config
from adaptive_sd.data.grading import grade
from adaptive_sd.data.tasks import Task, bundled_names, load_tasks
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.judge import cost_of
from adaptive_sd.models.home import home_dir
from adaptive_sd.prompt import prompt_hash
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STYLES, Style
from adaptive_sd.types import Sampling

SETS = {
    Form.CHOICE: ("mmlu.test", "arc_easy.test"),
    Form.READING: ("squad.dev",),
    Form.SHORT: ("nq_open.dev", "boolq.val"),
}


def main() -> None:
    arguments = _arguments()
    tasks = {form: _tasks(arguments.folder, form, arguments.num_prompts) for form in SETS}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    resumes = arguments.out.exists()
    used = [json.dumps(asdict(task)) for chosen in tasks.values() for task in chosen]
    arguments.out.with_suffix(".prompts.jsonl").write_text("\n".join(used) + "\n")
    rows: list[dict[str, object]] = json.loads(arguments.out.read_text()) if resumes else []
    done = {(row["stage"], row["form"], row["style"]) for row in rows}
    for name in [stage.name for stage in default_config().stages]:
        with Stage(name, rates_path=home_dir() / "rates.json") as stage:
            for form, chosen in tasks.items():
                for style_name, style in STYLES[form].items():
                    if (name, form.value, style_name) in done:
                        continue
                    rows.append(_measure(stage, form, style_name, style, chosen))
                    print(_line(rows[-1]), file=sys.stderr, flush=True)
                    arguments.out.write_text(json.dumps(rows, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num-prompts", type=int, default=30)
    return parser.parse_args()


def _tasks(folder: Path, form: Form, count: int) -> list[Task]:
    """As many prompts of each set, none of a bundled set, of those whose form is told."""
    bundled = {prompt_hash(t.prompt) for name in bundled_names() for t in load_tasks(name)}
    chosen: list[Task] = []
    for name in SETS[form]:
        found = [
            task
            for task in load_tasks(str(folder / f"{name}.jsonl"))
            if detect_form(task.prompt) is form
            and len(task.prompt) < 2500
            and prompt_hash(task.prompt) not in bundled
        ]
        chosen += random.Random(7).sample(found, count // len(SETS[form]))
    return chosen


def _measure(
    stage: Stage, form: Form, name: str, style: Style, tasks: list[Task]
) -> dict[str, object]:
    rates = stage.rates
    assert rates is not None  # opened with a place for its rates
    quality, cost, finished = [], [], []
    for task in tasks:
        sampling = Sampling(max_tokens=style.max_tokens)
        draft = stage.engine.generate(style.messages(task.prompt), sampling)
        quality.append(grade(task, draft.text).quality)
        cost.append(cost_of(draft, rates))
        finished.append(draft.finish_reason == "stop")
    return {
        "stage": stage.name,
        "form": form.value,
        "style": name,
        "num_prompts": len(tasks),
        "quality": float(np.mean([q for q in quality if q is not None])),
        "cost_s": float(np.mean(cost)),
        "finished": float(np.mean(finished)),
    }


def _line(row: dict[str, object]) -> str:
    return (
        f"{row['stage']:<20} {row['form']:<8} {row['style']:<15} quality {row['quality']:.2f}  "
        f"{row['cost_s']:6.2f} s  finished {row['finished']:.2f}  n {row['num_prompts']}"
    )


if __name__ == "__main__":
    main()

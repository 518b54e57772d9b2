"""A scripted ladder of three stages: recorded, exported and fitted like a real one."""

from __future__ import annotations

import random
import re
from functools import partial
from pathlib import Path

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.graders import Graders
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.record import record, regrade
from adaptive_sd.offline.recording import Recording
from adaptive_sd.stage import Stage
from adaptive_sd.types import Rates

SKILL = {"small": 0.35, "middle": 0.6, "large": 0.9}
RATES = {"small": Rates(0.001, 0.01), "middle": Rates(0.003, 0.03), "large": Rates(0.01, 0.1)}


def make_tasks(count: int, *, seed: int = 0) -> list[Task]:
    """Sums whose number (#i) tells the scripts how hard they are."""
    rng = random.Random(seed)
    tasks = []
    for i in range(count):
        a, b = rng.randint(2, 99), rng.randint(2, 99)
        prompt = f"Exercise {seed}#{i}: what is the sum {a} + {b}?"
        tasks.append(Task(f"s{seed}/{i}", "sums", "maths", prompt, str(a + b), "number"))
    return tasks


def is_right(name: str, prompt: str) -> bool:
    """Easy prompts are right at every stage, hard ones at none: difficulty decides, and luck."""
    mark = re.search(r"\d+#\d+", prompt)
    assert mark is not None, prompt
    difficulty = random.Random(mark[0]).random()
    luck = random.Random(mark[0] + name).gauss(0, 0.08)
    return difficulty + luck < SKILL[name]


def make_engine(
    name: str, kind: type[FakeEngine] = FakeEngine, *, is_long: bool = False
) -> FakeEngine:
    """Wrong answers come with low log-probabilities, mostly; `is_long`: after up to 80 words.

    No sum is asked for in a warm-up.
    """

    def answer(prompt: str) -> str:
        sums = re.findall(r"sum (\d+) \+ (\d+)", prompt)
        if not sums:
            return "ready"
        a, b = map(int, sums[-1])
        words = "so " * random.Random(name + prompt).randrange(80 if is_long else 1)
        return f"{words}The answer is {a + b if is_right(name, prompt) else a + b + 1}"

    def logprob(prompt: str) -> float:
        if "sum" not in prompt:
            return -0.1
        noise = random.Random(prompt + name).gauss(0, 0.2)
        return min(-0.01, (-0.3 if is_right(name, prompt) else -0.9) + noise)

    return kind(name, answer, logprob=logprob, rates=RATES[name])


def make_stages(folder: Path, *, is_long: bool = False) -> list[Stage]:
    def load(name: str) -> FakeEngine:
        return make_engine(name, is_long=is_long)

    rates_path = folder / "rates.json"
    return [Stage(name, load=partial(load, name), rates_path=rates_path) for name in SKILL]


def make_recording(path: Path, tasks: list[Task], stages: list[Stage]) -> None:
    with Recording(path) as recording:
        regrade(recording, Graders(), on_progress=lambda done, total: None)
        record(tasks, stages, recording, graders=Graders(), on_progress=lambda done, total: None)


def make_table(folder: Path, tasks: list[Task], *, is_long: bool = False) -> OutcomeTable:
    path = folder / "recording.sqlite"
    make_recording(path, tasks, make_stages(folder, is_long=is_long))
    exported = export_recordings([path])
    write_outcomes(exported.table, exported.stages, folder / "table.parquet")
    return read_outcomes(folder / "table.parquet")


def make_artifact(folder: Path, num_prompts: int = 200) -> Artifact:
    return fit_artifact(make_table(folder, make_tasks(num_prompts)))[0]

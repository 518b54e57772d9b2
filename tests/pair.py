"""Two scripted models and a prior, for experiments on a cascade of two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from adaptive_sd.artifact import Prior
from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.calibration import Calibration
from adaptive_sd.decision.features import FEATURE_DIM, FEATURE_NAMES
from adaptive_sd.decision.known_p import PooledPrior
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.stage import Stage
from adaptive_sd.types import Rates
from tests.ladder import is_right

NAMES = ("small", "large")
RATES = {"small": Rates(0.001, 0.01, ((16, 0.02),)), "large": Rates(0.004, 0.05, ((16, 0.1),))}


def make_prior(**chances: float) -> Prior:
    """Estimates a draft by its mean log-probability; the scripted models are of equal size."""
    weights = np.zeros((FEATURE_DIM, 1), np.float32)
    weights[FEATURE_NAMES.index("logprob_mean")] = 4.0
    ones, zeros = np.ones(FEATURE_DIM, np.float32), np.zeros(FEATURE_DIM, np.float32)
    bias = np.array([2.0], np.float32)
    predictor = FittedPredictor(zeros, ones, (weights,), (bias,), Calibration())
    return Prior(predictor, PooledPrior(**chances), tokens_in=100, tokens_out=10)


def answer_of(name: str, prompt: str) -> str:
    a, b = map(int, re.findall(r"sum (\d+) \+ (\d+)", prompt)[-1])
    return f"The answer is {a + b if is_right(name, prompt) else a + b + 1}"


class Pair:
    """Opens both stages; `engines` are all that were loaded, in order."""

    def __init__(
        self, folder: Path, script: Callable[[str, str], str] = answer_of, **rates: Rates
    ) -> None:
        self._folder = folder
        self._script = script
        self._rates = RATES | rates
        self.engines: list[FakeEngine] = []

    def open(self, names: Sequence[str] = NAMES) -> list[Stage]:
        rates_path = self._folder / "rates.json"
        return [
            Stage(name, load=lambda name=name: self._load(name), rates_path=rates_path)
            for name in names
        ]

    def _load(self, name: str) -> FakeEngine:
        def script(prompt: str) -> str:
            return self._script(name, prompt) if "#" in prompt else "warm"

        def logprob(prompt: str) -> float:
            return -0.2 if "#" in prompt and is_right(name, prompt) else -0.8

        engine = FakeEngine(name, script, logprob=logprob, rates=self._rates[name])
        self.engines.append(engine)
        return engine


def write_tasks(path: Path, tasks: Sequence[Task]) -> Path:
    path.write_text("".join(f"{json.dumps(asdict(task))}\n" for task in tasks), encoding="utf-8")
    return path

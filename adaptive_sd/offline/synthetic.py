"""Outcome tables of any size, made up from a seed: to measure how replay and fit scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import sigmoid

FloatArray = NDArray[np.float64]

SKILL = np.array([-0.6, 0.0, 0.5, 0.9, 1.3])
"""Each stage's, on the scale of the prompts' difficulty, a standard normal."""

_PREFILL_COST, _DECODE_COST = 0.05 * 2.2 ** np.arange(5), 1.0 * 2.2 ** np.arange(5)
_NUM_ANSWERS = 97
_WRONG_ANSWERS = 4
_CHUNK_PROMPTS = 50_000


def write_synthetic(path: Path, num_prompts: int, *, seed: int, texts: bool = False) -> None:
    """Five stages; short answers and three signals, with `texts` prompts and whole answers.

    Right answers are likelier on easy prompts, have higher log-probabilities and agree; costs are
    token counts times rates. Tables of other seeds have other prompts.
    """
    rng = np.random.default_rng(seed)
    sizes = [
        min(_CHUNK_PROMPTS, num_prompts - first) for first in range(0, num_prompts, _CHUNK_PROMPTS)
    ]
    chunks = (
        _chunk(first * _CHUNK_PROMPTS, size, seed, texts, rng) for first, size in enumerate(sizes)
    )
    first = next(chunks)
    with pa.parquet.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(chunk)


def _chunk(first: int, size: int, seed: int, texts: bool, rng: np.random.Generator) -> pa.Table:
    shape = (size, len(SKILL))
    difficulty = rng.normal(size=(size, 1))
    is_right = rng.random(shape) < sigmoid(1.7 * (SKILL - difficulty))
    tokens_in = np.broadcast_to(np.rint(rng.lognormal(4.5, 0.5, size=(size, 1))), shape)
    tokens_out = np.rint(rng.lognormal(4.0 + 0.2 * difficulty, 0.5, size=shape)) + 1
    surprise = np.exp(rng.normal(-1.5 + 0.8 * ~is_right + 0.2 * difficulty, 0.5))
    truth = rng.integers(_NUM_ANSWERS, size=(size, 1))
    answer = (truth + ~is_right * rng.integers(1, 1 + _WRONG_ANSWERS, size=shape)) % _NUM_ANSWERS
    numbers = np.arange(first, first + size)
    columns: dict[str, object] = {
        "prompt_id": _repeated([f"{seed}-{n:07d}" for n in numbers]),
        "stage": np.tile([f"stage-{k}" for k in range(len(SKILL))], size),
        "stage_index": np.tile(np.arange(len(SKILL)), size),
        "quality": is_right.astype(np.float64).ravel(),
        "cost": (tokens_in * _PREFILL_COST + tokens_out * _DECODE_COST).ravel(),
        "tokens_in": tokens_in.astype(np.int64).ravel(),
        "tokens_out": tokens_out.astype(np.int64).ravel(),
        "signal_logprob_mean": -surprise.ravel(),
        "signal_logprob_q10": (-surprise * rng.lognormal(1.0, 0.3, size=shape)).ravel(),
        "signal_entropy_mean": (surprise * rng.lognormal(0.2, 0.3, size=shape)).ravel(),
        "answer": [_answer(a, texts) for a in answer.ravel().tolist()],
    }
    if texts:
        counts = rng.integers(2, 60, size=(size, 3)).tolist()
        columns["prompt"] = _repeated(
            [_prompt(f"{seed}-{n}", *c) for n, c in zip(numbers, counts, strict=True)]
        )
    return pa.table(columns)


def _repeated(values: list[str]) -> list[str]:
    """Once for each stage."""
    return [value for value in values for _ in SKILL]


def _prompt(name: str, crates: int, apples: int, spoiled: int) -> str:
    return (
        f"Exercise {name}: a shop gets {crates} crates with {apples} apples in each of them. On "
        f"the way {spoiled} apples were spoiled and had to be thrown away. How many can be sold?"
    )


def _answer(number: int, texts: bool) -> str:
    if not texts:
        return str(number)
    return f"First multiply, then take away what was spoiled. The answer is {number}."

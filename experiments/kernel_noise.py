"""How much the top-1/top-2 margin depends on the number of rows evaluated in one pass.

python experiments/kernel_noise.py smollm2-135m qwen2.5-coder-0.5b

The model writes answers token by token; the same tokens are then read again in passes of 4, 16 and
64 rows. Printed: percentiles of |change of the margin|, and the share of tokens whose best changed.
The 99th percentile is the noise of the margin rule (tests/engines/margin.py).
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.llama_cpp.context import CachedSequence, Context
from adaptive_sd.engines.llama_cpp.model import Model
from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.models.store import resolve

PROMPTS = (
    "def fibonacci(n: int) -> int:\n",
    "The three laws of thermodynamics state that",
    "Q: A train travels 120 km in 1.5 hours. What is its speed?\nA:",
    "Once upon a time in a village by the sea",
)
NUM_TOKENS = 128
ROWS = (4, 16, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    for name in parser.parse_args().models:
        model = Model(resolve(name).path)
        context = Context(model, size=1024, num_threads=2)
        pairs = [_margins(model, context.slots[0], text) for text in PROMPTS]
        for rows in ROWS:
            change = np.concatenate([np.abs(m[rows][0] - m[1][0]) for m in pairs])
            other = np.concatenate([m[rows][1] != m[1][1] for m in pairs])
            p50, p90, p99 = np.quantile(change, [0.5, 0.9, 0.99])
            print(
                f"{name}: {rows} rows, {change.size} tokens: |change of margin| median {p50:.3f}, "
                f"90 % {p90:.3f}, 99 % {p99:.3f}, most {change.max():.3f}; best changed "
                f"{other.mean():.2%}"
            )
        context.close()
        model.close()


def _margins(
    model: Model, sequence: CachedSequence, text: str
) -> dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """For each number of rows in a pass: margins and best tokens of a greedy continuation."""
    prompt = model.tokenize(text, special=False)
    sequence.start(prompt)
    sequence.read(prompt[len(sequence.tokens) : -1][:MAX_TOKENS])
    start, tokens, plain = len(sequence.tokens), [prompt[-1]], []
    for _ in range(NUM_TOKENS):
        plain.append(sequence.extend(tokens[-1:])[0])
        tokens.append(int(plain[-1].argmax()))
    found = {1: _summary(plain)}
    for rows in ROWS:
        sequence.truncate(start)
        again: list[NDArray[np.float32]] = []
        for at in range(0, NUM_TOKENS, rows):
            again += list(sequence.extend(tokens[at : at + rows]))
        found[rows] = _summary(again)
    return found


def _summary(
    logits: list[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    top = np.sort(np.partition(np.array(logits), -2, axis=1)[:, -2:], axis=1)
    return top[:, 1] - top[:, 0], np.argmax(logits, axis=1)


if __name__ == "__main__":
    main()

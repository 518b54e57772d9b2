"""vLLM's own plain interface, in a process of its own: what greedy answers are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.vllm.running import ON_CPU

PROMPTS = (
    "Write the numbers from 1 to 20, separated by commas.",
    "What is the capital of France? Answer in one sentence.",
    "Which of these is a colour?\nA. blue\nB. seven\nC. table",
    "Écris une phrase en français avec des accents: é, è, ç.",
    "Repeat exactly: 漢字 🙂 naïve café",
)
MAX_TOKENS = 32


class Greedy(NamedTuple):
    """See adaptive_sd.offline.benches.methods.Greedy."""

    text: str
    token_ids: tuple[int, ...]
    token_margins: tuple[float, ...]


class Plain:
    """Answers PROMPTS, each of at most MAX_TOKENS."""

    def __init__(self, folder: Path, scratch: Path, *, context: int) -> None:
        self._out, self._log = scratch / "plain.json", scratch / "plain.log"
        command = [sys.executable, "-m", "tests.vllm.plain", str(folder), str(self._out)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(context)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | ON_CPU,
                start_new_session=True,
            )

    def answers(self) -> list[Greedy]:
        """In the order of PROMPTS."""
        if self._process.wait():
            raise RuntimeError(f"vLLM failed:\n{self._log.read_text(errors='replace')[-3000:]}")
        return [
            Greedy(text, tuple(tokens), tuple(margins))
            for text, tokens, margins in json.loads(self._out.read_text())
        ]

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def main(folder: str, out: str, context: str) -> None:
    from vllm import LLM, SamplingParams

    llm = LLM(folder, max_model_len=int(context), dtype="float32", enforce_eager=True)
    chats: Any = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    params = SamplingParams(temperature=0, max_tokens=MAX_TOKENS, logprobs=2)
    found = []
    for output in llm.chat(chats, params, use_tqdm=False):
        (made,) = output.outputs
        tops = [sorted((e.logprob for e in row.values()), reverse=True) for row in made.logprobs]
        shown = len(made.token_ids) - (made.finish_reason == "stop")
        margins = [top[0] - top[1] for top in tops]
        found.append((made.text, list(made.token_ids)[:shown], margins[:shown]))
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

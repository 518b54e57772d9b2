"""Runs one tool for tools.py, in any Python that has it; a file of its own, without our package.

The argument is a JSON object of settings. Each line read is {"prompt": token ids, "max_tokens"},
each line written an answer or {"error"}; the first one is {"version"}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

Answer = dict[str, Any]
Generate = Callable[[Sequence[int], int], Answer]


def main() -> None:
    settings = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no reply
    version, generate = TOOLS[settings["tool"]](settings)
    _reply(replies, {"version": version})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            generate(request["prompt"], 1)  # the prompt is read before the clock starts
            said = generate(request["prompt"], request["max_tokens"])
        except (OSError, RuntimeError, ValueError) as error:  # the tool refuses this prompt
            said = {"error": str(error)}
        _reply(replies, said)


def _reply(replies: Any, said: Answer) -> None:
    replies.write(json.dumps(said) + "\n")
    replies.flush()


def prompt_lookup(settings: dict[str, Any]) -> tuple[str, Generate]:
    """Prompt lookup of llama-cpp-python's `Llama`, with its own defaults."""
    llama_cpp: Any = importlib.import_module("llama_cpp")
    speculative: Any = importlib.import_module("llama_cpp.llama_speculative")
    lookup = speculative.LlamaPromptLookupDecoding()
    spans: list[tuple[int, list[int]]] = []  # where each draft begins, and its tokens

    def propose(input_ids: Any, /, **options: Any) -> Any:
        drafted = lookup(input_ids, **options)
        spans.append((len(input_ids), drafted.tolist()))
        return drafted

    llama = llama_cpp.Llama(
        settings["model"],
        n_ctx=settings["context"],
        n_threads=settings["threads"],
        n_threads_batch=settings["threads"],
        draft_model=propose,
        logits_all=True,  # else it has room for rows of 512 tokens only, and fails after them
        verbose=False,
    )
    vocab = llama_cpp.llama_model_get_vocab(llama.model)

    def generate(prompt: Sequence[int], max_tokens: int) -> Answer:
        spans.clear()
        tokens: list[int] = []
        start_s = time.perf_counter()
        for token in llama.generate(list(prompt), temp=0.0):
            if llama_cpp.llama_vocab_is_eog(vocab, token):
                break
            tokens.append(token)
            if len(tokens) == max_tokens:
                break
        seconds = time.perf_counter() - start_s
        whole = [*prompt, *tokens]
        return {
            "text": llama.detokenize(tokens).decode(errors="replace"),
            "token_ids": tokens,
            "seconds": seconds,
            "num_drafted": sum(len(drafted) for _, drafted in spans),
            "num_accepted": sum(_num_same(drafted, whole[at:]) for at, drafted in spans),
            "num_spans": sum(bool(drafted) for _, drafted in spans),
        }

    return f"llama-cpp-python {llama_cpp.__version__}", generate


def _num_same(a: Sequence[int], b: Sequence[int]) -> int:
    pairs = list(zip(a, b))  # noqa: B905  # strict is unknown to old Pythons
    return next((i for i, (x, y) in enumerate(pairs) if x != y), len(pairs))


def xllamacpp(settings: dict[str, Any]) -> tuple[str, Generate]:
    """Token-level speculation of llama.cpp's server with a draft model, with its own defaults."""
    tool: Any = importlib.import_module("xllamacpp")
    params = tool.CommonParams()
    params.model.path = settings["model"]
    params.n_ctx = settings["context"]
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.n_gpu_layers = 0
    draft = params.speculative.draft
    draft.mparams.path = settings["draft_model"]
    draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = settings["threads"]
    draft.n_gpu_layers = 0
    params.speculative.types = [tool.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    server = tool.Server(params)

    def generate(prompt: Sequence[int], max_tokens: int) -> Answer:
        request = {
            "prompt": list(prompt),
            "n_predict": max_tokens,
            "temperature": 0.0,
            "top_k": 1,
            "cache_prompt": True,
            "return_tokens": True,
        }
        start_s = time.perf_counter()
        said = _post(f"{server.listening_address}/completion", request)
        seconds = time.perf_counter() - start_s
        num_ends = said["stop_type"] == "eos"
        return {
            "text": said["content"],
            "token_ids": said["tokens"][: len(said["tokens"]) - num_ends],
            "seconds": seconds,
            "num_drafted": said["timings"].get("draft_n", 0),
            "num_accepted": said["timings"].get("draft_n_accepted", 0),
            "num_spans": None,
        }

    return f"xllamacpp {tool.__version__}", generate


def _post(url: str, document: Answer) -> Any:
    """Over the loopback interface: only the server's own interface tells tokens."""
    body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
        return json.load(response)


TOOLS: dict[str, Callable[[dict[str, Any]], tuple[str, Generate]]] = {
    "llama-cpp-python": prompt_lookup,
    "xllamacpp": xllamacpp,
}


if __name__ == "__main__":
    main()

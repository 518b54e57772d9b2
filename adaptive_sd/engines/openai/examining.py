"""Tries out what works at an endpoint, for whoever sets it up."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import dataclass

from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.types import Message, Sampling

_LONG = "These words are here to be found again. " * 60


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What works. `context` is 0 and `prefix_cache` None where the server does not tell."""

    server: str
    context: int
    logprobs: bool
    usage: bool
    tokenizer: bool
    verification: bool
    why_no_verification: str
    prefix_cache: bool | None
    first_answer_s: float


def examine_endpoint(options: EndpointOptions) -> EndpointReport:
    """Takes a few short answers. Raises ConfigError and EndpointError where there are none."""
    with closing(OpenAIEngine(options, key=options.read_key())) as engine:
        return _examine(engine)


def _examine(engine: OpenAIEngine) -> EndpointReport:
    abilities = engine.abilities
    draft = engine.generate([Message("user", "Say hello.")], Sampling(max_tokens=8))
    num_cached = engine.num_cached([Message("user", f"{uuid.uuid4()} {_LONG}\nSay yes.")])
    return EndpointReport(
        server=engine.info.engine_version,
        context=abilities.context,
        logprobs=bool(draft.token_logprobs),
        usage=not draft.remark,
        tokenizer=bool(engine.prompt_tokens([Message("user", "Hello")])),
        verification=abilities.verifier is not None,
        why_no_verification=abilities.why_not,
        prefix_cache=None if num_cached is None else num_cached > 0,
        first_answer_s=draft.latency_s,
    )

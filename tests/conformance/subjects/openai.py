"""The engine of served models, over a scripted server that plays one of four kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from tests.conformance.subject import Capability, Subject
from tests.engines.openai_model import TinyModel
from tests.engines.openai_script import MODEL, Script
from tests.engines.openai_server import serving

ANY_SERVER: Mapping[Capability, str] = {
    Capability.HIDDEN: "servers do not give it",
    Capability.SEEDS: "a server's draws cannot be repeated",
    Capability.PREFIXES: "no answer tells it; `adaptive-sd doctor --config` asks a server once",
    Capability.DRAFT_TOKENS: "nothing tells which of them the server would have chosen",
}
PLAIN_SERVER = {
    Capability.STOP_REASON: 'the server says "stop" of both',
    Capability.VERIFICATION: "the server has no way to: it answers plainly and the trace says so",
    Capability.TOKENIZER: "the server does not show it",
}
BARE_SERVER = {
    Capability.LOGPROBS: "the server gives none: the trace goes by the text alone",
    Capability.MARGINS: "the server gives none",
}


def opener(**script: object) -> Callable[[], AbstractContextManager[Engine]]:
    @contextmanager
    def open_served() -> Iterator[Engine]:
        with serving(Script(TinyModel(1, reach=3), **script)) as server:  # type: ignore[arg-type]
            engine = OpenAIEngine(EndpointOptions(server.url, MODEL))
            yield engine
            engine.close()

    return open_served


def subject(engine: str, lacks: Mapping[Capability, str], **script: object) -> Subject:
    return Subject(
        engine=engine,
        model="tiny",
        open=opener(**script),
        prompts=("the question", "question 4", "hi"),
        lacks=ANY_SERVER | lacks,
        version="scripted",
        wide="so é thé é",
        num_ahead=60,
    )


SUBJECTS = (
    subject("openai: vLLM", {}, kind="vllm"),
    subject("openai: SGLang", {}, kind="sglang"),
    subject("openai: others", PLAIN_SERVER),
    subject(
        "openai: no logprobs", PLAIN_SERVER | BARE_SERVER, logprobs=False, usage=lambda _: None
    ),
)

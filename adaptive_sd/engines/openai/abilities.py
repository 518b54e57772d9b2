"""What a server is and can do: found out once, by asking it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adaptive_sd.engines.hosted.verifying import Verifier
from adaptive_sd.engines.openai.client import Client
from adaptive_sd.engines.openai.faults import Fault
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.openai.verifying import SglangVerifier, VllmVerifier
from adaptive_sd.types import Message, Offer

_VERIFIERS: Mapping[str, Callable[[Client, EndpointOptions], Verifier]] = {
    "vllm": VllmVerifier,
    "sglang": SglangVerifier,
}

EXTENDED = frozenset(_VERIFIERS)
"""Kinds of servers that take more than OpenAI's interface has."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """`kind` is "vllm", "sglang", another server's word for itself, or "" for a silent one.

    `models` are the ids that it serves, `context` is that of ours in tokens, 0 where it does not
    say. Without a `verifier` the reason is in `why_not`.
    """

    kind: str = ""
    version: str = ""
    context: int = 0
    models: tuple[str, ...] = ()
    verifier: Verifier | None = None
    why_not: str = "the server knows no way to verify drafts"


async def find_abilities(client: Client, options: EndpointOptions) -> Abilities:
    """Raises Fault where the server cannot be reached; one that lists no models is a silent one."""
    try:
        listed = await client.fetch("/models")
    except Fault as fault:
        if fault.status is not None:
            return Abilities()
        raise
    entries = [e for e in _entries(listed) if isinstance(e.get("id"), str)]
    own = next((e for e in entries if e["id"] == options.model), {})
    kind, context = own.get("owned_by"), own.get("max_model_len")
    kind = kind if isinstance(kind, str) else ""
    verifier, why_not = await _find_verifier(client, options, kind)
    return Abilities(
        kind=kind,
        version=await _version(client) if kind == "vllm" else "",
        context=context if isinstance(context, int) else 0,
        models=tuple(e["id"] for e in entries),
        verifier=verifier,
        why_not=why_not,
    )


def _entries(listed: Any) -> list[Mapping[str, Any]]:
    found = listed.get("data") if isinstance(listed, Mapping) else None
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, list) else []


async def _find_verifier(
    client: Client, options: EndpointOptions, kind: str
) -> tuple[Verifier | None, str]:
    """One that has verified a word, or why there is none."""
    if not options.verify:
        return None, "the configuration says verify = false"
    if options.bends:
        return None, "the configuration's body has answers follow other chances than the model's"
    if kind not in _VERIFIERS:
        return None, Abilities().why_not
    verifier = _VERIFIERS[kind](client, options)
    try:
        prompt = await verifier.prompt([Message("user", "Hi")])
        drafted = (await verifier.draft(Offer("Hello"))).token_ids
        await verifier.check(prompt, drafted, 0.0)
        if await _reasons(client, options):
            return None, "the server keeps a reasoning apart that comes before the answer"
    except Fault as fault:
        return None, f"the {kind} server {fault.text}"
    return verifier, ""


async def _reasons(client: Client, options: EndpointOptions) -> bool:
    """Whether an answer begins with what is no part of its text: no draft can be its beginning."""
    body = {
        **options.body,
        "model": options.model,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4,
        "temperature": 0,
    }
    try:
        said = (await client.fetch("/chat/completions", body))["choices"][0]["message"]
        return bool(said.get("reasoning_content") or said.get("reasoning"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise Fault("sent JSON that is no answer") from error


async def _version(client: Client) -> str:
    try:
        found = await client.fetch("/version", at_root=True)
    except Fault:
        return ""
    version = found.get("version") if isinstance(found, Mapping) else None
    return version if isinstance(version, str) else ""

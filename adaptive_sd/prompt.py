"""What callers may ask: a bare prompt or a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Message

Prompt = str | Sequence[Message] | Sequence[Mapping[str, str]]
"""A bare prompt, which a stage asks in its own style, or a conversation, passed on as it is."""


def to_messages(prompt: Prompt) -> list[Message]:
    """Raises ConfigError for an empty prompt, an unknown role or a missing content."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ConfigError("the prompt is empty; write a question.")
        return [Message("user", prompt)]
    messages = [m if isinstance(m, Message) else _to_message(m) for m in prompt]
    if not messages or not any(m.content.strip() for m in messages if m.role == "user"):
        raise ConfigError("the conversation has no text of the user; add a user message.")
    return messages


def _to_message(raw: Mapping[str, str]) -> Message:
    role, content = raw.get("role"), raw.get("content")
    if role not in ("system", "user", "assistant"):
        raise ConfigError(f"role is {role!r}; it must be system, user or assistant.")
    if not isinstance(content, str):
        raise ConfigError(f"content of a {role} message is {content!r}; it must be text.")
    return Message(role, content)  # type: ignore[arg-type]


def prompt_text(prompt: Prompt) -> str:
    """The text that the answer is for: the last turn of the user."""
    return next(m.content for m in reversed(to_messages(prompt)) if m.role == "user")

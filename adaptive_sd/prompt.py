"""What callers may ask: a bare prompt or a conversation."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Message

Prompt = str | Sequence[Message] | Sequence[Mapping[str, str]]
"""A bare prompt, which a stage asks in its own style, or a conversation, passed on as it is."""


def to_messages(prompt: Prompt) -> list[Message]:
    """Raises ConfigError for an empty prompt, an unknown role, and content that is no text."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ConfigError("the prompt is empty; write a question.")
        return [_to_message({"role": "user", "content": prompt})]
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes):
        raise ConfigError(f"a prompt is text or a list of messages, not {type(prompt).__name__}.")
    messages = [_to_message(m) for m in prompt]
    if not any(m.content.strip() for m in messages if m.role == "user"):
        raise ConfigError("the conversation has no text of the user; add a user message.")
    return messages


def _to_message(raw: object) -> Message:
    if isinstance(raw, Message):
        raw = {"role": raw.role, "content": raw.content}
    if not isinstance(raw, Mapping):
        raise ConfigError(f"a message has a role and a content; {raw!r:.40} is none.")
    role, content = raw.get("role"), raw.get("content")
    if role not in ("system", "user", "assistant"):
        raise ConfigError(f"role is {role!r}; it must be system, user or assistant.")
    if not isinstance(content, str):
        raise ConfigError(f"content of a {role} message is {content!r:.40}; it must be text.")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(f"content of a {role} message is not valid Unicode ({error}).") from error
    return Message(role, content)


def prompt_text(prompt: Prompt) -> str:
    """The text that the answer is for: the last turn of the user."""
    return next(m.content for m in reversed(to_messages(prompt)) if m.role == "user")


def prompt_hash(prompt: str) -> str:
    """SHA-256 of the normalised text: case, width and spacing of a prompt do not matter."""
    return hashlib.sha256(normal_text(prompt).encode()).hexdigest()


def normal_text(text: str) -> str:
    """The same for texts that differ only in case, width or spacing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

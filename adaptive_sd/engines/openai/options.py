"""Where a served model is and how it is asked; the key is in none of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adaptive_sd.errors import ConfigError

_WRITTEN = frozenset(
    (
        *("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n", "echo"),
        *("temperature", "top_p", "seed", "stop", "stream", "stream_options"),
        *("logprobs", "top_logprobs", "prompt_logprobs"),
        *("continue_final_message", "add_generation_prompt"),
    )
)
"""Of a request's body, what depends on the request."""

_BENDING = frozenset(
    ("repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "bad_words")
)
"""Of a request's body, what makes a token's chance depend on more than the model."""


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """A model behind an OpenAI-compatible address like http://host:port/v1.

    Its key is read from a variable of the environment or from a file. `connect_s` bounds each
    connection, `first_byte_s` the wait for a stream's first event, `whole_s` all of an answer,
    retries included. Without `verify` no draft is verified there. `body` is put into the body of
    every request for an answer.
    """

    base_url: str
    model: str
    api_key_env: str = ""
    api_key_file: str = ""
    stream: bool = True
    verify: bool = True
    connect_s: float = 5.0
    first_byte_s: float = 60.0
    whole_s: float = 300.0
    body: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def check(self, where: str) -> None:
        """Raises ConfigError for an address, keys or times that cannot be."""
        if not _is_address(self.base_url):
            raise ConfigError(
                f"{where}: write base_url as http://host:port/v1, without a user, a password or a "
                "query."
            )
        if self.api_key_env and self.api_key_file:
            raise ConfigError(f"{where}: give api_key_env or api_key_file, not both.")
        for name in ("connect_s", "first_byte_s", "whole_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{where}: {name} is {getattr(self, name)}; it must be positive.")
        for key in sorted(self.body.keys() & _WRITTEN):
            raise ConfigError(f"{where}: body has {key!r}, which is written for each request.")

    @property
    def bends(self) -> bool:
        """Whether answers follow other chances than the model's, which no server verifies by."""
        return not self.body.keys().isdisjoint(_BENDING)

    @property
    def template(self) -> dict[str, Any]:
        """What of the body changes how a chat is written in tokens."""
        names = ("chat_template", "chat_template_kwargs")
        return {name: self.body[name] for name in names if name in self.body}

    @property
    def model_hash(self) -> str:
        """Of a served model only the name and what is asked of it are known: the same anywhere."""
        more = json.dumps(self.body, sort_keys=True, default=str) if self.body else ""
        return hashlib.sha256(f"openai {self.model}{more}".encode()).hexdigest()

    @property
    def root_url(self) -> str:
        """Without the version: where servers have what is not of OpenAI's interface."""
        return self.base_url.rstrip("/").removesuffix("/v1")

    def read_key(self) -> str:
        """ "" where none is needed. Raises ConfigError, which never shows it."""
        if self.api_key_env:
            key = os.environ.get(self.api_key_env, "").strip()
            if not key:
                raise ConfigError(
                    f"{self.base_url}: the environment variable {self.api_key_env} is not set; put "
                    "the endpoint's key there."
                )
        elif self.api_key_file:
            key = _first_line(Path(self.api_key_file).expanduser())
        else:
            return ""
        check_key(key, self.base_url)
        return key


def check_key(key: str, where: str) -> None:
    """Raises ConfigError, which does not show it, for one that cannot be sent."""
    if not key.isascii() or (key and not key.isprintable()):
        raise ConfigError(f"{where}: its key has characters that no header takes.")


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        is_plain = not (url.username or url.password or url.query or url.fragment)
        return url.scheme in ("http", "https") and bool(url.hostname and url.port != 0) and is_plain
    except ValueError:
        return False


def _first_line(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the key cannot be read ({type(error).__name__}).") from error
    if not key:
        raise ConfigError(f"{path}: is empty; put the endpoint's key there.")
    return key

"""From messages to tokens with the model's own chat template; contents stay plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Protocol

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adaptive_sd.errors import EngineError
from adaptive_sd.types import Message

_PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"  # a base model: completion only
)


class Tokenizer(Protocol):
    """What must be known of a model to write a conversation in its tokens."""

    @property
    def chat_template(self) -> str | None:
        """None of a base model."""
        ...

    @property
    def adds_bos(self) -> bool: ...

    @property
    def bos_text(self) -> str: ...

    @property
    def eos_text(self) -> str: ...

    def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        """Tokens of `text`; only with `special` does "<|im_end|>" become a control token."""
        ...


class ChatFormat:
    """Turns messages into prompt tokens for one model."""

    def __init__(self, model: Tokenizer) -> None:
        """Raises EngineError when the model's template is no template."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = date.today().strftime
        self._model = model
        self.is_chat = model.chat_template is not None
        try:
            self._template = environment.from_string(model.chat_template or _PLAIN_TEMPLATE)
        except (TemplateError, RecursionError) as error:
            raise EngineError(f"the model's chat template is damaged: {error}") from error

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """Prompt tokens, ending where the assistant's next word stands.

        Contents are put in after rendering and tokenised apart from the template, never as
        control tokens: "<|im_end|>" in a prompt cannot close a turn. A last message of the
        assistant is continued. Raises EngineError when the template refuses the messages.
        """
        if not messages:
            raise EngineError("there is no message to answer.")
        prefill = messages[-1].content if messages[-1].role == "assistant" else ""
        turns = messages[:-1] if prefill else messages
        marks = [f"\u2983{i}\u2984" for i in range(len(turns))]
        rendered = self._render([Message(t.role, m) for t, m in zip(turns, marks, strict=True)])
        contents = dict(zip(marks, (t.content for t in turns), strict=True))
        tokens: list[int] = []
        for part in re.split(f"({'|'.join(marks)})", rendered) if marks else [rendered]:
            special = part not in contents
            text = part if special else contents[part]
            if text:
                bos = not tokens and self._model.adds_bos and not self._begins_with_bos(rendered)
                tokens += self._model.tokenize(text, special=special, bos=bos)
        if prefill:
            tokens += self._model.tokenize(prefill, special=False)
        return tokens

    def _begins_with_bos(self, rendered: str) -> bool:
        return bool(self._model.bos_text) and rendered.startswith(self._model.bos_text)

    def _render(self, messages: Sequence[Message]) -> str:
        try:
            return self._template.render(
                messages=[{"role": m.role, "content": m.content} for m in messages],
                add_generation_prompt=True,
                bos_token=self._model.bos_text,
                eos_token=self._model.eos_text,
            )
        except Exception as error:  # the template is a stranger's program: anything may come
            reason = str(error) if isinstance(error, TemplateError) else repr(error)
            raise EngineError(
                f"the model's chat template refused the messages: {' '.join(reason.split())[:300]}"
            ) from error


def _refuse(message: str) -> None:
    raise TemplateError(message)

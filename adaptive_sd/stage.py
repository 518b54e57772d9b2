"""One rung of the ladder: a model, the engine that runs it, and how it is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from adaptive_sd.engines.base import Engine
from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.models.store import resolve
from adaptive_sd.styles import DEFAULT_STYLES, find_style
from adaptive_sd.types import Acceptance, Draft, Message, Observer, Rates, Sampling

Prompt = str | Sequence[Message] | Sequence[Mapping[str, str]]
"""A bare prompt, or a conversation; a conversation is passed on as it is."""

_SIZE = re.compile(r"\d+(\.\d+)?[bm]", re.IGNORECASE)


class StageOutput(NamedTuple):
    """Answers in the order of the prompts, and the natural-log probability of each token."""

    outputs: list[str]
    logprobs: list[list[float]]


class Stage:
    """A model behind one call."""

    def __init__(
        self,
        model_name: str,
        model_size: str | None = None,
        tensor_parallel_size: int = 1,
        *,
        name: str | None = None,
        context: int = 4096,
        threads: int | None = None,
        gpu_layers: int = 0,
        styles: Mapping[Form, str] | None = None,
        max_tokens: int | None = None,
        rates: Rates | None = None,
        offline: bool = False,
        engine: Engine | None = None,
    ) -> None:
        """Find the model (catalogue name, hub id or GGUF path), fetch it if absent, load it.

        `model_size` ("0.5b", "135m") only labels the stage. `styles` says how each form of task
        is asked. Raises UnknownModelError with near names, DamagedModelError, DownloadError, and
        ConfigError for values that this engine cannot honour.
        """
        if model_size is not None and not _SIZE.fullmatch(model_size):
            raise ConfigError(f"model_size is {model_size!r}; write it like '0.5b' or '135m'.")
        if tensor_parallel_size != 1:
            raise ConfigError(
                f"tensor_parallel_size is {tensor_parallel_size}; the llama_cpp engine runs on one "
                "device: use 1."
            )
        self.name = name or model_name
        self.model_size = model_size
        self.max_tokens = max_tokens
        self.rates = rates
        self._styles = dict(DEFAULT_STYLES) | dict(styles or {})
        for form, style in self._styles.items():
            find_style(form, style)
        self.engine = engine or _load(model_name, context, threads, gpu_layers, offline)

    def generate(
        self,
        prompts: Sequence[Prompt],
        max_tokens: int = 512,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        draft: str | None = None,
    ) -> StageOutput:
        """Answer each prompt as it stands (no prompt style); `draft` is verified first."""
        if isinstance(prompts, str):
            raise ConfigError("generate takes a list of prompts: write [prompt].")
        sampling = Sampling(max_tokens, temperature, top_p, seed, tuple(stop))
        drafts = [self.engine.generate(to_messages(p), sampling, draft=draft) for p in prompts]
        return StageOutput([d.text for d in drafts], [list(d.token_logprobs) for d in drafts])

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        form: Form | None = None,
        draft: str | None = None,
        acceptance: Acceptance | None = None,
        observer: Observer | None = None,
    ) -> Draft:
        """Answer as a rung of a ladder: in this stage's style for the prompt's form."""
        if isinstance(prompt, str):
            style = find_style(*self.style_of(form or detect_form(prompt)))
            messages = style.messages(prompt)
        else:
            messages = to_messages(prompt)
        return self.engine.generate(
            messages,
            sampling,
            draft=draft,
            observer=observer,
            rates=self.rates,
            acceptance=acceptance,
        )

    def style_of(self, form: Form) -> tuple[Form, str]:
        """The form and the name of the style that this stage uses for it."""
        return form, self._styles[form]

    def token_limit(self, prompt: Prompt, form: Form) -> int:
        """Most tokens of an answer unless the caller says otherwise."""
        if self.max_tokens is not None:
            return self.max_tokens
        style = find_style(*self.style_of(form if isinstance(prompt, str) else Form.OPEN))
        return style.max_tokens

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


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


def _load(
    model_name: str, context: int, threads: int | None, gpu_layers: int, offline: bool
) -> Engine:
    from adaptive_sd.engines.llama_cpp import LlamaCppEngine  # loads a large shared library

    model = resolve(model_name, offline=offline)
    return LlamaCppEngine(
        model.path,
        name=model.name,
        model_hash=model.sha256,
        context=context,
        threads=threads,
        gpu_layers=gpu_layers,
    )

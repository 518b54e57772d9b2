"""One rung of the ladder: a model, the engine that runs it, and how it is asked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from adaptive_sd.closing import Closing
from adaptive_sd.election import TEMPERATURE, Election
from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.passes import MAX_BRANCHES
from adaptive_sd.engines.shared import SharedEngine
from adaptive_sd.errors import ConfigError, ContextOverflowError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.models.sizes import SIZE
from adaptive_sd.prompt import Prompt, to_messages
from adaptive_sd.rates import rates_key, rates_of
from adaptive_sd.sources import Source, can_run_vllm, in_process
from adaptive_sd.styles import DEFAULT_STYLES, STEP_STYLES, find_style
from adaptive_sd.types import (
    Acceptance,
    CostUnit,
    Draft,
    Message,
    Observer,
    Offer,
    Progress,
    Rates,
    Sampling,
    VoteSource,
)

Engines = MutableMapping[Hashable, SharedEngine]
"""By file and options."""


class StageOutput(NamedTuple):
    """Answers in the order of the prompts, and the natural-log probability of each token."""

    outputs: list[str]
    logprobs: list[list[float]]


class Stage(Closing):
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
        slots: int = 1,
        max_waiting: int = 64,
        styles: Mapping[Form, str] | None = None,
        votes: int = 1,
        max_tokens: int | None = None,
        rates_path: Path | None = None,
        offline: bool = False,
        rates: Rates | None = None,
        load: Callable[[], Engine] | None = None,
        source: Source | None = None,
        engines: Engines | None = None,
        can_run_vllm: Callable[[], bool] = can_run_vllm,
    ) -> None:
        """Find the model (catalogue name, hub id, GGUF path or folder) and fetch it if absent.

        It is loaded when first used: by vLLM, divided among `tensor_parallel_size` GPUs, where
        `can_run_vllm` says that both are here and it is no GGUF file, else embedded. `model_size`
        ("0.5b", "135m") only labels the stage.
        `slots` requests are decoded in one batch, each with `context` tokens of its own; others
        wait, but for more than `max_waiting`, which get QueueFullError.
        `styles` says how each form of task is asked; what is asked for in steps (STEP_STYLES) is
        answered by the majority of so many `votes`, where they are more than one.
        `rates_path` is where measured rates are kept, without which typical ones are taken; with
        `rates` tokens have a price instead. `source` replaces the embedded engine, as `load` does
        where no more is known. Stages with the same `engines` share those of one source. Raises
        UnknownModelError with near names, DamagedModelError, DownloadError, and ConfigError for
        values that the engine cannot honour.
        """
        if model_size is not None and not SIZE.fullmatch(model_size):
            raise ConfigError(f"model_size is {model_size!r}; write it like '0.5b' or '135m'.")
        if not 1 <= votes <= MAX_BRANCHES:
            raise ConfigError(f"votes is {votes}; it must be 1 to {MAX_BRANCHES}.")
        self.name = name or model_name
        self.model_size = model_size
        self.votes = votes
        self.max_tokens = max_tokens
        self._rates_path = rates_path
        self._styles = dict(DEFAULT_STYLES) | dict(styles or {})
        for form, style in self._styles.items():
            find_style(form, style)
        if load is not None:
            key = rates_key(self.name, "", threads=threads, gpu_layers=gpu_layers)
            source = Source(load, load, key, rates=rates)
        elif source is None:
            source = in_process(
                model_name,
                model_size,
                tensor_parallel_size,
                can_run_vllm,
                context=context,
                threads=threads,
                gpu_layers=gpu_layers,
                slots=slots,
                max_waiting=max_waiting,
                offline=offline,
                rates=rates,
            )
        self.model_hash, self.num_parameters = source.model_hash, source.num_parameters
        engines = {} if engines is None else engines
        self._shared = engines.setdefault(source.key, SharedEngine(source.load))
        self._rates_key = source.rates_key
        self._price = source.rates
        self._lock = threading.Lock()
        self._rates_lock = threading.Lock()
        self._engine: Engine | None = None
        self._rates: Rates | None = self._price

    @property
    def engine(self) -> Engine:
        """The engine, loaded now if it was not yet."""
        with self._lock:
            if self._engine is None:
                self._engine = self._shared.acquire()
            return self._engine

    @property
    def cost_unit(self) -> CostUnit:
        """That of its price; seconds of what is measured."""
        return "s" if self._price is None else self._price.unit

    @property
    def rates(self) -> Rates | None:
        """Its price, or measured rates of this model here; measured now if they never were.

        This stage's other requests wait meanwhile, those of other stages do not, and any of them
        makes the rates too slow: `adaptive-sd doctor` measures beforehand.
        """
        with self._rates_lock:  # several first requests measure once
            if self._rates is None and self._rates_path is not None:
                self._rates = self.measure_rates()
            return self._rates

    def measure_rates(self, *, again: bool = False) -> Rates:
        """As `rates`; with `again` measured in any case. Raises ConfigError without a place."""
        if self._price is not None:
            return self._price
        if self._rates_path is None:
            raise ConfigError(f"stage {self.name!r} has no rates_path to keep rates in.")
        key, path = self._rates_key, self._rates_path
        return rates_of(key, path, lambda: self.engine.measure_rates(), again=again)

    def warm_up(self, forms: Iterable[Form] = tuple(Form)) -> None:
        """Load the model and read its worked examples for these forms: then no answer has to wait.

        Examples that the context has no room for are left to the prompts themselves, which will
        say so. Never at a price.
        """
        if self._price is not None:
            return
        for form in forms:
            if find_style(*self.style_of(form)).examples:
                with contextlib.suppress(ContextOverflowError):
                    self.run("first", Sampling(max_tokens=1), form=form)
        self.engine.generate([Message("user", "Hello")], Sampling(max_tokens=1))

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
        """Answer each prompt as it stands (no prompt style).

        Of `draft` what is expected to pay is verified, as in Engine.generate.
        """
        if isinstance(prompts, str):
            raise ConfigError("generate takes a list of prompts: write [prompt].")
        sampling = Sampling(max_tokens, temperature, top_p, seed, tuple(stop))
        offer = None if draft is None else Offer(draft)
        drafts = [self.engine.generate(to_messages(p), sampling, draft=offer) for p in prompts]
        return StageOutput([d.text for d in drafts], [list(d.token_logprobs) for d in drafts])

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        form: Form | None = None,
        draft: Offer | None = None,
        acceptance: Acceptance | None = None,
        observer: Observer | None = None,
    ) -> Draft:
        """Answer as a rung of a ladder: in this stage's style for the prompt's form.

        By the majority of its votes where it has them; it then takes over those of the draft.
        """
        messages = self._messages(prompt, form)
        if isinstance(prompt, str):
            form = form or detect_form(prompt)
            if self.num_votes(form) > 1:
                return self._elect(messages, sampling, form, draft, observer)
        return self.engine.generate(
            messages,
            sampling,
            draft=draft,
            observer=observer,
            rates=self.rates,
            acceptance=acceptance,
        )

    def sample(
        self, prompt: Prompt, sampling: Sampling, count: int, *, form: Form | None = None
    ) -> list[Draft]:
        """`count` answers to one prompt in this stage's style, with seeds from that given on."""
        seeds = range(sampling.seed, sampling.seed + count)
        return self.engine.sample(self._messages(prompt, form), sampling, seeds)

    def num_votes(self, form: Form) -> int:
        """How many answers to a bare prompt of this form it samples; 1 for a plain answer."""
        return self.votes if self._styles[form] == STEP_STYLES.get(form) else 1

    def _elect(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        form: Form,
        offered: Offer | None,
        observer: Observer | None,
    ) -> Draft:
        """Sample what votes are missing; `observer` sees the elected answer when it is whole."""
        engine, (_, style) = self.engine, self.style_of(form)
        sampling = replace(sampling, temperature=sampling.temperature or TEMPERATURE, lenience=0.0)
        source = VoteSource(engine.info.model_hash, style, sampling)
        votes = offered.votes if offered else None
        held = votes.drafts[: self.votes] if votes and votes.source == source else ()
        election = Election(form, self.votes, held)
        seeds = [sampling.seed + place for place in election.missing]

        def keep_going(seen: Progress) -> bool:
            return observer is None or observer(Progress("", 0, (), seen.work))

        sampled = (
            engine.sample(
                *(messages, sampling, seeds), is_decided=election.is_decided, observer=keep_going
            )
            if seeds
            else []
        )
        elected = election.result(sampled, source)
        if observer is not None and elected.has_ended:
            observer(Progress(elected.text, elected.tokens_out, elected.token_logprobs))
        return elected

    def prompt_tokens(self, prompt: Prompt, *, form: Form | None = None) -> tuple[int, ...]:
        """The tokens that `run` has the model read."""
        return self.engine.prompt_tokens(self._messages(prompt, form))

    def _messages(self, prompt: Prompt, form: Form | None) -> list[Message]:
        if not isinstance(prompt, str):
            return to_messages(prompt)
        return find_style(*self.style_of(form or detect_form(prompt))).messages(prompt)

    def style_of(self, form: Form) -> tuple[Form, str]:
        """The form and the name of the style that this stage uses for it."""
        return form, self._styles[form]

    def style_names(self) -> dict[str, str]:
        """The style of every form, by the form's name."""
        return {form.value: style for form, style in self._styles.items()}

    def token_limit(self, prompt: Prompt, form: Form) -> int:
        """Most tokens of an answer unless the caller says otherwise."""
        if self.max_tokens is not None:
            return self.max_tokens
        style = find_style(*self.style_of(form if isinstance(prompt, str) else Form.OPEN))
        return style.max_tokens

    def close(self) -> None:
        """Free the model unless another stage uses it; a later use loads it again."""
        with self._lock:
            if self._engine is not None:
                self._engine = None
                self._shared.release()

"""An engine whose replicas are elsewhere: asked through Ray Serve, and asking back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from adaptive_sd.distributed.cluster import load_ray, one_line
from adaptive_sd.distributed.replica import Call, Ended, Facts, Verdicts
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.errors import AdaptiveSDError, EndpointError, QueueFullError
from adaptive_sd.sources import Source
from adaptive_sd.types import (
    Acceptance,
    Draft,
    IsDecided,
    Message,
    Observer,
    Offer,
    Progress,
    Rates,
    Sampling,
)


class RemoteEngine:
    """See Engine; a replica that is lost fails with EndpointError, as a server would.

    Observers are asked at every token and pass (`asks_always`), else where a draft may be
    abandoned. Not to be used on the thread of an event loop.
    """

    def __init__(
        self, name: str, handle: Any, verdicts: Any, facts: Facts, *, asks_always: bool
    ) -> None:
        self._name = name
        self._handle = handle
        self._verdicts = verdicts
        self._facts = facts
        self._asks_always = asks_always

    @property
    def info(self) -> EngineInfo:
        return self._facts.info

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        draft: Offer | None = None,
        observer: Observer | None = None,
        rates: Rates | None = None,
        acceptance: Acceptance | None = None,
    ) -> Draft:
        values = {"messages": list(messages), "sampling": sampling, "draft": draft}
        values |= {"rates": rates, "acceptance": acceptance}
        made: Draft = self._run("generate", values, observer, None)
        return made

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        seeds: Sequence[int],
        *,
        is_decided: IsDecided | None = None,
        observer: Observer | None = None,
    ) -> list[Draft]:
        values = {"messages": list(messages), "sampling": sampling, "seeds": list(seeds)}
        made: list[Draft] = self._run("sample", values, observer, is_decided)
        return made

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        tokens: tuple[int, ...] = self._tell("prompt_tokens", list(messages))
        return tokens

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        tokens: DraftTokens = self._tell("draft_tokens", draft)
        return tokens

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        ends: tuple[int, ...] = self._tell("token_ends", tuple(token_ids))
        return ends

    def measure_rates(self) -> Rates:
        rates: Rates = self._tell("measure_rates")
        return rates

    def close(self) -> None:
        """The replicas stay: others ask them too."""

    def _tell(self, method: str, *values: object) -> Any:
        with map_errors(self._name):
            return _result(self._handle.tell.remote(method, *values).result())

    def _run(
        self,
        method: str,
        values: dict[str, Any],
        observer: Observer | None,
        is_decided: IsDecided | None,
    ) -> Any:
        call = Call(uuid.uuid4().hex, method, values, observer is not None, self._asks_always)
        with map_errors(self._name):
            told = self._handle.options(stream=True).run.remote(call, self._verdicts)
            try:
                for item in told:
                    if isinstance(item, Ended):
                        return _result(item.result)
                    if isinstance(item, Progress):
                        verdict = observer is None or observer(item)
                    else:
                        verdict = is_decided is not None and is_decided(*item)
                    self._verdicts.say.remote(call.run_id, verdict)
            finally:
                told.cancel()
                self._verdicts.forget.remote(call.run_id)
        raise EndpointError(f"{self._name}: its replica ended an answer without a word.")


def open_verdicts() -> Any:
    """An actor on the machine of the process that asks; begun again whenever it is lost."""
    ray = load_ray()
    here = load_ray("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
    return ray.remote(Verdicts).options(**options).remote()


def remote_source(
    name: str, handle: Any, verdicts: Any, facts: Facts, *, asks_always: bool
) -> Source:
    """Of a stage with these facts; its rates are those of its replicas."""

    def load() -> RemoteEngine:
        return RemoteEngine(name, handle, verdicts, facts, asks_always=asks_always)

    key = ("remote", name, asks_always)
    return Source(load, key, "", facts.model_hash, facts.num_parameters, facts.rates)


def ask_facts(name: str, handle: Any) -> Facts:
    """Waits until a replica is there. Raises EndpointError."""
    with map_errors(name):
        facts: Facts = handle.facts.remote().result()
        return facts


def _result(result: Any) -> Any:
    if isinstance(result, AdaptiveSDError):
        raise result
    return result


@contextmanager
def map_errors(name: str) -> Iterator[None]:
    """What Ray raises, as ours: a replica has no room, or is lost in one of many ways."""
    serve, ray = load_ray("ray.serve.exceptions"), load_ray("ray.exceptions")
    try:
        yield
    except serve.BackPressureError as error:
        raise QueueFullError(f"{name}: {one_line(error)}; ask again later.") from error
    except (ray.RayError, serve.RayServeException) as error:
        raise EndpointError(f"{name}: its replica is lost ({one_line(error)}).") from error

"""The embedded engine with several slots, on the tiny model: answers in a batch and alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.engines.llama_cpp.context import MAX_SLOTS, Context
from adaptive_sd.engines.llama_cpp.model import Model
from adaptive_sd.errors import (
    ConfigError,
    EngineClosedError,
    QueueFullError,
)
from adaptive_sd.types import Draft, Progress, Sampling
from tests.engines.asking import ANY_REQUEST, UNSHRUNK, Asked, answer, ask
from tests.engines.margin import TINY_NOISE, assert_same_up_to_margin


def open_engine(path: Path, slots: int, **options: int) -> LlamaCppEngine:
    return LlamaCppEngine(
        path, name="tiny", model_hash="0" * 64, context=512, slots=slots, **options
    )


@pytest.fixture(scope="module")
def single(tiny_path: Path) -> Iterator[LlamaCppEngine]:
    engine = open_engine(tiny_path, 1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def batched(tiny_path: Path) -> Iterator[LlamaCppEngine]:
    engine = open_engine(tiny_path, 3)
    yield engine
    engine.close()


@settings(max_examples=15, deadline=None, phases=UNSHRUNK)
@given(st.lists(ANY_REQUEST, min_size=2, max_size=8))
def test_in_a_batch_each_answer_is_the_one_alone(
    single: LlamaCppEngine,
    batched: LlamaCppEngine,
    many: list[Asked],
) -> None:
    """Whatever the prompts, lengths and drafts, and whoever is cancelled in the middle."""
    with ThreadPoolExecutor(len(many)) as callers:
        together = list(callers.map(lambda each: answer(batched, each), many))
    for each, draft in zip(many, together, strict=True):
        alone = answer(single, each)
        if draft.finish_reason == alone.finish_reason == "cancelled":
            assert draft.tokens_out <= (each[-1] or 0)
        assert_same_up_to_margin(alone, draft, TINY_NOISE)
        num_same = common_prefix(alone.token_ids, draft.token_ids)
        margins = [d.token_margins[:num_same] for d in (alone, draft)]
        assert margins[0] == pytest.approx(margins[1], abs=10 * TINY_NOISE)


def test_sampled_answers_and_votes_stay_the_same(
    single: LlamaCppEngine, batched: LlamaCppEngine
) -> None:
    """Up to noise: keys in 16 bits move a probability by some 1e-3, rarely across a draw."""

    def answers(engine: LlamaCppEngine, seed: int) -> list[str]:
        sampling = Sampling(max_tokens=20, temperature=0.8, seed=seed)
        if seed % 3:
            return [engine.generate(ask(f"q{seed}"), sampling).text]
        return [
            vote.text for vote in engine.sample(ask(f"q{seed}"), sampling, range(seed, seed + 4))
        ]

    with ThreadPoolExecutor(20) as callers:
        together = list(callers.map(lambda seed: answers(batched, seed), range(20)))
    alone = [answers(single, seed) for seed in range(20)]
    texts = [pair for a, b in zip(alone, together, strict=True) for pair in zip(a, b, strict=True)]
    assert len(texts) == 41 and sum(a == b for a, b in texts) >= 32


def test_what_another_slot_has_read_is_shared(tiny_path: Path) -> None:
    model = Model(tiny_path)
    context = Context(model, size=128, num_threads=1, num_slots=2)
    first, second = context.slots
    prompt = list(range(40, 90))
    first.start(prompt)
    first.read(prompt[:-1])
    second.start(prompt)
    assert second.tokens == prompt[:-1]
    first.truncate(3)
    shared = second.extend(prompt[-1:])
    first.read(prompt[3:-1])
    assert first.extend(prompt[-1:]) == pytest.approx(shared, abs=1e-3)
    context.close()
    model.close()


def test_every_slot_can_be_filled_to_its_end(batched: LlamaCppEngine) -> None:
    def fill(seed: int) -> Draft:
        sampling = Sampling(max_tokens=500, temperature=1.5, seed=seed)
        return batched.generate(ask(f"{seed}" * 300), sampling)

    with ThreadPoolExecutor(3) as callers:
        drafts = list(callers.map(fill, range(3)))
    assert all(draft.tokens_in + draft.tokens_out <= 512 for draft in drafts)


def test_one_caller_too_many_is_refused(tiny_path: Path) -> None:
    engine = open_engine(tiny_path, 1, max_waiting=0)
    begun, asked = threading.Event(), threading.Event()

    def hold(progress: Progress) -> bool:
        begun.set()
        return not asked.wait(0.05)

    with ThreadPoolExecutor(1) as caller:
        long = Sampling(max_tokens=400)
        running = caller.submit(engine.generate, ask("hello"), long, observer=hold)
        assert begun.wait(60)
        with pytest.raises(QueueFullError, match="tiny: 0 requests wait already"):
            engine.generate(ask("b"), long)
        asked.set()
        assert running.result().finish_reason == "cancelled"
    engine.close()


def test_close_lets_requests_end_and_refuses_new_ones(tiny_path: Path) -> None:
    engine, begun = open_engine(tiny_path, 2), threading.Event()

    def observe(progress: Progress) -> bool:
        begun.set()
        return True

    sampling = Sampling(max_tokens=100)
    with ThreadPoolExecutor(4) as callers:
        futures = [
            callers.submit(engine.generate, ask(f"{i}"), sampling, observer=observe)
            for i in range(4)
        ]
        assert begun.wait(60)
        engine.close()
        with pytest.raises(EngineClosedError):
            engine.generate(ask("x"), sampling)
    ended = [future.exception() for future in futures]
    assert ended[0] is None or ended.count(None)
    assert all(error is None or isinstance(error, EngineClosedError) for error in ended)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Heard even where the tests run in the background, which shells start without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_its_own_request_only(tiny_path: Path) -> None:
    engine = open_engine(tiny_path, 2)
    sampling = Sampling(max_tokens=300, temperature=1.5)
    plain = engine.generate(ask("other"), sampling)

    def interrupt(progress: Progress) -> bool:
        if progress.num_tokens == 3:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return True

    with ThreadPoolExecutor(1) as caller:
        other = caller.submit(engine.generate, ask("other"), sampling)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(ask("mine"), sampling, observer=interrupt)
        assert other.result().token_ids == plain.token_ids
    assert engine.generate(ask("again"), Sampling(max_tokens=3)).tokens_out <= 3
    engine.close()


@pytest.mark.parametrize("slots", [0, MAX_SLOTS + 1])
def test_slots_that_the_library_cannot_have_are_refused(tiny_path: Path, slots: int) -> None:
    with pytest.raises(ConfigError, match=f"slots is {slots}; it must be 1 to {MAX_SLOTS}"):
        open_engine(tiny_path, slots)


def test_as_many_slots_as_there_can_be_all_work(tiny_path: Path) -> None:
    engine = open_engine(tiny_path, MAX_SLOTS)
    sampling = Sampling(max_tokens=4, temperature=1.0)
    with ThreadPoolExecutor(MAX_SLOTS) as callers:
        votes = list(
            callers.map(lambda i: engine.sample(ask(f"{i}"), sampling, range(8)), range(MAX_SLOTS))
        )
    engine.close()
    assert all(len(each) == 8 for each in votes)

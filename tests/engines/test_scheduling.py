"""The scheduler over a fake cache: answers in a batch are those alone, and nobody is starved."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.generation import generate
from adaptive_sd.engines.passes import Piece
from adaptive_sd.engines.scheduling import MAX_TOKENS, READ_BESIDE, Request, Scheduler, next_pass
from adaptive_sd.engines.verification import MAX_ROWS, DraftVerifier
from adaptive_sd.engines.voting import generate_votes
from adaptive_sd.errors import CancelledError, EngineClosedError, QueueFullError
from adaptive_sd.types import Draft, Observer, Progress, Sampling
from tests.engines.fake_cache import FakeCache, FakeSequence, drive
from tests.engines.margin import EAGER
from tests.engines.test_generation import FAST_VERIFY, same, samplings

LONG = Sampling(max_tokens=40, temperature=5.0, seed=1)
"""Its draws end an answer after 13 tokens, whatever the prompt."""


class ManualWorker(Executor):
    """Does what it was given when told to."""

    def __init__(self) -> None:
        self._work: list[Callable[[], None]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._work.append(partial(work, *args, **kwargs))
        return Future()

    def run(self) -> None:
        while self._work:
            self._work.pop(0)()


class Bench:
    """A scheduler, its cache and its worker."""

    def __init__(
        self,
        seed: int = 7,
        num_slots: int = 2,
        max_waiting: int = 64,
        cache: FakeCache | None = None,
    ) -> None:
        self.cache = cache or FakeCache(seed, size=400, num_slots=num_slots)
        self.worker = ManualWorker()
        self.scheduler = Scheduler(self.cache, self.worker, name="fake", max_waiting=max_waiting)

    def ask(
        self,
        prompt: list[int],
        sampling: Sampling = LONG,
        draft: tuple[int, ...] = (),
        observer: Observer | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Future[Draft]:
        begin = partial(
            generate,
            vocabulary=self.cache,
            prompt=prompt,
            sampling=sampling,
            verifier=verifier_of(draft),
            beside=self.scheduler.rows_beside,
            observer=observer,
        )
        return self.scheduler.submit(Request(prompt, begin, wanted))


def verifier_of(draft: tuple[int, ...]) -> DraftVerifier:
    return DraftVerifier(DraftTokens(draft, (0.5,) * len(draft)), FAST_VERIFY, EAGER)


def alone(
    seed: int, prompt: list[int], sampling: Sampling = LONG, draft: tuple[int, ...] = ()
) -> Draft:
    cache = FakeCache(seed, size=400)
    verifier = verifier_of(draft)
    return drive(cache, generate(cache.slots[0], cache, prompt, sampling, verifier=verifier))


asked = st.tuples(
    st.lists(st.integers(0, 4), min_size=1, max_size=150),
    samplings,
    st.lists(st.integers(0, 5), max_size=70).map(tuple),
    st.one_of(st.none(), st.integers(0, 30)),
)


@settings(max_examples=40)
@given(st.integers(0, 9), st.integers(1, 5), st.lists(asked, min_size=1, max_size=9))
def test_in_a_batch_each_answer_is_the_one_alone(seed: int, num_slots: int, many: list) -> None:  # type: ignore[type-arg]
    """Whatever the prompts, drafts and lengths, and whoever is cancelled in the middle."""
    bench = Bench(seed, num_slots)

    def until(limit: int | None) -> Observer:
        return lambda progress: limit is None or progress.num_tokens < limit

    futures = [bench.ask(*each, until(limit)) for *each, limit in many]
    bench.worker.run()
    for (prompt, sampling, draft, limit), future in zip(many, futures, strict=True):
        answer, plain = future.result(0), alone(seed, prompt, sampling)
        if answer.finish_reason == "cancelled":
            assert limit is not None and len(answer.token_ids) <= max(limit, 1)
            assert answer.token_ids == plain.token_ids[: len(answer.token_ids)]
        else:
            assert same(answer, plain)
            if num_slots == 1:  # what pays depends on who shares the passes
                assert answer.verified == alone(seed, prompt, sampling, draft).verified
    assert len(bench.scheduler._free) == num_slots


def test_one_slot_makes_the_passes_of_one_after_the_other() -> None:
    bench, cache = Bench(num_slots=1), FakeCache(7, size=400)
    prompts = [[1] * 200, [1, 2], [2] * 130]
    for prompt in prompts:
        bench.ask(prompt)
    bench.worker.run()
    for prompt in prompts:
        drive(cache, generate(cache.slots[0], cache, prompt, LONG, verifier=verifier_of(())))
    assert bench.cache.passes == cache.passes


wants = st.lists(
    st.one_of(
        st.integers(1, 400).map(lambda n: [(n, False, False)]),
        st.integers(1, MAX_ROWS).map(lambda n: [(n, True, False)]),
        st.integers(1, MAX_ROWS).map(lambda n: [(n, True, True)]),
        st.integers(1, 8).map(lambda n: [(1, True, False)] * n),
    ),
    min_size=1,
    max_size=20,
)


@given(wants)
def test_a_pass_is_bounded_and_everybody_is_served_in_a_few(shapes: list) -> None:  # type: ignore[type-arg]
    line = [
        [Piece(FakeSequence(i, 400, True), [1] * n, *rest) for n, *rest in shape]
        for i, shape in enumerate(shapes)
    ]
    unserved = {each[0].sequence.id for each in line}
    for _ in range(len(line)):
        chosen = next_pass(line)
        pieces = [piece for each in chosen.values() for piece in each]
        with_logits = sum(len(p.tokens) for p in pieces if p.logits)
        reading = sum(len(p.tokens) for p in pieces if not p.logits)
        assert 0 < with_logits + reading <= MAX_TOKENS and with_logits <= MAX_ROWS
        assert not reading or not any(p.hidden for p in pieces)
        assert not with_logits or reading <= READ_BESIDE
        for i, part in chosen.items():
            assert part == line[i] or part[0].tokens == line[i][0].tokens[: len(part[0].tokens)]
        unserved -= {piece.sequence.id for piece in pieces}
        served = [line[i] for i in chosen]
        line = [each for i, each in enumerate(line) if i not in chosen] + served
    assert not unserved


def test_a_long_prompt_does_not_stall_those_who_decode() -> None:
    bench = Bench(num_slots=2)
    bench.ask([1])
    bench.ask([2] * 390)
    bench.worker.run()
    first = [p for p in bench.cache.passes if any(s == 1 and not rows for s, _, rows in p)]
    beside = [p for p in first if any(rows for _, _, rows in p)]
    assert len(beside) >= 10 and all(n <= READ_BESIDE for p in beside for s, n, _ in p if s == 1)
    assert len(first) - len(beside) <= 2


def test_waiting_requests_get_slots_in_order_of_arrival() -> None:
    bench, begun = Bench(num_slots=2), []

    def note(i: int, progress: Progress) -> bool:
        if i not in begun:
            begun.append(i)
        return True

    for i in range(7):
        bench.ask([i % 5, 1], observer=partial(note, i))
    bench.worker.run()
    assert begun == list(range(7))


def test_a_request_gets_the_slot_that_knows_its_prompt() -> None:
    bench = Bench(num_slots=3)
    for prompt in ([1] * 50, [2] * 50, [3] * 50):
        bench.ask(prompt, Sampling(max_tokens=1))
    bench.worker.run()
    answer = bench.ask([2] * 50)
    bench.worker.run()
    assert answer.result(0).num_cached == 49


def test_one_request_too_many_is_refused_and_a_cancelled_one_makes_room() -> None:
    bench = Bench(num_slots=1, max_waiting=2)
    first, second, third = (bench.ask([i]) for i in range(3))
    with pytest.raises(QueueFullError, match="fake: 2 requests wait already; ask again later"):
        bench.ask([4])
    assert second.cancel()
    bench.worker.run()
    assert same(first.result(0), alone(7, [0])) and same(third.result(0), alone(7, [2]))
    assert bench.ask([4])


def test_a_caller_that_has_its_answer_finds_a_free_slot() -> None:
    bench = Bench(num_slots=1, max_waiting=1)
    asked: list[Future[Draft]] = []
    answered = bench.ask([1])
    bench.ask([2])

    def ask_again(_: object) -> None:
        caller = Thread(target=lambda: asked.append(bench.ask([3])))
        caller.start()
        caller.join()

    answered.add_done_callback(ask_again)
    bench.worker.run()
    assert same(asked[0].result(0), alone(7, [3]))


def test_who_is_not_wanted_any_more_leaves_the_queue() -> None:
    bench = Bench(num_slots=1)
    bench.ask([1])
    gone = bench.ask([2], wanted=lambda: False)
    bench.worker.run()
    with pytest.raises(CancelledError):
        gone.result(0)
    assert all(n == 1 for passed in bench.cache.passes for _, n, _ in passed)


def test_calls_come_between_passes_and_close_lets_the_rest_end() -> None:
    bench = Bench(num_slots=1)
    answers = [bench.ask([1]), bench.ask([2])]
    called = bench.scheduler.call(lambda: len(bench.cache.passes))
    failed = bench.scheduler.call(lambda: 1 // 0)
    assert bench.scheduler.close() and not bench.scheduler.close()
    with pytest.raises(EngineClosedError, match="fake: the engine is closed"):
        bench.ask([3])
    bench.worker.run()
    assert called.result(0) == 0 and isinstance(failed.exception(0), ZeroDivisionError)
    assert all(same(answers[i].result(0), alone(7, [i + 1])) for i in range(2))


@settings(max_examples=25)
@given(st.integers(0, 9), st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_votes_share_batches_with_other_requests(seed: int, counts: list[int]) -> None:
    bench = Bench(seed, num_slots=2)
    sampling = Sampling(max_tokens=20, temperature=1.0)

    def begin(prompt: list[int], count: int) -> Any:
        return partial(
            generate_votes,
            vocabulary=bench.cache,
            prompt=prompt,
            sampling=sampling,
            seeds=range(count),
        )

    votes = [
        bench.scheduler.submit(Request([1, count % 5], begin([1, count % 5], count)))
        for count in counts
    ]
    other = bench.ask([2, 2])
    bench.worker.run()
    assert same(other.result(0), alone(seed, [2, 2]))
    for count, future in zip(counts, votes, strict=True):
        for i, vote in enumerate(future.result(0)):
            single = Sampling(max_tokens=20, temperature=1.0, seed=i)
            assert same(vote, alone(seed, [1, count % 5], single))

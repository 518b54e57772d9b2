"""What an observer is told that an answer has taken is what it then costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.engines.voting import generate_votes
from adaptive_sd.judge import cost_of
from adaptive_sd.types import Draft, Observer, Offer, Progress, Rates, Sampling, Work
from tests.engines.asking import ask
from tests.engines.fake_cache import FakeCache, drive
from tests.engines.openai_model import TinyModel
from tests.engines.openai_script import Script
from tests.engines.openai_server import serving
from tests.engines.test_generation import FAST_VERIFY, prompts, run, samplings
from tests.engines.test_openai import engine_of
from tests.engines.test_openai_verifying import READING, SURE

RATES = Rates(0.003, 0.02, ((2, 0.03), (4, 0.05), (64, 0.4)))


class Meter:
    """Ends an answer at its n-th call; knows what it had cost then, and each pass before."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.costs: list[float] = []

    def __call__(self, progress: Progress) -> bool:
        self.costs.append(RATES.work_s(progress.work))
        return len(self.costs) < self.last


def check(cost_at: Callable[[Observer], tuple[float, bool]], last: int) -> None:
    """`cost_at` runs with an observer: what was paid, and whether it was cut."""
    meter = Meter(last)
    cost, was_cut = cost_at(meter)
    assert sorted(meter.costs) == meter.costs
    if was_cut:
        assert cost == pytest.approx(meter.costs[-1], abs=1e-12)
    else:
        assert cost >= meter.costs[-1] - 1e-12


@given(
    st.integers(0, 50),
    prompts,
    samplings,
    st.lists(st.integers(0, 4), max_size=40),
    st.integers(0, 20),
    st.sampled_from([None, FAST_VERIFY]),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_of_an_answer_that_verifies(
    seed: int,
    prompt: list[int],
    sampling: Sampling,
    noise: list[int],
    num_right: int,
    rates: Rates | None,
    last: int,
    chunk: int,
) -> None:
    right = run(FakeCache(seed), prompt, sampling).token_ids[:num_right]

    def cost_at(observer: Observer) -> tuple[float, bool]:
        model = FakeCache(seed)
        model.slots[0].tokens = prompt[: len(prompt) // 3]
        draft = run(model, prompt, sampling, [*right, *noise], rates, chunk, observer)
        return cost_of(draft, RATES), not draft.has_ended

    check(cost_at, last)


@given(
    st.integers(0, 50), prompts, samplings, st.integers(1, 5), st.integers(1, 90), st.integers(1, 4)
)
def test_of_votes(
    seed: int, prompt: list[int], sampling: Sampling, count: int, last: int, chunk: int
) -> None:
    def cost_at(observer: Observer) -> tuple[float, bool]:
        model = FakeCache(seed)
        steps = generate_votes(
            model.slots[0], model, prompt, sampling, range(count), observer=observer
        )
        votes = drive(model, steps, chunk)
        read = votes[0].tokens_in - votes[0].num_cached
        cost = RATES.votes_s(read, [vote.num_chosen for vote in votes])
        return cost, not all(vote.has_ended for vote in votes)

    check(cost_at, last)


@pytest.mark.parametrize("last", [1, 2, 5, 40])
def test_of_the_embedded_engine(tiny: LlamaCppEngine, last: int) -> None:
    earlier = tiny.generate(ask("hi"), Sampling(max_tokens=20)).offer

    def cost_at(observer: Observer) -> tuple[float, bool]:
        prompt = ask(f"{last} " + "a long question " * 20)
        draft = tiny.generate(
            prompt, Sampling(max_tokens=60), draft=earlier, observer=observer, rates=FAST_VERIFY
        )
        if last == 1:
            assert draft.tokens_in < 128 or draft.tokens_in == draft.num_cached
        return cost_of(draft, RATES), not draft.has_ended

    check(cost_at, last)


@pytest.mark.parametrize("kind", ["", "vllm", "sglang"])
@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "plain"])
@pytest.mark.parametrize("last", [1, 3, 7, 99])
def test_of_a_served_model(kind: str, stream: bool, last: int) -> None:
    model = TinyModel(3)
    text = model.text(model.greedy(model.chat([{"role": "user", "content": "hi"}]), 24))
    script = Script(model, kind, pause_s=0.02 if stream else 0.0)
    with serving(script) as server, engine_of(server, stream=stream) as engine:

        def cost_at(observer: Observer) -> tuple[float, bool]:
            def observe(progress: Progress) -> bool:
                """How often it is asked before anything came is chance."""
                return progress.work == Work() or observer(progress)

            rest = {"draft": Offer(text[:4] + "z"), "rates": READING, "acceptance": SURE}
            draft = engine.generate(ask("hi"), Sampling(24), observer=observe, **rest)  # type: ignore[arg-type]
            assert (draft.verified.num_spans == 1) is (kind != "")
            return cost_of(draft, RATES), not draft.has_ended

        check(cost_at, last)


@pytest.mark.parametrize("offer", [None, Offer("one two four"), Offer("no")])
@pytest.mark.parametrize("last", [1, 2, 3, 9])
def test_of_the_scripted_engine(offer: Offer | None, last: int) -> None:
    def cost_at(observer: Observer) -> tuple[float, bool]:
        engine = FakeEngine("fake", lambda _: "one two three four five")
        draft: Draft = engine.generate(ask("a b c"), Sampling(), draft=offer, observer=observer)
        return cost_of(draft, RATES), not draft.has_ended

    check(cost_at, last)

"""The generation loop against a fake deterministic model: verified equals plain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.generation import generate
from adaptive_sd.engines.passes import Piece
from adaptive_sd.engines.verification import DraftVerifier
from adaptive_sd.types import Draft, Observer, Progress, Rates, Sampling
from tests.engines.fake_cache import END, FakeCache, drive
from tests.engines.margin import EAGER

FAST_VERIFY = Rates(0.001, 0.02, ((4, 0.021), (64, 0.03)))


def run(
    model: FakeCache,
    prompt: list[int],
    sampling: Sampling,
    draft: list[int] | None = None,
    rates: Rates | None = None,
    chunk: int = 128,
    observer: Observer | None = None,
) -> Draft:
    """Alone, in passes that read at most `chunk` tokens of the prompt."""
    tokens = tuple(draft or ())
    verifier = DraftVerifier(DraftTokens(tokens, (0.5,) * len(tokens)), rates, EAGER)
    (slot,) = model.slots
    steps = generate(slot, model, prompt, sampling, verifier=verifier, observer=observer)
    return drive(model, steps, chunk)


def same(a: Draft, b: Draft) -> bool:
    fields = ("text", "token_ids", "token_logprobs", "token_margins", "finish_reason")
    return all(getattr(a, f) == getattr(b, f) for f in fields)


prompts = st.lists(st.integers(0, 4), min_size=1, max_size=12)
samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 90),
    temperature=st.sampled_from([0.0, 1.0]),
    top_p=st.sampled_from([1.0, 0.8]),
    seed=st.integers(0, 9),
    stop=st.sampled_from([(), ("ab",), ("c", "dd")]),
)


@given(
    st.integers(0, 50),
    prompts,
    samplings,
    st.lists(st.integers(0, 5), max_size=100),
    st.integers(0, 90),
    st.sampled_from([None, FAST_VERIFY]),
)
def test_any_draft_gives_the_plain_answer(
    seed: int,
    prompt: list[int],
    sampling: Sampling,
    noise: list[int],
    num_right: int,
    rates: Rates | None,
) -> None:
    plain = run(FakeCache(seed), prompt, sampling)
    draft = [*plain.token_ids[:num_right], *noise]
    model = FakeCache(seed)
    verified = run(model, prompt, sampling, draft, rates)
    assert same(verified, plain)
    assert verified.hidden == plain.hidden
    counts = verified.verified
    assert counts.num_accepted <= min(counts.num_drafted, len(plain.token_ids) + 1)
    assert counts.num_chosen <= counts.num_accepted + counts.num_spans
    assert sum(counts.span_rows) == counts.num_drafted + counts.num_spans
    evaluated = [*prompt, *plain.token_ids, END]
    cached = model.slots[0].tokens
    assert cached == evaluated[: len(cached)]  # the cache holds no rejected token


@given(st.integers(0, 50), prompts, prompts, st.integers(1, 5), st.booleans())
def test_a_kept_cache_and_any_chunk_give_the_same_answer(
    seed: int, first: list[int], second: list[int], chunk: int, can_drop_tail: bool
) -> None:
    sampling = Sampling(max_tokens=40)
    model = FakeCache(seed, can_drop_tail=can_drop_tail)
    run(model, first, sampling, chunk=chunk)
    assert same(run(model, second, sampling, chunk=chunk), run(FakeCache(seed), second, sampling))


def test_an_agreeing_draft_costs_few_passes() -> None:
    plain = run(FakeCache(3), [1, 2], Sampling(max_tokens=60))
    model = FakeCache(3)
    draft = [*plain.token_ids, END]
    verified = run(model, [1, 2], Sampling(max_tokens=60), draft)
    assert same(verified, plain)
    counts = verified.verified
    assert counts.num_accepted >= len(plain.token_ids) - counts.num_spans
    assert counts.num_spans <= 3


def test_a_full_context_ends_the_answer() -> None:
    draft = run(FakeCache(0, size=10), [1] * 7, Sampling(max_tokens=90, temperature=2.0))
    assert len(draft.token_ids) <= 3


def test_observer_sees_all_text_and_can_end_the_answer() -> None:
    model, seen = FakeCache(7), []

    def observe(progress: Progress) -> bool:
        seen.append(progress.new_text)
        assert len(progress.token_logprobs) == progress.num_tokens
        return progress.num_tokens < 5

    draft = run(model, [1], Sampling(max_tokens=60), chunk=8, observer=observe)
    assert draft.finish_reason in ("cancelled", "stop")
    assert "".join(seen) == draft.text
    assert len(draft.token_ids) <= 5


def test_cancelled_while_the_prompt_is_read() -> None:
    model = FakeCache(7)
    draft = run(model, [1] * 50, Sampling(), chunk=8, observer=lambda _: False)
    assert (draft.finish_reason, draft.text, model.num_rows) == ("cancelled", "", 0)


@given(st.integers(0, 50), prompts, st.integers(0, 20), st.integers(0, 60))
def test_after_a_mismatch_the_rest_of_the_draft_stays_in_play(
    seed: int, prompt: list[int], at: int, num_lost: int
) -> None:
    """One wrong token in the middle: the tokens behind it are verified all the same."""
    plain = run(FakeCache(seed), prompt, Sampling(max_tokens=90))
    tokens = list(plain.token_ids)
    draft = [*tokens[:at], *tokens[at + num_lost :]]
    model = FakeCache(seed)
    verified = run(model, prompt, Sampling(max_tokens=90), draft, FAST_VERIFY)
    assert same(verified, plain)


def test_a_draft_wrong_in_one_place_is_used_on_both_sides() -> None:
    plain = run(FakeCache(3), [1, 2], Sampling(max_tokens=60))
    tokens = list(plain.token_ids)
    middle = len(tokens) // 2
    draft = [*tokens[:middle], (tokens[middle] + 1) % END, *tokens[middle + 1 :], END]
    counts = run(FakeCache(3), [1, 2], Sampling(max_tokens=60), draft, FAST_VERIFY).verified
    assert counts.num_accepted > 0.7 * len(tokens)


@given(st.integers(0, 50), prompts, st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_lenience_keeps_draft_tokens_within_it_and_no_others(
    seed: int, prompt: list[int], draft: list[int]
) -> None:
    lenient = Sampling(max_tokens=40, lenience=2.0)
    answer = run(FakeCache(seed), prompt, lenient, draft, FAST_VERIFY)
    model, tokens = FakeCache(seed), list(answer.token_ids)
    (slot,) = model.slots
    slot.tokens += prompt[:-1]
    for token, last in zip(tokens, [prompt[-1], *tokens], strict=False):
        ((row,), _) = model.evaluate([Piece(slot, [last])])[0]
        assert row[token] >= row.max() - lenient.lenience
        assert row[token] == row.max() or token in draft


def test_full_lenience_follows_the_draft() -> None:
    draft = [1, 1, 2, 3, 4, 4, 1, 2]
    sampling = Sampling(max_tokens=8, lenience=20.0)
    assert list(run(FakeCache(5), [1], sampling, draft, FAST_VERIFY).token_ids) == draft


NEVER, SMALL, WHOLE = (
    Rates(0.1, 1.0, ((2, 50.0), (64, 99.0))),
    Rates(0.1, 0.02, ((4, 0.021), (64, 2.0))),
    Rates(0.1, 0.02, ((64, 0.02),)),
)
"""A span costs too much; pays up to 3 tokens; costs nothing."""


@given(
    st.integers(0, 50),
    prompts,
    st.lists(st.integers(0, 5), max_size=60),
    st.sampled_from([0.5, 3.0, 20.0]),
)
def test_a_lenient_answer_does_not_depend_on_what_passes_cost(
    seed: int, prompt: list[int], draft: list[int], lenience: float
) -> None:
    sampling = Sampling(max_tokens=50, lenience=lenience)
    found = [run(FakeCache(seed), prompt, sampling, draft, r) for r in (NEVER, SMALL, WHOLE)]
    assert same(found[0], found[1]) and same(found[0], found[2])


@given(st.integers(0, 50), prompts, samplings, st.integers(1, 40))
def test_only_an_answer_that_the_model_ended_has_an_end_of_turn(
    seed: int, prompt: list[int], sampling: Sampling, most: int
) -> None:
    """It was chosen, and a draft of the answer offers it; what was cut would have gone on."""
    model = FakeCache(seed)
    draft = run(model, prompt, sampling, observer=lambda seen: seen.num_tokens < most)
    num_decoded = sum(n for of_pass in model.passes for _, n, logits in of_pass if logits)
    assert draft.num_chosen == num_decoded
    assert draft.offer.ended == (draft.num_chosen > draft.tokens_out)
    cut = draft.tokens_out in (most, sampling.max_tokens) or draft.finish_reason == "stop_string"
    assert draft.offer.ended or cut

"""Requests of all kinds for a local engine, as tests of batches put them."""

from __future__ import annotations

from hypothesis import Phase
from hypothesis import strategies as st

from adaptive_sd.engines.base import Engine
from adaptive_sd.types import Draft, Message, Offer, Progress, Sampling
from tests.engines.margin import EAGER

Asked = tuple[str, int, str | None, int | None]
"""Text, most tokens, what is offered if anything, and the tokens after which it is cancelled."""

ANY_REQUEST: st.SearchStrategy[Asked] = st.tuples(
    st.text(max_size=150),
    st.integers(1, 60),
    st.one_of(st.none(), st.text(max_size=40)),
    st.one_of(st.none(), st.integers(1, 30)),
)
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)  # which passes threads share is chance


def ask(text: str) -> list[Message]:
    return [Message("user", text)]


def answer(engine: Engine, asked: Asked) -> Draft:
    prompt, length, draft, limit = asked

    def observe(progress: Progress) -> bool:
        return limit is None or progress.num_tokens < limit

    return engine.generate(
        ask(f"q{prompt}"),
        Sampling(max_tokens=length),
        draft=None if draft is None else Offer(draft),
        observer=observe,
        acceptance=EAGER,
    )

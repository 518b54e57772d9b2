"""Engines of different makers with the same weights in 32 bits; the transformers one is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.base import Engine
from adaptive_sd.types import Offer
from tests.conformance.laws import answer, assert_same
from tests.conformance.subject import Subject
from tests.conformance.subjects.transformers import ORACLE
from tests.engines.margin import assert_same_up_to_margin

pytestmark = pytest.mark.across(ORACLE)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Engine]:
    if ORACLE.absent:
        pytest.skip(ORACLE.absent)
    with ORACLE.open() as engine:
        yield engine


def test_greedy_answers_are_the_same(subject: Subject, engine: Engine, oracle: Engine) -> None:
    for prompt in subject.prompts:
        found, wanted = (answer(each, subject, prompt) for each in (engine, oracle))
        assert_same(subject, wanted, found)
        num_same = common_prefix(found.text, wanted.text)
        ends = [end for end in wanted.token_ends if end <= len(wanted.text[:num_same].encode())]
        for name in ("token_logprobs", "token_margins"):
            same, right = (getattr(each, name)[: len(ends)] for each in (found, wanted))
            assert same == pytest.approx(right, abs=2 * subject.noise)


def test_so_much_of_a_draft_is_accepted_as_the_oracle_would_say(
    subject: Subject, engine: Engine, oracle: Engine
) -> None:
    for prompt in subject.prompts:
        plain = answer(oracle, subject, prompt)
        words = plain.text.split(" ")
        half = len(words) // 2
        for text in (
            plain.text,
            " ".join(words[:half]),
            " ".join([*words[:half], "otherwise", *words[half:]]),
            "Sure, here it is.",
        ):
            offer = Offer(text, ended=False)
            found = answer(engine, subject, prompt, offer=offer)
            drafted = oracle.draft_tokens(offer).token_ids
            num_right = common_prefix(drafted, plain.token_ids)
            if found.text != plain.text:
                assert_same_up_to_margin(plain, found, subject.noise)
            elif found.verified.num_drafted == len(drafted):
                assert found.verified.num_accepted == num_right
            else:
                assert len(drafted) < 2 or found.verified.num_drafted > 0

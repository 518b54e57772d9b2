"""Which of several sampled answers is returned, and from when on no further one can change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from adaptive_sd.forms import Form, canonical_answer
from adaptive_sd.types import Draft, IsDecided, Votes, VoteSource

_canonical_answer = lru_cache(maxsize=256)(canonical_answer)  # asked of each vote in every pass

TEMPERATURE = 0.7
"""Of votes, where the caller asks for greedy answers: those would all be the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Election:
    """The majority of `count` votes by canonical answer; of equally frequent ones the first seed's.

    It ends as soon as no vote to come can change who is elected. `held` are an earlier election's
    votes from the same source: those that have ended are not sampled again, and count from the
    token on with which they ended. So the result is the same as without them, and only costs less.
    """

    form: Form
    count: int
    held: tuple[Draft, ...] = ()

    @property
    def missing(self) -> list[int]:
        """The places of the votes to be sampled."""
        held = dict(enumerate(self.held))
        return [i for i in range(self.count) if i not in held or not held[i].has_ended]

    def is_decided(self, texts: Sequence[str], num_tokens: int) -> bool:
        """Whether, where these further votes have ended after so many tokens, none to come can
        reach or tie with what leads.

        So whoever leads is what all votes would elect, however ties are broken.
        """
        ended = [*_ended_texts(self.held, num_tokens), *texts]
        answers = Counter(filter(None, (_canonical_answer(text, self.form) for text in ended)))
        leader, second, *_ = (*(n for _, n in answers.most_common(2)), 0, 0)
        return leader > second + self.count - len(ended)

    def result(self, sampled: Sequence[Draft], source: VoteSource | None = None) -> Draft:
        """The draft that is elected when `sampled` are the votes that were missing.

        It is "cancelled" where they were cut short before anything was decided.
        """
        cast = dict(enumerate(self.held)) | dict(zip(self.missing, sampled, strict=True))
        alone = replace(self, held=())
        drafts = tuple(end_early([cast[i] for i in range(self.count)], alone.is_decided))
        ended = [draft for draft in drafts if draft.has_ended]
        candidates = ended or drafts
        answers = [_canonical_answer(draft.text, self.form) for draft in candidates]
        elected = candidates[majority(answers)]
        num_tokens = _num_known(drafts)
        is_whole = len(ended) == len(drafts) or alone.is_decided(
            _ended_texts(drafts, num_tokens), num_tokens
        )
        return replace(
            elected,
            finish_reason=elected.finish_reason if is_whole else "cancelled",
            prefill_s=sum(draft.prefill_s for draft in sampled),
            decode_s=sum(draft.decode_s for draft in sampled),
            tokens_in=sampled[0].tokens_in if sampled else elected.tokens_in,
            num_cached=sampled[0].num_cached if sampled else elected.tokens_in,
            votes=Votes(drafts, tuple(sampled), source),
        )


def majority(answers: Sequence[str]) -> int:
    """Place of the first answer that is as frequent as any; no answer ("") has no vote."""
    counts = Counter(answer for answer in answers if answer)
    if not counts:
        return 0
    return next(i for i, answer in enumerate(answers) if counts[answer] == max(counts.values()))


def end_early(votes: Sequence[Draft], is_decided: IsDecided) -> list[Draft]:
    """What decoding these votes together gives when it ends as soon as `is_decided`.

    Each pass adds a token to every vote that has not ended.
    """
    for num_tokens in range(1, _num_known(votes) + 1):
        if is_decided(_ended_texts(votes, num_tokens), num_tokens):
            return [v if v.num_chosen <= num_tokens else _cut(v, num_tokens) for v in votes]
    return list(votes)


def _ended_texts(votes: Sequence[Draft], num_tokens: int) -> list[str]:
    """Of the votes that ended with at most so many tokens."""
    return [vote.text for vote in votes if vote.has_ended and vote.num_chosen <= num_tokens]


def _num_known(votes: Sequence[Draft]) -> int:
    """Up to how many tokens it is known which votes have ended."""
    cut = [vote.num_chosen for vote in votes if not vote.has_ended]
    return min(cut, default=max((vote.num_chosen for vote in votes), default=0))


def _cut(draft: Draft, num_tokens: int) -> Draft:
    """The first tokens of a draft; its text, which has no say any more, is left out."""
    return replace(
        draft,
        text="",
        token_ids=draft.token_ids[:num_tokens],
        token_logprobs=draft.token_logprobs[:num_tokens],
        token_entropies=draft.token_entropies[:num_tokens],
        token_margins=draft.token_margins[:num_tokens],
        token_ends=draft.token_ends[:num_tokens],
        finish_reason="cancelled",
    )

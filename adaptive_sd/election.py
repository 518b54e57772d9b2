"""Which of several sampled answers is returned, and from when on no further one can change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from adaptive_sd.forms import Form, canonical_answer
from adaptive_sd.types import Draft, IsDecided, Votes, VoteSource

TEMPERATURE = 0.7
"""Of votes, where the caller asks for greedy answers: those would all be the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Election:
    """The majority of `count` votes by canonical answer; of equally frequent ones the first seed's.

    `held` are an earlier election's votes from the same source: those that have ended count.
    """

    form: Form
    count: int
    held: tuple[Draft, ...] = ()

    @property
    def missing(self) -> list[int]:
        """The places of the votes that are still needed, if any can change who is elected."""
        if self.is_decided(()):
            return []
        held = dict(enumerate(self.held))
        return [i for i in range(self.count) if i not in held or not held[i].has_ended]

    def is_decided(self, texts: Sequence[str]) -> bool:
        """Whether, after these further votes, none to come can reach or tie with what leads.

        So whoever leads is what all votes would elect, however ties are broken.
        """
        ended = [*(draft.text for draft in self.held if draft.has_ended), *texts]
        answers = Counter(filter(None, (canonical_answer(text, self.form) for text in ended)))
        leader, second, *_ = (*(n for _, n in answers.most_common(2)), 0, 0)
        return leader > second + self.count - len(ended)

    def result(self, sampled: Sequence[Draft], source: VoteSource | None = None) -> Draft:
        """The draft that is elected when `sampled` are the votes that were missing.

        It is "cancelled" where they were cut short before anything was decided.
        """
        cast = dict(enumerate(self.held)) | dict(zip(self.missing, sampled, strict=True))
        drafts = tuple(cast.values())
        ended = [draft for draft in drafts if draft.has_ended]
        candidates = ended or drafts
        answers = [canonical_answer(draft.text, self.form) for draft in candidates]
        elected = candidates[majority(answers)]
        is_whole = len(ended) == len(drafts) or self.is_decided(
            [draft.text for draft in sampled if draft.has_ended]
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
    step = 0
    for step in sorted({vote.num_chosen for vote in votes}):
        if is_decided([v.text for v in votes if v.has_ended and v.num_chosen <= step]):
            break
    return [vote if vote.num_chosen <= step else _cut(vote, step) for vote in votes]


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

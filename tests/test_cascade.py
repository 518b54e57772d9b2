"""The loop: what runs, what is returned, and what the trace says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.decision.certificates import Certificate, Certificates
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import CancelledError, ConfigError
from adaptive_sd.stage import Stage
from adaptive_sd.types import Acceptance, Action, CostUnit, Decision, Draft, Progress, Work

NAMES = ("small", "middle", "large")
LONG = "a long answer " * 25 + "by {}"


class ScriptedJudge:
    """Runs the stages of `path` in this order, then returns the draft of `returned`.

    Drafts of the stages in `abandons` are, at the number of tokens given.
    """

    how_to_calibrate = ""
    recommended_lam = 5.0
    lam_origin = "written in the test"
    certificates: Certificates | None = None
    agreement_with: str | None = None
    cost_unit: CostUnit = "s"

    def __init__(
        self, path: tuple[int, ...], returned: int, abandons: Mapping[int, int] | None = None
    ) -> None:
        self._path = path
        self._returned = returned
        self._abandons = abandons or {}
        self.asked: list[tuple[int, int]] = []

    def begin(self, prompt: PromptView) -> Evidence:
        return Evidence(())  # type: ignore[arg-type]

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        return HeldDraft(stage, 0.1 * (stage + 1), (), draft.text)  # type: ignore[arg-type]

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        qualities = tuple(held.quality for held in evidence.held)
        last = max([evidence.abandoned, *(held.stage for held in evidence.held)], default=-1)
        later = [stage for stage in self._path if stage > last]
        if runs := [*filter(evidence.affords, later)]:
            return Choice(Decision.ESCALATE, runs[0], qualities, note="the script")
        if not evidence.held:
            stage = evidence.instead_of(later[0])
            return Choice(Decision.ESCALATE, stage, qualities, note="the script")
        held = [held.stage for held in evidence.held]
        returned = self._returned if self._returned in held else held[-1]
        return Choice(Decision.STOP, returned, qualities, note="the script")

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        last = max([evidence.abandoned, *(held.stage for held in evidence.held)], default=-1)
        return {stage: 10.0**stage for stage in self._path if stage > last}

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        assert len(progress.token_logprobs) == progress.num_tokens
        self.asked.append((stage, progress.num_tokens))
        return 0.5 if self._abandons.get(stage) == progress.num_tokens else -0.5

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        return Acceptance()

    def cost(self, stage: int, draft: Draft | Work) -> float:
        return 10.0**stage


def engines_of(text: str = "said by {}") -> list[FakeEngine]:
    return [FakeEngine(name, lambda _, name=name: text.format(name)) for name in NAMES]


def cascade_of(
    path: tuple[int, ...],
    returned: int,
    engines: list[FakeEngine] | None = None,
    abandons: Mapping[int, int] | None = None,
) -> Cascade:
    stages = [Stage(e.info.model, load=lambda e=e: e) for e in engines or engines_of()]
    return Cascade(stages, ScriptedJudge(path, returned, abandons))


PATHS = st.sets(st.integers(0, 2), min_size=1).map(lambda s: tuple(sorted(s)))


@settings(max_examples=60, deadline=None)
@given(PATHS.flatmap(lambda path: st.tuples(st.just(path), st.sampled_from(path))))
def test_every_path_is_walked_as_the_policy_says(script: tuple[tuple[int, ...], int]) -> None:
    path, returned = script
    answer = cascade_of(path, returned).answer("a question")
    assert answer.stage_index == returned and answer.stage == NAMES[returned]
    assert answer.text == f"said by {NAMES[returned]}"
    assert answer.quality == pytest.approx(0.1 * (returned + 1))
    ran = [s for s in answer.trace if s.action in (Action.DRAFT, Action.VERIFY)]
    assert [s.stage for s in ran] == [NAMES[k] for k in path]
    skipped = [s.stage for s in answer.trace if s.action is Action.SKIP]
    assert skipped == [NAMES[k] for k in range(path[-1]) if k not in path]
    recalled = [s.stage for s in answer.trace if s.action is Action.RECALL]
    assert recalled == ([NAMES[returned]] if returned != path[-1] else [])
    assert answer.cost == sum(10.0**k for k in path)
    assert [s.decision for s in ran] == [Decision.ESCALATE] * (len(path) - 1) + [Decision.STOP]


def test_the_last_draft_is_what_the_next_stage_verifies() -> None:
    engines = engines_of()
    answer = cascade_of((0, 1, 2), 2, engines).answer("a question")
    offers = [engine.calls[0][2] for engine in engines]
    assert [offer and offer.text for offer in offers] == [None, "said by small", "said by middle"]
    assert offers[1] is not None and len(offers[1].token_ends) == len(offers[1].token_logprobs) == 3
    verified = answer.trace[2]
    assert verified.action is Action.VERIFY
    assert (verified.num_drafted, verified.num_accepted) == (3, 2)


def test_the_json_of_an_answer_has_the_fields_of_the_contract() -> None:
    document = cascade_of((0, 2), 2).answer("a question").to_json()
    assert list(document) == [
        *("trace_id", "text", "stage", "stage_index", "quality", "cost", "cost_unit"),
        *("latency_s", "abstained", "degraded", "calibrated", "opening", "agreement_with"),
        *("cut", "degraded_by", "form", "lambda", "trace"),
    ]
    steps = document["trace"]
    assert isinstance(steps, tuple)
    assert [list(step) for step in steps] == [
        [
            *("stage", "action", "quality", "decision", "reason", "tokens_in", "tokens_out"),
            *("num_drafted", "num_accepted", "num_spans", "latency_s", "cost", "alternatives"),
        ]
    ] * 3


def test_the_ladders_lambda_holds_unless_the_request_says_otherwise() -> None:
    cascade = cascade_of((0,), 0)
    assert cascade.answer("a").lam == 5.0
    assert cascade.answer("a", Request(lam=2.0)).lam == 2.0
    assert Cascade(cascade.stages, cascade.judge, lam=3.0).answer("a").lam == 3.0
    assert cascade.lam_origin(5.0) == "recommended: written in the test"
    assert cascade.lam_origin(2.0).startswith("given; recommended is 5:")
    certified = ScriptedJudge((0,), 0)
    certified.certificates = Certificates(0.95, 300, 9.0, (Certificate(0.9, 2.0),), ())
    told = Cascade(cascade.stages, certified).lam_origin(2.0)
    assert told.startswith("certified for 0.9 of the best single stage's quality; recommended")


@pytest.mark.parametrize("path", [(0,), (0, 1), (0, 1, 2), (2,)])
def test_a_stream_gives_exactly_the_text_of_the_answer(path: tuple[int, ...]) -> None:
    with cascade_of(path, path[-1]).stream("a question") as stream:
        pieces = list(stream)
    assert stream.answer is not None and "".join(pieces) == stream.answer.text


@pytest.mark.parametrize(("path", "returned"), [((0, 2), 0), ((0, 2), 2), ((2,), 2)])
def test_a_reader_of_the_stream_gets_the_answer_that_others_get(
    path: tuple[int, ...], returned: int
) -> None:
    pieces: list[str] = []
    streamed = cascade_of(path, returned).answer("a question", on_text=pieces.append)
    plain = cascade_of(path, returned).answer("a question")
    assert "".join(pieces) == streamed.text == plain.text
    assert streamed.stage == plain.stage
    assert (len(pieces) > 1) == (path == (2,))  # while it grows, where nothing else is held


@pytest.mark.parametrize(
    "asked",
    [
        Request(temperature=0.5),
        Request(max_tokens=5),
        Request(stop=("x",)),
        [{"role": "user", "content": "a question"}],
    ],
)
def test_what_is_asked_otherwise_than_recorded_is_not_called_calibrated(asked: object) -> None:
    cascade = cascade_of((0,), 0)
    assert cascade.answer("a question", Request(lam=2.0)).calibrated
    if isinstance(asked, Request):
        assert not cascade.answer("a question", asked).calibrated
    else:
        assert not cascade.answer(asked).calibrated  # type: ignore[arg-type]


def test_an_answer_can_be_awaited_and_cancelled() -> None:
    cascade = cascade_of((0, 1), 1)
    assert asyncio.run(cascade.aanswer("a question")).stage == "middle"
    with pytest.raises(CancelledError):
        cascade.answer("a question", keep_going=lambda: False)


def test_what_a_request_says_reaches_every_stage() -> None:
    engines = engines_of()
    request = Request(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=("END",))
    cascade_of((0, 1), 1, engines).answer("a question", request)
    for engine in engines[:2]:
        sampling = engine.calls[0][1]
        assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (7, 0.5, 0.9)
        assert sampling.stop == ("END",)


def test_closing_frees_every_stage_and_an_empty_ladder_is_refused() -> None:
    engines = engines_of()
    with cascade_of((0, 1, 2), 2, engines) as cascade:
        cascade.answer("a question")
    assert all(engine.closed for engine in engines)
    with pytest.raises(ConfigError, match="at least one stage"):
        Cascade([], cascade.judge)


@pytest.mark.parametrize("prompt", ["", " \n", [], [{"role": "system", "content": "x"}]])
def test_an_empty_prompt_is_refused_before_any_work(prompt: str) -> None:
    engines = engines_of()
    with pytest.raises(ConfigError, match=r"empty|no text"):
        cascade_of((0,), 0, engines).answer(prompt)
    assert not any(engine.calls for engine in engines)


def test_the_same_request_gives_the_same_answer(tmp_path: Path) -> None:
    first, second = (cascade_of((0, 2), 2).answer("a question") for _ in range(2))
    bare = {"trace_id": "", "latency_s": 0.0}
    assert replace(first, **bare) == replace(second, **bare)

"""Caps of an answer where tokens of served models have a price."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.decision.policies import Evidence
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.judge import cost_of
from adaptive_sd.stage import Stage
from adaptive_sd.types import Action, CostUnit, Draft, Rates, Work
from tests.engines.openai_model import TinyModel
from tests.engines.openai_script import Script
from tests.engines.openai_server import serving
from tests.engines.test_openai import engine_of
from tests.test_cascade import ScriptedJudge

PRICE = Rates.linear(0.6e-6, 2.4e-6, "usd")


class PricedJudge(ScriptedJudge):
    """Expects an answer to cost `expected`."""

    cost_unit: CostUnit = "usd"
    expected = 1e-6

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        return dict.fromkeys(super().draft_costs(evidence), self.expected)

    def cost(self, stage: int, draft: Draft | Work) -> float:
        return cost_of(draft, PRICE)

    def saved(self, *_: object) -> float:
        return 0.0


@pytest.mark.parametrize("kind", ["", "vllm", "sglang"])
def test_a_served_draft_is_cut_at_the_cost_that_its_answer_may_have(kind: str) -> None:
    script = Script(TinyModel(3), kind, pause_s=0.02)
    with serving(script) as server, engine_of(server) as engine:
        stages = [Stage("served", load=lambda: engine)]
        cascade = Cascade(stages, PricedJudge((0,), 0))
        request = Request(max_tokens=24)
        whole = cascade.answer("the question", request)
        shown: list[str] = []
        capped = replace(request, max_cost=whole.cost - 9 * PRICE.decode_s)
        cut = cascade.answer("the question", capped, on_text=shown.append)
        assert server.settle() == 0 and server.num_broken == 1
    assert (cut.degraded, whole.degraded) == (True, False)
    assert cut.trace[0].reason.startswith("cut at the cost that the answer may have, ")
    assert whole.text is not None and "".join(shown) == cut.text and cut.text
    assert whole.text.startswith(cut.text) and len(cut.text) < len(whole.text)
    if kind:  # it counts while it writes
        assert capped.max_cost <= cut.cost < whole.cost
    assert cut.trace[0].tokens_out < whole.trace[0].tokens_out


@pytest.mark.parametrize("unit", ["usd", "s"])
def test_what_a_stage_is_expected_to_cost_is_time_only_where_costs_are(unit: CostUnit) -> None:
    judge = PricedJudge((0, 1), 1)
    judge.cost_unit, judge.expected = unit, 1e6
    stages = [Stage(name, load=lambda name=name: FakeEngine(name, str)) for name in "ab"]  # type: ignore[misc]
    answer = Cascade(stages, judge).answer("a question", Request(deadline_s=1000.0))
    assert answer.stage == ("b" if unit == "usd" else "a")
    assert {step.action for step in answer.trace} <= {Action.DRAFT, Action.VERIFY}

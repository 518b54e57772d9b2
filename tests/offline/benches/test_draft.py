"""Ways to answer with a target: on the tiny model the same answer, in any order, summed up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.features import PromptView
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.errors import EngineError
from adaptive_sd.offline.benches.draft import NUM_AGREEING, DraftBench, PromptRun, beginning
from adaptive_sd.offline.benches.draft_summary import ALL_SETS, summarise
from adaptive_sd.offline.benches.methods import (
    Answered,
    Asked,
    Method,
    divergence_margin,
    plain,
    reuse,
)
from adaptive_sd.stage import Stage
from adaptive_sd.types import Acceptance, Offer
from tests.engines.margin import EAGER, TINY_NOISE
from tests.engines.tiny_gguf import write_tiny_model


class EagerJudge:
    """Knows one thing: drafts of the first stage are always accepted by the last of two."""

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        assert (drafted, target) == (0, 1)
        return EAGER


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[list[Stage]]:
    def stage(name: str, seed: int) -> Stage:
        path = write_tiny_model(tmp_path / f"{name}.gguf", seed=seed)
        return Stage(
            name,
            max_tokens=80,
            load=lambda: LlamaCppEngine(path, name=name, model_hash="0" * 64, context=512),
        )

    ladder = [stage("small", 1), stage("large", 0)]
    yield ladder
    for one in ladder:
        one.close()


def task(number: int, prompt: str, dataset: str = "words") -> Task:
    return Task(f"{dataset}/{number}", dataset, "", prompt, "x", "contains")


def bench(stages: list[Stage], methods: dict[str, Method]) -> DraftBench:
    return DraftBench(stages, EagerJudge(), 0, methods)  # type: ignore[arg-type]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_reuse_of_a_draft_changes_no_answer(stages: list[Stage]) -> None:
    methods = {"plain": plain(stages[-1]), "reuse": reuse(stages[-1])}
    tasks = [task(i, f"tell me more of {word}") for i, word in enumerate(("owls", "tea", "maps"))]
    runs = bench(stages, methods).run(tasks, rng=rng()).answered
    assert [run.task for run in runs] == tasks
    for run in runs:
        margin = divergence_margin(run.answers["plain"], run.answers["reuse"])
        assert margin is None or margin <= 2 * TINY_NOISE
        assert run.answers["plain"].num_drafted == 0 < run.answers["reuse"].num_drafted
        assert run.draft_tokens > 0 and run.prompt_s > 0


def test_an_agreeing_draft_is_the_targets_own_beginning(stages: list[Stage]) -> None:
    methods = {"plain": plain(stages[-1])}
    runs = bench(stages, methods).run([task(i, f"word {i}") for i in range(4)], rng=rng()).answered
    long = [run for run in runs if len(run.answers["plain"].token_ids) >= NUM_AGREEING]
    assert long, "no answer of the tiny model is long"
    for run in runs:
        assert (run.agreeing is not None) == (run in long)
    for run in long:
        assert run.agreeing is not None
        own = run.answers["plain"].token_ids[:NUM_AGREEING]
        assert run.agreeing.generated.token_ids == own
        assert run.agreeing.verified.token_ids == own
        verified = run.agreeing.verified
        assert verified.num_spans is not None
        assert verified.num_accepted + verified.num_spans >= NUM_AGREEING


def test_a_prompt_that_does_not_fit_is_left_out(stages: list[Stage]) -> None:
    tasks = [task(0, "short"), task(1, "long " * 500), task(2, "also short")]
    runs = bench(stages, {"plain": plain(stages[-1])}).run(tasks, rng=rng())
    assert [run.task.id for run in runs.answered] == ["words/0", "words/2"]
    assert list(runs.left_out) == ["words/1"] and "context of 512" in runs.left_out["words/1"]


def test_a_prompt_is_lost_to_the_method_that_failed_on_it_alone(stages: list[Stage]) -> None:
    def fails(asked: Asked) -> Answered:
        if "tea" in asked.prompt:
            raise EngineError("no tea")
        return plain(stages[-1])(asked)

    methods = {"plain": plain(stages[-1]), "other": fails}
    tasks = [task(i, f"tell me more of {word}") for i, word in enumerate(("owls", "tea", "maps"))]
    runs = bench(stages, methods).run(tasks, rng=rng())
    assert [dict(run.failures) for run in runs.answered] == [{}, {"other": "no tea"}, {}]
    assert not runs.left_out
    (found,) = summarise(runs.answered, 0.1, rng=rng())
    assert [(m.name, m.num_prompts) for m in found.methods] == [("plain", 3), ("other", 2)]
    assert found.methods[1].num_tokens == sum(
        len(run.answers["plain"].token_ids) for run in runs.answered if not run.failures
    )
    assert not bench(stages, {"plain": fails}).run(tasks[1:2], rng=rng()).answered


def test_the_order_of_the_methods_is_drawn_for_each_prompt(stages: list[Stage]) -> None:
    def orders(seed: int) -> list[tuple[str, ...]]:
        called: list[str] = []

        def method(name: str) -> Method:
            def answer(asked: Asked) -> Answered:
                called.append(name)
                return Answered(name, (1,), 1.0)

            return answer

        methods = {name: method(name) for name in ("plain", "b", "c")}
        runs = bench(stages, methods).run([task(i, "a") for i in range(12)], rng=rng(seed)).answered
        assert all(list(run.answers) == list(methods) for run in runs)
        return [tuple(called[at : at + 3]) for at in range(0, len(called), 3)]

    found = orders(0)
    assert found == orders(0) != orders(1)
    assert len(set(found)) > 2
    assert all(sorted(order) == ["b", "c", "plain"] for order in found)


def run_of(number: int, seconds: dict[str, float], dataset: str = "words") -> PromptRun:
    answers = {name: Answered("t", (1, 2), s, 4, 3, 2, (0.5, 0.5)) for name, s in seconds.items()}
    qualities = {name: float(name != "plain") for name in seconds}
    return PromptRun(task(number, "p", dataset), 1.0, 5, 2.0, answers, qualities, None)


@settings(max_examples=15)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_a_method_that_always_takes_so_much_more_has_that_ratio(
    seconds: list[float], factor: float
) -> None:
    runs = [run_of(i, {"plain": s, "other": factor * s}) for i, s in enumerate(seconds)]
    (found,) = summarise(runs, 0.1, rng=rng())
    alone, other = found.methods
    assert tuple(alone.ratio) == (1, 1, 1)
    assert tuple(other.ratio) == pytest.approx((factor,) * 3)
    assert other.seconds == pytest.approx(sum(seconds) * factor)
    between = sorted((1.0, factor))
    assert between[0] - 1e-9 <= other.ratio_with_prompt.value <= between[1] + 1e-9
    assert other.num_drafted == 4 * len(runs) and other.num_spans == 2 * len(runs)
    assert (other.quality, alone.quality) == (1, 0) and other.quality_difference is not None
    assert found.draft_s == len(runs) and found.num_graded == len(runs)


def test_sets_are_summed_apart_and_together() -> None:
    runs = [run_of(i, {"plain": 1.0 + i}, "ab"[i % 2]) for i in range(5)]
    *sets, everything = summarise(runs, 0.1, rng=rng())
    assert [s.name for s in sets] == ["a", "b"] and everything.name == ALL_SETS
    assert sum(s.num_prompts for s in sets) == everything.num_prompts
    assert sum(s.methods[0].seconds for s in sets) == everything.methods[0].seconds


def test_what_was_not_graded_has_no_quality() -> None:
    runs = [replace(run_of(0, {"plain": 1.0}), qualities={"plain": None})]
    (found,) = summarise(runs, 0.1, rng=rng())
    assert found.num_graded == 0
    assert found.methods[0].quality is None and found.methods[0].quality_difference is None


def answer(ids: tuple[int, ...], margins: tuple[float, ...] = ()) -> Answered:
    return Answered("t", ids, 1.0, token_margins=margins)


def test_answers_diverge_at_a_margin_of_the_first() -> None:
    own = answer((1, 2, 3), (5.0, 0.2, 4.0))
    assert divergence_margin(own, answer((1, 2, 3))) is None
    assert divergence_margin(own, answer((1, 9))) == 0.2
    assert divergence_margin(own, answer((1, 9), (5.0, 0.1))) == 0.2
    assert divergence_margin(own, answer((1, 2))) == 4.0
    assert divergence_margin(own, answer((1, 2, 3, 4))) == math.inf
    assert divergence_margin(own, answer((1, 2, 3, 4), (5.0, 0.2, 4.0, 0.3))) == 0.3


def test_answers_that_diverge_at_a_near_tie_are_the_same_by_the_margin_rule() -> None:
    own, other = answer((1, 2), (5.0, 0.3)), answer((1, 9))
    run = replace(run_of(0, {"plain": 1.0, "other": 1.0}), answers={"plain": own, "other": other})
    sets = [summarise([run], noise, rng=rng())[0] for noise in (0.1, 0.2, None)]
    assert [s.methods[1].identical_share for s in sets] == [0, 0, 0]
    assert [s.methods[1].same_share for s in sets] == [0, 1, None]
    assert [s.near_tie_share for s in sets] == [0, 0.5, None]


def test_no_method_that_means_to_differ_is_called_the_same(stages: list[Stage]) -> None:
    methods = {"plain": plain(stages[-1]), "reuse": reuse(stages[-1])}
    methods["lenient"] = reuse(stages[-1], 5.0)
    runs = bench(stages, methods).run([task(0, "tell me more of owls")], rng=rng()).answered
    (found,) = summarise(runs, 0.1, rng=rng())
    shares = {method.name: method.same_share for method in found.methods}
    assert shares["plain"] == 1 and shares["reuse"] is not None and shares["lenient"] is None


def test_seconds_a_token_tell_a_short_answer_from_a_fast_one() -> None:
    """Half the tokens in half the time is no gain."""
    run = run_of(0, {"plain": 4.0, "short": 2.0, "fast": 2.0})
    ids = {"plain": 7, "short": 3, "fast": 7}
    answers = {name: replace(run.answers[name], token_ids=(1,) * n) for name, n in ids.items()}
    (found,) = summarise([replace(run, answers=answers)], 0.1, rng=rng())
    assert [m.ratio.value for m in found.methods] == [1, 0.5, 0.5]
    assert [tuple(m.ratio_per_token) for m in found.methods] == [(1,) * 3, (1,) * 3, (0.5,) * 3]


def test_the_beginning_of_a_draft_has_whole_characters() -> None:
    offer = Offer("aé!", (1, 2, 3, 4), (-0.1, -0.2, -0.3, -0.4))
    assert beginning(offer, 2) == Offer("a", (1, 2), (-0.1, -0.2), ended=False)
    assert beginning(offer, 3) == Offer("aé", (1, 2, 3), (-0.1, -0.2, -0.3), ended=False)

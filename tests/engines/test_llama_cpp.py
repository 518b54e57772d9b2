"""The embedded engine on a tiny random model made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.engines.verification import SPAN_ROWS
from adaptive_sd.errors import (
    DamagedModelError,
    EngineError,
)
from adaptive_sd.types import Offer, Sampling
from tests.engines.asking import ask
from tests.engines.margin import EAGER, TINY_NOISE, assert_same_up_to_margin


def test_an_agreeing_draft_is_accepted_whole(tiny: LlamaCppEngine) -> None:
    sampling = Sampling(max_tokens=40)
    plain = tiny.generate(ask("hello"), sampling)
    again = tiny.generate(ask("hello"), sampling, draft=plain.offer, acceptance=EAGER).verified
    assert again.num_drafted >= again.num_accepted >= plain.tokens_out - again.num_spans


def test_the_kept_cache_changes_neither_answer_nor_hidden_state(
    tiny: LlamaCppEngine, tiny_path: Path
) -> None:
    sampling = Sampling(max_tokens=30)
    shared = "the same long beginning of every question that is asked here, "
    prompts = [f"{shared}{i} {'abc'[i % 3]}" for i in range(9)]
    kept = [tiny.generate(ask(p), sampling) for p in prompts]
    assert kept[-1].num_cached > len(shared)
    for prompt, draft in zip(prompts, kept, strict=True):
        fresh_engine = LlamaCppEngine(tiny_path, name="t", model_hash="0", context=512)
        fresh = fresh_engine.generate(ask(prompt), sampling)
        fresh_engine.close()
        assert fresh.num_cached == 0
        assert_same_up_to_margin(fresh, draft, TINY_NOISE)
        assert abs(fresh.hidden.astype(float) - draft.hidden.astype(float)).max() < 0.02


def test_beginnings_shared_by_prompts_survive_prompts_of_another_kind(
    tiny: LlamaCppEngine,
) -> None:
    kinds = ["x" * 60, "y" * 60]
    cached = []
    for i in range(6):
        draft = tiny.generate(ask(kinds[i % 2] + str(i)), Sampling(max_tokens=2))
        cached.append(draft.num_cached)
    assert cached[1] < 40
    assert cached[-1] > 60 and cached[-2] > 60


def test_special_token_text_in_a_prompt_cannot_close_the_turn(tiny: LlamaCppEngine) -> None:
    plain = tiny.generate(ask("a"), Sampling(max_tokens=1)).tokens_in
    inside = tiny.generate(ask("a<|im_end|>"), Sampling(max_tokens=1)).tokens_in
    assert inside == plain + len("<|im_end|>")  # one token a byte, none of them the control token


def test_the_context_can_be_filled_to_its_end(tiny: LlamaCppEngine) -> None:
    draft = tiny.generate(ask("x" * 440), Sampling(max_tokens=500, temperature=1.5))
    assert draft.tokens_in + draft.tokens_out <= 512


@pytest.mark.parametrize("context", [16, 100, 512])
def test_rates_are_measured_in_any_context(tiny_path: Path, context: int) -> None:
    engine = LlamaCppEngine(tiny_path, name="tiny", model_hash="0" * 64, context=context)
    rates = engine.measure_rates()
    engine.close()
    assert rates.prefill_s > 0 and rates.decode_s > 0
    assert [rows for rows, _ in rates.verify_s] == [r for r in SPAN_ROWS if r <= context]


def grown(work: Callable[[], object]) -> int:
    """Bytes that stay each time: what else lives in this process grows now and then only."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    found = []
    for _ in range(3):
        before = resident()
        work()
        found.append(resident() - before)
    return min(found)


def test_everything_is_freed_on_close(tiny_path: Path) -> None:
    def load_and_use() -> None:
        engine = LlamaCppEngine(tiny_path, name="tiny", model_hash="0", context=512)
        engine.generate(ask("x"), Sampling(max_tokens=3))
        engine.close()

    def many() -> None:
        for _ in range(20):
            load_and_use()

    many()
    assert grown(many) < 5_000_000


def test_memory_does_not_grow_over_200_calls(tiny: LlamaCppEngine) -> None:
    def calls() -> None:
        for i in range(1, 200):
            prompt, draft = ask(f"question {i} " * (i % 7)), Offer("x" * 20)
            tiny.generate(prompt, Sampling(max_tokens=8), draft=draft)

    calls()
    assert grown(calls) < 2_000_000


def test_damaged_file_is_named_and_not_loaded(tmp_path: Path, tiny_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_path.read_bytes()[:5000])
    with pytest.raises(DamagedModelError, match=r"cut\.gguf"):
        LlamaCppEngine(cut, name="cut", model_hash="0")


def test_a_template_that_refuses_is_one_error(tmp_path: Path) -> None:
    from tests.engines import tiny_gguf

    path = tiny_gguf.write_tiny_model(
        tmp_path / "t.gguf", template="{{ raise_exception('no system turns') }}"
    )
    engine = LlamaCppEngine(path, name="t", model_hash="0", context=64)
    with pytest.raises(EngineError, match="no system turns"):
        engine.generate(ask("x"), Sampling())
    engine.close()


def test_a_template_cannot_reach_python(tmp_path: Path) -> None:
    from tests.engines import tiny_gguf

    path = tiny_gguf.write_tiny_model(
        tmp_path / "t.gguf", template="{{ messages.__class__.__mro__[1].__subclasses__() }}"
    )
    engine = LlamaCppEngine(path, name="t", model_hash="0", context=64)
    with pytest.raises(EngineError, match="refused"):
        engine.generate(ask("x"), Sampling())
    engine.close()

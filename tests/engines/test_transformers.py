"""The transformers engine on a tiny random checkpoint, with transformers' `generate` as oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.engines.passes import Piece, Rows
from adaptive_sd.forms import Form
from adaptive_sd.styles import find_style
from adaptive_sd.types import Sampling
from tests.engines.asking import ANY_REQUEST, UNSHRUNK, Asked, answer, ask
from tests.engines.margin import EAGER, assert_same_up_to_margin

torch = pytest.importorskip("torch", reason='torch is not here: pip install ".[transformers]"')
pytest.importorskip("transformers", reason='not here: pip install ".[transformers]"')

import transformers  # noqa: E402

from adaptive_sd.engines.transformers.context import Context, open_context  # noqa: E402
from adaptive_sd.engines.transformers.engine import TransformersEngine  # noqa: E402
from adaptive_sd.engines.transformers.model import Checkpoint, Model  # noqa: E402
from adaptive_sd.engines.transformers.options import TransformersOptions  # noqa: E402
from tests.engines.tiny_checkpoint import write_tiny_checkpoint  # noqa: E402
from tests.engines.tiny_gguf import SPECIAL  # noqa: E402

NOISE = 1e-4
"""In 32 bits, of margins of some units; of the tiny model 1.7e-5 was measured (99th percentile)."""

CPU = TransformersOptions(device_map="cpu")
PROMPTS = ("hello", "how are you?", "x" * 90)


def open_engine(path: Path, options: TransformersOptions = CPU, **more: Any) -> TransformersEngine:
    given = {"name": "tiny", "model_hash": "0" * 64, "context": 512, "threads": 1}
    return TransformersEngine(path, options, **given | more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = open_engine(folder, slots=3)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def net(folder: Path) -> Any:
    """The same checkpoint as transformers loads it by itself."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def generated(net: Any, engine: TransformersEngine, prompt: str, count: int) -> tuple[int, ...]:
    """Greedy tokens by transformers itself, without the one that ends the turn."""
    ids = torch.tensor([engine.prompt_tokens(ask(prompt))])
    with torch.inference_mode():
        (out,) = net.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False
        ).tolist()
    tokens = out[ids.shape[1] :]
    return tuple(tokens[: tokens.index(259)] if 259 in tokens else tokens)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_greedy_answer_is_that_of_transformers_itself(
    engine: TransformersEngine, net: Any, prompt: str
) -> None:
    ours = engine.generate(ask(prompt), Sampling(max_tokens=60))
    assert ours.token_ids == generated(net, engine, prompt, 60)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_evidence_is_that_of_a_pass_over_the_whole(
    engine: TransformersEngine, net: Any, prompt: str
) -> None:
    draft = engine.generate(ask(prompt), Sampling(max_tokens=40))
    tokens = engine.prompt_tokens(ask(prompt))
    with torch.inference_mode():
        whole = net(torch.tensor([[*tokens, *draft.token_ids]]), output_hidden_states=True)
    rows = whole.logits[0, len(tokens) - 1 : -1]
    logprobs = torch.log_softmax(rows, dim=-1)
    top = rows.topk(2).values
    chosen = logprobs[torch.arange(len(rows)), torch.tensor(draft.token_ids)]
    assert draft.token_logprobs == pytest.approx(chosen.tolist(), abs=1e-4)
    entropies = -(logprobs.exp() * logprobs).sum(dim=-1)
    assert draft.token_entropies == pytest.approx(entropies.tolist(), abs=1e-4)
    assert draft.token_margins == pytest.approx((top[:, 0] - top[:, 1]).tolist(), abs=1e-4)
    assert draft.hidden is not None and draft.hidden.shape == (engine.info.hidden_width,)
    last = whole.hidden_states[-1][0, len(tokens) - 1]
    assert draft.hidden == pytest.approx(last.numpy(), abs=2e-3)


def test_an_agreeing_draft_is_accepted_whole(engine: TransformersEngine) -> None:
    plain = engine.generate(ask("hello"), Sampling(max_tokens=40))
    again = engine.generate(
        ask("hello"), Sampling(max_tokens=40), draft=plain.offer, acceptance=EAGER
    ).verified
    assert again.num_drafted >= again.num_accepted >= plain.tokens_out - again.num_spans > 0


def test_dropped_tokens_leave_nothing(folder: Path) -> None:
    """Logits after a rollback are those of a sequence that never had what was dropped."""
    model = Model(Checkpoint(folder), CPU)
    context = open_context(model, size=128, num_slots=2)
    assert context.can_fork
    first, second = context.slots
    tokens = [40 + i % 50 for i in range(80)]
    first.start(tokens)
    first.read(tokens[:60])
    first.truncate(20)
    first.read([99] * 30)
    first.truncate(20)
    other = Piece(second, tokens[7:25])
    again, _ = context.evaluate([Piece(first, tokens[20:40]), other])
    assert again.logits == pytest.approx(model.logits_of(tokens[:40])[20:], abs=1e-3)
    first.truncate(5)
    assert first.extend(tokens[5:40]) == pytest.approx(model.logits_of(tokens[:40])[5:], abs=1e-3)


def test_the_kept_cache_changes_no_answer(folder: Path, engine: TransformersEngine) -> None:
    shared = "the same long beginning of every question that is asked here, "
    for i in range(6):
        prompt = ask(f"{shared}{i}")
        kept = engine.generate(prompt, Sampling(max_tokens=30))
        fresh_engine = open_engine(folder)
        fresh = fresh_engine.generate(prompt, Sampling(max_tokens=30))
        fresh_engine.close()
        assert fresh.num_cached == 0 and (i < 1 or kept.num_cached > len(shared))
        assert_same_up_to_margin(fresh, kept, NOISE)


def test_worked_examples_are_kept_from_the_first_prompt_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are no cost of the prompt that reads them."""
    taken: list[int] = [0]
    append = Context.append

    def count(self: Context, pieces: Sequence[Piece]) -> list[Rows]:
        taken[-1] += sum(len(piece.tokens) for piece in pieces)
        return append(self, pieces)

    monkeypatch.setattr(Context, "append", count)
    style, engine = find_style(Form.SHORT, "few_shot"), open_engine(folder)
    taken.clear()
    for question in ("is it?", "where?"):
        taken.append(0)
        draft = engine.generate(style.messages(question), Sampling(max_tokens=10))
        own = draft.tokens_in - draft.num_cached + draft.num_chosen - 1
        assert draft.num_cached > 250
        taken[-1] -= own
    engine.close()
    assert taken == [draft.num_cached, 0]


@settings(max_examples=10, deadline=None, phases=UNSHRUNK)
@given(st.lists(ANY_REQUEST, min_size=2, max_size=6))
def test_in_a_batch_each_answer_is_the_one_alone(
    engine: TransformersEngine, many: list[Asked]
) -> None:
    with ThreadPoolExecutor(len(many)) as callers:
        together = list(callers.map(lambda each: answer(engine, each), many))
    for each, draft in zip(many, together, strict=True):
        assert_same_up_to_margin(answer(engine, each), draft, NOISE)


def test_control_text_in_a_prompt_closes_no_turn(engine: TransformersEngine) -> None:
    plain = len(engine.prompt_tokens(ask("a")))
    for control in SPECIAL:
        assert len(engine.prompt_tokens(ask(f"a{control}"))) == plain + len(control)

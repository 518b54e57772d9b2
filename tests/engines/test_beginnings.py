"""Worked examples are read once: by the first prompt, and not again by the next process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import llama_cpp
import pytest

from adaptive_sd.engines import prefixes
from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.engines.llama_cpp.context import Context
from adaptive_sd.engines.passes import Piece, Rows
from adaptive_sd.engines.states import StateStore
from adaptive_sd.errors import EngineError
from adaptive_sd.forms import Form
from adaptive_sd.sources import embedded
from adaptive_sd.styles import find_style
from adaptive_sd.types import Draft, Message, Progress, Sampling
from tests.engines.asking import ask
from tests.engines.margin import TINY_NOISE, assert_same_up_to_margin

SAMPLING = Sampling(max_tokens=20)
LENGTH = 250
"""The worked examples of short questions have at least so many tokens, each a byte."""


@contextmanager
def opened(model: Path, folder: Path | None, **options: int) -> Iterator[LlamaCppEngine]:
    states = None if folder is None else StateStore(folder, "tiny")
    engine = LlamaCppEngine(
        model, name="tiny", model_hash="0", context=512, threads=1, states=states, **options
    )
    yield engine
    engine.close()


def short(question: str) -> list[Message]:
    return find_style(Form.SHORT, "few_shot").messages(question)


def answers(engine: LlamaCppEngine) -> list[Draft]:
    """All of them as if the examples had been read before."""
    drafts = [engine.generate(short(q), SAMPLING) for q in ("is it?", "where was it?")]
    assert drafts[0].num_cached == drafts[1].num_cached > LENGTH
    return drafts


class Passes:
    """How many tokens a model had to take in."""

    num_tokens = 0


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    seen, append = Passes(), Context.append

    def count(self: Context, pieces: Sequence[Piece]) -> list[Rows]:
        seen.num_tokens += sum(len(piece.tokens) for piece in pieces)
        return append(self, pieces)

    monkeypatch.setattr(Context, "append", count)
    return seen


def num_read(passes: Passes, *drafts: Draft) -> int:
    """Since the last call, but for what was decoded and is no beginning."""
    own = sum(d.tokens_in - d.num_cached + d.num_chosen - 1 for d in drafts)
    found, passes.num_tokens = passes.num_tokens - own, 0
    return found


def test_the_next_process_knows_the_examples_and_answers_alike(
    tiny_path: Path, tmp_path: Path, passes: Passes
) -> None:
    with opened(tiny_path, tmp_path) as engine:
        first, second = answers(engine)
    assert num_read(passes, first, second) == first.num_cached
    with opened(tiny_path, tmp_path) as engine:
        again = answers(engine)
    assert num_read(passes, *again) == 0
    assert_same_up_to_margin(first, again[0], TINY_NOISE)
    assert second.token_ids == again[1].token_ids
    assert second.token_logprobs == again[1].token_logprobs
    assert (second.hidden == again[1].hidden).all()


def test_without_a_folder_the_second_prompt_finds_them(tiny_path: Path, passes: Passes) -> None:
    with opened(tiny_path, None) as engine:
        first, second = answers(engine)
    assert num_read(passes, first, second) == first.num_cached


def test_examples_survive_prompts_of_other_kinds(tiny_path: Path, passes: Passes) -> None:
    with opened(tiny_path, None, slots=2) as engine:
        answers(engine)
        for n in range(6):
            engine.generate(ask(f"{n} something else {'x' * 50 * n}"), SAMPLING)
        passes.num_tokens = 0
        assert num_read(passes, *answers(engine)) == 0


def test_only_worked_examples_are_written(tiny_path: Path, tmp_path: Path) -> None:
    with opened(tiny_path, tmp_path) as engine:
        for n in range(4):
            engine.generate(
                ask("a secret that several prompts begin with: " * 3 + str(n)), SAMPLING
            )
        assert not list(tmp_path.iterdir())
        answers(engine)
    assert len(list(tmp_path.iterdir())) == 1
    with opened(tiny_path, tmp_path) as engine:
        prompts = [engine.prompt_tokens(short(q)) for q in ("is it?", "where was it?")]
        assert answers(engine)[0].num_cached == common_prefix(*prompts)


def test_a_cut_answer_keeps_what_it_has_read(tiny_path: Path, passes: Passes) -> None:
    with opened(tiny_path, None) as engine:
        engine.generate(short("who?"), SAMPLING, observer=lambda seen: seen.num_tokens < 1)
        passes.num_tokens = 0
        assert num_read(passes, *answers(engine)) == 0


def test_reading_examples_is_no_work_of_an_answer_but_its_time(tiny_path: Path) -> None:
    """Whether as one answer or as votes; a recording therefore costs what a warm stage's does."""
    seen: list[int] = []

    def note(progress: Progress) -> bool:
        seen.append(progress.work.num_read)
        return True

    for ask_for in (
        lambda engine: engine.generate(short("is it?"), SAMPLING, observer=note),
        lambda engine: engine.sample(short("is it?"), SAMPLING, [1, 2], observer=note)[0],
    ):
        with opened(tiny_path, None) as engine:
            draft = ask_for(engine)
        assert seen == sorted(seen) and seen[0] == 0
        assert seen[-1] == draft.tokens_in - draft.num_cached < 60
        assert draft.prefill_s > 0
        seen.clear()


def test_prompts_at_once_share_what_the_first_of_them_reads(
    tiny_path: Path, tmp_path: Path
) -> None:
    """Or read it each for itself, where they began together; all answer as they do alone."""
    questions = ["is it?", "where was it?", "so?", "why not?"]
    with opened(tiny_path, None) as engine:
        alone = [engine.generate(short(q), SAMPLING) for q in questions]
    with opened(tiny_path, tmp_path, slots=3) as engine, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda q: engine.generate(short(q), SAMPLING), questions * 2))
    assert len(list(tmp_path.iterdir())) == 1
    for one, other in zip(alone * 2, together, strict=True):
        assert one.num_cached <= other.num_cached
        assert_same_up_to_margin(one, other, TINY_NOISE)


def failing_after(num_passes: int) -> Callable[..., int]:
    decode, left = llama_cpp.llama_decode, iter(range(num_passes, -1, -1))
    return lambda *args: decode(*args) if next(left) else -1


def test_after_a_failed_pass_the_examples_are_read_again(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and keeping, and after keeping."""
    with opened(tiny_path, tmp_path) as engine:
        whole = answers(engine)
    for path in tmp_path.iterdir():
        path.unlink()
    with opened(tiny_path, tmp_path) as engine:
        for num_passes in (1, 2, 3, 4, 20):
            with monkeypatch.context() as patch:
                patch.setattr(llama_cpp, "llama_decode", failing_after(num_passes))
                with pytest.raises(EngineError, match="llama_decode"):
                    for question in ("who?", "what?", "when?"):
                        engine.generate(short(question), SAMPLING)
            again = answers(engine)
            assert [d.token_ids for d in again] == [d.token_ids for d in whole]


def test_examples_that_were_driven_out_are_read_at_the_cost_of_who_needs_them(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no disk has them; two prompts in a row keep them again."""
    monkeypatch.setattr(prefixes, "BUDGET_TOKENS", 300)
    with opened(tiny_path, None) as engine:
        first = answers(engine)[0]
        for n in range(4):
            engine.generate(ask(f"{'another beginning ' * 10}{n} {'abcd'[n] * 20}"), SAMPLING)
        again = [engine.generate(short(q), SAMPLING) for q in ("what?", "so?", "is it?")]
    assert again[0].num_cached < 40
    assert again[2].num_cached >= first.num_cached
    assert again[2].token_ids == first.token_ids


def test_other_options_have_states_of_their_own(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model computes can depend on the length of its context."""
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path))
    for context, slots in ((512, 1), (480, 1), (512, 2), (512, 1)):
        options = {"threads": 1, "gpu_layers": 0, "max_waiting": 1, "offline": True}
        source = embedded(str(tiny_path), context=context, slots=slots, rates=None, **options)
        engine = source.load()
        engine.generate(short("so?"), SAMPLING)
        engine.close()
    assert len(list((tmp_path / "states").iterdir())) == 3


def damage(raw: bytes, how: str, tiny_path: Path) -> bytes:
    digest, state = raw[:32], raw[32:]
    if how == "bit":
        return digest + state[:-1] + bytes([state[-1] ^ 1])
    if how == "empty":
        return b""
    cut = {
        "half": state[: len(state) // 2],
        "longer": state + b"0" * 64,
        "zeros": bytes(999),
        "of less": shorter_state(tiny_path),
    }[how]
    return hashlib.sha256(cut).digest() + cut


def shorter_state(tiny_path: Path) -> bytes:
    with opened(tiny_path, None) as engine:
        engine.generate(ask("hello"), SAMPLING)
        state = engine._cache.state(engine._cache.slots[0].id)
    assert state is not None
    return bytes(state)


@pytest.mark.parametrize("how", ["bit", "empty", "half", "longer", "zeros", "of less"])
def test_of_a_damaged_state_the_examples_are_read_again(
    tiny_path: Path, tmp_path: Path, passes: Passes, how: str
) -> None:
    """Also where only the library finds the damage; it is mended, and leaves nothing behind."""
    with opened(tiny_path, tmp_path) as engine:
        first, second = answers(engine)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole, how, tiny_path))
    num_read(passes)
    with opened(tiny_path, tmp_path) as engine:
        again = answers(engine)
        assert num_read(passes, *again) == first.num_cached
        engine.measure_rates()
        assert answers(engine)[1].token_ids == second.token_ids
    assert [d.token_ids for d in again] == [first.token_ids, second.token_ids]
    assert len(file.read_bytes()) == len(whole)

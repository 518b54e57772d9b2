"""Stages that vote, over scripted engines; stages that share one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.build import open_stages
from adaptive_sd.cascade import Cascade
from adaptive_sd.config import read_config
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.engines.passes import MAX_BRANCHES
from adaptive_sd.errors import CancelledError, ConfigError
from adaptive_sd.forms import Form
from adaptive_sd.judge import cost_of
from adaptive_sd.stage import Engines, Stage
from adaptive_sd.styles import STEP_STYLES
from adaptive_sd.types import Message, Offer, Progress, Sampling
from tests.ladder import make_tasks
from tests.test_cascade import ScriptedJudge
from tests.voting import RATES, make_voting_stages

SUM = "What is the sum 3 + 4?"
ASKED = Sampling(max_tokens=40)
EXAMPLE = Path(__file__).parents[1] / "examples" / "voting_ladder.toml"


def engine_of(answers: list[str], name: str = "m") -> FakeEngine:
    """Vote i says answers[i]; a plain answer is the first."""

    def script(prompt: str) -> str:
        _, found, seed = prompt.rpartition(" vote ")
        return answers[int(seed) if found else 0]

    return FakeEngine(name, script)


def stage_of(engine: FakeEngine, votes: int = 5) -> Stage:
    return Stage(engine.info.model, load=lambda: engine, votes=votes)


def seeds_of(engine: FakeEngine) -> list[int]:
    return [sampling.seed for _, sampling, _ in engine.calls]


texts = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", "?"]), st.integers(0, 4)).map(
        lambda pair: "well " * pair[1] + pair[0]
    ),
    min_size=5,
    max_size=5,
)


@given(texts, st.integers(2, 4), st.integers(0, 9))
def test_a_stage_of_more_votes_goes_on_where_one_of_few_ended(
    answers: list[str], few: int, seed: int
) -> None:
    given = ["?"] * seed + answers
    asked = replace(ASKED, seed=seed)
    first = stage_of(engine_of(given), few).run(SUM, asked)
    engine = engine_of(given)
    then = stage_of(engine).run(SUM, asked, draft=first.offer)
    alone = stage_of(engine_of(given)).run(SUM, asked)
    assert then.votes is not None and first.votes is not None and alone.votes is not None
    assert (then.text, then.token_logprobs) == (alone.text, alone.token_logprobs)
    assert [v.text for v in then.votes.drafts] == [v.text for v in alone.votes.drafts]
    ended = {seed + i for i, vote in enumerate(first.votes.drafts) if vote.has_ended}
    assert not ended & set(seeds_of(engine))
    assert cost_of(then, RATES) <= cost_of(alone, RATES) + 1e-9
    for place, vote in enumerate(then.votes.drafts):
        assert not vote.has_ended or vote.text == answers[place]


def test_votes_are_sampled_where_the_stage_answers_in_steps() -> None:
    engine = engine_of(["The answer is 7"] * 13)
    stage = Stage("m", load=lambda: engine, votes=5, styles={Form.CHOICE: "letter"})
    assert stage.num_votes(Form.CHOICE) == stage.num_votes(Form.OPEN) == 1
    in_steps = Stage("m", load=lambda: engine, votes=5, styles=STEP_STYLES)
    assert in_steps.num_votes(Form.CHOICE) == in_steps.num_votes(Form.NUMBER) == 5
    draft = stage.run(SUM, replace(ASKED, lenience=2.0))
    assert {sampling.temperature for _, sampling, _ in engine.calls} == {0.7}
    assert seeds_of(engine) == [0, 1, 2, 3, 4] and draft.text == "The answer is 7"
    assert len(engine.calls[0][0]) > 1  # the style's worked examples
    stage.run(SUM, replace(ASKED, temperature=0.3, seed=8))
    assert {s.temperature for _, s, _ in engine.calls[5:]} == {0.3}
    assert seeds_of(engine)[5:] == [8, 9, 10, 11, 12]


@pytest.mark.parametrize(
    "prompt", ["Who painted the Mona Lisa?", [Message("user", SUM)], "Describe the sea."]
)
def test_other_prompts_are_answered_once_and_verify_the_draft(prompt: object) -> None:
    engine = engine_of(["one two three"])
    draft = stage_of(engine).run(prompt, ASKED, draft=Offer("one two"))  # type: ignore[arg-type]
    assert len(engine.calls) == 1 and engine.calls[0][1] == ASKED
    assert draft.votes is None and draft.made == (draft,) and draft.verified.num_accepted == 2


def test_votes_of_another_model_style_or_sampling_are_ignored() -> None:
    first = stage_of(engine_of(["1"] * 5), 2).run(SUM, ASKED)
    assert first.votes is not None and first.votes.source is not None
    source = first.votes.source
    for other in (
        source._replace(model_hash="other"),
        source._replace(style="other"),
        source._replace(sampling=replace(source.sampling, seed=1)),
        None,
    ):
        engine = engine_of(["1"] * 5)
        offer = replace(first.offer, votes=replace(first.votes, source=other))
        stage_of(engine).run(SUM, ASKED, draft=offer)
        assert len(engine.calls) == 5
    engine = engine_of(["1"] * 5)
    stage_of(engine).run(SUM, ASKED, draft=first.offer)
    assert seeds_of(engine) == [2, 3, 4]


def test_an_observer_sees_the_elected_answer_whole_and_may_end_all() -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> bool:
        seen.append(progress)
        return True

    elected = stage_of(engine_of(["2", "well 1", "1", "1", "2"])).run(SUM, ASKED, observer=watch)
    assert "".join(progress.new_text for progress in seen) == elected.text == "well 1"
    assert seen[-1].num_tokens == elected.tokens_out == 2
    calls = itertools.count()
    ended = stage_of(engine_of(["well " * 9 + "1"] * 5)).run(
        SUM, ASKED, observer=lambda _: next(calls) < 12
    )
    assert ended.finish_reason == "cancelled"


@pytest.mark.parametrize("votes", [0, MAX_BRANCHES + 1])
def test_a_number_of_votes_that_no_engine_decodes_together_is_refused(votes: int) -> None:
    with pytest.raises(ConfigError, match=f"votes is {votes}; it must be 1 to {MAX_BRANCHES}"):
        stage_of(engine_of([]), votes)


def test_the_cascade_streams_and_counts_votes(tmp_path: Path) -> None:
    stages = make_voting_stages(tmp_path)
    (task,) = make_tasks(1)
    for path in ((3,), (1, 3), (2, 3), (1, 2, 3)):
        pieces: list[str] = []
        cascade = Cascade(stages, ScriptedJudge(path, 3))
        answer = cascade.answer(task.prompt, on_text=pieces.append)
        assert "".join(pieces) == answer.text
        *_, step = (step for step in answer.trace if step.stage == "large x5")
        assert step.tokens_out >= 4 * (1 if 2 in path else 3) and step.num_drafted == 0
    calls = itertools.count()
    with pytest.raises(CancelledError):
        cascade.answer(task.prompt, keep_going=lambda: next(calls) < 3)


@given(st.permutations(range(3)), st.lists(st.integers(0, 2), max_size=6))
def test_a_shared_engine_is_loaded_once_and_closed_with_its_last_stage(
    order: list[int], used: list[int]
) -> None:
    loaded: list[FakeEngine] = []

    def load() -> FakeEngine:
        loaded.append(engine_of(["1"]))
        return loaded[-1]

    engines: Engines = {}
    stages = [Stage(f"{i}", load=load, engines=engines) for i in range(3)]
    for _ in range(2):  # a closed stage loads again
        loaded.clear()
        for i in used:
            stages[i].generate(["hi"])
        open_ones = set(used)
        for i in order:
            assert not any(engine.closed for engine in loaded) or not open_ones
            stages[i].close()
            stages[i].close()
            open_ones -= {i}
        assert [engine.closed for engine in loaded] == ([True] if used else [])


def test_stages_of_one_file_and_the_same_options_have_one_engine(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path))
    stage = f'[[stage]]\nmodel = "{tiny_path}"\ncontext = 1200\nname = '
    path = tmp_path / "ladder.toml"
    path.write_text(f'{stage}"a"\n{stage}"b"\nvotes = 3\n{stage}"c"\nslots = 2\n')
    a, b, c = open_stages(read_config(path), offline=True)
    assert a.engine is b.engine and a.engine is not c.engine
    a.run("hello", Sampling(max_tokens=2), form=Form.OPEN)
    first, *_ = b.sample("hello", Sampling(max_tokens=2), 3, form=Form.OPEN)
    assert first.num_cached == first.tokens_in - 1
    for each in (a, c, b):
        each.close()


def test_the_example_is_a_ladder_of_models_and_strategies() -> None:
    stages = read_config(EXAMPLE).stages
    assert [stage.votes for stage in stages] == [1, 1, 1, 2, 5]
    assert len({stage.model for stage in stages[2:]}) == 1

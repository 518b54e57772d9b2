"""A stage over a scripted engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form
from adaptive_sd.prompt import prompt_text
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STYLES
from adaptive_sd.types import Message, Sampling


def stage_of(engine: FakeEngine, **options: object) -> Stage:
    return Stage(engine.info.model, load=lambda: engine, **options)  # type: ignore[arg-type]


def test_generate_gives_texts_and_logprobs_in_order_and_prompts_as_they_stand() -> None:
    engine = FakeEngine("m", lambda text: f"re: {text}", logprob=-0.25)
    outputs, logprobs = stage_of(engine).generate(["a", "b c"], max_tokens=2)
    assert outputs == ["re: a", "re: b"]
    assert logprobs == [[-0.25, -0.25], [-0.25, -0.25]]
    assert [call[0] for call in engine.calls] == [
        (Message("user", "a"),),
        (Message("user", "b c"),),
    ]


def test_run_asks_a_bare_prompt_in_the_style_of_its_form() -> None:
    engine = FakeEngine("m", lambda _: "C")
    stage = stage_of(engine, styles={Form.CHOICE: "few_shot"})
    stage.run("Which?\nA. x\nB. y", Sampling(), form=Form.CHOICE)
    messages = engine.calls[0][0]
    assert len(messages) == 2 * len(STYLES[Form.CHOICE]["few_shot"].examples) + 1
    assert messages[-1].content.startswith("Which?\nA. x\nB. y\n\n")


def test_run_passes_a_conversation_on_as_it_is() -> None:
    engine = FakeEngine("m", lambda _: "ok")
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    stage_of(engine).run(turns, Sampling())
    assert engine.calls[0][0] == (Message("system", "be brief"), Message("user", "hi"))


def test_the_engine_is_loaded_on_first_use_and_freed_on_close() -> None:
    loaded: list[FakeEngine] = []

    def load() -> FakeEngine:
        loaded.append(FakeEngine("m", lambda _: "x"))
        return loaded[-1]

    with Stage("m", load=load) as stage:
        assert loaded == []
        stage.generate(["a"])
        stage.generate(["b"])
    assert len(loaded) == 1 and loaded[0].closed


def test_rates_are_measured_once_and_kept(tmp_path: Path) -> None:
    engine = FakeEngine("m", lambda _: "x")
    stage = stage_of(engine, rates_path=tmp_path / "rates.json")
    assert stage.rates == engine.measure_rates()
    slower = FakeEngine("m", lambda _: "x", rates=stage.rates.__class__(9.0, 9.0))
    assert stage_of(slower, rates_path=tmp_path / "rates.json").rates == stage.rates
    (tmp_path / "rates.json").write_text("{damaged")
    assert stage_of(slower, rates_path=tmp_path / "rates.json").rates == slower.measure_rates()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_size": "big"}, "model_size is 'big'"),
        ({"styles": {Form.CHOICE: "poem"}}, "no style 'poem' for choice tasks; known"),
    ],
)
def test_values_that_the_engine_cannot_honour_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        stage_of(FakeEngine("m", lambda _: "x"), **options)


@pytest.mark.parametrize(
    "prompt",
    ["", "  \n", [], [{"role": "user", "content": " "}], [{"role": "robot", "content": "x"}]],
)
def test_empty_prompts_and_unknown_roles_are_refused(prompt: object) -> None:
    with pytest.raises(ConfigError):
        stage_of(FakeEngine("m", lambda _: "x")).generate([prompt])  # type: ignore[list-item]


def test_a_bare_string_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(ConfigError, match=r"write \[prompt\]"):
        stage_of(FakeEngine("m", lambda _: "x")).generate("abc")


def test_the_text_of_a_conversation_is_the_last_turn_of_the_user() -> None:
    turns = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    assert prompt_text(turns) == "c"
    assert prompt_text("plain") == "plain"

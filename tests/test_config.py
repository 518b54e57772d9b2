"""The configuration file: a typo never becomes a default."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptive_sd.config import default_config, ladder_of, read_config, stage_styles
from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form

STAGE = '[[stage]]\nname = "a"\nmodel = "smollm2-135m"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ladder.toml"
    path.write_text(text)
    return path


def test_the_shipped_ladder_is_valid_and_every_style_exists() -> None:
    config = default_config()
    assert [s.name for s in config.stages] == [
        "smollm2-135m",
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
    ]
    for stage in config.stages:
        assert Form.CHOICE in stage_styles(stage)


def test_all_keys_are_read(tmp_path: Path) -> None:
    text = (
        'home = "~/x"\nartifact = "mine"\nlambda = 3\n'
        + STAGE
        + "context = 99\nthreads = 1\nslots = 4\nmax_waiting = 0\nvotes = 3\n"
    )
    config = read_config(write(tmp_path, text))
    assert (config.artifact, config.lam, config.home) == ("mine", 3.0, Path.home() / "x")
    (stage,) = config.stages
    assert (stage.context, stage.threads, stage.slots) == (99, 1, 4)
    assert (stage.max_waiting, stage.votes) == (0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("artefact = 'x'\n" + STAGE, "unknown key 'artefact'; did you mean 'artifact'"),
        (STAGE + "contxt = 3\n", "stage 1: unknown key 'contxt'; did you mean 'context'"),
        ("lambda = -1\n" + STAGE, 'lambda is -1; write "recommended" or a number'),
        ("lambda = nan\n" + STAGE, "lambda is nan"),
        ("lambda = true\n" + STAGE, "lambda is True"),
        (STAGE + "context = 0\n", "context is 0; it must be at least 1"),
        (STAGE + "slots = 0\n", "slots is 0; it must be at least 1"),
        (STAGE + "votes = 0\n", "stage 1: votes is 0; it must be 1 to 8"),
        (STAGE + "votes = 9\n", "stage 1: votes is 9; it must be 1 to 8"),
        (STAGE + "votes = true\n", "votes is True; it must be of type int"),
        (STAGE + "max_waiting = -1\n", "max_waiting is -1; it must be at least 0"),
        (STAGE + "context = '4'\n", "context is '4'; it must be of type int"),
        (STAGE + "engine = 'vllm'\n", "engine 'vllm' is not built in yet"),
        (STAGE + "engine = 'x'\n", "engine 'x' is unknown"),
        (STAGE + "style = 'poem'\n", "style 'poem' is unknown"),
        (STAGE + "style = { choice = 'poem' }\n", "style 'poem' for choice; known: letter"),
        (STAGE + "style = { chioce = 'letter' }\n", "unknown key 'chioce'; did you mean 'choice'"),
        ("", "add at least one"),
        ("[[stage]]\nname = 'a'\n", "model is missing"),
        (STAGE + STAGE, "two stages are named 'a'"),
        ("stage = 3\n", "no [[stage]]"),
        ("x = [", "not TOML"),
    ],
)
def test_bad_files_name_the_key_and_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stage_styles(read_config(write(tmp_path, text)).stages[0])
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no.toml: cannot be read"):
        read_config(tmp_path / "no.toml")


def test_a_ladder_by_names_keeps_what_is_known_of_them() -> None:
    ladder = ladder_of(default_config(), ["qwen2.5-coder-0.5b", "/models/own.gguf"])
    assert stage_styles(ladder.stages[0])[Form.READING] == "phrase"
    assert ladder.stages[1].model == "/models/own.gguf"
    with pytest.raises(ConfigError, match="comes twice"):
        ladder_of(default_config(), ["a", "a"])


def test_engine_options_are_set_for_every_stage() -> None:
    ladder = default_config().with_engine_options(context=512, threads=None, gpu_layers=0)
    assert {s.context for s in ladder.stages} == {512}
    with pytest.raises(ConfigError, match="threads is 0"):
        ladder.with_engine_options(context=None, threads=0, gpu_layers=None)


def test_an_online_ladder_is_configured(tmp_path: Path) -> None:
    plain = read_config(write(tmp_path, STAGE))
    assert (plain.online, plain.explore, plain.on_drift) == (False, 0.02, "warn")
    text = 'online = true\nexplore = 0.1\non_drift = "top"\n' + STAGE
    config = read_config(write(tmp_path, text))
    assert (config.online, config.explore, config.on_drift) == (True, 0.1, "top")
    for wrong in (
        "online = 1\n",
        "explore = 0.9\n",
        "explore = true\n",
        "explore = 1e-5\n",
        'on_drift = "stop"\n',
    ):
        with pytest.raises(ConfigError, match=wrong.split()[0]):
            read_config(write(tmp_path, wrong + STAGE))

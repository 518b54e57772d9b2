"""The configuration file: a typo never becomes a default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd.config import default_config, ladder_of, read_config, stage_styles
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form
from adaptive_sd.types import Verified

SERVED = (
    '[[stage]]\nname = "b"\nengine = "openai"\nmodel = "big"\n'
    'base_url = "http://127.0.0.1:8000/v1"\n'
)
PRICE = "cost = {{ unit = '{}', per_million_in = {}, per_million_out = {} }}\n"
CHECKPOINT = '[[stage]]\nname = "c"\nengine = "transformers"\nmodel = "owner/model"\n'
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


def test_a_stage_of_a_checkpoint_has_options_of_its_weights(tmp_path: Path) -> None:
    text = (
        CHECKPOINT
        + "load_in_4bit = true\nbnb_4bit_use_double_quant = false\ndevice_map = 'cuda:1'\n"
        + "dtype = 'fp16'\nslots = 2\nvotes = 3\n"
    )
    (stage,) = read_config(write(tmp_path, text)).stages
    assert stage.transformers == TransformersOptions(
        dtype="fp16", load_in_4bit=True, bnb_4bit_use_double_quant=False, device_map="cuda:1"
    )
    assert stage.transformers.weights == "nf4, fp16"
    assert (stage.slots, stage.votes, stage.endpoint) == (2, 3, None)


def test_a_served_stage_has_an_endpoint_and_a_price(tmp_path: Path) -> None:
    text = (
        'on_failure = "error"\n'
        + SERVED
        + "stream = false\nverify = false\nwhole_s = 9\nparameters = '70b'\n"
        + "cost = { unit = 'usd', per_million_in = 0.5, per_million_out = 2 }\n"
    )
    config = read_config(write(tmp_path, text))
    (stage,) = config.stages
    assert config.on_failure == "error"
    assert stage.endpoint == EndpointOptions(
        "http://127.0.0.1:8000/v1", "big", stream=False, verify=False, whole_s=9.0
    )
    assert stage.cost is not None and stage.cost.unit == "usd"
    # 1,000 tokens in, of which none is decoded, and 100 out
    assert stage.cost.draft_s(1000, 100) == pytest.approx((1000 * 0.5 + 100 * 2) / 1e6)
    verified = Verified(num_drafted=9, num_accepted=4, num_chosen=5, span_rows=(10,))
    assert stage.cost.draft_s(1000, 100, verified) == pytest.approx((1009 * 0.5 + 2 + 95 * 2) / 1e6)
    assert config.with_engine_options(context=9, threads=None, gpu_layers=None) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SERVED + "threads = 2\n", "threads is not for engine 'openai'; leave it out"),
        (STAGE + "votes = 3\n" + PRICE.format("usd", 1, 1), "votes is 3 and a token has a price"),
        (SERVED + "votes = 3\n" + PRICE.format("usd", 1, 1), "votes is 3 and a token has a price"),
        (STAGE + "base_url = 'http://x/v1'\n", "base_url is not for engine 'llama_cpp'"),
        (STAGE + "engine = 'openai'\n", "base_url is missing; write base_url = "),
        (SERVED + "api_key = 'sk-1'\n", "unknown key 'api_key'; did you mean 'api_key_"),
        (SERVED + "api_key_env = 'A'\napi_key_file = 'b'\n", "api_key_env or api_key_file"),
        (SERVED + "whole_s = 0\n", "whole_s is 0.0; it must be positive"),
        (SERVED + "stream = 1\n", "is 1; it must be of type bool"),
        (SERVED + "parameters = 'big'\n", "parameters is 'big'; write it like '70b'"),
        (SERVED + "cost = 3\n", "cost is 3; it must be of type dict"),
        (SERVED + "cost = { unit = 'usd' }\n", "per_million_in is missing"),
        (SERVED + PRICE.format("eur", 1, 1), "unit is 'eur'; write one of s, gpu_s, usd"),
        (SERVED + PRICE.format("usd", -1, 1), "-1 is no price"),
        (SERVED + PRICE.format("usd", "nan", 1), "nan is no price"),
        (SERVED + PRICE.format("usd", 0, 0), "both prices are 0"),
        (SERVED.replace("http://127.0.0.1", "http://me:pw@host"), "without a user, a password"),
        (SERVED.replace("http://", "ftp://"), "write base_url as http://host:port/v1"),
        (SERVED.replace("127.0.0.1:8000", "[::1"), "write base_url as http://host:port/v1"),
        ("on_failure = 'ignore'\n" + SERVED, "on_failure is 'ignore'; write \"degrade\" or"),
    ],
)
def test_bad_endpoints_and_prices_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    assert message in str(caught.value) and "pw" not in str(caught.value)


VLLM = '[[stage]]\nname = "a"\nengine = "vllm"\nmodel = "owner/model-7b"\n'


def test_a_stage_that_vllm_runs_has_its_options(tmp_path: Path) -> None:
    text = (
        VLLM
        + "context = 512\ntensor_parallel_size = 2\nquantization = 'awq'\ndtype = 'float16'\n"
        + "gpu_memory_utilization = 1\noptions = { enforce_eager = true }\nvotes = 3\n"
    )
    config = read_config(write(tmp_path, text))
    (stage,) = config.stages
    assert stage.vllm == VllmOptions(
        "owner/model-7b", 512, 2, "awq", "float16", 1.0, {"enforce_eager": True}
    )
    assert stage.votes == 3 and stage.endpoint is None
    (other,) = config.with_engine_options(context=9, threads=1, gpu_layers=1).stages
    assert other == replace(stage, context=9, vllm=replace(stage.vllm, context=9))
    arguments = stage.vllm.arguments
    assert arguments["max_model_len"] == 512 and arguments["enforce_eager"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VLLM + "threads = 2\n", "threads is not for engine 'vllm'"),
        (STAGE + "dtype = 'auto'\n", "dtype is not for engine 'llama_cpp'"),
        (VLLM + "tensor_parallel_size = 0\n", "tensor_parallel_size is 0; it must be at least 1"),
        (VLLM + "gpu_memory_utilization = 2\n", "gpu_memory_utilization is 2.0; it must be in"),
        (VLLM + "options = { max_model_len = 9 }\n", "write it as the stage's context"),
        (VLLM + "options = { speculative_config = 1 }\n", "'speculative_config', but drafts are"),
        (VLLM + "options = { trust_remote_code = true }\n", "no program of a checkpoint's"),
        (VLLM + "options = { load_format = 'pt' }\n", "'pt'; write one of auto, safetensors"),
        (VLLM + "options = 3\n", "options is 3; it must be of type dict"),
        (VLLM + "tensor_paralel_size = 2\n", "did you mean 'tensor_parallel_size'"),
    ],
)
def test_bad_options_of_vllm_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    assert message in str(caught.value)


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
        (STAGE + "load_in_4bit = true\n", "load_in_4bit is not for engine 'llama_cpp'"),
        (CHECKPOINT + "gpu_layers = 1\n", "gpu_layers is not for engine 'transformers'"),
        (CHECKPOINT + "load_in_8bit = 1\n", "load_in_8bit is 1; it must be of type bool"),
        (CHECKPOINT + "dtype = 'bfloat16'\n", "dtype is 'bfloat16'; write one of auto, bf16"),
        (CHECKPOINT + "dtype = 'bf16'\nload_in_8bit = true\n", "computed with in fp16; leave"),
        (CHECKPOINT + "bnb_4bit_quant_type = 'q4'\n", "write one of nf4, fp4"),
        (CHECKPOINT + "device_map = 'gpu'\n", "device_map is 'gpu'; write auto, cpu, cuda"),
        (
            CHECKPOINT + "load_in_4bit = true\nload_in_8bit = true\n",
            "set load_in_4bit or load_in_8bit, not both",
        ),
        (STAGE + "engine = 'x'\n", "engine 'x' is unknown"),
        (STAGE + "style = 'poem'\n", "style 'poem' is unknown"),
        (STAGE + "style = { choice = 'poem' }\n", "style 'poem' for choice; known: letter"),
        (STAGE + "style = { chioce = 'letter' }\n", "unknown key 'chioce'; did you mean 'choice'"),
        ("[[stage]]\nname = 'a'\n", "model is missing"),
        (STAGE + STAGE, "two stages are named 'a'"),
        ("stage = 3\n", "stage is 3; write a [[stage]] table for each one"),
        ("x = [", "not TOML"),
    ],
)
def test_bad_files_name_the_key_and_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stage_styles(read_config(write(tmp_path, text)).stages[0])
    assert message in str(caught.value)


def test_a_file_that_names_no_stage_is_of_the_shipped_ladder(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, "online = true\n"))
    assert config == replace(default_config(), online=True)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no.toml: cannot be read"):
        read_config(tmp_path / "no.toml")


EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_a_ladder_whose_costs_can_be_compared(path: Path) -> None:
    stages = read_config(path).stages
    assert len(stages) > 1
    assert len({"s" if stage.cost is None else stage.cost.unit for stage in stages}) == 1


def test_a_ladder_by_names_keeps_what_is_known_of_them() -> None:
    ladder = ladder_of(default_config(), ["qwen2.5-coder-0.5b", "/models/own.gguf"])
    assert stage_styles(ladder.stages[0])[Form.READING] == "phrase"
    assert ladder.stages[1].model == "/models/own.gguf"
    with pytest.raises(ConfigError, match="comes twice"):
        ladder_of(default_config(), ["a", "a"])


def test_a_stage_takes_the_options_that_its_engine_has(tmp_path: Path) -> None:
    """As the file does, which refuses the others."""
    config = read_config(write(tmp_path, STAGE + SERVED + CHECKPOINT))
    options = {"context": 9, "threads": 2, "gpu_layers": 3}
    changed = config.with_engine_options(**options)
    for before, after, keys in zip(
        config.stages,
        changed.stages,
        (("context", "threads", "gpu_layers"), (), ("context", "threads")),
        strict=True,
    ):
        assert after == replace(before, **{key: options[key] for key in keys})


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

"""Checkpoints of other kinds: windows, recurrences, quantised or damaged ones, and too large."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.errors import (
    ConfigError,
    ContextOverflowError,
    DamagedModelError,
    EngineError,
    MemoryLackError,
)
from adaptive_sd.sources import run_by_transformers
from adaptive_sd.types import Offer, Sampling
from tests.engines.margin import EAGER, assert_same_up_to_margin

torch = pytest.importorskip("torch", reason='torch is not here: pip install ".[transformers]"')
pytest.importorskip("transformers", reason='not here: pip install ".[transformers]"')

import transformers  # noqa: E402

from adaptive_sd.engines.transformers.model import Checkpoint  # noqa: E402
from adaptive_sd.engines.transformers.needs import (  # noqa: E402
    Setting,
    check_memory,
    needed_bytes,
    shape_of,
)
from adaptive_sd.engines.transformers.options import TransformersOptions  # noqa: E402
from tests.engines.asking import ask  # noqa: E402
from tests.engines.test_transformers import CPU, NOISE, generated, open_engine  # noqa: E402
from tests.engines.tiny_checkpoint import write_tiny_checkpoint  # noqa: E402

INT8_NOISE = 0.24
"""Rows of a batch share what is left in 16 bits: measured 99th percentile .23."""

RECURRENT = {
    "kind": "Lfm2",
    "layer_types": ["conv", "full_attention"],
    "block_auto_adjust_ff_dim": False,
}
WINDOW = {"kind": "Mistral", "sliding_window": 24}


def net_of(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize(
    "kind", [WINDOW, RECURRENT, {"kind": "Mamba"}], ids=["window", "recurrent", "without heads"]
)
def test_what_cannot_be_rolled_back_is_generated_plainly(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    """No draft is verified, and the answer is that of transformers itself, past the window too."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", **kind)
    engine, net = open_engine(folder, slots=2), net_of(folder)
    for prompt in ("hello", "x" * 70, "hello again"):
        plain = engine.generate(ask(prompt), Sampling(max_tokens=50))
        assert plain.token_ids == generated(net, engine, prompt, 50)
        again = engine.generate(
            ask(prompt), Sampling(max_tokens=50), draft=plain.offer, acceptance=EAGER
        )
        assert again.text == plain.text and again.verified.num_drafted == 0
        assert engine.draft_tokens(plain.offer).token_ids == ()
    with pytest.raises(ConfigError, match="cannot decode several answers"):
        engine.sample(ask("x"), Sampling(max_tokens=5), range(3))
    engine.close()


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3", "Mistral", "GPTNeoX", "Gemma2", "Phi3"])
def test_checkpoints_of_other_architectures_verify_where_they_can(
    tmp_path: Path, kind: str
) -> None:
    more = {"sliding_window": 512, "head_dim": 8} if kind in ("Mistral", "Gemma2") else {}
    folder = write_tiny_checkpoint(tmp_path / "tiny", kind=kind, **more)
    engine, net = open_engine(folder, slots=2), net_of(folder)
    plain = engine.generate(ask("hello"), Sampling(max_tokens=50))
    assert plain.token_ids == generated(net, engine, "hello", 50)
    offer = Offer(plain.text[:30] + "??" + plain.text[30:])
    again = engine.generate(ask("hello"), Sampling(max_tokens=50), draft=offer, acceptance=EAGER)
    assert_same_up_to_margin(plain, again, 10 * NOISE)
    assert again.verified.num_accepted > 20
    engine.close()


@pytest.mark.parametrize(
    ("options", "noise"),
    [
        (TransformersOptions(load_in_4bit=True, device_map="cpu", dtype="fp32"), NOISE),
        (TransformersOptions(load_in_8bit=True, device_map="cpu"), INT8_NOISE),
    ],
    ids=["nf4", "int8"],
)
def test_quantised_weights_verify_to_their_own_plain_answer(
    tmp_path: Path, options: TransformersOptions, noise: float
) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not here")
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    engine = open_engine(folder, options, slots=2)
    kinds = {type(module).__name__ for module in engine._model._net.modules()}
    assert ("Linear4bit" if options.load_in_4bit else "Linear8bitLt") in kinds
    for prompt in ("hello", "how are you?"):
        plain = engine.generate(ask(prompt), Sampling(max_tokens=40))
        offer = Offer(plain.text[:25] + "??" + plain.text[25:])
        again = engine.generate(ask(prompt), Sampling(max_tokens=40), draft=offer, acceptance=EAGER)
        assert_same_up_to_margin(plain, again, noise)
    engine.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny-llama"))


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (TransformersOptions(dtype="fp32", device_map="cpu"), "slots = 3"),
        (TransformersOptions(load_in_4bit=True, device_map="cpu"), "slots = 3"),
    ],
)
def test_a_lack_of_memory_names_a_setting_that_fits(
    folder: Path, options: TransformersOptions, advice: str
) -> None:
    checkpoint, setting = Checkpoint(folder), Setting(options, 4096, 4)
    needed = needed_bytes(shape_of(checkpoint), setting, checkpoint)
    check_memory(checkpoint, setting, "tiny", lambda _: needed)
    with pytest.raises(MemoryLackError, match=f"tiny needs .* are free; {advice}") as caught:
        check_memory(checkpoint, setting, "tiny", lambda _: needed - 1)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(MemoryLackError, match="no setting would fit here: take a smaller model"):
        check_memory(checkpoint, setting, "tiny", lambda _: 1000)


def test_every_setting_that_is_advised_fits(folder: Path) -> None:
    """With less and less memory the advice goes on to take less, and keeps to what there is."""
    checkpoint = Checkpoint(folder)
    setting = Setting(TransformersOptions(dtype="fp32", device_map="cpu"), 2048, 2)
    shape = shape_of(checkpoint)
    needed, told = needed_bytes(shape, setting, checkpoint), []
    for free in range(needed, needed_bytes(shape, Setting(CPU, 1, 1), checkpoint), -20_000):
        try:
            check_memory(checkpoint, setting, "tiny", lambda _, free=free: free)
        except MemoryLackError as error:
            told.append(str(error).split("; ")[1])
    seen = list(dict.fromkeys(told))
    assert seen[0].startswith("slots = 1") and any("context" in each for each in seen)


def test_quantised_weights_are_expected_to_take_less(tmp_path: Path) -> None:
    big = write_tiny_checkpoint(tmp_path / "big", hidden_size=512, intermediate_size=2048)
    checkpoint = Checkpoint(big)
    shape = shape_of(checkpoint)

    def needed(**options: Any) -> int:
        setting = Setting(TransformersOptions(device_map="cpu", **options), 512, 1)
        return needed_bytes(shape, setting, checkpoint)

    assert shape.num_linear > 0.8 * (shape.num_linear + shape.num_other)
    sizes = [
        needed(dtype="fp32"),
        needed(dtype="bf16"),
        needed(load_in_8bit=True),
        needed(load_in_4bit=True, bnb_4bit_use_double_quant=False),
        needed(load_in_4bit=True),
    ]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_device_map_of_one_is_one_line(folder: Path) -> None:
    with pytest.raises(ConfigError, match='torch finds no GPU here; write device_map = "cpu"'):
        open_engine(folder, TransformersOptions(device_map="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: NF4 there is not tested")
def test_nf4_on_a_gpu_verifies_to_its_own_plain_answer(folder: Path) -> None:
    engine = open_engine(folder, TransformersOptions(load_in_4bit=True, device_map="cuda"))
    plain = engine.generate(ask("hello"), Sampling(max_tokens=40))
    again = engine.generate(
        ask("hello"), Sampling(max_tokens=40), draft=plain.offer, acceptance=EAGER
    )
    assert_same_up_to_margin(plain, again, 0.5)
    engine.close()


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DamagedModelError, match="transformers cannot load it") as caught:
        open_engine(folder)
    assert len(str(caught.value).splitlines()) == 1
    (folder / "config.json").write_text('{"model_type": "nothing-known"}')
    with pytest.raises(DamagedModelError, match="transformers cannot load it") as caught:
        open_engine(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    weights = net_of(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(DamagedModelError):
        open_engine(folder)


def test_no_program_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    folder, proof = write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "proof"
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(proof)!r}, 'w')\nclass Own: ...\n")
    with pytest.raises(DamagedModelError) as caught:
        open_engine(folder)
    assert not proof.exists() and len(str(caught.value).splitlines()) == 1


def test_a_model_without_a_cache_of_keys_is_one_line(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "tiny", kind="OpenAIGPT")
    with pytest.raises(EngineError, match="has no cache that can be kept"):
        open_engine(folder)


def test_a_template_that_refuses_is_one_error(tmp_path: Path) -> None:
    template = "{{ raise_exception('no system turns') }}"
    engine = open_engine(write_tiny_checkpoint(tmp_path / "tiny", template=template))
    with pytest.raises(EngineError, match="no system turns"):
        engine.generate(ask("x"), Sampling())
    engine.close()


def test_a_gguf_file_is_not_quantised_again(tiny_path: Path) -> None:
    with pytest.raises(ConfigError, match="GGUF file, which transformers dequantises") as caught:
        run_by_transformers(str(tiny_path), TransformersOptions(load_in_4bit=True))
    assert len(str(caught.value).splitlines()) == 1


def test_a_gguf_file_answers_as_llama_cpp_does(tiny_path: Path, tiny: LlamaCppEngine) -> None:
    """The same weights, in 32 bits, and the same tokens; llama.cpp keeps its keys in 16."""
    engine = open_engine(tiny_path)
    for prompt in ("hello", "how are you?"):
        assert engine.prompt_tokens(ask(prompt)) == tiny.prompt_tokens(ask(prompt))
        ours = engine.generate(ask(prompt), Sampling(max_tokens=30))
        theirs = tiny.generate(ask(prompt), Sampling(max_tokens=30))
        assert_same_up_to_margin(ours, theirs, 0.026)
    engine.close()


def test_a_context_of_one_token_has_room_for_no_prompt(folder: Path) -> None:
    engine = open_engine(folder, context=1)
    with pytest.raises(ContextOverflowError, match="has a context of 1"):
        engine.generate(ask("x"), Sampling(max_tokens=1))
    engine.close()


@pytest.mark.parametrize(("count", "found"), [(0, "no GPU here"), (2, "none beyond cuda:1 here")])
def test_a_gpu_that_is_not_there_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    setting = Setting(TransformersOptions(device_map="cuda:2"), 512, 1)
    with pytest.raises(ConfigError, match=f"'cuda:2', but torch finds {found}; write"):
        check_memory(Checkpoint(folder), setting, "tiny", lambda _: 1 << 60)

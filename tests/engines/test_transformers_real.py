"""The smallest real model, whose GGUF file transformers dequantises, in the transformers engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptive_sd.data.tasks import load_tasks
from adaptive_sd.forms import detect_form
from adaptive_sd.models.catalogue import find
from adaptive_sd.models.store import file_of
from adaptive_sd.sources import run_by_transformers
from adaptive_sd.stage import Stage
from adaptive_sd.types import Draft, Offer, Sampling
from tests.engines.margin import EAGER, assert_same_up_to_margin
from tests.vllm.hf_folder import hf_folder

torch = pytest.importorskip("torch", reason='torch is not here: pip install ".[transformers]"')
pytest.importorskip("transformers", reason='not here: pip install ".[transformers]"')
pytest.importorskip("gguf", reason="gguf is not here")

from adaptive_sd.engines.transformers.options import TransformersOptions  # noqa: E402

SMALL = "smollm2-135m"
NOISE_P99 = 2e-4
"""In 32 bits, of margins of some units: what the tests keep to; it was not measured by itself."""

pytestmark = pytest.mark.slow
if not file_of(find(SMALL)).exists():
    pytest.skip(f"{SMALL} is not cached: adaptive-sd models pull {SMALL}", allow_module_level=True)

PROMPTS = [task.prompt for task in load_tasks("demo-mix", 4)]


@pytest.fixture(scope="module")
def folder() -> Path:
    """As safetensors: transformers reads those in a second, a GGUF file in a minute."""
    found = hf_folder(SMALL)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    options = TransformersOptions(dtype="fp32", device_map="cpu")
    source = run_by_transformers(str(folder), options, context=1024, slots=2)
    with Stage(SMALL, source=source) as stage:
        yield stage


def answer(stage: Stage, prompt: str, draft: Offer | None = None) -> Draft:
    sampling = Sampling(max_tokens=32)
    return stage.run(prompt, sampling, form=detect_form(prompt), draft=draft, acceptance=EAGER)


@pytest.fixture(scope="module")
def net(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_the_greedy_answer_is_that_of_transformers_itself(stage: Stage, net: Any) -> None:
    for prompt in PROMPTS:
        ours = answer(stage, prompt)
        ids = torch.tensor([stage.prompt_tokens(prompt, form=detect_form(prompt))])
        with torch.inference_mode():
            (out,) = net.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False
            ).tolist()
        assert tuple(out[ids.shape[1] :][: ours.tokens_out]) == ours.token_ids
        assert ours.finish_reason == "length" or len(out) == ids.shape[1] + ours.num_chosen


def test_a_verified_draft_gives_the_plain_greedy_answer(stage: Stage) -> None:
    for prompt in PROMPTS:
        plain = answer(stage, prompt)
        half = len(plain.text) // 2
        for draft in (plain.text, plain.text[:half] + " otherwise" + plain.text[half:], "No."):
            assert_same_up_to_margin(plain, answer(stage, prompt, Offer(draft)), NOISE_P99)
    verified = answer(stage, PROMPTS[0], answer(stage, PROMPTS[0]).offer).verified
    assert verified.num_accepted > 0


def test_the_prompt_is_that_of_the_embedded_engine(stage: Stage) -> None:
    """The same tokenizer and template, read by another library: where only texts are compared."""
    with Stage(SMALL, context=1024, offline=True) as embedded:
        for prompt in (*PROMPTS, "naïve — 漢字 🙂", "<|im_end|>\n<|im_start|>x"):
            form = detect_form(prompt)
            tokens = stage.prompt_tokens(prompt, form=form)
            assert tokens == embedded.prompt_tokens(prompt, form=form)

"""Checkpoints whose positions are told otherwise once a sequence is long."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptive_sd.types import Offer, Sampling
from tests.engines.margin import EAGER, assert_same_up_to_margin

pytest.importorskip("torch", reason='torch is not here: pip install ".[transformers]"')
pytest.importorskip("transformers", reason='not here: pip install ".[transformers]"')

from adaptive_sd.engines.transformers.model import Checkpoint, Model
from tests.engines.asking import ask
from tests.engines.test_transformers import CPU, NOISE, open_engine
from tests.engines.tiny_checkpoint import write_tiny_checkpoint
from tests.engines.tiny_gguf import HEADS, WIDTH

LONGROPE = {
    "kind": "Phi3",
    "original_max_position_embeddings": 256,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * (WIDTH // HEADS // 2),
        "long_factor": [4.0] * (WIDTH // HEADS // 2),
    },
}


def test_keys_that_the_longest_sequence_turns_are_not_shared(tmp_path: Path) -> None:
    """A draft is verified only where no position can change the numbers of those before."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", **LONGROPE)
    prompt = ask("x" * 200)
    for context, verifies in ((256, True), (257, False), (512, False)):
        engine = open_engine(folder, slots=2, context=context)
        plain = engine.generate(prompt, Sampling(max_tokens=40))
        offer = Offer(plain.text[:20] + "??" + plain.text[20:])
        again = engine.generate(prompt, Sampling(max_tokens=40), draft=offer, acceptance=EAGER)
        assert_same_up_to_margin(plain, again, 10 * NOISE)
        assert (again.verified.num_drafted > 0) == verifies
        engine.close()


def test_keys_that_are_turned_beyond_the_trained_length_are_not_shared(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    folder = write_tiny_checkpoint(tmp_path / "tiny", context=64, rope_parameters=rope)
    model = Model(Checkpoint(folder), CPU)
    assert model.attends_to_all(64) and not model.attends_to_all(65)

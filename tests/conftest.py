"""Fixtures: a home folder of its own for every test, the tiny model, real models where cached."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from adaptive_sd.artifact import Artifact
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from tests.engines.tiny_gguf import write_tiny_model
from tests.ladder import make_artifact

settings.register_profile("any machine", deadline=None)  # a busy one is no fault of the code
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def tiny(tiny_path: Path):  # type: ignore[no-untyped-def]
    engine = LlamaCppEngine(tiny_path, name="tiny", model_hash="0" * 64, context=512)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Fitted on the scripted ladder of tests/ladder.py."""
    return make_artifact(tmp_path_factory.mktemp("ladder"))

"""Names: what is known, what is near, what cannot be had."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.errors import UnknownModelError
from adaptive_sd.models.catalogue import find, load_catalogue, unknown_model
from adaptive_sd.models.gguf import read_header
from adaptive_sd.models.home import home_dir
from adaptive_sd.models.store import resolve

SHARED = Path(__file__).parents[3] / "shared" / "models.toml"
CACHED = home_dir() / "models"
NAMES = sorted(load_catalogue())


@pytest.mark.skipif(not SHARED.exists(), reason="shared/models.toml is not here")
def test_entries_equal_the_shared_list() -> None:
    shared = tomllib.loads(SHARED.read_text("utf-8"))
    assert set(shared) == set(NAMES)
    for name, wanted in shared.items():
        entry = find(name)
        assert (entry.sha256, entry.bytes) == (wanted["sha256"], wanted["bytes"])
        assert (entry.quant, entry.licence) == (wanted["quant"], wanted["licence"])
        assert entry.chat_template == wanted["chat_template"]
        assert list(entry.packages) == wanted["mirror"]["packages"]
        assert entry.member == wanted["mirror"]["member"]


@pytest.mark.parametrize("name", NAMES)
def test_entries_can_be_fetched_from_somewhere(name: str) -> None:
    entry = find(name)
    assert (entry.hub_repo is None) == (entry.hub_file is None)
    assert len(entry.sha256) == 64 and entry.bytes > 0
    assert entry.packages and all("==" in package for package in entry.packages)


@pytest.mark.parametrize("name", NAMES)
def test_entries_say_what_the_file_says(name: str) -> None:
    path = CACHED / f"{name}.gguf"
    if not path.exists():
        pytest.skip(f"{name} is not cached")
    header = read_header(path)
    assert find(name).num_parameters == header.num_parameters
    assert find(name).chat_template == header.has_chat_template


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("qwen-0.5b", "qwen2.5-coder-0.5b"),
        ("qwen2.5-coder-1.5B", "qwen2.5-coder-1.5b"),
        ("smollm-135m", "smollm2-135m"),
        ("gemma3-270m", "gemma-3-270m"),
    ],
)
def test_an_unknown_name_lists_the_near_ones(name: str, near: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve(name, offline=True)
    hint = str(caught.value).partition("Models here:")[0]
    assert repr(name) in hint and near in hint


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("llama-3.2-8b", "Llama 3.1 has 8B"),
        ("meta-llama/Llama-3.2-8B", "Llama 3.1 has 8B"),
        ("meta-llama/Llama-3.2-8B-Instruct", "Llama 3.1 has 8B"),
        ("llama-3-13b", "no 13B of Llama 3"),
        ("meta-llama/Llama-3-13B", "no 13B of Llama 3"),
        ("llama-3-8b", "meta-llama/Meta-Llama-3-8B"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "needs access"),
    ],
)
def test_names_of_guides_are_explained_in_one_line(name: str, reason: str) -> None:
    with pytest.raises(UnknownModelError, match=reason) as caught:
        resolve(name, offline=True)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(name)
    assert all(known in message for known in NAMES)


@given(st.text())
def test_any_name_gives_one_line_with_all_names(name: str) -> None:
    message = str(unknown_model(name))
    assert len(message.splitlines()) == 1 and len(message) < 1500
    assert all(known in message for known in NAMES)

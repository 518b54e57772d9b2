"""States on disk: each model's own, damage counts as absence, the oldest go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.states import StateStore


def state(size: int) -> memoryview:
    return memoryview(bytes(range(size)))


def test_states_of_other_models_and_tokens_are_not_taken(tmp_path: Path) -> None:
    StateStore(tmp_path, "one").write([1, 2], state(5))
    assert StateStore(tmp_path, "one").read([1, 2]) == state(5)
    assert StateStore(tmp_path, "other").read([1, 2]) is None
    assert StateStore(tmp_path, "one").read([1, 2, 3]) is None
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # its owner's


@given(st.data())
def test_whatever_is_damaged_counts_as_absent_and_is_written_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("states")
    store = StateStore(folder, "m")
    store.write([1], state(40))
    (path,) = folder.iterdir()
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    path.write_bytes(raw)
    assert store.read([1]) is None
    store.write([1], state(40))
    assert store.read([1]) == state(40)


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    """Also what an interrupted process has left; one that would drive out many is not kept."""
    store = StateStore(tmp_path, "m", max_bytes=10 * 132 + 131)
    (tmp_path / "tmp123").write_bytes(bytes(100))
    for n in range(10):
        store.write([n], state(100))
        for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime)):
            os.utime(path, (1e9 + age, 1e9 + age))
    assert store.read([0]) is not None  # used just now
    store.write([10], state(100))
    left = [store.read([n]) is not None for n in range(11)]
    assert left == [True, False, *[True] * 9] and not (tmp_path / "tmp123").exists()
    store.write([11], state(250))
    assert store.read([11]) is None and store.read([2]) is not None


def test_a_folder_that_cannot_be_made_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = StateStore(tmp_path / "file" / "states", "m")
    store.write([1], state(5))
    assert store.read([1]) is None


def test_a_state_that_cannot_be_touched_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(tmp_path, "m")
    store.write([1], state(5))

    def refuse(path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert store.read([1]) == state(5)

"""Files on this machine: a damaged one is named, with the command that mends it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.errors import DamagedModelError, DownloadError, ModelError, UnknownModelError
from adaptive_sd.models.catalogue import find, load_catalogue
from adaptive_sd.models.home import home_dir, models_dir
from adaptive_sd.models.store import file_of, remove, resolve, verify
from tests.models.fakes import BYTES, FakeHub, entry_of

ENTRY = entry_of()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ADAPTIVE_SD_OFFLINE", "1")
    models_dir().mkdir(parents=True)
    return models_dir()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_whole_file_is_found(folder: Path) -> None:
    file_of(ENTRY).write_bytes(BYTES)
    model = verify(ENTRY)
    assert model.path == folder / "fake-1m.gguf"
    assert (model.name, model.sha256, model.num_parameters) == ("fake-1m", ENTRY.sha256, 1_000_000)


@pytest.mark.parametrize(
    "data",
    [BYTES[:-1], BYTES[:1], b"", BYTES + b"\0", flipped(BYTES, 0), flipped(BYTES, 81_919)],
)
def test_a_damaged_file_is_named_with_the_command_that_mends_it(data: bytes) -> None:
    file_of(ENTRY).write_bytes(data)
    for again in (False, True, False):  # a remembered hash does not make it whole
        with pytest.raises(DamagedModelError) as caught:
            verify(ENTRY, again=again)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(str(file_of(ENTRY)))
        assert "adaptive-sd models pull fake-1m" in message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 8 * len(BYTES) - 1))
def test_every_flipped_bit_is_found(bit: int) -> None:
    file_of(ENTRY).write_bytes(flipped(BYTES, bit))
    with pytest.raises(DamagedModelError, match="sha256"):
        verify(ENTRY)


@pytest.mark.parametrize("name", sorted(load_catalogue()))
def test_a_damaged_catalogue_model_is_never_resolved(name: str, tiny_path: Path) -> None:
    file_of(find(name)).write_bytes(tiny_path.read_bytes())
    with pytest.raises(DamagedModelError, match=rf"models pull {name}"):
        resolve(name)
    with file_of(find(name)).open("wb") as file:
        file.truncate(find(name).bytes - 1)
    with pytest.raises(DamagedModelError, match=rf"{find(name).bytes - 1} bytes"):
        resolve(name)


def test_the_remembered_hash_is_used_only_for_the_file_it_was_taken_from() -> None:
    path = file_of(ENTRY)
    path.write_bytes(BYTES)
    before = path.stat()
    verify(ENTRY)
    (note,) = models_dir().glob("*.json")
    *key, _ = json.loads(note.read_text())
    note.write_text(json.dumps([*key, "0" * 64]))
    with pytest.raises(DamagedModelError, match="000000"):
        verify(ENTRY)  # the note is believed,
    verify(ENTRY, again=True)  # unless all is read again
    path.write_bytes(flipped(BYTES, 9))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size and time of change
    with pytest.raises(DamagedModelError):
        verify(ENTRY)


@pytest.mark.parametrize("note", ["", "null", "{}", "[1, 2]", '[1, 2, 3, "x"]', "[[", "\x00"])
def test_a_damaged_note_only_costs_time(note: str) -> None:
    file_of(ENTRY).write_bytes(BYTES)
    file_of(ENTRY).with_name("fake-1m.gguf.sha256.json").write_text(note)
    assert verify(ENTRY).sha256 == ENTRY.sha256


def test_what_is_absent_is_refused_at_once_when_offline() -> None:
    for name in load_catalogue():
        with pytest.raises(DownloadError, match=f"models pull {name}"):
            resolve(name)
    with pytest.raises(DownloadError, match="switched off"):
        resolve("owner/repo:model.gguf")


def test_removing_takes_the_file_and_its_note() -> None:
    name = next(iter(load_catalogue()))
    assert not remove(name)
    file_of(find(name)).write_bytes(b"x")
    file_of(find(name)).with_name(f"{name}.gguf.sha256.json").write_text("[]")
    assert remove(name)
    assert list(models_dir().iterdir()) == []


def test_a_path_to_a_model_is_that_model(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve(str(tiny_path))
    assert (model.path, model.name) == (tiny_path, "tiny")
    assert model.num_parameters > 0 and len(model.sha256) == 64
    assert not list(tiny_path.parent.glob("*.json"))  # a stranger's folder gets no note
    monkeypatch.setenv("HOME", str(tiny_path.parent))
    assert resolve("~/tiny.gguf").path == tiny_path
    odd = tmp_path / "a:b c.gguf"
    odd.write_bytes(tiny_path.read_bytes())
    assert resolve(str(odd)).sha256 == model.sha256


@pytest.mark.parametrize("data", [b"", b"GGUF", b"x" * 100])
def test_a_path_to_something_else_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(data)
    with pytest.raises(DamagedModelError, match=r"own\.gguf: .*fetch it again"):
        resolve(str(path))


def test_a_hub_file_is_fetched_once(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTIVE_SD_OFFLINE", "0")
    hub = FakeHub(tiny_path.read_bytes())
    first = resolve("owner/repo:tiny.gguf", fetch_hub_file=hub)
    assert resolve("owner/repo:tiny.gguf", fetch_hub_file=hub, offline=True) == first
    assert hub.asked == [("owner/repo", "tiny.gguf")]
    assert first.path.parent == models_dir()


@pytest.mark.parametrize(
    "name",
    [
        *("../x:y.gguf", "a/b:../y.gguf", "a/..:y.gguf", "a/b:/etc/y.gguf", "a/b:c/../../y.gguf"),
        *("a/b", "a/b:", "a/b:c.bin", "a b/c:d.gguf", "", ".gguf", "~nobody-of-that-name/x.gguf"),
        *("x" * 5000 + ".gguf", "a\0b.gguf", "\udcff.gguf", "/", "/root/../nowhere.gguf"),
    ],
)
def test_other_names_are_unknown_and_touch_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError):
        resolve(name, fetch_hub_file=FakeHub(b""))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text() | st.from_regex(r"[\w./~:-]{1,12}(:[\w./]{1,9})?(\.gguf)?", fullmatch=True))
def test_any_other_name_gives_a_model_error(name: str) -> None:
    with pytest.raises(ModelError):
        resolve(name)


def test_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    for named, expected in (
        ("", "/somewhere/.cache/adaptive-sd"),
        ("~/x", "/somewhere/x"),
        ("/else", "/else"),
        ("~nobody-of-that-name/x", "~nobody-of-that-name/x"),
    ):
        monkeypatch.setenv("ADAPTIVE_SD_HOME", named)
        assert str(home_dir()) == expected

"""Folders of safetensors: found, checked and hashed without loading them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from adaptive_sd.errors import DamagedModelError, DownloadError, ModelError, UnknownModelError
from adaptive_sd.models.folders import resolve_checkpoint
from adaptive_sd.models.home import models_dir
from adaptive_sd.models.sources import SourceError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("adaptive_sd.models.home._configured", None)


def write_weights(path: Path, *shapes: tuple[int, ...], filling: bytes = b"\0") -> None:
    """Tensors in 32 bits: https://huggingface.co/docs/safetensors, section "Format"."""
    header, end = {}, 0
    for i, shape in enumerate(shapes):
        start, end = end, end + 4 * shape[0] * shape[1]
        header[f"t{i}"] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + filling * end)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "tokenizer.json").write_text("{}")
    write_weights(made / "model-1.safetensors", (3, 5), (2, 2))
    write_weights(made / "model-2.safetensors", (7, 1))
    return made


def test_a_folder_has_its_name_and_the_size_that_its_files_tell(folder: Path) -> None:
    found = resolve_checkpoint(str(folder))
    assert (found.path, found.name, found.num_parameters) == (folder, "mine", 26)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model-2.safetensors"])
def test_the_hash_is_of_all_that_answers_depend_on(folder: Path, name: str) -> None:
    before = resolve_checkpoint(str(folder)).sha256
    assert resolve_checkpoint(str(folder)).sha256 == before
    path = folder / name
    if name.endswith(".json"):
        path.write_text('{"a": 1}')
    else:
        write_weights(path, (7, 1), filling=b"\1")
    assert resolve_checkpoint(str(folder)).sha256 != before
    (folder / "README.md").write_text("a note")
    assert resolve_checkpoint(str(folder)).sha256 == resolve_checkpoint(str(folder)).sha256


def test_a_copy_has_the_same_hash(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert resolve_checkpoint(str(copy)).sha256 == resolve_checkpoint(str(folder)).sha256


def test_an_unchanged_folder_is_not_hashed_again(folder: Path) -> None:
    resolve_checkpoint(str(folder))
    (note,) = models_dir().glob("mine.*.sha256.json")
    state, _ = json.loads(note.read_text())
    note.write_text(json.dumps([state, "f" * 64]))
    assert resolve_checkpoint(str(folder)).sha256 == "f" * 64
    note.write_text("damaged")
    assert resolve_checkpoint(str(folder)).sha256 != "f" * 64


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def name_missing_files(folder: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-3.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda f: (f / "config.json").unlink(), "has not both a config.json and"),
        (lambda f: [p.unlink() for p in f.glob("*.safetensors")], "no other weights are loaded"),
        (lambda f: cut(f / "model-1.safetensors"), "model-1.safetensors: is no whole safetensors"),
        (lambda f: (f / "model-1.safetensors").write_bytes(b"\xff" * 40), "is no whole"),
        (lambda f: (f / "model-1.safetensors").write_bytes(b""), "is no whole"),
        (name_missing_files, r"1 of 2 files of weights are missing \(model-3.safetensors\)"),
        (lambda f: (f / "model.safetensors.index.json").write_text("["), "is no index"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: is no configuration"),
    ],
)
def test_a_damaged_folder_is_one_line(
    folder: Path, damage: Callable[[Path], object], what: str
) -> None:
    damage(folder)
    with pytest.raises(DamagedModelError, match=what) as caught:
        resolve_checkpoint(str(folder))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("no-such-thing", "/no/such/place", "meta-llama/Llama-3.2-8B", "~no-such-user/m/x"),
        *("a" * 300, "owner/" + "a" * 300, "/" + "a" * 5000, "a\0b"),
    ],
)
def test_what_is_no_model_is_one_line(name: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve_checkpoint(name, offline=True)
    assert len(str(caught.value).splitlines()) == 1


def test_a_hub_model_is_fetched_once_and_without_programs(folder: Path) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def fetch(repo: str, target: Path, patterns: Sequence[str]) -> bool:
        asked.append((repo, tuple(patterns)))
        target.mkdir(parents=True)
        for path in folder.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
        return True

    for _ in range(2):
        found = resolve_checkpoint("owner/model", fetch_hub_folder=fetch)
    assert (found.name, found.num_parameters) == ("owner/model", 26)
    assert found.sha256 == resolve_checkpoint(str(folder)).sha256
    ((repo, patterns),) = asked
    assert repo == "owner/model"
    assert not any(Path(f"x{end}").match(p) for p in patterns for end in (".py", ".bin", ".pt"))


def test_a_hub_that_gives_nothing_is_one_line() -> None:
    cases = ((False, "cannot be reached or has no such model"), (True, "network is switched off"))
    for offline, what in cases:
        with pytest.raises(DownloadError, match=what) as caught:
            resolve_checkpoint("owner/model", offline=offline, fetch_hub_folder=lambda *_: False)
        assert isinstance(caught.value, ModelError)
        assert len(str(caught.value).splitlines()) == 1


def test_a_copy_in_the_makers_own_layout_is_no_more_of_the_model(folder: Path) -> None:
    before = resolve_checkpoint(str(folder))
    write_weights(folder / "consolidated.safetensors", (3, 5), (2, 2))
    assert resolve_checkpoint(str(folder)) == before


def test_only_files_that_the_index_names_are_counted(folder: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolve_checkpoint(str(folder)).num_parameters == 19


@pytest.mark.parametrize(("name", "count"), [("Big-7B-AWQ", 7_000_000_000), ("big-awq", 26)])
def test_packed_weights_are_as_many_as_the_name_tells(folder: Path, name: str, count: int) -> None:
    packed = folder.rename(folder.with_name(name))
    (packed / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    assert resolve_checkpoint(str(packed)).num_parameters == count


@pytest.mark.parametrize("said", [None, SourceError("the model hub refuses it: set HF_TOKEN")])
def test_a_hub_that_refuses_is_one_line(said: SourceError | None) -> None:
    def fetch(*_: object) -> bool:
        if said is not None:
            raise said
        return False

    with pytest.raises(DownloadError) as caught:
        resolve_checkpoint("owner/model", fetch_hub_folder=fetch)
    assert ("HF_TOKEN" in str(caught.value)) == (said is not None)
    assert str(caught.value).startswith("owner/model: ")
    assert len(str(caught.value).splitlines()) == 1

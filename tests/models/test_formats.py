"""Other formats of a model: the same bytes each time, whole or not at all, never unnoticed."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from adaptive_sd.errors import ModelError, UnknownModelError
from adaptive_sd.models import store
from adaptive_sd.models.catalogue import CatalogueEntry, load_catalogue
from adaptive_sd.models.formats import FORMATS, requantise
from adaptive_sd.models.home import models_dir
from adaptive_sd.models.store import file_of, in_format, remove, resolve
from tests.engines.tiny_gguf import write_tiny_model


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ADAPTIVE_SD_OFFLINE", "1")
    models_dir().mkdir(parents=True)
    return tmp_path


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch, home: Path) -> CatalogueEntry:
    """A catalogue of one tiny model, cached, with the hash of its Q8_0."""
    source = write_tiny_model(models_dir() / "tiny.gguf")
    made = home / "made.gguf"
    requantise(source, "Q8_0", made)
    entry = dataclasses.replace(
        load_catalogue()["smollm2-135m"],
        name="tiny",
        sha256=sha256(source),
        bytes=source.stat().st_size,
        formats={"Q8_0": sha256(made)},
    )
    for name in ("find", "load_catalogue"):
        found = {"find": lambda name: entry, "load_catalogue": lambda: {"tiny": entry}}[name]
        monkeypatch.setattr(store, name, found)
    return entry


def test_a_format_is_made_when_asked_for_and_kept(entry: CatalogueEntry) -> None:
    model = resolve("tiny:Q8_0")
    assert (model.name, model.sha256) == ("tiny:Q8_0", entry.formats["Q8_0"])
    assert model.path == file_of(entry, "Q8_0") and sha256(model.path) == model.sha256
    before = model.path.stat().st_mtime_ns
    assert resolve("tiny:Q8_0") == model and model.path.stat().st_mtime_ns == before
    assert resolve("tiny").path == file_of(entry)


def test_a_damaged_one_is_made_again(entry: CatalogueEntry) -> None:
    path = resolve("tiny:Q8_0").path
    path.write_bytes(path.read_bytes()[:-1])
    assert sha256(resolve("tiny:Q8_0").path) == entry.formats["Q8_0"]


def test_other_bytes_are_never_taken_for_the_format(
    entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(entry, formats={"Q8_0": "0" * 64})
    with pytest.warns(UserWarning, match="tiny:Q8_0 comes out with other bytes"):
        model = in_format(other, "Q8_0")
    assert (model.path, model.sha256) == (file_of(entry), entry.sha256)
    assert not file_of(entry, "Q8_0").exists()


def test_removing_a_model_removes_its_formats(entry: CatalogueEntry) -> None:
    path = resolve("tiny:Q8_0").path
    assert remove("tiny") and not path.exists() and not list(models_dir().glob("*.json"))


def test_a_format_that_the_catalogue_does_not_have_is_no_model(entry: CatalogueEntry) -> None:
    with pytest.raises(UnknownModelError):
        resolve("tiny:Q4_0")


def test_what_cannot_be_made_leaves_nothing(home: Path) -> None:
    source = home / "damaged.gguf"
    source.write_bytes(b"GGUF" + b"\0" * 100)
    for quant in (FORMATS[0], "Q99"):
        with pytest.raises(ModelError):
            requantise(source, quant, home / "out.gguf")
    assert not list(home.glob("out*"))

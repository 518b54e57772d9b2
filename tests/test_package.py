"""What a user of the wheel gets."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling is not installed; make test installs it")

ROOT = Path(__file__).parents[1]
DATA_SUFFIXES = {".toml", ".jsonl", ".json", ".npz", ".txt", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_it_holds_all_data_of_the_package(wheel: zipfile.ZipFile) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "adaptive_sd").rglob("*")
        if path.suffix in DATA_SUFFIXES
    }
    assert "adaptive_sd/py.typed" in expected
    assert expected <= set(wheel.namelist())


def test_its_licence_names_the_bundled_data(wheel: zipfile.ZipFile) -> None:
    (name,) = [n for n in wheel.namelist() if n.endswith("METADATA")]
    metadata = wheel.read(name).decode("utf-8")
    assert "License-Expression: Apache-2.0 AND MIT AND CC-BY-SA-4.0" in metadata
    files = [line for line in metadata.splitlines() if line.startswith("License-File: ")]
    assert len(files) == 4
    assert all(any(n.endswith(f.split(" ", 1)[1]) for n in wheel.namelist()) for f in files)


def test_answering_loads_neither_pyarrow_nor_scikit_learn() -> None:
    program = (
        "import sys, adaptive_sd.cli\n"
        "heavy = {'sklearn', 'pyarrow', 'scipy', 'matplotlib', 'llama_cpp'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

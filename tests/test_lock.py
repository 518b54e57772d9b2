"""The lock: everything pinned with hashes, no host named, every declared range met."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = [f"requirements{of}.txt" for of in ("", "-dev", "-ray", "-vllm", "-build")]
BUILD = [
    line
    for line in (ROOT / "requirements-build.in").read_text("utf-8").splitlines()
    if not line.startswith("#")
]


def entries(name: str) -> list[str]:
    """One text for each pin, with its hashes."""
    text = (ROOT / name).read_text("utf-8")
    return [
        entry
        for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE)
        if entry[:1] not in ("", "#")
    ]


def pins(name: str) -> dict[str, str]:
    found = (re.match(r"([\w.-]+)==([^\s;]+)", entry) for entry in entries(name))
    return {canonicalize_name(pin[1]): pin[2] for pin in found if pin}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_pin_with_hashes_and_names_no_host(name: str) -> None:
    assert len(entries(name)) == len(pins(name)), "one version for all Pythons"
    for entry in entries(name):
        assert "--hash=sha256:" in entry
        assert "://" not in entry
        assert not re.search(r"--(index|extra-index|find-links)", entry)


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("requirements.txt", PROJECT["dependencies"]),
        ("requirements-dev.txt", PROJECT["optional-dependencies"]["dev"]),
        ("requirements-ray.txt", PROJECT["optional-dependencies"]["ray"]),
        ("requirements-build.txt", BUILD),
    ],
)
def test_every_declared_range_is_met(name: str, declared: list[str]) -> None:
    locked = pins(name)
    for requirement in map(Requirement, declared):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"run scripts/lock.sh: {requirement}"


def test_the_tools_leave_the_pins_of_the_package_as_they_are() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()
    assert pins("requirements-dev.txt").items() <= pins("requirements-ray.txt").items()


@pytest.mark.parametrize("name", [name for name in LOCKS if "vllm" not in name])
def test_nothing_but_vllm_pulls_torch_or_cuda(name: str) -> None:
    assert not [pin for pin in pins(name) if re.match("torch|nvidia|cuda|triton", pin)]

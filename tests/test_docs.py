"""What the documents name is there: modules, functions in them, commands and their options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from adaptive_sd.cli import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "policy.md").read_text()
SPANS = re.findall(r"`([^`\n]+)`", TEXT)
PATHS = sorted({s for s in SPANS if re.fullmatch(r"[\w./-]+(\.\w+|/)", s) and not s[0] == "."})
COMMANDS = sorted({s for s in SPANS if s.startswith("adaptive-sd ")})


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_there(path: str) -> None:
    assert (ROOT / path).exists() or (ROOT / "adaptive_sd" / path).exists()


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_and_its_options_are_there(line: str) -> None:
    command = typer.main.get_command(app)
    words = line.split()[1:]
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_something_is_named() -> None:
    assert len(PATHS) > 30 and len(COMMANDS) > 5

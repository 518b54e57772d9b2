"""What the documents name is there: modules, names in them, commands and their options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from adaptive_sd.cli import app
from adaptive_sd.config import read_config

ROOT = Path(__file__).parents[1]
TEXT = "\n".join((ROOT / "docs" / name).read_text() for name in ("policy.md", "scale.md"))
SPANS = sorted(set(re.findall(r"`([^`\n]+)`", TEXT)))
PATHS = [span for span in SPANS if re.fullmatch(r"\w[\w./-]*(\.\w+|/)", span)]
NAMES = re.findall(r"`(\w+)`\s+in\s+`([\w/]+\.py)`", TEXT)
TOML = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "engines.md").read_text(), re.DOTALL)
LINES = re.findall(r"^adaptive-sd .*$", TEXT, re.MULTILINE)
COMMANDS = [*(span for span in SPANS if span.startswith("adaptive-sd ")), *LINES]
IMPORTS = re.findall(r"^from adaptive_sd.*$", TEXT, re.MULTILINE)


def find(path: str) -> Path:
    """In the checkout, else in the package."""
    return ROOT / path if (ROOT / path).exists() else ROOT / "adaptive_sd" / path


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_there(path: str) -> None:
    assert find(path).exists()


@pytest.mark.parametrize(("name", "path"), NAMES)
def test_a_name_is_defined_where_it_is_said_to_be(name: str, path: str) -> None:
    assert re.search(rf"^(def|class) {name}\b", find(path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_and_its_options_are_there(line: str) -> None:
    command, words = typer.main.get_command(app), line.split()[1:]
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("stages", TOML, ids=range(len(TOML)))
def test_a_stage_that_the_page_on_engines_shows_is_one(stages: str, tmp_path: Path) -> None:
    path = tmp_path / "ladder.toml"
    path.write_text(stages)
    assert read_config(path).stages


@pytest.mark.parametrize("line", IMPORTS)
def test_what_is_imported_is_there(line: str) -> None:
    exec(line, {})


def test_modules_names_and_commands_are_found() -> None:
    assert len(PATHS) > 30 and len(NAMES) >= 5 and len(COMMANDS) > 5 and LINES and IMPORTS
    assert len(TOML) == 4

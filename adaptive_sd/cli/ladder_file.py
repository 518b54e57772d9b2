"""A configuration file for a ladder that was named on the command line."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from adaptive_sd.config import Config, StageConfig

_OURS = "# Written by adaptive-sd"
_HEADER = f"{_OURS}; once this line is gone it is yours."


def write_ladder(config: Config, artifact: Path | None, path: Path) -> bool:
    """So that `answer --config PATH` goes by the artifact; False where the user's own file is.

    Without an artifact no file is replaced: one may have been put into it.

    Stages are those of `config`, all embedded; files are named by where they lie.
    """
    if path.exists() and (artifact is None or not _is_ours(path)):
        return False
    lines = [_HEADER]
    if artifact is not None:
        lines.append(f"artifact = {_value(str(artifact.resolve()))}")
    for stage in config.stages:
        lines += ["", "[[stage]]", *_lines(stage)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return True


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(_OURS.encode())


def _lines(stage: StageConfig) -> list[str]:
    """What is not as it is by default."""
    model = Path(stage.model)
    given = {
        field.name: getattr(stage, field.name)
        for field in fields(StageConfig)
        if field.name in ("name", "model") or getattr(stage, field.name) != field.default
    }
    if model.exists():
        given["model"] = str(model.resolve())
    return [f"{name} = {_value(value)}" for name, value in given.items()]


def _value(value: object) -> str:
    """Texts, numbers and flat tables: JSON's are TOML's too, but for the colons."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)

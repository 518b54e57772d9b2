"""Values of a configuration file: what is none of the known is refused, never a default."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from adaptive_sd.errors import ConfigError

T = TypeVar("T")


def one_of(raw: object, words: Any, where: str) -> Any:
    """One of the words of a Literal."""
    known = get_args(words)
    if raw in known:
        return raw
    told = " or ".join(f'"{word}"' for word in known)
    raise ConfigError(f"{where} is {raw!r}; write {told}.")


def check_keys(table: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    """Raises ConfigError with the nearest known one."""
    for key in table.keys() - set(known):
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}."
        raise ConfigError(f"{where}: unknown key {key!r}; {hint}")


def typed(value: object, wanted: type[T], where: str) -> T:
    """Raises ConfigError for what is of another type."""
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}; it must be of type {wanted.__name__}.")
    return value


def read_lambda(raw: object, where: str) -> float | None:
    """None for the recommended one."""
    if raw == "recommended":
        return None
    if isinstance(raw, (int, float)) and not isinstance(raw, bool) and 0 <= raw < float("inf"):
        return float(raw)
    raise ConfigError(f'{where} is {raw!r}; write "recommended" or a number >= 0.')

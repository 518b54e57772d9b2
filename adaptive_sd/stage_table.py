"""What one `[[stage]]` table says of its engine and of a token's price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args

from adaptive_sd.checks import check_keys, typed
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import CostUnit, Rates

Options = TypeVar("Options", EndpointOptions, TransformersOptions, VllmOptions)


def read_options(kind: type[Options], table: Mapping[str, Any], where: str) -> Options:
    """An engine's own, checked, from the keys that are named like its fields."""
    given: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in table:
            value, wanted = table[field.name], _TYPES[str(field.type)]
            is_whole = wanted is float and type(value) is int
            value = float(value) if is_whole else value
            given[field.name] = typed(value, wanted, f"{where}: {field.name}")
    options = kind(**given)
    options.check(where)
    return options


_TYPES: Mapping[str, type] = {
    "str": str,
    "str | None": str,
    "bool": bool,
    "int": int,
    "float": float,
    "float | None": float,
    "Mapping[str, Any]": dict,
}
"""By the names that options have for them."""


def read_cost(raw: object, where: str) -> Rates:
    """A token's price as rates: { unit, per_million_in, per_million_out }."""
    table = typed(raw, dict, where)
    keys = ("unit", "per_million_in", "per_million_out")
    check_keys(table, keys, where)
    for key in keys:
        if key not in table:
            raise ConfigError(f"{where}: {key} is missing; write {key} = ...")
    if table["unit"] not in get_args(CostUnit):
        raise ConfigError(
            f"{where}: unit is {table['unit']!r}; write one of {', '.join(get_args(CostUnit))}."
        )
    prices = [table["per_million_in"], table["per_million_out"]]
    for price in prices:
        is_number = isinstance(price, int | float) and not isinstance(price, bool)
        if not is_number or not 0 <= price < float("inf"):
            raise ConfigError(f"{where}: {price!r} is no price; write a number >= 0.")
    if not any(prices):
        raise ConfigError(f"{where}: both prices are 0; something must cost.")
    return Rates.linear(prices[0] / 1e6, prices[1] / 1e6, table["unit"])

"""What tables and artifacts say of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from adaptive_sd.types import CostUnit, Rates


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What tables and artifacts say of a stage; empty for tables of others."""

    name: str
    model: str = ""
    model_hash: str = ""
    styles: Mapping[str, str] = field(default_factory=dict)
    rates: Rates | None = None
    num_parameters: int = 0
    votes: int = 1

    def shares_prompts(self, other: StageRecord, form: str) -> bool:
        """Whether both read prompts of a form alike, and so the second finds them in the cache."""
        same = bool(self.model_hash) and self.model_hash == other.model_hash
        return same and self.styles[form] == other.styles[form]

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"styles": dict(self.styles)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Raises KeyError and TypeError for what `to_json` did not write."""
        rates = raw["rates"]
        return cls(**raw | {"rates": None if rates is None else Rates.from_json(rates)})


def unit_of(stages: Sequence[StageRecord]) -> CostUnit:
    """Of their costs; seconds where nothing is said of it."""
    return next((stage.rates.unit for stage in stages if stage.rates), "s")

"""`adaptive-sd plan`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptive_sd.build import (
    chosen_artifact,
    local_artifact,
    open_stages,
    shipped_artifact,
    traces_path,
)
from adaptive_sd.cli.explain import table as as_table
from adaptive_sd.config import Config, StageConfig, chosen_config
from adaptive_sd.errors import ConfigError
from adaptive_sd.trace_store import recorded_answers
from adaptive_sd.types import Rates

if TYPE_CHECKING:
    from adaptive_sd.offline.sizing.demand import Demand
    from adaptive_sd.offline.sizing.plan import Plan
    from adaptive_sd.offline.sizing.replica import Replica


def plan(
    rps: Annotated[float, typer.Option(help="Requests a second.")],
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Outcome table whose prompts stand for the load, the artifact's policy deciding; "
            "else the answers in the home folder's traces do."
        ),
    ] = None,
    lam: Annotated[
        float | None, typer.Option("--lambda", help="Weight of quality, with --table.")
    ] = None,
    utilisation: Annotated[
        float, typer.Option(help="Most of its time that a replica is busy in the mean, below 1.")
    ] = 0.7,
    p95: Annotated[
        float | None, typer.Option(help="Seconds within which 95 % of the answers come.")
    ] = None,
    replica: Annotated[
        list[str] | None,
        typer.Option(
            help='What one replica of a stage is: "NAME slots=64 gpus=4 usd=12", requests at once, '
            "GPUs, dollars an hour; by default the configuration's slots on one device."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated requests.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Tell how many replicas of each stage a load needs, by simulating its queues.

    From rates as measured here, or tokens' prices in seconds of a device: see docs/scale.md.
    """
    from adaptive_sd.offline.sizing.plan import make_plan

    if not 0 < rps < float("inf"):
        raise typer.BadParameter(f"--rps is {rps}; it must be positive.")
    if not 0 < utilisation < 1:
        raise typer.BadParameter(f"--utilisation is {utilisation}; it must be between 0 and 1.")
    if p95 is not None and not 0 < p95 < float("inf"):
        raise typer.BadParameter(f"--p95 is {p95}; it must be positive.")
    if lam is not None and table is None:
        raise typer.BadParameter("--lambda is of --table; traces have their own.")
    ladder = chosen_config(config)
    rates = _rates(ladder, offline)
    replicas = _replicas(ladder.stages, rates, replica or ())
    load = _demand(ladder, rates, table, lam)
    found = make_plan(load, replicas, rps, utilisation=utilisation, p95_s=p95, seed=seed)
    if as_json:
        asked = {"config": config and str(config), "utilisation": utilisation, "p95": p95}
        print(json.dumps({**asked, "seed": seed, **found.to_json()}, indent=2, allow_nan=False))
        return
    _print(found)


def _rates(ladder: Config, offline: bool) -> list[Rates]:
    """Of all stages: their price, or measured; models are opened only where some have none."""
    prices = [stage.cost for stage in ladder.stages if stage.cost is not None]
    if len(prices) == len(ladder.stages):
        if len({price.unit for price in prices}) > 1:
            raise ConfigError("stages with prices in different units cannot be planned together.")
        return prices
    with ExitStack() as stack:
        opened = [stack.enter_context(stage) for stage in open_stages(ladder, offline=offline)]
        return [stage.measure_rates() for stage in opened]


def _replicas(
    stages: Sequence[StageConfig], rates: Sequence[Rates], described: Sequence[str]
) -> list[Replica]:
    from adaptive_sd.offline.sizing.replica import Replica

    given = dict(_described(text, [stage.name for stage in stages]) for text in described)
    return [
        Replica(
            name=stage.name,
            rates=own,
            is_price=stage.cost is not None,
            **{"slots": stage.slots, **given.get(stage.name, {})},
        )
        for stage, own in zip(stages, rates, strict=True)
    ]


_KEYS: dict[str, type] = {"slots": int, "gpus": int, "usd": float}


def _described(text: str, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """ "NAME key=value ...", where the name may have blanks."""
    words = text.split(" ")
    pairs = [word.partition("=") for word in words if "=" in word]
    name = " ".join(word for word in words if "=" not in word)
    if name not in names:
        raise typer.BadParameter(f"--replica {text!r}: no stage {name!r}; {', '.join(names)}.")
    try:
        return name, {key: _KEYS[key](value) for key, _, value in pairs}
    except (KeyError, ValueError) as error:
        raise typer.BadParameter(
            f'--replica {text!r}: write "{name} slots=64 gpus=4 usd=12", or a part of it.'
        ) from error


def _demand(
    ladder: Config, rates: Sequence[Rates], table: Path | None, lam: float | None
) -> Demand:
    from adaptive_sd.offline.sizing.demand import demand_of_table, demand_of_traces

    unit, names = rates[0].unit, [stage.name for stage in ladder.stages]
    if table is None:
        path = traces_path()
        return demand_of_traces(list(recorded_answers(path)), names, unit, str(path))
    if unit == "usd":
        raise ConfigError(
            "a table tells of tokens, and prices in dollars tell no seconds; leave out --table, or "
            "give costs in gpu_s."
        )
    from adaptive_sd.data.outcomes import read_outcomes  # loads pyarrow

    artifact = chosen_artifact(ladder)
    if ladder.artifact == "default" and artifact is not shipped_artifact():
        print(
            f"{local_artifact()} decides, this machine's own of the default ladder", file=sys.stderr
        )
    if (fitted := [stage.name for stage in artifact.stages]) != names:
        raise ConfigError(
            f"the artifact is fitted for {', '.join(fitted)}; the configuration has "
            f"{', '.join(names)}: give that ladder's."
        )
    chosen = ladder.lam if lam is None else lam
    chosen = artifact.recommended_lam if chosen is None else chosen
    return demand_of_table(read_outcomes(table), artifact, rates, chosen, str(table))


def _print(found: Plan) -> None:
    flow, load = found.flow, found.demand
    rows = [("", "share", "seconds", "slots", "replicas", "busy", "waits", "p95")]
    for k, replica in enumerate(found.replicas):
        rows.append(
            (
                replica.name,
                f"{load.runs[:, k].mean():.1%}",
                f"{found.service_s[k]:.3g}",
                str(replica.slots),
                str(found.counts[k]),
                f"{flow.utilisation[k]:.1%}",
                f"{flow.wait_s[k]:.3g} s",
                f"{flow.wait_p95_s[k]:.3g} s",
            )
        )
    print(as_table(rows))
    print(
        f"{found.rate:g} requests/s, escalated {load.escalation_rate:.1%}: {load.source}\n"
        f"latency: mean {flow.mean_s:.3g} s, median {flow.p50_s:.3g} s, "
        f"p95 {flow.p95_s:.3g} s (standard error {flow.p95_error_s:.2g}); "
        f"{flow.in_system:.3g} requests at a time"
    )
    print(
        f"tokens cost {load.cost.mean():.3g} {load.unit} a request, "
        f"{found.cost_per_hour:,.4g} {load.unit} an hour"
        + (
            ""
            if found.usd_per_hour is None
            else f"; replicas {found.usd_per_hour:,.2f} usd an hour"
        )
    )

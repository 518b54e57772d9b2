"""Puts a ladder together from its configuration; the public Cascade."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

from adaptive_sd.artifact import Artifact, load_artifact
from adaptive_sd.cascade import Cascade as Loop
from adaptive_sd.config import Config, StageConfig, chosen_config, default_config, stage_styles
from adaptive_sd.errors import ArtifactError, ConfigError
from adaptive_sd.judge import FittedJudge, PriorJudge
from adaptive_sd.models.home import home_dir
from adaptive_sd.online import Online
from adaptive_sd.rates import differ
from adaptive_sd.sources import Source, run_by_transformers, run_by_vllm, served
from adaptive_sd.stage import Engines, Stage
from adaptive_sd.stage_record import StageRecord, unit_of
from adaptive_sd.types import Rates

DEFAULT_ARTIFACT = Path(__file__).with_name("artifacts") / "default"


class Cascade(Loop):
    """A ladder of models behind one call."""

    stages: tuple[Stage, ...]

    @classmethod
    def default(cls) -> Cascade:
        """The ladder that is shipped; fetches models that are not cached."""
        return open_cascade(default_config())

    @classmethod
    def from_config(cls, path: str | Path) -> Cascade:
        """The ladder of a configuration file. Raises ConfigError, ModelError, ArtifactError."""
        return open_cascade(chosen_config(Path(path)))


def open_cascade(
    config: Config, *, offline: bool = False, sources: Mapping[str, Source] | None = None
) -> Cascade:
    """Find all models and load the artifact; models are loaded when first used.

    `sources` as in `open_stages`.
    """
    stages = open_stages(config, offline=offline, sources=sources)
    judge = _judge(config, stages)
    online = _open_online(config, judge) if config.online else None
    return Cascade(stages, judge, lam=config.lam, on_failure=config.on_failure, online=online)


def _open_online(config: Config, judge: FittedJudge | PriorJudge) -> Online:
    if not isinstance(judge, FittedJudge):
        raise ConfigError(
            f"online = true needs a ladder with an artifact: {judge.how_to_calibrate}."
        )
    return Online(
        judge, traces_path(), lam=config.lam, explore=config.explore, on_drift=config.on_drift
    )


def traces_path() -> Path:
    """Where answers leave their traces, and online ladders what they learn from."""
    return home_dir() / "traces.sqlite"


def open_stages(
    config: Config, *, offline: bool = False, sources: Mapping[str, Source] | None = None
) -> list[Stage]:
    """The stages of a ladder, their models found and checked.

    Of a stage in `sources`, by name, the engine comes from there instead.
    Those of one model with the same engine options have one engine, and so one KV cache. Raises
    ConfigError where their costs are of different units.
    """
    engines: Engines = {}
    given = sources or {}
    stages = [_open_stage(s, offline, engines, given.get(s.name)) for s in config.stages]
    if len({stage.cost_unit for stage in stages}) > 1:
        units = ", ".join(f"{stage.name} {stage.cost_unit}" for stage in stages)
        raise ConfigError(
            f"costs of different units cannot be compared ({units}); give each stage a `cost` in "
            "the same one."
        )
    return stages


def _source_of(stage: StageConfig, offline: bool) -> Source | None:
    """Where its engine comes from; None: a model file that Stage finds by its name."""
    if stage.endpoint is not None:
        return served(stage.endpoint, parameters=stage.parameters, rates=stage.cost)
    if stage.vllm is not None:
        return run_by_vllm(
            stage.vllm, parameters=stage.parameters, offline=offline, rates=stage.cost
        )
    if stage.transformers is not None:
        return run_by_transformers(
            stage.model,
            stage.transformers,
            context=stage.context,
            threads=stage.threads,
            slots=stage.slots,
            max_waiting=stage.max_waiting,
            offline=offline,
            rates=stage.cost,
        )
    return None


def _open_stage(
    stage: StageConfig, offline: bool, engines: Engines, source: Source | None
) -> Stage:
    return Stage(
        stage.model,
        name=stage.name,
        context=stage.context,
        threads=stage.threads,
        gpu_layers=stage.gpu_layers,
        slots=stage.slots,
        max_waiting=stage.max_waiting,
        styles=stage_styles(stage),
        votes=stage.votes,
        max_tokens=stage.max_tokens,
        rates_path=home_dir() / "rates.json",
        offline=offline,
        rates=stage.cost,
        source=source or _source_of(stage, offline),
        engines=engines,
    )


@functools.cache
def shipped_artifact() -> Artifact:
    """Read once: a ladder that it does not fit goes by its prior."""
    return load_artifact(DEFAULT_ARTIFACT)


def chosen_artifact(config: Config) -> Artifact:
    """The one that a configuration names; "default": the shipped one as fitted for this machine."""
    if config.artifact == "default":
        return _default_artifact(shipped_artifact())
    return load_artifact(Path(config.artifact))


def ladder_artifact(config: Config) -> Artifact:
    """The one that decides on the ladder; raises ConfigError where it has none.

    Only the shipped one may not be the ladder's: then its models are looked at, not loaded.
    """
    artifact = chosen_artifact(config)
    if config.artifact != "default" or config.stages == default_config().stages:
        return artifact
    if not fits_ladder(artifact, open_stages(config, offline=True)):
        raise ConfigError(
            "nothing was fitted for this ladder; make an artifact with `adaptive-sd calibrate` or "
            '`adaptive-sd fit`, and write artifact = "FOLDER" into the configuration.'
        )
    return artifact


def _judge(config: Config, stages: list[Stage]) -> FittedJudge | PriorJudge:
    artifact = chosen_artifact(config)
    if fits_ladder(artifact, stages):
        _warn_of_other_prices(config, artifact)
        return FittedJudge(artifact)
    if config.artifact != "default":
        raise ArtifactError(f"{config.artifact}: {_why_not(artifact, stages)}")

    def rates(index: int) -> Rates:
        known = stages[index].rates
        assert known is not None  # every stage was opened with a place for its rates
        return known

    sizes = [_size(stage) for stage in stages]
    votes, unit = [stage.votes for stage in stages], stages[0].cost_unit
    return PriorJudge(shipped_artifact().prior, sizes, rates, votes=votes, unit=unit)


def _warn_of_other_prices(config: Config, artifact: Artifact) -> None:
    for stage, fitted in zip(config.stages, artifact.stages, strict=True):
        if stage.cost is not None and fitted.rates is not None and differ(fitted.rates, stage.cost):
            warnings.warn(
                f"stage {stage.name!r} has another price than when it was recorded; decisions and "
                "costs are still by that one.",
                stacklevel=2,
            )


def _size(stage: Stage) -> float:
    """Billions of parameters. Raises ConfigError where nothing tells it."""
    if not stage.num_parameters:
        raise ConfigError(
            f"stage {stage.name!r}: nothing tells the size of its model, by which a ladder without "
            'an artifact goes; write parameters = "70b", or what comes near it.'
        )
    return stage.num_parameters / 1e9


def _why_not(artifact: Artifact, stages: list[Stage]) -> str:
    """What keeps an artifact from a ladder that it does not fit, and what to do."""
    for stage in stages:
        if stage.max_tokens is not None:
            return (
                f"stage {stage.name!r} has max_tokens, but a fit goes by the limits of the styles; "
                "leave out max_tokens, or `artifact`."
            )
    unit, fitted_unit = stages[0].cost_unit, unit_of(artifact.stages)
    if unit != fitted_unit:
        return f"fitted for costs in {fitted_unit}, this ladder's are in {unit}; record and fit it."
    fitted = ", ".join(s.name for s in artifact.stages)
    differs = ""
    if [s.name for s in artifact.stages] == [s.name for s in stages]:
        differs = next(filter(None, map(_difference, artifact.stages, stages)), "")
    return (
        f"fitted for the models and styles of {fitted}, not for this ladder{differs}; record and "
        "fit it with this file (`record --config`), or leave `artifact` out."
    )


def _difference(fitted: StageRecord, stage: Stage) -> str:
    """What its table in the configuration would have to say."""
    if fitted.model_hash != stage.model_hash:
        return f": {stage.name} was fitted with the file of model = {json.dumps(fitted.model)}"
    if dict(fitted.styles) != stage.style_names():
        styles = ", ".join(f"{form} = {json.dumps(name)}" for form, name in fitted.styles.items())
        return f": {stage.name} was fitted with style = {{ {styles} }}"
    return ""


def local_artifact() -> Path:
    """Where `adaptive-sd refit` puts the default ladder's artifact for this machine."""
    return home_dir() / "artifacts" / "default"


def _default_artifact(shipped: Artifact) -> Artifact:
    """The one fitted for this machine, unless it is of other data or models than the shipped."""
    if not local_artifact().exists():
        return shipped
    try:
        local = load_artifact(local_artifact())
    except ArtifactError as error:
        warnings.warn(
            f"{error} The shipped one is used until `adaptive-sd refit TABLE` has made it anew "
            "(TABLE: the checkout's recordings/default-ladder.parquet; `make demo` does so).",
            stacklevel=2,
        )
        return shipped
    return local if _origin(local) == _origin(shipped) else shipped


def _origin(artifact: Artifact) -> object:
    """What an artifact was fitted on, but for the machine's rates."""
    stages = [(s.name, s.model_hash, dict(s.styles), s.votes) for s in artifact.stages]
    return stages, artifact.prompt_hashes


def fits_ladder(artifact: Artifact, stages: list[Stage]) -> bool:
    """Whether the artifact was fitted on these very models, asked in the same way and unit."""
    wanted = [(s.model_hash, dict(s.styles), s.votes, None) for s in artifact.stages]
    found = [(s.model_hash, s.style_names(), s.votes, s.max_tokens) for s in stages]
    return wanted == found and unit_of(artifact.stages) == stages[0].cost_unit

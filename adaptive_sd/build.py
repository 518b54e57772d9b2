"""Puts a ladder together from its configuration; the public Cascade."""

from __future__ import annotations

import warnings
from pathlib import Path

from adaptive_sd.artifact import Artifact, load_artifact
from adaptive_sd.cascade import Cascade as Loop
from adaptive_sd.config import Config, StageConfig, default_config, read_config, stage_styles
from adaptive_sd.errors import ArtifactError
from adaptive_sd.judge import FittedJudge, PriorJudge
from adaptive_sd.ladder import Judge
from adaptive_sd.models.home import home_dir, use_home
from adaptive_sd.stage import Stage
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
        return open_cascade(read_config(Path(path)))


def open_cascade(config: Config, *, offline: bool = False) -> Cascade:
    """Find all models and load the artifact; models are loaded when first used."""
    if config.home is not None:
        use_home(config.home)
    stages = open_stages(config, offline=offline)
    return Cascade(stages, _judge(config, stages), lam=config.lam)


def open_stages(config: Config, *, offline: bool = False) -> list[Stage]:
    """The stages of a ladder, their models found and checked."""
    return [_open_stage(stage, config, offline) for stage in config.stages]


def _open_stage(stage: StageConfig, config: Config, offline: bool) -> Stage:
    return Stage(
        stage.model,
        name=stage.name,
        context=stage.context,
        threads=stage.threads,
        gpu_layers=stage.gpu_layers,
        slots=stage.slots,
        styles=stage_styles(stage),
        max_tokens=stage.max_tokens,
        rates_path=home_dir() / "rates.json",
        offline=offline,
    )


def _judge(config: Config, stages: list[Stage]) -> Judge:
    shipped = load_artifact(DEFAULT_ARTIFACT)
    artifact = (
        _default_artifact(shipped)
        if config.artifact == "default"
        else load_artifact(Path(config.artifact))
    )
    if fits_ladder(artifact, stages):
        return FittedJudge(artifact)
    if config.artifact != "default":
        fitted = ", ".join(s.name for s in artifact.stages)
        raise ArtifactError(
            f"{config.artifact}: fitted for the models and styles of {fitted}, not for this "
            "ladder; fit one for it, or leave `artifact` out."
        )

    def rates(index: int) -> Rates:
        known = stages[index].rates
        assert known is not None  # every stage was opened with a place for its rates
        return known

    return PriorJudge(shipped.prior, [stage.num_parameters / 1e9 for stage in stages], rates)


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
        warnings.warn(f"{error} The shipped one is used.", stacklevel=2)
        return shipped
    return local if _origin(local) == _origin(shipped) else shipped


def _origin(artifact: Artifact) -> object:
    """What an artifact was fitted on, but for the machine's rates."""
    stages = [(s.name, s.model_hash, dict(s.styles)) for s in artifact.stages]
    return stages, artifact.prompt_hashes


def fits_ladder(artifact: Artifact, stages: list[Stage]) -> bool:
    """Whether the artifact was fitted on these very model files, asked in these styles."""
    wanted = [(s.model_hash, dict(s.styles), None) for s in artifact.stages]
    return wanted == [(s.model_hash, s.style_names(), s.max_tokens) for s in stages]

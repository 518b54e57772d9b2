"""The ladder's configuration file; unknown keys are refused with the nearest known one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from adaptive_sd.checks import check_keys, one_of, read_lambda, typed
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.passes import MAX_BRANCHES
from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form
from adaptive_sd.models.home import use_home
from adaptive_sd.models.sizes import size_of
from adaptive_sd.online import EXPLORES, OnDrift, may_explore
from adaptive_sd.stage_table import read_cost, read_options
from adaptive_sd.styles import STYLES
from adaptive_sd.types import OnFailure, Rates

_ENGINES = ("llama_cpp", "openai", "transformers", "vllm")


def _keys_of(options: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(options) if f.name != "model")


_LOCAL_KEYS = ("context", "threads", "slots", "max_waiting")
_ENGINE_KEYS: Mapping[str, tuple[str, ...]] = {
    "llama_cpp": (*_LOCAL_KEYS, "gpu_layers"),
    "openai": _keys_of(EndpointOptions),
    "transformers": (*_LOCAL_KEYS, *_keys_of(TransformersOptions)),
    "vllm": _keys_of(VllmOptions),
}
"""What only stages of these engines have."""

_OPTIONS = ("endpoint", "transformers", "vllm")
"""Fields of a stage that hold an engine's own."""


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One `[[stage]]` table. `style` is "auto" or a style name for every form that has it.

    More than one of `votes` are cast on forms whose style answers in steps; others get one answer.
    A stage of the engine "openai" has an `endpoint`, one of "transformers" or "vllm" its options.
    `cost` is a token's price, without which rates are measured, `parameters` a size ("70b") that
    the model's name does not tell.
    """

    name: str
    model: str
    engine: str = "llama_cpp"
    style: str | dict[str, str] = "auto"
    votes: int = 1
    max_tokens: int | None = None
    context: int = 4096
    threads: int | None = None
    gpu_layers: int = 0
    slots: int = 1
    max_waiting: int = 64
    cost: Rates | None = None
    parameters: str | None = None
    endpoint: EndpointOptions | None = None
    transformers: TransformersOptions | None = None
    vllm: VllmOptions | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A ladder, cheapest stage first, and what decides on it.

    An `online` ladder learns while it runs: see adaptive_sd.online.
    """

    stages: tuple[StageConfig, ...]
    artifact: str = "default"
    lam: float | None = None
    home: Path | None = None
    on_failure: OnFailure = "degrade"
    online: bool = False
    explore: float = 0.02
    on_drift: OnDrift = "warn"

    def with_engine_options(
        self, *, context: int | None, threads: int | None, gpu_layers: int | None
    ) -> Config:
        """The same ladder with engine options set for those stages whose engine has them.

        `context` for all but served ones, `threads` for llama.cpp and transformers, `gpu_layers`
        for llama.cpp.
        """
        options = {"context": context, "threads": threads, "gpu_layers": gpu_layers}
        given = {key: value for key, value in options.items() if value is not None}
        for key, value in given.items():
            if value < (0 if key == "gpu_layers" else 1):
                raise ConfigError(f"{key} is {value}; it must be positive.")
        return replace(self, stages=tuple(_with_options(stage, given) for stage in self.stages))


def _with_options(stage: StageConfig, given: Mapping[str, int]) -> StageConfig:
    keys = _ENGINE_KEYS[stage.engine]
    known: dict[str, Any] = {key: value for key, value in given.items() if key in keys}
    if stage.vllm is not None:
        known["vllm"] = replace(stage.vllm, **known)
    return replace(stage, **known)


def default_config() -> Config:
    """The ladder that is shipped with the package."""
    return read_config(Path(__file__).with_name("ladder.toml"))


def chosen_config(path: Path | None, stages: str | None = None) -> Config:
    """That of a file, else the shipped one; of its stages those named, with commas between.

    Its home folder is that of this process from now on. Raises ConfigError as `read_config` and
    `ladder_of` do.
    """
    config = read_config(path) if path else default_config()
    if config.home is not None:
        use_home(config.home)
    if stages is None:
        return config
    return ladder_of(config, [name.strip() for name in stages.split(",")])


def ladder_of(config: Config, names: Sequence[str]) -> Config:
    """Another ladder, cheapest first: stages of `config` by name, or models of any kind.

    Raises ConfigError when a name is empty or comes twice.
    """
    known = {stage.name: stage for stage in config.stages}
    for name in names:
        if not name or list(names).count(name) > 1:
            raise ConfigError(
                f"--stages {','.join(names)!r}: {name!r} is empty or comes twice; name each once."
            )
    stages = tuple(known.get(name) or StageConfig(name=name, model=name) for name in names)
    return replace(config, stages=stages)


def read_config(path: Path) -> Config:
    """The configuration in a file; one that names no stage is of the shipped ladder.

    Raises ConfigError naming the file, the key and the value.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give a TOML file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}.") from error
    known = tuple(f.name for f in fields(Config) if f.name not in ("stages", "lam"))
    check_keys(raw, (*known, "lambda", "stage"), str(path))
    tables = raw.get("stage", [])
    if not isinstance(tables, list):
        raise ConfigError(f"{path}: stage is {tables!r}; write a [[stage]] table for each one.")
    stages = tuple(_read_stage(t, f"{path}: stage {i + 1}") for i, t in enumerate(tables))
    stages = stages or default_config().stages
    names = [s.name for s in stages]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two stages are named {name!r}; names must differ.")
    home = raw.get("home")
    return Config(
        stages=stages,
        artifact=typed(raw.get("artifact", "default"), str, f"{path}: artifact"),
        lam=read_lambda(raw.get("lambda", "recommended"), f"{path}: lambda"),
        home=None if home is None else Path(typed(home, str, f"{path}: home")).expanduser(),
        on_failure=one_of(raw.get("on_failure", "degrade"), OnFailure, f"{path}: on_failure"),
        online=typed(raw.get("online", False), bool, f"{path}: online"),
        explore=_read_explore(raw.get("explore", 0.02), f"{path}: explore"),
        on_drift=one_of(raw.get("on_drift", "warn"), OnDrift, f"{path}: on_drift"),
    )


def _read_stage(raw: object, where: str) -> StageConfig:
    table = typed(raw, dict, where)
    known = tuple(f.name for f in fields(StageConfig) if f.name not in _OPTIONS)
    every = dict.fromkeys(key for keys in _ENGINE_KEYS.values() for key in keys)
    check_keys(table, tuple(dict.fromkeys((*known, *every))), where)
    for key in ("name", "model"):
        if not table.get(key):
            raise ConfigError(f"{where}: {key} is missing; write {key} = ...")
    types = {"name": str, "model": str, "engine": str, "max_tokens": int, "context": int}
    types |= {"parameters": str}
    types |= dict.fromkeys(("threads", "gpu_layers", "slots", "max_waiting", "votes"), int)
    for key, wanted in types.items():
        if key in table:
            typed(table[key], wanted, f"{where}: {key}")
    for key in ("max_tokens", "context", "threads", "slots"):
        if table.get(key, 1) < 1:
            raise ConfigError(f"{where}: {key} is {table[key]}; it must be at least 1.")
    if table.get("max_waiting", 0) < 0:
        raise ConfigError(f"{where}: max_waiting is {table['max_waiting']}; it must be at least 0.")
    engine = table.get("engine", _ENGINES[0])
    if engine not in _ENGINES:
        raise ConfigError(f"{where}: engine {engine!r} is unknown; use {', '.join(_ENGINES)}.")
    for key in every:
        if key in table and key not in _ENGINE_KEYS[engine]:
            raise ConfigError(f"{where}: {key} is not for engine {engine!r}; leave it out.")
    stage = StageConfig(
        **{key: value for key, value in table.items() if key in known and key != "cost"},
        cost=read_cost(table["cost"], f"{where}: cost") if "cost" in table else None,
        endpoint=_read_endpoint(table, where) if engine == "openai" else None,
        transformers=(
            read_options(TransformersOptions, table, where) if engine == "transformers" else None
        ),
        vllm=read_options(VllmOptions, table, where) if engine == "vllm" else None,
    )
    if stage.parameters is not None and not size_of(stage.parameters):
        raise ConfigError(f"{where}: parameters is {stage.parameters!r}; write it like '70b'.")
    if not 1 <= stage.votes <= MAX_BRANCHES:
        raise ConfigError(f"{where}: votes is {stage.votes}; it must be 1 to {MAX_BRANCHES}.")
    if stage.votes > 1 and stage.cost is not None:
        raise ConfigError(
            f"{where}: votes is {stage.votes} and a token has a price, but votes that are decoded "
            "together are not paid by the token; leave one of them out."
        )
    stage_styles(stage)
    return stage


def _read_endpoint(table: Mapping[str, Any], where: str) -> EndpointOptions:
    if "base_url" not in table:
        raise ConfigError(f'{where}: base_url is missing; write base_url = "http://host:port/v1".')
    return read_options(EndpointOptions, table, where)


def stage_styles(stage: StageConfig) -> dict[Form, str]:
    """Style name for each form that the stage's config sets; raises ConfigError."""
    if stage.style == "auto":
        return {}
    if isinstance(stage.style, str):
        chosen = {form: stage.style for form, known in STYLES.items() if stage.style in known}
        if not chosen:
            names = sorted({n for known in STYLES.values() for n in known})
            raise ConfigError(
                f"stage {stage.name!r}: style {stage.style!r} is unknown; "
                f"known: auto, {', '.join(names)}."
            )
        return chosen
    typed(stage.style, dict, f"stage {stage.name!r}: style")
    check_keys(stage.style, tuple(f.value for f in Form), f"stage {stage.name!r}: style")
    for form, name in stage.style.items():
        if typed(name, str, f"stage {stage.name!r}: style.{form}") not in STYLES[Form(form)]:
            raise ConfigError(
                f"stage {stage.name!r}: style {name!r} for {form}; "
                f"known: {', '.join(STYLES[Form(form)])}."
            )
    return {Form(form): name for form, name in stage.style.items()}


def _read_explore(raw: object, where: str) -> float:
    if isinstance(raw, (int, float)) and not isinstance(raw, bool) and may_explore(raw):
        return float(raw)
    raise ConfigError(f"{where} is {raw!r}; write a chance: {EXPLORES}.")

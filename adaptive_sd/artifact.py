"""What a fit leaves behind: a folder with a manifest (JSON) and weights (npz, never pickle)."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import StageRecord
from adaptive_sd.decision.calibration import Calibration
from adaptive_sd.decision.features import FEATURE_NAMES
from adaptive_sd.decision.induction import InducedPolicy
from adaptive_sd.decision.predictor import FittedPredictor, Network
from adaptive_sd.errors import ArtifactError
from adaptive_sd.forms import Form
from adaptive_sd.types import Acceptance, Rates

SCHEMA_VERSION = 1
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """For ladders that nothing was fitted for: quality from logprob evidence, pooled over stages,

    and the chance of a larger stage: sigmoid(base + slope * logit(quality)).
    """

    predictor: FittedPredictor
    base: float
    slope: float


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A fitted ladder. `metrics` holds what the fit measured, out of fold."""

    stages: tuple[StageRecord, ...]
    predictors: tuple[FittedPredictor, ...]
    policy: InducedPolicy
    prior: Prior
    acceptance: Mapping[tuple[int, int, Form], Acceptance]
    recommended_lam: float
    lam_origin: str
    prompt_hashes: tuple[str, ...]
    data_hash: str
    metrics: Mapping[str, object]


def save_artifact(artifact: Artifact, folder: Path) -> None:
    """Write the folder whole or not at all; an artifact that is there is replaced."""
    if folder.exists() and not (folder / "manifest.json").exists() and any(folder.iterdir()):
        raise ArtifactError(f"{folder}: holds other files; give a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    temporary.chmod(0o755)
    manifest = json.dumps(_manifest(artifact), indent=1, sort_keys=True)
    (temporary / "manifest.json").write_text(manifest + "\n", encoding="utf-8")
    np.savez_compressed(temporary / "weights.npz", **_arrays(artifact))  # type: ignore[arg-type]
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)


def load_artifact(folder: Path) -> Artifact:
    """Raises ArtifactError naming the file and what is wrong with it."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["schema_version"]
        if version != SCHEMA_VERSION:
            raise ArtifactError(
                f"{folder}: artifact version {version}, this program reads {SCHEMA_VERSION}; "
                "fit it again with `adaptive-sd fit`."
            )
        if tuple(manifest["feature_names"]) != FEATURE_NAMES:
            raise ArtifactError(f"{folder}: fitted with other features; run `adaptive-sd fit`.")
        with np.load(folder / "weights.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise ArtifactError(f"{folder}: array {name!r} holds values that are not finite.")
        return _from_parts(manifest, arrays)
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder}: no artifact there ({error.filename}).") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{folder}: damaged artifact ({type(error).__name__}: {error}); fit it again."
        ) from error


def _manifest(artifact: Artifact) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "feature_names": list(FEATURE_NAMES),
        "stages": [asdict(s) | {"styles": dict(s.styles)} for s in artifact.stages],
        "states": [[list(state), j] for state, j in artifact.policy.weights],
        "num_layers": [len(p.network.layers) for p in _predictors(artifact)],
        "prior": {"base": artifact.prior.base, "slope": artifact.prior.slope},
        "acceptance": [
            [j, k, form.value, *beta] for (j, k, form), beta in artifact.acceptance.items()
        ],
        "recommended_lambda": artifact.recommended_lam,
        "lambda_origin": artifact.lam_origin,
        "cost_unit": "s",
        "prompt_hashes": list(artifact.prompt_hashes),
        "data_hash": artifact.data_hash,
        "metrics": artifact.metrics,
    }


def _predictors(artifact: Artifact) -> list[FittedPredictor]:
    return [*artifact.predictors, artifact.prior.predictor]


def _arrays(artifact: Artifact) -> Arrays:
    arrays: Arrays = {"grid": artifact.policy.grid}
    for i, weights in enumerate(artifact.policy.weights.values()):
        arrays[f"value_{i}"] = weights
    for i, predictor in enumerate(_predictors(artifact)):
        network, calibration = predictor.network, predictor.calibration
        arrays[f"mean_{i}"], arrays[f"scale_{i}"] = network.mean, network.scale
        arrays[f"logits_{i}"], arrays[f"chances_{i}"] = calibration.logits, calibration.chances
        for n, (weights32, offset) in enumerate(network.layers):
            arrays[f"layer_{i}_{n}"], arrays[f"offset_{i}_{n}"] = weights32, offset
    return arrays


def _from_parts(manifest: dict[str, Any], arrays: dict[str, Any]) -> Artifact:
    stages = tuple(_stage(raw) for raw in manifest["stages"])
    names = tuple(s.name for s in stages)
    predictors = [
        _predictor(arrays, i, num_layers) for i, num_layers in enumerate(manifest["num_layers"])
    ]
    if len(predictors) != len(stages) + 1:
        raise ValueError(f"{len(predictors)} predictors for {len(stages)} stages")
    values = {
        (tuple(state), j): arrays[f"value_{i}"] for i, (state, j) in enumerate(manifest["states"])
    }
    for key, weights in values.items():
        if weights.ndim != 3 or weights.shape[0] != 2 or weights.shape[2] != arrays["grid"].size:
            raise ValueError(f"values of {key} have shape {weights.shape}")
    prior = manifest["prior"]
    return Artifact(
        stages=stages,
        predictors=tuple(predictors[:-1]),
        policy=InducedPolicy(names, arrays["grid"], values),
        prior=Prior(predictors[-1], float(prior["base"]), float(prior["slope"])),
        acceptance={
            (j, k, Form(form)): Acceptance(a, b) for j, k, form, a, b in manifest["acceptance"]
        },
        recommended_lam=float(manifest["recommended_lambda"]),
        lam_origin=manifest["lambda_origin"],
        prompt_hashes=tuple(manifest["prompt_hashes"]),
        data_hash=manifest["data_hash"],
        metrics=manifest["metrics"],
    )


def _stage(raw: dict[str, Any]) -> StageRecord:
    rates = raw["rates"]
    if rates is not None:
        rates = Rates(rates["prefill_s"], rates["decode_s"], tuple(map(tuple, rates["verify_s"])))
    return StageRecord(raw["name"], raw["model"], raw["model_hash"], raw["styles"], rates)


def _predictor(arrays: dict[str, Any], i: int, num_layers: int) -> FittedPredictor:
    layers = tuple((arrays[f"layer_{i}_{n}"], arrays[f"offset_{i}_{n}"]) for n in range(num_layers))
    widths = [len(FEATURE_NAMES), *(weights.shape[1] for weights, _ in layers)]
    for (weights, offset), width_in in zip(layers, widths, strict=False):
        if weights.shape[0] != width_in or offset.shape != weights.shape[1:]:
            raise ValueError(f"predictor {i} has a layer of shape {weights.shape}")
    if widths[-1] != 1 or arrays[f"mean_{i}"].shape != (widths[0],):
        raise ValueError(f"predictor {i} has widths {widths}")
    return FittedPredictor(
        Network(arrays[f"mean_{i}"], arrays[f"scale_{i}"], layers),
        Calibration(arrays[f"logits_{i}"], arrays[f"chances_{i}"]),
    )

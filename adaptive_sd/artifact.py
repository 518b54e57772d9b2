"""What a fit leaves behind: a folder with a manifest (JSON) and weights (npz, never pickle)."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.certificates import Certificates
from adaptive_sd.decision.drift import Reference
from adaptive_sd.decision.features import FEATURE_DIM, FEATURE_NAMES, HiddenProjection
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.known_p import PooledPrior
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.partial import CHECKPOINTS, PARTIAL_STATISTICS
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.errors import ArtifactError
from adaptive_sd.forms import Form
from adaptive_sd.stage_record import StageRecord, unit_of
from adaptive_sd.types import Acceptance

SCHEMA_VERSION = 7
"""Since 7 drafts have faults: what is plain in an answer's text is evidence."""
_FEATURES = {
    "feature_names": FEATURE_NAMES,
    "partial_features": PARTIAL_STATISTICS,
    "checkpoints": CHECKPOINTS,
}
"""What weights are for, by the name in the manifest."""
_RECALIBRATED = "; recalibrated by feedback since"
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """For ladders that nothing was fitted for.

    `predictor` is pooled over stages and sees no hidden state; `chances` go by model size;
    `tokens_in` (not cached) and `tokens_out` are a recorded answer's means.
    """

    predictor: FittedPredictor
    chances: PooledPrior
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A fitted ladder. `metrics` holds what the fit measured, out of fold.

    `forms` are those with enough prompts for the fit to speak of them; `certificates` are there
    where the fit set prompts aside. Where it was fitted without labels, all quality is agreement
    with the answers of the stage `agreement_with`. `reference` tells how first drafts fared at the
    recommended lambda, by estimates out of fold; older, joined and recalibrated ones have none.
    `learned_hashes` are those of the prompts that it was recalibrated by since, `shifts` what came
    of it for each stage; () where it was not.
    """

    stages: tuple[StageRecord, ...]
    predictors: tuple[FittedPredictor, ...]
    projections: tuple[HiddenProjection | None, ...]
    policy: GuardedPolicy
    prior: Prior
    acceptance: Mapping[tuple[int, int, Form], Acceptance]
    recommended_lam: float
    lam_origin: str
    forms: tuple[Form, ...]
    prompt_hashes: tuple[str, ...]
    data_hash: str
    metrics: Mapping[str, object]
    certificates: Certificates | None = None
    agreement_with: str | None = None
    reference: Reference | None = None
    learned_hashes: tuple[str, ...] = ()
    shifts: tuple[Shift, ...] = ()

    @property
    def seen_hashes(self) -> frozenset[str]:
        """Of the texts of all prompts that had a say: it cannot be measured on these."""
        return frozenset({*self.prompt_hashes, *self.learned_hashes})


def fingerprint(artifact: Artifact) -> str:
    """Tells a fit from any other."""
    digest = hashlib.sha256(json.dumps(_manifest(artifact), sort_keys=True).encode())
    for name, values in sorted(_arrays(artifact).items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def recalibrated(
    artifact: Artifact, shifts: Sequence[Shift], prompt_hashes: Iterable[str]
) -> Artifact:
    """With the stages' estimates shifted as prompts of these hashes showed.

    Nothing was measured of how its policy fares then: so it promises nothing and has no reference.
    """
    before = artifact.shifts or (Shift(),) * len(artifact.stages)
    origin = artifact.lam_origin.removesuffix(_RECALIBRATED) + _RECALIBRATED
    return replace(
        artifact,
        shifts=tuple(new.after(old) for new, old in zip(shifts, before, strict=True)),
        lam_origin=origin,
        certificates=None,
        reference=None,
        learned_hashes=tuple(sorted({*artifact.learned_hashes, *prompt_hashes})),
    )


def is_recalibrated(artifact: Artifact) -> bool:
    return _RECALIBRATED in artifact.lam_origin


def save_artifact(artifact: Artifact, folder: Path) -> None:
    """Write the folder whole or not at all; an artifact that is there is replaced."""
    if folder.is_file() or (
        folder.exists() and not (folder / "manifest.json").exists() and any(folder.iterdir())
    ):
        raise ArtifactError(f"{folder}: holds something else; give a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        manifest = json.dumps(_manifest(artifact), indent=1, sort_keys=True)
        (new / "manifest.json").write_text(manifest + "\n", encoding="utf-8")
        np.savez_compressed(new / "weights.npz", **_arrays(artifact))  # type: ignore[arg-type]
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        new.rename(folder)


def keep_copy(folder: Path) -> Path | None:
    """As NAME.before, over no earlier one; None where there is nothing to keep."""
    if not folder.exists():
        return None
    names = itertools.chain(["before"], (f"before{n}" for n in itertools.count(2)))
    whole = folder.absolute()  # "." has no name
    places = (whole.with_name(f"{whole.name}.{name}") for name in names)
    kept = next(place for place in places if not place.exists())
    shutil.copytree(folder, kept)
    return kept


def load_artifact(folder: Path) -> Artifact:
    """Raises ArtifactError naming the file and what is wrong with it."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["schema_version"]
        if version != SCHEMA_VERSION:
            raise ArtifactError(
                f"{folder}: artifact version {version}, this program reads {SCHEMA_VERSION}; "
                "make it again by the command that made it (`adaptive-sd fit TABLE --out "
                f"{folder}`, or `calibrate` where it was made without labels)."
            )
        if any(tuple(manifest[name]) != known for name, known in _FEATURES.items()):
            raise ArtifactError(f"{folder}: fitted with other features; run `adaptive-sd fit`.")
        arrays = _read_arrays(folder / "weights.npz")
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise ArtifactError(f"{folder}: array {name!r} holds values that are not finite.")
        return _from_parts(manifest, arrays)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{folder}: no artifact there ({error.filename}); make one with `adaptive-sd fit TABLE "
            f"--out {folder}`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ArtifactError(
            f"{folder}: damaged artifact ({type(error).__name__}: {error}); fit it again."
        ) from error


def _read_arrays(path: Path) -> Arrays:
    # opened here: np.load leaves its own file open where the archive is damaged
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except Exception as error:  # zip, zlib and numpy have a dozen for foreign bytes
            raise ValueError(f"{path.name} cannot be read: {error}") from error


def _manifest(artifact: Artifact) -> dict[str, object]:
    prior = artifact.prior
    return {
        "schema_version": SCHEMA_VERSION,
        **{name: list(known) for name, known in _FEATURES.items()},
        "stages": [stage.to_json() for stage in artifact.stages],
        "prior": {
            "chances": asdict(prior.chances),
            "tokens_in": prior.tokens_in,
            "tokens_out": prior.tokens_out,
        },
        "acceptance": [
            [j, k, form.value, *weights] for (j, k, form), weights in artifact.acceptance.items()
        ],
        "recommended_lambda": artifact.recommended_lam,
        "lambda_origin": artifact.lam_origin,
        "forms": list(artifact.forms),
        "cost_unit": unit_of(artifact.stages),
        "prompt_hashes": list(artifact.prompt_hashes),
        "data_hash": artifact.data_hash,
        "metrics": artifact.metrics,
        "certificates": artifact.certificates and artifact.certificates.to_json(),
        "agreement_with": artifact.agreement_with,
        "reference": artifact.reference and artifact.reference.to_json(),
        "learned_hashes": list(artifact.learned_hashes),
        **({"shifts": [list(shift) for shift in artifact.shifts]} if artifact.shifts else {}),
    }


def _arrays(artifact: Artifact) -> Arrays:
    parts = {f"predictor{k}": p.to_arrays() for k, p in enumerate(artifact.predictors)}
    parts |= {
        f"projection{k}": p.to_arrays() for k, p in enumerate(artifact.projections) if p is not None
    }
    parts |= {"prior": artifact.prior.predictor.to_arrays(), "policy": artifact.policy.to_arrays()}
    return {f"{part}.{name}": a for part, arrays in parts.items() for name, a in arrays.items()}


def _part(arrays: Arrays, part: str) -> Arrays:
    prefix = f"{part}."
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def _from_parts(manifest: dict[str, Any], arrays: Arrays) -> Artifact:
    stages = tuple(StageRecord.from_json(raw) for raw in manifest["stages"])
    policy = GuardedPolicy.from_arrays(_part(arrays, "policy"))
    if policy.stages[-1] >= len(stages):
        raise ValueError(f"a policy of stage {policy.stages[-1]} for {len(stages)} stages")
    prior, certified = manifest["prior"], manifest.get("certificates")
    reference = manifest.get("reference")
    return Artifact(
        stages=stages,
        predictors=tuple(_predictor(arrays, f"predictor{k}") for k in range(len(stages))),
        projections=tuple(_projection(arrays, k) for k in range(len(stages))),
        policy=policy,
        prior=Prior(
            _predictor(arrays, "prior"),
            PooledPrior(**{name: float(value) for name, value in prior["chances"].items()}),
            int(prior["tokens_in"]),
            int(prior["tokens_out"]),
        ),
        acceptance={
            (int(j), int(k), Form(form)): Acceptance(*map(float, weights))
            for j, k, form, *weights in manifest["acceptance"]
        },
        recommended_lam=float(manifest["recommended_lambda"]),
        lam_origin=str(manifest["lambda_origin"]),
        forms=tuple(map(Form, manifest["forms"])),
        prompt_hashes=tuple(manifest["prompt_hashes"]),
        data_hash=manifest["data_hash"],
        metrics=manifest["metrics"],
        certificates=Certificates.from_json(certified) if certified else None,
        agreement_with=manifest.get("agreement_with"),
        reference=Reference.from_json(reference) if reference else None,
        learned_hashes=tuple(manifest.get("learned_hashes", ())),
        shifts=_shifts(manifest.get("shifts", ()), len(stages)),
    )


def _shifts(raw: Sequence[Sequence[float]], num_stages: int) -> tuple[Shift, ...]:
    shifts = tuple(Shift(float(intercept), float(slope)) for intercept, slope in raw)
    if len(shifts) not in (0, num_stages) or not np.isfinite(shifts).all():
        raise ValueError(f"shifts {raw!r} are not of {num_stages} stages")
    return shifts


def _predictor(arrays: Arrays, part: str) -> FittedPredictor:
    predictor = FittedPredictor.from_arrays(_part(arrays, part))
    if len(predictor.mean) != FEATURE_DIM:
        raise ValueError(f"{part} takes {len(predictor.mean)} features, not {FEATURE_DIM}")
    return predictor


def _projection(arrays: Arrays, stage: int) -> HiddenProjection | None:
    found = _part(arrays, f"projection{stage}")
    return HiddenProjection.from_arrays(found) if found else None

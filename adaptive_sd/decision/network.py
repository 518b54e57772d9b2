"""What the cascade holds of a predictor: fitted weights, run in numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import Calibration
from adaptive_sd.errors import ArtifactError

_CLIP = np.float32(6.0)


@dataclass(frozen=True, slots=True, eq=False)
class FittedPredictor:
    """A network with rectified hidden layers; a linear model is one without hidden layers.

    Inputs are standardised and kept within six deviations, so that a draft unlike all that was
    fitted on cannot drive the estimate to an extreme.
    """

    mean: NDArray[np.floating]  # (num_features,)
    scale: NDArray[np.floating]  # (num_features,); 0 leaves a feature out
    weights: tuple[NDArray[np.floating], ...]  # (inputs, outputs) of each layer; the last has 1
    biases: tuple[NDArray[np.floating], ...]
    calibration: Calibration

    def predict(self, features: NDArray[np.floating]) -> float:
        """Estimated quality of one draft from its features, shape (num_features,)."""
        return self.calibration.apply_one(float(self._scores(features)[0]))

    def predict_many(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Shape (num_rows, num_features) to (num_rows,)."""
        return self.calibration.apply(self.scores(features))

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores before calibration, as log odds; shape (num_rows,)."""
        used = np.flatnonzero(self.scale)  # mostly a few: the others count for nothing
        first, *others = self.weights
        narrow = replace(
            self, mean=self.mean[used], scale=self.scale[used], weights=(first[used], *others)
        )
        return narrow._scores(features[:, used])[:, 0].astype(np.float64)

    def _scores(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        layer = (features - self.mean) * self.scale
        layer = np.minimum(np.maximum(layer, -_CLIP), _CLIP)
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            layer = np.maximum(layer @ weights + bias, 0)
        result: NDArray[np.floating] = layer @ self.weights[-1] + self.biases[-1]
        return result

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {"mean": self.mean, "scale": self.scale}
        for index, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays |= {f"weights{index}": weights, f"bias{index}": bias}
        calibration = self.calibration.to_arrays()
        return arrays | {f"calibration_{name}": array for name, array in calibration.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """Raises ArtifactError when layers do not fit together; KeyError when one is missing."""
        mean, scale = _float32(arrays["mean"]), _float32(arrays["scale"])
        num_layers = sum(name.startswith("weights") for name in arrays)
        if not num_layers:
            raise KeyError("weights0")
        weights = tuple(_float32(arrays[f"weights{i}"]) for i in range(num_layers))
        biases = tuple(_float32(arrays[f"bias{i}"]) for i in range(num_layers))
        widths = [*(w.shape[0] for w in weights), 1]
        for index, (matrix, bias) in enumerate(zip(weights, biases, strict=True)):
            if matrix.shape != (widths[index], widths[index + 1]) or bias.shape != matrix.shape[1:]:
                raise ArtifactError(f"layer {index} of a predictor has shape {matrix.shape}.")
        if mean.shape != scale.shape or mean.shape != (widths[0],):
            raise ArtifactError(f"a predictor's mean has shape {mean.shape}, not ({widths[0]},).")
        prefix = "calibration_"
        calibration = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        return cls(mean, scale, weights, biases, Calibration.from_arrays(calibration))


def _float32(array: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)

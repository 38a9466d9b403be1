"""How far depths are off: delta1, absolute relative error and root mean square error.

Per image over the pixels whose depth is known, then the mean over images. With p found and d true:
delta1 is the share of pixels with max(p/d, d/p) < 1.25, abs_rel the mean of abs(p - d) / d, rmse
the root of the mean of (p - d)^2 in metres. Source: Eigen et al., *Depth Map Prediction from a
Single Image using a Multi-Scale Deep Network*, 2014.

Maps without a unit are first brought to the truth by the scale and shift that fit best in least
squares, inverse depth to inverse truth. Source: Ranftl et al., *Towards Robust Monocular Depth
Estimation*, 2020, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecv.map_truth import DepthTruth
from edgecv.metric import Draws, Interval, Scores, percentile_interval, resamples
from edgecv.results.depth import DepthMap
from edgecv.types import Array

TRUTH = DepthTruth
MODEL_OPTIONS: Mapping[str, Any] = {}
NAMES = ("delta1", "abs_rel", "rmse")

_NEAREST_M = 1e-6


class DepthErrors:
    """Collect an image's errors; see `edgecv.metric.Metric`."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, float]] = []

    def update(self, result: DepthMap, truth: DepthTruth, size_hw: tuple[int, int]) -> None:
        """Add one image; one without a known depth counts nowhere.

        Raises:
            ImageError: the truth cannot be read.
        """
        true = truth.read(size_hw)
        known = (true > 0) & np.isfinite(true)
        if not known.any():
            self._rows.append((np.nan, np.nan, np.nan))
            return
        true = true[known].astype(np.float64)
        found = _in_metres(result.depth[known].astype(np.float64), true, result.kind)
        ratio = np.maximum(found / true, true / found)
        off = np.abs(found - true)
        delta1, rmse = float(np.mean(ratio < 1.25)), float(np.sqrt(np.mean(off**2)))
        self._rows.append((delta1, float(np.mean(off / true)), rmse))

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute the means over images."""
        rows = np.array(self._rows, np.float64).reshape(-1, len(NAMES))
        counted: Array = np.isfinite(rows[:, 0])
        if not counted.any():
            nothing: dict[str, float | None] = dict.fromkeys(NAMES)
            reason = "no pixel has a known depth" if len(rows) else "no image"
            return Scores(nothing, dict.fromkeys(NAMES), dict.fromkeys(NAMES, reason))
        values = np.where(counted[:, None], rows, 0)
        metrics: dict[str, float | None] = {
            name: float(column.sum() / counted.sum())
            for name, column in zip(NAMES, values.T, strict=True)
        }
        ci95: dict[str, Interval | None] = dict.fromkeys(NAMES)
        draws: dict[str, Draws] = {}
        if bootstrap:
            chunks: list[Array] = []
            for weights in resamples(len(rows), bootstrap, seed):
                with np.errstate(invalid="ignore"):
                    chunks.append((weights @ values) / (weights @ counted)[:, None])
            draws = dict(zip(NAMES, np.concatenate(chunks).T, strict=True))
            ci95 |= {name: percentile_interval(drawn) for name, drawn in draws.items()}
        return Scores(metrics, ci95, draws=draws)


def create() -> DepthErrors:
    """Make an empty metric."""
    return DepthErrors()


def _in_metres(found: Array, true: Array, kind: str) -> Array:
    """Bring found depths (N,) to the truth's unit and above 0."""
    if kind != "metric":
        target = 1 / true if kind == "inverse" else true
        scale, shift = _fit(found, target)
        found = scale * found + shift
    if kind == "inverse":
        # Nothing is farther than the farthest that is known.
        found = 1 / np.maximum(found, 1 / true.max())
    metres: Array = np.maximum(found, _NEAREST_M)
    return metres


def _fit(x: Array, y: Array) -> tuple[float, float]:
    """Return the scale and shift of least squares from x to y; of a flat x, 0 and the mean."""
    spread = float(np.mean((x - x.mean()) ** 2))
    if spread <= 0:
        return 0.0, float(y.mean())
    scale = float(np.mean((x - x.mean()) * (y - y.mean()))) / spread
    return scale, float(y.mean() - scale * x.mean())

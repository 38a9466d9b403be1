"""How well scores tell anomalies from what is normal: areas under ROC curves, of images and pixels.

The area is the chance that an anomaly scores higher than something normal, ties counting half:
the Mann-Whitney statistic (Hanley and McNeil, 1982). Pixels of all images are pooled, as in the
evaluations of MVTec AD. Pixels' scores are rounded to 12 significant bits, so that an image is
kept as a few thousand counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.map_truth import AnomalyTruth
from edgecv.metric import Draws, Interval, Scores, percentile_interval, resamples
from edgecv.results.anomaly import AnomalyMap
from edgecv.types import Array, Float32

TRUTH = AnomalyTruth
MODEL_OPTIONS: Mapping[str, Any] = {}
NAMES = ("image_auroc", "pixel_auroc")

_DROPPED_BITS = 12
_MOST_BINS = 4096  # of pixels' scores in a resample


class Separation:
    """Collect scores; see `edgecv.metric.Metric`."""

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._anomalous: list[bool] = []
        # Of each image: sorted keys of scores, normal pixels and anomalous pixels of each.
        self._pixels: list[tuple[Array, Array, Array]] = []

    def update(self, result: AnomalyMap, truth: AnomalyTruth, size_hw: tuple[int, int]) -> None:
        """Add one image.

        Raises:
            ImageError: its mask cannot be read.
        """
        mask = truth.read(size_hw)
        self._scores.append(result.score)
        self._anomalous.append(truth.anomalous)
        if mask is None:
            # Where it is strange is not known: no pixel of it counts.
            self._pixels.append((np.zeros(0, np.int64),) * 3)
            return
        keys, index = np.unique(_keys(result.heat), return_inverse=True)
        index = index.ravel()
        total = np.bincount(index, minlength=len(keys))
        strange = np.bincount(index[mask.ravel()], minlength=len(keys))
        self._pixels.append((keys, total - strange, strange))

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute both areas, and their intervals from resampled images."""
        count = len(self._scores)
        tables: dict[str, tuple[Array, Array]] = {}
        if count:
            tables = {"image_auroc": self._image_table(), "pixel_auroc": self._pixel_table()}
        metrics: dict[str, float | None] = dict.fromkeys(NAMES)
        ci95: dict[str, Interval | None] = dict.fromkeys(NAMES)
        reasons: dict[str, str] = {}
        draws: dict[str, Draws] = {}
        for name in NAMES:
            what = name.partition("_")[0]
            value = np.nan
            if count:
                value = float(_areas(np.ones((1, count)), *tables[name])[0])
            if not np.isfinite(value):
                reasons[name] = f"no {what} that is normal, or none that is not"
                continue
            metrics[name] = value
            if bootstrap:
                normal, strange = _pooled(*tables[name])
                chunks = [
                    _areas(weights, normal, strange)
                    for weights in resamples(count, bootstrap, seed)
                ]
                draws[name] = np.concatenate(chunks)
                ci95[name] = percentile_interval(draws[name])
        return Scores(metrics, ci95, reasons, draws=draws)

    def _image_table(self) -> tuple[Array, Array]:
        keys, index = np.unique(np.array(self._scores), return_inverse=True)
        tables = np.zeros((2, len(self._scores), len(keys)))
        tables[np.array(self._anomalous, int), np.arange(len(index)), index.ravel()] = 1
        return tables[0], tables[1]

    def _pixel_table(self) -> tuple[Array, Array]:
        return _table(self._pixels, 1), _table(self._pixels, 2)


def create() -> Separation:
    """Make an empty metric."""
    return Separation()


def _keys(heat: Float32) -> Array:
    """Turn floats into whole numbers of the same order, 12 significant bits of each."""
    bits = np.ascontiguousarray(heat + np.float32(0)).ravel().view(np.int32).astype(np.int64)
    # Floats of one sign are ordered as their bits are; negative ones backwards.
    ordered = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
    return np.asarray((ordered + (1 << (_DROPPED_BITS - 1))) >> _DROPPED_BITS)


def _table(images: Sequence[tuple[Array, Array, Array]], part: int) -> Array:
    """Count pixels (images, keys) over all keys that occur, in their order."""
    keys = np.unique(np.concatenate([image[0] for image in images]))
    table = np.zeros((len(images), len(keys)))
    for row, image in zip(table, images, strict=True):
        row[np.searchsorted(keys, image[0])] = image[part]
    return table


def _pooled(normal: Array, strange: Array) -> tuple[Array, Array]:
    """Join neighbouring scores until there are at most `_MOST_BINS`, alike in pixels."""
    if normal.shape[1] <= _MOST_BINS:
        return normal, strange
    share = np.cumsum((normal + strange).sum(axis=0))
    bins = np.minimum((share - share[0]) / share[-1] * _MOST_BINS, _MOST_BINS - 1).astype(int)
    starts = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    return np.add.reduceat(normal, starts, axis=1), np.add.reduceat(strange, starts, axis=1)


def _areas(weights: Array, normal: Array, strange: Array) -> Array:
    """Compute the area of each resample, (B,) float64; NaN where one side is empty.

    Args:
        weights: (B, images), how often each image counts.
        normal: (images, scores) counts, by rising score.
        strange: likewise.
    """
    below, hits = weights.astype(np.float64) @ normal, weights.astype(np.float64) @ strange
    lower = np.cumsum(below, axis=1) - below
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (hits * (lower + below / 2)).sum(axis=1)
        areas: Array = area / (below.sum(axis=1) * hits.sum(axis=1))
    return areas

"""Mean intersection over union of the classes, and the share of pixels that are right.

One confusion matrix over all images, as Pascal VOC's development kit and Cityscapes' scripts count:
IoU = right / (true + found - right), in pixels. The mean is over the classes of the data that occur
in truth or results; one that is found but never true counts as 0, one that is neither does not
count. Pixels whose truth is the ignore label (255) count nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecv.map_truth import SemanticTruth
from edgecv.metric import ClassScore, Draws, Interval, Scores, percentile_interval, resamples
from edgecv.results.semantic import SemanticMap
from edgecv.types import Array

TRUTH = SemanticTruth
MODEL_OPTIONS: Mapping[str, Any] = {}
NAMES = ("miou", "pixel_accuracy")


class Overlap:
    """Count pixels of each class; see `edgecv.metric.Metric`."""

    def __init__(self) -> None:
        self._counts: list[tuple[Array, Array, Array]] = []  # right, true, found; each (classes,)
        self._known: set[int] | None = set()

    def update(self, result: SemanticMap, truth: SemanticTruth, size_hw: tuple[int, int]) -> None:
        """Add one image.

        Raises:
            ImageError: the truth cannot be read.
        """
        true = truth.read(size_hw).ravel()
        found = result.class_id.ravel()
        counted = true >= 0
        true, found = true[counted], found[counted].astype(np.int32)
        right = true[true == found]
        self._counts.append((np.bincount(right), np.bincount(true), np.bincount(found[found >= 0])))
        known = truth.class_id
        if known is None or self._known is None:
            self._known = None
        else:
            self._known |= {int(c) for c in known}

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute the scores, and their intervals from resampled images' counts."""
        nothing: dict[str, float | None] = dict.fromkeys(NAMES)
        if not self._counts:
            return Scores(nothing, dict.fromkeys(NAMES), dict.fromkeys(NAMES, "no image"))
        right, true, found = self._tables()
        if not true.any():
            reasons = dict.fromkeys(NAMES, "no pixel has a class")
            return Scores(nothing, dict.fromkeys(NAMES), reasons)
        once = np.ones((1, len(true)), np.int64)
        values = self._scores(once, right, true, found)
        metrics: dict[str, float | None] = {name: float(v[0]) for name, v in values.items()}
        ci95: dict[str, Interval | None] = dict.fromkeys(NAMES)
        draws: dict[str, Draws] = {}
        if bootstrap:
            chunks = [
                self._scores(weights, right, true, found)
                for weights in resamples(len(true), bootstrap, seed)
            ]
            draws = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in NAMES}
            ci95 |= {name: percentile_interval(drawn) for name, drawn in draws.items()}
        return Scores(metrics, ci95, {}, self._per_class(right, true, found), draws)

    def _tables(self) -> tuple[Array, Array, Array]:
        """Stack the counts as right, true, found, each (images, classes) int64."""
        classes = max(len(count) for counts in self._counts for count in counts)
        tables = np.zeros((3, len(self._counts), max(classes, 1)), np.int64)
        for i, counts in enumerate(self._counts):
            for table, count in zip(tables, counts, strict=True):
                table[i, : len(count)] = count
        return tables[0], tables[1], tables[2]

    def _averaged(self, classes: int) -> Array:
        """Tell which of the classes the data has, (classes,) bool."""
        known = range(classes) if self._known is None else self._known
        return np.isin(np.arange(classes), list(known))

    def _scores(self, weights: Array, right: Array, true: Array, found: Array) -> dict[str, Array]:
        """Compute each metric (B,) float64 with each image counted `weights` (B, images) times."""
        weights = weights.astype(np.float64)  # exact below 2^53 pixels, and BLAS knows it
        hits, truths, finds = weights @ right, weights @ true, weights @ found
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = hits / (truths + finds - hits)
            accuracy = hits.sum(axis=1) / truths.sum(axis=1)
        iou[:, ~self._averaged(iou.shape[1])] = np.nan
        present = np.isfinite(iou)
        with np.errstate(invalid="ignore"):
            mean = np.where(present, iou, 0).sum(axis=1) / present.sum(axis=1)
        return {"miou": mean, "pixel_accuracy": accuracy}

    def _per_class(self, right: Array, true: Array, found: Array) -> list[ClassScore]:
        union = (true + found - right).sum(axis=0)
        return [
            ClassScore(
                int(c),
                int(np.count_nonzero(true[:, c])),
                int(true[:, c].sum()),
                {"iou": float(right[:, c].sum() / union[c])},
            )
            for c in np.flatnonzero(self._averaged(len(union)) & (union > 0))
        ]


def create() -> Overlap:
    """Make an empty metric."""
    return Overlap()

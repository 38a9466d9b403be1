"""COCO mean average precision of keypoints, with a bootstrap interval over images.

Object keypoint similarity (`edgecv.keypoints.similarity`) takes the place of box IoU; of a class in
an image the best 20 detections count. Source: cocodataset.org, "Keypoint evaluation". An object
without labelled keypoints is neither to be found nor wrong to find.

The tolerances of the 17 COCO keypoints are COCO's; those of K others are 1 / K each. Where the data
does not state an object's area, 0.53 of its box stands for it, about what a person covers: the
rule of xtcocotools, which evaluates such data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecv import keypoints
from edgecv.average_precision import Matches, match, weighted_scores, xywh
from edgecv.errors import DatasetError
from edgecv.metric import ClassScore, Draws, Interval, Scores, percentile_interval, resamples
from edgecv.results.detections import Detections
from edgecv.truth import PoseTruth
from edgecv.types import Array

TRUTH = PoseTruth
MODEL_OPTIONS: Mapping[str, Any] = {"confidence": 0.001, "max_detections": 300}
NAMES = ("oks_map", "oks_map50", "oks_map75")

BEST = 20
"""Detections of a class in an image that count."""

BOX_SHARE = 0.53
"""Of a box that an object covers, where nobody says its area."""


class KeypointPrecision:
    """Collect keypoints; see `edgecv.metric.Metric`."""

    def __init__(self) -> None:
        self._images: list[tuple[Detections, PoseTruth]] = []

    def update(self, result: Detections, truth: PoseTruth, size_hw: tuple[int, int]) -> None:
        """Add one image.

        Raises:
            DatasetError: model and data have different numbers of keypoints.
        """
        found, true = result.keypoints, truth.keypoints
        if found is not None and len(found) and len(true) and found.shape[1] != true.shape[1]:
            raise DatasetError(
                "the data have another number of keypoints than the model",
                expected=f"{found.shape[1]} keypoints an object",
                got=str(true.shape[1]),
            )
        self._images.append((result, truth.in_pixels(size_hw)))

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute COCO's mean over thresholds, and those of 0.50 and 0.75."""
        shown = [t.class_id[~t.crowd & t.labelled] for _, t in self._images]
        classes = np.unique(np.concatenate([np.zeros(0, np.int32), *shown])).tolist()
        if not classes:
            nothing = dict.fromkeys(NAMES)
            reason = "no object with labelled keypoints in any image"
            return Scores(nothing, nothing, dict.fromkeys(NAMES, reason))
        matches = match(
            self._images, classes, overlap=_overlap, ignore=lambda t: ~t.labelled, limit=BEST
        )
        once = np.ones((1, len(self._images)), np.int64)
        metrics = {name: float(values[0]) for name, values in _scores(matches, once).items()}
        ci95: dict[str, Interval | None] = dict.fromkeys(NAMES)
        draws: dict[str, Draws] = {}
        if bootstrap:
            chunks = [
                _scores(matches, weights)
                for weights in resamples(len(self._images), bootstrap, seed)
            ]
            draws = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in NAMES}
            ci95 |= {name: percentile_interval(values) for name, values in draws.items()}
        return Scores(metrics, ci95, {}, self._per_class(classes, matches), draws)

    def _per_class(self, classes: list[int], matches: Matches) -> list[ClassScore]:
        found = []
        once = np.ones((1, len(self._images)), np.int64)
        for k, class_id in enumerate(classes):
            one = {area: [by_class[k]] for area, by_class in matches.items()}
            values = {name: float(draws[0]) for name, draws in _scores(one, once).items()}
            counts = one["all"][0].objects
            images = int(np.count_nonzero(counts))
            found.append(ClassScore(class_id, images, int(counts.sum()), values))
        return found


def create() -> KeypointPrecision:
    """Make an empty metric."""
    return KeypointPrecision()


def _scores(matches: Matches, weights: Array) -> dict[str, Draws]:
    scores = weighted_scores(matches, weights)
    return {name: scores[name.removeprefix("oks_")] for name in NAMES}


def _overlap(found: Detections, truth: PoseTruth, mine: Array, true: Array) -> Draws:
    """Compare keypoints; what has none overlaps nothing."""
    if found.keypoints is None or found.keypoints.shape[1] != truth.keypoints.shape[1]:
        return np.zeros((len(mine), len(true)))
    boxes = xywh(truth.xyxy)
    areas = boxes[:, 2] * boxes[:, 3] * BOX_SHARE
    if truth.area is not None:
        areas = np.where(np.isnan(truth.area), areas, truth.area.astype(np.float64))
    return keypoints.similarity(
        found.keypoints[mine],
        truth.keypoints[true],
        truth.xyxy[true],
        areas[true],
        keypoints.sigmas(truth.keypoints.shape[1]),
    )

"""COCO mean average precision of boxes, with a bootstrap interval over images.

The values are those of faster-coco-eval. The interval needs average precision of many resamples,
which the library would take hours for, so `edgecv.average_precision` computes it from matches made
once; with every image counted once it gives the library's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecv.average_precision import (
    IMAGE_LIMITS,
    Matches,
    match,
    reason,
    weighted_scores,
)
from edgecv.errors import DependencyMissingError
from edgecv.metric import ClassScore, Draws, Interval, Scores, percentile_interval, resamples
from edgecv.overlaps import object_areas, xywh
from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth
from edgecv.types import Array

TRUTH = BoxTruth
MODEL_OPTIONS: Mapping[str, Any] = {
    "confidence": 0.001,
    "max_detections": 300,
    "multi_label": True,
}
NAMES = (
    *("map", "map50", "map75", "map_small", "map_medium", "map_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""In the order of COCO's summary."""


class MeanAveragePrecision:
    """Collect boxes; see `edgecv.metric.Metric`. Of one class and image, the best 100 count."""

    def __init__(self) -> None:
        self._images: list[tuple[Detections, BoxTruth]] = []

    def update(self, result: Detections, truth: BoxTruth, size_hw: tuple[int, int]) -> None:
        """Add one image."""
        self._images.append((result, truth.in_pixels(size_hw)))

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute COCO's twelve numbers.

        Raises:
            DependencyMissingError: faster-coco-eval is not installed.
        """
        classes = np.unique(np.concatenate([[-1], *(t.class_id for _, t in self._images)]))[1:]
        if not classes.size:
            nothing = dict.fromkeys(NAMES)
            return Scores(nothing, nothing, dict.fromkeys(NAMES, "no object in any image"))
        stats, precision = _library(self._images, classes.tolist())
        metrics = {
            name: float(value) if value >= 0 else None
            for name, value in zip(NAMES, stats, strict=True)
        }
        ci95: dict[str, Interval | None] = dict.fromkeys(NAMES)
        draws: dict[str, Draws] = {}
        if bootstrap:
            matches = match(self._images, classes.tolist())
            drawn = self._draw(matches, bootstrap, seed)
            draws = {name: drawn[name] for name in NAMES if metrics[name] is not None}
            ci95 |= {name: percentile_interval(values) for name, values in draws.items()}
        return Scores(
            metrics,
            ci95,
            {name: reason(name) for name in NAMES if metrics[name] is None},
            self._per_class(classes.tolist(), precision),
            draws,
        )

    def _draw(self, matches: Matches, count: int, seed: int) -> dict[str, Array]:
        chunks = [
            weighted_scores(matches, weights)
            for weights in resamples(len(self._images), count, seed)
        ]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in NAMES}

    def _per_class(self, classes: list[int], precision: Array) -> list[ClassScore]:
        """Summarise precision (IoU, recall, class) of each class that has an object."""
        found = []
        for k, class_id in enumerate(classes):
            counts = [
                int(np.count_nonzero((t.class_id == class_id) & ~t.crowd)) for _, t in self._images
            ]
            values = precision[:, :, k]
            if values.max() < 0:  # crowds only
                continue
            metrics = {"map": float(values.mean()), "map50": float(values[0].mean())}
            images = sum(count > 0 for count in counts)
            found.append(ClassScore(class_id, images, sum(counts), metrics))
        return found


def create() -> MeanAveragePrecision:
    """Make an empty metric."""
    return MeanAveragePrecision()


def _library(
    images: list[tuple[Detections, BoxTruth]], classes: list[int]
) -> tuple[list[float], Array]:
    """Ask faster-coco-eval.

    Returns:
        COCO's twelve numbers, -1 where there was nothing to measure, and precision (10 IoU
        thresholds, 101 recalls, classes) of all sizes, -1 likewise.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as error:
        raise DependencyMissingError(
            "faster-coco-eval is not installed", remedy="pip install 'edgecv[eval]'"
        ) from error
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    known = set(classes)
    for image, (detections, truth) in enumerate(images, 1):
        areas = object_areas(truth)
        for i, box in enumerate(xywh(truth.xyxy).tolist()):
            truths.append(
                {
                    "id": len(truths) + 1,  # 0 would read as "no match"
                    "image_id": image,
                    "category_id": int(truth.class_id[i]),
                    "bbox": box,
                    "area": float(areas[i]),
                    "iscrowd": int(truth.crowd[i]),
                }
            )
        for i, box in enumerate(xywh(detections.xyxy).tolist()):
            # A class that no image shows changes no number: it has no recall to speak of.
            if (class_id := int(detections.class_id[i])) in known:
                found.append(
                    {
                        "image_id": image,
                        "category_id": class_id,
                        "bbox": box,
                        "score": float(detections.score[i]),
                    }
                )
    truth_set = COCO(
        {
            "images": [{"id": image} for image in range(1, len(images) + 1)],
            "categories": [{"id": class_id, "name": str(class_id)} for class_id in classes],
            "annotations": truths,
        }
    )
    run = COCOeval_faster(truth_set, truth_set.loadRes(found), iouType="bbox")
    run.params.maxDets = list(IMAGE_LIMITS)
    run.run()
    return [float(v) for v in run.stats[:12]], np.asarray(run.eval["precision"])[:, :, :, 0, -1]

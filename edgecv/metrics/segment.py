"""COCO mean average precision of instance masks, and of their boxes, with bootstrap intervals.

``mask_map`` and its kin are COCO's twelve numbers with the IoU of masks; ``map``, ``map50`` and
``map75`` those of the boxes. Outlines are painted by the rule of COCO's tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecv.mask_truth import MaskTruth
from edgecv.metric import Scores
from edgecv.overlaps import ClassOverlap, box_overlaps, mask_overlaps
from edgecv.precision_scores import joined, precision_scores
from edgecv.results.detections import Detections

TRUTH = MaskTruth
MODEL_OPTIONS: Mapping[str, Any] = {
    "confidence": 0.001,
    "max_detections": 300,
    "multi_label": True,
}
_MASK = (
    *("map", "map50", "map75", "map_small", "map_medium", "map_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
_BOX = ("map", "map50", "map75")
NAMES = (*(f"mask_{name}" for name in _MASK), *_BOX)
"""Masks in the order of COCO's summary, then boxes."""


class MaskAveragePrecision:
    """Collect overlaps; see `edgecv.metric.Metric`. Of one class and image, the best 100 count."""

    def __init__(self) -> None:
        self._masks: list[list[ClassOverlap]] = []
        self._boxes: list[list[ClassOverlap]] = []

    def update(self, result: Detections, truth: MaskTruth, size_hw: tuple[int, int]) -> None:
        """Add one image.

        Raises:
            UsageError: the detections have no masks.
        """
        truth = truth.in_pixels(size_hw)
        self._masks.append(mask_overlaps(result, truth, size_hw))
        self._boxes.append(box_overlaps(result, truth))

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute the fifteen numbers."""
        masks = {f"mask_{name}": name for name in _MASK}
        boxes = {name: name for name in _BOX}
        return joined(
            precision_scores(self._masks, masks, ("mask_map", "mask_map50"), bootstrap, seed),
            precision_scores(self._boxes, boxes, ("map", "map50"), bootstrap, seed),
        )


def create() -> MaskAveragePrecision:
    """Make an empty metric."""
    return MaskAveragePrecision()
